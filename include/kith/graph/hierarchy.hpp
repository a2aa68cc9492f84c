// SPDX-License-Identifier: Apache-2.0
//
// Hierarchy: the upper layers of an HNSW graph (Malkov and Yashunin 2018, section 4). A slot draws its level when it is new and keeps it, with the rows of its tower, when it is reused.
// Levels are geometric with P(level >= l) = M^-l, drawn from (seed, slot) alone.
//
// Memory: 5 bytes a slot and 4 M bytes for each of the n / (M - 1) upper rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/random.hpp"
#include "kith/graph/links.hpp"
#include "kith/graph/reach.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

class Hierarchy {
public:
    static constexpr std::size_t max_level = 31;

    Hierarchy(std::size_t m, std::uint64_t seed) : upper_(m), levels_(1), towers_(1), seed_(seed) {}

    std::uint64_t seed() const noexcept { return seed_; }
    Slot entry() const noexcept { return entry_; }
    std::size_t top() const noexcept { return top_; }
    const Links& upper() const noexcept { return upper_; }
    Links& upper() noexcept { return upper_; }
    std::size_t level(Slot slot) const noexcept { return *levels_.row(slot); }
    Layer layer(std::size_t level) const noexcept { return Layer(upper_, towers_.view().data(), level); }
    std::size_t memory_bytes() const noexcept { return upper_.memory_bytes() + towers_.rows() * (sizeof(std::uint32_t) + 1); }

    /// New slots draw their levels and get towers.
    void raise(std::size_t slots) {
        const std::size_t before = levels_.rows();
        if (slots <= before) return;
        const Random random(seed_);
        const double scale = 1.0 / std::log(static_cast<double>(upper_.degree()));
        std::size_t rows = upper_.size();
        levels_.extend(slots, 0);
        towers_.extend(slots, invalid_slot);
        for (std::size_t slot = before; slot < slots; ++slot) {
            const double draw = -std::log(1.0 - random.uniform(slot)) * scale;
            const auto level = static_cast<std::size_t>(std::min(draw, static_cast<double>(max_level)));
            if (level == 0) continue;
            *levels_.own_row(static_cast<Slot>(slot)) = static_cast<std::uint8_t>(level);
            *towers_.own_row(static_cast<Slot>(slot)) = static_cast<std::uint32_t>(rows);
            rows += level;
        }
        upper_.extend(rows);
    }

    /// Forgets the links of a slot that is taken again.
    void clear(Slot slot) noexcept {
        for (std::size_t l = 1; l <= level(slot); ++l) upper_.assign(layer(l).index(slot), {});
    }

    /// A node that was linked becomes the entry point if it is the highest.
    void offer_entry(Slot slot) noexcept {
        if (entry_ != invalid_slot && level(slot) <= top_) return;
        entry_ = slot;
        top_ = level(slot);
    }
    void forget_entry() noexcept {
        entry_ = invalid_slot;
        top_ = 0;
    }

    /// Before the first change. Who changes links follows them without asking whether they stay in their layer: throws Error{corrupt} where those of a
    /// file do not.
    void make_owned() {
        if (levels_.is_borrowed()) validate("a loaded index");
        upper_.make_owned();
        levels_.make_owned();
        towers_.make_owned();
    }

    /// Follows a compaction of slots.
    void compact(std::span<const Slot> old_of) {
        std::vector<Slot> new_of(levels_.rows(), invalid_slot);
        for (std::size_t to = 0; to < old_of.size(); ++to) new_of[old_of[to]] = static_cast<Slot>(to);
        Hierarchy packed(upper_.degree(), seed_);
        packed.levels_.extend(old_of.size(), 0);
        packed.towers_.extend(old_of.size(), invalid_slot);
        std::vector<Slot> row;
        for (std::size_t to = 0; to < old_of.size(); ++to) {
            const std::size_t levels = level(old_of[to]);
            if (levels == 0) continue;
            *packed.levels_.own_row(static_cast<Slot>(to)) = static_cast<std::uint8_t>(levels);
            *packed.towers_.own_row(static_cast<Slot>(to)) = static_cast<std::uint32_t>(packed.upper_.size());
            for (std::size_t l = 1; l <= levels; ++l) {
                row.clear();
                if (layer(l).row(old_of[to]) != nullptr)
                    for (const Slot neighbour : layer(l).neighbours(old_of[to]))
                        if (neighbour < new_of.size() && new_of[neighbour] != invalid_slot) row.push_back(new_of[neighbour]);
                packed.upper_.extend(packed.upper_.size() + 1);
                packed.upper_.assign(packed.upper_.size() - 1, row);
            }
        }
        packed.entry_ = entry_ == invalid_slot ? invalid_slot : new_of[entry_];
        packed.top_ = top_;
        *this = std::move(packed);
    }

    void save(SectionWriter& writer) const {
        writer.add_rows("levels", levels_.view());
        writer.add_rows("towers", towers_.view());
        writer.add_rows("upper_links", upper_.rows().view());
        const std::uint64_t state[] = {seed_, entry_, top_};
        writer.add_copy("hierarchy", std::span<const std::uint64_t>(state));
    }

    /// The hierarchy of a file of `slots` slots: safe to search, whatever the bytes.
    static Hierarchy load(const SectionReader& reader, std::size_t m, std::size_t slots, std::size_t rows) {
        const auto state = reader.section<std::uint64_t>("hierarchy", 3);
        Hierarchy loaded(m, state[0]);
        loaded.levels_ = Rows<std::uint8_t>::map(reader.matrix<std::uint8_t>("levels", slots, 1), reader.keep_alive());
        loaded.towers_ = Rows<std::uint32_t>::map(reader.matrix<std::uint32_t>("towers", slots, 1), reader.keep_alive());
        const std::size_t words = reader.section<std::uint32_t>("upper_links").size();
        loaded.upper_ = Links(Rows<std::uint32_t>::map(reader.matrix<std::uint32_t>("upper_links", words / m, m), reader.keep_alive()), m);
        if (rows == 0 ? state[1] != invalid_slot : state[1] >= slots)
            fail(ErrorCode::corrupt, reader.name(), ": section 'hierarchy': expected an entry point below ", slots, ", got ", state[1]);
        if (state[2] > max_level)
            fail(ErrorCode::corrupt, reader.name(), ": section 'hierarchy': expected at most ", max_level, " layers, got ", state[2]);
        loaded.entry_ = static_cast<Slot>(state[1]);
        loaded.top_ = static_cast<std::size_t>(state[2]);
        // Changes write through towers, so they must lead to rows of their own.
        std::vector<bool> used(loaded.upper_.size());
        for (std::size_t slot = 0; slot < slots; ++slot) {
            const std::size_t levels = loaded.level(static_cast<Slot>(slot));
            const std::size_t first = *loaded.towers_.row(static_cast<Slot>(slot));
            bool good = levels <= max_level && (levels == 0 ? first == invalid_slot : first + levels <= loaded.upper_.size());
            for (std::size_t l = 0; good && l < levels; ++l) {
                good = !used[first + l];
                used[first + l] = true;
            }
            if (!good) fail(ErrorCode::corrupt, reader.name(), ": section 'towers': slot ", slot, " has no ", levels, " rows of its own");
        }
        return loaded;
    }

    static std::vector<std::string_view> section_names() { return {"levels", "towers", "upper_links", "hierarchy"}; }

    /// Throws Error{corrupt} where links lead out of a layer.
    void validate(std::string_view source) const {
        const std::size_t slots = levels_.rows();
        for (std::size_t slot = 0; slot < slots; ++slot)
            for (std::size_t l = 1; l <= level(static_cast<Slot>(slot)); ++l) {
                const std::size_t row = layer(l).index(static_cast<Slot>(slot));
                check_links(upper_, row, static_cast<Slot>(slot), slots, "upper_links", source);
                for (const Slot neighbour : upper_.neighbours(row))
                    if (level(neighbour) < l)
                        fail(ErrorCode::corrupt, source, ": section 'upper_links': slot ", slot, " of layer ", l, " links to slot ", neighbour,
                             " of level ", level(neighbour));
            }
        if (entry_ != invalid_slot && level(entry_) != top_)
            fail(ErrorCode::corrupt, source, ": section 'hierarchy': the entry point has level ", level(entry_), ", expected ", top_);
    }

private:
    Links upper_;
    Rows<std::uint8_t> levels_;
    Rows<std::uint32_t> towers_;
    std::uint64_t seed_;
    Slot entry_ = invalid_slot;
    std::size_t top_ = 0;
};

}  // namespace kith
