// SPDX-License-Identifier: Apache-2.0
//
// hnswlib as a contender of bench_graph, compiled with the flags of its own setup.py (-O3 -march=native).
// M = 16, ef_construction = 200: what its README and ann-benchmarks take for a middle course.
#include <atomic>
#include <thread>
#include <utility>

#include "../graph_contender.hpp"
#include "hnswlib/hnswlib.h"

namespace kith_bench {

void add_hnswlib(std::vector<Entry>& entries);

namespace {

// hnswlib counts no distances on layer 0; for a pass that is not timed its function is replaced by one that does.
hnswlib::DISTFUNC<float> counted_function = nullptr;
std::uint64_t counted = 0;

float count(const void* a, const void* b, const void* param) {
    ++counted;
    return counted_function(a, b, param);
}

class Hnswlib final : public Contender {
public:
    Hnswlib(const FloatData& data, std::size_t m, std::size_t ef_construction)
        : data_(data), m_(m), ef_construction_(ef_construction) {
        if (data.measure == Measure::l2)
            space_ = std::make_unique<hnswlib::L2Space>(data.dim);
        else
            space_ = std::make_unique<hnswlib::InnerProductSpace>(data.dim);
    }

    void build(std::size_t threads) override {
        index_ = std::make_unique<hnswlib::HierarchicalNSW<float>>(space_.get(), data_.n, m_, ef_construction_);
        index_->addPoint(data_.rows, 0);
        std::atomic<std::size_t> next{1};
        const auto work = [&] {
            for (std::size_t i = next++; i < data_.n; i = next++) index_->addPoint(data_.rows + i * data_.dim, i);
        };
        std::vector<std::thread> others;
        for (std::size_t t = 1; t < threads; ++t) others.emplace_back(work);
        work();
        for (auto& other : others) other.join();
    }

    void save(const std::string& path) const override { index_->saveIndex(path); }
    void load(const std::string& path) override {
        index_ = std::make_unique<hnswlib::HierarchicalNSW<float>>(space_.get(), path);
    }

    /// Rows with their links and labels and the links of upper layers; left out: a lock, a pointer and a hash entry for
    /// each row.
    std::size_t memory_bytes() const override { return index_->indexFileSize(); }

    void set_ef(std::size_t ef) override { index_->setEf(ef); }

    std::size_t search(std::size_t query, std::size_t k, std::uint32_t* ids) override {
        auto found = index_->searchKnn(data_.queries + query * data_.dim, k);
        const std::size_t n = found.size();
        for (std::size_t i = n; i > 0; --i, found.pop()) ids[i - 1] = static_cast<std::uint32_t>(found.top().second);
        return n;
    }

    void count_distances(bool on) override {
        if (on) {
            counted_function = space_->get_dist_func();
            index_->fstdistfunc_ = count;
        } else {
            index_->fstdistfunc_ = space_->get_dist_func();
        }
    }
    std::uint64_t take_distances() override { return std::exchange(counted, 0); }

private:
    FloatData data_;
    std::size_t m_;
    std::size_t ef_construction_;
    std::unique_ptr<hnswlib::SpaceInterface<float>> space_;
    std::unique_ptr<hnswlib::HierarchicalNSW<float>> index_;
};

}  // namespace

void add_hnswlib(std::vector<Entry>& entries) {
    entries.push_back(
        {"hnswlib-m16-efc200", [](const FloatData& data) { return std::make_unique<Hnswlib>(data, 16, 200); }});
    entries.push_back(
        {"hnswlib-m32-efc200", [](const FloatData& data) { return std::make_unique<Hnswlib>(data, 32, 200); }, false});
}

}  // namespace kith_bench
