// SPDX-License-Identifier: Apache-2.0
//
// How many tables an LSH index has and how many bits their keys, where a recall was asked for and they were not. Keys of so many bits are looked at as an index would be, without there
// being one: rows of its own are queries, the functions tell after how many buckets each query meets the rows that are truly nearest to it, and a sample of the rows tells how many others
// lie in those buckets. What that would cost is reckoned by a model; the cheapest is taken, of those that cost about the same the one with the fewest tables.
//
// The model counts nanoseconds of a processor of 2021, but only their ratios matter; being no measurement it makes the same index everywhere.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/hash/buckets.hpp"
#include "kith/hash/probes.hpp"
#include "kith/index/lsh_functions.hpp"
#include "kith/index/own_neighbours.hpp"

namespace kith {

template <HashableSpace S>
class LshChoice {
    using D = typename S::distance_type;
    using Functions = LshFunctions<S>;

public:
    /// params with tables and bits for its target_recall, where they are 0 (bits: and hashes too). size: rows that are not vacant, at least 2.
    static LshParams make(const S& space, BitsetView vacant, std::size_t size, LshParams params, const OwnNeighbours<D>& own, std::uint64_t seed, Executor& executor,
                          const Progress& progress) {
        const bool any_bits = params.bits == 0 && params.hashes == 0;
        const auto usual = static_cast<std::uint32_t>(Functions::usual_bits(size));
        std::vector<std::uint32_t> tables{48, 32, 24, 16, 12, 8}, bits{usual, usual + 2, usual + 4, std::max(usual, 6u) - 2};
        if (params.tables != 0) tables = {params.tables};
        if (!any_bits) bits = {params.bits};
        LshChoice choice(space, vacant, size, own, params, seed);
        std::vector<Candidate> candidates;
        std::vector<std::pair<std::size_t, std::size_t>> seen;
        for (std::size_t i = 0; i < bits.size(); ++i) {
            progress.report("choose", i, bits.size());
            LshParams one = params;
            one.bits = bits[i];
            if (const auto functions = choice.functions_for(one, tables)) {
                if (std::find(seen.begin(), seen.end(), functions->shape()) != seen.end()) continue;  // other bits, the same functions
                seen.push_back(functions->shape());
                choice.consider(*functions, one, tables, executor, candidates);
            }
        }
        progress.report("choose", bits.size(), bits.size());
        if (candidates.empty()) return params;
        const auto cheapest = std::min_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.cost < b.cost; });
        const Candidate* best = &*cheapest;
        for (const Candidate& one : candidates)
            if (one.cost <= 1.1 * cheapest->cost && one.tables < best->tables) best = &one;
        params.tables = best->tables;
        if (any_bits) params.bits = best->bits;
        return params;
    }

private:
    struct Candidate {
        std::uint32_t tables, bits;
        double cost;
    };

    static constexpr std::size_t sampled = 8192;      // rows that stand for all
    static constexpr std::size_t asked = 128;         // queries at most
    static constexpr double nanoseconds_a_probe = 350;
    static constexpr double nanoseconds_a_mark = 2;    // a row met in a bucket
    static constexpr double nanoseconds_a_row = 32;    // and the first time measured
    static constexpr double nanoseconds_a_byte = 0.085;
    static constexpr double growth = 1.15;             // from a number of probes to the next that is reckoned with

    LshChoice(const S& space, BitsetView vacant, std::size_t size, const OwnNeighbours<D>& own, const LshParams& params, std::uint64_t seed)
        : space_(space), vacant_(vacant), size_(size), own_(own), target_(static_cast<double>(params.target_recall)), seed_(seed) {
        std::vector<Slot> live;
        for (std::size_t slot = 0; slot < space.size(); ++slot)
            if (!vacant.test(slot)) live.push_back(static_cast<Slot>(slot));
        const Random random(seed, 0x63686f69);
        for (std::size_t i = 0; i < std::min(sampled, live.size()); ++i) sample_.push_back(live[live.size() <= sampled ? i : static_cast<std::size_t>(random.below(i, live.size()))]);
    }

    /// Functions for the most tables that there is room for; fewer may then be tried.
    std::unique_ptr<Functions> functions_for(LshParams params, std::vector<std::uint32_t>& tables) const {
        for (;;) {
            params.tables = tables.front();
            try {
                return std::make_unique<Functions>(Functions::choose(space_, vacant_, size_, params, seed_));
            } catch (const Error& error) {
                if (error.code() != ErrorCode::invalid_argument || tables.size() == 1) {
                    if (tables.size() == 1 && params.bits > Functions::usual_bits(size_)) return nullptr;
                    throw;
                }
            }
            tables.erase(tables.begin());
        }
    }

    double hashing_cost(const Functions& functions, double tables) const {
        const auto count = static_cast<double>(functions.hash().functions()) * tables;
        if constexpr (Functions::over_bits) {
            return 4 * count;
        } else {
            const auto dim = static_cast<double>(space_.dimensions());
            const bool rotates = functions.hash().family() == VectorFamily::cross_polytope;
            return count * (rotates ? 100 + 0.6 * dim : 10 + 0.08 * dim);
        }
    }

    /// What each number of tables costs with such keys.
    void consider(const Functions& functions, const LshParams& params, const std::vector<std::uint32_t>& tables, Executor& executor, std::vector<Candidate>& candidates) {
        const std::size_t most_tables = tables.front(), queries = std::min(asked, own_.queries.size()), neighbours = queries * own_.near;
        const Buckets numbering(0, functions.hash().key_bits(), size_);
        const auto rows = Functions::rows_of(space_);

        // The bucket of each sampled row and of each neighbour: by table.
        using Placed = std::pair<Buckets::Number, std::uint32_t>;  // and which of the sample
        std::vector<std::vector<Placed>> of_sample(most_tables, std::vector<Placed>(sample_.size()));
        std::vector<Buckets::Number> of_neighbours(neighbours * most_tables);
        std::vector<typename Functions::Scratch> workers(executor.workers());
        executor.run(sample_.size() + neighbours, 64, [&](std::size_t begin, std::size_t end, std::size_t which) {
            auto& scratch = workers[which];
            for (std::size_t i = begin; i < end; ++i) {
                const bool of_the_sample = i < sample_.size();
                const std::size_t other = i - std::min(i, sample_.size());
                functions.hash_row(rows, of_the_sample ? sample_[i] : own_.neighbours[other].slot, scratch);
                for (std::size_t t = 0; t < most_tables; ++t) {
                    const auto number = numbering.number(scratch.keys[t]);
                    if (of_the_sample) of_sample[t][i] = {number, static_cast<std::uint32_t>(i)};
                    else of_neighbours[other * most_tables + t] = number;
                }
            }
        });
        executor.run(most_tables, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t t = begin; t < end; ++t) std::sort(of_sample[t].begin(), of_sample[t].end());
        });

        const double a_row = nanoseconds_a_row + nanoseconds_a_byte * static_cast<double>(space_.row_bytes());
        const double of_all = static_cast<double>(size_) / static_cast<double>(sample_.size());
        for (const std::uint32_t count : tables) {
            // No more buckets than cost what the best so far costs in all; a scan of all rows is had for nothing.
            double limit = a_row * static_cast<double>(size_);
            for (const Candidate& one : candidates) limit = std::min(limit, one.cost);
            const auto steps = probe_steps(count, limit / nanoseconds_a_probe);
            std::vector<Tally> tallies(queries * steps.size());
            executor.run(queries, 1, [&](std::size_t begin, std::size_t end, std::size_t which) {
                for (std::size_t q = begin; q < end; ++q) follow(functions, numbering, q, count, most_tables, steps, of_sample, of_neighbours, workers[which], tallies.data() + q * steps.size());
            });
            for (std::size_t s = 0; s < steps.size(); ++s) {
                double met = 0, marks = 0, distinct = 0;
                for (std::size_t q = 0; q < queries; ++q) {
                    met += tallies[q * steps.size() + s].met;
                    marks += tallies[q * steps.size() + s].marks;
                    distinct += tallies[q * steps.size() + s].distinct;
                }
                if (met < target_ * static_cast<double>(neighbours) && s + 1 < steps.size()) continue;
                const double missed = std::max(0.0, target_ - met / static_cast<double>(neighbours));
                const double scale = of_all / static_cast<double>(queries);
                double cost = hashing_cost(functions, count) + nanoseconds_a_probe * static_cast<double>(steps[s]) + scale * (nanoseconds_a_mark * marks + a_row * distinct);
                if (missed > 0) cost = std::max(cost, a_row * static_cast<double>(size_)) * (1 + missed);  // what comes nearest, if nothing is enough
                candidates.push_back({count, params.bits, cost});
                break;
            }
        }
    }

    /// Of one query, after so many buckets: neighbours met, sampled rows met, and those of them that were met the first time.
    struct Tally {
        double met = 0, marks = 0, distinct = 0;
    };

    static std::vector<std::size_t> probe_steps(std::size_t tables, double limit) {
        std::vector<std::size_t> steps{tables};
        for (double at = growth * static_cast<double>(tables); at <= std::min(limit, 64.0 * static_cast<double>(tables)); at *= growth) steps.push_back(static_cast<std::size_t>(at));
        return steps;
    }

    template <class Samples>
    void follow(const Functions& functions, const Buckets& numbering, std::size_t q, std::size_t tables, std::size_t most_tables, const std::vector<std::size_t>& steps, const Samples& of_sample,
                const std::vector<Buckets::Number>& of_neighbours, typename Functions::Scratch& scratch, Tally* out) const {
        std::vector<query_of_space> row(space_.dim());
        space_.read_query(own_.queries[q], row);
        HashedQuery hashed;
        functions.hash_query(row, hashed, scratch);
        hashed.keys.resize(tables);
        hashed.ends.resize(tables);
        hashed.perturbations.resize(hashed.ends.back());
        ProbeSequence sequence;
        sequence.begin(hashed);
        std::vector<bool> met(own_.near), seen(sample_.size());
        Tally now;
        std::size_t looked = 0;
        const auto look = [&](std::size_t t, std::uint64_t key) {
            const auto number = numbering.number(key);
            for (std::size_t i = 0; i < own_.near; ++i)
                if (!met[i] && of_neighbours[(q * own_.near + i) * most_tables + t] == number) {
                    met[i] = true;
                    ++now.met;
                }
            const auto& table = of_sample[t];
            for (auto at = std::lower_bound(table.begin(), table.end(), typename Samples::value_type::value_type(number, 0)); at != table.end() && at->first == number; ++at) {
                ++now.marks;
                if (!seen[at->second]) ++now.distinct;
                seen[at->second] = true;
            }
            ++looked;
        };
        for (std::size_t t = 0; t < tables; ++t) look(t, hashed.keys[t]);
        for (std::size_t s = 0; s < steps.size(); ++s) {
            ProbeSequence::Probe probe;
            while (looked < steps[s] && sequence.next(probe)) look(probe.table, probe.key);
            out[s] = now;
        }
    }

    using query_of_space = typename S::query_type;

    const S& space_;
    BitsetView vacant_;
    std::size_t size_;
    const OwnNeighbours<D>& own_;
    double target_;
    std::uint64_t seed_;
    std::vector<Slot> sample_;
};

}  // namespace kith
