// SPDX-License-Identifier: Apache-2.0
//
// The vectors that bench_graph works on: read from files, as they are and as the floats that other libraries want; and
// recall against the exact answer, counted by distance: an id is right if its exact distance is no larger than that of
// the k-th true neighbour, so that it does not matter which of several equally near rows came back.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "graph_contender.hpp"
#include "kith/kith.hpp"

namespace kith_bench {

/// visit(MatrixView<const T>) with the file's own element type.
template <class Visit>
auto with_rows(const kith::VectorFile& file, Visit visit) {
    switch (file.element()) {
        case kith::FileElement::f32: return visit(file.view<float>());
        case kith::FileElement::f16: return visit(file.view<kith::Half>());
        case kith::FileElement::i8: return visit(file.view<std::int8_t>());
        case kith::FileElement::u8: return visit(file.view<std::uint8_t>());
        default:
            kith::fail(kith::ErrorCode::unsupported, file.name(), " holds ", kith::name(file.element()),
                       "; known here: f32, f16, i8, u8");
    }
}

class Workload {
public:
    /// rows: only so many of the base, 0 for all; without them the truth is read from a file, with them it is computed.
    Workload(const std::string& base, const std::string& query, const std::string& truth, Measure measure, std::size_t rows = 0)
        : base_(base), query_(query), measure_(measure), count_(rows == 0 ? base_.rows() : std::min(rows, base_.rows())) {
        if (base_.dim() != query_.dim() || base_.element() != query_.element())
            kith::fail(kith::ErrorCode::dimension_mismatch, "expected queries of ", base_.dim(), " ",
                       kith::name(base_.element()), ", got ", query_.dim(), " ", kith::name(query_.element()));
        rows_ = floats(base_, count_);
        queries_ = floats(query_, query_.rows());
        if (rows == 0) read_thresholds(truth);
        else compute_thresholds();
    }

    static constexpr std::size_t k = 10;

    const kith::VectorFile& base() const { return base_; }
    std::size_t rows() const { return count_; }
    template <class T>
    kith::MatrixView<const T> base_rows() const {
        return base_.view<T>().slice(0, count_);
    }
    const kith::VectorFile& query() const { return query_; }
    Measure measure() const { return measure_; }
    std::size_t queries() const { return query_.rows(); }

    FloatData float_data() const {
        return {rows_.data(), count_, queries_.data(), query_.rows(), base_.dim(), measure_};
    }
    kith::MatrixView<const float> float_rows() const { return {rows_.data(), count_, base_.dim()}; }
    kith::MatrixView<const float> float_queries() const { return {queries_.data(), query_.rows(), base_.dim()}; }

    /// How many of these ids are right; one that comes twice counts once.
    std::size_t correct(std::size_t query, const std::uint32_t* ids, std::size_t count) const {
        std::size_t right = 0;
        for (std::size_t i = 0; i < count; ++i) {
            bool repeated = ids[i] >= count_;
            for (std::size_t j = 0; j < i; ++j) repeated = repeated || ids[j] == ids[i];
            if (!repeated && exact(query, ids[i]) <= thresholds_[query]) ++right;
        }
        return right;
    }

private:
    std::vector<float> floats(const kith::VectorFile& file, std::size_t count) const {
        std::vector<float> out(count * file.dim());
        with_rows(file, [&](auto rows) {
            for (std::size_t i = 0; i < count; ++i) {
                double squares = 0;
                for (std::size_t d = 0; d < rows.cols(); ++d) {
                    const double x = static_cast<double>(kith::to_float(rows.row(i)[d]));
                    squares += x * x;
                }
                const double scale = measure_ == Measure::cosine && squares > 0 ? 1 / std::sqrt(squares) : 1;
                for (std::size_t d = 0; d < rows.cols(); ++d)
                    out[i * rows.cols() + d] =
                        static_cast<float>(scale * static_cast<double>(kith::to_float(rows.row(i)[d])));
            }
        });
        return out;
    }

    /// Smaller is nearer. On the stored elements, in double.
    double exact(std::size_t query, std::size_t row) const {
        return with_rows(base_, [&](auto rows) {
            using T = typename std::remove_cvref_t<decltype(*rows.data())>;
            const auto* x = rows.row(row);
            const auto* q = query_.view<T>().row(query);
            double xx = 0;
            double qq = 0;
            double xq = 0;
            double square = 0;
            for (std::size_t d = 0; d < rows.cols(); ++d) {
                const double a = static_cast<double>(kith::to_float(x[d]));
                const double b = static_cast<double>(kith::to_float(q[d]));
                xx += a * a;
                qq += b * b;
                xq += a * b;
                square += (a - b) * (a - b);
            }
            if (measure_ == Measure::l2) return square;
            if (measure_ == Measure::ip) return -xq;
            return xx > 0 && qq > 0 ? 1 - xq / std::sqrt(xx * qq) : 1.0;
        });
    }

    /// The k-th distance of each query, from a file of distances (f32; scores for ip) or of ids (i32), best first.
    void read_thresholds(const std::string& path) {
        const kith::VectorFile truth(path);
        if (truth.rows() != query_.rows() || truth.cols() < k)
            kith::fail(kith::ErrorCode::dimension_mismatch, path, ": expected at least ", k, " values for each of ",
                       query_.rows(), " queries, got ", truth.rows(), " x ", truth.cols());
        for (std::size_t i = 0; i < truth.rows(); ++i) {
            double threshold = 0;
            if (truth.element() == kith::FileElement::i32)
                threshold = exact(i, static_cast<std::size_t>(truth.view<std::int32_t>().row(i)[k - 1]));
            else
                threshold = static_cast<double>(truth.view<float>().row(i)[k - 1]) * (measure_ == Measure::ip ? -1 : 1);
            thresholds_.push_back(widened(threshold));
        }
    }

    /// Integers are exact in a float up to 2^24, and far enough apart; others were rounded to float, cosines near 1 besides.
    double widened(double threshold) const {
        const bool integers = measure_ != Measure::cosine && base_.element() != kith::FileElement::f32 &&
                              base_.element() != kith::FileElement::f16;
        if (integers) return threshold + 0.25;
        return threshold + 1e-6 * std::abs(threshold) + (measure_ == Measure::cosine ? 1e-7 : 0);
    }

    /// By the exact scan of the rows as floats.
    void compute_thresholds() {
        const auto scan = [&]<class M>(M) {
            using S = kith::DenseSpace<M, float>;
            const kith::Keyed<kith::Flat<S>> flat(kith::Flat<S>::build(S(kith::Rows<float>::borrow(float_rows()))));
            const auto found = flat.search(float_queries(), k);
            for (std::size_t q = 0; q < queries(); ++q)
                thresholds_.push_back(widened(exact(q, static_cast<std::size_t>(found.ids(q)[found.count(q) - 1]))));
        };
        if (measure_ == Measure::ip) scan(kith::InnerProduct{});
        else scan(kith::L2{});  // rows of length 1 under cosine
    }

    kith::VectorFile base_;
    kith::VectorFile query_;
    Measure measure_;
    std::size_t count_;
    std::vector<float> rows_;
    std::vector<float> queries_;
    std::vector<double> thresholds_;
};

}  // namespace kith_bench
