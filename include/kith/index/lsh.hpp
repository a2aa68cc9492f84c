// SPDX-License-Identifier: Apache-2.0
//
// LSH: locality-sensitive hashing (Indyk and Motwani 1998, "Approximate nearest neighbors: towards removing the curse of dimensionality", STOC; Gionis, Indyk and Motwani
// 1999). Functions that give near rows the same value more often than far ones are put together to a key (AND), several tables have keys of their own (OR); a query looks at
// the rows of its bucket in each table, and at those of buckets whose keys differ in what was a close call, and measures them exactly.
//
//   hash functions      hash/vector_hash.hpp, hash/bit_hash.hpp: hyperplanes, cross-polytopes, p-stable projections; sampled bits, MinHash
//   what they are given hash/prepare.hpp
//   which buckets       hash/probes.hpp: query-directed multi-probe
//   buckets             hash/buckets.hpp: sorted rows and offsets, chains for rows that came later
//   candidates          hash/marks.hpp: each row once, in the order of memory
//
// Nothing is trained but a mean and a scale, so rows come and go at the price of hashing them. Those are of the rows there were when functions were chosen: when the index was built, and
// again whenever it has four times as many.
//
// Departures. Where buckets hold too few eligible rows, more of them are looked at and at last all rows: min(k, eligible) results always. A filter that allows few rows is
// scanned for those. Keys are bits of the number of a bucket, or mixed down to them: rows of different keys may share a bucket.
//
// Cost: a query hashes once (tables x functions projections of d, or rotations of d log d) and scores candidates; building O(n) of the same. Memory beside the space's: 4 bytes
// a row and table, and 4 a bucket, of which there are about as many as rows, or 2^bits where that is less.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/hash/buckets.hpp"
#include "kith/hash/marks.hpp"
#include "kith/index/index.hpp"
#include "kith/index/lsh_choice.hpp"
#include "kith/index/lsh_functions.hpp"
#include "kith/index/lsh_params.hpp"
#include "kith/index/lsh_walk.hpp"
#include "kith/index/own_neighbours.hpp"
#include "kith/partition/scan.hpp"

namespace kith {

/// target: the recall that is wanted.
template <class I>
LshCalibration calibrate_lsh(const I& index, const OwnNeighbours<typename I::space_type::distance_type>& own, double target, Executor& executor, const Progress& progress);

template <HashableSpace S>
class Lsh {
    using Distance = typename S::distance_type;
    using Query = typename S::query_type;
    using Functions = LshFunctions<S>;
    using Number = Buckets::Number;

public:
    static constexpr std::string_view kind = "lsh";

    using space_type = S;
    using build_params = LshParams;
    using search_params = LshSearchParams;

    class scratch_type {
        friend class Lsh;
        LshWalk<S> walk;
        Marks marks;
        ScanBuffers<Distance> buffers;
        [[no_unique_address]] scorer_scratch_of<S> scorer;
    };

    /// Hashes the rows of the space. Throws Error{cancelled, invalid_argument, out_of_memory}.
    /// index.params() says what was chosen of what params leaves open.
    static Lsh build(S space, const LshParams& params = {}, std::uint64_t seed = 0, Executor& executor = inline_executor(), const Progress& progress = {}) {
        Lsh index(std::move(space), params, seed);
        index.vacant_.resize(index.space_.size());
        index.rebuild(executor, progress);
        return index;
    }

    const S& space() const noexcept { return space_; }
    std::size_t size() const noexcept { return space_.size() - vacant_count_; }
    bool is_vacant(Slot slot) const noexcept { return vacant_.test(slot); }
    const LshParams& params() const noexcept { return params_; }
    const Buckets& buckets() const noexcept { return buckets_; }
    const LshFunctions<S>& functions() const noexcept { return functions_; }
    std::size_t memory_bytes() const noexcept { return space_.memory_bytes() + buckets_.memory_bytes() + functions_.bytes() + (vacant_.size() + stale_.size()) / 8; }

    /// k nearest: of the rows in the buckets looked at, and of more where they are too few. A radius: of the rows in those buckets alone.
    template <Filter F, Collector C>
    SearchStats search(std::span<const Query> query, const LshSearchParams& params, const F& filter, scratch_type& scratch, C& collector) const {
        SearchStats stats;
        const std::size_t wanted = wanted_by(collector);
        if (wanted == 0 || size() == 0) return stats;
        const auto scorer = bind_query(space_, query, scratch.scorer);
        Scan scan(scorer, hidden(), filter, space_.row_bytes(), scratch.buffers, collector, stats);
        const std::size_t probes = probes_of(params);
        if (worth_a_scan(probes, filter)) {
            scan_all(scan);
            return stats;
        }
        scratch.walk.begin(functions_, query, probes);
        scratch.marks.begin(space_.size());
        const auto keep = kept(filter);
        std::size_t looked = scratch.walk.run(functions_, buckets_, probes, marking(params.candidates, scratch));
        if constexpr (requires { collector.capacity(); }) {
            const auto too_few = [&] {
                if (F::trivial && scratch.marks.marked() >= wanted + vacant_count_) return false;
                return scratch.marks.count(keep) < wanted;
            };
            for (std::size_t asked = probes; too_few(); asked *= 2) {
                const std::size_t more = asked < most_widening ? scratch.walk.run(functions_, buckets_, asked, marking(0, scratch)) : 0;
                looked += more;
                if (more != 0) continue;
                scratch.marks.clear();
                scan_all(scan);
                stats.lists = looked;
                return stats;
            }
        }
        scratch.marks.take(keep, [&](Slot slot) { scan.take(slot); });
        scan.finish();
        stats.lists = looked;
        return stats;
    }

    /// visit(table, slots, count, last) for the buckets that a search of so many probes looks at, in its order, until it returns false; a bucket may come in several parts, the last of
    /// which says so.
    template <class Visit>
    void for_each_bucket(std::span<const Query> query, std::size_t probes, scratch_type& scratch, Visit&& visit) const {
        if (size() == 0) return;
        scratch.walk.begin(functions_, query, probes);
        scratch.walk.run(functions_, buckets_, probes, [&](std::size_t table, Number number) {
            bool more = true;
            buckets_.for_each(table, number, [&](const Slot* slots, std::size_t count) { more = more && visit(table, slots, count, false); });
            return more && visit(table, static_cast<const Slot*>(nullptr), std::size_t{0}, true);
        });
    }

    /// In how many tables each of these slots lies in a bucket that such a search looks at.
    std::vector<std::uint32_t> tables_with(std::span<const Query> query, std::span<const Slot> slots, const LshSearchParams& params = {}) const {
        scratch_type scratch;
        std::vector<std::vector<bool>> seen(slots.size(), std::vector<bool>(params_.tables));
        for_each_bucket(query, std::min(probes_of(params), buckets_.tables() * buckets_.count()), scratch, [&](std::size_t table, const Slot* rows, std::size_t count, bool) {
            for (std::size_t i = 0; i < count; ++i)
                for (std::size_t s = 0; s < slots.size(); ++s)
                    if (rows[i] == slots[s]) seen[s][table] = true;
            return true;
        });
        std::vector<std::uint32_t> counts(slots.size());
        for (std::size_t s = 0; s < slots.size(); ++s) counts[s] = static_cast<std::uint32_t>(std::count(seen[s].begin(), seen[s].end(), true));
        return counts;
    }

    /// Strong guarantee. Returns the slots of the rows: vacant ones that no bucket knows any more, then new ones.
    std::vector<Slot> insert(rows_view_of<S> rows, Executor& executor = inline_executor(), const Progress& progress = {})
        requires GrowableSpace<S>
    {
        if (rows.rows() == 0) return {};
        const std::size_t after = size() + rows.rows();
        if (hashed_for_ == 0 || after / 4 >= hashed_for_) return insert_and_rebuild(rows, executor, progress);
        std::vector<Number> numbers(rows.rows() * buckets_.tables());
        functions_.number_rows(Functions::given(rows), buckets_, numbers, 1, buckets_.tables(), executor, progress);
        buckets_.reserve(rows.rows());
        std::vector<Slot> taken = take_rows(rows);
        for (std::size_t i = 0; i < taken.size(); ++i) buckets_.add(taken[i], numbers.data() + i * buckets_.tables());
        sort_if_worth_it();
        return taken;
    }

    void own_rows()
        requires GrowableSpace<S>
    {
        space_.own_rows();
    }

    /// The slots, distinct and live, become vacant. Cannot fail.
    void remove(std::span<const Slot> gone, Executor& = inline_executor(), const Progress& = {}) {
        for (const Slot slot : gone) {
            vacant_.set(slot);
            stale_.set(slot);
        }
        vacant_count_ += gone.size();
        stale_count_ += gone.size();
        sort_if_worth_it();
    }

    /// Gives the memory of vacant slots back. Returns new slot -> old slot.
    std::vector<Slot> compact(Executor& executor = inline_executor(), const Progress& = {})
        requires GrowableSpace<S>
    {
        space_.own_rows();
        std::vector<Slot> old_of;
        old_of.reserve(size());
        for (std::size_t slot = 0; slot < space_.size(); ++slot)
            if (!vacant_.test(slot)) old_of.push_back(static_cast<Slot>(slot));
        Bitset none(old_of.size());
        buckets_.renumber(old_of, space_.size(), vacant_, executor);
        for (std::size_t slot = 0; slot < old_of.size(); ++slot)
            if (old_of[slot] != slot) space_.move_row(old_of[slot], static_cast<Slot>(slot));
        space_.truncate(old_of.size());
        vacant_ = none;
        stale_ = std::move(none);
        vacant_count_ = stale_count_ = 0;
        return old_of;
    }

    ParamMap describe() const {
        const auto number = [](std::size_t n) { return static_cast<std::int64_t>(n); };
        const auto sizes = buckets_.sizes();
        ParamMap facts{{"family", Functions::family(params_, space_.label())},
                {"functions", number(functions_.hash().functions())},
                {"key_bits", number(functions_.hash().key_bits())},
                {"buckets", number(buckets_.tables() * buckets_.count())},
                {"buckets_used", number(sizes.used)},
                {"bucket_max", number(sizes.largest)},
                {"bucket_company", sizes.company},
                {"rows_chained", number(buckets_.chained())},
                {"default_probes", number(probes_of({}))},
                {"tables_bytes", number(buckets_.memory_bytes())}};
        if (calibration_.probes != 0) {
            const auto measured = [&](const char* name, float value) { facts.emplace_back(name, static_cast<double>(value)); };
            measured("recall_measured", calibration_.recall);
            measured("recall_error", calibration_.error);
            measured("own_buckets_recall_measured", calibration_.own);
            measured("own_buckets_recall_predicted", calibration_.own_predicted);
        }
        return facts;
    }

    void save(SectionWriter& writer) const
        requires PersistableSpace<S>
    {
        space_.save(writer);
        if (buckets_.chained() == 0 && stale_count_ == 0) buckets_.save(writer);
        else Buckets::save(writer, std::make_shared<const Buckets>(buckets_.sorted_copy(vacant_)));
        functions_.save(writer);
        const std::uint64_t state[] = {seed_, hashed_for_, buckets_.bits(), calibration_.probes};
        const float recalls[] = {calibration_.recall, calibration_.error, calibration_.own, calibration_.own_predicted};
        writer.add_copy("lsh", std::span<const std::uint64_t>(state));
        writer.add_copy("lsh_recalls", std::span<const float>(recalls));
        if (asked_tables_ == 0) writer.add_copy("lsh_asked", std::span<const std::uint32_t>(&asked_tables_, 1));
        if (vacant_count_ != 0) {
            std::vector<Slot> list;
            vacant_.view().for_each_set([&](std::size_t slot) { list.push_back(static_cast<Slot>(slot)); });
            writer.add_copy("vacant", std::span<const Slot>(list));
        }
    }
    static Lsh load(const SectionReader& reader, LshParams params = {})
        requires PersistableSpace<S>
    {
        const auto state = reader.template section<std::uint64_t>("lsh", 4);
        const auto recalls = reader.template section<float>("lsh_recalls", 4);
        if (state[1] != 0 && params.tables == 0) params.tables = usual_tables;  // what a file that says nothing means
        S space = S::load(reader);
        if (state[2] > 30 || state[3] > 1u << 30 || (state[1] != 0 && state[2] == 0) || (state[1] == 0 && space.size() != 0) || !Functions::has(params.family))
            fail(ErrorCode::corrupt, reader.name(), ": section 'lsh' or 'params' holds what no such index has");
        Lsh index(std::move(space), params, state[0]);
        index.hashed_for_ = state[1];
        if (reader.contains("lsh_asked")) index.asked_tables_ = 0;
        index.calibration_ = {static_cast<std::uint32_t>(state[3]), recalls[0], recalls[1], recalls[2], recalls[3]};
        index.vacant_.resize(index.space_.size());
        index.stale_.resize(index.space_.size());
        if (index.hashed_for_ == 0) return index;
        reader.template matrix<Number>("lsh_offsets", params.tables, (std::size_t{1} << state[2]) + 1);  // before functions for so many tables are made
        index.functions_ = Functions::load(reader, index.space_, params, state[0]);
        index.buckets_ = Buckets::load(reader, params.tables, index.functions_.hash().key_bits(), state[2]);
        if (reader.contains("vacant"))
            for (const Slot slot : reader.template section<Slot>("vacant")) {
                if (slot >= index.space_.size() || index.vacant_.test(slot))
                    fail(ErrorCode::corrupt, reader.name(), ": section 'vacant': expected distinct slots below ", index.space_.size(), ", got ", slot);
                index.vacant_.set(slot);
                ++index.vacant_count_;
            }
        return index;
    }
    static std::vector<std::string_view> section_names()
        requires PersistableSpace<S>
    {
        auto names = S::section_names();
        for (const auto name : Buckets::section_names()) names.push_back(name);
        for (const auto name : Functions::section_names()) names.push_back(name);
        names.insert(names.end(), {"lsh", "lsh_recalls", "lsh_asked", "vacant"});
        return names;
    }
    void validate(std::string_view source, const Progress& progress = {}) const
        requires PersistableSpace<S>
    {
        space_.validate(source, progress);
        functions_.validate(source);
        if (hashed_for_ != 0) buckets_.validate(source, size() + stale_count_, space_.size(), vacant_, stale_);
    }

private:
    static constexpr std::uint32_t usual_tables = 16, probes_a_table = 8;
    static constexpr std::size_t most_widening = std::size_t{1} << 16;  // probes, before all rows are scanned

    Lsh(S space, const LshParams& params, std::uint64_t seed) : space_(std::move(space)), params_(params), asked_tables_(params.tables), seed_(seed) {
        Functions::family(params_, space_.label());  // is there such a one?
    }

    BitsetView hidden() const noexcept { return vacant_count_ == 0 ? BitsetView() : vacant_.view(); }

    template <Collector C>
    std::size_t wanted_by(const C& collector) const noexcept {
        if constexpr (requires { collector.capacity(); }) return std::min(collector.capacity(), size());
        else return size();
    }

    std::size_t probes_of(const LshSearchParams& params) const noexcept {
        if (params.probes != 0) return params.probes;
        return calibration_.probes != 0 ? calibration_.probes : std::size_t{probes_a_table} * std::max(params_.tables, 1u);
    }

    /// Marks the rows of a bucket; false once there are as many as wanted (0: no limit).
    auto marking(std::size_t candidates, scratch_type& scratch) const {
        return [this, candidates, &marks = scratch.marks](std::size_t table, Number number) {
            buckets_.for_each(table, number, [&](const Slot* rows, std::size_t count) { marks.add(rows, count); });
            return candidates == 0 || marks.marked() < candidates;
        };
    }

    /// Of 64 slots those that may be given.
    template <Filter F>
    auto kept(const F& filter) const {
        return [&filter, vacant = hidden()](std::size_t w, std::uint64_t word) {
            if (w < vacant.word_count()) word &= ~vacant.words()[w];
            if constexpr (requires { filter.bits(); }) {
                word &= w < filter.bits().word_count() ? filter.bits().words()[w] : 0;
            } else if constexpr (!F::trivial) {
                for (std::uint64_t left = word; left != 0; left &= left - 1)
                    if (!filter.allows(static_cast<Slot>(w * 64 + static_cast<std::size_t>(std::countr_zero(left))))) word &= ~(left & (~left + 1));
            }
            return word;
        };
    }

    /// Are as many buckets asked for as there are, or does the filter allow no more rows than those would hold if all were alike?
    template <Filter F>
    bool worth_a_scan(std::size_t probes, const F& filter) const {
        if (probes >= std::min(buckets_.tables() * buckets_.count(), std::size_t{1} << 30)) return true;
        if constexpr (F::trivial) {
            return false;
        } else {
            const double held = static_cast<double>(probes) * static_cast<double>(size()) / static_cast<double>(buckets_.count());
            return static_cast<double>(filter.count(space_.size())) <= std::max(held, 256.0);
        }
    }

    template <class ScanType>
    void scan_all(ScanType& scan) const {
        constexpr std::size_t step = 4096;
        for (std::size_t first = 0; first < space_.size(); first += step) scan.run(first, std::min(step, space_.size() - first));
        scan.finish();
    }

    /// Puts rows into vacant slots that no bucket knows, then behind the last. Strong guarantee.
    std::vector<Slot> take_rows(rows_view_of<S> rows)
        requires GrowableSpace<S>
    {
        const std::size_t reused = std::min(rows.rows(), vacant_count_ - stale_count_), before = space_.size();
        std::vector<Slot> taken;
        taken.reserve(rows.rows());
        if (reused > 0) space_.own_rows();
        vacant_.resize(before + rows.rows() - reused);
        try {
            stale_.resize(vacant_.size());
            space_.append(rows.slice(reused, rows.rows() - reused));
        } catch (...) {
            vacant_.resize(before);
            stale_.resize(before);
            throw;
        }
        for (std::size_t slot = 0; taken.size() < reused; ++slot) {  // nothing from here on fails
            if (!vacant_.test(slot) || stale_.test(slot)) continue;
            space_.overwrite(static_cast<Slot>(slot), rows[taken.size()]);
            vacant_.reset(slot);
            taken.push_back(static_cast<Slot>(slot));
        }
        vacant_count_ -= reused;
        for (std::size_t slot = before; slot < space_.size(); ++slot) taken.push_back(static_cast<Slot>(slot));
        return taken;
    }

    std::vector<Slot> insert_and_rebuild(rows_view_of<S> rows, Executor& executor, const Progress& progress)
        requires GrowableSpace<S>
    {
        std::vector<Slot> taken = take_rows(rows);
        try {
            rebuild(executor, progress);
        } catch (...) {
            if (hashed_for_ == 0) {  // there was nothing else
                space_.truncate(0);
                vacant_ = Bitset();
                stale_ = Bitset();
                throw;
            }
            for (const Slot slot : taken) vacant_.set(slot);  // no bucket knows them
            vacant_count_ += taken.size();
            throw;
        }
        return taken;
    }

    void sort_if_worth_it() noexcept {
        if (!buckets_.wants_sorting(stale_count_)) return;
        try {
            buckets_.sort_in(vacant_);  // here and now: another executor may want to stop
        } catch (...) {
            return;  // out of memory: next time
        }
        stale_.clear();
        stale_count_ = 0;
    }

    /// Functions and buckets for the rows there are. Strong guarantee.
    void rebuild(Executor& executor, const Progress& progress) {
        const std::size_t slots = space_.size();
        if (size() == 0) return;
        OwnNeighbours<Distance> own;
        LshParams params = params_;
        params.tables = asked_tables_;
        if (params.target_recall > 0) {
            const double row_cost = static_cast<double>(std::max<std::size_t>(space_.row_bytes(), 1)) * static_cast<double>(size());
            own = own_neighbours(space_, vacant_, 10, static_cast<std::size_t>(std::clamp(2e10 / row_cost, 100.0, 400.0)), seed_, executor, progress);
            if (!own.queries.empty() && (params.tables == 0 || (params.bits == 0 && params.hashes == 0)))
                params = LshChoice<S>::make(space_, vacant_, size(), params, own, seed_, executor, progress);
        }
        if (params.tables == 0) params.tables = usual_tables;
        Functions functions = Functions::choose(space_, vacant_, size(), params, seed_);
        params.bits = params_.bits;  // shown by the functions; for more rows there are to be more
        Buckets buckets(params.tables, functions.hash().key_bits(), size());
        {
            std::vector<Number> numbers(slots * params.tables);
            functions.number_rows(Functions::rows_of(space_), buckets, numbers, slots, 1, executor, progress);
            buckets.sort(numbers, slots, executor);
        }
        if (vacant_count_ != 0) buckets.sort_in(vacant_, executor);
        Bitset stale(slots);
        std::size_t stale_count = 0, hashed_for = size();
        const auto exchange = [&] {
            std::swap(functions_, functions);
            std::swap(buckets_, buckets);
            std::swap(stale_, stale);
            std::swap(stale_count_, stale_count);
            std::swap(hashed_for_, hashed_for);
            std::swap(params_, params);
        };
        exchange();
        if (own.queries.empty()) return;
        try {
            calibration_ = calibrate_lsh(*this, own, static_cast<double>(params_.target_recall), executor, progress);
        } catch (...) {
            exchange();
            throw;
        }
    }

    S space_;
    LshParams params_;
    std::uint32_t asked_tables_;  // 0: as many as it takes, in params_
    std::uint64_t seed_;
    Functions functions_;
    Buckets buckets_;
    Bitset vacant_;
    Bitset stale_;  // vacant, but buckets know them still
    std::size_t vacant_count_ = 0;
    std::size_t stale_count_ = 0;
    std::size_t hashed_for_ = 0;  // rows that functions and buckets were chosen for; 0: none yet
    LshCalibration calibration_;
};

}  // namespace kith

#include "kith/index/lsh_calibration.hpp"
