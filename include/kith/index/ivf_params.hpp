// SPDX-License-Identifier: Apache-2.0
//
// What an IVF (index/ivf.hpp) is built and searched with.
#pragma once

#include <cstdint>
#include <tuple>

#include "kith/core/params.hpp"

namespace kith {

struct IvfParams {
    std::uint32_t nlist = 0;
    std::uint32_t iterations = 20;
    std::uint32_t sample = 128;
    std::uint32_t graph_from = default_graph_from;

    /// Where walking a graph has become faster than measuring all centroids, single queries and batches (docs/algorithms/ivf.md).
    static constexpr std::uint32_t default_graph_from = 4096;

    static constexpr auto fields() {
        return std::tuple{
            field("nlist", &IvfParams::nlist, 0, 1 << 26, "lists; 0: the square root of the number of rows. At most as many as rows"),
            field("iterations", &IvfParams::iterations, 1, 1000, "k-means steps, at most"),
            field("sample", &IvfParams::sample, 1, 1 << 20, "rows to train on, for each list"),
            field("graph_from", &IvfParams::graph_from, 0, 1 << 30, "where there are so many lists, a graph of their centroids ranks them; 0: never"),
        };
    }
    friend bool operator==(const IvfParams&, const IvfParams&) = default;
};

struct IvfSearchParams {
    std::uint32_t nprobe = 16;
    float stop = 0;

    static constexpr auto fields() {
        return std::tuple{
            field("nprobe", &IvfSearchParams::nprobe, 1, 1 << 30, "lists to scan; from nlist on the search is exact"),
            field("stop", &IvfSearchParams::stop, 0, 1e6, "scan no list whose centroid is more than this many times as far as the nearest one; 0: off"),
        };
    }
    friend bool operator==(const IvfSearchParams&, const IvfSearchParams&) = default;
};

}  // namespace kith
