// SPDX-License-Identifier: Apache-2.0
//
// What bench_graph asks of everything it measures, kith's indexes and other libraries alike: build, remember, search
// one query. Plain C++17 without a kith header, as other libraries are compiled with their own standard and flags.
//
// Another library takes part in one of two ways:
//   compiled in     bench/peers/<name>.cpp, switched on by KITH_BENCH_<NAME>_DIR (CMakeLists.txt)
//   loaded          bench_graph --peer LIB.so: a shared library with
//                       extern "C" void kith_bench_contenders(std::vector<kith_bench::Entry>& entries);
//                   compiled on its own with this header, -fvisibility=hidden -fno-gnu-unique, so that no inline function
//                   of it replaces one of this program
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace kith_bench {

enum class Measure { l2, cosine, ip };

/// The vectors as floats, row-major, for libraries that take nothing else. Under cosine all rows and queries have length 1.
struct FloatData {
    const float* rows = nullptr;
    std::size_t n = 0;
    const float* queries = nullptr;
    std::size_t queries_n = 0;
    std::size_t dim = 0;
    Measure measure = Measure::l2;
};

class Contender {
public:
    virtual ~Contender() = default;

    /// Everything between the rows in memory and the first search; the caller holds the clock.
    virtual void build(std::size_t threads) = 0;
    virtual void save(const std::string& path) const = 0;
    virtual void load(const std::string& path) = 0;
    /// What a search needs in memory, rows included.
    virtual std::size_t memory_bytes() const = 0;

    /// The values to sweep where the user names none.
    virtual std::vector<std::size_t> sweep() const {
        return {10, 12,  14,  17,  20,  24,  28,  34,  40,  48,  56,  68,  80,
                96, 112, 136, 160, 192, 224, 272, 320, 400, 512, 640, 800, 1024};
    }
    virtual void set_ef(std::size_t ef) = 0;
    /// Searches query `query` of the data: fills ids, nearest first, and returns how many there are (k at most).
    virtual std::size_t search(std::size_t query, std::size_t k, std::uint32_t* ids) = 0;

    /// Distances computed by searches since the last call; asked for outside of the timed passes only. 0: not known.
    virtual void count_distances(bool /*on*/) {}
    virtual std::uint64_t take_distances() { return 0; }
};

struct Entry {
    std::string name;  // also the name of its file in the cache: letters, digits, - and .
    std::function<std::unique_ptr<Contender>(const FloatData&)> make;
    bool by_default = true;  // otherwise only when --contender names it
};

}  // namespace kith_bench
