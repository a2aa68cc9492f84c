// SPDX-License-Identifier: Apache-2.0
//
// IVF whose lists are ranked by a graph of their centroids: few lists of many are nearly those that the exact ranking gives, no row is found twice or owed, and files keep the graph.
#include <algorithm>
#include <set>
#include <vector>

#include "index/ivf_support.hpp"

namespace {

using namespace test;  // NOLINT

template <class S>
Ivf<S> build(const Vectors& rows, std::uint32_t graph_from, Executor& executor = inline_executor()) {
    return Ivf<S>::build(space_of<S>(rows), {.nlist = 320, .graph_from = graph_from}, 1, executor);
}

/// Of the exact ranking's results, how many the other has.
double agreement(const Results& exact, const Results& other) {
    std::size_t same = 0, all = 0;
    for (std::size_t q = 0; q < exact.queries(); ++q) {
        const std::set<Id> found(other.ids(q).begin(), other.ids(q).end());
        for (const Id id : exact.ids(q)) same += found.count(id);
        all += exact.ids(q).size();
    }
    return static_cast<double>(same) / static_cast<double>(all);
}

template <class Check>
void for_some_spaces(Check check) {
    check(static_cast<DenseSpace<L2, float>*>(nullptr));
    check(static_cast<DenseSpace<InnerProduct, float>*>(nullptr));
    check(static_cast<DenseSpace<Cosine, float>*>(nullptr));
    check(static_cast<DenseSpace<L2, std::uint8_t>*>(nullptr));
}

}  // namespace

TEST_CASE("a graph of centroids finds nearly the lists that the exact ranking gives", "[ivf][quality]") {
    for_some_spaces([]<class S>(S*) {
        INFO(S::type_label());
        using Q = typename S::query_type;
        const auto rows = rows_for<S>(4000, 24, 1), queries = queries_for<S>(100, 24, 2);
        const Keyed exact(build<S>(rows, 0)), graph(build<S>(rows, 320));
        CHECK(graph.index().memory_bytes() > exact.index().memory_bytes());
        const IvfSearchParams params{.nprobe = 12};
        const auto found = graph.search(view_of<Q>(queries), 10, params);
        CHECK(agreement(exact.search(view_of<Q>(queries), 10, params), found) > 0.97);
        SearchStats stats;
        for (std::size_t q = 0; q < 100; ++q) {  // a batch is its queries, to the bit
            const auto one = graph.search(view_of<Q>(queries).slice(q, 1), 10, params);
            CHECK(std::ranges::equal(one.ids(0), found.ids(q)));
            CHECK(std::ranges::equal(one.distances(0), found.distances(q)));
            stats += one.stats;
        }
        CHECK(stats == found.stats);
        // As many lists as would be no fewer than measuring all: the exact ranking, to the bit.
        CHECK(same(graph.search(view_of<Q>(queries), 10, {.nprobe = 21}), exact.search(view_of<Q>(queries), 10, {.nprobe = 21})));
        CHECK(same(graph.search(view_of<Q>(queries), 10, {.nprobe = 1000}), exact.search(view_of<Q>(queries), 10, {.nprobe = 1000})));
    });
}

TEST_CASE("where the lists that a graph gives hold too little, the others follow, none of them twice", "[ivf]") {
    for_some_spaces([]<class S>(S*) {
        INFO(S::type_label());
        using Q = typename S::query_type;
        const auto rows = rows_for<S>(4000, 24, 3), queries = queries_for<S>(20, 24, 4);
        const Keyed graph(build<S>(rows, 1));
        Bitset half(graph.slots());
        for (Slot slot = 0; slot < half.size(); slot += 2) half.set(slot);
        for (const bool filtered : {false, true})
            for (const std::size_t k : {std::size_t{200}, std::size_t{1900}, std::size_t{5000}}) {
                CAPTURE(filtered, k);
                std::vector<BitsetFilter> filters;
                if (filtered) filters.emplace_back(half.view());
                const auto found = graph.search(view_of<Q>(queries), k, {.nprobe = 2}, filters);
                for (std::size_t q = 0; q < 20; ++q) {
                    CHECK(found.count(q) == std::min<std::size_t>(k, filtered ? 2000 : 4000));
                    CHECK(std::set<Id>(found.ids(q).begin(), found.ids(q).end()).size() == found.count(q));
                    const auto one = graph.search(view_of<Q>(queries).slice(q, 1), k, {.nprobe = 2}, filters);
                    CHECK(std::ranges::equal(one.ids(0), found.ids(q)));
                }
            }
    });
}

TEST_CASE("the graph of centroids is kept in files, made again by rebalancing, and the same for any number of threads", "[ivf]") {
    using S = DenseSpace<InnerProduct, float>;
    const TempDir dir;
    const auto rows = rows_for<S>(3000, 16, 5), queries = queries_for<S>(30, 16, 6);
    Keyed index(build<S>(rows, 1));
    ThreadPool three(3);
    CHECK(Keyed(build<S>(rows, 1, three)).to_bytes() == index.to_bytes());
    index.save(dir / "graph.kith");
    const auto found = index.search(view_of<float>(queries), 10, {.nprobe = 5});
    for (const bool mmap : {true, false}) {
        auto loaded = Keyed<Ivf<S>>::load(SectionReader(dir / "graph.kith", {.mmap = mmap, .checksums = Checksums::verify}));
        CHECK(loaded.to_bytes() == index.to_bytes());
        CHECK(loaded.search(view_of<float>(queries), 10, {.nprobe = 5}).stats == found.stats);
        CHECK(same(loaded.search(view_of<float>(queries), 10, {.nprobe = 5}), found));
        CHECK_NOTHROW(loaded.index().validate("graph.kith"));
        loaded.remove(std::vector<Id>{1, 2});
        loaded.rebalance();
        CHECK(loaded.search(view_of<float>(queries), 10, {.nprobe = 5}).count(0) == 10);
    }
}

TEST_CASE("a graph of other centroids, or none at all, is refused", "[ivf]") {
    using S = DenseSpace<L2, float>;
    const auto rows = rows_for<S>(600, 8, 7);
    const auto index = Ivf<S>::build(space_of<S>(rows), {.nlist = 40, .graph_from = 1}, 1);
    const auto with = [&](std::span<const std::byte> graph) {
        SectionWriter writer({.kind = "ivf", .space = "l2/f32", .count = 600, .dim = 8});
        writer.add_text("params", "nlist=40,graph_from=1");
        writer.add_rows("rows", index.space().rows().view());
        writer.add_rows("ivf_centroids", index.centroids());
        index.lists().save(writer);
        const std::uint64_t state[] = {1, 0, 0, 0};
        writer.add_copy("ivf", std::span<const std::uint64_t>(state));
        writer.add_copy("ivf_graph", graph);
        const auto bytes = writer.to_bytes();
        const auto loaded = Keyed<Ivf<S>>::load(SectionReader(bytes));
        loaded.index().validate("it");
        return loaded.search(view_of<float>(rows).slice(0, 5), 3, {.nprobe = 2}).count(0);
    };
    const auto centroids = [&](std::size_t count, std::size_t cols) {
        std::vector<float> values(count * cols);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 17);
        return Rows<float>::copy(MatrixView<const float>(values.data(), count, cols));
    };
    const auto graph_of = [&](std::size_t count, std::size_t cols) { return Keyed(Hnsw<S>::build(S(centroids(count, cols)))).to_bytes(); };
    CHECK(with(graph_of(40, 8)) == 3);  // of others: searches find something else, and nothing breaks
    check_error(ErrorCode::corrupt, {"ivf_graph", "40 centroids", "39"}, [&] { with(graph_of(39, 8)); });
    check_error(ErrorCode::corrupt, {"ivf_graph", "8 dimensions", "9"}, [&] { with(graph_of(40, 9)); });
    check_error(ErrorCode::type_mismatch, {"ivf_graph", "flat"}, [&] { with(Keyed(Flat<S>(S(centroids(40, 8)))).to_bytes()); });
    auto vacant = Keyed(Hnsw<S>::build(S(centroids(40, 8))));
    vacant.remove(std::vector<Id>{3});
    check_error(ErrorCode::corrupt, {"ivf_graph", "vacant"}, [&] { with(vacant.to_bytes()); });
    auto cut = graph_of(40, 8);
    cut.resize(cut.size() / 2);
    CHECK_THROWS_AS(with(cut), Error);
}
