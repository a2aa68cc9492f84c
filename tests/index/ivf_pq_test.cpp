// SPDX-License-Identifier: Apache-2.0
//
// IVF-PQ: distances are those of what codes stand for; with all lists it is the scan of all codes; residuals say more than rows in the same bytes;
// batches are their queries.
#include "kith/index/ivf_pq.hpp"

#include <fstream>
#include <iterator>
#include <limits>
#include <set>
#include <vector>

#include "index/ivf_pq_support.hpp"
#include "kith/index/refine.hpp"

namespace {

using namespace test;  // NOLINT

const std::vector<IvfPqParams> shapes{{.nlist = 9, .m = 6}, {.nlist = 9, .m = 7}, {.nlist = 9, .m = 6, .bits = 4}, {.nlist = 20, .m = 11, .bits = 4},
                                      {.nlist = 5, .m = 6, .opq = true, .opq_iterations = 2}, {.nlist = 5, .m = 6, .bits = 4, .opq = true, .opq_iterations = 2},
                                      {.nlist = 5, .m = 24, .bits = 4, .opq = true, .opq_iterations = 2}};

}  // namespace

TEST_CASE("distances are those of the query from what codes stand for, in all shapes of a scorer", "[ivf_pq]") {
    for_each_ivf_pq([]<class I>(I*) {
        using S = typename I::space_type;
        using M = typename S::metric_type;
        const auto rows = rows_for<S>(500, 24, 1);
        const auto queries = queries_for<S>(8, 24, 2);
        for (const auto& params : shapes) {
            CAPTURE(to_string(params));
            const I index = build_pq<I>(rows, params);
            const S& space = index.space();
            std::vector<Slot> live;
            for (Slot slot = 0; slot < space.size(); ++slot)
                if (!index.is_vacant(slot)) live.push_back(static_cast<Slot>((slot * 0x9E37u) % space.size()));
            std::erase_if(live, [&](Slot slot) { return index.is_vacant(slot); });
            scorer_scratch_of<S> scratch;
            std::vector<float> row(24), gathered(live.size()), run(space.size());
            double worst = 0;  // in units of what is allowed
            std::size_t differ = 0;
            for (std::size_t q = 0; q < 8; ++q) {
                const auto query = view_of<float>(queries)[q];
                const auto scorer = space.scorer(query, scratch);
                scorer.gather(live, gathered.data());
                scorer.run(0, space.size(), run.data());
                for (std::size_t i = 0; i < live.size(); ++i) {
                    const std::uint32_t list = space.list_of(live[i]);
                    REQUIRE(list == index.lists().list_of(live[i]));
                    const float distance = scorer(live[i]);
                    differ += distance != gathered[i] || distance != run[live[i]] || distance != scorer.in_list(list, index.centroids()[list])(live[i]) ? 1 : 0;
                    space.read_query(live[i], row);
                    worst = std::max(worst, std::abs(static_cast<double>(distance) - true_distance<M>(query, row)) / allowed_error(space, query, index.centroids(), list));
                }
            }
            CHECK(differ == 0);
            CHECK(worst < 1);
            std::vector<float> other(24);
            space.read_query(live[0], row);
            space.read_query(live[9], other);
            const double between = static_cast<double>(space.distance(live[0], live[9]));
            if constexpr (!std::is_same_v<M, Cosine>) CHECK(between == Approx(true_distance<M>(row, other)).epsilon(1e-5));
            CHECK(space.distance(live[0], live[9]) == space.distance(live[9], live[0]));
        }
    });
}

TEST_CASE("all lists make the scan of all codes, alone, in batches and on threads", "[ivf_pq]") {
    ThreadPool three(3);
    for_each_ivf_pq([&]<class I>(I*) {
        using S = typename I::space_type;
        STATIC_REQUIRE(EncodesRows<I>);
        STATIC_REQUIRE(BlockSearchable<I>);
        STATIC_REQUIRE(ScattersRows<I>);
        STATIC_REQUIRE(ReordersRows<I>);
        STATIC_REQUIRE(Rebalanceable<I>);
        STATIC_REQUIRE(Persistable<I>);
        STATIC_REQUIRE(ResidualSpace<S>);
        STATIC_REQUIRE(GrowableSpace<S>);
        const auto rows = rows_for<S>(700, 24, 3);
        const auto queries = queries_for<S>(40, 24, 4);
        for (const auto& params : shapes) {
            CAPTURE(to_string(params));
            const Keyed keyed(build_pq<I>(rows, params));
            CHECK(keyed.size() == 700);
            CHECK(keyed.slots() % 32 == 0);
            CHECK(keyed.to_bytes() == Keyed(build_pq<I>(rows, params, three)).to_bytes());
            Bitset most(keyed.slots(), true), few(keyed.slots());
            for (Slot slot = 0; slot < most.size(); slot += 7) most.reset(slot);
            for (Slot slot = 3; slot < few.size(); slot += 61) few.set(slot);
            for (const Bitset* bits : {static_cast<const Bitset*>(nullptr), static_cast<const Bitset*>(&most), static_cast<const Bitset*>(&few)}) {
                const std::vector<BitsetFilter> filters(bits == nullptr ? 0 : 1, BitsetFilter(bits == nullptr ? BitsetView() : bits->view()));
                for (const std::size_t k : {1, 10, 705}) {
                    CAPTURE(k, bits == nullptr);
                    const auto found = keyed.search(view_of<float>(queries), k, everywhere, filters);
                    CHECK(same(found, keyed.search(view_of<float>(queries), k, everywhere, filters, three)));
                    std::size_t wrong = 0;
                    for (std::size_t q = 0; q < 40; ++q) {
                        const auto expected = scan_codes(keyed, view_of<float>(queries)[q], [&](Slot slot) { return bits == nullptr || bits->test(slot); });
                        wrong += is_scan(keyed, found, q, expected, k) ? 0 : 1;
                        if (q % 8 == 0) wrong += is_scan(keyed, keyed.search(view_of<float>(queries).slice(q, 1), k, everywhere, filters), 0, expected, k) ? 0 : 1;
                    }
                    CHECK(wrong == 0);
                }
            }
            const double radius = static_cast<double>(keyed.search(view_of<float>(queries).slice(0, 1), 60, everywhere).distances(0)[59]);
            const auto near = keyed.range_search(view_of<float>(queries).slice(0, 1), radius, everywhere);
            CHECK(near.ids.size() >= 60);
            CHECK(near.ids.size() <= 70);  // rows with the same codes
        }
    });
}

TEST_CASE("a batch finds what its queries find, at the same cost", "[ivf_pq]") {
    ThreadPool two(2);
    for_each_ivf_pq([&]<class I>(I*) {
        using T = typename I::space_type::element_type;
        const auto rows = rows_for<typename I::space_type>(1200, 20, 5);
        const auto queries = queries_for<typename I::space_type>(70, 20, 6);
        for (const std::uint32_t bits : {4u, 8u}) {
            Keyed keyed(build_pq<I>(rows, {.nlist = 12, .m = 10, .bits = bits, .pq_sample = 20}));
            for (const bool changed : {false, true}) {
                if (changed) {  // vacant slots, lists of several runs
                    std::vector<Id> gone;
                    for (Id id = 0; id < 1200; id += 3) gone.push_back(id);
                    keyed.remove(gone);
                    keyed.add(view_of<T>(rows).slice(0, 500));
                }
                Bitset half(keyed.slots()), few(keyed.slots());
                for (Slot slot = 0; slot < half.size(); slot += 2) half.set(slot);
                for (Slot slot = 7; slot < half.size(); slot += 97) few.set(slot);
                std::vector<BitsetFilter> each;
                for (std::size_t q = 0; q < 70; ++q) each.emplace_back(q % 3 == 0 ? few.view() : half.view());
                for (const auto& some : {std::vector<BitsetFilter>{}, std::vector{BitsetFilter(half.view())}, each})
                    for (const auto& params : {probe(1), probe(5), probe(7, 1.2f)})
                        for (const std::size_t k : {10, 400}) {
                            CAPTURE(bits, changed, some.size(), params.nprobe, k);
                            const auto batch = keyed.search(view_of<float>(queries), k, params, some);
                            SearchStats stats;
                            bool all_same = true;
                            for (std::size_t q = 0; q < 70; ++q) {
                                const auto one = keyed.search(view_of<float>(queries).slice(q, 1), k, params, some.size() < 2 ? some : std::vector{some[q]});
                                all_same = all_same && std::ranges::equal(one.ids(0), batch.ids(q)) && std::ranges::equal(one.distances(0), batch.distances(q));
                                stats += one.stats;
                            }
                            CHECK(all_same);
                            CHECK(stats == batch.stats);
                            CHECK(same(keyed.search(view_of<float>(queries), k, params, some, two), batch));
                        }
            }
        }
    });
}

TEST_CASE("codes: there are as many results as can be, however few lists are asked", "[ivf_pq]") {
    for_each_ivf_pq([]<class I>(I*) {
        const auto rows = rows_for<typename I::space_type>(400, 16, 7);
        const auto queries = queries_for<typename I::space_type>(9, 16, 8);
        const Keyed keyed(build_pq<I>(rows, {.nlist = 40, .m = 8, .bits = 4}));
        for (const std::size_t k : {3, 50, 400, 1000}) {
            const auto found = keyed.search(view_of<float>(queries), k, probe(1));
            for (std::size_t q = 0; q < 9; ++q) {
                CHECK(found.count(q) == std::min<std::size_t>(k, 400));
                CHECK(std::set<Id>(found.ids(q).begin(), found.ids(q).end()).size() == found.count(q));
            }
            if (k >= 400) CHECK(same(found, keyed.search(view_of<float>(queries), k, everywhere)));
        }
    });
}

TEST_CASE("residuals say more than rows in the same bytes", "[ivf_pq]") {
    const auto run = []<class M>(M) {
        const auto rows = clustered<float>(4000, 32, 11, 60);
        const auto queries = clustered<float>(100, 32, 12, 60);
        const Keyed exact(Flat<DenseSpace<M, float>>(space_of<DenseSpace<M, float>>(rows)));
        const auto truth = exact.search(view_of<float>(queries), 10);
        for (const std::uint32_t bits : {4u, 8u}) {
            PqParams plain;
            plain.m = 8;
            plain.bits = bits;
            plain.rows_per_centroid = 32;
            const Keyed rows_coded(Flat<PqSpace<M, float>>(PqSpace<M, float>::train_and_encode(view_of<float>(rows), plain)));
            const Keyed residuals_coded(build_pq<IvfPq<M, float>>(rows, {.nlist = 60, .m = 8, .bits = bits, .pq_sample = 32}));
            const double plain_recall = recall(rows_coded.search(view_of<float>(queries), 10), truth);
            const double residual_recall = recall(residuals_coded.search(view_of<float>(queries), 10, everywhere), truth);
            CAPTURE(M::name, bits, plain_recall, residual_recall);
            CHECK(residual_recall > plain_recall + 0.05);
        }
    };
    run(L2{});
    run(Cosine{});
    run(InnerProduct{});
}

TEST_CASE("rows coded as they are live in lists too, and all lists are their scan", "[ivf_pq]") {
    using S = PqSpace<Cosine, float>;
    const auto rows = rows_for<S>(900, 16, 15), queries = queries_for<S>(40, 16, 16);
    for (const std::uint32_t bits : {4u, 8u}) {
        const PqParams params{.m = 8, .bits = bits, .rows_per_centroid = 2};
        const auto coded = [&] { return S::train_and_encode(view_of<float>(rows), params); };
        const Keyed flat{Flat<S>(coded())};
        const Keyed ivf(Ivf<S>::build(coded(), {.nlist = 14}));
        Bitset some(ivf.slots());
        for (Slot slot = 5; slot < some.size(); slot += 60) some.set(slot);
        const BitsetFilter filter(some.view());
        for (const std::size_t k : {1, 20, 900}) {
            const auto expected = flat.search(view_of<float>(queries), k);
            CHECK(same(ivf.search(view_of<float>(queries), k, everywhere), expected));
            CHECK(same(ivf.search(view_of<float>(queries).slice(3, 1), k, everywhere), flat.search(view_of<float>(queries).slice(3, 1), k)));
            const auto few = ivf.search(view_of<float>(queries), k, probe(1), {&filter, 1});  // scanned, and not by lists
            for (std::size_t q = 0; q < 40; ++q)
                CHECK(is_scan(ivf, few, q, scan_codes(ivf, view_of<float>(queries)[q], [&](Slot slot) { return some.test(slot); }), k));
        }
        CHECK(reloaded(ivf).size() == 900);
    }
}

TEST_CASE("rows far from zero lose nothing to rounding", "[ivf_pq]") {
    const auto near = Vectors::normal(ElementType::f32, 800, 16, 13), far = Vectors::normal(ElementType::f32, 800, 16, 13, 3000);
    const auto queries = Vectors::normal(ElementType::f32, 20, 16, 14, 3000);
    for (const bool opq : {false, true}) {
        const auto index = build_pq<IvfPq<L2, float>>(far, {.nlist = 10, .m = 8, .opq = opq, .opq_iterations = 1, .pq_sample = 4});
        scorer_scratch_of<ResidualPqSpace<L2, float>> scratch;
        std::vector<float> row(16);
        double worst = 0;
        for (std::size_t q = 0; q < 20; ++q) {
            const auto scorer = index.space().scorer(view_of<float>(queries)[q], scratch);
            for (Slot slot = 0; slot < index.space().size(); ++slot) {
                if (index.is_vacant(slot)) continue;
                index.space().read_query(slot, row);
                const double expected = true_distance<L2>(view_of<float>(queries)[q], row);
                worst = std::max(worst, std::abs(static_cast<double>(scorer(slot)) - expected) / (1 + expected));
            }
        }
        CHECK(worst < 0.01);  // a float has 12 bits behind the point of 3000
    }
}

TEST_CASE("photos: refined codes of 16 bytes find what is nearest", "[ivf_pq]") {
    const auto read = [](const std::string& file) {
        std::ifstream in(std::string(KITH_SOURCE_DIR) + "/datasets/photos-sift-10k/" + file, std::ios::binary);
        const std::vector<char> bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
        REQUIRE(bytes.size() > 8);
        std::uint32_t shape[2];
        std::memcpy(shape, bytes.data(), sizeof shape);
        return Vectors::fill(ElementType::f32, shape[0], shape[1], [&](std::size_t i) { return static_cast<double>(static_cast<unsigned char>(bytes[8 + i])); });
    };
    const auto rows = read("base.u8bin"), queries = read("query.u8bin");
    ThreadPool two(2);
    using S = DenseSpace<L2, float>;
    const Keyed exact(Flat<S>(space_of<S>(rows)));
    const auto truth = exact.search(view_of<float>(queries), 10, {}, {}, two);
    using I = Refine<IvfPq<L2, float>>;
    const Keyed keyed(I::build(space_of<S>(rows), {.nlist = 100, .m = 32, .bits = 4}, 1, two));
    RefineParams<IvfSearchParams> params;
    params.nprobe = 30;
    params.refine = 10;
    const auto found = keyed.search(view_of<float>(queries), 10, params, {}, two);
    CHECK(recall(found, truth) > 0.95);
    params.refine = 1;
    CHECK(recall(keyed.search(view_of<float>(queries), 10, params, {}, two), truth) > 0.5);
}
