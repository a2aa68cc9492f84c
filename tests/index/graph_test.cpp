// SPDX-License-Identifier: Apache-2.0
//
// HNSW and Vamana beyond the contract: recall at the ef that is asked for, hard data, churn, repair, filters that steer, packed neighbourhoods, determinism
// of changes. The contract itself is tests/conformance.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "kith/index/flat.hpp"
#include "kith/index/hnsw.hpp"
#include "kith/index/vamana.hpp"
#include "kith/space/dense.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

template <class T>
struct Data {
    std::vector<T> values;
    std::size_t dim;
    std::size_t rows() const { return values.size() / dim; }
    MatrixView<const T> view() const { return {values.data(), rows(), dim}; }
    std::span<const T> row(std::size_t i) const { return {values.data() + i * dim, dim}; }
};

/// Points around `centres` random centres; the same centres for the same seed.
Data<float> clustered(std::size_t n, std::size_t dim, std::size_t centres, std::uint64_t seed, float spread = 0.3f, float distance = 1.0f,
                      std::uint64_t stream = 1) {
    Data<float> data{std::vector<float>(n * dim), dim};
    const Random where(seed);
    const Random noise(seed, stream);
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t centre = noise.below(i, centres);
        for (std::size_t j = 0; j < dim; ++j)
            data.values[i * dim + j] = distance * static_cast<float>(where.normal(centre * dim + j)) +
                                       spread * static_cast<float>(noise.normal(1000 + i * dim + j));
    }
    return data;
}

template <class S>
using Distance = typename S::distance_type;

template <class I>
std::vector<Hit<Distance<typename I::space_type>>> search(const I& index, std::span<const query_of<I>> query, std::size_t k, std::uint32_t ef) {
    typename I::search_params params;
    if constexpr (requires { params.ef; }) params.ef = ef;
    typename I::scratch_type scratch;
    std::vector<Hit<Distance<typename I::space_type>>> storage(k);
    TopK<Distance<typename I::space_type>> nearest(storage);
    index.search(query, params, AllowAll{}, scratch, nearest);
    const auto found = nearest.sorted();
    return {found.begin(), found.end()};
}

/// The part of the k nearest, by distance, that the index finds.
template <class I>
double recall(const I& index, const Data<float>& queries, std::size_t k, std::uint32_t ef, const Flat<typename I::space_type>& exact) {
    std::size_t good = 0;
    for (std::size_t q = 0; q < queries.rows(); ++q) {
        const auto best = search(exact, queries.row(q), k, 0);
        const auto found = search(index, queries.row(q), k, ef);
        REQUIRE(found.size() == k);
        for (const auto& hit : found) good += hit.distance <= best.back().distance ? 1 : 0;
    }
    return static_cast<double>(good) / static_cast<double>(queries.rows() * k);
}

template <class S>
S borrow(const Data<float>& data) {
    return S(Rows<float>::borrow(data.view()));
}
template <class S>
S owned(const Data<float>& data) {
    return S(Rows<float>::copy(data.view()));
}

template <class I>
Slot entry_of(const I& index) {
    if constexpr (requires { index.hierarchy(); }) return index.hierarchy().entry();
    else return index.entry();
}

template <class I>
bool all_reachable(const I& index) {
    const auto& graph = index.graph();
    return count_reachable(graph.links(), graph.slots(), graph.hidden(), entry_of(index)) == graph.size();
}

using Space32 = DenseSpace<L2, float>;
using SpaceDot = DenseSpace<InnerProduct, float>;

/// Small parameters of each kind, plain and packed.
template <class I>
typename I::build_params params_of(bool packed) {
    typename I::build_params params;
    if constexpr (requires { params.m; }) {
        params.m = 16;
        params.ef_construction = 100;
    } else {
        params.r = 32;
        params.l = 100;
    }
    params.packed = packed;
    return params;
}

}  // namespace

TEMPLATE_TEST_CASE("a graph finds nearly all neighbours at moderate ef, plain and packed", "[quality]", Hnsw<Space32>, Vamana<Space32>) {
    const auto base = clustered(4000, 24, 40, 1);
    const auto queries = clustered(100, 24, 40, 1, 0.3f, 1.0f, 2);
    const Flat<Space32> exact(borrow<Space32>(base));
    for (const bool packed : {false, true}) {
        const auto index = TestType::build(borrow<Space32>(base), params_of<TestType>(packed), 7);
        INFO((packed ? "packed" : "plain"));
        REQUIRE(all_reachable(index));
        const double few = recall(index, queries, 10, 20, exact);
        const double many = recall(index, queries, 10, 200, exact);
        REQUIRE(few > 0.80);
        REQUIRE(many > 0.985);
        REQUIRE(many >= few);
        REQUIRE_NOTHROW(index.validate("test"));
    }
}

TEMPLATE_TEST_CASE("hundreds of equal rows are all found, and hide nothing", "", Hnsw<Space32>, Vamana<Space32>) {
    auto base = clustered(1200, 8, 10, 3);
    for (std::size_t i = 200; i < 700; ++i) std::copy_n(base.values.begin(), base.dim, base.values.begin() + static_cast<std::ptrdiff_t>(i * base.dim));
    const Flat<Space32> exact(borrow<Space32>(base));
    for (const bool packed : {false, true}) {
        const auto index = TestType::build(borrow<Space32>(base), params_of<TestType>(packed));
        REQUIRE(all_reachable(index));
        const auto same = search(index, base.row(0), 501, 600);
        INFO((packed ? "packed" : "plain"));
        REQUIRE(std::count_if(same.begin(), same.end(), [](const auto& hit) { return hit.distance == 0; }) >= 496);
        std::size_t good = 0;
        for (std::size_t q = 0; q < 1200; q += 24) {
            const auto best = search(exact, base.row(q), 10, 0);
            for (const auto& hit : search(index, base.row(q), 10, 100)) good += hit.distance <= best.back().distance ? 1 : 0;
        }
        REQUIRE(good >= 495);
    }
}

TEMPLATE_TEST_CASE("clusters far apart, in the order of the rows, are connected", "", Hnsw<Space32>, Vamana<Space32>) {
    Data<float> base{{}, 6};
    for (std::size_t cluster = 0; cluster < 8; ++cluster) {
        auto part = clustered(200, 6, 1, 50 + cluster, 0.01f, 0.0f);
        for (std::size_t i = 0; i < part.values.size(); ++i) part.values[i] += i % 6 == cluster % 6 ? 1000.0f * static_cast<float>(cluster + 1) : 0.0f;
        base.values.insert(base.values.end(), part.values.begin(), part.values.end());
    }
    const Flat<Space32> exact(borrow<Space32>(base));
    auto index = TestType::build(borrow<Space32>(base), params_of<TestType>(false));
    REQUIRE(all_reachable(index));
    Data<float> queries{{}, 6};
    for (std::size_t i = 0; i < base.rows(); i += 16) queries.values.insert(queries.values.end(), base.row(i).begin(), base.row(i).end());
    REQUIRE(recall(index, queries, 10, 64, exact) > 0.99);
    // A new cluster, added later and far from everything.
    auto later = clustered(150, 6, 1, 99, 0.01f, 0.0f);
    for (auto& value : later.values) value -= 5000.0f;
    index.insert(later.view());
    REQUIRE(all_reachable(index));
    for (std::size_t i = 0; i < later.rows(); i += 10) REQUIRE(search(index, later.row(i), 1, 32)[0].distance == 0);
}

TEMPLATE_TEST_CASE("inner products over widely spread norms", "[quality]", Hnsw<SpaceDot>, Vamana<SpaceDot>) {
    using S = SpaceDot;
    auto base = clustered(3000, 16, 30, 5, 0.5f);
    const Random random(6);
    for (std::size_t i = 0; i < base.rows(); ++i) {
        const auto scale = static_cast<float>(std::exp(1.5 * random.normal(i)));
        for (std::size_t j = 0; j < base.dim; ++j) base.values[i * base.dim + j] *= scale;
    }
    const auto queries = clustered(60, 16, 30, 5, 0.5f, 1.0f, 2);
    const Flat<S> exact(borrow<S>(base));
    for (const bool packed : {false, true}) {
        const auto index = TestType::build(borrow<S>(base), params_of<TestType>(packed));
        REQUIRE(all_reachable(index));
        REQUIRE(recall(index, queries, 10, 600, exact) > 0.99);
    }
}

TEMPLATE_TEST_CASE("recall survives churn: every row replaced twice in random order", "[quality]", Hnsw<Space32>, Vamana<Space32>) {
    const std::size_t n = 2500;
    const auto first = clustered(n, 16, 30, 11);
    const auto later = clustered(2 * n, 16, 30, 11, 0.3f, 1.0f, 3);
    const auto queries = clustered(80, 16, 30, 11, 0.3f, 1.0f, 2);
    for (const bool packed : {false, true}) {
        auto index = TestType::build(owned<Space32>(first), params_of<TestType>(packed));
        Data<float> now = first;  // by slot
        now.values.resize(2 * first.values.size());
        std::vector<bool> occupied(2 * n);
        std::fill_n(occupied.begin(), n, true);
        const Random random(13);
        std::size_t draw = 0;
        for (std::size_t at = 0; at < later.rows();) {  // two rounds, each over all rows that are there, in an order of its own
            std::vector<Slot> order;
            for (std::size_t slot = 0; slot < occupied.size(); ++slot)
                if (occupied[slot]) order.push_back(static_cast<Slot>(slot));
            shuffle(order, Random(13, at));
            for (std::size_t done = 0; done < n;) {
                const std::size_t count = std::min<std::size_t>(1 + random.below(draw++, 60), n - done);
                const std::span<const Slot> gone(order.data() + done, count);
                index.remove(gone);
                for (const Slot slot : gone) occupied[slot] = false;
                const auto taken = index.insert(later.view().slice(at + done, count));
                REQUIRE(taken.size() == count);
                for (std::size_t i = 0; i < count; ++i) {
                    REQUIRE(!occupied[taken[i]]);
                    occupied[taken[i]] = true;
                    std::copy_n(later.row(at + done + i).begin(), now.dim, now.values.begin() + static_cast<std::ptrdiff_t>(taken[i] * now.dim));
                }
                done += count;
            }
            at += n;
        }
        REQUIRE(index.size() == n);
        REQUIRE(index.graph().slots() < n + n / 10);  // slots were reused
        REQUIRE(all_reachable(index));
        REQUIRE_NOTHROW(index.validate("churned"));
        index.compact();  // keeps the order of slots
        Data<float> kept{{}, now.dim};
        for (std::size_t slot = 0; slot < occupied.size(); ++slot)
            if (occupied[slot]) kept.values.insert(kept.values.end(), now.row(slot).begin(), now.row(slot).end());
        const Flat<Space32> exact(borrow<Space32>(kept));
        const auto fresh = TestType::build(borrow<Space32>(kept), params_of<TestType>(packed));
        for (const std::uint32_t ef : {16u, 40u}) {
            const double before = recall(fresh, queries, 10, ef, exact);
            const double after = recall(index, queries, 10, ef, exact);
            INFO((packed ? "packed" : "plain") << " ef " << ef << ": fresh " << before << ", churned " << after);
            REQUIRE(after >= before - 0.01);
        }
    }
}

TEMPLATE_TEST_CASE("removal takes effect at once; compaction gives the slots back and changes no result", "", Hnsw<Space32>, Vamana<Space32>) {
    const auto base = clustered(1500, 12, 20, 21);
    for (const bool packed : {false, true}) {
        auto index = TestType::build(owned<Space32>(base), params_of<TestType>(packed));
        // Singly, so that the repair is local, then many at once.
        std::set<Slot> gone;
        for (Slot slot = 0; slot < 40; slot += 2) {
            index.remove(std::vector<Slot>{slot});
            gone.insert(slot);
            for (const auto& hit : search(index, base.row(slot), 20, 50)) REQUIRE(!gone.contains(hit.slot));
        }
        std::vector<Slot> many;
        for (Slot slot = 100; slot < 900; ++slot) many.push_back(slot);
        index.remove(many);
        gone.insert(many.begin(), many.end());
        REQUIRE(index.size() == 1500 - gone.size());
        REQUIRE(search(index, base.row(3), 5000, 10).size() == index.size());
        REQUIRE(all_reachable(index));
        const auto before = search(index, base.row(950), 10, 1500);
        const auto old_of = index.compact();
        REQUIRE(old_of.size() == index.size());
        REQUIRE(index.graph().slots() == index.size());
        const auto after = search(index, base.row(950), 10, 1500);
        for (std::size_t i = 0; i < 10; ++i) {
            REQUIRE(after[i].distance == before[i].distance);
            REQUIRE(old_of[after[i].slot] == before[i].slot);
        }
        REQUIRE_NOTHROW(index.validate("compacted"));
        std::vector<Slot> rest(index.size());
        std::iota(rest.begin(), rest.end(), Slot{0});
        index.remove(rest);
        REQUIRE(index.size() == 0);
        REQUIRE(search(index, base.row(0), 5, 10).empty());
        REQUIRE(index.insert(base.view().slice(0, 3)).size() == 3);
        REQUIRE(search(index, base.row(1), 5, 10).size() == 3);
    }
}

TEMPLATE_TEST_CASE("changes give the same bytes for any number of threads", "", Hnsw<Space32>, Vamana<Space32>) {
    const auto base = clustered(1200, 10, 12, 31);
    const auto more = clustered(300, 10, 12, 31, 0.3f, 1.0f, 2);
    for (const bool packed : {false, true}) {
        std::vector<std::byte> reference;
        for (const std::size_t threads : {1, 2, 5}) {
            ThreadPool pool(threads);
            auto index = TestType::build(owned<Space32>(base), params_of<TestType>(packed), 5, pool);
            std::vector<Slot> gone;
            for (Slot slot = 7; slot < 1200; slot += 9) gone.push_back(slot);
            index.remove(gone, pool);
            index.insert(more.view(), pool);
            index.remove(std::vector<Slot>{55}, pool);
            FileInfo info;
            info.kind = "test";
            info.space = "l2/f32";
            info.count = index.graph().slots();
            info.dim = 10;
            SectionWriter writer(info);
            index.save(writer);
            const auto bytes = writer.to_bytes();
            if (reference.empty()) reference = bytes;
            REQUIRE(bytes == reference);
        }
    }
}

TEMPLATE_TEST_CASE("a filter steers the walk: recall holds from 2 in 3 allowed down to 1 in 60", "", Hnsw<Space32>, Vamana<Space32>) {
    const auto base = clustered(6000, 16, 60, 41);
    const auto queries = clustered(50, 16, 60, 41, 0.3f, 1.0f, 2);
    const Flat<Space32> exact(borrow<Space32>(base));
    const auto index = TestType::build(borrow<Space32>(base), params_of<TestType>(false));
    const Random random(43);
    for (const std::uint64_t one_in : {1, 2, 6, 20, 60}) {  // with ef 10, a scan takes over below 320 rows only
        Bitset bits(6000);
        for (std::size_t i = 0; i < 6000; ++i)
            if (one_in == 1 ? random.below(i, 3) != 0 : random.below(i, one_in) == 0) bits.set(i);
        const BitsetFilter filter(bits);
        std::size_t good = 0;
        for (std::size_t q = 0; q < queries.rows(); ++q) {
            typename TestType::scratch_type scratch;
            std::vector<Hit<float>> storage(10), best(10);
            TopK<float> nearest(storage), truth(best);
            typename Flat<Space32>::scratch_type flat;
            exact.search(queries.row(q), {}, filter, flat, truth);
            typename TestType::search_params params;
            params.ef = 10;
            index.search(queries.row(q), params, filter, scratch, nearest);
            REQUIRE(nearest.size() == 10);
            const float kth = truth.sorted().back().distance;
            for (const auto& hit : nearest.sorted()) {
                REQUIRE(bits.test(hit.slot));
                good += hit.distance <= kth ? 1 : 0;
            }
        }
        INFO("one in " << one_in);
        REQUIRE(good > 400);
    }
}

TEMPLATE_TEST_CASE("cancelled work leaves what there was", "", Hnsw<Space32>, Vamana<Space32>) {
    const auto base = clustered(600, 8, 6, 51);
    const auto more = clustered(300, 8, 6, 51, 0.3f, 1.0f, 2);
    for (const bool packed : {false, true})
        for (const std::size_t after : {0, 1, 3, 7}) {
            auto index = TestType::build(owned<Space32>(base), params_of<TestType>(packed));
            std::size_t calls = 0;
            const Progress stop([&](std::string_view, std::size_t, std::size_t) { return calls++ < after; });
            check_error(ErrorCode::cancelled, {"link"}, [&] { index.insert(more.view(), inline_executor(), stop); });
            REQUIRE(index.size() == 600);
            REQUIRE(all_reachable(index));
            REQUIRE_NOTHROW(index.validate("cancelled"));
            REQUIRE(search(index, base.row(17), 1, 32)[0].slot == 17);
            calls = 0;
            check_error(ErrorCode::cancelled, {"link"},
                        [&] { TestType::build(borrow<Space32>(base), params_of<TestType>(packed), 0, inline_executor(), stop); });
        }
}

TEST_CASE("packed neighbourhoods are refused where there are no codes, or no whole blocks") {
    using Bits = DenseSpace<Hamming, Bits8>;
    const std::vector<Bits8> rows(64);
    const auto space = [&] { return Bits(Rows<Bits8>::borrow(MatrixView<const Bits8>(rows.data(), 16, 4))); };
    HnswParams hnsw;
    hnsw.packed = true;
    check_error(ErrorCode::unsupported, {"packed", "hamming/b1"}, [&] { Hnsw<Bits>::build(space(), hnsw); });
    const auto base = clustered(20, 4, 2, 1);
    hnsw.m = 12;
    check_error(ErrorCode::invalid_argument, {"multiple of 32", "24"}, [&] { Hnsw<Space32>::build(borrow<Space32>(base), hnsw); });
    VamanaParams vamana;
    vamana.packed = true;
    vamana.r = 40;
    check_error(ErrorCode::invalid_argument, {"multiple of 32", "40"}, [&] { Vamana<Space32>::build(borrow<Space32>(base), vamana); });
}

TEST_CASE("the number of rows scored grows far slower than the number of rows", "[quality]") {
    std::vector<double> scored;
    for (const std::size_t n : {1000, 4000, 16000}) {
        const auto base = clustered(n, 8, 50, 61);
        const auto index = Hnsw<Space32>::build(borrow<Space32>(base), params_of<Hnsw<Space32>>(false));
        typename Hnsw<Space32>::scratch_type scratch;
        std::uint64_t total = 0;
        for (std::size_t q = 0; q < 50; ++q) {
            std::vector<Hit<float>> storage(10);
            TopK<float> nearest(storage);
            total += index.search(base.row(q), {.ef = 32}, AllowAll{}, scratch, nearest).distances;
        }
        scored.push_back(static_cast<double>(total));
    }
    REQUIRE(scored[1] < 2 * scored[0]);
    REQUIRE(scored[2] < 2 * scored[1]);
}
