// SPDX-License-Identifier: Apache-2.0
//
// k-means for its own sake: sort real vectors into groups, look at the groups, put new vectors into them.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "kith/kith.hpp"

int main() {
    // 10,000 SIFT descriptors, mapped from their file; bytes are taken as they are.
    const kith::VectorFile file("datasets/photos-sift-10k/base.u8bin");
    const auto rows = file.view<std::uint8_t>();
    kith::ThreadPool pool(2);

    kith::KMeansParams params;
    params.clusters = 32;
    params.rows_per_cluster = 200;  // 6,400 of the rows are enough
    const kith::KMeans made = kith::kmeans(rows, params, /*seed=*/7, pool);
    const auto& objective = made.report.objective;
    std::printf("mean squared distance: %.0f at first, %.0f after %zu steps\n", objective.front(), objective.back(), objective.size());

    // The nearest centroid of every row, exactly.
    std::vector<std::uint32_t> group(rows.rows());
    std::vector<float> distance(rows.rows());
    kith::assign_nearest(made.centroids.view(), rows, group, distance, pool);
    std::vector<std::size_t> sizes(params.clusters, 0);
    double sum = 0;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        ++sizes[group[i]];
        sum += static_cast<double>(distance[i]);
    }
    std::printf("all %zu rows: %.0f; groups of %zu to %zu\n", rows.rows(), sum / static_cast<double>(rows.rows()),
                *std::min_element(sizes.begin(), sizes.end()), *std::max_element(sizes.begin(), sizes.end()));
    return objective.back() < objective.front() && sum / static_cast<double>(rows.rows()) < 1.05 * objective.back() ? 0 : 1;
}
