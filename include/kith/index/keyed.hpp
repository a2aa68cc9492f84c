// SPDX-License-Identifier: Apache-2.0
//
// Keyed<I>: any index with the caller's ids in front of its slots. This is what an application holds:
//
//     kith::Keyed index(kith::Flat(kith::DenseSpace<kith::L2, float>(kith::Rows<float>::borrow(rows))));
//     kith::Results near = index.search(queries, 10);
//
// It adds, replaces and removes by id, searches in batches, and saves and loads one file. Searches are const and may run in parallel; whoever changes the
// index must be alone with it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kith/index/search.hpp"
#include "kith/storage/id_map.hpp"

namespace kith {

template <Index I>
class Keyed {
public:
    using index_type = I;
    using query_type = query_of<I>;
    using search_params = typename I::search_params;

    /// Row i gets id i.
    explicit Keyed(I index) : index_(std::move(index)), ids_(index_.size()) {}
    /// One id for each row, in the order of slots; unique and not negative. Throws Error{already_exists, invalid_argument}.
    Keyed(I index, std::span<const Id> ids) : index_(std::move(index)) {
        if (ids.size() != index_.size())
            fail(ErrorCode::dimension_mismatch, "expected ", index_.size(), " ids, one for each row, got ", ids.size());
        ids_.append(ids);
    }
    Keyed(I index, IdMap ids) : index_(std::move(index)), ids_(std::move(ids)) {}

    const I& index() const noexcept { return index_; }
    const IdMap& ids() const noexcept { return ids_; }
    std::size_t size() const noexcept { return ids_.size(); }
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

    /// The slots that these ids have, as a filter's bits; ids that are not here are ignored.
    Bitset slots_of(std::span<const Id> ids) const {
        Bitset slots(size());
        for (const Id id : ids)
            if (const Slot slot = ids_.slot(id); slot != invalid_slot) slots.set(slot);
        return slots;
    }

    /// The slots whose ids are marked: mask[id] != 0. The mask must reach to the largest id.
    Bitset slots_of_mask(std::span<const std::uint8_t> mask) const {
        if (ids_.is_identity() && mask.size() != size())
            fail(ErrorCode::dimension_mismatch, "expected a mask of ", size(), " values, one for each row, got ", mask.size());
        Bitset slots(size());
        for (std::size_t slot = 0; slot < size(); ++slot) {
            const auto id = static_cast<std::size_t>(ids_.id(static_cast<Slot>(slot)));
            if (id >= mask.size())
                fail(ErrorCode::dimension_mismatch, "expected a mask that reaches to id ", id, ", got one of ", mask.size(),
                     " values");
            if (mask[id] != 0) slots.set(slot);
        }
        return slots;
    }

    /// Adds rows with the given ids, or the next free ones. All or nothing: a duplicate id adds nothing.
    void add(rows_view_of<typename I::space_type> rows, std::span<const Id> ids = {}, NotFinite policy = NotFinite::reject,
             Executor& executor = inline_executor(), const Progress& progress = {})
        requires Insertable<I>
    {
        if (rows.cols() != dim())
            fail(ErrorCode::dimension_mismatch, "expected rows of ", dim(), " elements, got ", rows.cols());
        if (!ids.empty() && ids.size() != rows.rows())
            fail(ErrorCode::dimension_mismatch, "expected ", rows.rows(), " ids, one for each row, got ", ids.size());
        if (policy == NotFinite::reject) require_finite(rows, "row");
        const std::size_t before = size();
        if (ids.empty()) ids_.append(rows.rows());
        else ids_.append(ids);
        try {
            index_.insert(rows, executor, progress);
        } catch (...) {
            ids_.truncate(before);
            throw;
        }
    }

    /// Removes the rows with these ids. All or nothing: Error{not_found} names the first id that is not there.
    void remove(std::span<const Id> ids)
        requires Removable<I>
    {
        std::vector<Id> sorted(ids.begin(), ids.end());
        std::sort(sorted.begin(), sorted.end());
        for (std::size_t i = 0; i < sorted.size(); ++i) {
            if (!contains(sorted[i])) fail(ErrorCode::not_found, "no row has id ", sorted[i]);
            if (i > 0 && sorted[i] == sorted[i - 1]) fail(ErrorCode::invalid_argument, "id ", sorted[i], " is given twice");
        }
        // From the last slot down: rows that go anyway are not moved first.
        std::sort(sorted.begin(), sorted.end(), [&](Id a, Id b) { return ids_.slot(a) > ids_.slot(b); });
        index_.own_rows();
        for (const Id id : sorted) {
            const Slot slot = ids_.slot(id);
            ids_.swap_remove(slot);  // may run out of memory, but then before anything has changed
            index_.remove(slot);
        }
    }

    /// Writes everything to one file, atomically: the old file stays until the new one is complete and on disk.
    void save(const std::filesystem::path& path, const Progress& progress = {}) const
        requires Persistable<I>
    {
        SectionWriter writer = sections();
        writer.write(path, progress);
    }

    /// The file as bytes.
    std::vector<std::byte> to_bytes() const
        requires Persistable<I>
    {
        SectionWriter writer = sections();
        return writer.to_bytes();
    }

    /// Memory-safe for any bytes; throws Error{corrupt, version, type_mismatch, not_found} where they are no such index.
    static Keyed load(const SectionReader& reader)
        requires Persistable<I>
    {
        using S = typename I::space_type;
        reader.require_kind(I::kind);
        if constexpr (requires { S::type_label(); }) require_space(reader, S::type_label());
        std::vector<std::string_view> known = I::section_names();
        known.insert(known.end(), {"params", "ids", "next_id"});
        reader.require_known(known);
        I index = I::load(reader, load_params(reader));
        require_space(reader, index.space().label());
        IdMap ids = IdMap::load(reader, index.size());
        return Keyed(std::move(index), std::move(ids));
    }

private:
    static void require_space(const SectionReader& reader, std::string_view label) {
        if (reader.info().space != label)
            fail(ErrorCode::type_mismatch, reader.name(), " holds rows of ", reader.info().space, ", expected ", label);
    }

    /// Parameters that the file does not name have their defaults; one that is not known is a newer writer's.
    static auto load_params(const SectionReader& reader)
        requires Persistable<I>
    {
        using P = typename I::build_params;
        if (!reader.contains("params")) return P{};
        try {
            const ParamMap params = parse_param_list(reader.text("params"), "section 'params'");
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

    SectionWriter sections() const
        requires Persistable<I>
    {
        FileInfo info;
        info.kind = std::string(I::kind);
        info.space = index_.space().label();
        info.count = size();
        info.dim = static_cast<std::uint32_t>(index_.space().dimensions());
        SectionWriter writer(info);
        writer.add_text("params", to_string(index_.params()));
        index_.save(writer);
        ids_.save(writer);
        return writer;
    }

    I index_;
    IdMap ids_;
};

}  // namespace kith
