// SPDX-License-Identifier: Apache-2.0
//
// Hash functions for vectors of numbers, and what each is for:
//
//   hyperplane      the side of a random plane (Charikar 2002, "Similarity estimation techniques from rounding algorithms", STOC, section 3): directions. Two vectors at
//                   the angle t share a bit with probability 1 - t / pi.
//   cross_polytope  the nearest of +-e_i after a random rotation (Andoni, Indyk, Laarhoven, Razenshteyn and Schmidt 2015, "Practical and optimal LSH for angular distance",
//                   NIPS): directions. One function tells 2 d of them apart, and separates near from far better than as many planes. Rotations are fast ones
//                   (hash/rotation_chain.hpp), O(d log d).
//   gaussian        the interval of width w that a projection falls in (Datar, Immorlica, Indyk and Mirrokni 2004, "Locality-sensitive hashing scheme based on p-stable
//   cauchy          distributions", SoCG): Euclidean distance by Gaussian directions, Manhattan distance by Cauchy ones.
//
// A table's key is a sum over its functions of value times weight: digits of a number where values are few, products with odd random numbers where they are any integers. So
// changing one value adds a difference to the key, which is all that probing (hash/probes.hpp) has to know. What a change costs:
//
//   hyperplane      the square of the distance to the plane: - 2 log of the odds, about, as a near row's projection is normal around the query's
//   cross_polytope  the square of the difference between the largest coordinate and the one that would have to be the largest (as FALCONN has it)
//   gaussian ...    the square of the distance to the interval (Lv 2007, section 4.3)
//
// Vectors come here as floats, prepared for their metric (hash/prepare.hpp). All is made from a seed; a file keeps that.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/random.hpp"
#include "kith/hash/probes.hpp"
#include "kith/hash/rotation_chain.hpp"
#include "kith/quantize/four.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

enum class VectorFamily : std::uint8_t { hyperplane, cross_polytope, gaussian, cauchy };

/// Tables x functions. Copyable; const members may be called from many threads.
class VectorHash {
public:
    /// What hashing one vector needs to remember.
    struct Scratch {
        std::vector<float> projections;
        std::vector<float> rotated;
    };

    VectorHash() = default;

    /// Of vectors of `dim` floats. `functions` (1 to 64) make a key; the last of cross-polytopes takes `last` coordinates only (0: all). width: of gaussian and cauchy intervals.
    VectorHash(VectorFamily family, std::size_t dim, std::size_t tables, std::size_t functions, std::size_t last, float width, std::uint64_t seed)
        : family_(family), dim_(dim), tables_(tables), functions_(functions), width_(width) {
        if (family == VectorFamily::cross_polytope) {
            rotations_ = RotationChain(dim, tables * functions, seed);
            last_ = last == 0 ? padded() : std::min(last, padded());
        } else {
            draw_directions(seed);
        }
    }

    VectorFamily family() const noexcept { return family_; }
    std::size_t dim() const noexcept { return dim_; }
    std::size_t tables() const noexcept { return tables_; }
    std::size_t functions() const noexcept { return functions_; }
    float width() const noexcept { return width_; }
    /// Of a rotated vector, that a cross-polytope takes.
    std::size_t coordinates(std::size_t function) const noexcept { return function + 1 == functions_ ? last_ : padded(); }
    std::size_t bytes() const noexcept { return (directions_.size() + offsets_.size()) * sizeof(float) + rotations_.bytes(); }

    /// Keys are below this power of two; 64 where they may be anything.
    std::size_t key_bits() const noexcept {
        switch (family_) {
            case VectorFamily::hyperplane: return functions_;
            case VectorFamily::cross_polytope: {
                const double bits = static_cast<double>(functions_ - 1) * std::log2(2.0 * static_cast<double>(padded())) + std::log2(2.0 * static_cast<double>(last_));
                return static_cast<std::size_t>(std::min(64.0, std::ceil(bits - 1e-9)));
            }
            default: return 64;
        }
    }

    /// One key a table.
    void keys(const float* x, std::uint64_t* out, Scratch& scratch) const {
        if (family_ == VectorFamily::cross_polytope) {
            std::fill_n(out, tables_, std::uint64_t{0});
            for_each_rotation(x, scratch, [&](std::size_t t, std::size_t f, const float* rotated) { out[t] = out[t] * (2 * coordinates(f)) + largest(rotated, coordinates(f)); });
            return;
        }
        project(x, scratch);
        for (std::size_t t = 0; t < tables_; ++t) {
            std::uint64_t key = 0;
            for (std::size_t f = 0; f < functions_; ++f) {
                const float value = scratch.projections[t * functions_ + f];
                if (family_ == VectorFamily::hyperplane) key |= static_cast<std::uint64_t>(value >= 0 ? 1 : 0) << f;
                else key += interval(value) * weight(f);
            }
            out[t] = key;
        }
    }

    /// The same, with what else each table may be asked for.
    void query(const float* x, HashedQuery& out, Scratch& scratch) const {
        out.begin(tables_);
        if (family_ == VectorFamily::cross_polytope) {
            for_each_rotation(x, scratch, [&](std::size_t t, std::size_t f, const float* rotated) {
                const std::size_t count = coordinates(f), before = t == 0 ? 0 : out.ends[t - 1];
                const std::uint64_t own = largest(rotated, count);
                // One more function comes in: what was added to the key before it moves up a digit.
                out.keys[t] = out.keys[t] * (2 * count) + own;
                for (std::size_t i = before; i < out.perturbations.size(); ++i) out.perturbations[i].difference *= 2 * count;
                add_alternatives(rotated, count, own, static_cast<std::uint32_t>(f), out);
                if (f + 1 == functions_) out.end_table();
            });
            return;
        }
        keys(x, out.keys.data(), scratch);
        for (std::size_t t = 0; t < tables_; ++t) {
            for (std::size_t f = 0; f < functions_; ++f) {
                const float value = scratch.projections[t * functions_ + f];
                const auto function = static_cast<std::uint32_t>(f);
                if (family_ == VectorFamily::hyperplane) {
                    const std::uint64_t bit = std::uint64_t{1} << f;
                    out.perturbations.push_back({value * value, function, value >= 0 ? std::uint64_t{0} - bit : bit});
                } else {
                    const float inside = value - std::floor(value);
                    out.perturbations.push_back({inside * inside, function, std::uint64_t{0} - weight(f)});
                    out.perturbations.push_back({(1 - inside) * (1 - inside), function, weight(f)});
                }
            }
            out.end_table();
        }
    }

private:
    /// visit(table, function, the rotated vector) for all cross-polytopes.
    template <class Visit>
    void for_each_rotation(const float* x, Scratch& scratch, Visit&& visit) const {
        scratch.rotated.resize(padded());
        float* const rotated = scratch.rotated.data();
        for (std::size_t t = 0; t < tables_; ++t)
            for (std::size_t f = 0; f < functions_; ++f) {
                if (t == 0 && f == 0) rotations_.start(x, rotated);
                else rotations_.advance(t * functions_ + f, rotated);
                visit(t, f, rotated);
            }
    }

    /// Alternatives of one cross-polytope that are considered: beyond them costs are those of anything.
    static constexpr std::size_t most_alternatives = 12;

    std::size_t padded() const noexcept { return rotations_.padded_dim(); }
    std::uint64_t weight(std::size_t function) const noexcept { return detail::mix64(function + 1) | 1u; }

    void draw_directions(std::uint64_t seed) {
        const std::size_t count = tables_ * functions_;
        directions_.resize(count * dim_);
        const Random random(seed, 0x68617368);
        const auto scale = family_ == VectorFamily::hyperplane ? 1.0 : 1.0 / static_cast<double>(width_);
        for (std::size_t i = 0; i < directions_.size(); ++i) {
            const double value = family_ == VectorFamily::cauchy ? std::tan(3.141592653589793 * (random.uniform(i) - 0.5)) : random.normal(i);
            directions_[i] = static_cast<float>(value * scale);
        }
        if (family_ == VectorFamily::hyperplane) return;
        offsets_.resize(count);
        const Random shift(seed, 0x73686966);
        for (std::size_t i = 0; i < count; ++i) offsets_[i] = static_cast<float>(shift.uniform(i));
    }

    void project(const float* x, Scratch& scratch) const {
        scratch.projections.resize(tables_ * functions_);
        simd::kernels().dot_f32.run(x, {directions_.data(), dim_, dim_}, 0, tables_ * functions_, scratch.projections.data());
        for (std::size_t i = 0; i < offsets_.size(); ++i) scratch.projections[i] = bounded(offsets_[i] + scratch.projections[i]);
    }

    /// What floor() and a conversion can take.
    static float bounded(float value) noexcept { return value > -1e9f && value < 1e9f ? value : 0.0f; }
    static std::uint64_t interval(float value) noexcept { return static_cast<std::uint64_t>(static_cast<std::int64_t>(std::floor(value))); }

    /// 2 i, or 2 i + 1 where it is negative, for the first coordinate of the largest magnitude.
    static std::uint64_t largest(const float* x, std::size_t count) noexcept {
        const std::size_t best = simd::kernels().largest_f32(x, count);
        return 2 * best + (x[best] < 0 ? 1 : 0);
    }

    static void add_alternatives(const float* rotated, std::size_t count, std::uint64_t own, std::uint32_t function, HashedQuery& out) {
        struct Other {
            float magnitude;
            std::uint32_t coordinate;
        };
        Other best[most_alternatives];
        std::size_t held = 0;
        const auto consider = [&](std::size_t i) {
            const float magnitude = std::abs(rotated[i]);
            if (i == own / 2 || !(held < most_alternatives || magnitude > best[held - 1].magnitude)) return;
            if (!(magnitude >= 0)) return;  // NaN
            std::size_t place = held < most_alternatives ? held++ : held - 1;
            for (; place > 0 && best[place - 1].magnitude < magnitude; --place) best[place] = best[place - 1];
            best[place] = {magnitude, static_cast<std::uint32_t>(i)};
        };
        std::size_t at = 0;
        for (; held < most_alternatives && at < count; ++at) consider(at);
        for (; at + 8 <= count; at += 8) {  // most are passed over, eight at a time
            const detail::Four least = detail::Four{} + best[held - 1].magnitude;
            const detail::FourInts more = (detail::absolute(detail::load_four(rotated + at)) > least) | (detail::absolute(detail::load_four(rotated + at + 4)) > least);
            if (detail::any(more))
                for (std::size_t j = at; j < at + 8; ++j) consider(j);
        }
        for (; at < count; ++at) consider(at);
        const float most = std::abs(rotated[own / 2]);
        for (std::size_t i = 0; i < held; ++i) {
            const std::uint64_t code = 2 * std::uint64_t{best[i].coordinate} + (rotated[best[i].coordinate] < 0 ? 1 : 0);
            const float below = most - best[i].magnitude;
            out.perturbations.push_back({below * below, function, code - own});
        }
    }

    VectorFamily family_ = VectorFamily::hyperplane;
    std::size_t dim_ = 0;
    std::size_t tables_ = 0;
    std::size_t functions_ = 0;
    std::size_t last_ = 0;
    float width_ = 1;
    std::vector<float> directions_;  // tables x functions rows of dim
    std::vector<float> offsets_;     // in intervals
    RotationChain rotations_;
};

}  // namespace kith
