// SPDX-License-Identifier: Apache-2.0
//
// RotationChain: many random rotations of one vector, the next made from the last. Three rounds of random signs and a Hadamard transform make a vector look as if it had been
// rotated at random (quantize/rotation.hpp); each further round makes another such vector of it, since signs are drawn anew. So a rotation costs d log d additions, where starting
// from the vector each time costs three times as many; as hash functions both find as much (docs/algorithms/lsh.md).
// Every instruction set gives the same bits (simd/hadamard.hpp).
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kith/core/random.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// Copyable; const members may be called from many threads.
class RotationChain {
public:
    RotationChain() = default;

    /// `count` rotations of vectors of `dim` elements. Memory: padded(dim) floats for each.
    RotationChain(std::size_t dim, std::size_t count, std::uint64_t seed) : dim_(dim), padded_(padded(dim)), factors_((count + opening) * padded_) {
        const Random random(seed, 0x726f7461);
        const auto size = static_cast<float>(1.0 / std::sqrt(static_cast<double>(padded_)));
        for (std::size_t i = 0; i < factors_.size(); ++i) factors_[i] = (random.bits(i / 64) >> (i % 64) & 1u) != 0 ? -size : size;
    }

    /// Coordinates of a rotated vector: a power of two, at least 16.
    static std::size_t padded(std::size_t dim) noexcept { return std::max<std::size_t>(std::bit_ceil(dim), 16); }
    std::size_t padded_dim() const noexcept { return padded_; }
    std::size_t bytes() const noexcept { return factors_.size() * sizeof(float); }

    /// out (padded_dim() floats) = rotation 0 of x.
    void start(const float* x, float* out) const noexcept {
        std::copy_n(x, dim_, out);
        std::fill(out + dim_, out + padded_, 0.0f);
        for (std::size_t round = 0; round <= opening; ++round) turn(round, out);
    }

    /// What was rotation i - 1 of a vector becomes rotation i.
    void advance(std::size_t i, float* out) const noexcept { turn(i + opening, out); }

private:
    static constexpr std::size_t opening = 2;  // rounds before those that make a rotation

    void turn(std::size_t round, float* x) const noexcept { simd::kernels().hadamard_f32(factors_.data() + round * padded_, x, padded_); }

    std::size_t dim_ = 0;
    std::size_t padded_ = 0;
    std::vector<float> factors_;  // a round after the other: signs, times what makes the transform orthogonal
};

}  // namespace kith
