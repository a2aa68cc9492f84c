// SPDX-License-Identifier: Apache-2.0
//
// The hash functions of an LSH index over a space: which family, how many functions and how wide, what vectors are prepared by; and the keys of rows and queries.
//
//   l2, euclidean   cross_polytope, hyperplane (directions from the mean of the rows), p_stable (Gaussian)
//   cosine, ip      the same, of vectors of length 1; hash/prepare.hpp
//   l1              p_stable (Cauchy)
//   hamming         bit_sampling
//   jaccard         minhash
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/bitset.hpp"
#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/hash/bit_hash.hpp"
#include "kith/hash/buckets.hpp"
#include "kith/hash/prepare.hpp"
#include "kith/hash/probes.hpp"
#include "kith/hash/vector_hash.hpp"
#include "kith/index/lsh_params.hpp"
#include "kith/metric/metric.hpp"
#include "kith/partition/centroids.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/space/space.hpp"
#include "kith/storage/sections.hpp"

namespace kith {

/// A space whose rows there are hash functions for.
template <class S>
concept HashableSpace = Space<S> && (PartitionMetric<typename S::metric_type> || std::same_as<typename S::metric_type, Jaccard>);

template <HashableSpace S>
class LshFunctions {
    using Query = typename S::query_type;
    using M = typename S::metric_type;
    static constexpr bool is_l1 = std::same_as<M, L1>;
    static constexpr LengthRule length_rule = std::same_as<M, Cosine>         ? LengthRule::one
                                              : std::same_as<M, InnerProduct> ? LengthRule::augment
                                                                              : LengthRule::keep;

    /// The first is what `auto` stands for.
    static constexpr std::string_view known = std::same_as<M, Jaccard>      ? "minhash"
                                              : std::same_as<M, Hamming>    ? "bit_sampling"
                                              : is_l1                       ? "p_stable"
                                                                            : "cross_polytope, hyperplane, p_stable";

public:
    static constexpr bool over_bits = std::same_as<Query, Bits8>;
    using Hash = std::conditional_t<over_bits, BitHash, VectorHash>;

    /// What hashing one vector needs to remember.
    struct Scratch {
        typename Hash::Scratch hash;
        std::vector<float> floats, prepared;
        std::vector<std::uint64_t> keys;
    };

    LshFunctions() = default;

    /// For the rows of a space that are not vacant; `size` of them. Throws Error{invalid_argument} for what makes no key.
    static LshFunctions choose(const S& space, BitsetView vacant, std::size_t size, const LshParams& params, std::uint64_t seed) {
        LshFunctions made;
        double spread = 0;
        if constexpr (!over_bits) made.preparation_ = prepare(space, vacant, params, seed, spread);
        made.shape_ = shape_for(space, size, spread, params);
        if (too_many(space, made.shape_, params))
            fail(ErrorCode::invalid_argument, "lsh: ", params.tables, " tables of ", made.shape_.functions, " functions take more memory than 64 times what the rows do");
        made.make_hash(space, params, seed);
        return made;
    }

    const Hash& hash() const noexcept { return hash_; }
    std::size_t bytes() const noexcept { return hash_.bytes() + preparation_.mean().size_bytes(); }

    /// What tells functions that differ from those that do not: how many, and how many coordinates the last one takes.
    std::pair<std::size_t, std::size_t> shape() const noexcept { return {shape_.functions, shape_.last}; }
    /// Bits of a key for so many rows, where nobody says: a bucket has about 16 of them.
    static std::size_t usual_bits(std::size_t rows) noexcept {
        const auto log = static_cast<std::size_t>(std::lround(std::log2(static_cast<double>(std::max<std::size_t>(rows, 1)))));
        return std::clamp<std::size_t>(log, 8, 64) - 4;
    }

    /// Its name, "auto" resolved. Throws Error{invalid_argument} for one that such a space has not.
    static std::string family(const LshParams& params, std::string_view space_label) {
        if (!has(params.family))
            fail(ErrorCode::invalid_argument, "parameter 'family' of lsh over ", space_label, " must be auto or one of: ", known, "; not '", params.family, "'");
        return params.family == "auto" ? std::string(known.substr(0, known.find(','))) : params.family;
    }

    /// Whether such a space has a family of that name.
    static bool has(std::string_view name) { return name == "auto" || (!name.empty() && (", " + std::string(known) + ",").find(", " + std::string(name) + ",") != std::string::npos); }

    /// Keys of all rows as numbers of buckets: of row i in table t at out[t * by_table + i * by_row].
    template <class R>
    void number_rows(const R& rows, const Buckets& buckets, std::span<Buckets::Number> out, std::size_t by_table, std::size_t by_row, Executor& executor,
                     const Progress& progress) const {
        constexpr std::size_t step = 65536;
        std::vector<Scratch> workers(executor.workers());
        for (std::size_t first = 0; first < rows.size(); first += step) {
            progress.report("hash", first, rows.size());
            executor.run(std::min(step, rows.size() - first), 64, [&](std::size_t begin, std::size_t end, std::size_t which) {
                auto& scratch = workers[which];
                for (std::size_t i = first + begin; i < first + end; ++i) {
                    hash_row(rows, i, scratch);
                    for (std::size_t t = 0; t < hash_.tables(); ++t) out[t * by_table + i * by_row] = buckets.number(scratch.keys[t]);
                }
            });
        }
        progress.report("hash", rows.size(), rows.size());
    }

    /// Keys of a query, and what else is worth a look; or the keys alone.
    void hash_query(std::span<const Query> query, HashedQuery& out, Scratch& scratch) const { hash_.query(prepared_query(query, scratch), out, scratch.hash); }
    void hash_query(std::span<const Query> query, std::vector<std::uint64_t>& keys, Scratch& scratch) const {
        keys.resize(hash_.tables());
        hash_.keys(prepared_query(query, scratch), keys.data(), scratch.hash);
    }

    /// scratch.keys: those of row i.
    template <class R>
    void hash_row(const R& rows, std::size_t i, Scratch& scratch) const {
        scratch.keys.resize(hash_.tables());
        if constexpr (over_bits) hash_.keys(rows.rows.row(i), scratch.keys.data(), scratch.hash);
        else hash_.keys(prepared(rows, i, scratch), scratch.keys.data(), scratch.hash);
    }

    /// Row i as the hash functions get it, or get it of a query; until the scratch is used again.
    template <class R>
    const float* prepared(const R& rows, std::size_t i, Scratch& scratch, bool as_query = false) const
        requires(!over_bits)
    {
        scratch.floats.resize(preparation_.input_dim());
        scratch.prepared.resize(preparation_.dim());
        rows.read(i, scratch.floats.data());
        if (as_query) preparation_.query(scratch.floats.data(), scratch.prepared.data());
        else preparation_.row(scratch.floats.data(), scratch.prepared.data());
        return scratch.prepared.data();
    }

    /// Rows by number: those of a space, or given ones.
    struct BitRows {
        MatrixView<const Bits8> rows;
        std::size_t size() const noexcept { return rows.rows(); }
    };
    static auto rows_of(const S& space) {
        if constexpr (over_bits) return BitRows{space.rows().view()};
        else return floats_of(space);
    }
    static auto given(rows_view_of<S> rows) {
        if constexpr (over_bits) return BitRows{rows};
        else return GivenFloats(rows);
    }

    static std::vector<std::string_view> section_names() { return {"lsh_functions", "lsh_scales", "lsh_mean"}; }
    void save(SectionWriter& writer) const {
        const std::uint64_t functions[] = {shape_.functions, shape_.last};
        const float scales[] = {shape_.width, preparation_.largest_norm()};
        writer.add_copy("lsh_functions", std::span<const std::uint64_t>(functions));
        writer.add_copy("lsh_scales", std::span<const float>(scales));
        writer.add_copy("lsh_mean", preparation_.mean());
    }
    static LshFunctions load(const SectionReader& reader, const S& space, const LshParams& params, std::uint64_t seed) {
        LshFunctions made;
        const auto functions = reader.template section<std::uint64_t>("lsh_functions", 2);
        const auto scales = reader.template section<float>("lsh_scales", 2);
        const auto mean = reader.template section<float>("lsh_mean");
        const auto refuse = [&](std::string_view section) { fail(ErrorCode::corrupt, reader.name(), ": section '", section, "' holds numbers that no such index has"); };
        if (functions[0] == 0 || functions[0] > 64 || functions[1] > 2 * space.dimensions() + 64) refuse("lsh_functions");
        for (const float scale : scales)
            if (!std::isfinite(scale) || scale < 0) refuse("lsh_scales");
        made.shape_ = {functions[0], functions[1], scales[0]};
        if (too_many(space, made.shape_, params)) refuse("lsh_functions");
        if constexpr (!over_bits) made.preparation_ = HashPreparation(length_rule, space.dimensions(), scales[1], std::vector<float>(mean.begin(), mean.end()));
        if (!mean.empty() && mean.size() != made.preparation_.dim()) refuse("lsh_mean");
        made.make_hash(space, params, seed);
        return made;
    }
    void validate(std::string_view source) const {
        for (const float value : preparation_.mean())
            if (!std::isfinite(value)) fail(ErrorCode::corrupt, source, ": section 'lsh_mean' holds a number that is not finite");
    }

private:
    const auto* prepared_query(std::span<const Query> query, [[maybe_unused]] Scratch& scratch) const {
        if constexpr (over_bits) {
            return query.data();
        } else {
            scratch.floats.resize(preparation_.input_dim());
            scratch.prepared.resize(preparation_.dim());
            detail::to_floats(query.data(), query.size(), scratch.floats.data());
            preparation_.query(scratch.floats.data(), scratch.prepared.data());
            return static_cast<const float*>(scratch.prepared.data());
        }
    }

    struct Shape {
        std::size_t functions = 0;
        std::size_t last = 0;  // coordinates of a table's last cross-polytope
        float width = 0;
    };

    /// Functions come from a seed: a small file could ask for any number of them.
    static bool too_many(const S& space, const Shape& shape, const LshParams& params) noexcept {
        const double numbers = static_cast<double>(params.tables) * static_cast<double>(shape.functions) * static_cast<double>(over_bits ? 1 : RotationChain::padded(prepared_dim(space)));
        return 4 * numbers > std::max(double(1 << 26), 64 * static_cast<double>(space.memory_bytes()));
    }

    static std::size_t prepared_dim(const S& space) noexcept { return space.dimensions() + (length_rule == LengthRule::augment ? 1 : 0); }

    /// spread: of projections of the rows.
    static Shape shape_for(const S& space, std::size_t rows, [[maybe_unused]] double spread, const LshParams& params) {
        const std::size_t bits = params.bits != 0 ? params.bits : usual_bits(rows);
        const std::string name = family(params, space.label());
        Shape shape;
        shape.functions = params.hashes != 0 ? params.hashes : bits;
        if (name == "minhash") {
            if (params.hashes == 0) shape.functions = std::max<std::size_t>(bits / 8, 1);
        } else if (name == "p_stable") {
            if (params.hashes == 0) shape.functions = std::max<std::size_t>(bits / 2, 1);
            // A normal variable has 2 bits of entropy in intervals of 1.03 standard deviations.
            shape.width = params.width != 0 ? params.width : static_cast<float>(std::clamp(1.03 * spread, 1e-30, 1e30));
        } else if (name == "cross_polytope") {
            const std::size_t coordinates = RotationChain::padded(prepared_dim(space));
            const double whole = std::log2(2.0 * static_cast<double>(coordinates));
            if (params.hashes != 0) {
                if (static_cast<double>(params.hashes) * whole > 64)
                    fail(ErrorCode::invalid_argument, "parameter 'hashes' of lsh: ", params.hashes, " cross-polytopes of ", coordinates,
                         " coordinates make a key of more than 64 bits; expected at most ", static_cast<int>(64 / whole));
                return shape;
            }
            shape.functions = static_cast<std::size_t>(std::ceil(static_cast<double>(bits) / whole - 1e-9));
            const double left = static_cast<double>(bits) - static_cast<double>(shape.functions - 1) * whole;
            shape.last = static_cast<std::size_t>(std::clamp(std::round(std::exp2(left - 1)), 1.0, static_cast<double>(coordinates)));
        }
        return shape;
    }

    void make_hash(const S& space, const LshParams& params, std::uint64_t seed) {
        const std::string name = family(params, space.label());
        if constexpr (over_bits) {
            hash_ = BitHash(name == "minhash" ? BitFamily::minhash : BitFamily::bit_sampling, space.dim(), params.tables, shape_.functions, seed);
        } else {
            const VectorFamily which = name == "hyperplane"       ? VectorFamily::hyperplane
                                       : name == "cross_polytope" ? VectorFamily::cross_polytope
                                       : is_l1                    ? VectorFamily::cauchy
                                                                  : VectorFamily::gaussian;
            hash_ = VectorHash(which, prepared_dim(space), params.tables, shape_.functions, shape_.last, shape_.width == 0 ? 1.0f : shape_.width, seed);
        }
    }

    /// Mean and scale, of a sample of the rows; the largest norm of all. spread: the standard deviation of a projection (of a Cauchy one the scale), for p-stable functions.
    static HashPreparation prepare(const S& space, BitsetView vacant, const LshParams& params, std::uint64_t seed, double& spread)
        requires(!over_bits)
    {
        const auto rows = rows_of(space);
        const std::size_t input = space.dimensions(), dim = prepared_dim(space);
        std::vector<float> floats(input), prepared(dim);
        const auto squares_of = [&](std::size_t i) {  // negative: of no use
            if (vacant.test(i)) return -1.0f;
            rows.read(i, floats.data());
            const float squares = simd::kernels().dot_f32.one(floats.data(), floats.data(), input);
            return std::isfinite(squares) ? squares : -1.0f;
        };
        float largest = 0;
        if (length_rule == LengthRule::augment)
            for (std::size_t i = 0; i < rows.size(); ++i) largest = std::max(largest, squares_of(i));
        const HashPreparation plain(length_rule, input, std::sqrt(largest), {});

        constexpr std::size_t sample = 65536;
        const Random random(seed, 0x6d65616e);
        const auto for_each_sampled = [&](auto&& visit) {
            for (std::size_t i = 0; i < std::min(sample, rows.size()); ++i) {
                if (squares_of(rows.size() <= sample ? i : random.below(i, rows.size())) < 0) continue;
                plain.row(floats.data(), prepared.data());
                visit();
            }
        };
        std::vector<double> sums(dim, 0.0);
        double count = 0;
        for_each_sampled([&] {
            for (std::size_t d = 0; d < dim; ++d) sums[d] += static_cast<double>(prepared[d]);
            ++count;
        });
        for (double& sum : sums) sum = count == 0 ? 0.0 : sum / count;
        if (family(params, space.label()) != "p_stable") {
            if (!params.centre) return plain;
            return HashPreparation(length_rule, input, std::sqrt(largest), std::vector<float>(sums.begin(), sums.end()));
        }
        double total = 0;
        for_each_sampled([&] {
            for (std::size_t d = 0; d < dim; ++d) {
                const double off = static_cast<double>(prepared[d]) - sums[d];
                total += is_l1 ? std::abs(off) : off * off;
            }
        });
        spread = count == 0 ? 1.0 : is_l1 ? total / count : std::sqrt(total / count);
        return plain;
    }

    HashPreparation preparation_;
    Shape shape_;
    Hash hash_;
};

}  // namespace kith
