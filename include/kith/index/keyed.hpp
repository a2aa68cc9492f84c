// SPDX-License-Identifier: Apache-2.0
//
// Keyed<I>: any index with the caller's ids in front of its slots. This is what an application holds:
//
//     kith::Keyed index(kith::Flat(kith::DenseSpace<kith::L2, float>(kith::Rows<float>::borrow(rows))));
//     kith::Results near = index.search(queries, 10);
//
// It adds, replaces and removes by id, searches in batches, and saves and loads one file. Searches are const and may run in parallel; whoever changes the
// index must be alone with it (index/concurrent.hpp sees to that).
//
// size() counts rows, slots() also the vacant slots that removed rows leave in an index whose slots are stable; bits of filters are over slots.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kith/index/cursor.hpp"
#include "kith/index/recall_curve.hpp"
#include "kith/index/search.hpp"
#include "kith/storage/id_map.hpp"

namespace kith {

template <Index I>
class Keyed {
public:
    using index_type = I;
    using query_type = query_of<I>;
    using search_params = typename I::search_params;

    /// Row i gets id i: of the rows that the index was built from where it brought them into an order of its own, else of slots, none of which is vacant.
    explicit Keyed(I index) : index_(std::move(index)) {
        if (take_order(std::nullopt)) return;
        check_ids(index_.size(), index_.size());
        ids_.append(index_.size());
    }
    /// One id for each row, in the same order; unique and not negative. Throws Error{already_exists, invalid_argument, dimension_mismatch}.
    Keyed(I index, std::span<const Id> ids) : index_(std::move(index)) {
        if (take_order(ids)) return;
        check_ids(ids.size(), ids.size());
        ids_.append(ids);
    }
    /// An id for each slot but the vacant ones.
    Keyed(I index, IdMap ids) : index_(std::move(index)), ids_(std::move(ids)) { check_ids(ids_.size(), ids_.slots()); }

    const I& index() const noexcept { return index_; }
    const IdMap& ids() const noexcept { return ids_; }
    /// Rows.
    std::size_t size() const noexcept { return ids_.size(); }
    /// Slots, vacant ones too: the length of a filter's bits.
    std::size_t slots() const noexcept { return index_.space().size(); }
    std::size_t dim() const noexcept { return index_.space().dim(); }
    bool contains(Id id) const noexcept { return ids_.contains(id); }

    /// Null where slots are ids: what search_batch wants to know.
    const Id* slot_ids() const noexcept { return ids_.is_identity() ? nullptr : ids_.ids().data(); }

    /// The k nearest of each query: min(k, eligible) results each. Throws Error{invalid_argument} for k = 0.
    SearchStats search(MatrixView<const query_type> queries, std::size_t k, const search_params& params,
                       std::span<const BitsetFilter> filters, Executor& executor, BatchScratch<I>& scratch,
                       const ResultView& out) const {
        if (k == 0) fail(ErrorCode::invalid_argument, "k must be at least 1, not 0");
        if (out.k() != std::min(k, size()))
            fail(ErrorCode::dimension_mismatch, "expected results of min(k, size) = ", std::min(k, size()), " columns, got ",
                 out.k());
        return search_batch(index_, queries, params, filters, slot_ids(), executor, scratch, out);
    }

    /// The same, for those who do not count allocations. `filter` speaks slots: see slots_of().
    Results search(MatrixView<const query_type> queries, std::size_t k, const search_params& params = {},
                   std::span<const BitsetFilter> filters = {}, Executor& executor = inline_executor()) const {
        Results results(queries.rows(), std::min(k, size()));
        BatchScratch<I> scratch;
        results.stats = search(queries, k, params, filters, executor, scratch, results.view());
        return results;
    }

    RangeResults range_search(MatrixView<const query_type> queries, double radius, const search_params& params = {},
                              std::span<const BitsetFilter> filters = {},
                              Executor& executor = inline_executor()) const {
        BatchScratch<I> scratch;
        return range_batch(index_, queries, radius, params, filters, slot_ids(), executor, scratch);
    }

    /// The neighbours of one query, a few at a time (index/cursor.hpp). `filter` speaks slots. While the cursor is used the index must
    /// neither change nor move. Throws Error{dimension_mismatch, not_finite}.
    Cursor<I> iterate(std::span<const query_type> query, const search_params& params = {},
                      std::optional<Bitset> filter = std::nullopt) const {
        return Cursor<I>(index_, ids_, query, params, std::move(filter));
    }

    /// The slots that these ids have, as a filter's bits; ids that are not here are ignored.
    Bitset slots_of(std::span<const Id> ids) const {
        Bitset slots(this->slots());
        for (const Id id : ids)
            if (const Slot slot = ids_.slot(id); slot != invalid_slot) slots.set(slot);
        return slots;
    }

    /// The slots whose ids are marked: mask[id] != 0. The mask must reach to the largest id.
    Bitset slots_of_mask(std::span<const std::uint8_t> mask) const {
        if (ids_.is_identity() && mask.size() != size())
            fail(ErrorCode::dimension_mismatch, "expected a mask of ", size(), " values, one for each row, got ", mask.size());
        Bitset slots(this->slots());
        for (std::size_t slot = 0; slot < ids_.slots(); ++slot) {
            const Id key = ids_.id(static_cast<Slot>(slot));
            if (key == invalid_id) continue;
            const auto id = static_cast<std::size_t>(key);
            if (id >= mask.size())
                fail(ErrorCode::dimension_mismatch, "expected a mask of at least ", id + 1, " values, for ids up to ", id, ", got ", mask.size());
            if (mask[id] != 0) slots.set(slot);
        }
        return slots;
    }

    /// All slots that are not vacant: the filter that changes nothing.
    Bitset live_slots() const {
        Bitset live(slots());
        for (std::size_t slot = 0; slot < ids_.slots(); ++slot)
            if (ids_.id(static_cast<Slot>(slot)) != invalid_id) live.set(slot);
        return live;
    }

    /// How good searches are (any/calibration.hpp), if that was measured; saved with the index.
    const std::optional<RecallCurve>& recall_curve() const noexcept { return curve_; }
    void set_recall_curve(std::optional<RecallCurve> curve) noexcept { curve_ = std::move(curve); }

    /// Adds rows with the given ids, or the next free ones; a row whose id is there already takes the place of that row. All or nothing.
    /// `rows` are not the index's own. Throws Error{already_exists} for an id that is given twice, or that is taken where the index
    /// cannot replace rows; Error{dimension_mismatch, invalid_argument, not_finite}; what index().insert() throws.
    void add(rows_view_of<typename I::space_type> rows, std::span<const Id> ids = {}, NotFinite policy = NotFinite::reject,
             Executor& executor = inline_executor(), const Progress& progress = {})
        requires Insertable<I>
    {
        if (rows.cols() != dim())
            fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", rows.cols());
        if (!ids.empty() && ids.size() != rows.rows())
            fail(ErrorCode::dimension_mismatch, "expected ", rows.rows(), " ids, one for each row, got ", ids.size());
        if (policy == NotFinite::reject) require_finite(rows, "row");
        if (rows.rows() == 0) return;
        ids_.extend(slots());
        std::vector<Id> next;
        std::vector<Slot> replaced;
        if (ids.empty()) {
            next = ids_.next_ids(rows.rows());
            ids = next;
        }
        ids_.check_new(ids);
        if (next.empty())
            for (const Id id : ids)
                if (const Slot slot = ids_.slot(id); slot != invalid_slot) replaced.push_back(slot);
        if (replaced.empty()) {
            reserve(ids);
            ids_.assign(index_.insert(rows, executor, progress), ids);
        } else if constexpr (StablyRemovable<I>) {
            replace(rows, ids, replaced, executor, progress);
        } else if constexpr (Overwritable<I>) {
            overwrite(rows, ids, executor, progress);
        } else {
            fail(ErrorCode::already_exists, "id ", ids_.id(replaced[0]), " is taken, and ", I::kind, " does not support replacing rows");
        }
    }

    /// Removes the rows with these ids. All or nothing: Error{not_found} names the first id that is not there.
    void remove(std::span<const Id> ids, [[maybe_unused]] Executor& executor = inline_executor(),
                [[maybe_unused]] const Progress& progress = {})
        requires Removable<I>
    {
        std::vector<Id> sorted(ids.begin(), ids.end());
        std::sort(sorted.begin(), sorted.end());
        std::vector<Slot> slots;
        slots.reserve(sorted.size());
        for (std::size_t i = 0; i < sorted.size(); ++i) {
            if (!contains(sorted[i])) fail(ErrorCode::not_found, "no row has id ", sorted[i]);
            if (i > 0 && sorted[i] == sorted[i - 1]) fail(ErrorCode::invalid_argument, "id ", sorted[i], " is given twice");
            slots.push_back(ids_.slot(sorted[i]));
        }
        if (slots.empty()) return;
        ids_.extend(this->slots());
        std::sort(slots.begin(), slots.end());
        index_.own_rows();
        if constexpr (StablyRemovable<I>) {
            ids_.reserve_vacancies();
            index_.remove(std::span<const Slot>(slots), executor, progress);
            ids_.vacate(slots);
        } else {
            // From the last slot down: rows that go anyway are not moved first.
            for (auto slot = slots.rbegin(); slot != slots.rend(); ++slot) {
                ids_.swap_remove(*slot);  // may run out of memory, but then before anything has changed
                index_.remove(*slot);
            }
        }
    }

    /// Gives back what removed rows still occupy: afterwards no slot is vacant. Ids and results stay, slots change. Does nothing where nothing is
    /// vacant, as always in indexes that keep their slots dense. All or nothing.
    void compact([[maybe_unused]] Executor& executor = inline_executor(), [[maybe_unused]] const Progress& progress = {})
        requires(Compactable<I> || !StablyRemovable<I>)
    {
        if constexpr (Compactable<I>) {
            if (slots() == size()) return;
            ids_.extend(slots());
            auto room = ids_.room_for_compact(compact_slots(index_));
            ids_.compact(index_.compact(executor, progress), std::move(room));
        }
    }

    /// Every row goes; what was learnt from them stays: codebooks, centroids, the lists of a partition. Ids start at 0 again. All or nothing until rows are gone; then at most
    /// room is not given back.
    void clear(Executor& executor = inline_executor(), const Progress& progress = {})
        requires(Removable<I> && (Compactable<I> || !StablyRemovable<I>))
    {
        std::vector<Id> all;
        all.reserve(size());
        for (std::size_t slot = 0; slot < ids_.slots(); ++slot)
            if (const Id id = ids_.id(static_cast<Slot>(slot)); id != invalid_id) all.push_back(id);
        remove(all, executor, progress);
        compact(executor, progress);
        ids_ = IdMap();
    }

    /// Puts the structure right for the rows of today (index/ivf.hpp: lists that grew too large are split). Ids stay, slots change, searches find more or cost less.
    /// All or nothing.
    void rebalance(Executor& executor = inline_executor(), const Progress& progress = {})
        requires Rebalanceable<I>
    {
        ids_.extend(slots());
        ids_.reserve_vacancies();
        auto room = ids_.room_for_compact(index_.rebalance_slots());
        ids_.compact(index_.rebalance(executor, progress), std::move(room));
    }

    /// Writes everything to one file, atomically: the old file stays until the new one is complete and on disk.
    void save(const std::filesystem::path& path, const Progress& progress = {}) const
        requires Persistable<I>
    {
        with_sections([&](SectionWriter& writer) { writer.write(path, progress); });
    }

    /// The file as bytes.
    std::vector<std::byte> to_bytes() const
        requires Persistable<I>
    {
        return with_sections([](SectionWriter& writer) { return writer.to_bytes(); });
    }

    /// Memory-safe for any bytes; throws Error{corrupt, version, type_mismatch, not_found} where they are no such index.
    static Keyed load(const SectionReader& reader)
        requires Persistable<I>
    {
        using S = typename I::space_type;
        reader.require_kind(I::kind);
        if constexpr (requires { I::file_label(); }) require_space(reader, I::file_label());
        else if constexpr (requires { S::file_label(); }) require_space(reader, S::file_label());
        else if constexpr (requires { S::type_label(); }) require_space(reader, S::type_label());
        std::vector<std::string_view> known = I::section_names();
        known.insert(known.end(), {"params", "ids", "next_id"});
        known.insert(known.end(), std::begin(RecallCurve::section_names), std::end(RecallCurve::section_names));
        reader.require_known(known);
        I index = I::load(reader, load_params(reader));
        require_space(reader, file_label(index));
        IdMap ids = IdMap::load(reader, index.space().size());
        if (ids.size() != index.size())
            fail(ErrorCode::corrupt, reader.name(), ": expected ", index.size(), " ids, one for each row, got ", ids.size());
        if constexpr (requires { index.is_vacant(Slot{}); }) {
            for (std::size_t slot = 0; ids.size() != ids.slots() && slot < ids.slots(); ++slot)
                if ((ids.id(static_cast<Slot>(slot)) == invalid_id) != index.is_vacant(static_cast<Slot>(slot)))
                    fail(ErrorCode::corrupt, reader.name(), ": section 'ids': slot ", slot, " is vacant and has an id, or is not and has none");
        }
        Keyed keyed(std::move(index), std::move(ids));
        keyed.curve_ = RecallCurve::template load<search_params>(reader);
        return keyed;
    }

private:
    /// Ids of rows where the index was built in an order of its own: ids[i] of row i, or i where none are given. False where it was not.
    bool take_order([[maybe_unused]] std::optional<std::span<const Id>> ids) {
        if constexpr (ReordersRows<I>) {
            const std::vector<Slot> order = index_.take_order();
            if (order.empty()) return false;
            if (ids && ids->size() != index_.size())
                fail(ErrorCode::dimension_mismatch, "expected ", index_.size(), " ids, one for each row, got ", ids->size());
            std::vector<Id> of_slots(order.size(), invalid_id);
            for (std::size_t slot = 0; slot < order.size(); ++slot)
                if (order[slot] != invalid_slot) of_slots[slot] = ids ? (*ids)[order[slot]] : Id{order[slot]};
            ids_ = IdMap::of_slots(of_slots);
            return true;
        }
        return false;
    }

    /// Memory for the ids of new rows, wherever the index puts them.
    void reserve(std::span<const Id> ids) {
        if constexpr (ScattersRows<I>) ids_.reserve_vacancies(ids.size(), index_.slots_after(ids.size()));
        else ids_.reserve(ids);
    }
    void reserve_vacancies(std::size_t more) {
        if constexpr (ScattersRows<I>) ids_.reserve_vacancies(more, index_.slots_after(more));
        else ids_.reserve_vacancies(more);
    }

    void check_ids(std::size_t rows, std::size_t slots) const {
        if (rows != index_.size())
            fail(ErrorCode::dimension_mismatch, "expected ", index_.size(), " ids, one for each row, got ", rows);
        if (slots != index_.space().size())
            fail(ErrorCode::dimension_mismatch, "expected an id map of ", index_.space().size(), " slots, got ", slots);
    }

    /// Adds rows some of whose ids are taken: the new ones come in, then the `old` ones go.
    void replace(rows_view_of<typename I::space_type> rows, std::span<const Id> ids, std::span<const Slot> old, Executor& executor,
                 const Progress& progress)
        requires StablyRemovable<I>
    {
        reserve_vacancies(ids.size());
        const std::vector<Id> spare = ids_.next_ids(ids.size());
        const std::vector<Slot> placed = index_.insert(rows, executor, progress);
        try {
            index_.remove(old, executor, Progress{});  // not cancelled: what is left is less than what was done
        } catch (...) {
            try {
                index_.remove(std::span<const Slot>(placed), executor, Progress{});
            } catch (...) {
                ids_.assign(placed, spare);  // out of memory twice: the new rows stay, beside the old ones, under ids of their own
            }
            throw;
        }
        ids_.vacate(old);
        ids_.assign(placed, ids);
    }

    /// The same where slots can be overwritten: replaced rows keep their slots, the others come behind all, a run of them at a time.
    void overwrite(rows_view_of<typename I::space_type> rows, std::span<const Id> ids, Executor& executor, const Progress& progress)
        requires Overwritable<I>
    {
        std::vector<Id> fresh;
        std::vector<Slot> placed;
        for (const Id id : ids)
            if (!contains(id)) fresh.push_back(id);
        placed.reserve(fresh.size());
        ids_.reserve(fresh);
        index_.own_rows();
        try {
            for (std::size_t first = 0, last = 0; first < ids.size(); first = last + 1) {
                for (last = first; last < ids.size() && !contains(ids[last]);) ++last;
                if (last == first) continue;
                const std::vector<Slot> run = index_.insert(rows.slice(first, last - first), executor, progress);
                placed.insert(placed.end(), run.begin(), run.end());
            }
        } catch (...) {
            for (auto slot = placed.rbegin(); slot != placed.rend(); ++slot) index_.remove(*slot);
            throw;
        }
        for (std::size_t i = 0; i < ids.size(); ++i)
            if (const Slot slot = ids_.slot(ids[i]); slot != invalid_slot) index_.overwrite(slot, rows[i]);
        ids_.assign(placed, fresh);
    }

    static void require_space(const SectionReader& reader, std::string_view label) {
        if (reader.info().space != label)
            fail(ErrorCode::type_mismatch, reader.name(), " holds rows of ", reader.info().space, ", expected ", label);
    }

    /// Parameters that the file does not name have their defaults; those that mean nothing any more (P::retired) are passed over; one that is not known is a newer writer's.
    static auto load_params(const SectionReader& reader)
        requires Persistable<I>
    {
        using P = typename I::build_params;
        if (!reader.contains("params")) return P{};
        try {
            ParamMap params = parse_param_list(reader.text("params"), "section 'params'");
            if constexpr (requires { P::retired; })
                std::erase_if(params, [](const auto& param) { return std::ranges::find(P::retired, std::string_view(param.first)) != std::end(P::retired); });
            for (const auto& [name, value] : params)
                if (!is_param<P>(name))
                    fail(ErrorCode::version, reader.name(), " was built with the parameter '", name,
                         "', which this version of kith does not know; known: ", known_params<P>());
            return parse_params<P>(params, I::kind);
        } catch (const Error& error) {
            if (error.code() != ErrorCode::invalid_argument) throw;
            fail(ErrorCode::corrupt, reader.name(), ": section 'params': ", error.what());
        }
    }

    template <class Work>
    auto with_sections(Work work) const {
        if (ids_.slots() == slots()) {
            SectionWriter writer = sections(ids_);
            return work(writer);
        }
        IdMap ids = ids_;
        ids.extend(slots());
        SectionWriter writer = sections(ids);
        return work(writer);
    }

    SectionWriter sections(const IdMap& ids) const
        requires Persistable<I>
    {
        FileInfo info;
        info.kind = std::string(I::kind);
        info.space = file_label(index_);
        info.count = slots();
        info.dim = static_cast<std::uint32_t>(index_.space().dimensions());
        SectionWriter writer(info);
        writer.add_text("params", to_string(index_.params()));
        index_.save(writer);
        ids.save(writer);
        if (curve_) curve_->save(writer);
        return writer;
    }

    I index_;
    std::optional<RecallCurve> curve_;
    IdMap ids_;  // may know fewer slots than the index: an insertion that failed can leave vacant ones behind, which the next change extends it by
};

}  // namespace kith
