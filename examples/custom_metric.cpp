// SPDX-License-Identifier: Apache-2.0
//
// A metric of your own, two ways: a lambda, and a policy with a name. Both are compiled into the index's loops.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <vector>

#include "kith/kith.hpp"

namespace {

/// Chi-squared distance of histograms: differences count more where there is little.
struct ChiSquared : kith::ReportsAsIs {
    static constexpr std::string_view name = "chi_squared";

    float operator()(const float* a, const float* b, std::size_t dim) const {
        float sum = 0;
        for (std::size_t i = 0; i < dim; ++i) {
            const float both = a[i] + b[i];
            const float difference = a[i] - b[i];
            if (both > 0) sum += difference * difference / both;
        }
        return sum;
    }
};

}  // namespace

int main() {
    const std::vector<float> histograms{4, 4, 0, 3, 3, 4, 2, 5, 1};
    const kith::MatrixView<const float> rows(histograms.data(), 3, 3);
    const float query[]{3, 4, 1};

    const kith::Keyed by_policy(
        kith::Flat(kith::DenseSpace<ChiSquared, float>(kith::Rows<float>::borrow(rows))));
    const kith::Results first = by_policy.search({query, 1, 3}, 3);
    std::printf("%s: nearest is row %lld at %.3f\n", by_policy.index().space().label().c_str(),
                static_cast<long long>(first.ids(0)[0]),
                static_cast<double>(first.distances(0)[0]));

    // A lambda may capture what it needs: here a weight for each dimension.
    const std::vector<float> weights{10, 1, 1};
    kith::CustomMetric weighted([&weights](const float* a, const float* b, std::size_t dim) {
        float sum = 0;
        for (std::size_t i = 0; i < dim; ++i) sum += weights[i] * std::abs(a[i] - b[i]);
        return sum;
    });
    const kith::Keyed by_lambda(kith::Flat(
        kith::DenseSpace<decltype(weighted), float>(kith::Rows<float>::borrow(rows), weighted)));
    const kith::Results second = by_lambda.search({query, 1, 3}, 3);
    std::printf("weighted: nearest is row %lld at %.3f\n", static_cast<long long>(second.ids(0)[0]),
                static_cast<double>(second.distances(0)[0]));
    return first.ids(0)[0] == 2 && second.ids(0)[0] == 1 ? 0 : 1;
}
