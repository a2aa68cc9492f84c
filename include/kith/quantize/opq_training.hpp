// SPDX-License-Identifier: Apache-2.0
//
// How opq.hpp finds its rotation: by Eigen's decompositions. Templates, though there is one type of rows, so that nothing here is compiled by
// those who include it and train no rotation.
#pragma once

#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <Eigen/SVD>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/quantize/opq.hpp"
#include "kith/quantize/pq.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

namespace detail {

using OpqMatrix = Eigen::MatrixXd;

/// Which principal component (0 has the largest variance) each rotated dimension is. variances: falling.
inline std::vector<std::size_t> allocate_components(const std::vector<double>& variances, std::size_t m) {
    const std::size_t dim = variances.size();
    const auto length = [&](std::size_t j) { return dim / m + (j < dim % m ? 1 : 0); };
    const auto first = [&](std::size_t j) { return j * (dim / m) + std::min(j, dim % m); };
    // Products are sums of logarithms. In units of the least variance that counts none of them falls as components are added.
    const double least = std::max(variances.front() * 1e-10, 1e-300);
    std::vector<double> products(m, 0.0);
    std::vector<std::size_t> filled(m, 0), component(dim);
    for (std::size_t i = 0; i < dim; ++i) {
        std::size_t best = m;
        for (std::size_t j = 0; j < m; ++j)
            if (filled[j] < length(j) && (best == m || products[j] < products[best])) best = j;
        component[first(best) + filled[best]++] = i;
        products[best] += std::log(std::max(variances[i], least) / least);
    }
    return component;
}

/// X'X of rows less their mean, over n. Blocks of rows in float, added up in double; each panel of columns in one order.
template <class T>
OpqMatrix covariance(MatrixView<const T> rows, Executor& executor) {
    using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
    using View = Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>>;
    const auto dim = static_cast<Eigen::Index>(rows.cols()), n = static_cast<Eigen::Index>(rows.rows());
    const View all(rows.data(), n, dim, Eigen::OuterStride<>(static_cast<Eigen::Index>(rows.stride())));
    const Eigen::RowVectorXf mean = (all.cast<double>().colwise().sum() / static_cast<double>(n)).cast<float>();
    OpqMatrix result = OpqMatrix::Zero(dim, dim);
    constexpr Eigen::Index panel = 64, block = 512;
    executor.run(static_cast<std::size_t>((dim + panel - 1) / panel), 1, [&](std::size_t begin, std::size_t end, std::size_t) {
        for (auto p = static_cast<Eigen::Index>(begin); p < static_cast<Eigen::Index>(end); ++p) {
            const Eigen::Index first = p * panel, width = std::min(panel, dim - first);
            for (Eigen::Index at = 0; at < n; at += block) {
                const RowMajor centred = all.middleRows(at, std::min(block, n - at)).rowwise() - mean;
                const Eigen::MatrixXf product = centred.transpose() * centred.middleCols(first, width);
                result.middleCols(first, width) += product.cast<double>();
            }
        }
    });
    return result / static_cast<double>(n);
}

inline OpqRotation rotation_of(const OpqMatrix& matrix) {
    const auto dim = static_cast<std::size_t>(matrix.rows());
    std::vector<float> values(dim * dim);
    for (std::size_t i = 0; i < dim; ++i)
        for (std::size_t k = 0; k < dim; ++k)
            values[i * dim + k] = static_cast<float>(matrix(static_cast<Eigen::Index>(i), static_cast<Eigen::Index>(k)));
    return OpqRotation(dim, std::move(values));
}

/// The parametric solution. O(n d^2 + d^3).
template <class T>
OpqRotation principal_rotation(MatrixView<const T> rows, std::size_t m, Executor& executor) {
    const Eigen::SelfAdjointEigenSolver<OpqMatrix> solver(covariance(rows, executor));
    const auto dim = static_cast<Eigen::Index>(rows.cols());
    std::vector<double> variances(rows.cols());  // Eigen has them rise
    for (Eigen::Index i = 0; i < dim; ++i) variances[static_cast<std::size_t>(i)] = solver.eigenvalues()(dim - 1 - i);
    const auto component = allocate_components(variances, m);
    OpqMatrix matrix(dim, dim);
    for (Eigen::Index i = 0; i < dim; ++i)
        matrix.row(i) = solver.eigenvectors().col(dim - 1 - static_cast<Eigen::Index>(component[static_cast<std::size_t>(i)])).transpose();
    return rotation_of(matrix);
}

/// One round: all that follows from the codes of the rows under the present rotation.
template <class T>
class OpqRound {
public:
    OpqRound(MatrixView<const T> rows, std::size_t m, std::size_t bits) : rows_(rows), m_(m), bits_(bits), codes_(rows.rows() * m), errors_(rows.rows()) {}

    /// Codes of rotated rows; returns their mean squared error.
    double encode(const PqCodec& codec, const float* rotated, Executor& executor) {
        const std::size_t dim = rows_.cols();
        executor.run(rows_.rows(), 256, [&](std::size_t begin, std::size_t end, std::size_t) {
            std::vector<float> decoded(dim);
            for (std::size_t i = begin; i < end; ++i) {
                codec.encode(rotated + i * dim, codes_.data() + i * m_);
                codec.decode(codes_.data() + i * m_, decoded.data());
                errors_[i] = 0;
                for (std::size_t d = 0; d < dim; ++d) {
                    const double error = static_cast<double>(rotated[i * dim + d]) - static_cast<double>(decoded[d]);
                    errors_[i] += error * error;
                }
            }
        });
        return std::accumulate(errors_.begin(), errors_.end(), 0.0) / static_cast<double>(rows_.rows());
    }

    /// Centroids to the means of their sub-vectors, and with them the rotation: R = V U' of C = U S V'. O(n m d + 2^bits d^2 + d^3).
    std::pair<PqCodec, OpqRotation> improve(const PqCodec& codec, const OpqRotation& rotation, Executor& executor) const {
        const std::size_t dim = rows_.cols(), count = codec.centroids();
        std::vector<float> centroids(codec.codebooks().begin(), codec.codebooks().end());
        OpqMatrix correlation(static_cast<Eigen::Index>(dim), static_cast<Eigen::Index>(dim));
        executor.run(m_, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
            std::vector<double> sums(count * dim);
            std::vector<std::size_t> sizes(count);
            for (std::size_t j = begin; j < end; ++j) {
                add_up(j, sums, sizes);
                update(codec, rotation, j, sums, sizes, centroids.data() + codec.first(j) * count);
                correlate(codec, j, sums, centroids.data() + codec.first(j) * count, correlation);
            }
        });
        const Eigen::BDCSVD<OpqMatrix> svd(correlation, Eigen::ComputeFullU | Eigen::ComputeFullV);
        return {PqCodec(dim, m_, bits_, std::move(centroids)), rotation_of(svd.matrixV() * svd.matrixU().transpose())};
    }

private:
    /// The rows of each code of subspace j, added up.
    void add_up(std::size_t j, std::vector<double>& sums, std::vector<std::size_t>& sizes) const {
        std::fill(sums.begin(), sums.end(), 0.0);
        std::fill(sizes.begin(), sizes.end(), std::size_t{0});
        for (std::size_t i = 0; i < rows_.rows(); ++i) ++sizes[codes_[i * m_ + j]];
        std::vector<std::size_t> begin(sizes.size(), 0);
        for (std::size_t c = 1; c < sizes.size(); ++c) begin[c] = begin[c - 1] + sizes[c - 1];
        std::vector<Slot> members(rows_.rows());
        auto next = begin;
        for (std::size_t i = 0; i < rows_.rows(); ++i) members[next[codes_[i * m_ + j]]++] = static_cast<Slot>(i);
        for (std::size_t c = 0; c < sizes.size(); ++c)
            simd::kernels().add_rows_f32(rows_.data(), rows_.stride(), members.data() + begin[c], sizes[c], rows_.cols(), sums.data() + c * rows_.cols());
    }

    /// The mean of rotated rows is the rotated mean of rows.
    static void update(const PqCodec& codec, const OpqRotation& rotation, std::size_t j, const std::vector<double>& sums,
                       const std::vector<std::size_t>& sizes, float* centroids) {
        const std::size_t dim = codec.dim(), length = codec.length(j);
        for (std::size_t c = 0; c < sizes.size(); ++c) {
            if (sizes[c] == 0) continue;
            for (std::size_t k = 0; k < length; ++k) {
                const float* const axis = rotation.matrix().data() + (codec.first(j) + k) * dim;
                double sum = 0;
                for (std::size_t d = 0; d < dim; ++d) sum += static_cast<double>(axis[d]) * sums[c * dim + d];
                centroids[c * length + k] = static_cast<float>(sum / static_cast<double>(sizes[c]));
            }
        }
    }

    /// The columns of C that belong to subspace j.
    static void correlate(const PqCodec& codec, std::size_t j, const std::vector<double>& sums, const float* centroids, OpqMatrix& correlation) {
        using Sums = Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
        using Centroids = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;
        const auto dim = static_cast<Eigen::Index>(codec.dim()), count = static_cast<Eigen::Index>(codec.centroids());
        const auto first = static_cast<Eigen::Index>(codec.first(j)), length = static_cast<Eigen::Index>(codec.length(j));
        correlation.middleCols(first, length) =
            Sums(sums.data(), count, dim).transpose() * Centroids(centroids, count, length).cast<double>();
    }

    MatrixView<const T> rows_;
    std::size_t m_;
    std::size_t bits_;
    std::vector<std::uint8_t> codes_;
    std::vector<double> errors_;
};

}  // namespace detail

template <class T>
    requires std::same_as<T, float>
TrainedOpq train_opq(MatrixView<const T> rows, const PqParams& params, std::uint64_t seed, Executor& executor, const Progress& progress) {
    const std::size_t dim = rows.cols();
    PqCodec::check_shape(dim, params.m, params.bits);
    OpqReport report;
    report.training_rows = rows.rows();
    if (rows.rows() == 0) return {OpqRotation(dim), std::move(report)};
    progress.report("rotate", 0, params.opq_iterations);
    AlignedBuffer<float> rotated(rows.rows() * dim);
    detail::OpqRound<T> round(rows, params.m, params.bits);
    PqParams first = params;
    first.iterations = std::min<std::uint32_t>(params.iterations, 4);
    const auto codebooks = [&](const OpqRotation& rotation) {
        rotation.apply_rows(rows, rotated.data(), executor);
        return PqCodec::train_on({rotated.data(), rows.rows(), dim}, first, seed, executor, {}).codec;
    };
    OpqRotation rotation(dim);
    PqCodec codec = codebooks(rotation);
    report.errors.push_back(round.encode(codec, rotated.data(), executor));
    report.unrotated_error = report.errors.front();
    OpqRotation principal = detail::principal_rotation(rows, params.m, executor);
    PqCodec of_principal = codebooks(principal);
    const double error = round.encode(of_principal, rotated.data(), executor);
    if (error < report.errors.front()) {
        rotation = std::move(principal);
        codec = std::move(of_principal);
        report.errors.front() = error;
    } else {
        rotation.apply_rows(rows, rotated.data(), executor);
        round.encode(codec, rotated.data(), executor);
    }
    for (std::uint32_t i = 0; i < params.opq_iterations; ++i) {
        progress.report("rotate", i, params.opq_iterations);
        auto better = round.improve(codec, rotation, executor);
        codec = std::move(better.first);
        rotation = std::move(better.second);
        rotation.apply_rows(rows, rotated.data(), executor);
        const double before = report.errors.back();
        report.errors.push_back(round.encode(codec, rotated.data(), executor));
        if (before - report.errors.back() <= 1e-3 * before) break;
    }
    progress.report("rotate", params.opq_iterations, params.opq_iterations);
    return {std::move(rotation), std::move(report)};
}

#if defined(KITH_COMPILED_KERNELS)
extern template OpqRotation detail::principal_rotation<float>(MatrixView<const float>, std::size_t, Executor&);
extern template TrainedOpq train_opq<float>(MatrixView<const float>, const PqParams&, std::uint64_t, Executor&, const Progress&);
#endif

}  // namespace kith
