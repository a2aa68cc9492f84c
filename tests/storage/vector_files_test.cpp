// SPDX-License-Identifier: Apache-2.0
//
// Files of vectors: bytes as others write them, round trips, and hostile headers.
#include "kith/storage/vector_files.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "kith/storage/rows.hpp"
#include "kith/storage/vector_writer.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using kith::Error;
using kith::ErrorCode;
using kith::FileElement;
using kith::MatrixView;
using kith::VectorFile;
using kith::VectorFormat;
using kith::VectorLayout;
using test::check_error;

/// Bytes from numbers of any type, one after the other.
template <class... Numbers>
std::string raw(Numbers... numbers) {
    std::string bytes;
    (bytes.append(reinterpret_cast<const char*>(&numbers), sizeof numbers), ...);
    return bytes;
}

template <class T>
std::vector<T> sample(std::size_t n) {
    std::vector<T> values(n);
    auto* bytes = reinterpret_cast<unsigned char*>(values.data());
    for (std::size_t i = 0; i < n * sizeof(T); ++i)
        bytes[i] = static_cast<unsigned char>(i * 37 + 11);
    return values;
}

VectorFile open(const test::TempDir& dir, std::string_view name, std::string_view text) {
    test::write_bytes(dir / name, text);
    return VectorFile(dir / name);
}

void refuse(const test::TempDir& dir, std::string_view name, std::string_view text, ErrorCode code,
            std::initializer_list<std::string_view> words) {
    INFO(name);
    check_error(code, words, [&] { open(dir, name, text); });
}

std::string npy(std::string dictionary, char version = 1) {
    std::string header("\x93NUMPY", 6);
    header += version;
    header += '\0';
    const auto length = static_cast<std::uint32_t>(dictionary.size());
    header += version == 1 ? raw(static_cast<std::uint16_t>(length)) : raw(length);
    return header + dictionary;
}

std::string npy_of(std::string descr, std::string shape, std::string order = "False") {
    return npy("{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape +
               ", }\n");
}

template <class T>
void round_trip(const test::TempDir& dir, const std::string& extension, FileElement element,
                std::size_t dims = 1) {
    INFO(extension << " " << name(element));
    const auto data = sample<T>(7 * 6);
    for (const MatrixView<const T> rows :
         {MatrixView<const T>(data.data(), 6, 7), MatrixView<const T>(data.data(), 5, 5, 8)}) {
        const auto path = dir / ("file" + extension);
        kith::write_vectors(path, rows);
        kith::VectorFileOptions options;
        for (options.mmap = false;; options.mmap = true) {
            const VectorFile file(path, options);
            CHECK(file.element() == element);
            REQUIRE(file.rows() == rows.rows());
            REQUIRE(file.cols() == rows.cols());
            CHECK(file.dim() == rows.cols() * dims);
            const auto view = file.view<T>();
            for (std::size_t i = 0; i < rows.rows(); ++i) {
                CHECK(std::memcmp(view.row(i), rows.row(i), rows.cols() * sizeof(T)) == 0);
                CHECK(file.row_bytes(i).data() == static_cast<const void*>(view.row(i)));
            }
            CHECK(file.is_mapped() == options.mmap);
            if (options.mmap) break;
        }
    }
}

}  // namespace

TEST_CASE("every format of vectors round-trips", "[vectors]") {
    const test::TempDir dir;
    round_trip<float>(dir, ".fvecs", FileElement::f32);
    round_trip<std::uint8_t>(dir, ".bvecs", FileElement::u8);
    round_trip<std::int32_t>(dir, ".ivecs", FileElement::i32);
    round_trip<float>(dir, ".fbin", FileElement::f32);
    round_trip<kith::Half>(dir, ".f16bin", FileElement::f16);
    round_trip<kith::BFloat16>(dir, ".bf16bin", FileElement::bf16);
    round_trip<std::uint8_t>(dir, ".u8bin", FileElement::u8);
    round_trip<std::int8_t>(dir, ".i8bin", FileElement::i8);
    round_trip<std::int32_t>(dir, ".ibin", FileElement::i32);
    round_trip<kith::Bits8>(dir, ".b1bin", FileElement::b1, 8);
    round_trip<float>(dir, ".npy", FileElement::f32);
    round_trip<kith::Half>(dir, ".npy", FileElement::f16);
    round_trip<std::int8_t>(dir, ".npy", FileElement::i8);
    round_trip<std::uint8_t>(dir, ".npy", FileElement::u8);
    round_trip<std::int32_t>(dir, ".npy", FileElement::i32);
    round_trip<std::int64_t>(dir, ".npy", FileElement::i64);
}

TEST_CASE("vectors are read as the formats define them", "[vectors]") {
    const test::TempDir dir;
    const VectorFile fvecs = open(dir, "a.fvecs", raw(2, 1.5f, 2.5f, 2, 3.5f, 4.5f));
    CHECK(fvecs.view<float>().stride() == 3);
    CHECK(fvecs.view<float>().row(1)[1] == 4.5f);
    const VectorFile bvecs = open(dir, "a.bvecs", raw(1, 'x', 1, 'y', 1, 'z'));
    CHECK(bvecs.view<std::uint8_t>().stride() == 5);
    CHECK(bvecs.view<std::uint8_t>().row(2)[0] == 'z');
    const VectorFile bits = open(dir, "a.b1bin", raw(2u, 9u, 'a', 'b', 'c', 'd'));
    CHECK(bits.dim() == 9);
    CHECK(bits.view<kith::Bits8>().row(1)[0].bits == 'c');
    const VectorFile file =
        open(dir, "a.npy", npy_of("<i8", "(2, 1)") + raw(std::int64_t{5}, std::int64_t{-6}));
    CHECK_FALSE(file.is_mapped());  // an odd header: its payload is misaligned and was copied
    CHECK(file.view<std::int64_t>().row(1)[0] == -6);
    const std::string spread = "{ \"shape\":(2,1) ,'fortran_order' : False,'descr':'|u1'}";
    for (const char version : {'\1', '\2', '\3'}) {
        const VectorFile odd = open(dir, "b.npy", npy(spread, version) + "qr");
        CHECK(odd.view<std::uint8_t>().row(1)[0] == 'r');
    }
    CHECK(open(dir, "c.npy", npy_of("<f4", "(0, 7)")).dim() == 7);
    CHECK(open(dir, "c.fbin", raw(0u, 7u)).rows() == 0);
    check_error(ErrorCode::type_mismatch, {"f32", "u8"}, [&] { fvecs.view<std::uint8_t>(); });
    fvecs.advise(kith::Access::sequential, 1, 1);

    auto rows = [&] {  // the mapping lives as long as the rows
        const VectorFile again(dir / "a.fvecs");
        return kith::Rows<float>::map(again.view<float>(), again.keep_alive());
    }();
    CHECK(rows.row(1)[0] == 3.5f);
    CHECK(rows.bytes() == 0);
}

TEST_CASE("wrong shapes name what was expected and found", "[vectors]") {
    const test::TempDir dir;
    const auto corrupt = ErrorCode::corrupt;
    refuse(dir, "a.fvecs", raw(2, 1.0f, 2.0f, 3, 1.0f, 2.0f), corrupt,
           {"a.fvecs", "dimension 2", "row 1", "got 3"});
    refuse(dir, "a.fvecs", raw(2, 1.0f, 2.0f, 2), corrupt, {"12 bytes", "16 bytes"});
    refuse(dir, "a.fvecs", raw(0), corrupt, {"positive", "0"});
    refuse(dir, "a.fvecs", raw(-5, 1.0f), corrupt, {"positive", "-5"});
    refuse(dir, "a.bvecs", raw(0x7FFFFFFF, 1.0f), corrupt, {"2147483651", "8 bytes"});
    refuse(dir, "a.fvecs", "abc", corrupt, {"at least 4", "3"});
    refuse(dir, "a.fvecs", "", corrupt, {"0 bytes"});
    refuse(dir, "a.fbin", raw(2u), corrupt, {"8", "4"});
    refuse(dir, "a.fbin", raw(2u, 2u, 1.0f), corrupt, {"2 x 2", "16", "4"});
    refuse(dir, "a.u8bin", raw(1u, 1u, 'a', 'b'), corrupt, {"1 x 1", "1 bytes", "has 2"});
    refuse(dir, "a.fbin", raw(5u, 0u), corrupt, {"5 rows of 0"});
    refuse(dir, "a.fbin", raw(~0u, ~0u, 1.0f), corrupt, {"4294967295"});
    refuse(dir, "a.npy", npy_of("<f4", "(4611686018427387904, 4)"), corrupt, {"2^64"});
    refuse(dir, "a.npy", npy_of("<i8", "(1, 2305843009213693952)"), corrupt, {"2^64"});
    refuse(dir, "a.npy", npy_of("<f4", "(3, 0)"), corrupt, {"3 rows of 0"});
    refuse(dir, "a.npy", npy_of("<f4", "(1, 1)") + "abc", corrupt, {"4 bytes", "has 3"});
    refuse(dir, "a.txt", "abc", ErrorCode::unsupported, {"extension", ".fvecs", ".npy"});
    check_error(ErrorCode::not_found, {"none.fvecs"},
                [&] { kith::open_vectors(dir / "none.fvecs"); });
    std::filesystem::create_directory(dir / "dir.npy");
    check_error(ErrorCode::io, {"is a directory"}, [&] { kith::open_vectors(dir / "dir.npy"); });

    test::write_bytes(dir / "b.fvecs", raw(1, 1.0f, 2, 1.0f));
    CHECK(kith::open_vectors(dir / "b.fvecs", {.format = {}, .mmap = true, .check_rows = false})
              .rows() == 2);
    const VectorFormat bytes{".u8bin", VectorLayout::bin, FileElement::u8};
    test::write_bytes(dir / "unnamed", raw(1u, 2u, 'a', 'b'));
    CHECK(VectorFile(dir / "unnamed", {.format = bytes}).dim() == 2);
}

TEST_CASE("NumPy headers of other things are refused with a reason", "[vectors]") {
    const test::TempDir dir;
    const auto refused = [&](const std::string& text, ErrorCode code,
                             std::initializer_list<std::string_view> words) {
        refuse(dir, "a.npy", text, code, words);
    };
    const auto unsupported = ErrorCode::unsupported;
    refused(npy_of("<f4", "(1, 1)", "True") + raw(1.0f), unsupported,
            {"Fortran", "ascontiguousarray"});
    refused(npy_of(">f4", "(1, 1)") + raw(1.0f), unsupported, {"big-endian"});
    refused(npy_of("<f8", "(1, 1)") + raw(1.0), unsupported, {"<f8", "<f4"});
    refused(npy_of("|b1", "(1, 1)") + "x", unsupported, {"packbits"});
    refused(npy_of("<V2", "(1, 1)") + "xx", unsupported, {"bfloat16"});
    refused(npy_of("<f4", "(1,)") + raw(1.0f), unsupported, {"2 dimensions", "got 1"});
    refused(npy_of("<f4", "()") + raw(1.0f), unsupported, {"2 dimensions", "got 0"});
    refused(npy_of("<f4", "(1, 1, 1)") + raw(1.0f), unsupported, {"got 3"});
    refused(npy("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1, 1), }"),
            unsupported, {"structured"});
    refused(npy_of("<f4", "(1, 1)").replace(6, 1, "\4"), unsupported, {"version 1, 2 or 3", "4"});
    const auto corrupt = ErrorCode::corrupt;
    refused("\x93NUMPX\1", corrupt, {"not an .npy"});
    refused(std::string("\x93NUMPY\1", 7), corrupt, {"10 bytes", "7"});
    refused(std::string("\x93NUMPY\2\0\1\1", 10), corrupt, {"12 bytes"});
    refused(npy_of("<f4", "(1, 1)").substr(0, 40), corrupt, {"the file has 40"});
    for (const char* bad : {"",
                            "x",
                            "{",
                            "{'descr'",
                            "{'descr': }",
                            "{'descr': '<f4}",
                            "{'descr': '', }",
                            "{}",
                            "{'other': 1}",
                            "{'descr': '<f4', 'fortran_order': False, }",
                            "{'descr': '<f4', 'shape': (1, 1), }",
                            "{'fortran_order': False, 'shape': (1, 1), }",
                            "{'shape': (1, -1)}",
                            "{'shape': (1 1)}",
                            "{'shape': (1,",
                            "{'shape': (99999999999999999999, 1)}",
                            "{'fortran_order': Maybe}",
                            "{'shape': (1, 1)} x",
                            "{'shape': (,)}",
                            "{,}"})
        refused(npy(bad), corrupt, {"malformed"});
}

TEST_CASE("every truncation and every changed byte of a file of vectors is survived", "[vectors]") {
    const test::TempDir dir;
    const auto data = sample<float>(12);
    for (const VectorFormat& format : kith::vector_formats) {
        if (format.element != FileElement::f32) continue;
        const auto path = dir / ("a" + std::string(format.extension));
        kith::write_vectors(path, MatrixView<const float>(data.data(), 3, 4));
        const auto whole = test::read_bytes(path);
        const auto survive = [&](const std::vector<std::byte>& bytes) {
            try {
                const VectorFile file(bytes, format);
                std::size_t sum = 0;
                for (std::size_t i = 0; i < file.rows(); ++i)
                    for (const std::byte b : file.row_bytes(i))
                        sum += std::to_integer<std::size_t>(b);
                CHECK(sum < bytes.size() * 256);
                return true;
            } catch (const Error&) {
                return false;
            }
        };
        CHECK(survive(whole));
        for (std::size_t size = 0; size < whole.size(); ++size) {
            const bool opened = survive({whole.begin(), whole.begin() + static_cast<long>(size)});
            CHECK(opened == (format.layout == VectorLayout::vecs && size > 0 && size % 20 == 0));
        }
        for (std::size_t i = 0; i < whole.size(); ++i)
            for (const int value : {0, 1, 0x20, 0x7F, 0x80, 0xFF}) {
                auto changed = whole;
                changed[i] = static_cast<std::byte>(value);
                survive(changed);
            }
    }
}

TEST_CASE("writing vectors refuses what a format cannot hold", "[vectors]") {
    const test::TempDir dir;
    const auto data = sample<float>(12);
    const MatrixView<const float> rows(data.data(), 3, 4);
    test::write_bytes(dir / "a.u8bin", "old");
    check_error(ErrorCode::type_mismatch, {"a.u8bin", "u8", "f32"},
                [&] { kith::write_vectors(dir / "a.u8bin", rows); });
    check_error(ErrorCode::unsupported, {"extension"},
                [&] { kith::write_vectors(dir / "a.txt", rows); });
    check_error(ErrorCode::invalid_argument, {"without a row", ".npy"},
                [&] { kith::write_vectors(dir / "a.fvecs", rows.slice(0, 0)); });
    check_error(ErrorCode::invalid_argument, {"0 dimensions"}, [&] {
        kith::write_vectors(dir / "a.npy", MatrixView<const float>(data.data(), 3, 0));
    });
    check_error(ErrorCode::invalid_argument, {"at most", "rows"}, [&] {
        kith::write_vectors(dir / "a.fbin",
                            MatrixView<const float>(data.data(), std::size_t{1} << 32, 4));
    });
    const auto halves = sample<kith::BFloat16>(4);
    check_error(ErrorCode::unsupported, {"bf16", ".bf16bin"}, [&] {
        kith::write_vectors(dir / "a.npy", MatrixView<const kith::BFloat16>(halves.data(), 2, 2));
    });
    const auto bits = sample<kith::Bits8>(4);
    const MatrixView<const kith::Bits8> bit_rows(bits.data(), 2, 2);
    kith::write_vectors(dir / "a.b1bin", bit_rows, {}, 11);
    CHECK(VectorFile(dir / "a.b1bin").dim() == 11);
    check_error(ErrorCode::invalid_argument, {"17 bits"},
                [&] { kith::write_vectors(dir / "a.b1bin", bit_rows, {}, 17); });
    check_error(ErrorCode::invalid_argument, {"8 bits"},
                [&] { kith::write_vectors(dir / "a.b1bin", bit_rows, {}, 8); });
    check_error(ErrorCode::cancelled, {"write"}, [&] {
        kith::write_vectors(
            dir / "b.npy", rows,
            kith::Progress([](std::string_view, std::size_t, std::size_t) { return false; }));
    });
    CHECK(dir.entries() == 2);
    CHECK(test::read_bytes(dir / "a.u8bin").size() == 3);
}
