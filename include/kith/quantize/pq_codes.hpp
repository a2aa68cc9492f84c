// SPDX-License-Identifier: Apache-2.0
//
// PqCodes: the codes of rows, laid out for their scan, and changeable row by row.
//
//   8 bits   row after row, m bytes each
//   4 bits   blocks of 32 rows, in the order of simd/block_sums.hpp: a group of 16 bytes holds one code of all 32. There are as many groups as codes,
//            rounded up to a multiple of 4 with zeros; the last block may have places without a row, whose codes mean nothing.
//
// Owned, borrowed or mapped, as Rows are: foreign memory is copied before its first change.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/pq_table.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

class PqCodes {
public:
    static constexpr std::size_t block = 32;  // rows of 4-bit codes that lie together

    /// No rows yet.
    PqCodes(std::size_t m, std::size_t bits) : PqCodes(m, bits, Rows<std::uint8_t>(stored_cols(m, bits)), 0) {}

    /// `size` rows that are stored like this. Throws Error{dimension_mismatch}.
    PqCodes(std::size_t m, std::size_t bits, Rows<std::uint8_t> stored, std::size_t size)
        : m_(m), packed_(bits == 4), stored_(std::move(stored)), size_(size) {
        if (stored_.cols() != stored_cols(m, bits) || stored_.rows() != stored_rows(size, bits))
            fail(ErrorCode::dimension_mismatch, "expected codes of ", stored_rows(size, bits), " x ", stored_cols(m, bits), " bytes, got ",
                 stored_.rows(), " x ", stored_.cols());
    }

    /// What `size` rows are stored as: rows of Rows, and their bytes.
    static std::size_t stored_rows(std::size_t size, std::size_t bits) noexcept { return bits == 4 ? (size + block - 1) / block : size; }
    static std::size_t stored_cols(std::size_t m, std::size_t bits) noexcept { return bits == 4 ? 16 * code_groups_of(m) : m; }

    std::size_t size() const noexcept { return size_; }
    std::size_t m() const noexcept { return m_; }
    bool packed() const noexcept { return packed_; }
    /// Of a packed block.
    std::size_t groups() const noexcept { return code_groups_of(m_); }
    const Rows<std::uint8_t>& stored() const noexcept { return stored_; }
    /// Bytes that are read to score one row of many.
    std::size_t row_bytes() const noexcept { return packed_ ? stored_.cols() / block : m_; }

    std::uint8_t code(Slot slot, std::size_t j) const noexcept {
        if (!packed_) return stored_.row(slot)[j];
        const std::uint8_t byte = stored_.row(slot / block)[16 * j + place(slot)];
        return slot % block < 16 ? byte & 15u : byte >> 4;
    }
    void read(Slot slot, std::uint8_t* codes) const noexcept {
        for (std::size_t j = 0; j < m_; ++j) codes[j] = code(slot, j);
    }

    /// n rows of m codes, one after the other. Amortised O(m) a row. Strong guarantee.
    void append(const std::uint8_t* codes, std::size_t n) {
        const std::size_t first = size_;
        extend(size_ + n);
        for (std::size_t i = 0; i < n; ++i) set(static_cast<Slot>(first + i), codes + i * m_);
    }

    /// Rows whose codes are all 0, up to `size` of them in all.
    void extend(std::size_t size) {
        if (size <= size_) return;
        if (size >= max_rows) fail(ErrorCode::unsupported, "an index holds fewer than ", max_rows, " rows, not ", size);
        stored_.make_owned();
        stored_.extend(stored_rows(size, packed_ ? 4 : 8), 0);
        const std::size_t first = std::exchange(size_, size);
        for (std::size_t slot = first; slot < size && slot % block != 0; ++slot) clear(static_cast<Slot>(slot));
    }

    /// Codes of their own memory, whose row i is this one's row old_of[i], or all 0 where that is invalid_slot. O(rows m).
    PqCodes selected(std::span<const Slot> old_of, Executor& executor) const {
        PqCodes codes(m_, packed_ ? 4 : 8);
        codes.extend(old_of.size());
        executor.run((old_of.size() + block - 1) / block, 64, [&](std::size_t begin, std::size_t end, std::size_t) {
            std::vector<std::uint8_t> row(m_);
            for (std::size_t slot = begin * block; slot < std::min(end * block, old_of.size()); ++slot) {
                if (old_of[slot] == invalid_slot) continue;
                read(old_of[slot], row.data());
                codes.set(static_cast<Slot>(slot), row.data());
            }
        });
        return codes;
    }

    /// Writes a row that is owned already. Rows of different blocks of 32 may be written at a time.
    void set(Slot slot, const std::uint8_t* codes) noexcept {
        for (std::size_t j = 0; j < m_; ++j) write(slot, j, codes[j]);
    }

    /// After make_owned() they cannot fail.
    void overwrite(Slot slot, const std::uint8_t* codes) {
        if (slot >= size_) fail(ErrorCode::invalid_argument, "expected a slot below ", size_, ", got ", slot);
        stored_.make_owned();
        set(slot, codes);
    }
    void move(Slot from, Slot to) {
        if (from >= size_ || to >= size_) fail(ErrorCode::invalid_argument, "expected slots below ", size_, ", got ", from, " and ", to);
        stored_.make_owned();
        for (std::size_t j = 0; j < m_; ++j) write(to, j, code(from, j));
    }
    void make_owned() { stored_.make_owned(); }

    /// Keeps the first `size` rows. Copies nothing.
    void truncate(std::size_t size) noexcept {
        if (size >= size_) return;
        size_ = size;
        stored_.truncate(stored_rows(size, packed_ ? 4 : 8));
        if (!packed_ || stored_.is_borrowed()) return;
        for (std::size_t slot = size; slot % block != 0; ++slot) clear(static_cast<Slot>(slot));  // as if they had never been
    }

private:
    /// Which byte of a group.
    static std::size_t place(Slot slot) noexcept { return 2 * (slot % 8) + slot / 8 % 2; }

    void clear(Slot slot) noexcept {
        for (std::size_t j = 0; j < m_; ++j) write(slot, j, 0);
    }
    void write(Slot slot, std::size_t j, std::uint8_t code) noexcept {
        if (!packed_) {
            stored_.own_row(slot)[j] = code;
            return;
        }
        std::uint8_t& byte = stored_.own_row(static_cast<Slot>(slot / block))[16 * j + place(slot)];
        const bool low = slot % block < 16;
        byte = static_cast<std::uint8_t>(low ? (byte & 0xF0u) | code : (byte & 0x0Fu) | code << 4);
    }

    std::size_t m_;
    bool packed_;
    Rows<std::uint8_t> stored_;
    std::size_t size_;
};

}  // namespace kith
