// SPDX-License-Identifier: Apache-2.0
//
// IVF-PQ: inverted lists of product-quantised residuals (Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor search", IEEE TPAMI
// 33, section IV: IVFADC).
//
//   coarse quantiser, lists, changes, batches   index/ivf.hpp, whose index this is
//   residuals and their codes                   space/residual_pq_space.hpp
//   scoring a list                              space/residual_pq_scorer.hpp: the query's table and the list's
//   rotation of residuals (opq)                 quantize/opq.hpp
//
//     auto index = IvfPq<L2, float>::build(rows, {.nlist = 1024, .m = 32, .bits = 4});
//     auto exact = Refine<IvfPq<L2, float>>::build(DenseSpace<L2, float>(Rows<float>::borrow(rows)), {.nlist = 1024, .m = 32, .bits = 4});
//
// build() takes rows and not a space, as codes need lists: it trains centroids, sends every row to its list, trains the codec on the residuals of a
// sample, and encodes row by row in the order of lists. Rows that are added later are coded by that codec. rebalance() codes the rows of lists that
// changed anew: from the exact rows where Refine has them, else from what their codes stood for, which loses a little.
//
// Departures from the paper. One table a query, not one a list: what depends on both the list and the codes is a number that is kept with each row.
// 4-bit codes are scanned in blocks of 32 rows, by tables in bytes.
//
// Cost: nlist d + 2^bits d + nprobe (d + n / nlist m) additions a query. Memory: m bits / 8 bytes a row, 4 more but for ip, and what lists take.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kith/index/ivf.hpp"
#include "kith/space/residual_pq_space.hpp"

namespace kith {

struct IvfPqParams {
    std::uint32_t nlist = 0;
    std::uint32_t m = 16;
    std::uint32_t bits = 8;
    bool opq = false;
    std::uint32_t iterations = 20;
    std::uint32_t sample = 128;
    std::uint32_t pq_iterations = 20;
    std::uint32_t opq_iterations = 20;
    std::uint32_t pq_sample = 256;
    std::uint32_t graph_from = IvfParams::default_graph_from;

    static constexpr auto fields() {
        using P = IvfPqParams;
        return std::tuple{
            field("nlist", &P::nlist, 0, 1 << 26, "lists; 0: the square root of the number of rows. At most as many as rows"),
            field("m", &P::m, 1, 65536, "codes of a row: sub-vectors its residual is cut into, at most its dimensions"),
            field("bits", &P::bits, 4, 8, "of a code, 4 or 8: each subspace has 16 or 256 centroids"),
            field("opq", &P::opq, "rotate residuals first, so that they lose less (optimized product quantization)"),
            field("iterations", &P::iterations, 1, 1000, "k-means steps for the lists, at most"),
            field("sample", &P::sample, 1, 1 << 20, "rows to train lists on, for each list"),
            field("pq_iterations", &P::pq_iterations, 1, 10000, "k-means steps for the codec, at most"),
            field("opq_iterations", &P::opq_iterations, 0, 10000, "improvements of the rotation, at most"),
            field("pq_sample", &P::pq_sample, 1, 1 << 20, "rows to train the codec on, for each centroid of a subspace"),
            field("graph_from", &P::graph_from, 0, 1 << 30, "where there are so many lists, a graph of their centroids ranks them; 0: never"),
        };
    }
    static constexpr std::array<std::string_view, 1> retired{"tables"};  // memory for tables of lists, when lists had some
    friend bool operator==(const IvfPqParams&, const IvfPqParams&) = default;

    IvfParams lists() const noexcept { return {nlist, iterations, sample, graph_from}; }
    PqParams codec() const noexcept { return {m, bits, opq, pq_iterations, opq_iterations, pq_sample}; }
};

template <PqMetric M, FloatElement T>
class IvfPq : Ivf<ResidualPqSpace<M, T>> {
    using Base = Ivf<ResidualPqSpace<M, T>>;

public:
    static constexpr std::string_view kind = "ivf_pq";

    using space_type = ResidualPqSpace<M, T>;
    using build_params = IvfPqParams;
    using search_params = IvfSearchParams;
    using rows_view = typename space_type::rows_view;
    using scratch_type = typename Base::scratch_type;

    /// Throws Error{dimension_mismatch, invalid_argument, unsupported, out_of_memory, cancelled}. Progress: "train", "assign", "train", "encode".
    static IvfPq build(rows_view rows, const IvfPqParams& params = {}, std::uint64_t seed = 0, Executor& executor = inline_executor(), const Progress& progress = {}) {
        return IvfPq(Base::build(space_type(rows.cols(), params.codec()), rows, params.lists(), seed, executor, progress), params);
    }

    using Base::centroids;
    using Base::compact;
    using Base::compact_slots;
    using Base::describe;
    using Base::insert;
    using Base::is_vacant;
    using Base::lists;
    using Base::memory_bytes;
    using Base::min_block;
    using Base::own_rows;
    using Base::rebalance;
    using Base::rebalance_slots;
    using Base::remove;
    using Base::save;
    using Base::search;
    using Base::search_block;
    using Base::section_names;
    using Base::size;
    using Base::slots_after;
    using Base::space;
    using Base::take_order;
    using Base::validate;

    const IvfPqParams& params() const noexcept { return params_; }

    /// Which rows it takes. That it keeps codes of them is what its kind says.
    static std::string file_label() { return DenseSpace<M, T>::type_label(); }
    std::string over_label() const { return file_label(); }

    /// Safe for any bytes; throws Error{corrupt, version}. O(nlist d).
    static IvfPq load(const SectionReader& reader, const IvfPqParams& params = {}) {
        space_type space = space_type::load(reader);
        const PqParams& codec = space.params();
        if (codec != params.codec())
            fail(ErrorCode::corrupt, reader.name(), ": section 'pq_params' says ", to_string(codec), ", section 'params' ", to_string(params));
        return IvfPq(Base::load(std::move(space), reader, params.lists()), params);
    }

private:
    IvfPq(Base base, const IvfPqParams& params) : Base(std::move(base)), params_(params) {}

    IvfPqParams params_;
};

/// By the space of the rows it takes, as other indexes are named.
template <class S>
using IvfPqOver = IvfPq<typename S::metric_type, typename S::element_type>;

}  // namespace kith
