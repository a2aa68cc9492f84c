// SPDX-License-Identifier: Apache-2.0
//
// Graph<S>: what HNSW and Vamana share: rows of a space, their links in the base layer, and which slots are vacant. It searches from an entry point that the
// index found in its own way, takes rows in, gives slots up and repairs the links around them, and saves and loads all that.
//
// Slots are stable: a removed row leaves a vacant slot, which a later row reuses. A vacant slot counts as visited before a walk
// begins, so that links which still lead there cost nothing and lead nowhere.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/graph/insert.hpp"
#include "kith/graph/packed.hpp"
#include "kith/graph/plan.hpp"
#include "kith/graph/reach.hpp"
#include "kith/graph/repair.hpp"
#include "kith/graph/walk.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

struct GraphSearchParams {
    std::uint32_t ef = 64;

    static constexpr auto fields() {
        return std::tuple{field("ef", &GraphSearchParams::ef, 1, 1 << 30, "candidates kept while walking; at least k")};
    }
    friend bool operator==(const GraphSearchParams&, const GraphSearchParams&) = default;
};

template <Space S>
class Graph {
public:
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;

    /// Without links. packed: rows of links keep codes of the neighbours too; throws Error{unsupported} where the space has none.
    Graph(S space, std::size_t degree, bool packed) : space_(std::move(space)), links_(degree, payload_words(space_, degree, packed)) {
        check_room(0);
        links_.extend(space_.size());
        vacant_.resize(space_.size());
    }

    const S& space() const noexcept { return space_; }
    const Links& links() const noexcept { return links_; }
    Links& links() noexcept { return links_; }
    Layer base() const noexcept { return Layer(links_); }
    std::size_t slots() const noexcept { return space_.size(); }
    std::size_t size() const noexcept { return slots() - vacant_count_; }
    std::size_t vacant_count() const noexcept { return vacant_count_; }
    bool is_vacant(Slot slot) const noexcept { return vacant_.test(slot); }
    std::size_t memory_bytes() const noexcept { return space_.memory_bytes() + links_.memory_bytes() + vacant_.size() / 8; }

    /// The slots that count as visited from the beginning.
    BitsetView hidden() const noexcept { return vacant_count_ == 0 ? BitsetView() : vacant_.view(); }

    /// Walks the base layer from `entry` and offers what it finds: min(capacity, eligible) rows at least, or for a range all that it meets
    /// within the radius. entry: invalid_slot in an empty graph.
    template <class ScorerType, Filter F, Collector C>
    SearchStats search(const ScorerType& scorer, std::span<const Query> query, Slot entry, std::size_t ef, const F& filter,
                       WalkScratch<S>& scratch, C& collector) const {
        SearchStats stats;
        if (size() == 0) return stats;
        if constexpr (requires { collector.capacity(); }) {
            const std::size_t wanted = std::min(collector.capacity(), size());
            if (wanted == 0) return stats;
            ef = std::max(ef, wanted);
            if constexpr (!F::trivial) {
                if (choose_plan({size(), filter.count(slots()), ef, links_.degree()}) == Plan::scan)
                    return scan(scorer, filter, scratch, collector);
            }
            if constexpr (F::trivial && PackableSpace<S>) {
                if (packed_) return walk_packed(scorer, query, entry, ef, wanted, filter, scratch, collector);
            }
            stats = walk_from(scorer, entry, ef, filter, scratch);
            if (offer_pool(filter, scratch, collector) < wanted) {
                scratch.visited.begin(slots(), hidden());
                for (std::size_t i = 0; i < scratch.pool.size(); ++i)
                    if (filter.allows(scratch.pool.slot(i))) scratch.visited.insert(scratch.pool.slot(i));
                stats += scan(scorer, filter, scratch, collector, true);
            }
        } else {
            // The pool must reach past the radius: half of it beyond, so that what lies just inside was looked for.
            for (ef = std::max<std::size_t>(ef, 32);; ef *= 2) {
                if constexpr (!F::trivial) {
                    if (choose_plan({size(), filter.count(slots()), ef, links_.degree()}) == Plan::scan)
                        return stats += scan(scorer, filter, scratch, collector);
                }
                stats += walk_from(scorer, entry, ef, filter, scratch);
                const auto& pool = scratch.pool;
                if (!pool.full() || ef >= 2 * slots() || pool.distance(ef / 2) > collector.bound()) break;
            }
            offer_pool(filter, scratch, collector);
        }
        return stats;
    }

    /// Exact: every live row that the filter allows; with `rest`, but those that are marked in the visited set.
    template <class ScorerType, Filter F, Collector C>
    SearchStats scan(const ScorerType& scorer, const F& filter, WalkScratch<S>& scratch, C& collector, bool rest = false) const {
        constexpr std::size_t block = 64;
        if (scratch.slots.size() < block) scratch.slots.resize(block);
        scratch.distances.reserve_discarding(block);
        std::size_t waiting = 0;
        std::size_t total = 0;
        const auto flush = [&] {
            scorer.gather({scratch.slots.data(), waiting}, scratch.distances.data());
            for (std::size_t i = 0; i < waiting; ++i)
                if (!(scratch.distances[i] > collector.bound())) collector.offer(scratch.slots[i], scratch.distances[i]);
            total += waiting;
            waiting = 0;
        };
        const auto take = [&](std::size_t slot) {
            if (slot >= slots() || vacant_.test(slot)) return;
            if (rest && scratch.visited.contains(static_cast<Slot>(slot))) return;
            prefetch_row(space_, static_cast<Slot>(slot));
            scratch.slots[waiting++] = static_cast<Slot>(slot);
            if (waiting == block) flush();
        };
        if constexpr (requires { filter.bits(); }) {
            filter.bits().for_each_set(take);
        } else {
            for (std::size_t slot = 0; slot < slots(); ++slot)
                if (filter.allows(static_cast<Slot>(slot))) take(slot);
        }
        flush();
        return scored(total, 0);
    }

    /// Searches layer `layer` for the neighbours of `node` from `entry`; the ef nearest as scratch.candidates, nearest first, without the node.
    template <class ScorerType>
    SearchStats find_candidates(const Layer& layer, const ScorerType& scorer, Slot node, Slot entry, std::size_t ef,
                                BuildScratch<S>& scratch) const {
        auto& walking = scratch.walk;
        walking.visited.begin(slots(), hidden());
        walking.pool.reset(ef);
        LinkNavigator navigator(space_, layer, slots(), scorer, walking);
        navigator.enter(entry, walking.pool);
        const std::uint64_t hops = walk(navigator, walking.pool);
        scratch.candidates.clear();
        for (std::size_t i = 0; i < walking.pool.size(); ++i)
            if (walking.pool.slot(i) != node) scratch.candidates.push_back({walking.pool.distance(i), walking.pool.slot(i)});
        std::sort(scratch.candidates.begin(), scratch.candidates.end(), HitOrder<Distance>());
        return scored(navigator.scored(), hops);
    }

    /// Adds the candidates' own neighbours to scratch.candidates (extendCandidates of HNSW's algorithm 4).
    template <class ScorerType>
    void extend_candidates(const Layer& layer, const ScorerType& scorer, Slot node, BuildScratch<S>& scratch) const {
        scratch.slots.clear();
        for (const auto& hit : scratch.candidates)
            for (const Slot neighbour : layer.neighbours(hit.slot))
                if (neighbour != node && scratch.walk.visited.insert(neighbour)) scratch.slots.push_back(neighbour);
        add_scored(scorer, scratch);
    }

    /// Adds the node's own links to scratch.candidates, where they are not yet.
    template <class ScorerType>
    void add_neighbours(const ScorerType& scorer, Slot node, BuildScratch<S>& scratch) const {
        scratch.slots.clear();
        for (const Slot neighbour : links_.neighbours(node))
            if (std::none_of(scratch.candidates.begin(), scratch.candidates.end(), [&](const auto& hit) { return hit.slot == neighbour; }))
                scratch.slots.push_back(neighbour);
        add_scored(scorer, scratch);
    }

    /// Codes for all rows, when all are linked. Links must have been made with room for them.
    void pack(std::uint64_t seed, Executor& executor, const Progress& progress)
        requires PackableSpace<S>
    {
        packed_.emplace(space_, links_.degree(), seed);
        std::vector<Slot> all;
        for_each_live([&](Slot slot) { all.push_back(slot); });
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
        links_.make_owned();
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

    /// Distinct live slots become vacant, and the rows that linked to them are repaired: all of them by a look at every row, or, when few slots go, those
    /// that a search from `entry` finds around each. Links that it misses lead to a vacant slot, which walks skip; such slots stay in limbo, not to be
    /// taken again, until there are so many that a look at every row is worth it.
    void remove(std::span<const Slot> gone, Slot entry, LinkRule rule, Executor& executor, std::span<BuildScratch<S>> workers,
                std::vector<Slot>* touched = nullptr) {
        std::vector<Slot> nodes;
        const bool few = limbo_.size() + gone.size() < size() / 128;
        if (few) {
            for (const Slot slot : gone) find_linking(slot, entry, workers[0], nodes);
            sort_unique(nodes);
            limbo_.insert(limbo_.end(), gone.begin(), gone.end());
            sort_unique(limbo_);
        } else {
            limbo_.clear();
        }
        for (const Slot slot : gone) vacant_.set(slot);
        vacant_count_ += gone.size();
        if (few) std::erase_if(nodes, [&](Slot slot) { return vacant_.test(slot); });
        else for_each_live([&](Slot slot) { nodes.push_back(slot); });
        repair_rows(space_, links_, base(), nodes, slots(), hidden(), rule, workers, executor, touched);
    }

    template <class Visit>
    void for_each_live(Visit&& visit) const {
        for (std::size_t slot = 0; slot < slots(); ++slot)
            if (!vacant_.test(slot)) visit(static_cast<Slot>(slot));
    }

    /// After `changes` rows were linked or removed: links again what cannot be reached any more. Looks at the whole graph, but only
    /// once for every thousandth of it that has changed.
    void settle(std::size_t changes, Slot entry, std::span<BuildScratch<S>> workers, std::vector<Slot>* touched = nullptr) {
        unsettled_ += changes;
        if (size() == 0 || unsettled_ < size() / 1024) return;
        connect(entry, workers, touched);
    }

    /// Links every live row that cannot be reached from `entry` to one that can. Returns how many could not.
    std::size_t connect(Slot entry, std::span<BuildScratch<S>> workers, std::vector<Slot>* touched = nullptr) {
        constexpr std::size_t ef = 32;
        unsettled_ = 0;
        if (size() == 0) return 0;
        links_.make_owned();
        return connect_unreached(links_, slots(), hidden(), entry, ef, touched, [&](Slot node, std::size_t wide) {
            auto& scratch = workers[0];
            const auto scorer = bind_query(space_, scratch.load(space_, node), scratch.walk.scorer);
            find_candidates(base(), scorer, node, entry, wide, scratch);
            return std::span<const Hit<Distance>>(scratch.candidates);
        });
    }

    void own_rows()
        requires GrowableSpace<S>
    {
        space_.own_rows();
        links_.make_owned();
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
        std::vector<Slot> all(old_of.size());
        for (std::size_t to = 0; to < all.size(); ++to) all[to] = static_cast<Slot>(to);
        repack(all, executor);
        return old_of;
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

    static Graph load(const SectionReader& reader, std::size_t degree, bool packed)
        requires PersistableSpace<S>
    {
        S space = S::load(reader);
        const std::size_t words = degree + payload_words(space, degree, packed);
        Links links(Rows<std::uint32_t>::map(reader.template matrix<std::uint32_t>("links", space.size(), words), reader.keep_alive()), degree);
        Graph graph(std::move(space), std::move(links));
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
            sort_unique(graph.limbo_);
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

    void describe(Slot entry, ParamMap& facts) const {
        const std::size_t reachable = count_reachable(links_, slots(), hidden(), entry);
        facts.emplace_back("reachable", size() == 0 ? 1.0 : static_cast<double>(reachable) / static_cast<double>(size()));
        facts.emplace_back("vacant_slots", static_cast<std::int64_t>(vacant_count_));
        facts.emplace_back("links_bytes", static_cast<std::int64_t>(links_.memory_bytes()));
    }

    SearchStats scored(std::size_t rows, std::size_t hops) const noexcept {
        SearchStats stats;
        stats.distances = rows;
        stats.hops = hops;
        stats.bytes = rows * space_.row_bytes();
        return stats;
    }

private:
    template <class ScorerType>
    static void add_scored(const ScorerType& scorer, BuildScratch<S>& scratch) {
        scratch.distances.resize(scratch.slots.size());
        scorer.gather(scratch.slots, scratch.distances.data());
        for (std::size_t i = 0; i < scratch.slots.size(); ++i) scratch.candidates.push_back({sane(scratch.distances[i]), scratch.slots[i]});
        std::sort(scratch.candidates.begin(), scratch.candidates.end(), HitOrder<Distance>());
    }

    Graph(S space, Links links) : space_(std::move(space)), links_(std::move(links)) {
        check_room(0);
        vacant_.resize(space_.size());
    }

    void check_room(std::size_t more) const {
        if (slots() + more >= max_graph_slots)
            fail(ErrorCode::unsupported, "a graph holds fewer than ", max_graph_slots, " rows, not ", slots() + more);
    }

    /// The nodes around `slot` that link to it, found by a search.
    void find_linking(Slot slot, Slot entry, BuildScratch<S>& scratch, std::vector<Slot>& nodes) const {
        constexpr std::size_t ef = 128;
        const auto scorer = bind_query(space_, scratch.load(space_, slot), scratch.walk.scorer);
        find_candidates(base(), scorer, slot, entry, ef, scratch);
        const auto look = [&](Slot node) {
            if (node >= slots()) return;
            const auto neighbours = links_.neighbours(node);
            if (std::find(neighbours.begin(), neighbours.end(), slot) != neighbours.end()) nodes.push_back(node);
        };
        for (const auto& hit : scratch.candidates) look(hit.slot);
        for (const Slot neighbour : links_.neighbours(slot)) look(neighbour);
    }

    /// The walk over codes: exact distances of what is popped go to the collector.
    template <class ScorerType, Filter F, Collector C>
    SearchStats walk_packed(const ScorerType& scorer, std::span<const Query> query, Slot entry, std::size_t ef, std::size_t wanted,
                            const F& filter, WalkScratch<S>& scratch, C& collector) const
        requires PackableSpace<S>
    {
        auto& packed = scratch.packed;
        packed_->prepare(query, packed);
        scratch.visited.begin(slots(), hidden());
        packed.met.begin(slots());
        packed.pool.reset(std::min(ef, slots()));
        packed.met.insert(entry);
        packed.pool.offer(entry, 0.0f);
        PackedNavigator navigator(space_, links_, slots(), *packed_, scorer, scratch.visited, packed, collector);
        const std::uint64_t hops = walk(navigator, packed.pool);
        SearchStats stats = scored(navigator.scored(), hops);
        stats.bytes += navigator.scored() * links_.row_bytes();
        if (navigator.scored() < wanted) stats += scan(scorer, filter, scratch, collector, true);
        return stats;
    }

    template <class ScorerType, Filter F>
    SearchStats walk_from(const ScorerType& scorer, Slot entry, std::size_t ef, const F& filter, WalkScratch<S>& scratch) const {
        scratch.visited.begin(slots(), hidden());
        scratch.pool.reset(std::min(ef, slots()));
        if constexpr (F::trivial) {
            LinkNavigator navigator(space_, base(), slots(), scorer, scratch);
            navigator.enter(entry, scratch.pool);
            const std::uint64_t hops = walk(navigator, scratch.pool);
            return scored(navigator.scored(), hops);
        } else {
            FilteredNavigator navigator(space_, base(), slots(), scorer, filter, scratch);
            navigator.enter(entry, scratch.pool);
            const std::uint64_t hops = walk(navigator, scratch.pool);
            return scored(navigator.scored(), hops);
        }
    }

    template <Filter F, Collector C>
    std::size_t offer_pool(const F& filter, const WalkScratch<S>& scratch, C& collector) const {
        std::size_t offered = 0;
        for (std::size_t i = 0; i < scratch.pool.size(); ++i) {
            if (!filter.allows(scratch.pool.slot(i))) continue;
            collector.offer(scratch.pool.slot(i), scratch.pool.distance(i));
            ++offered;
        }
        return offered;
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

    template <class T>
    struct Packed {
        using type = detail::Nothing;
    };
    template <PackableSpace T>
    struct Packed<T> {
        using type = std::optional<PackedCodes<T>>;
    };

    S space_;
    Links links_;
    [[no_unique_address]] typename Packed<S>::type packed_;
    Bitset vacant_;
    std::size_t vacant_count_ = 0;
    std::vector<Slot> limbo_;  // vacant, but perhaps linked to: sorted
    std::size_t unsettled_ = 0;  // rows changed since everything was known to be reachable
};

}  // namespace kith
