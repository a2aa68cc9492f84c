// SPDX-License-Identifier: Apache-2.0
//
// Links: the adjacency of one graph, a row of `degree` slots for each node, unused places at the end filled with invalid_slot: no offsets, no
// counts, nothing to load before the row itself. A row may carry a payload behind its slots (packed codes of the neighbours),
// which the graph algorithms neither read nor write.
//
// Memory: 4 (degree + payload words) bytes a node. Owned, or mapped from a file until it is changed. Rows of a file can hold anything: whoever
// follows a link must check that it is below the number of slots, which ends at the padding too.
//
// Layer: the links of the nodes that are in one layer of a hierarchy. In the base layer a node's row is its slot; above it, rows are handed out in
// towers: a node of level l has l consecutive rows, for layers 1 to l.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "kith/core/prefetch.hpp"
#include "kith/core/types.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

class Links {
public:
    Links() = default;
    explicit Links(std::size_t degree, std::size_t payload_words = 0)
        : rows_(degree + payload_words), degree_(degree) {}
    /// A file's rows of degree + payload words.
    Links(Rows<std::uint32_t> rows, std::size_t degree) : rows_(std::move(rows)), degree_(degree) {}

    std::size_t degree() const noexcept { return degree_; }
    std::size_t size() const noexcept { return rows_.rows(); }
    std::size_t row_bytes() const noexcept { return rows_.cols() * sizeof(std::uint32_t); }
    std::size_t memory_bytes() const noexcept { return size() * row_bytes(); }
    const Rows<std::uint32_t>& rows() const noexcept { return rows_; }

    /// `degree` slots, the unused ones invalid_slot.
    const Slot* row(std::size_t node) const noexcept { return rows_.row(static_cast<Slot>(node)); }
    std::size_t payload_words() const noexcept { return rows_.cols() - degree_; }
    const std::uint32_t* payload(std::size_t node) const noexcept { return row(node) + degree_; }
    std::span<const Slot> neighbours(std::size_t node) const noexcept {
        const Slot* const first = row(node);
        return {first, std::find(first, first + degree_, invalid_slot)};
    }

    /// At most degree() slots.
    void assign(std::size_t node, std::span<const Slot> neighbours) noexcept {
        Slot* const to = rows_.own_row(static_cast<Slot>(node));
        std::fill(std::copy(neighbours.begin(), neighbours.end(), to), to + degree_, invalid_slot);
    }
    std::uint32_t* own_payload(std::size_t node) noexcept { return rows_.own_row(static_cast<Slot>(node)) + degree_; }

    /// Rows without links up to `size` of them. Amortised O(1) a row.
    void extend(std::size_t size) {
        if (size > this->size()) rows_.extend(size, invalid_slot);
    }
    void truncate(std::size_t size) noexcept { rows_.truncate(size); }
    void make_owned() { rows_.make_owned(); }

private:
    Rows<std::uint32_t> rows_;
    std::size_t degree_ = 0;
};

class Layer {
public:
    /// The base layer, 0.
    explicit Layer(const Links& links) noexcept : links_(&links) {}
    /// Layer `level` >= 1. towers[slot]: the first of the slot's rows, invalid_slot for none.
    Layer(const Links& upper, const std::uint32_t* towers, std::size_t level) noexcept
        : links_(&upper), towers_(towers), above_(static_cast<std::uint32_t>(level - 1)) {}

    std::size_t degree() const noexcept { return links_->degree(); }
    bool is_base() const noexcept { return towers_ == nullptr; }

    /// The node's row, or none where it is not in this layer. Safe for any bytes of a file.
    const Slot* row(Slot slot) const noexcept {
        if (towers_ == nullptr) return links_->row(slot);
        const std::size_t at = std::size_t{towers_[slot]} + above_;
        return at < links_->size() ? links_->row(at) : nullptr;
    }
    /// Which row of the links is the slot's; it is in this layer.
    std::size_t index(Slot slot) const noexcept {
        return towers_ == nullptr ? slot : std::size_t{towers_[slot]} + above_;
    }
    std::span<const Slot> neighbours(Slot slot) const noexcept { return links_->neighbours(index(slot)); }

    void prefetch(Slot slot) const noexcept {
        if (towers_ == nullptr) prefetch_bytes(links_->row(slot), degree() * sizeof(Slot));
    }

private:
    const Links* links_;
    const std::uint32_t* towers_ = nullptr;
    std::uint32_t above_ = 0;
};

}  // namespace kith
