// SPDX-License-Identifier: Apache-2.0
//
// Packed neighbourhoods: a node's record holds, behind its links, one-bit codes of the neighbours they lead to, so that one pass through byte shuffles estimates the
// distances of 32 neighbours without touching their rows (NGT-QG, Yahoo Japan 2021; SymphonyQG: Gou, Gao, Xu and Long, SIGMOD 2025; codes: quantize/rabitq.hpp).
// The walk goes by estimates, and computes the exact distance of a node only when it is popped, which is the re-ranking too.
//
//   record = links (4 R bytes) | for each 32 links: add, rescale (bfloat16, 128 bytes), codes (4 D bytes)          D: dimensions, rounded up to 32
//
// Rows stay where they are, in their own type: nothing is stored twice. Estimates are of squared L2 or of the inner product; cosine is squared L2 of unit vectors. L2 rows are
// taken relative to the mean of a sample, which makes the codes' rounding relative to the spread of the data instead of its position.
//
// A record is right for the links it was encoded for: whoever changes a row's links encodes it again.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/graph/links.hpp"
#include "kith/graph/pool.hpp"
#include "kith/graph/visited.hpp"
#include "kith/quantize/rabitq.hpp"
#include "kith/quantize/rotation.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/space/dense.hpp"

namespace kith {

namespace detail {

template <class S>
struct PackableDense : std::false_type {};
template <class M, Element T>
    requires KernelMetric<M, T>
struct PackableDense<DenseSpace<M, T>>
    : std::bool_constant<!std::is_same_v<T, Bits8> && (M::squared_l2 || M::score == Score::negated || M::score == Score::normalised)> {};

}  // namespace detail

/// Spaces whose distances come from inner products of rows of numbers.
template <class S>
concept PackableSpace = Space<S> && detail::PackableDense<S>::value;

/// What a packed walk needs to remember.
struct PackedScratch {
    CandidatePool<float> pool;
    VisitedSet met;  // entered the pool
    rabitq::QueryTable table;
    AlignedBuffer<float> vector;
    AlignedBuffer<float> rotated;
    alignas(64) std::array<float, rabitq::block_size> estimates;
};

namespace detail {

struct Nothing {};

template <class S>
struct PackedScratchOf {
    using type = Nothing;
};
template <PackableSpace S>
struct PackedScratchOf<S> {
    using type = PackedScratch;
};

}  // namespace detail

template <class S>
using packed_scratch_of = typename detail::PackedScratchOf<S>::type;

template <PackableSpace S>
class PackedCodes {
    using M = typename S::metric_type;
    using Query = typename S::query_type;
    using Distance = typename S::distance_type;
    static constexpr std::size_t block = rabitq::block_size;
    static constexpr bool is_dot = !M::squared_l2 && M::score == Score::negated;
    static constexpr bool is_cosine = M::score == Score::normalised;

public:
    /// The mean is that of a sample of the rows; deterministic in the seed. Throws Error{invalid_argument} unless degree is a multiple of 32.
    PackedCodes(const S& space, std::size_t degree, std::uint64_t seed) : rotation_(space.dim(), seed), degree_(degree), mean_(space.dim()) {
        check_degree(degree);
        if constexpr (!is_dot) train_mean(space, seed);
    }
    /// As it was saved: with a mean of space.dim() elements.
    PackedCodes(const S& space, std::size_t degree, std::uint64_t seed, std::span<const float> mean)
        : rotation_(space.dim(), seed), degree_(degree), mean_(mean.begin(), mean.end()) {
        check_degree(degree);
    }

    static void check_degree(std::size_t degree) {
        if (degree == 0 || degree % block != 0)
            fail(ErrorCode::invalid_argument, "packed neighbourhoods hold a multiple of ", block, " links, not ", degree);
    }
    static std::size_t payload_words(std::size_t dim, std::size_t degree) noexcept {
        const std::size_t padded = (dim + Rotation::multiple - 1) / Rotation::multiple * Rotation::multiple;
        return degree / block * block_words(padded);
    }

    std::uint64_t seed() const noexcept { return rotation_.seed(); }
    std::span<const float> mean() const noexcept { return mean_; }
    std::size_t memory_bytes() const noexcept { return (mean_.size() + 4 * rotation_.padded_dim()) * sizeof(float); }

    /// A builder's memory: the rotated node and one rotated neighbour.
    struct Encoder {
        std::vector<Query> query;
        std::vector<float> vector, node, neighbour;
        std::vector<std::uint8_t> bits;
    };

    /// Codes of the node's neighbours, into the payload of its row. O(R d log d).
    void encode(const S& space, Links& links, Slot slot, Encoder& encoder) const {
        encode(space, links.neighbours(slot), slot, links.own_payload(slot), encoder);
    }
    void encode(const S& space, std::span<const Slot> neighbours, Slot slot, std::uint32_t* payload, Encoder& encoder) const {
        const std::size_t padded = rotation_.padded_dim();
        encoder.node.resize(padded);
        encoder.neighbour.resize(padded);
        encoder.bits.resize(block * rabitq::code_bytes(padded));
        rotate_row(space, slot, encoder, encoder.node.data());
        for (std::size_t first = 0; first < degree_; first += block) {
            std::uint32_t* const record = payload + first / block * block_words(padded);
            std::array<BFloat16, block> add;
            std::array<BFloat16, block> rescale;
            std::fill(encoder.bits.begin(), encoder.bits.end(), std::uint8_t{0});
            for (std::size_t i = 0; i < block; ++i) {
                rabitq::Factors factors;
                if (first + i < neighbours.size()) {
                    rotate_row(space, neighbours[first + i], encoder, encoder.neighbour.data());
                    factors = rabitq::encode_neighbour(encoder.neighbour.data(), encoder.node.data(), padded,
                                                       is_dot ? rabitq::Estimate::negated_dot : rabitq::Estimate::squared_l2,
                                                       encoder.bits.data() + i * rabitq::code_bytes(padded));
                    if constexpr (is_cosine) factors = {factors.add / 2, factors.rescale / 2};
                }
                add[i] = to_bfloat16(factors.add);
                rescale[i] = to_bfloat16(factors.rescale);
            }
            std::memcpy(record, add.data(), sizeof add);
            std::memcpy(record + factor_words, rescale.data(), sizeof rescale);
            rabitq::pack_codes(encoder.bits.data(), padded, reinterpret_cast<std::uint8_t*>(record + 2 * factor_words));
        }
    }

    /// Makes the table of a query.
    void prepare(std::span<const Query> query, PackedScratch& scratch) const {
        scratch.vector.reserve_discarding(query.size());
        scratch.rotated.reserve_discarding(rotation_.padded_dim());
        to_vector(query, scratch.vector.data());
        rotation_.apply(scratch.vector.data(), scratch.rotated.data());
        scratch.table.prepare(scratch.rotated.data(), rotation_.padded_dim());
    }

    /// Estimates block `which` of a node at exact distance `base`; the bits of those below bound. links: the node's row.
    std::uint32_t estimate(const Slot* links, std::size_t which, float base, float bound, PackedScratch& scratch) const {
        const std::uint32_t* const record = links + degree_ + which * block_words(rotation_.padded_dim());
        const auto& table = scratch.table;
        return simd::kernels().estimate32(reinterpret_cast<const std::uint8_t*>(record + 2 * factor_words), table.table(), table.groups(),
                                          reinterpret_cast<const BFloat16*>(record), reinterpret_cast<const BFloat16*>(record + factor_words),
                                          base, table.scale(), table.offset(), bound, scratch.estimates.data());
    }

private:
    static constexpr std::size_t factor_words = block / 2;
    static constexpr std::size_t block_words(std::size_t padded) noexcept { return 2 * factor_words + padded; }

    void to_vector(std::span<const Query> query, float* out) const {
        float factor = 1;
        if constexpr (is_cosine) factor = kith::detail::inverse_norm(query.data(), query.size());
        for (std::size_t i = 0; i < query.size(); ++i) out[i] = to_float(query[i]) * factor - mean_[i];
    }

    void rotate_row(const S& space, Slot slot, Encoder& encoder, float* out) const {
        encoder.query.resize(space.dim());
        encoder.vector.resize(space.dim());
        space.read_query(slot, encoder.query);
        to_vector(encoder.query, encoder.vector.data());
        rotation_.apply(encoder.vector.data(), out);
    }

    void train_mean(const S& space, std::uint64_t seed) {
        constexpr std::size_t most = 4096;
        const std::size_t count = std::min(most, space.size());
        if (count == 0) return;
        std::vector<double> sums(space.dim());
        std::vector<Query> query(space.dim());
        std::vector<float> vector(space.dim());
        const Random random(seed, 4);
        for (std::size_t i = 0; i < count; ++i) {
            space.read_query(static_cast<Slot>(count == space.size() ? i : random.below(i, space.size())), query);
            to_vector(query, vector.data());  // the mean is still zero
            for (std::size_t j = 0; j < vector.size(); ++j) sums[j] += static_cast<double>(vector[j]);
        }
        for (std::size_t j = 0; j < sums.size(); ++j) {
            const auto mean = static_cast<float>(sums[j] / static_cast<double>(count));
            mean_[j] = std::isfinite(mean) ? mean : 0.0f;
        }
    }

    Rotation rotation_;
    std::size_t degree_;
    std::vector<float> mean_;
};

namespace detail {

template <class S>
struct PackedCodesOf {
    using type = Nothing;
};
template <PackableSpace S>
struct PackedCodesOf<S> {
    using type = std::optional<PackedCodes<S>>;
};

}  // namespace detail

/// What a graph over S keeps: codes or none, or nothing where there can be none.
template <class S>
using packed_codes_of = typename detail::PackedCodesOf<S>::type;

}  // namespace kith
