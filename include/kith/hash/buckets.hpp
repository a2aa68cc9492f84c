// SPDX-License-Identifier: Apache-2.0
//
// Buckets: which rows have which key, in tables. Two parts:
//
//   sorted   the rows of a table one bucket after the other, and where each bucket begins: 4 bytes a row and 4 a bucket, no pointers; a file's lie where they are mapped
//   chained  rows that came later, in lists through an array; when they are a quarter of all they are sorted in
//
// Buckets are numbered by the key itself where there are not many more keys than rows, else by some bits of it mixed: then two keys may share a bucket, which costs a
// few candidates and never a result.
//
// Rows that are removed stay where they are until the next sorting, and their slots are not given to others until then; who reads passes over what is vacant.
// So adding is O(tables) and removing O(1) a row, whatever the number of rows, and sorting O(tables n) once in n / 4 changes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/bitset.hpp"
#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/prefetch.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/storage/rows.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

class Buckets {
public:
    using Number = std::uint32_t;

    Buckets() = default;

    /// None yet: for keys below 2^key_bits (64: any), and about `rows` rows.
    Buckets(std::size_t tables, std::size_t key_bits, std::size_t rows)
        : tables_(tables), direct_(key_bits <= number_bits(rows)), bits_(std::min(key_bits, number_bits(rows))), offsets_(count() + 1) {
        offsets_.extend(tables, 0);
    }

    std::size_t tables() const noexcept { return tables_; }
    std::size_t count() const noexcept { return std::size_t{1} << bits_; }  // buckets of a table
    /// Rows in the sorted part of each table, and in the chained one.
    std::size_t sorted() const noexcept { return sorted_.empty() ? 0 : sorted_.cols(); }
    std::size_t chained() const noexcept { return later_.size(); }
    /// More than this many changes behind, they want to be sorted.
    bool wants_sorting(std::size_t stale) const noexcept { return later_.size() + stale > std::max<std::size_t>(1024, (sorted() + later_.size()) / 4); }
    std::size_t memory_bytes() const noexcept {
        return offsets_.rows() * offsets_.stride() * sizeof(Number) + sorted_.rows() * sorted_.cols() * sizeof(Slot) + heads_.capacity() * sizeof(Number) +
               (later_.capacity() + next_.capacity()) * sizeof(Slot);
    }

    Number number(std::uint64_t key) const noexcept {
        if (direct_) return static_cast<Number>(key & (count() - 1));
        return static_cast<Number>(detail::mix64(key) >> (64 - bits_));
    }

    /// numbers[t * rows + i]: the bucket of row i (slot i) in table t. Replaces all there is. O(tables (n + buckets)).
    void sort(std::span<const Number> numbers, std::size_t rows, Executor& executor) {
        auto [offsets, slots] = room(rows);
        executor.run(tables_, 1, [&, &offsets = offsets, &slots = slots](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t t = begin; t < end; ++t) {
                const std::span<const Number> of_rows = numbers.subspan(t * rows, rows);
                Number* const first = offsets.own_row(static_cast<Slot>(t));
                Slot* const out = rows == 0 ? nullptr : slots.own_row(static_cast<Slot>(t));
                for (const Number number : of_rows) ++first[number + 1];
                for (std::size_t b = 0; b < count(); ++b) first[b + 1] += first[b];
                for (std::size_t i = 0; i < rows; ++i) out[first[of_rows[i]]++] = static_cast<Slot>(i);
                for (std::size_t b = count(); b > 0; --b) first[b] = first[b - 1];  // each is where the next begins now
                first[0] = 0;
            }
        });
        take(std::move(offsets), std::move(slots));
    }

    /// The bucket numbers of a row that came, one a table. reserve() first; then it cannot fail.
    void reserve(std::size_t more) {
        if (heads_.empty()) heads_.assign(tables_ * count(), 0);
        later_.reserve(grown(later_.capacity(), later_.size() + more));
        next_.reserve(grown(next_.capacity(), (later_.size() + more) * tables_));
    }
    void add(Slot slot, const Number* numbers) {
        later_.push_back(slot);
        for (std::size_t t = 0; t < tables_; ++t) {
            Number& head = heads_[t * count() + numbers[t]];
            next_.push_back(head);
            head = static_cast<Number>(later_.size());
        }
    }

    /// All in one sorted part again, without the slots that are vacant. Strong guarantee.
    void sort_in(BitsetView vacant, Executor& executor = inline_executor()) {
        Buckets merged = sorted_copy(vacant, executor);
        *this = std::move(merged);
    }

    /// The same as a copy: what is written to a file.
    Buckets sorted_copy(BitsetView vacant, Executor& executor = inline_executor()) const {
        Buckets copy;
        copy.tables_ = tables_;
        copy.direct_ = direct_;
        copy.bits_ = bits_;
        if (tables_ == 0) return copy;
        // Each table holds every row once, so they all have as many.
        std::size_t live = 0;
        for_each_entry(0, [&](std::size_t, Slot slot) { live += vacant.test(slot) ? 0 : 1; });
        auto [offsets, slots] = room(live);
        executor.run(tables_, 1, [&, &offsets = offsets, &slots = slots](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t t = begin; t < end; ++t) {
                Number* const first = offsets.own_row(static_cast<Slot>(t));
                Slot* const out = live == 0 ? nullptr : slots.own_row(static_cast<Slot>(t));
                std::size_t filled = 0;
                for_each_entry(t, [&](std::size_t bucket, Slot slot) {
                    if (vacant.test(slot) || filled == live) return;
                    out[filled++] = slot;
                    first[bucket + 1] = static_cast<Number>(filled);
                });
                for (std::size_t b = 0; b < count(); ++b) first[b + 1] = std::max(first[b + 1], first[b]);
            }
        });
        copy.take(std::move(offsets), std::move(slots));
        return copy;
    }

    /// Slots have other numbers: new slot -> old slot. Sorts in. Strong guarantee.
    void renumber(std::span<const Slot> old_of, std::size_t old_slots, BitsetView vacant, Executor& executor) {
        std::vector<Slot> new_of(old_slots, invalid_slot);
        for (std::size_t slot = 0; slot < old_of.size(); ++slot)
            if (old_of[slot] != invalid_slot) new_of[old_of[slot]] = static_cast<Slot>(slot);
        Buckets merged = sorted_copy(vacant, executor);
        for (std::size_t t = 0; t < merged.sorted_.rows(); ++t)
            for (Slot& slot : std::span(merged.sorted_.own_row(static_cast<Slot>(t)), merged.sorted()))
                slot = slot < new_of.size() ? new_of[slot] : invalid_slot;
        *this = std::move(merged);
    }

    /// Asks memory for where a bucket is, and then for what is in it.
    void prefetch_place(std::size_t table, Number number) const noexcept { prefetch_bytes(offsets_.row(static_cast<Slot>(table)) + number, 2 * sizeof(Number)); }
    void prefetch_rows(std::size_t table, Number number) const noexcept {
        const auto rows = sorted_rows(table, number);
        prefetch_bytes(rows.data(), std::min<std::size_t>(rows.size_bytes(), 512));
    }

    /// visit(slots, count): the rows of a bucket, some at a time; vacant ones and ones that do not exist (of a hostile file) may be among them.
    template <class Visit>
    void for_each(std::size_t table, Number number, Visit&& visit) const {
        if (const auto rows = sorted_rows(table, number); !rows.empty()) visit(rows.data(), rows.size());
        if (!heads_.empty()) for_each_chained(table, number, [&](Slot slot) { visit(&slot, 1); });
    }

    /// The sizes of the buckets that have rows: how many, the largest, and the sum of their squares over the number of rows (rows beside which a row lies, itself too).
    struct Sizes {
        std::size_t used = 0;
        std::size_t largest = 0;
        double company = 0;
    };
    Sizes sizes() const {
        Sizes all;
        double squares = 0, rows = 0;
        for (std::size_t t = 0; t < tables_; ++t)
            for (std::size_t b = 0; b < count(); ++b) {
                std::size_t size = 0;
                for_each(t, static_cast<Number>(b), [&](const Slot*, std::size_t n) { size += n; });
                all.used += size != 0 ? 1 : 0;
                all.largest = std::max(all.largest, size);
                squares += static_cast<double>(size) * static_cast<double>(size);
                rows += static_cast<double>(size);
            }
        all.company = rows == 0 ? 0 : squares / rows;
        return all;
    }

    static std::vector<std::string_view> section_names() { return {"lsh_offsets", "lsh_rows"}; }
    /// Of sorted buckets only. They must stay until the file is written, or come with who keeps them.
    void save(SectionWriter& writer) const {
        writer.add_rows("lsh_offsets", offsets_.view());
        writer.add("lsh_rows", std::span<const Slot>(sorted_.empty() ? nullptr : sorted_.row(0), sorted() * tables_));
    }
    static void save(SectionWriter& writer, std::shared_ptr<const Buckets> kept) {
        const auto add = [&](std::string_view name, std::span<const std::byte> bytes, std::size_t element) {
            writer.add_stream(name, bytes.size(), element, [bytes, kept](ByteSink sink) { sink(bytes); });
        };
        add("lsh_offsets", std::as_bytes(std::span(kept->offsets_.row(0), kept->tables_ * (kept->count() + 1))), sizeof(Number));
        add("lsh_rows", std::as_bytes(std::span(kept->sorted_.empty() ? nullptr : kept->sorted_.row(0), kept->sorted() * kept->tables_)), sizeof(Slot));
    }
    /// Safe for any bytes: what is read is looked at when it is used.
    static Buckets load(const SectionReader& reader, std::size_t tables, std::size_t key_bits, std::size_t bits) {
        Buckets made;
        made.tables_ = tables;
        made.direct_ = key_bits <= bits;
        made.bits_ = bits;
        made.offsets_ = Rows<Number>::map(reader.matrix<Number>("lsh_offsets", tables, made.count() + 1), reader.keep_alive());
        const auto rows = reader.section<Slot>("lsh_rows");
        if (tables == 0 || rows.size() % tables != 0)
            fail(ErrorCode::corrupt, reader.name(), ": section 'lsh_rows': expected as many rows in each of ", tables, " tables, got ", rows.size(), " in all");
        if (!rows.empty()) made.sorted_ = Rows<Slot>::map({rows.data(), tables, rows.size() / tables}, reader.keep_alive());
        return made;
    }
    std::size_t bits() const noexcept { return bits_; }

    /// Throws Error{corrupt} unless each table has each of `rows` slots below `slots` once, in buckets that follow each other, and none that is vacant but not stale.
    void validate(std::string_view source, std::size_t rows, std::size_t slots, BitsetView vacant, BitsetView stale) const {
        if (sorted() + chained() != rows) fail(ErrorCode::corrupt, source, ": section 'lsh_rows': expected ", rows - std::min(rows, chained()), " rows a table, got ", sorted());
        for (std::size_t t = 0; t < tables_; ++t) {
            const Number* const first = offsets_.row(static_cast<Slot>(t));
            if (first[0] != 0 || first[count()] != sorted() || !std::is_sorted(first, first + count() + 1))
                fail(ErrorCode::corrupt, source, ": section 'lsh_offsets': table ", t, " does not share out ", sorted(), " rows");
            Bitset seen(slots);
            for_each_entry(t, [&](std::size_t, Slot slot) {
                if (slot >= slots || seen.test(slot) || (vacant.test(slot) && !stale.test(slot)))
                    fail(ErrorCode::corrupt, source, ": section 'lsh_rows': expected each live slot below ", slots, " once in table ", t, ", got ", slot);
                seen.set(slot);
            });
        }
    }

private:
    /// About as many buckets as rows.
    static std::size_t number_bits(std::size_t rows) noexcept { return std::clamp<std::size_t>(static_cast<std::size_t>(std::bit_width(rows)), 8, 30); }
    static std::size_t grown(std::size_t capacity, std::size_t wanted) noexcept { return wanted <= capacity ? capacity : std::max(wanted, capacity + capacity / 2); }

    /// For so many rows in each table.
    std::pair<Rows<Number>, Rows<Slot>> room(std::size_t rows) const {
        Rows<Number> offsets(count() + 1);
        offsets.extend(tables_, 0);
        Rows<Slot> slots;
        if (rows != 0) {
            slots = Rows<Slot>(rows);
            slots.extend(tables_, 0);
        }
        return {std::move(offsets), std::move(slots)};
    }

    void take(Rows<Number> offsets, Rows<Slot> slots) {
        offsets_ = std::move(offsets);
        sorted_ = std::move(slots);
        heads_ = {};
        later_ = {};
        next_ = {};
    }

    std::span<const Slot> sorted_rows(std::size_t table, std::size_t number) const noexcept {
        const std::size_t rows = sorted();
        const Number* const first = offsets_.row(static_cast<Slot>(table)) + number;
        const std::size_t begin = std::min<std::size_t>(first[0], rows), end = std::min<std::size_t>(first[1], rows);
        return begin < end ? std::span<const Slot>(sorted_.row(static_cast<Slot>(table)) + begin, end - begin) : std::span<const Slot>();
    }

    template <class Visit>
    void for_each_chained(std::size_t table, std::size_t number, Visit&& visit) const {
        for (Number entry = heads_[table * count() + number]; entry != 0; entry = next_[(entry - 1) * tables_ + table]) visit(later_[entry - 1]);
    }

    /// visit(bucket, slot) for all rows of a table. Each place of the sorted part once, whatever a hostile file says of where buckets begin.
    template <class Visit>
    void for_each_entry(std::size_t table, Visit&& visit) const {
        std::size_t from = 0;
        for (std::size_t b = 0; b < count(); ++b) {
            const auto rows = sorted_rows(table, b);
            const std::size_t begin = rows.empty() ? from : static_cast<std::size_t>(rows.data() - sorted_.row(static_cast<Slot>(table)));
            for (std::size_t at = std::max(begin, from); at < begin + rows.size(); ++at) visit(b, rows[at - begin]);
            from = std::max(from, begin + rows.size());
            if (!heads_.empty()) for_each_chained(table, b, [&](Slot slot) { visit(b, slot); });
        }
    }

    std::size_t tables_ = 0;
    bool direct_ = true;
    std::size_t bits_ = 0;
    Rows<Number> offsets_;        // tables x (buckets + 1)
    Rows<Slot> sorted_;           // tables x rows; none where there are no rows
    std::vector<Number> heads_;   // tables x buckets: 1 + the last entry, 0 where there is none
    std::vector<Slot> later_;     // entry -> slot
    std::vector<Number> next_;    // entry x tables
};

}  // namespace kith
