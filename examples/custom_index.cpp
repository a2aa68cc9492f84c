// SPDX-License-Identifier: Apache-2.0
//
// An index of your own in one page: rows sorted by their norm. By the triangle inequality a row whose norm differs from the
// query's by more than the k-th distance cannot be among the k nearest, so the search walks outwards from the query's norm
// and stops early. Exact, good in few dimensions. Batches, threads, ids, filters and results come from the library.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kith/kith.hpp"

namespace example {

struct ByNormSearch {
    double slack = 1e-4;  // allowance for rounding, relative to the k-th distance
    static constexpr auto fields() {
        return std::tuple{
            kith::field("slack", &ByNormSearch::slack, 0, 1, "allowance for rounding")};
    }
    friend bool operator==(const ByNormSearch&, const ByNormSearch&) = default;
};

template <kith::Space S>
requires std::same_as<typename S::metric_type, kith::L2>
class ByNorm {
public:
    static constexpr std::string_view kind = "by_norm";
    using space_type = S;
    using build_params = kith::NoParams;
    using search_params = ByNormSearch;
    struct scratch_type {};  // nothing to remember between two queries

    static ByNorm build(S space, const build_params& = {}, std::uint64_t = 0,
                        kith::Executor& = kith::inline_executor(), const kith::Progress& = {}) {
        return ByNorm(std::move(space));
    }

    const S& space() const noexcept { return space_; }
    std::size_t size() const noexcept { return space_.size(); }

    template <kith::Filter F, kith::Collector C>
    kith::SearchStats search(std::span<const typename S::query_type> query,
                             const search_params& params, const F& filter, scratch_type&,
                             C& collector) const {
        const auto scorer = space_.scorer(query);
        const double norm = norm_of(query);
        const auto cannot_win = [&](double gap) {
            return gap * gap > static_cast<double>(collector.bound()) * (1 + params.slack);
        };
        kith::SearchStats stats;
        auto above = static_cast<std::size_t>(std::lower_bound(norms_.begin(), norms_.end(), norm) -
                                              norms_.begin());
        std::size_t below = above;
        for (;;) {
            const double up = above < size() ? norms_[above] - norm : INFINITY;
            const double down = below > 0 ? norm - norms_[below - 1] : INFINITY;
            if (std::isinf(std::min(up, down)) || cannot_win(std::min(up, down))) return stats;
            const kith::Slot slot = slots_[up <= down ? above++ : --below];
            if (!filter.allows(slot)) continue;
            collector.offer(slot, scorer(slot));
            ++stats.distances;
            stats.bytes += space_.row_bytes();
        }
    }

private:
    explicit ByNorm(S space)
        : space_(std::move(space)), slots_(space_.size()), norms_(space_.size()) {
        std::vector<typename S::query_type> row(space_.dim());
        std::vector<std::pair<double, kith::Slot>> order(size());
        for (std::size_t slot = 0; slot < size(); ++slot) {
            space_.read_query(static_cast<kith::Slot>(slot), row);
            order[slot] = {norm_of(row), static_cast<kith::Slot>(slot)};
        }
        std::sort(order.begin(), order.end());
        for (std::size_t i = 0; i < size(); ++i) std::tie(norms_[i], slots_[i]) = order[i];
    }

    static double norm_of(std::span<const typename S::query_type> x) {
        double sum = 0;
        for (const auto v : x) sum += static_cast<double>(v) * static_cast<double>(v);
        return std::sqrt(sum);
    }

    S space_;
    std::vector<kith::Slot> slots_;  // in the order of their norms
    std::vector<double> norms_;
};

using Space = kith::DenseSpace<kith::L2, float>;
static_assert(kith::Buildable<ByNorm<Space>>);

}  // namespace example

int main() {
    using example::ByNorm;
    using example::Space;
    constexpr std::size_t n = 20'000;
    constexpr std::size_t dim = 3;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> points((n + 100) * dim);
    for (auto& x : points) x = normal(random);
    const kith::MatrixView<const float> rows(points.data(), n, dim);
    const kith::MatrixView<const float> queries(points.data() + n * dim, 100, dim);

    const kith::Keyed mine(ByNorm<Space>::build(Space(kith::Rows<float>::borrow(rows))));
    const kith::Keyed exact(kith::Flat(Space(kith::Rows<float>::borrow(rows))));
    kith::ThreadPool pool(2);
    const kith::Results found = mine.search(queries, 10, {}, {}, pool);
    const kith::Results truth = exact.search(queries, 10, {}, {}, pool);

    std::size_t same = 0;
    for (std::size_t q = 0; q < queries.rows(); ++q)
        same += std::ranges::equal(found.ids(q), truth.ids(q)) ? 1 : 0;
    std::printf("%zu of %zu answers equal the exact scan's, for %.1f%% of its distances\n", same,
                queries.rows(),
                100.0 * static_cast<double>(found.stats.distances) /
                    static_cast<double>(truth.stats.distances));
    return same == queries.rows() && found.stats.distances < truth.stats.distances ? 0 : 1;
}
