// SPDX-License-Identifier: Apache-2.0
//
// Lloyd's steps (Lloyd 1982, "Least squares quantization in PCM"; first written down in 1957): every row to its nearest centroid, every
// centroid to the mean of its rows. No step makes the mean squared distance larger.
//
// The same for any number of threads: a row is assigned by itself; rows are then ordered by cluster, in their own order within each, and
// added up in double in pieces of fixed length, which are added up in their order.
//
// A cluster that lost all its rows takes part of the largest one (by rows, of those whose rows differ): its centroid becomes a row of that
// cluster, drawn with a probability that grows with its squared distance from the centroid, as k-means++ would. The other centroid stays
// the mean, so this step, too, makes nothing larger.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/nearest.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/storage/rows.hpp"

namespace kith {

struct KMeansReport {
    std::vector<double> objective;     // mean squared distance of training rows from their centroids, after each iteration
    bool converged = false;            // stopped because the objective hardly fell, and not for lack of iterations
    std::size_t reseeded = 0;          // empty clusters that were given part of another
    std::size_t training_rows = 0;
    std::vector<std::uint32_t> sizes;  // training rows of each cluster in the last iteration, whose means the centroids are
    double imbalance = 1;              // k sum n_i^2 / n^2: 1 when all clusters are of one size, k when one has all rows
};

namespace detail {

/// Tells a Progress how much of a training is done, counted in distances.
class TrainingWork {
public:
    TrainingWork(const Progress& progress, std::size_t total) : progress_(progress), total_(total) { progress_.report("train", 0, total_); }

    /// Throws Error{cancelled}.
    void add(std::size_t distances) {
        done_ = std::min(done_ + distances, total_);
        progress_.report("train", done_, total_);
    }
    void finish() { add(total_); }

private:
    const Progress& progress_;
    std::size_t total_;
    std::size_t done_ = 0;
};

class Lloyd {
public:
    /// rows: n x d, finite, at least one; of length 1 where `spherical`.
    Lloyd(MatrixView<const float> rows, float tolerance, bool spherical, std::uint64_t seed, Executor& executor, TrainingWork& work)
        : rows_(rows), tolerance_(static_cast<double>(tolerance)), spherical_(spherical), random_(seed, 0x6c6c6f7964), executor_(executor),
          work_(work), nearest_(rows.rows()), distances_(rows.rows()), order_(rows.rows()) {}

    /// At most `iterations` steps; what they say goes into the report.
    void run(Rows<float>& centroids, std::uint32_t iterations, KMeansReport& report) {
        for (std::uint32_t i = 0; i < iterations && !report.converged; ++i) {
            assign(centroids.view());
            const double assigned = group(centroids.rows());
            const double objective = std::max(assigned + move(centroids), 0.0) / static_cast<double>(rows_.rows());
            const std::size_t reseeded = reseed(centroids);
            const bool still = objective == 0 || (!report.objective.empty() && !(report.objective.back() - objective > tolerance_ * report.objective.back()));
            report.converged = still && reseeded == 0;
            report.reseeded += reseeded;
            report.objective.push_back(objective);
            report.sizes = sizes_;
        }
    }

private:
    static constexpr std::size_t piece_rows = 2048;
    static constexpr std::size_t least_slice = 16384;                   // rows
    static constexpr std::size_t slice_work = std::size_t{1} << 34;     // multiplications between two looks at the progress

    struct Piece {
        std::size_t begin, end;  // in order_
    };

    void assign(MatrixView<const float> centroids) {
        nearest_centroid_.load(centroids);
        const std::size_t slice = std::max(slice_work / (centroids.rows() * centroids.cols()), least_slice);
        for (std::size_t begin = 0; begin < rows_.rows(); begin += slice) {
            const std::size_t count = std::min(slice, rows_.rows() - begin);
            nearest_centroid_.assign(rows_.slice(begin, count), std::span(nearest_).subspan(begin, count),
                                     std::span(distances_).subspan(begin, count), executor_);
            work_.add(count * centroids.rows());
        }
    }

    /// Orders rows by cluster. The sum of squared distances.
    double group(std::size_t clusters) {
        sizes_.assign(clusters, 0);
        double sum = 0;
        for (std::size_t i = 0; i < rows_.rows(); ++i) {
            ++sizes_[nearest_[i]];
            sum += static_cast<double>(distances_[i]);
        }
        first_.assign(clusters + 1, 0);
        for (std::size_t c = 0; c < clusters; ++c) first_[c + 1] = first_[c] + sizes_[c];
        next_.assign(first_.begin(), first_.end() - 1);
        for (std::size_t i = 0; i < rows_.rows(); ++i) order_[next_[nearest_[i]]++] = static_cast<Slot>(i);
        return sum;
    }

    /// Every centroid to its rows' mean; by how much that changes the sum of squared distances.
    double move(Rows<float>& centroids) {
        const std::size_t k = centroids.rows(), dim = rows_.cols();
        pieces_.clear();
        first_piece_.assign(1, 0);
        for (std::size_t c = 0; c < k; ++c) {
            for (std::size_t begin = first_[c]; begin < first_[c + 1]; begin += piece_rows)
                pieces_.push_back({begin, std::min(begin + piece_rows, first_[c + 1])});
            first_piece_.push_back(pieces_.size());
        }
        sums_.reserve_discarding(pieces_.size() * dim);
        executor_.run(pieces_.size(), 16, [&](std::size_t begin, std::size_t end, std::size_t) {
            std::fill(sums_.data() + begin * dim, sums_.data() + end * dim, 0.0);
            for (std::size_t p = begin; p < end; ++p)
                simd::kernels().add_rows_f32(rows_.data(), rows_.stride(), order_.data() + pieces_[p].begin, pieces_[p].end - pieces_[p].begin,
                                             dim, sums_.data() + p * dim);
        });
        changes_.assign(k, 0.0);
        executor_.run(k, 64, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t c = begin; c < end; ++c)
                if (sizes_[c] != 0) changes_[c] = move(c, centroids.own_row(static_cast<Slot>(c)));
        });
        double change = 0;
        for (const double of_cluster : changes_) change += of_cluster;
        return change;
    }

    /// sum |x - new|^2 - sum |x - old|^2 over the rows of a cluster, of whom the sum S and the number n are enough:
    /// (new - old) . (n (new + old) - 2 S).
    double move(std::size_t cluster, float* centroid) {
        const std::size_t dim = rows_.cols();
        double* const sum = sums_.data() + first_piece_[cluster] * dim;
        for (std::size_t p = first_piece_[cluster] + 1; p < first_piece_[cluster + 1]; ++p)
            for (std::size_t d = 0; d < dim; ++d) sum[d] += sums_[p * dim + d];
        const auto n = static_cast<double>(sizes_[cluster]);
        double scale = 1.0 / n;
        if (spherical_) {
            double norm = 0;
            for (std::size_t d = 0; d < dim; ++d) norm += sum[d] * sum[d];
            if (norm == 0) return 0;  // rows that cancel: no direction is better than the one there is
            scale = 1.0 / std::sqrt(norm);
        }
        double change = 0;
        for (std::size_t d = 0; d < dim; ++d) {
            const auto from = static_cast<double>(centroid[d]);
            centroid[d] = static_cast<float>(sum[d] * scale);
            const auto to = static_cast<double>(centroid[d]);
            change += (to - from) * (n * (to + from) - 2 * sum[d]);
        }
        return change;
    }

    /// How many empty clusters got part of another. None where all clusters' rows are equal: there is nothing to split.
    std::size_t reseed(Rows<float>& centroids) {
        if (std::find(sizes_.begin(), sizes_.end(), 0u) == sizes_.end()) return 0;
        struct Donor {
            double rows;  // of each part
            std::size_t cluster;
            double parts;
        };
        const auto smaller = [](const Donor& a, const Donor& b) { return a.rows != b.rows ? a.rows < b.rows : a.cluster > b.cluster; };
        std::vector<double> spread(sizes_.size(), 0.0);
        for (std::size_t i = 0; i < rows_.rows(); ++i) spread[nearest_[i]] += static_cast<double>(distances_[i]);
        std::vector<Donor> donors;
        for (std::size_t c = 0; c < sizes_.size(); ++c)
            if (spread[c] > 0) donors.push_back({static_cast<double>(sizes_[c]), c, 1});
        std::make_heap(donors.begin(), donors.end(), smaller);
        std::size_t count = 0;
        for (std::size_t c = 0; c < sizes_.size() && !donors.empty(); ++c) {
            if (sizes_[c] != 0) continue;
            std::pop_heap(donors.begin(), donors.end(), smaller);
            Donor& donor = donors.back();
            const float* const row = rows_.row(drawn(donor.cluster, spread[donor.cluster] * random_.uniform(draws_++)));
            std::copy_n(row, rows_.cols(), centroids.own_row(static_cast<Slot>(c)));
            donor.rows = static_cast<double>(sizes_[donor.cluster]) / ++donor.parts;
            std::push_heap(donors.begin(), donors.end(), smaller);
            ++count;
        }
        return count;
    }

    /// The row of a cluster where the sum of squared distances up to it passes `target`.
    std::size_t drawn(std::size_t cluster, double target) const {
        std::size_t last = order_[first_[cluster]];
        for (std::size_t i = first_[cluster]; i < first_[cluster + 1]; ++i) {
            const auto distance = static_cast<double>(distances_[order_[i]]);
            if (distance == 0) continue;
            last = order_[i];
            target -= distance;
            if (target < 0) break;
        }
        return last;
    }

    MatrixView<const float> rows_;
    double tolerance_;
    bool spherical_;
    Random random_;
    std::uint64_t draws_ = 0;
    Executor& executor_;
    TrainingWork& work_;
    NearestCentroid nearest_centroid_;
    std::vector<std::uint32_t> nearest_, sizes_;
    std::vector<float> distances_;
    std::vector<Slot> order_;              // rows by cluster
    std::vector<std::size_t> first_, next_;  // of each cluster in order_
    std::vector<Piece> pieces_;
    std::vector<std::size_t> first_piece_;
    AlignedBuffer<double> sums_;  // of each piece
    std::vector<double> changes_;
};

}  // namespace detail

}  // namespace kith
