// SPDX-License-Identifier: Apache-2.0
//
// OPQ: a rotation R such that product quantisation of Rx loses little (Ge, He, Ke and Sun 2013, "Optimized product quantization", CVPR and TPAMI 2014).
//
//     minimise  sum over x of |R x - c(R x)|^2        over R with R'R = I and the codebooks
//
// First the parametric solution (section 3.2): the principal components, dealt out to the subspaces so that products of variances are balanced:
// the component with the largest variance left goes to the subspace with the smallest product that has room. Where codes without any rotation lose
// less, as of descriptors whose sub-vectors are cells of a grid, the identity is the start in its place. Then the non-parametric one (section 3.1)
// alternates
//
//     encode all Rx; every centroid to the mean of its sub-vectors; R to the rotation that brings rows nearest to what their codes stand for
//
// None of the three can raise the error. The last is the orthogonal Procrustes problem: with the d x d matrix C = sum of x c(Rx)' = U S V', R = V U'.
// C is added up by centroid, as rows of one code share their factor: n m d additions and 2^bits d^2 products in place of n d^2.
//
// Departures: the paper takes one k-means step a round and so do these; but the codebooks here serve the rotation alone. Who uses it trains a codec on
// rotated rows from the start. Rounds end when the error falls by less than a thousandth.
//
// Distances and inner products are those of the rows up to rounding, so metrics need not know. The rotation is d^2 floats, kept both ways; applying it
// is d dot products by a kernel. Centroids that are nearer to each other than rotating there and back rounds cannot be told apart.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/quantize/pq.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

/// An orthogonal matrix. Copyable; const members may be called from many threads.
class OpqRotation {
public:
    /// The identity.
    explicit OpqRotation(std::size_t dim) : OpqRotation(dim, identity(dim)) {}

    /// dim x dim numbers, row by row. Throws Error{dimension_mismatch}.
    OpqRotation(std::size_t dim, std::vector<float> matrix) : dim_(dim), matrix_(std::move(matrix)), transposed_(matrix_.size()) {
        if (matrix_.size() != dim * dim)
            fail(ErrorCode::dimension_mismatch, "expected a rotation of ", dim, " x ", dim, " numbers, got ", matrix_.size());
        for (std::size_t i = 0; i < dim; ++i)
            for (std::size_t k = 0; k < dim; ++k) transposed_[k * dim + i] = matrix_[i * dim + k];
    }

    std::size_t dim() const noexcept { return dim_; }
    std::span<const float> matrix() const noexcept { return matrix_; }
    std::size_t bytes() const noexcept { return 2 * matrix_.size() * sizeof(float); }

    /// y = R x, and back: x = R' y. x and y do not overlap. O(d^2).
    void apply(const float* x, float* y) const noexcept { multiply(matrix_, x, 0, dim_, y); }
    void apply_inverse(const float* y, float* x) const noexcept { multiply(transposed_, y, 0, dim_, x); }

    /// The same for many rows, `out` one after the other: part by part of the matrix, so that it is read from memory once, not for every row.
    void apply_rows(MatrixView<const float> rows, float* out) const noexcept {
        const std::size_t part = std::clamp<std::size_t>((std::size_t{256} << 10) / (dim_ * sizeof(float)), 16, 4096);
        for (std::size_t first = 0; first < dim_; first += part)
            for (std::size_t i = 0; i < rows.rows(); ++i) multiply(matrix_, rows.row(i), first, std::min(part, dim_ - first), out + i * dim_ + first);
    }
    void apply_rows(MatrixView<const float> rows, float* out, Executor& executor) const {
        executor.run(rows.rows(), 64, [&](std::size_t begin, std::size_t end, std::size_t) { apply_rows(rows.slice(begin, end - begin), out + begin * dim_); });
    }

    /// Whether vectors come back from it: a few random ones, as what is no rotation loses nearly all. O(d^2).
    bool is_orthogonal() const {
        std::vector<float> x(dim_), y(dim_), z(dim_);
        for (std::uint64_t trial = 0; trial < 4; ++trial) {
            double squares = 0, error = 0;
            for (std::size_t i = 0; i < dim_; ++i) x[i] = static_cast<float>(Random(trial).normal(i));
            apply(x.data(), y.data());
            apply_inverse(y.data(), z.data());
            for (std::size_t i = 0; i < dim_; ++i) {
                const double off = static_cast<double>(x[i]) - static_cast<double>(z[i]);
                squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
                error += off * off;
            }
            if (!(error <= 1e-8 * squares)) return false;
        }
        return true;
    }

private:
    static std::vector<float> identity(std::size_t dim) {
        std::vector<float> matrix(dim * dim, 0.0f);
        for (std::size_t i = 0; i < dim; ++i) matrix[i * dim + i] = 1.0f;
        return matrix;
    }

    void multiply(const std::vector<float>& matrix, const float* x, std::size_t first, std::size_t count, float* y) const noexcept {
        simd::kernels().dot_f32.run(x, {matrix.data(), dim_, dim_}, first, count, y);
    }

    std::size_t dim_;
    std::vector<float> matrix_;
    std::vector<float> transposed_;
};

struct OpqReport {
    std::size_t training_rows = 0;
    double unrotated_error = 0;  // mean squared error of the training rows by codebooks of few steps, without a rotation
    std::vector<double> errors;  // the same with it: before each round, and at the end
};

struct TrainedOpq {
    OpqRotation rotation;
    OpqReport report;
};

/// Rows that the training of a rotation looks at, if there are so many.
constexpr std::size_t opq_training_rows(std::size_t dim) noexcept { return std::max<std::size_t>(16384, 16 * dim); }

/// A rotation for codecs of params.m subspaces and params.bits. rows: n x d, finite; all of them are used. No rows: the identity.
/// O(opq_iterations * (n (d^2 + 2^bits d) + d^3)). Throws as PqCodec::train does.
template <class T>
    requires std::same_as<T, float>
TrainedOpq train_opq(MatrixView<const T> rows, const PqParams& params, std::uint64_t seed = 0, Executor& executor = inline_executor(),
                     const Progress& progress = {});

}  // namespace kith

// Eigen's decompositions take longer to compile than all else that a file of searches includes: who links kith::kernels has them compiled.
#if !defined(KITH_COMPILED_KERNELS)
#include "kith/quantize/opq_training.hpp"
#endif
