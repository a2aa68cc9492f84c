// SPDX-License-Identifier: Apache-2.0
//
// What an LSH index (index/lsh.hpp) is built and searched with.
#pragma once

#include <cstdint>
#include <string>
#include <tuple>

#include "kith/core/params.hpp"

namespace kith {

struct LshParams {
    std::uint32_t tables = 0;
    std::uint32_t bits = 0;
    std::uint32_t hashes = 0;
    std::string family = "auto";
    float width = 0;
    bool centre = true;
    float target_recall = 0;

    static constexpr auto fields() {
        return std::tuple{
            field("tables", &LshParams::tables, 0, 4096, "hash tables: a row is found where one of them has it; 0: 16, or what target_recall takes"),
            field("bits", &LshParams::bits, 0, 60, "bits of a bucket's key, more for more rows; 0: about the logarithm of the number of rows, less 4, or what target_recall takes"),
            field("hashes", &LshParams::hashes, 0, 64, "functions that make a key, instead of bits; 0: as many as make `bits`"),
            field("family", &LshParams::family, "hyperplane, cross_polytope, p_stable; bit_sampling, minhash; auto: what suits the metric"),
            field("width", &LshParams::width, 0, 1e30, "p_stable: width of an interval, in units of distance; 0: from the rows, for 2 bits a function"),
            field("centre", &LshParams::centre, "hyperplane, cross_polytope: directions as seen from the mean of the rows"),
            field("target_recall", &LshParams::target_recall, 0, 0.999, "recall@10 that searches which say no `probes` should have: tables and bits are chosen for it where they are 0; 0: 8 probes a table"),
        };
    }
    friend bool operator==(const LshParams&, const LshParams&) = default;
};

struct LshSearchParams {
    std::uint32_t probes = 0;
    std::uint32_t candidates = 0;

    static constexpr auto fields() {
        return std::tuple{
            field("probes", &LshSearchParams::probes, 0, 1 << 30, "buckets to look at in all tables together; from as many as there are on the search is exact; 0: what the index was built for"),
            field("candidates", &LshSearchParams::candidates, 0, 1 << 30, "look at no further bucket once so many rows were found in buckets; 0: no limit"),
        };
    }
    friend bool operator==(const LshSearchParams&, const LshSearchParams&) = default;
};

/// How well searches do that say no probes (index/lsh_calibration.hpp): recall@10 of its own rows and the standard error of that; with a query's own buckets alone, and what theory says
/// of those. No probes: not measured.
struct LshCalibration {
    std::uint32_t probes = 0;
    float recall = 0, error = 0;
    float own = 0, own_predicted = 0;
};

}  // namespace kith
