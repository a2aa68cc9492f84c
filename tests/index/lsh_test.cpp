// SPDX-License-Identifier: Apache-2.0
//
// LSH beyond the contract (which conformance holds it to): buckets find what they should at the price they should, more probes find more, rows that come and go leave no trace, what was
// calibrated holds on other queries.
#include "kith/index/lsh.hpp"

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "index/ivf_support.hpp"
#include "kith/index/refine.hpp"

namespace {

using namespace test;  // NOLINT

using Space32 = DenseSpace<L2, float>;
using SpaceDot = DenseSpace<InnerProduct, float>;
using SpaceCosine = DenseSpace<Cosine, float>;
using SpaceManhattan = DenseSpace<L1, float>;
using SpaceBytes = DenseSpace<L2, std::uint8_t>;
using SpaceHamming = DenseSpace<Hamming, Bits8>;
using SpaceJaccard = DenseSpace<Jaccard, Bits8>;

LshParams tables_of(std::uint32_t tables, std::uint32_t bits, std::string family = "auto") {
    LshParams params;
    params.tables = tables;
    params.bits = bits;
    params.family = std::move(family);
    return params;
}

LshSearchParams probing(std::uint32_t probes, std::uint32_t candidates = 0) {
    LshSearchParams params;
    params.probes = probes;
    params.candidates = candidates;
    return params;
}

/// The same rows at the same distances?
bool identical_results(const Results& a, const Results& b) {
    for (std::size_t q = 0; q < a.queries(); ++q)
        if (!std::ranges::equal(a.ids(q), b.ids(q)) || !std::ranges::equal(a.distances(q), b.distances(q))) return false;
    return a.queries() == b.queries();
}

/// The share of the k nearest, by distance, that results have.
double recall(const Results& found, const Results& exact, std::size_t k) {
    std::size_t hits = 0, all = 0;
    for (std::size_t q = 0; q < exact.queries(); ++q) {
        all += std::min(k, exact.count(q));
        for (std::size_t i = 0; i < std::min(k, found.count(q)); ++i) {
            const float last = exact.distances(q)[std::min(k, exact.count(q)) - 1], mine = found.distances(q)[i];
            const bool larger_is_nearer = exact.distances(q).front() > exact.distances(q).back();
            hits += (larger_is_nearer ? mine >= last : mine <= last) ? 1 : 0;
        }
    }
    return static_cast<double>(hits) / static_cast<double>(all);
}

template <class S>
void check_finds(const LshParams& params, std::uint32_t probes, double wanted) {
    CAPTURE(S::type_label(), params.family);
    using T = typename S::element_type;
    const std::size_t n = 4000, d = 24, k = 10;
    const auto rows = clustered<T>(n, d, 1), queries = clustered<T>(50, d, 2);
    const Keyed<Flat<S>> flat(Flat<S>(space_of<S>(rows)));
    const Keyed<Lsh<S>> lsh(Lsh<S>::build(space_of<S>(rows), params, 3));
    const auto exact = flat.search(view_of<T>(queries), k);
    double before = 0;
    std::uint64_t scored_before = 0;
    for (const std::uint32_t p : {params.tables, 2 * params.tables, probes}) {
        const auto found = lsh.search(view_of<T>(queries), k, probing(p));
        const double now = recall(found, exact, k);
        CHECK(now >= before);  // buckets looked at before are among those looked at now
        CHECK(found.stats.distances >= scored_before);
        before = now;
        scored_before = found.stats.distances;
        for (std::size_t q = 0; q < found.queries(); ++q) {
            REQUIRE(found.count(q) == k);
            CHECK(std::set<Id>(found.ids(q).begin(), found.ids(q).end()).size() == k);
        }
    }
    CHECK(before >= wanted);
    CHECK(scored_before < 50 * n / 2);
}

}  // namespace

TEST_CASE("lsh: every family finds most of the nearest among few rows", "[lsh]") {
    check_finds<Space32>(tables_of(12, 8, "cross_polytope"), 60, 0.95);
    check_finds<Space32>(tables_of(12, 8, "hyperplane"), 100, 0.9);
    check_finds<Space32>(tables_of(12, 8, "p_stable"), 130, 0.9);
    check_finds<SpaceCosine>(tables_of(12, 8), 60, 0.95);
    check_finds<SpaceDot>(tables_of(12, 8), 100, 0.9);
    check_finds<SpaceManhattan>(tables_of(12, 8), 200, 0.7);
    check_finds<SpaceBytes>(tables_of(12, 8), 60, 0.95);
    check_finds<SpaceHamming>(tables_of(12, 10), 150, 0.9);
    check_finds<SpaceJaccard>(tables_of(16, 48), 60, 0.9);
    check_finds<Sq8Space<L2, float>>(tables_of(12, 8), 60, 0.9);
}

TEST_CASE("lsh: as many probes as there are buckets are the exact scan", "[lsh]") {
    const auto rows = clustered<float>(1500, 10, 1), queries = clustered<float>(20, 10, 2);
    const Keyed<Flat<Space32>> flat(Flat<Space32>(space_of<Space32>(rows)));
    const Keyed<Lsh<Space32>> lsh(Lsh<Space32>::build(space_of<Space32>(rows), tables_of(4, 6), 3));
    const auto found = lsh.search(view_of<float>(queries), 7, probing(4 * 64)), exact = flat.search(view_of<float>(queries), 7);
    for (std::size_t q = 0; q < 20; ++q) {
        CHECK(std::ranges::equal(found.ids(q), exact.ids(q)));
        CHECK(std::ranges::equal(found.distances(q), exact.distances(q)));
    }
}

TEST_CASE("lsh: min(k, eligible) results, whatever buckets hold, and never one that is not allowed", "[lsh]") {
    using S = Space32;
    const std::size_t n = 3000, d = 12;
    const auto rows = clustered<float>(n, d, 1), queries = clustered<float>(10, d, 2);
    const Keyed<Lsh<S>> lsh(Lsh<S>::build(space_of<S>(rows), tables_of(2, 14), 3));
    const Keyed<Flat<S>> flat(Flat<S>(space_of<S>(rows)));
    for (const std::size_t k : {1, 100, 2999, 3000, 5000}) {
        const auto found = lsh.search(view_of<float>(queries), k, probing(1));
        for (std::size_t q = 0; q < 10; ++q) CHECK(found.count(q) == std::min(k, n));
    }
    for (const std::size_t one_in : {2, 10, 200, 4000}) {
        Bitset allowed(n);
        for (std::size_t i = 0; i < n; ++i) allowed.assign(i, i % one_in == 0);
        const std::size_t eligible = allowed.count();
        const BitsetFilter filter(allowed);
        const auto found = lsh.search(view_of<float>(queries), 20, probing(40), std::span(&filter, 1));
        const auto exact = flat.search(view_of<float>(queries), 20, {}, std::span(&filter, 1));
        for (std::size_t q = 0; q < 10; ++q) {
            CHECK(found.count(q) == std::min<std::size_t>(20, eligible));
            for (const Id id : found.ids(q)) CHECK(id % static_cast<Id>(one_in) == 0);
        }
        if (eligible < 256) CHECK(recall(found, exact, 20) == 1);  // scanned
    }
    // A filter that is asked slot by slot.
    const PredicateFilter odd([](Slot slot) { return slot % 2 == 1; });
    Lsh<S>::scratch_type scratch;
    std::vector<Hit<float>> hits(2000);
    TopK<float> nearest(hits);
    lsh.index().search(view_of<float>(queries)[0], probing(4), odd, scratch, nearest);
    CHECK(nearest.size() == n / 2);
    for (const auto& hit : nearest.sorted()) CHECK(hit.slot % 2 == 1);
}

TEST_CASE("lsh: a radius gives rows within it, of the buckets looked at", "[lsh]") {
    const auto rows = clustered<float>(3000, 12, 1), queries = clustered<float>(10, 12, 2);
    const Keyed<Flat<Space32>> flat(Flat<Space32>(space_of<Space32>(rows)));
    const Keyed<Lsh<Space32>> lsh(Lsh<Space32>::build(space_of<Space32>(rows), tables_of(10, 8), 3));
    const double radius = 10;
    const auto exact = flat.range_search(view_of<float>(queries), radius), found = lsh.range_search(view_of<float>(queries), radius, probing(80));
    CHECK(found.ids.size() > exact.ids.size() / 2);
    for (std::size_t q = 0; q < 10; ++q) {
        std::map<Id, float> all;
        for (std::size_t i = exact.offsets[q]; i < exact.offsets[q + 1]; ++i) all[exact.ids[i]] = exact.distances[i];
        for (std::size_t i = found.offsets[q]; i < found.offsets[q + 1]; ++i) CHECK(all.at(found.ids[i]) == found.distances[i]);
    }
}

TEST_CASE("lsh: a budget of candidates is kept to a bucket, and tables that found a row are known", "[lsh]") {
    const auto rows = clustered<float>(4000, 12, 1), queries = clustered<float>(10, 12, 2);
    const Keyed<Lsh<Space32>> lsh(Lsh<Space32>::build(space_of<Space32>(rows), tables_of(8, 7), 3));
    std::size_t largest = 0;
    lsh.index().for_each_bucket(view_of<float>(queries)[0], 8 * 128, *std::make_unique<Lsh<Space32>::scratch_type>(), [&](std::size_t, const Slot*, std::size_t count, bool) {
        largest = std::max(largest, count);
        return true;
    });
    const auto all = lsh.search(view_of<float>(queries), 5, probing(200)), some = lsh.search(view_of<float>(queries), 5, probing(200, 300));
    CHECK(some.stats.distances < all.stats.distances);
    CHECK(some.stats.distances <= 10 * (300 + largest));
    CHECK(some.stats.lists < all.stats.lists);
    CHECK(all.stats.lists == 10 * 200);
    for (std::size_t q = 0; q < 10; ++q) {
        std::vector<Slot> slots(all.ids(q).begin(), all.ids(q).end());
        const auto tables = lsh.index().tables_with(view_of<float>(queries)[q], slots, probing(200));
        for (const auto count : tables) {
            CHECK(count >= 1);
            CHECK(count <= 8);
        }
        CHECK(tables[0] >= 2);  // the nearest
    }
}

TEST_CASE("lsh: rows that came later are found as if they had always been there", "[lsh]") {
    using S = Space32;
    const std::size_t n = 4000, d = 12;
    const auto rows = clustered<float>(n, d, 1), queries = clustered<float>(30, d, 2);
    auto params = tables_of(6, 7, "hyperplane");
    params.centre = false;  // else the mean is that of the rows there were
    const auto view = view_of<float>(rows);
    const Keyed<Lsh<S>> whole(Lsh<S>::build(space_of<S>(rows), params, 3));
    Keyed<Lsh<S>> grown(Lsh<S>::build(S(Rows<float>::copy(view.slice(0, 1500))), params, 3));
    std::size_t chained = 0;
    for (std::size_t at = 1500; at < n; at += 100) {
        grown.add(view.slice(at, 100));
        chained = std::max(chained, grown.index().buckets().chained());
    }
    CHECK(chained > 900);
    CHECK(grown.index().buckets().chained() <= std::max<std::size_t>(1024, n / 4));  // sorted in on the way
    const auto expected = whole.search(view_of<float>(queries), 10, probing(60)), found = grown.search(view_of<float>(queries), 10, probing(60));
    CHECK(identical_results(expected, found));
    CHECK(expected.stats == found.stats);
}

TEST_CASE("lsh: churn leaves nothing behind", "[lsh]") {
    using S = SpaceBytes;
    const std::size_t n = 3000, d = 16;
    const auto rows = clustered<std::uint8_t>(n, d, 1), queries = clustered<std::uint8_t>(30, d, 2);
    const auto view = view_of<std::uint8_t>(rows);
    auto params = tables_of(6, 7, "hyperplane");
    params.centre = false;
    Keyed<Lsh<S>> index(Lsh<S>::build(S(Rows<std::uint8_t>::copy(view)), params, 3));
    const auto before = index.search(view_of<std::uint8_t>(queries), 10, probing(60));
    const Random random(4);
    std::vector<Id> ids(50);
    for (std::uint64_t round = 0; round < 300; ++round) {
        std::set<Id> some;
        for (std::uint64_t i = 0; some.size() < ids.size(); ++i) some.insert(static_cast<Id>(random.below(round * 1000 + i, n)));
        ids.assign(some.begin(), some.end());
        std::vector<std::uint8_t> again;
        for (const Id id : ids) again.insert(again.end(), view.row(static_cast<Slot>(id)), view.row(static_cast<Slot>(id)) + d);
        if (round % 2 == 0) index.remove(ids);
        index.add({again.data(), ids.size(), d}, ids);
    }
    CHECK(index.size() == n);
    CHECK(index.slots() <= n + n / 2);
    CHECK_NOTHROW(index.index().validate("changed"));
    const auto after = index.search(view_of<std::uint8_t>(queries), 10, probing(60));
    CHECK(identical_results(before, after));
    CHECK(before.stats.distances == after.stats.distances);
    index.compact();
    CHECK(index.slots() == n);
    CHECK(identical_results(before, index.search(view_of<std::uint8_t>(queries), 10, probing(60))));
}

TEST_CASE("lsh: from nothing to many rows: functions are chosen again as rows become more", "[lsh]") {
    using S = Space32;
    const auto rows = clustered<float>(6000, 12, 1), queries = clustered<float>(20, 12, 2);
    const auto view = view_of<float>(rows);
    Keyed<Lsh<S>> index(Lsh<S>::build(S(Rows<float>(12)), tables_of(8, 0), 3));
    CHECK(index.search(view_of<float>(queries), 3).count(0) == 0);
    for (std::size_t at = 0, step = 1; at < 6000; at += step, step = std::min<std::size_t>(2 * step, 6000 - at)) index.add(view.slice(at, step));
    const Keyed<Flat<S>> flat(Flat<S>(space_of<S>(rows)));
    const auto found = index.search(view_of<float>(queries), 10), exact = flat.search(view_of<float>(queries), 10);
    CHECK(recall(found, exact, 10) > 0.9);
    CHECK(found.stats.distances < 20 * 6000 / 2);
    CHECK(index.index().functions().hash().key_bits() >= 6);
}

TEST_CASE("lsh: the recall that was asked for is there on other queries, and theory agrees with what was counted", "[lsh][quality]") {
    const auto check = [](auto space, const char* family, double target) {
        using S = decltype(space);
        using T = typename S::element_type;
        CAPTURE(S::type_label(), family);
        const auto rows = clustered<T>(6000, 20, 1, 40), queries = clustered<T>(300, 20, 2, 40);
        LshParams params = tables_of(8, 8, family);
        params.target_recall = static_cast<float>(target);
        ThreadPool pool(2);
        const Keyed<Lsh<S>> lsh(Lsh<S>::build(space_of<S>(rows), params, 3, pool));
        const Keyed<Flat<S>> flat(Flat<S>(space_of<S>(rows)));
        const auto found = lsh.search(view_of<T>(queries), 10), exact = flat.search(view_of<T>(queries), 10);
        CHECK(recall(found, exact, 10) >= target - 0.01);
        std::map<std::string, double> facts;
        for (const auto& [name, value] : lsh.index().describe())
            if (const auto* number = std::get_if<double>(&value)) facts[name] = *number;
        CHECK(facts.at("recall_measured") >= target);
        CHECK(facts.at("recall_error") > 0);
        CHECK(std::abs(facts.at("own_buckets_recall_measured") - facts.at("own_buckets_recall_predicted")) < 0.06);
        const Keyed<Lsh<S>> alone(Lsh<S>::build(space_of<S>(rows), params, 3));
        CHECK(alone.to_bytes() == lsh.to_bytes());
    };
    check(Space32(Rows<float>(1)), "hyperplane", 0.9);
    check(Space32(Rows<float>(1)), "p_stable", 0.8);
    check(Space32(Rows<float>(1)), "cross_polytope", 0.95);
    check(SpaceHamming(Rows<Bits8>(1)), "bit_sampling", 0.9);
    check(SpaceJaccard(Rows<Bits8>(1)), "minhash", 0.9);
}

TEST_CASE("lsh: tables and bits that nobody says are chosen for the recall, and again for more rows", "[lsh][quality]") {
    const auto check = [](auto space, const char* family, double target) {
        using S = decltype(space);
        using T = typename S::element_type;
        CAPTURE(S::type_label(), family, target);
        const auto rows = clustered<T>(8000, 20, 1, 40), queries = clustered<T>(300, 20, 2, 40);
        LshParams params;
        params.family = family;
        params.target_recall = static_cast<float>(target);
        ThreadPool pool(2);
        const Keyed<Lsh<S>> lsh(Lsh<S>::build(space_of<S>(rows), params, 3, pool)), alone(Lsh<S>::build(space_of<S>(rows), params, 3));
        CHECK(alone.to_bytes() == lsh.to_bytes());
        const Keyed<Flat<S>> flat(Flat<S>(space_of<S>(rows)));
        const auto found = lsh.search(view_of<T>(queries), 10), exact = flat.search(view_of<T>(queries), 10);
        CHECK(recall(found, exact, 10) >= target - 0.02);
        CHECK(lsh.index().params().tables >= 8);
        CHECK(lsh.index().params().bits == 0);
        // What was chosen looks at fewer rows than what everybody gets would.
        params.tables = 16;
        params.bits = static_cast<std::uint32_t>(LshFunctions<S>::usual_bits(8000));
        const Keyed<Lsh<S>> usual(Lsh<S>::build(space_of<S>(rows), params, 3));
        CHECK(static_cast<double>(found.stats.distances) < 1.3 * static_cast<double>(usual.search(view_of<T>(queries), 10).stats.distances));
        return lsh.index().params().tables;
    };
    const auto few = check(Space32(Rows<float>(1)), "cross_polytope", 0.5), many = check(Space32(Rows<float>(1)), "cross_polytope", 0.97);
    CHECK(few <= many);
    check(Space32(Rows<float>(1)), "hyperplane", 0.9);
    check(SpaceHamming(Rows<Bits8>(1)), "bit_sampling", 0.9);
    check(SpaceJaccard(Rows<Bits8>(1)), "minhash", 0.8);

    using S = Space32;
    const auto rows = clustered<float>(6000, 20, 1, 40), queries = clustered<float>(200, 20, 2, 40);
    const auto view = view_of<float>(rows);
    LshParams params;
    params.target_recall = 0.9f;
    Keyed<Lsh<S>> grown(Lsh<S>::build(S(Rows<float>::copy(view.slice(0, 40))), params, 3));
    const auto bytes = grown.to_bytes();
    grown = Keyed<Lsh<S>>::load(SectionReader(std::span(bytes)));  // which knows that tables were not said
    grown.add(view.slice(40, 5960));
    const Keyed<Lsh<S>> whole(Lsh<S>::build(space_of<S>(rows), params, 3));
    CHECK(grown.index().params() == whole.index().params());
    CHECK(grown.index().functions().shape() == whole.index().functions().shape());
    CHECK(identical_results(grown.search(view_of<float>(queries), 10), whole.search(view_of<float>(queries), 10)));
}

TEST_CASE("lsh: a file gives back the index, whatever was chained or vacant when it was written", "[lsh]") {
    using S = Space32;
    const auto rows = clustered<float>(3000, 12, 1), queries = clustered<float>(30, 12, 2);
    const auto view = view_of<float>(rows);
    Keyed<Lsh<S>> index(Lsh<S>::build(S(Rows<float>::copy(view.slice(0, 2500))), tables_of(6, 9), 3));
    const TempDir directory;
    const auto check = [&](std::string_view state) {
        CAPTURE(state);
        const auto before = index.search(view_of<float>(queries), 10, probing(50));
        CHECK_NOTHROW(index.index().validate("here"));
        const auto bytes = index.to_bytes();
        write_bytes(directory / "lsh.kith", bytes);
        for (const bool mmap : {false, true}) {
            auto again = Keyed<Lsh<S>>::load(SectionReader(directory / "lsh.kith", {.mmap = mmap}));
            CHECK(identical_results(before, again.search(view_of<float>(queries), 10, probing(50))));
            CHECK_NOTHROW(again.index().validate("again"));
            CHECK(again.to_bytes() == index.to_bytes());
            again.add(view.slice(2900, 100));
            again.remove(std::vector<Id>{7});
            CHECK(again.size() == index.size() + 99);
            CHECK(again.search(view.slice(2950, 1), 1, probing(6)).distances(0)[0] == 0);
        }
    };
    check("built");
    index.add(view.slice(2500, 300));
    check("chained");
    std::vector<Id> gone;
    for (Id id = 0; id < 400; ++id) gone.push_back(7 * id + 1);
    index.remove(gone);
    check("chained and vacant");
    index.compact();
    check("compact");
}

TEST_CASE("lsh: work that is stopped leaves what there was, in memory and in files", "[lsh]") {
    using S = Space32;
    const auto rows = clustered<float>(2000, 12, 1), queries = clustered<float>(20, 12, 2);
    const auto view = view_of<float>(rows);
    const auto stop_in = [](std::string phase) {
        return Progress([phase = std::move(phase)](std::string_view now, std::size_t, std::size_t) { return now != phase; });
    };
    for (const char* phase : {"hash", "calibrate", "truth", "choose"})
        for (const std::size_t before : {0, 300}) {  // 2000 rows are more than four times as many: functions are chosen again
            CAPTURE(phase, before);
            auto params = tables_of(4, 0);
            params.target_recall = 0.8f;
            Keyed<Lsh<S>> index(Lsh<S>::build(S(Rows<float>::copy(view.slice(0, before))), params, 3));
            const auto expected = index.search(view_of<float>(queries), 5);
            const auto facts = index.index().describe();
            check_error(ErrorCode::cancelled, {}, [&] { index.add(view.slice(before, 2000 - before), {}, NotFinite::reject, inline_executor(), stop_in(phase)); });
            CHECK(index.size() == before);
            CHECK(identical_results(expected, index.search(view_of<float>(queries), 5)));
            CHECK(index.index().describe() == facts);
            CHECK_NOTHROW(index.index().validate("stopped"));
            const auto bytes = index.to_bytes();
            auto again = Keyed<Lsh<S>>::load(SectionReader(std::span(bytes)));
            CHECK_NOTHROW(again.index().validate("again"));
            for (auto* one : {&index, &again}) {
                one->add(view.slice(before, 2000 - before));
                CHECK(one->size() == 2000);
                CHECK_NOTHROW(one->index().validate("after"));
                CHECK(one->search(view.slice(1500, 1), 1).distances(0)[0] == 0);
            }
        }
}

TEST_CASE("lsh: too few rows in the buckets asked for: first the query's own buckets in other tables", "[lsh]") {
    const auto rows = clustered<float>(4000, 12, 1), queries = clustered<float>(40, 12, 2);
    const Keyed<Flat<Space32>> flat(Flat<Space32>(space_of<Space32>(rows)));
    const Keyed<Lsh<Space32>> lsh(Lsh<Space32>::build(space_of<Space32>(rows), tables_of(16, 11), 3));
    const auto exact = flat.search(view_of<float>(queries), 10);
    CHECK(recall(lsh.search(view_of<float>(queries), 10, probing(1)), exact, 10) > 0.4);
    const auto one = lsh.search(view_of<float>(queries), 1, probing(16, 1));  // one row is enough: not a bucket more than the first that has any
    for (std::size_t q = 0; q < 40; ++q) CHECK(one.count(q) == 1);
    CHECK(one.stats.lists <= 40 * 3);
}

TEST_CASE("lsh: hostile files are refused, or searched without harm", "[lsh]") {
    using S = Space32;
    const auto rows = clustered<float>(300, 8, 1), queries = clustered<float>(5, 8, 2);
    const Keyed<Lsh<S>> index(Lsh<S>::build(space_of<S>(rows), tables_of(2, 5), 3));
    const auto good = index.to_bytes();
    const auto with = [&](std::string_view section, std::size_t at, auto value) {
        auto bytes = good;
        const SectionReader reader{std::span<const std::byte>(good)};
        std::memcpy(bytes.data() + reader.require(section).offset + at * sizeof(value), &value, sizeof(value));
        return bytes;
    };
    const auto load = [](const std::vector<std::byte>& bytes) {
        const auto kept = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), kept->begin());
        return Keyed<Lsh<S>>::load(SectionReader(std::as_const(*kept).span(), "hostile", kept, Checksums::skip));
    };
    for (const std::uint64_t bits : {0, 4, 6, 31}) check_error(ErrorCode::corrupt, {"lsh"}, [&] { load(with("lsh", 2, bits)); });
    check_error(ErrorCode::corrupt, {"lsh"}, [&] { load(with("lsh", 1, std::uint64_t{0})); });
    check_error(ErrorCode::corrupt, {"lsh_functions"}, [&] { load(with("lsh_functions", 0, std::uint64_t{65})); });
    check_error(ErrorCode::corrupt, {"lsh_scales"}, [&] { load(with("lsh_scales", 0, -1.0f)); });
    for (const std::uint32_t wrong : {0u, 150u, 301u, 0xFFFFFFFFu})
        for (const char* section : {"lsh_offsets", "lsh_rows"})
            for (const std::size_t at : {0, 7, 31}) {
                auto loaded = load(with(section, at, wrong));
                std::vector<std::byte> written;
                for (const std::uint32_t probes : {1u, 20u, 1000u}) CHECK(loaded.search(view_of<float>(queries), 300, probing(probes)).count(0) == 300);
                loaded.add(view_of<float>(queries));
                loaded.remove(std::vector<Id>{5, 9});
                CHECK_NOTHROW(written = loaded.to_bytes());
                loaded.compact();
                CHECK(loaded.search(view_of<float>(queries), 5, probing(4)).count(0) == 5);
            }
    check_error(ErrorCode::corrupt, {"lsh_rows"}, [&] { load(with("lsh_rows", 3, std::uint32_t{300})).index().validate("hostile"); });
    check_error(ErrorCode::corrupt, {"lsh_offsets"}, [&] { load(with("lsh_offsets", 5, std::uint32_t{299})).index().validate("hostile"); });
    const auto twice = [&] {  // the slot of the first place in the second, too
        const SectionReader reader{std::span<const std::byte>(good)};
        return with("lsh_rows", 1, reader.section<std::uint32_t>("lsh_rows")[0]);
    };
    check_error(ErrorCode::corrupt, {"lsh_rows", "once"}, [&] { load(twice()).index().validate("hostile"); });
}

TEST_CASE("lsh: what makes no index is refused by name", "[lsh]") {
    const auto rows = clustered<float>(50, 12, 1);
    const auto build = [&](LshParams params) { return Lsh<Space32>::build(space_of<Space32>(rows), params); };
    check_error(ErrorCode::invalid_argument, {"'family'", "l2/f32", "cross_polytope, hyperplane, p_stable", "'minhash'"}, [&] { build(tables_of(2, 4, "minhash")); });
    check_error(ErrorCode::invalid_argument, {"'family'", "''"}, [&] { build(tables_of(2, 4, "")); });
    LshParams params = tables_of(2, 0);
    params.hashes = 20;
    check_error(ErrorCode::invalid_argument, {"'hashes'", "20", "64 bits", "at most 12"}, [&] { build(params); });
    const auto bits = clustered<Bits8>(50, 4, 1);
    check_error(ErrorCode::invalid_argument, {"'family'", "jaccard/b1", "minhash"}, [&] { Lsh<SpaceJaccard>::build(space_of<SpaceJaccard>(bits), tables_of(2, 4, "hyperplane")); });
    // All rows alike: one bucket, and all that there is.
    const Vectors same = Vectors::fill(ElementType::f32, 400, 12, [](std::size_t) { return 3.0; });
    for (const char* family : {"cross_polytope", "hyperplane", "p_stable"}) {
        const Keyed<Lsh<Space32>> index(Lsh<Space32>::build(space_of<Space32>(same), tables_of(3, 0, family)));
        const auto found = index.search(view_of<float>(same).slice(0, 1), 5);
        CHECK(std::ranges::equal(found.ids(0), std::vector<Id>{0, 1, 2, 3, 4}));
    }
}
