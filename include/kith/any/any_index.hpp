// SPDX-License-Identifier: Apache-2.0
//
// AnyIndex: an index whose type is known at run time: what Python and the command line hold. Erased once, at the batch: one virtual call per
// batch, none inside a loop. A value: movable, not copyable.
//
//     auto index = AnyIndex::build("flat", rows, {.metric = "cosine"}, executor);
//     auto context = index.context();                       // reusable scratch, one for each concurrent caller
//     index.search(queries, 10, {}, {}, executor, results, *context);
//
// Which kinds and spaces exist is a type list (any/registry.hpp). Searches are const and may run in parallel; whoever changes the index must be
// alone with it (index/concurrent.hpp sees to that). Every function throws kith::Error, before anything has changed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kith/any/spec.hpp"
#include "kith/core/bitset.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/results.hpp"
#include "kith/core/types.hpp"
#include "kith/index/cursor.hpp"
#include "kith/index/recall_curve.hpp"
#include "kith/space/finite.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

/// A matrix whose element type is known at run time. cols and stride count stored elements (bytes for packed bits).
struct AnyMatrix {
    ElementType type = ElementType::f32;
    const void* data = nullptr;
    std::size_t rows = 0;
    std::size_t cols = 0;
    std::size_t stride = 0;
};

template <Element T>
AnyMatrix erase(MatrixView<const T> rows) noexcept {
    return {element_traits<T>::type, rows.data(), rows.rows(), rows.cols(), rows.stride()};
}

struct BuildOptions {
    std::string metric = {};           // "l2" unless the spec says it
    std::uint64_t seed = 0;
    bool copy = false;                 // own a copy of the rows rather than borrow them
    NotFinite not_finite = NotFinite::reject;
    std::shared_ptr<const void> keep_alive = {};  // owner of borrowed rows
    std::span<const Id> ids = {};      // one for each row; empty: 0 .. n-1
    Progress progress = {};
    double target_recall = 0;          // recall@10 that searches aim at which say nothing else; above 0 the index is calibrated
};

/// What a search needs to remember, opaque. Made by AnyIndex::context(), used by one caller at a time, for that index.
class SearchContext {
public:
    virtual ~SearchContext() = default;
};

namespace detail {

class AnyCursorModel {
public:
    virtual ~AnyCursorModel() = default;
    virtual Neighbours next(std::size_t n) = 0;
    virtual SearchStats stats() const = 0;
};

/// The erased interface. One implementation: IndexModel<I> (any/model.hpp).
class AnyModel {
public:
    virtual ~AnyModel() = default;

    virtual std::string_view kind() const = 0;
    virtual std::string_view metric() const = 0;
    virtual ElementType element_type() const = 0;
    virtual std::string spec() const = 0;
    virtual std::size_t size() const = 0;
    virtual std::size_t slots() const = 0;
    virtual std::size_t dim() const = 0;
    virtual std::size_t memory_bytes() const = 0;
    virtual ParamMap describe() const = 0;
    virtual std::vector<FieldInfo> search_params() const = 0;
    virtual std::vector<FieldInfo> build_params() const = 0;

    virtual std::unique_ptr<SearchContext> context() const = 0;
    virtual SearchStats search(AnyMatrix queries, std::size_t k, const ParamMap& params,
                               std::span<const BitsetView> filters, Executor& executor, ResultView out,
                               SearchContext& context) const = 0;
    virtual RangeResults range_search(AnyMatrix queries, double radius, const ParamMap& params,
                                      std::span<const BitsetView> filters, Executor& executor,
                                      SearchContext& context) const = 0;

    virtual std::vector<std::uint32_t> tables_with(AnyMatrix query, std::span<const Id> ids, const ParamMap& params) const = 0;
    virtual std::unique_ptr<AnyCursorModel> iterate(AnyMatrix query, const ParamMap& params, std::optional<Bitset> filter) const = 0;

    /// The k nearest of queries that are rows with these ids, as if those rows were not there: one query after the other, in parallel.
    virtual Results search_without(AnyMatrix queries, std::span<const Id> own, std::size_t k, const ParamMap& params, Executor& executor) const = 0;
    /// The rows by slot, where they are kept as they were given.
    virtual std::optional<AnyMatrix> exact_rows() const = 0;
    virtual std::vector<Id> ids_of_slots() const = 0;  // invalid_id where vacant
    virtual const std::optional<RecallCurve>& recall_curve() const = 0;
    virtual void set_recall_curve(std::optional<RecallCurve> curve) = 0;

    virtual bool contains(Id id) const = 0;
    virtual void copy_ids(std::span<Id> out) const = 0;
    virtual void copy_row(Id id, void* out) const = 0;
    virtual Bitset slots_of(std::span<const Id> ids) const = 0;
    virtual Bitset slots_of_mask(std::span<const std::uint8_t> mask) const = 0;
    virtual Bitset live_slots() const = 0;

    virtual void add(AnyMatrix rows, std::span<const Id> ids, NotFinite policy, Executor& executor,
                     const Progress& progress) = 0;
    virtual void remove(std::span<const Id> ids, Executor& executor, const Progress& progress) = 0;
    virtual void compact(Executor& executor, const Progress& progress) = 0;
    virtual void clear(Executor& executor, const Progress& progress) = 0;
    virtual void rebalance(Executor& executor, const Progress& progress) = 0;
    virtual void save(const std::filesystem::path& path, const Progress& progress) const = 0;
    virtual std::vector<std::byte> to_bytes() const = 0;
    virtual void validate(std::string_view source, const Progress& progress) const = 0;
};

}  // namespace detail

/// The neighbours of one query, a few at a time; made by AnyIndex::iterate(). index/cursor.hpp says what it gives, in which order, and what it
/// costs. The index must outlive it and must not be changed while it is used.
class AnyCursor {
public:
    explicit AnyCursor(std::unique_ptr<detail::AnyCursorModel> model) : model_(std::move(model)) {}

    /// The next n, or as many as are left; none when all eligible rows were given.
    Neighbours next(std::size_t n) { return model_->next(n); }
    /// What all its searches did.
    SearchStats stats() const { return model_->stats(); }

private:
    std::unique_ptr<detail::AnyCursorModel> model_;
};

class AnyIndex {
public:
    /// Builds what `spec` says over `rows`, which are borrowed unless options.copy is set or the spec's codec needs other rows.
    /// Defined with the registry: include any/registry.hpp.
    static AnyIndex build(std::string_view spec, AnyMatrix rows, const BuildOptions& options = {},
                          Executor& executor = inline_executor());

    /// Opens a file that save() wrote, mapped unless options say otherwise. Memory-safe for any bytes.
    static AnyIndex load(const std::filesystem::path& path, const LoadOptions& options = {}, const Progress& progress = {});
    static AnyIndex load(const SectionReader& reader);

    explicit AnyIndex(std::unique_ptr<detail::AnyModel> model) noexcept : model_(std::move(model)) {}

    std::string_view kind() const { return model_->kind(); }
    std::string_view metric() const { return model_->metric(); }
    ElementType element_type() const { return model_->element_type(); }
    /// "flat over l2/f32": build() takes it back.
    std::string spec() const { return model_->spec(); }
    /// Rows.
    std::size_t size() const { return model_->size(); }
    /// Slots, those that removed rows left vacant too: the length of a filter's bits.
    std::size_t slots() const { return model_->slots(); }
    /// Stored elements of a row: its dimensions, or bytes of packed bits.
    std::size_t dim() const { return model_->dim(); }
    /// Everything held or borrowed: rows, what is kept beside them, structure, ids.
    std::size_t memory_bytes() const { return model_->memory_bytes(); }
    /// What it is and how it is doing, by name: for people.
    ParamMap describe() const { return model_->describe(); }
    std::vector<FieldInfo> search_params() const { return model_->search_params(); }
    std::vector<FieldInfo> build_params() const { return model_->build_params(); }

    std::unique_ptr<SearchContext> context() const { return model_->context(); }

    /// The k nearest of each query into `out`, which has min(k, size()) columns.
    ///
    /// params: those of search_params(), or target_recall where the index was calibrated (recall_curve()).
    /// Queries of another element type are taken where nothing is lost (halves and 8-bit integers as floats; floats as 8-bit integers
    /// when they are such), else Error{type_mismatch}. filters: none, one for all or one for each query, bits over slots
    /// (slots_of, slots_of_mask).
    SearchStats search(AnyMatrix queries, std::size_t k, const ParamMap& params, std::span<const BitsetView> filters,
                       Executor& executor, ResultView out, SearchContext& context) const {
        return model_->search(queries, k, params, filters, executor, out, context);
    }

    /// For those who do not count allocations.
    Results search(AnyMatrix queries, std::size_t k, const ParamMap& params = {},
                   std::span<const BitsetView> filters = {}, Executor& executor = inline_executor()) const {
        Results results(queries.rows, std::min(k, size()));
        const auto scratch = context();
        results.stats = search(queries, k, params, filters, executor, results.view(), *scratch);
        return results;
    }

    /// All rows within `radius`, in the metric's reported number (at most; at least for ip).
    RangeResults range_search(AnyMatrix queries, double radius, const ParamMap& params,
                              std::span<const BitsetView> filters, Executor& executor, SearchContext& context) const {
        return model_->range_search(queries, radius, params, filters, executor, context);
    }

    /// The neighbours of one query, a few at a time. `filter`: bits over slots, none for all. Query and parameters as for search().
    AnyCursor iterate(AnyMatrix query, const ParamMap& params = {}, std::optional<Bitset> filter = std::nullopt) const {
        return AnyCursor(model_->iterate(query, params, std::move(filter)));
    }

    /// Of an index of hash tables (lsh): in how many of them a search for this query looks at the bucket that has each of these rows. Throws Error{unsupported, not_found}.
    std::vector<std::uint32_t> tables_with(AnyMatrix query, std::span<const Id> ids, const ParamMap& params = {}) const { return model_->tables_with(query, ids, params); }

    /// Measures recall under its search parameters, with rows of its own as queries; from then on searches take target_recall, and aim at `target` (above 0) if they say nothing. As
    /// build() does with a target_recall; again when rows have changed. O(300 n d). Throws Error{unsupported} where only codes are kept.
    void calibrate(double target = 0, std::uint64_t seed = 0, Executor& executor = inline_executor(), const Progress& progress = {});
    const std::optional<RecallCurve>& recall_curve() const { return model_->recall_curve(); }

    bool contains(Id id) const { return model_->contains(id); }
    /// All size() ids, in the order of slots (without the vacant ones).
    void copy_ids(std::span<Id> out) const { model_->copy_ids(out); }
    /// The row with this id: dim() elements of element_type(). Throws Error{not_found}.
    void copy_row(Id id, void* out) const { model_->copy_row(id, out); }
    /// A filter's bits: the slots of these ids; ids that are not here are ignored.
    Bitset slots_of(std::span<const Id> ids) const { return model_->slots_of(ids); }
    /// A filter's bits: the slots whose id is marked, mask[id] != 0.
    Bitset slots_of_mask(std::span<const std::uint8_t> mask) const { return model_->slots_of_mask(mask); }
    /// A filter's bits that allow every row.
    Bitset live_slots() const { return model_->live_slots(); }

    /// Adds rows of the index's own element type, with these ids or the next free ones; a row whose id is there already takes the place of that
    /// row. All or nothing. Error{already_exists}: an id is given twice.
    void add(AnyMatrix rows, std::span<const Id> ids = {}, NotFinite policy = NotFinite::reject,
             Executor& executor = inline_executor(), const Progress& progress = {}) {
        model_->add(rows, ids, policy, executor, progress);
        changed(rows.rows, executor);
    }
    /// Removes rows. All or nothing: Error{not_found} names the first id that is not there.
    void remove(std::span<const Id> ids, Executor& executor = inline_executor(), const Progress& progress = {}) {
        model_->remove(ids, executor, progress);
        changed(ids.size(), executor);
    }
    /// Gives back what removed rows still occupy. Ids and results stay, slots change. All or nothing.
    void compact(Executor& executor = inline_executor(), const Progress& progress = {}) { model_->compact(executor, progress); }
    /// Every row goes, and what was learnt from them stays: codebooks, centroids, the lists of a partition. Ids start at 0 again. Saved, it is what shards are
    /// filled from that should code their rows alike.
    void clear(Executor& executor = inline_executor(), const Progress& progress = {}) {
        const std::size_t rows = size();
        model_->clear(executor, progress);
        changed(rows, executor);
    }
    /// Puts the structure right for the rows of today, where it is one that changes leave behind (ivf: lists that grew too large or too small). Ids stay, slots
    /// change. All or nothing. Throws Error{unsupported} where there is nothing of the kind.
    void rebalance(Executor& executor = inline_executor(), const Progress& progress = {}) {
        model_->rebalance(executor, progress);
        changed(size(), executor);  // parameters mean something else
    }

    /// One file, atomically.
    void save(const std::filesystem::path& path, const Progress& progress = {}) const { model_->save(path, progress); }
    std::vector<std::byte> to_bytes() const { return model_->to_bytes(); }
    /// Throws Error{corrupt} where what was loaded makes no sense; `source` names it in the message.
    void validate(std::string_view source, const Progress& progress = {}) const { model_->validate(source, progress); }

private:
    /// Rows came or went. Once they are a quarter of those that were calibrated it is done again.
    void changed(std::size_t rows, Executor& executor) noexcept;

    std::unique_ptr<detail::AnyModel> model_;
    std::size_t changed_ = 0;  // rows, since it was calibrated
};

/// Checks every checksum of a file, loads it and validates what it means. Throws at the first damage.
void verify_file(const std::filesystem::path& path, const Progress& progress = {});

/// What build() knows, for messages and help.
std::vector<std::string> known_kinds();
std::vector<std::string> known_metrics();
std::vector<std::string> known_spaces();
/// Codes that rows can be replaced by, with the rows' element type: "l2/sq8:f32".
std::vector<std::string> known_codecs();

}  // namespace kith
