// SPDX-License-Identifier: Apache-2.0
//
// GraphStore<S>: what a graph consists of: rows of a space, their links in the base layer with the packed codes of their neighbours where it has them, and which
// slots are vacant. It takes rows in and moves them, and saves and loads all that; searching and linking are Graph's (graph/graph.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/graph/links.hpp"
#include "kith/graph/packed_codes.hpp"
#include "kith/graph/reach.hpp"
#include "kith/space/space.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

template <Space S>
class GraphStore {
public:
    /// Without links. packed: rows of links keep codes of the neighbours too; throws Error{unsupported} where the space has none.
    GraphStore(S space, std::size_t degree, bool packed) : space_(std::move(space)), links_(degree, payload_words(space_, degree, packed)) {
        check_room(0);
        links_.extend(space_.size());
        vacant_.resize(space_.size());
    }

    /// Linked already, without packed codes.
    GraphStore(S space, Links links) : space_(std::move(space)), links_(std::move(links)) {
        check_room(0);
        vacant_.resize(space_.size());
    }

    const S& space() const noexcept { return space_; }
    const Links& links() const noexcept { return links_; }
    Links& links() noexcept { return links_; }
    Layer base() const noexcept { return Layer(links_); }
    std::size_t slots() const noexcept { return space_.size(); }
    std::size_t size() const noexcept { return slots() - vacant_count_; }
    bool is_vacant(Slot slot) const noexcept { return vacant_.test(slot); }
    std::size_t memory_bytes() const noexcept { return space_.memory_bytes() + links_.memory_bytes() + vacant_.size() / 8; }

    /// The slots that count as visited from the beginning of a walk.
    BitsetView hidden() const noexcept { return vacant_count_ == 0 ? BitsetView() : vacant_.view(); }

    template <class Visit>
    void for_each_live(Visit&& visit) const {
        for (std::size_t slot = 0; slot < slots(); ++slot)
            if (!vacant_.test(slot)) visit(static_cast<Slot>(slot));
    }

    void own_rows()
        requires GrowableSpace<S>
    {
        own_links();
        space_.own_rows();
    }

    /// Puts rows into vacant slots, then behind the last, without links. Returns their slots. Strong guarantee.
    std::vector<Slot> take_rows(rows_view_of<S> rows)
        requires GrowableSpace<S>
    {
        const std::size_t reused = std::min(rows.rows(), vacant_count_ - limbo_.size());
        const std::size_t before = slots();
        const std::size_t after = before + rows.rows() - reused;
        check_room(after - before);
        std::vector<Slot> taken;
        taken.reserve(rows.rows());
        own_links();
        if (reused > 0) space_.own_rows();
        vacant_.resize(after);
        links_.extend(after);
        try {
            space_.append(rows.slice(reused, rows.rows() - reused));
        } catch (...) {
            links_.truncate(before);
            vacant_.resize(before);
            throw;
        }
        // Nothing below fails. limbo_ is sorted.
        for (std::size_t slot = 0; taken.size() < reused; ++slot) {
            if (!vacant_.test(slot) || std::binary_search(limbo_.begin(), limbo_.end(), static_cast<Slot>(slot))) continue;
            space_.overwrite(static_cast<Slot>(slot), rows[taken.size()]);
            links_.assign(slot, {});
            vacant_.reset(slot);
            taken.push_back(static_cast<Slot>(slot));
        }
        vacant_count_ -= reused;
        for (std::size_t slot = before; slot < after; ++slot) taken.push_back(static_cast<Slot>(slot));
        return taken;
    }

    /// Moves the live rows to the first slots, in their order. Returns new slot -> old slot.
    std::vector<Slot> compact(Executor& executor)
        requires GrowableSpace<S>
    {
        own_rows();
        std::vector<Slot> old_of;
        std::vector<Slot> new_of(slots(), invalid_slot);
        old_of.reserve(size());
        for (std::size_t slot = 0; slot < slots(); ++slot) {
            if (vacant_.test(slot)) continue;
            new_of[slot] = static_cast<Slot>(old_of.size());
            old_of.push_back(static_cast<Slot>(slot));
        }
        std::vector<Slot> row;
        for (std::size_t to = 0; to < old_of.size(); ++to) {
            row.clear();
            for (const Slot neighbour : links_.neighbours(old_of[to]))
                if (neighbour < new_of.size() && new_of[neighbour] != invalid_slot) row.push_back(new_of[neighbour]);
            links_.assign(to, row);
            if (old_of[to] != to) space_.move_row(old_of[to], static_cast<Slot>(to));
        }
        space_.truncate(old_of.size());
        links_.truncate(old_of.size());
        vacant_ = Bitset(old_of.size());
        vacant_count_ = 0;
        limbo_.clear();
        repack_all(executor);
        return old_of;
    }

    /// Codes for all rows, when all are linked. Links must have been made with room for them.
    void pack(std::uint64_t seed, Executor& executor, const Progress& progress)
        requires PackableSpace<S>
    {
        packed_.emplace(space_, links_.degree(), seed);
        repack_all(executor, progress);
    }
    void repack_all(Executor& executor, const Progress& progress = {}) {
        std::vector<Slot> all;
        if (is_packed()) for_each_live([&](Slot slot) { all.push_back(slot); });
        repack(all, executor, progress);
    }

    /// New codes for rows whose links have changed.
    void repack(std::span<const Slot> touched, Executor& executor, const Progress& progress = {}) {
        if constexpr (PackableSpace<S>) {
            if (!packed_) return;
            constexpr std::size_t step = 8192;
            std::vector<typename PackedCodes<S>::Encoder> encoders(executor.workers());
            for (std::size_t first = 0; first < touched.size(); first += step) {
                progress.report("pack", first, touched.size());
                executor.run(std::min(step, touched.size() - first), 64, [&](std::size_t begin, std::size_t end, std::size_t which) {
                    for (std::size_t i = begin; i < end; ++i) packed_->encode(space_, links_, touched[first + i], encoders[which]);
                });
            }
        }
    }

    bool is_packed() const noexcept {
        if constexpr (PackableSpace<S>) return packed_.has_value();
        else return false;
    }

    void describe(Slot entry, ParamMap& facts) const {
        const std::size_t reachable = count_reachable(links_, slots(), hidden(), entry);
        facts.emplace_back("reachable", size() == 0 ? 1.0 : static_cast<double>(reachable) / static_cast<double>(size()));
        facts.emplace_back("vacant_slots", static_cast<std::int64_t>(vacant_count_));
        facts.emplace_back("links_bytes", static_cast<std::int64_t>(links_.memory_bytes()));
    }

    void save(SectionWriter& writer) const
        requires PersistableSpace<S>
    {
        space_.save(writer);
        writer.add_rows("links", links_.rows().view());
        if constexpr (PackableSpace<S>) {
            if (packed_) {
                const std::uint64_t seed[] = {packed_->seed()};
                writer.add_copy("packed_seed", std::span<const std::uint64_t>(seed));
                writer.add_copy("packed_mean", packed_->mean());
            }
        }
        if (vacant_count_ != 0) {
            std::vector<Slot> list;
            vacant_.view().for_each_set([&](std::size_t slot) { list.push_back(static_cast<Slot>(slot)); });
            writer.add_copy("vacant", std::span<const Slot>(list));
        }
    }

    static GraphStore load(const SectionReader& reader, std::size_t degree, bool packed)
        requires PersistableSpace<S>
    {
        S space = S::load(reader);
        const std::size_t words = degree + payload_words(space, degree, packed);
        Links links(Rows<std::uint32_t>::map(reader.template matrix<std::uint32_t>("links", space.size(), words), reader.keep_alive()), degree);
        GraphStore graph(std::move(space), std::move(links));
        if constexpr (PackableSpace<S>) {
            if (packed)
                graph.packed_.emplace(graph.space_, degree, reader.template section<std::uint64_t>("packed_seed", 1)[0],
                                      reader.template section<float>("packed_mean", graph.space_.dim()));
        }
        if (reader.contains("vacant")) {
            for (const Slot slot : reader.template section<Slot>("vacant")) {
                if (slot >= graph.slots() || graph.vacant_.test(slot))
                    fail(ErrorCode::corrupt, reader.name(), ": section 'vacant': expected distinct slots below ", graph.slots(), ", got ", slot);
                graph.vacant_.set(slot);
                ++graph.vacant_count_;
                graph.limbo_.push_back(slot);  // until a change looks at every row
            }
            std::sort(graph.limbo_.begin(), graph.limbo_.end());
        }
        return graph;
    }

    static std::vector<std::string_view> section_names()
        requires PersistableSpace<S>
    {
        auto names = S::section_names();
        names.insert(names.end(), {"links", "vacant", "packed_seed", "packed_mean"});
        return names;
    }

    /// Throws Error{corrupt} unless rows of links hold distinct slots that exist, padded at the end.
    void validate(std::string_view source, const Progress& progress) const
        requires PersistableSpace<S>
    {
        space_.validate(source, progress);
        for (std::size_t slot = 0; slot < slots(); ++slot) {
            if (slot % 65536 == 0) progress.report("validate links", slot, slots());
            check_links(links_, slot, static_cast<Slot>(slot), slots(), "links", source);
        }
        if constexpr (PackableSpace<S>) {
            if (packed_) validate_codes(source);
        }
        progress.report("validate links", slots(), slots());
    }

protected:
    S space_;
    Links links_;
    Bitset vacant_;
    std::size_t vacant_count_ = 0;
    std::vector<Slot> limbo_;  // vacant, but perhaps linked to: sorted; not to be taken again
    [[no_unique_address]] packed_codes_of<S> packed_;

private:
    /// Before the first change of what a file held: who changes links follows them without asking whether they lead anywhere. Throws Error{corrupt}.
    void own_links() {
        if (!links_.rows().is_borrowed()) return;
        for (std::size_t slot = 0; slot < slots(); ++slot)
            for (const Slot neighbour : links_.neighbours(slot))
                if (neighbour >= slots())
                    fail(ErrorCode::corrupt, "section 'links': slot ", slot, " links to slot ", neighbour, ", expected one below ", slots());
        links_.make_owned();
    }

    void check_room(std::size_t more) const {
        if (slots() + more >= max_graph_slots)
            fail(ErrorCode::unsupported, "a graph holds fewer than ", max_graph_slots, " rows, not ", slots() + more);
    }

    /// The codes of a sample of the rows must be those that encoding gives.
    void validate_codes(std::string_view source) const
        requires PackableSpace<S>
    {
        constexpr std::size_t sample = 1024;
        Links one(links_.degree(), links_.payload_words());
        one.extend(1);
        typename PackedCodes<S>::Encoder encoder;
        const std::size_t step = std::max<std::size_t>(slots() / sample, 1);
        for (std::size_t slot = 0; slot < slots(); slot += step) {
            if (vacant_.test(slot)) continue;
            packed_->encode(space_, links_.neighbours(slot), static_cast<Slot>(slot), one.own_payload(0), encoder);
            if (!std::equal(one.payload(0), one.payload(0) + links_.payload_words(), links_.payload(slot)))
                fail(ErrorCode::corrupt, source, ": section 'links': row ", slot, " does not hold the codes of its neighbours");
        }
    }

    static std::size_t payload_words(const S& space, std::size_t degree, bool packed) {
        if (!packed) return 0;
        if constexpr (PackableSpace<S>) {
            PackedCodes<S>::check_degree(degree);
            return PackedCodes<S>::payload_words(space.dim(), degree);
        } else {
            fail(ErrorCode::unsupported, "packed neighbourhoods need l2, euclidean, ip or cosine over rows of numbers, not ", space.label());
        }
    }
};

}  // namespace kith
