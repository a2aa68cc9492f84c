// SPDX-License-Identifier: Apache-2.0
//
// Where k-means begins: rows at random places, or rows drawn one after the other, each with a probability proportional to its squared
// distance from the nearest one before it, which is within a factor of O(log k) of the best in expectation (Arthur and Vassilvitskii 2007,
// "k-means++: the advantages of careful seeding").
//
// Drawn naively that is k passes over the rows. Here a pass serves a whole round of draws: rows are drawn by their distances as of the
// round's beginning, D, and one is accepted with the probability D' / D, D' being its distance now, which costs the distances from the few
// centroids of this round only. That is rejection sampling and changes nothing in the distribution (Cohen-Addad, Lattanzi, Norouzi-Fard,
// Sohler and Svensson 2020, "Fast and accurate k-means++ via rejection sampling", with bounds of another kind). Rounds grow by half, the
// passes are the blocked ones of quantize/nearest.hpp, and all of it costs about what one Lloyd step over the same rows does.
// Those rows are a sample, 64 for each cluster.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/lloyd.hpp"
#include "kith/quantize/nearest.hpp"
#include "kith/simd/kernels.hpp"
#include "kith/storage/rows.hpp"

namespace kith::detail {

/// One at a random place of each of `wanted` equal strata of n: ascending, all different. wanted <= n.
inline std::size_t in_stratum(std::size_t i, std::size_t wanted, std::size_t n, const Random& random) noexcept {
    __extension__ using Wide = unsigned __int128;
    const auto first = static_cast<std::size_t>(static_cast<Wide>(i) * n / wanted);
    const auto end = static_cast<std::size_t>(static_cast<Wide>(i + 1) * n / wanted);
    return first + random.below(i, end - first);
}

inline Rows<float> rows_of_strata(MatrixView<const float> rows, std::size_t wanted, const Random& random) {
    Rows<float> chosen(rows.cols());
    chosen.reserve(wanted);
    for (std::size_t i = 0; i < wanted; ++i) chosen.append(rows[in_stratum(i, wanted, rows.rows(), random)]);
    return chosen;
}

class PlusPlus {
public:
    PlusPlus(MatrixView<const float> rows, std::uint64_t seed, Executor& executor, TrainingWork& work)
        : rows_(rows), random_(seed, 0x2b2b), executor_(executor), work_(work), distances_(rows.rows(), std::numeric_limits<float>::infinity()),
          now_(rows.rows()), nearest_(rows.rows()) {}

    Rows<float> draw(std::size_t clusters) {
        Rows<float> centroids(rows_.cols());
        centroids.reserve(clusters);
        centroids.append(rows_[random_.below(draws_++, rows_.rows())]);
        for (std::size_t seen = 0; centroids.rows() < clusters;) {
            const std::size_t from = seen;
            seen = centroids.rows();
            look(centroids.view().slice(from, seen - from));
            if (!(before_.back() > 0)) break;
            round(centroids, seen, std::min(clusters, seen + std::max(seen / 2, std::size_t{1})));
        }
        // Fewer rows differ than there are clusters: the others are copies.
        while (centroids.rows() < clusters) centroids.append(rows_[random_.below(draws_++, rows_.rows())]);
        return centroids;
    }

private:
    static constexpr std::size_t block = 1024;

    /// Distances with these centroids, too, and their sums.
    void look(MatrixView<const float> centroids) {
        NearestCentroid(centroids).assign(rows_, std::span(nearest_), std::span(now_), executor_);
        before_.assign(1, 0.0);
        for (std::size_t begin = 0; begin < rows_.rows(); begin += block) {
            double sum = 0;
            for (std::size_t i = begin; i < std::min(begin + block, rows_.rows()); ++i) {
                distances_[i] = std::min(distances_[i], now_[i]);
                sum += static_cast<double>(distances_[i]);
            }
            before_.push_back(before_.back() + sum);
        }
        work_.add(rows_.rows() * centroids.rows());
    }

    /// Appends centroids up to `end`, fewer where too many draws are rejected; at least one.
    void round(Rows<float>& centroids, std::size_t seen, std::size_t end) {
        std::vector<float> found(end - seen);
        for (std::size_t tries = 4 * (end - seen) + 8; tries > 0 && centroids.rows() < end; --tries) {
            const std::size_t row = drawn(before_.back() * random_.uniform(draws_++));
            const double limit = static_cast<double>(distances_[row]) * random_.uniform(draws_++);
            const std::size_t fresh = centroids.rows() - seen;
            simd::kernels().l2_f32.run(rows_.row(row), {centroids.view().data(), centroids.stride(), rows_.cols()}, seen, fresh, found.data());
            const auto end_of_found = found.begin() + static_cast<std::ptrdiff_t>(fresh);
            if (std::all_of(found.begin(), end_of_found, [&](float distance) { return static_cast<double>(distance) > limit; }))
                centroids.append(rows_[row]);
        }
    }

    /// The row where the sum of distances up to it passes `target`.
    std::size_t drawn(double target) const {
        const auto after = std::upper_bound(before_.begin() + 1, before_.end() - 1, target);
        const auto which = static_cast<std::size_t>(after - before_.begin()) - 1;
        target -= before_[which];
        std::size_t last = which * block;
        for (std::size_t i = which * block; i < std::min((which + 1) * block, rows_.rows()); ++i) {
            if (distances_[i] == 0) continue;
            last = i;
            target -= static_cast<double>(distances_[i]);
            if (target < 0) break;
        }
        return last;
    }

    MatrixView<const float> rows_;
    Random random_;
    std::uint64_t draws_ = 0;
    Executor& executor_;
    TrainingWork& work_;
    std::vector<float> distances_, now_;  // from the nearest centroid; from those of the last round
    std::vector<std::uint32_t> nearest_;
    std::vector<double> before_;  // sum of the distances in the blocks before each
};

/// Rows that the start is drawn from.
inline std::size_t start_rows(std::size_t rows, std::size_t clusters) noexcept {
    return std::min(rows, std::max(64 * clusters, std::size_t{16384}));
}

inline Rows<float> start_centroids(MatrixView<const float> rows, std::size_t clusters, bool plus_plus, std::uint64_t seed, Executor& executor,
                                   TrainingWork& work) {
    const Random random(seed, 0x7374617274);
    if (!plus_plus) return rows_of_strata(rows, clusters, random);
    const std::size_t wanted = start_rows(rows.rows(), clusters);
    if (wanted == rows.rows()) return PlusPlus(rows, seed, executor, work).draw(clusters);
    const Rows<float> sample = rows_of_strata(rows, wanted, random);
    return PlusPlus(sample.view(), seed, executor, work).draw(clusters);
}

}  // namespace kith::detail
