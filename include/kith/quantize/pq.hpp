// SPDX-License-Identifier: Apache-2.0
//
// PqCodec: product quantisation (Jégou, Douze and Schmid 2011, "Product quantization for nearest neighbor search", TPAMI). A row of d dimensions is cut
// into m sub-vectors; each is replaced by the number of the nearest of 2^bits centroids of its subspace, which k-means found (quantize/kmeans.hpp):
//
//     x  ~  (c_1[code_1], ..., c_m[code_m])                   m codes of 8 or 4 bits
//     |q - x|^2  ~  sum over j of |q_j - c_j[code_j]|^2       asymmetric (ADC, section III.A): the query is not coded, m additions from its table
//     |x - y|^2  ~  sum over j of |c_j[code of x] - c_j[code of y]|^2          symmetric (SDC): from tables that belong to the codec
//
// and likewise for -q.x. Where d is no multiple of m, the first d % m sub-vectors are one longer than the others.
//
// Where a subspace has no more distinct sub-vectors than centroids in training, those sub-vectors are its centroids and training is exact; what is left
// over are copies of the first one, which no row gets, as the first of equal centroids is taken. So few rows, equal rows and constant dimensions are
// all right, and coded without error.
//
// Centroids are kept twice, row by row to decode and dimension by dimension for the kernels (simd/product_kernels.hpp). The same rows, parameters and
// seed make the same codec for any executor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/params.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/kmeans.hpp"
#include "kith/quantize/sample.hpp"
#include "kith/simd/kernels.hpp"

namespace kith {

struct PqParams {
    std::uint32_t m = 16;
    std::uint32_t bits = 8;
    bool opq = false;  // for who rotates first (quantize/opq.hpp, space/pq_space.hpp); PqCodec does not
    std::uint32_t iterations = 20;
    std::uint32_t opq_iterations = 20;
    std::uint32_t rows_per_centroid = 256;

    static constexpr auto fields() {
        using P = PqParams;
        return std::tuple{
            field("m", &P::m, 1, 65536, "codes of a row: sub-vectors it is cut into, at most its dimensions"),
            field("bits", &P::bits, 4, 8, "of a code, 4 or 8: each subspace has 16 or 256 centroids"),
            field("opq", &P::opq, "rotate rows first, so that they lose less (optimized product quantization)"),
            field("iterations", &P::iterations, 1, 10000, "k-means steps, at most"),
            field("opq_iterations", &P::opq_iterations, 0, 10000, "improvements of the rotation, at most"),
            field("rows_per_centroid", &P::rows_per_centroid, 1, 1 << 20, "rows to train on, for each centroid of a subspace"),
        };
    }
    friend bool operator==(const PqParams&, const PqParams&) = default;
};

/// What training came to.
struct PqReport {
    std::size_t training_rows = 0;
    double error = 0;                     // mean squared distance of the training rows from what their codes stand for
    double variance = 0;                  // their mean squared distance from their mean: what one centroid in all would lose
    std::vector<KMeansReport> subspaces;  // of those that k-means trained, in order; where all sub-vectors have a centroid there is nothing to train
};

/// What of a report is kept with the codec, in files too.
struct PqTraining {
    double rows = 0;
    double iterations = 0;  // the most that a subspace took
    double converged = 0;   // share of the subspaces
    double error = 0;       // as in the report
    double variance = 0;

    static PqTraining of(const PqReport& report, std::size_t m) {
        PqTraining kept{static_cast<double>(report.training_rows), 0, 0, report.error, report.variance};
        std::size_t converged = m - std::min(m, report.subspaces.size());
        for (const KMeansReport& subspace : report.subspaces) {
            kept.iterations = std::max(kept.iterations, static_cast<double>(subspace.objective.size()));
            converged += subspace.converged ? 1 : 0;
        }
        kept.converged = static_cast<double>(converged) / static_cast<double>(m);
        return kept;
    }
    /// What is lost of the rows' variance: 0 where codes are exact, 1 where they say nothing.
    double loss() const noexcept { return variance > 0 ? error / variance : 0; }
};

struct TrainedPq;

class PqCodec {
public:
    /// centroids: subspace by subspace, each 2^bits centroids of its length; dim * 2^bits floats. Throws as check_shape does, and
    /// Error{dimension_mismatch} for another number of floats.
    PqCodec(std::size_t dim, std::size_t m, std::size_t bits, std::vector<float> centroids)
        : dim_(dim), m_(m), bits_(bits), by_centroid_(std::move(centroids)) {
        check_shape(dim, m, bits);
        if (by_centroid_.size() != dim * this->centroids())
            fail(ErrorCode::dimension_mismatch, "expected ", this->centroids(), " centroids of ", dim, " elements in all, got ", by_centroid_.size(),
                 " numbers");
        by_dimension_.resize(by_centroid_.size());
        for (std::size_t j = 0; j < m; ++j)
            for (std::size_t c = 0; c < this->centroids(); ++c)
                for (std::size_t k = 0; k < length(j); ++k)
                    by_dimension_[(first(j) + k) * this->centroids() + c] = centroid(j, c)[k];
    }

    /// Throws Error{dimension_mismatch} for rows without elements, Error{invalid_argument} for more subspaces than dimensions, none, or codes of
    /// other than 4 or 8 bits.
    static void check_shape(std::size_t dim, std::size_t m, std::size_t bits) {
        if (dim == 0) fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
        if (m == 0 || m > dim)
            fail(ErrorCode::invalid_argument, "expected m between 1 and ", dim, ", the dimensions of a row, got ", m, " subspaces");
        if (bits != 4 && bits != 8) fail(ErrorCode::invalid_argument, "expected codes of 4 or 8 bits, got ", bits);
    }

    /// Rows that training looks at, if there are so many.
    static std::size_t training_rows(const PqParams& params) noexcept { return std::size_t{params.rows_per_centroid} << params.bits; }

    /// Trains on a sample of the rows, each times its scale; rows that are not finite take no part. No rows: all centroids are zero.
    /// O(iterations * training rows * 2^bits * d). Throws as check_shape does, and Error{out_of_memory, cancelled}.
    template <FloatElement T, class Scale = Unscaled>
    static TrainedPq train(MatrixView<const T> rows, const PqParams& params, std::uint64_t seed = 0, Executor& executor = inline_executor(),
                           const Progress& progress = {}, Scale scale = {});

    /// Trains on all of these rows, which must be finite.
    static TrainedPq train_on(MatrixView<const float> rows, const PqParams& params, std::uint64_t seed, Executor& executor, const Progress& progress);

    std::size_t dim() const noexcept { return dim_; }
    std::size_t m() const noexcept { return m_; }
    std::size_t bits() const noexcept { return bits_; }
    /// Of each subspace.
    std::size_t centroids() const noexcept { return std::size_t{1} << bits_; }
    /// The first dimension of subspace j, and how many it has.
    std::size_t first(std::size_t j) const noexcept { return j * (dim_ / m_) + std::min(j, dim_ % m_); }
    std::size_t length(std::size_t j) const noexcept { return dim_ / m_ + (j < dim_ % m_ ? 1 : 0); }
    const float* centroid(std::size_t j, std::size_t c) const noexcept { return by_centroid_.data() + first(j) * centroids() + c * length(j); }
    /// As the constructor takes them.
    std::span<const float> codebooks() const noexcept { return by_centroid_; }

    /// Of a row's codes.
    std::size_t code_bytes() const noexcept { return (m_ * bits_ + 7) / 8; }
    /// Of the centroids, both times.
    std::size_t codebook_bytes() const noexcept { return 2 * by_centroid_.size() * sizeof(float); }
    /// Floats of a query's table.
    std::size_t table_size() const noexcept { return m_ * centroids(); }

    /// dim() floats to m() codes, a byte each, whatever bits() says. O(2^bits d).
    void encode(const float* x, std::uint8_t* codes) const noexcept { simd::kernels().product.encode(x, ref(), codes); }
    /// The code of the first sub-vector alone.
    std::uint8_t encode_first(const float* x) const noexcept {
        std::uint8_t code;
        simd::kernels().product.encode(x, {by_dimension_.data(), by_centroid_.data(), length(0), 1, centroids()}, &code);
        return code;
    }

    void decode(const std::uint8_t* codes, float* x) const noexcept {
        for (std::size_t j = 0; j < m_; ++j) std::memcpy(x + first(j), centroid(j, codes[j]), length(j) * sizeof(float));
    }

    /// Entry c of subspace j, at table[j * centroids() + c]: |q_j - c|^2, or -q_j.c. O(2^bits d).
    void l2_table(const float* q, float* table) const noexcept { simd::kernels().product.l2_table(q, ref(), table); }
    void dot_table(const float* q, float* table) const noexcept { simd::kernels().product.dot_table(q, ref(), table); }

    /// The sum of the entries that b picks from the table of the decoded a, to the bit what a scan adds up. O(d).
    float l2_between(const std::uint8_t* a, const std::uint8_t* b) const noexcept { return simd::kernels().product.l2_between(ref(), a, b); }
    float dot_between(const std::uint8_t* a, const std::uint8_t* b) const noexcept { return simd::kernels().product.dot_between(ref(), a, b); }

    /// The tables of all centroids: that of centroid c of subspace j begins at (j * centroids() + c) * centroids(). O(4^bits d).
    std::vector<float> l2_symmetric() const { return symmetric(simd::kernels().product.l2_table); }
    std::vector<float> dot_symmetric() const { return symmetric(simd::kernels().product.dot_table); }

    /// The squared distance of a row from what its codes stand for.
    double squared_error(const float* x) const {
        std::vector<std::uint8_t> codes(m_);
        return squared_error(x, codes.data());
    }
    /// Its mean over rows; 0 for none.
    double mean_squared_error(MatrixView<const float> rows, Executor& executor = inline_executor()) const {
        std::vector<double> errors(rows.rows());
        executor.run(rows.rows(), 256, [&](std::size_t begin, std::size_t end, std::size_t) {
            std::vector<std::uint8_t> codes(m_);
            for (std::size_t i = begin; i < end; ++i) errors[i] = squared_error(rows.row(i), codes.data());
        });
        double sum = 0;
        for (const double error : errors) sum += error;
        return rows.rows() == 0 ? 0 : sum / static_cast<double>(rows.rows());
    }

    /// The same codec with one of every set of centroids that are so close together that rounding, relative to the largest rows that are coded, might
    /// take one for the other: copies of the first one, which no row gets. O(4^bits d).
    PqCodec without_twins() const {
        double largest = 0;
        for (std::size_t j = 0; j < m_; ++j) {
            double most = 0;
            for (std::size_t c = 0; c < centroids(); ++c) most = std::max(most, squared_distance(centroid(j, c), nullptr, length(j)));
            largest += most;
        }
        std::vector<float> books(by_centroid_);
        for (std::size_t j = 0; j < m_; ++j) {
            float* const book = books.data() + first(j) * centroids();
            const double close = largest * static_cast<double>(length(j)) * 0x1p-36;  // 64 roundings of each element
            for (std::size_t c = 1; c < centroids(); ++c)
                for (std::size_t other = 0; other < c; ++other)
                    if (squared_distance(book + c * length(j), book + other * length(j), length(j)) <= close) {
                        std::copy_n(book + other * length(j), length(j), book + c * length(j));
                        break;
                    }
        }
        return PqCodec(dim_, m_, bits_, std::move(books));
    }

    simd::CodebooksRef ref() const noexcept { return {by_dimension_.data(), by_centroid_.data(), dim_, m_, centroids()}; }

private:
    /// From b, or from zero.
    static double squared_distance(const float* a, const float* b, std::size_t n) noexcept {
        double sum = 0;
        for (std::size_t k = 0; k < n; ++k) {
            const double difference = static_cast<double>(a[k]) - (b == nullptr ? 0.0 : static_cast<double>(b[k]));
            sum += difference * difference;
        }
        return sum;
    }

    double squared_error(const float* x, std::uint8_t* codes) const noexcept {
        encode(x, codes);
        double sum = 0;
        for (std::size_t j = 0; j < m_; ++j) sum += squared_distance(x + first(j), centroid(j, codes[j]), length(j));
        return sum;
    }

    std::vector<float> symmetric(decltype(simd::ProductKernels::l2_table) table) const {
        const std::size_t count = centroids();
        std::vector<float> tables(m_ * count * count);
        for (std::size_t j = 0; j < m_; ++j) {
            const std::size_t begin = first(j) * count;
            const simd::CodebooksRef book{by_dimension_.data() + begin, by_centroid_.data() + begin, length(j), 1, count};
            for (std::size_t c = 0; c < count; ++c) table(centroid(j, c), book, tables.data() + (j * count + c) * count);
        }
        return tables;
    }

    std::size_t dim_;
    std::size_t m_;
    std::size_t bits_;
    std::vector<float> by_centroid_;
    std::vector<float> by_dimension_;
};

struct TrainedPq {
    PqCodec codec;
    PqReport report;
};

namespace detail {

/// The distinct rows, in the order of their bytes; none if they are more than `most`. O(n d log most).
inline std::vector<const float*> distinct_rows(MatrixView<const float> rows, std::size_t most) {
    const auto before = [bytes = rows.cols() * sizeof(float)](const float* a, const float* b) { return std::memcmp(a, b, bytes) < 0; };
    std::set<const float*, decltype(before)> found(before);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        found.insert(rows.row(i));
        if (found.size() > most) return {};
    }
    return {found.begin(), found.end()};
}

/// Mean squared distance from the mean.
inline double variance_of(MatrixView<const float> rows) {
    std::vector<double> sums(rows.cols());
    double squares = 0, of_mean = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i)
        for (std::size_t d = 0; d < rows.cols(); ++d) sums[d] += static_cast<double>(rows.row(i)[d]);
    const auto n = static_cast<double>(std::max<std::size_t>(rows.rows(), 1));
    for (double& sum : sums) sum /= n;
    for (std::size_t i = 0; i < rows.rows(); ++i)
        for (std::size_t d = 0; d < rows.cols(); ++d) {
            of_mean = static_cast<double>(rows.row(i)[d]) - sums[d];
            squares += of_mean * of_mean;
        }
    return squares / n;
}

}  // namespace detail

template <FloatElement T, class Scale>
TrainedPq PqCodec::train(MatrixView<const T> rows, const PqParams& params, std::uint64_t seed, Executor& executor, const Progress& progress,
                         Scale scale) {
    check_shape(rows.cols(), params.m, params.bits);
    const Sample sample = sample_rows(rows, training_rows(params), seed, scale);
    return train_on(sample.view(), params, seed, executor, progress);
}

inline TrainedPq PqCodec::train_on(MatrixView<const float> rows, const PqParams& params, std::uint64_t seed, Executor& executor,
                                   const Progress& progress) {
    const std::size_t dim = rows.cols(), m = params.m;
    check_shape(dim, m, params.bits);
    const std::size_t count = std::size_t{1} << params.bits;
    PqReport report;
    report.training_rows = rows.rows();
    KMeansParams each;
    each.clusters = static_cast<std::uint32_t>(count);
    each.iterations = params.iterations;
    each.rows_per_cluster = 0;
    each.plus_plus = false;  // which would spend centroids on rare sub-vectors: a little less error in all, and fewer neighbours found where rows are spread unevenly
    std::vector<float> centroids(dim * count, 0.0f);
    float* book = centroids.data();
    for (std::size_t j = 0, first = 0; j < m && rows.rows() > 0; ++j) {
        progress.report("train", j, m);
        const std::size_t length = dim / m + (j < dim % m ? 1 : 0);
        const MatrixView<const float> parts(rows.data() + first, rows.rows(), length, rows.stride());
        const auto distinct = detail::distinct_rows(parts, count);
        if (!distinct.empty()) {
            for (std::size_t c = 0; c < count; ++c) std::copy_n(distinct[c < distinct.size() ? c : 0], length, book + c * length);
        } else {
            KMeans trained = kmeans(parts, each, detail::mix64(seed + detail::mix64(j + 1)), executor);
            for (std::size_t c = 0; c < count; ++c) std::copy_n(trained.centroids.row(static_cast<Slot>(c)), length, book + c * length);
            report.subspaces.push_back(std::move(trained.report));
        }
        first += length;
        book += count * length;
    }
    progress.report("train", m, m);
    PqCodec codec(dim, m, params.bits, std::move(centroids));
    report.error = codec.mean_squared_error(rows, executor);
    report.variance = detail::variance_of(rows);
    return {std::move(codec), std::move(report)};
}

}  // namespace kith
