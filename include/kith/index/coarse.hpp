// SPDX-License-Identifier: Apache-2.0
//
// Coarse<M>: the centroids of a partition and which of their lists a query under metric M should ask first: the coarse quantiser. Which score ranks lists,
// and why, is in partition/centroids.hpp; ranking them is an exact search of a Flat index over the centroids, one by one or a batch at a time with the same result.
// Where there are very many, link() makes a graph of them (Malkov and Yashunin 2018), and few of many lists are found by a walk: nearly always the ones that promise most.
//
// Cost: lists * d a query; with a graph about log(lists) + count of them. Memory: 4 d bytes a list; with a graph 8 d + 150.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/topk.hpp"
#include "kith/index/flat.hpp"
#include "kith/index/hnsw.hpp"
#include "kith/index/keyed.hpp"
#include "kith/partition/centroids.hpp"

namespace kith {

template <PartitionMetric M>
class Coarse {
public:
    using space_type = DenseSpace<centroid_metric<M>, float>;
    using Graph = Hnsw<space_type>;
    using Ranked = std::span<const Hit<float>>;  // slot is the list; nearest first

    static constexpr bool spherical = std::same_as<M, Cosine>;
    static constexpr bool keeps_spread = std::same_as<M, InnerProduct>;  // in one more dimension, which queries fill with their length

    /// Reusable; grows to the largest search it served.
    class Scratch {
        friend class Coarse;
        typename Flat<space_type>::scratch_type flat;
        typename Graph::scratch_type graph;
        AlignedBuffer<float> queries;
        AlignedBuffer<Hit<float>> hits;
        std::vector<TopK<float>> nearest;
    };

    /// No lists.
    explicit Coarse(std::size_t dimensions) : Coarse(Rows<float>(columns(dimensions)), dimensions) {}

    /// rows: lists x columns(dimensions), as kept().
    Coarse(Rows<float> rows, std::size_t dimensions) : flat_(space_type(std::move(rows))), dimensions_(dimensions) {}

    /// Centroids, lists x dimensions, of rows that were assigned to them at these squared distances.
    static Coarse make(Rows<float> centroids, std::span<const std::uint32_t> list_of, std::span<const float> distances) {
        const std::size_t dimensions = centroids.cols();
        if constexpr (keeps_spread) {
            std::vector<double> squares(centroids.rows());
            std::vector<std::size_t> sizes(centroids.rows());
            for (std::size_t i = 0; i < list_of.size(); ++i) {
                if (!std::isfinite(distances[i])) continue;
                squares[list_of[i]] += static_cast<double>(distances[i]);
                ++sizes[list_of[i]];
            }
            Rows<float> rows(columns(dimensions));
            rows.extend(centroids.rows(), 0.0f);
            for (std::size_t list = 0; list < centroids.rows(); ++list) {
                float* const row = rows.own_row(static_cast<Slot>(list));
                std::copy_n(centroids.row(static_cast<Slot>(list)), dimensions, row);
                const double mean = squares[list] / static_cast<double>(std::max<std::size_t>(sizes[list], 1));
                row[dimensions] = static_cast<float>(spreads * std::sqrt(mean / static_cast<double>(dimensions)));
            }
            return Coarse(std::move(rows), dimensions);
        } else {
            return Coarse(std::move(centroids), dimensions);
        }
    }

    /// From now on a graph of the centroids ranks them. Same centroids and seed: the same graph. O(lists log lists d).
    void link(std::uint64_t seed, Executor& executor, const Progress& progress = {}) {
        graph_ = std::make_shared<const Keyed<Graph>>(Graph::build(space_type(Rows<float>::copy(kept())), {.m = 16, .ef_construction = 100}, seed, executor, progress));
    }
    bool is_linked() const noexcept { return graph_ != nullptr; }
    /// Whether the ranking of so many lists may miss some that promise more.
    bool is_approximate(std::size_t count) const noexcept { return is_linked() && graph_share * count <= lists(); }

    /// The graph as a file within a file.
    void save(SectionWriter& writer) const {
        writer.add_rows("ivf_centroids", kept());
        if (is_linked()) writer.add_copy("ivf_graph", std::span<const std::byte>(graph_->to_bytes()));
    }
    static std::vector<std::string_view> section_names() { return {"ivf_centroids", "ivf_graph"}; }
    static Coarse load(const SectionReader& reader, std::size_t dimensions) {
        const std::size_t cols = columns(dimensions), lists = reader.template section<float>("ivf_centroids").size() / cols;
        Coarse coarse(Rows<float>::map(reader.template matrix<float>("ivf_centroids", lists, cols), reader.keep_alive()), dimensions);
        if (!reader.contains("ivf_graph")) return coarse;
        const SectionReader inner(reader.template section<std::byte>("ivf_graph"), reader.name() + ": section 'ivf_graph'", reader.keep_alive());
        inner.require_kind(Graph::kind);
        if (inner.info().space != space_type::type_label() || inner.info().dim != cols || inner.info().count != lists)
            fail(ErrorCode::corrupt, inner.name(), ": expected a graph of ", lists, " centroids, ", space_type::type_label(), " of ", cols, " dimensions, got ", inner.info().count, ", ",
                 inner.info().space, " of ", inner.info().dim);
        coarse.graph_ = std::make_shared<const Keyed<Graph>>(Keyed<Graph>::load(inner));
        if (coarse.graph_->size() != lists) fail(ErrorCode::corrupt, inner.name(), ": expected no vacant slots, got ", lists - coarse.graph_->size());
        return coarse;
    }
    /// Throws Error{corrupt}.
    void validate(std::string_view source, const Progress& progress) const {
        if (const std::size_t bad = first_not_finite(kept()); bad < lists())
            fail(ErrorCode::corrupt, source, ": section 'ivf_centroids': centroid ", bad, " has a value that is not finite");
        if (is_linked()) graph_->index().validate(std::string(source) + ": section 'ivf_graph'", progress);
    }

    static constexpr std::size_t columns(std::size_t dimensions) noexcept { return dimensions + (keeps_spread ? 1 : 0); }

    std::size_t lists() const noexcept { return flat_.size(); }
    std::size_t dimensions() const noexcept { return dimensions_; }
    std::size_t memory_bytes() const noexcept { return flat_.space().memory_bytes() + (is_linked() ? graph_->index().memory_bytes() : 0); }
    /// What a file keeps: lists x columns(dimensions()).
    MatrixView<const float> kept() const noexcept { return flat_.space().rows().view(); }
    /// lists x dimensions(): what rows are assigned to.
    MatrixView<const float> centroids() const noexcept { return {kept().data(), lists(), dimensions_, kept().stride()}; }

    /// The min(count, lists()) lists to ask first. The result lives in the scratch until it is used again.
    template <Element Q>
    Ranked rank(std::span<const Q> query, std::size_t count, Scratch& scratch, SearchStats& stats) const {
        count = std::min(count, lists());
        const float* const floats = prepare(MatrixView<const Q>(query.data(), 1, query.size()), scratch);
        scratch.hits.reserve_discarding(count);
        const std::span hits(scratch.hits.data(), count);
        if (is_approximate(count) && walk(floats, hits, scratch, stats)) return hits;
        scan(floats, hits, scratch, stats);
        return hits;
    }

    /// The same for each query, to the bit: that of query i is ranked(scratch, i, count).
    template <Element Q>
    void rank_block(MatrixView<const Q> queries, std::size_t count, Scratch& scratch, SearchStats& stats) const {
        count = std::min(count, lists());
        const float* const floats = prepare(queries, scratch);
        scratch.hits.reserve_discarding(queries.rows() * count);
        if (is_approximate(count)) {
            for (std::size_t i = 0; i < queries.rows(); ++i) {
                const std::span hits(scratch.hits.data() + i * count, count);
                const float* const query = floats + i * floats_stride(queries);
                if (!walk(query, hits, scratch, stats)) scan(query, hits, scratch, stats);
            }
            return;
        }
        scratch.nearest.clear();
        for (std::size_t i = 0; i < queries.rows(); ++i) scratch.nearest.emplace_back(std::span(scratch.hits.data() + i * count, count));
        stats += flat_.search_block(MatrixView<const float>(floats, queries.rows(), kept().cols(), floats_stride(queries)), NoParams{}, {}, scratch.flat,
                                    std::span(scratch.nearest));
        for (auto& nearest : scratch.nearest) nearest.sorted();
    }
    Ranked ranked(const Scratch& scratch, std::size_t i, std::size_t count) const noexcept {
        count = std::min(count, lists());
        return {scratch.hits.data() + i * count, count};
    }

    /// How many of the first lists are near enough: those whose centroid is at most `ratio` times as far as the nearest one, by the angle's chord under cosine.
    /// Inner products have no zero to measure from: there, those that are less than the largest by at most (ratio - 1) times it. At least 1; ratio 0: all.
    template <Element Q>
    std::size_t near(float ratio, std::span<const Q> query, Ranked ranked) const noexcept {
        if (ratio == 0 || ranked.empty()) return ranked.size();
        const auto r = static_cast<double>(std::max(ratio, 1.0f));
        const auto first = static_cast<double>(ranked[0].distance);
        double zero = 0;  // what the distance of a query from itself would be
        if constexpr (spherical) {
            double squares = 0;
            for (const Q x : query) squares += static_cast<double>(to_float(x)) * static_cast<double>(to_float(x));
            zero = -std::sqrt(squares);
        }
        const double most = keeps_spread ? first + (r - 1) * std::abs(first) : zero + r * r * std::max(first - zero, 0.0);
        std::size_t count = 1;
        while (count < ranked.size() && static_cast<double>(ranked[count].distance) <= most) ++count;
        return count;
    }

private:
    static constexpr double spreads = 2;
    static constexpr std::size_t graph_share = 16;  // a walk for more than 1 / graph_share of the lists would not be worth it
    static constexpr std::size_t least_ef = 64;

    /// The hits.size() nearest by the graph; false where it does not reach so many.
    bool walk(const float* query, std::span<Hit<float>> hits, Scratch& scratch, SearchStats& stats) const {
        TopK<float> nearest(hits);
        GraphSearchParams params;
        params.ef = static_cast<std::uint32_t>(std::max(least_ef, 2 * hits.size()));
        SearchStats walked = graph_->index().search({query, kept().cols()}, params, AllowAll{}, scratch.graph, nearest);
        walked.hops = 0;  // of an index that is no graph
        stats += walked;
        return nearest.sorted().size() == hits.size();
    }

    /// The hits.size() nearest of all.
    void scan(const float* query, std::span<Hit<float>> hits, Scratch& scratch, SearchStats& stats) const {
        TopK<float> nearest(hits);
        stats += flat_.search({query, kept().cols()}, NoParams{}, AllowAll{}, scratch.flat, nearest);
        nearest.sorted();
    }

    static constexpr bool as_they_are(bool is_float) noexcept { return is_float && !keeps_spread; }

    template <Element Q>
    std::size_t floats_stride(MatrixView<const Q> queries) const noexcept {
        return as_they_are(std::is_same_v<Q, float>) ? queries.stride() : kept().cols();
    }

    /// Queries as the centroids' space takes them.
    template <Element Q>
    const float* prepare(MatrixView<const Q> queries, Scratch& scratch) const {
        if constexpr (as_they_are(std::is_same_v<Q, float>)) {
            return queries.data();
        } else {
            const std::size_t cols = kept().cols();
            scratch.queries.reserve_discarding(queries.rows() * cols);
            for (std::size_t i = 0; i < queries.rows(); ++i) {
                float* const out = scratch.queries.data() + i * cols;
                detail::to_floats(queries.row(i), queries.cols(), out);
                if constexpr (keeps_spread)
                    out[dimensions_] = std::min(std::sqrt(simd::kernels().dot_f32.one(out, out, dimensions_)), std::numeric_limits<float>::max());
            }
            return scratch.queries.data();
        }
    }

    Flat<space_type> flat_;
    std::size_t dimensions_;
    std::shared_ptr<const Keyed<Graph>> graph_;  // does not change: copies share it
};

}  // namespace kith
