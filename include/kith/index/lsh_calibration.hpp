// SPDX-License-Identifier: Apache-2.0
//
// How many buckets an LSH index must look at for a recall that is asked for (LshParams::target_recall): rows of its own are queries (index/own_neighbours.hpp),
// and the probing sequence is followed until it meets them. Beside it what theory says of the part that theory is about: a query's own bucket in each table,
// 1 - (1 - P[same key])^tables, P by the formulas of hash/collision.hpp and the distance of each pair. Where the two are far apart the functions are not what they should be.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kith/core/executor.hpp"
#include "kith/core/progress.hpp"
#include "kith/hash/collision.hpp"
#include "kith/index/lsh.hpp"
#include "kith/index/own_neighbours.hpp"

namespace kith {

namespace detail {

/// cross_polytope_collision between values that were computed once.
class PolytopeCollision {
public:
    explicit PolytopeCollision(std::size_t coordinates) : values_(steps + 1) {
        for (std::size_t i = 0; i <= steps; ++i) values_[i] = i == 0 ? 1.0 : cross_polytope_collision(step * static_cast<double>(i), coordinates);
    }
    double operator()(double angle) const noexcept {
        const double at = std::clamp(angle / step, 0.0, static_cast<double>(steps) - 1e-9);
        const auto i = static_cast<std::size_t>(at);
        return values_[i] + (at - static_cast<double>(i)) * (values_[i + 1] - values_[i]);
    }

private:
    static constexpr std::size_t steps = 32;
    static constexpr double step = 3.141592653589793 / steps;
    std::vector<double> values_;
};

}  // namespace detail

/// The chance that two rows of such an index have the same key in a table.
template <class I>
class KeyCollision {
    using Functions = LshFunctions<typename I::space_type>;

public:
    explicit KeyCollision(const I& index) : index_(&index) {
        if constexpr (!Functions::over_bits) {
            const auto& hash = index.functions().hash();
            if (hash.family() == VectorFamily::cross_polytope)
                for (const std::size_t coordinates : {hash.coordinates(0), hash.coordinates(hash.functions() - 1)}) polytopes_.emplace_back(coordinates);
        }
    }

    /// Of a query that is the row in slot a, and the row in slot b, at an internal distance from each other.
    double operator()(Slot a, Slot b, [[maybe_unused]] double distance) const {
        const auto& hash = index_->functions().hash();
        const auto functions = static_cast<double>(hash.functions());
        if constexpr (Functions::over_bits) {
            const double reported = index_->space().report(distance);
            const double one = hash.family() == BitFamily::minhash ? minhash_collision(reported) : bit_collision(reported, static_cast<double>(index_->space().dimensions()));
            return std::pow(one, functions);
        } else {
            typename Functions::Scratch of_a, of_b;
            const auto rows = Functions::rows_of(index_->space());
            index_->functions().prepared(rows, a, of_a, true);
            index_->functions().prepared(rows, b, of_b);
            const std::vector<float>&x = of_a.prepared, &y = of_b.prepared;
            double xx = 0, yy = 0, xy = 0, l1 = 0;
            for (std::size_t i = 0; i < x.size(); ++i) {
                const double u = static_cast<double>(x[i]), v = static_cast<double>(y[i]);
                xx += u * u;
                yy += v * v;
                xy += u * v;
                l1 += std::abs(u - v);
            }
            const double length = std::sqrt(xx * yy), angle = length > 0 ? std::acos(std::clamp(xy / length, -1.0, 1.0)) : 0.0;
            const double l2 = std::sqrt(std::max(0.0, xx + yy - 2 * xy)), width = static_cast<double>(hash.width());
            switch (hash.family()) {
                case VectorFamily::hyperplane: return std::pow(hyperplane_collision(angle), functions);
                case VectorFamily::cross_polytope: return std::pow(polytopes_.front()(angle), functions - 1) * polytopes_.back()(angle);
                case VectorFamily::gaussian: return std::pow(gaussian_collision(l2, width), functions);
                default: return std::pow(cauchy_collision(l1, width), functions);
            }
        }
    }

private:
    const I* index_;
    std::vector<detail::PolytopeCollision> polytopes_;
};

template <class I>
LshCalibration calibrate_lsh(const I& index, const OwnNeighbours<typename I::space_type::distance_type>& own, double target, Executor& executor, const Progress& progress) {
    const auto& space = index.space();
    LshCalibration found;
    const std::size_t near = own.near, queries = own.queries.size();
    const std::size_t all = index.buckets().tables() * index.buckets().count();
    const std::size_t most = std::min(all, std::max<std::size_t>(64 * index.buckets().tables(), 20000));
    const KeyCollision<I> collision(index);

    // After how many buckets each of the nearest was found; never is infinity.
    constexpr std::uint32_t never = std::numeric_limits<std::uint32_t>::max();
    std::vector<std::uint32_t> after(queries * near, never);
    std::vector<double> predicted(queries, 0.0);
    constexpr std::size_t step = 16;
    std::vector<typename I::scratch_type> workers(executor.workers());
    for (std::size_t first = 0; first < queries; first += step) {
        progress.report("calibrate", first, queries);
        executor.run(std::min(step, queries - first), 1, [&](std::size_t begin, std::size_t end, std::size_t which) {
            std::vector<query_of<I>> row(space.dim());
            for (std::size_t q = first + begin; q < first + end; ++q) {
                space.read_query(own.queries[q], row);
                const auto others = own.of(q);
                for (const auto& other : others)
                    predicted[q] += table_collision(collision(own.queries[q], other.slot, static_cast<double>(other.distance)), static_cast<double>(index.buckets().tables()));
                std::uint32_t looked = 0;
                std::size_t left = near;
                index.for_each_bucket(row, most, workers[which], [&](std::size_t, const Slot* slots, std::size_t count, bool last) {
                    for (std::size_t s = 0; s < count; ++s)
                        for (std::size_t i = 0; i < near; ++i)
                            if (slots[s] == others[i].slot && after[q * near + i] == never) {
                                after[q * near + i] = looked + 1;
                                --left;
                            }
                    looked += last ? 1 : 0;
                    return left != 0;
                });
            }
        });
    }
    progress.report("calibrate", queries, queries);

    const auto recall = [&](std::size_t probes, double& error) {
        double sum = 0, squares = 0;
        for (std::size_t q = 0; q < queries; ++q) {
            double hit = 0;
            for (std::size_t i = 0; i < near; ++i) hit += after[q * near + i] <= probes ? 1 : 0;
            hit /= static_cast<double>(near);
            sum += hit;
            squares += hit * hit;
        }
        const auto n = static_cast<double>(queries);
        error = std::sqrt(std::max(0.0, squares / n - sum / n * (sum / n)) / n);
        return sum / n;
    };
    double error = 0;
    found.own = static_cast<float>(recall(index.buckets().tables(), error));
    for (const double one : predicted) found.own_predicted += static_cast<float>(one / static_cast<double>(queries * near));
    std::size_t low = 1, high = most + 1;  // the least number of probes that is enough; most + 1: none of those
    while (low < high) {
        const std::size_t middle = (low + high) / 2;
        const double at = recall(middle, error);
        if (at - error >= target) high = middle;
        else low = middle + 1;
    }
    if (low > most) low = all;  // only a scan has what is asked for
    found.probes = static_cast<std::uint32_t>(std::min<std::size_t>(low, 1u << 30));
    found.recall = low == all ? 1.0f : static_cast<float>(recall(low, error));
    found.error = low == all ? 0.0f : static_cast<float>(error);
    return found;
}

}  // namespace kith
