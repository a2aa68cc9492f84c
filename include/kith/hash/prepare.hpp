// SPDX-License-Identifier: Apache-2.0
//
// How vectors are brought before hash functions that know of directions or of Euclidean distances only:
//
//   l2, l1   as they are
//   cosine   at length 1
//   ip       the rows x / M with one coordinate more, sqrt(1 - |x|^2 / M^2), M the largest norm there is; queries q / |q| with a 0 (Neyshabur and Srebro 2015, "On symmetric
//            and asymmetric LSHs for inner product search", ICML): all rows then have length 1, and those of larger products are nearer
//
// and, where functions look at directions, less the mean of the rows: seen from there rows lie in all directions, while embeddings and histograms seen from the
// origin lie in a narrow cone that no plane through it cuts well. It keeps the order of Euclidean distances only as far as rows are equally far from the mean.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kith/simd/kernels.hpp"

namespace kith {

enum class LengthRule : std::uint8_t { keep, one, augment };

class HashPreparation {
public:
    HashPreparation() = default;
    /// mean: dim() floats, or none.
    HashPreparation(LengthRule rule, std::size_t input_dim, float largest_norm, std::vector<float> mean)
        : rule_(rule), input_(input_dim), largest_(largest_norm), mean_(std::move(mean)) {}

    /// Floats that come in, and that go out.
    std::size_t input_dim() const noexcept { return input_; }
    std::size_t dim() const noexcept { return input_ + (rule_ == LengthRule::augment ? 1 : 0); }
    float largest_norm() const noexcept { return largest_; }
    std::span<const float> mean() const noexcept { return mean_; }

    void row(const float* in, float* out) const noexcept { prepare(in, out, false); }
    void query(const float* in, float* out) const noexcept { prepare(in, out, true); }

private:
    void prepare(const float* in, float* out, bool is_query) const noexcept {
        float scale = 1, last = 0;
        if (rule_ != LengthRule::keep) {
            const float squares = simd::kernels().dot_f32.one(in, in, input_);
            if (rule_ == LengthRule::one || is_query) {
                scale = squares > 0 ? 1 / std::sqrt(squares) : 0.0f;
            } else {
                scale = largest_ > 0 ? 1 / largest_ : 0.0f;
                last = std::sqrt(std::max(0.0f, 1 - squares * scale * scale));
            }
        }
        for (std::size_t i = 0; i < input_; ++i) out[i] = in[i] * scale;
        if (rule_ == LengthRule::augment) out[input_] = last;
        for (std::size_t i = 0; i < mean_.size(); ++i) out[i] -= mean_[i];
    }

    LengthRule rule_ = LengthRule::keep;
    std::size_t input_ = 0;
    float largest_ = 0;
    std::vector<float> mean_;
};

}  // namespace kith
