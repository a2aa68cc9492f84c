// SPDX-License-Identifier: Apache-2.0
//
// Any kith index as a contender of bench_graph, through the plain I::search with warm scratch, as other libraries are
// called through theirs.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph_contender.hpp"
#include "kith/kith.hpp"

namespace kith_bench {

/// Puts the swept value into an index's search parameters, where they have one called ef.
struct SetEf {
    template <class P>
    static constexpr bool has_ef = requires(P p) {
        p.ef;
    };
    template <class P>
    void operator()(P& params, std::size_t ef) const {
        if constexpr (has_ef<P>) params.ef = static_cast<decltype(params.ef)>(ef);
    }
};

/// A small ef leaves no room for 1.5 k candidates: as many as it holds.
struct SetEfAndRefine {
    template <class P>
    void operator()(P& params, std::size_t ef) const {
        SetEf{}(params, ef);
        params.refine = std::clamp(static_cast<float>(ef) / 10.0f, 1.0f, 1.5f);
    }
};

/// MakeSpace: () -> space, called inside the build (so that norms and training count). Set: (search_params&, ef), for
/// what is not `ef`.
template <kith::Buildable I, class MakeSpace, class Set = SetEf>
class KithContender final : public Contender {
    using Distance = kith::distance_of<I>;
    using Query = kith::query_of<I>;

public:
    KithContender(MakeSpace make_space, typename I::build_params params, kith::MatrixView<const float> queries, Set set)
        : make_space_(std::move(make_space)),
          params_(std::move(params)),
          set_(std::move(set)),
          queries_(queries.rows() * queries.cols()),
          dim_(queries.cols()) {
        for (std::size_t i = 0; i < queries_.size(); ++i) {
            if constexpr (std::is_arithmetic_v<Query>)
                queries_[i] = static_cast<Query>(queries.data()[i]);
            else
                queries_[i] = Query(queries.data()[i]);
        }
    }

    void build(std::size_t threads) override {
        kith::ThreadPool pool(threads);
        index_.emplace(I::build(make_space_(), params_, seed, pool, kith::Progress{}));
    }
    void save(const std::string& path) const override {
        if constexpr (kith::Persistable<I>) index_->save(path);
    }
    /// Into memory, as a built index is.
    void load(const std::string& path) override {
        if constexpr (kith::Persistable<I>) index_.emplace(kith::Keyed<I>::load(kith::SectionReader(path, {.mmap = false})));
    }
    std::size_t memory_bytes() const override {
        if constexpr (requires(const I& index) { index.memory_bytes(); })
            return index_->index().memory_bytes();
        else
            return index_->index().space().memory_bytes();
    }

    std::vector<std::size_t> sweep() const override {
        if constexpr (std::is_same_v<typename I::search_params, kith::NoParams>)
            return {1};
        else
            return Contender::sweep();
    }
    void set_ef(std::size_t ef) override { set_(search_, ef); }

    std::size_t search(std::size_t query, std::size_t k, std::uint32_t* ids) override {
        if (hits_.size() < k) hits_.resize(k);
        kith::TopK<Distance> nearest({hits_.data(), k});
        const std::span<const Query> q(queries_.data() + query * dim_, dim_);
        distances_ += index_->index().search(q, search_, kith::AllowAll{}, scratch_, nearest).distances;
        const auto found = nearest.sorted();
        for (std::size_t i = 0; i < found.size(); ++i) ids[i] = found[i].slot;  // slots are the rows' order after a build
        return found.size();
    }
    std::uint64_t take_distances() override { return std::exchange(distances_, 0); }

private:
    static constexpr std::uint64_t seed = 1;

    MakeSpace make_space_;
    typename I::build_params params_;
    Set set_;
    kith::AlignedBuffer<Query> queries_;
    std::size_t dim_;
    std::optional<kith::Keyed<I>> index_;
    typename I::search_params search_{};
    typename I::scratch_type scratch_;
    std::vector<kith::Hit<Distance>> hits_;
    std::uint64_t distances_ = 0;
};

/// Registers index I under `name`. Queries are those that the other libraries get, converted to the index's own type.
template <kith::Buildable I, class MakeSpace, class Set = SetEf>
void add_kith(std::vector<Entry>& entries, std::string name, MakeSpace make_space, typename I::build_params params = {},
              bool by_default = true, Set set = {}) {
    entries.push_back({std::move(name),
                       [=](const FloatData& data) -> std::unique_ptr<Contender> {
                           const kith::MatrixView<const float> queries(data.queries, data.queries_n, data.dim);
                           return std::make_unique<KithContender<I, MakeSpace, Set>>(make_space, params, queries, set);
                       },
                       by_default});
}

}  // namespace kith_bench
