// SPDX-License-Identifier: Apache-2.0
//
// The header of NumPy's .npy files, versions 1 to 3: magic, version, length, and a Python dictionary
// literal of which only the three keys that NumPy writes are understood:
//   {'descr': '<f4', 'fortran_order': False, 'shape': (1000, 128), }
// Specification: numpy.lib.format. The parser takes any bytes; errors: corrupt (no such header),
// unsupported (a valid header of something else: Fortran order, big-endian, another type or number
// of dimensions).
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/storage/vector_format.hpp"

namespace kith::detail {

struct NpyHeader {
    FileElement element = FileElement::f32;
    std::uint64_t rows = 0;
    std::uint64_t cols = 0;
    std::size_t data_offset = 0;
};

inline constexpr std::string_view npy_magic{"\x93NUMPY", 6};

/// Reads tokens of a dictionary literal.
class NpyParser {
public:
    NpyParser(std::string_view text, const std::string& file) : rest_(text), file_(file) {}

    NpyHeader parse() {
        expect('{');
        while (!accept('}')) {
            const std::string_view key = string();
            expect(':');
            if (key == "descr")
                descr_ = descr();
            else if (key == "fortran_order")
                fortran_order_ = boolean();
            else if (key == "shape")
                shape();
            else
                bad("unknown key '", printable(key), "'");
            if (!accept(',')) {
                expect('}');
                break;
            }
        }
        skip_spaces();
        if (!rest_.empty()) bad("text after the dictionary");
        return header();
    }

private:
    template <class... Parts>
    [[noreturn]] void bad(const Parts&... parts) const {
        fail(ErrorCode::corrupt, file_, ": malformed .npy header: ", parts...);
    }
    template <class... Parts>
    [[noreturn]] void unsupported(const Parts&... parts) const {
        fail(ErrorCode::unsupported, file_, ": ", parts...);
    }

    static std::string printable(std::string_view text) {
        std::string out(text.substr(0, 40));
        for (char& c : out)
            if (c < 0x20 || c > 0x7E) c = '?';
        return out;
    }

    NpyHeader header() const {
        if (descr_.empty()) bad("no 'descr'");
        if (!has_order_) bad("no 'fortran_order'");
        if (!has_shape_) bad("no 'shape'");
        if (fortran_order_)
            unsupported(
                "expected rows in C order, got Fortran order; save numpy.ascontiguousarray(a)");
        if (shape_.size() != 2)
            unsupported("expected an array of 2 dimensions (rows, cols), got ", shape_.size());
        NpyHeader header;
        header.element = element();
        header.rows = shape_[0];
        header.cols = shape_[1];
        return header;
    }

    FileElement element() const {
        struct Known {
            std::string_view descr;
            FileElement element;
        };
        constexpr std::array<Known, 8> all{{{"<f4", FileElement::f32},
                                            {"<f2", FileElement::f16},
                                            {"|u1", FileElement::u8},
                                            {"<u1", FileElement::u8},
                                            {"|i1", FileElement::i8},
                                            {"<i1", FileElement::i8},
                                            {"<i4", FileElement::i32},
                                            {"<i8", FileElement::i64}}};
        for (const Known& known : all)
            if (known.descr == descr_) return known.element;
        if (descr_ == "<V2" || descr_ == "|V2")
            unsupported("NumPy stores bfloat16 as '", descr_,
                        "', which does not say what it is; use .bf16bin");
        if (descr_.front() == '>')
            unsupported("expected little-endian elements, got the big-endian type '",
                        printable(descr_), "'");
        if (descr_ == "|b1")
            unsupported("booleans ('|b1') are no vectors; use numpy.packbits and .b1bin");
        unsupported("expected a type of <f4 <f2 |u1 |i1 <i4 <i8, got '", printable(descr_), "'");
    }

    void skip_spaces() {
        while (!rest_.empty() &&
               (rest_.front() == ' ' || rest_.front() == '\n' || rest_.front() == '\t'))
            rest_.remove_prefix(1);
    }
    bool accept(char c) {
        skip_spaces();
        if (rest_.empty() || rest_.front() != c) return false;
        rest_.remove_prefix(1);
        return true;
    }
    void expect(char c) {
        if (!accept(c)) bad("expected '", c, "', got '", printable(rest_.substr(0, 10)), "'");
    }
    bool accept(std::string_view word) {
        skip_spaces();
        if (rest_.substr(0, word.size()) != word) return false;
        rest_.remove_prefix(word.size());
        return true;
    }

    std::string_view string() {
        const char quote = accept('\'') ? '\'' : '"';
        if (quote == '"') expect('"');
        const std::size_t end = rest_.find(quote);
        if (end == std::string_view::npos) bad("a string without an end");
        const std::string_view text = rest_.substr(0, end);
        rest_.remove_prefix(end + 1);
        return text;
    }
    std::string_view descr() {
        skip_spaces();
        if (!rest_.empty() && rest_.front() == '[')
            unsupported("expected one element type, got a structured array");
        const std::string_view text = string();
        if (text.empty()) bad("an empty 'descr'");
        return text;
    }
    bool boolean() {
        has_order_ = true;
        if (accept("True")) return true;
        if (!accept("False")) bad("expected True or False");
        return false;
    }
    void shape() {
        has_shape_ = true;
        shape_.clear();
        expect('(');
        while (!accept(')')) {
            skip_spaces();
            std::uint64_t extent = 0;
            const auto [end, error] =
                std::from_chars(rest_.data(), rest_.data() + rest_.size(), extent);
            if (error != std::errc()) bad("expected a number in 'shape'");
            rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
            if (shape_.size() == 64) bad("too many dimensions");
            shape_.push_back(extent);
            if (!accept(',')) {
                expect(')');
                break;
            }
        }
    }

    std::string_view rest_;
    const std::string& file_;
    std::string_view descr_;
    std::vector<std::uint64_t> shape_;
    bool fortran_order_ = false;
    bool has_order_ = false;
    bool has_shape_ = false;
};

inline NpyHeader parse_npy(std::span<const std::byte> bytes, const std::string& file) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text.substr(0, npy_magic.size()) != npy_magic)
        fail(ErrorCode::corrupt, file, ": not an .npy file");
    if (text.size() < 10)
        fail(ErrorCode::corrupt, file, ": expected an .npy header of at least 10 bytes, got ",
             text.size());
    const int version = static_cast<unsigned char>(text[6]);
    if (version < 1 || version > 3)
        fail(ErrorCode::unsupported, file, ": expected .npy version 1, 2 or 3, got ", version);
    const std::size_t start = version == 1 ? 10 : 12;
    if (text.size() < start)
        fail(ErrorCode::corrupt, file, ": expected an .npy header of at least 12 bytes, got ",
             text.size());
    std::uint32_t length = 0;  // two or four bytes, little-endian
    std::memcpy(&length, bytes.data() + 8, start - 8);
    if (length > text.size() - start)
        fail(ErrorCode::corrupt, file, ": expected an .npy header of ", start + length,
             " bytes, the file has ", text.size());
    NpyHeader header = NpyParser(text.substr(start, length), file).parse();
    header.data_offset = start + length;
    return header;
}

/// A version 1 header whose data begin at a multiple of 64 bytes.
inline std::string make_npy(std::string_view descr, std::uint64_t rows, std::uint64_t cols) {
    std::string dictionary = "{'descr': '" + std::string(descr) +
                             "', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                             std::to_string(cols) + "), }";
    const std::size_t start = 10;
    while ((start + dictionary.size() + 1) % 64 != 0) dictionary += ' ';
    dictionary += '\n';
    std::string header(npy_magic);
    header += '\x01';
    header += '\x00';
    header += static_cast<char>(dictionary.size() & 0xFF);
    header += static_cast<char>(dictionary.size() >> 8);
    return header + dictionary;
}

}  // namespace kith::detail
