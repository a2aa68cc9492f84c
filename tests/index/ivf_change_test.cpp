// SPDX-License-Identifier: Apache-2.0
//
// Changing an IVF: rows come, are replaced and go, held against a dictionary; lists are compacted and put right; files; codes refined with exact rows; spaces that want their runs
// aligned, and such whose scorers depend on the list.
#include <map>
#include <set>
#include <vector>

#include "index/ivf_support.hpp"
#include "kith/index/refine.hpp"

namespace {

using namespace test;  // NOLINT

template <class I>
I build(const Vectors& rows, const IvfParams& params = {}, Executor& executor = inline_executor(), std::uint64_t seed = 1) {
    using S = typename I::space_type;
    return I::build(S(Rows<typename S::element_type>::borrow(view_of<typename S::element_type>(rows))), params, seed, executor);
}

template <class S>
Ivf<S> build_over(const Vectors& rows, const IvfParams& params = {}, Executor& executor = inline_executor(), std::uint64_t seed = 1) {
    return Ivf<S>::build(space_of<S>(rows), params, seed, executor);
}

/// Whether each row is in the list of its nearest centroid, as far as floats can tell.
template <class S>
bool all_at_home(const Ivf<S>& index) {
    std::vector<std::uint32_t> nearest(index.space().size());
    assign_lists(index.centroids(), SpaceFloats<S>(index.space()), std::is_same_v<typename S::metric_type, Cosine>, nearest, {}, inline_executor(), {});
    bool home = true;
    for (Slot slot = 0; slot < nearest.size(); ++slot)
        if (!index.is_vacant(slot)) home = home && index.lists().list_of(slot) == nearest[slot];
    return home;
}

/// The rows with these ids, as an index that knows no lists.
template <class I>
Results exact_search(const std::map<Id, std::size_t>& model, const Vectors& pool, const Vectors& queries, std::size_t k) {
    using S = typename I::space_type;
    using T = typename S::element_type;
    Rows<T> rows(pool.cols());
    std::vector<Id> ids;
    for (const auto& [id, row] : model) {
        rows.append(view_of<T>(pool)[row]);
        ids.push_back(id);
    }
    return Keyed(Flat<S>(S(std::move(rows))), ids).search(view_of<typename S::query_type>(queries), k);
}

/// Random changes of an index of type I, checked against a dictionary; check(keyed) besides.
template <class I, class Check>
void churn(std::size_t steps, const typename I::search_params& all, Check check) {
    using S = typename I::space_type;
    using T = typename S::element_type;
    using Q = typename S::query_type;
    constexpr std::size_t d = 12, start = 200;
    const auto pool = rows_for<S>(6000, d, 21);
    const auto queries = queries_for<S>(12, d, 22);
    auto some = Vectors(element_traits<T>::type, start, d);
    for (std::size_t i = 0; i < start * d; ++i) some.set(i / d, i % d, pool.value(i / d, i % d));
    Keyed keyed(build<I>(some, {.nlist = 8}));
    std::map<Id, std::size_t> model;
    for (std::size_t i = 0; i < start; ++i) model.emplace(static_cast<Id>(i), i);
    const Random random(23);
    std::uint64_t draws = 0;
    const auto below = [&](std::size_t bound) { return random.below(draws++, bound); };
    const auto some_id = [&] { return std::next(model.begin(), static_cast<std::ptrdiff_t>(below(model.size())))->first; };
    std::size_t next = start;
    for (std::size_t step = 0; step < steps; ++step) {
        const auto action = below(10);
        if (action < 5) {
            const std::size_t count = std::min(1 + below(action == 0 ? 80 : 5), pool.rows() - next);
            std::set<Id> ids;
            while (ids.size() < count) ids.insert(below(3) == 0 ? some_id() : static_cast<Id>(below(1000000)));
            const std::vector<Id> list(ids.begin(), ids.end());
            keyed.add(view_of<T>(pool).slice(next, count), list);
            for (std::size_t i = 0; i < count; ++i) model[list[i]] = next + i;
            next += count;
        } else if (action < 8) {
            std::set<Id> ids;
            for (std::size_t i = 0; i < 1 + below(12); ++i) ids.insert(some_id());
            keyed.remove(std::vector<Id>(ids.begin(), ids.end()));
            for (const Id id : ids) model.erase(id);
        } else if (action == 8) {
            keyed.compact();
            REQUIRE(keyed.slots() == compact_slots(keyed.index()));
        } else {
            keyed.rebalance();
        }
        REQUIRE(keyed.size() == model.size());
        if (step % 10 != 9) continue;
        CAPTURE(step);
        for (const auto& [id, row] : model) REQUIRE(keyed.contains(id));
        const auto found = keyed.search(view_of<Q>(queries), 10, all);
        check(keyed, found, exact_search<I>(model, pool, queries, 10));
        const auto bytes = keyed.to_bytes();
        auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), buffer->begin());
        const auto loaded = Keyed<I>::load(SectionReader(buffer->span(), "m", buffer));
        REQUIRE_NOTHROW(loaded.index().validate("m"));
        REQUIRE(same(loaded.search(view_of<Q>(queries), 10, all), found));
        REQUIRE(loaded.to_bytes() == bytes);
    }
}

}  // namespace

TEST_CASE("changes agree with a dictionary", "[ivf]") {
    const auto run = [](auto space) {
        using S = typename decltype(space)::type;
        churn<Ivf<S>>(120, everywhere, [](const auto& keyed, const Results& found, const Results& expected) {
            REQUIRE(same(found, expected));
            REQUIRE(all_at_home(keyed.index()));
            const auto& lists = keyed.index().lists();
            REQUIRE(lists.slots() == keyed.index().space().size());
        });
    };
    run(std::type_identity<DenseSpace<L2, float>>{});
    run(std::type_identity<DenseSpace<InnerProduct, float>>{});
    run(std::type_identity<DenseSpace<Cosine, Half>>{});
    run(std::type_identity<DenseSpace<L2, std::uint8_t>>{});
    run(std::type_identity<DenseSpace<Hamming, Bits8>>{});
}

TEST_CASE("codes refined with exact rows: both stay slot for slot", "[ivf]") {
    const auto run = [](auto index) {
        using I = typename decltype(index)::type;
        RefineParams<IvfSearchParams> all;
        all.nprobe = 1 << 20;
        all.refine = 1000;
        churn<I>(80, all, [](const auto& keyed, const Results& found, const Results& expected) {
            REQUIRE(same(found, expected));
            REQUIRE(keyed.index().space().size() == keyed.index().inner().space().size());
        });
    };
    run(std::type_identity<Refine<Ivf<Sq8Space<L2, float>>>>{});
    run(std::type_identity<Refine<Ivf<Sq8Space<InnerProduct, float>>>>{});
    run(std::type_identity<Refine<Ivf<Sq8Space<Cosine, Half>>>>{});
}

TEST_CASE("a refined batch finds what its queries find, at the same cost", "[ivf]") {
    const auto run = []<class S>(S*) {
        using I = Refine<Ivf<S>>;
        using T = typename S::element_type;
        const auto rows = rows_for<S>(1200, 16, 43);
        const auto queries = clustered<float>(300, 16, 44);
        Keyed keyed(build<I>(rows, {.nlist = 12}));
        keyed.remove(std::vector<Id>{1, 2, 3});
        keyed.add(view_of<T>(rows).slice(0, 40));
        Bitset half(keyed.slots());
        for (Slot slot = 0; slot < half.size(); slot += 2) half.set(slot);
        const std::vector<std::vector<BitsetFilter>> filters{{}, {BitsetFilter(half.view())}, std::vector<BitsetFilter>(300, BitsetFilter(half.view()))};
        for (const auto& some : filters)
            for (const std::size_t k : {1, 10, 2000}) {
                CAPTURE(some.size(), k);
                RefineParams<IvfSearchParams> params;
                params.nprobe = 3;
                const auto batch = keyed.search(view_of<float>(queries), k, params, some);
                SearchStats stats;
                for (std::size_t q = 0; q < 300; q += k > 1000 ? 100 : 1) {
                    const auto one = keyed.search(view_of<float>(queries).slice(q, 1), k, params, some.size() < 2 ? some : std::vector{some[q]});
                    REQUIRE(std::ranges::equal(one.ids(0), batch.ids(q)));
                    REQUIRE(std::ranges::equal(one.distances(0), batch.distances(q)));
                    stats += one.stats;
                }
                if (k < 1000) CHECK(stats == batch.stats);
            }
    };
    run(static_cast<Sq8Space<L2, float>*>(nullptr));
    run(static_cast<Sq8Space<InnerProduct, float>*>(nullptr));
    run(static_cast<Sq8Space<Cosine, Half>*>(nullptr));
}

TEST_CASE("ids are the caller's row numbers, or the ids given with them", "[ivf]") {
    const auto check = []<class I>(I*) {
        using S = typename I::space_type;
        using T = typename S::element_type;
        const auto rows = Vectors::normal(element_traits<T>::type, 300, 8, 31);
        const auto queries = Vectors::normal(ElementType::f32, 20, 8, 32);
        typename I::search_params all;
        all.nprobe = 1000;
        std::vector<Id> ids(300);
        for (std::size_t i = 0; i < 300; ++i) ids[i] = static_cast<Id>((i * 77 + 5) % 300 * 11);
        const Keyed numbered(build<I>(rows));
        const Keyed named(build<I>(rows), ids);
        const auto a = numbered.search(view_of<float>(queries), 300, all), b = named.search(view_of<float>(queries), 300, all);
        const auto expected = Keyed(Flat<S>(S(Rows<T>::borrow(view_of<T>(rows))))).search(view_of<float>(queries), 1);
        for (std::size_t q = 0; q < 20; ++q) {
            CHECK(a.ids(q)[0] == expected.ids(q)[0]);
            for (std::size_t i = 0; i < 300; ++i) CHECK(b.ids(q)[i] == ids[static_cast<std::size_t>(a.ids(q)[i])]);
        }
        std::vector<T> row(8);
        for (std::size_t i = 0; i < 300; ++i) {
            const Slot slot = named.ids().slot(ids[i]);
            if constexpr (requires { named.index().space().rows(); })
                CHECK(std::ranges::equal(named.index().space().rows().view()[slot], view_of<T>(rows)[i]));
        }
        check_error(ErrorCode::dimension_mismatch, {"300", "299"}, [&] { Keyed(build<I>(rows), std::span(ids).first(299)); });
        check_error(ErrorCode::dimension_mismatch, {"300", "0"}, [&] { Keyed(build<I>(rows), std::span(ids).first(0)); });
        ids[7] = ids[8];
        check_error(ErrorCode::already_exists, {std::to_string(ids[7])}, [&] { Keyed(build<I>(rows), ids); });
        I bare = build<I>(rows);
        CHECK(bare.take_order().size() == 300);
        CHECK(bare.take_order().empty());
    };
    check(static_cast<Ivf<DenseSpace<L2, float>>*>(nullptr));
    check(static_cast<Ivf<DenseSpace<Cosine, Half>>*>(nullptr));
    check(static_cast<Refine<Ivf<Sq8Space<Cosine, float>>>*>(nullptr));
}

TEST_CASE("what is cancelled changes nothing", "[ivf]") {
    using I = Ivf<DenseSpace<L2, float>>;
    const auto rows = rows_for<DenseSpace<L2, float>>(500, 8, 33);
    for (const std::size_t after : {0, 1, 3}) {
        std::size_t left = after;
        const Progress stop([&](std::string_view, std::size_t, std::size_t) { return left-- > 0; });
        check_error(ErrorCode::cancelled, {"cancelled"}, [&] {
            I::build(space_of<DenseSpace<L2, float>>(rows), {.nlist = 9}, 1, inline_executor(), stop);
        });
    }
    Keyed keyed(build<I>(rows, {.nlist = 9}));
    const std::vector<Id> gone{1, 2, 3};
    keyed.remove(gone);
    const auto before = keyed.to_bytes();
    const Progress stop([](std::string_view, std::size_t, std::size_t) { return false; });
    check_error(ErrorCode::cancelled, {"assign"}, [&] { keyed.add(view_of<float>(rows), {}, NotFinite::reject, inline_executor(), stop); });
    check_error(ErrorCode::cancelled, {"assign"}, [&] { keyed.rebalance(inline_executor(), stop); });
    CHECK(keyed.to_bytes() == before);
    Keyed empty(I::build(space_of<DenseSpace<L2, float>>(rows_for<DenseSpace<L2, float>>(0, 8, 1)), {.nlist = 9}));
    check_error(ErrorCode::cancelled, {"train"}, [&] { empty.add(view_of<float>(rows), {}, NotFinite::reject, inline_executor(), stop); });
    CHECK(empty.size() == 0);
    CHECK(empty.slots() == 0);
    empty.add(view_of<float>(rows));
    CHECK(empty.size() == 500);
    std::vector<std::string> phases;
    const Progress watch([&](std::string_view phase, std::size_t, std::size_t) {
        if (phases.empty() || phases.back() != phase) phases.emplace_back(phase);
        return true;
    });
    I::build(space_of<DenseSpace<L2, float>>(rows), {.nlist = 9}, 1, inline_executor(), watch);
    CHECK(phases == std::vector<std::string>{"train", "assign"});
}

TEST_CASE("same rows and changes, same bytes, whatever the number of threads", "[ivf]") {
    ThreadPool two(2), five(5);
    const auto run = [&]<class S>(S*) {
        using T = typename S::element_type;
        const auto rows = rows_for<S>(900, 12, 34);
        const auto make = [&](Executor& executor, std::uint64_t seed) {
            Keyed keyed(build_over<S>(rows, {.nlist = 6}, executor, seed));
            keyed.add(view_of<T>(rows).slice(100, 500), {}, NotFinite::reject, executor);
            keyed.add(view_of<T>(rows).slice(0, 3), {}, NotFinite::reject, executor);
            keyed.remove(std::vector<Id>{5, 900, 1200}, executor);
            keyed.rebalance(executor);
            keyed.add(view_of<T>(rows).slice(700, 90), {}, NotFinite::reject, executor);
            return keyed.to_bytes();
        };
        const auto bytes = make(inline_executor(), 1);
        CHECK(make(two, 1) == bytes);
        CHECK(make(five, 1) == bytes);
        CHECK(make(five, 2) != bytes);
    };
    run(static_cast<DenseSpace<L2, float>*>(nullptr));
    run(static_cast<DenseSpace<InnerProduct, float>*>(nullptr));
    run(static_cast<DenseSpace<Hamming, Bits8>*>(nullptr));
    run(static_cast<Sq8Space<Cosine, float>*>(nullptr));
}

TEST_CASE("rebalancing splits what grew too large and dissolves what is left of others", "[ivf]") {
    using S = DenseSpace<L2, float>;
    const auto rows = clustered<float>(4000, 8, 35, 60);
    const auto queries = clustered<float>(40, 8, 36, 60);
    const Keyed exact(Flat<S>(space_of<S>(rows)));
    const auto truth = exact.search(view_of<float>(queries), 10);
    // Trained on few rows, grown a hundredfold: with nlist = 0 there are to be 63 lists.
    const auto first = clustered<float>(40, 8, 35, 60);
    Keyed grown(build_over<S>(first));
    REQUIRE(grown.index().lists().count() == 6);
    std::vector<Id> ids(3960);
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<Id>(40 + i);
    grown.add(view_of<float>(rows).slice(40, 3960), ids);
    const auto worst = [](const auto& keyed) {
        std::size_t most = 0;
        for (std::size_t list = 0; list < keyed.index().lists().count(); ++list) most = std::max(most, keyed.index().lists().size(list));
        return most;
    };
    const std::size_t before = worst(grown);
    grown.rebalance();
    CHECK(grown.index().lists().count() >= 40);
    CHECK(grown.index().lists().count() <= 120);
    CHECK(worst(grown) < before / 3);
    CHECK(all_at_home(grown.index()));
    CHECK(grown.slots() == 4000);
    CHECK(same(grown.search(view_of<float>(queries), 10, everywhere), truth));
    CHECK(recall(grown.search(view_of<float>(queries), 10, probe(8)), truth) >= 0.95);
    const auto bytes = grown.to_bytes();
    // Shrunk to a hundredth: hardly a list is left that is worth asking.
    std::vector<Id> gone;
    for (Id id = 0; id < 4000; ++id)
        if (id % 100 != 3) gone.push_back(id);
    grown.remove(gone);
    grown.rebalance();
    CHECK(grown.index().lists().count() <= 12);
    CHECK(grown.index().lists().count() >= 3);
    CHECK(grown.slots() == 40);
    CHECK(grown.search(view_of<float>(queries), 100, probe(1)).count(5) == 40);
    CHECK(grown.to_bytes() != bytes);
}

TEST_CASE("files that say what cannot be are refused or searched in peace", "[ivf]") {
    const TempDir dir;
    using S = DenseSpace<InnerProduct, float>;
    const auto rows = rows_for<S>(300, 8, 37);
    const auto queries = queries_for<S>(10, 8, 38);
    Keyed keyed(build_over<S>(rows, {.nlist = 7}));
    keyed.remove(std::vector<Id>{3, 4});
    keyed.add(view_of<float>(rows).slice(0, 40));
    keyed.save(dir / "a.kith");
    const auto found = keyed.search(view_of<float>(queries), 10, probe(2));
    for (const bool mmap : {true, false}) {
        auto loaded = Keyed<Ivf<S>>::load(SectionReader(dir / "a.kith", {.mmap = mmap}));
        const auto again = loaded.search(view_of<float>(queries), 10, probe(2));
        CHECK(same(again, found));
        CHECK(again.stats == found.stats);
        CHECK(loaded.index().params() == keyed.index().params());
        loaded.add(view_of<float>(rows).slice(0, 2));  // a mapped index becomes its own
        CHECK(loaded.size() == 340);
        loaded.rebalance();
        CHECK(loaded.size() == 340);
    }
    // Centroids that are no numbers, of the wrong shape, none at all.
    struct Wrong {
        std::vector<float> centroids;
        bool loads;
    };
    const std::size_t lists = 7, columns = 9;
    std::vector<float> good(keyed.index().centroids().data(), keyed.index().centroids().data() + lists * columns), nan = good, huge = good;
    for (std::size_t i = 0; i < nan.size(); i += 4) nan[i] = std::nanf("");
    for (float& x : huge) x = 3e38f;
    for (const auto& wrong : {Wrong{good, true}, Wrong{nan, true}, Wrong{huge, true}, Wrong{std::vector<float>(64), false}, Wrong{{}, false}}) {
        SectionWriter writer({.kind = "ivf", .space = "ip/f32", .count = keyed.slots(), .dim = 8});
        writer.add_rows("rows", keyed.index().space().rows().view());
        writer.add_text("params", "nlist=7");
        keyed.index().lists().save(writer);
        writer.add("ivf_centroids", std::span<const float>(wrong.centroids));
        const std::uint64_t state[] = {1, 2, 3, 4};
        writer.add_copy("ivf", std::span<const std::uint64_t>(state));
        IdMap ids = keyed.ids();
        ids.extend(keyed.slots());
        ids.save(writer);
        const auto bytes = writer.to_bytes();
        auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
        std::copy(bytes.begin(), bytes.end(), buffer->begin());
        const SectionReader reader(buffer->span(), "m", buffer);
        if (!wrong.loads) {
            check_error(ErrorCode::corrupt, {"ivf_"}, [&] { Keyed<Ivf<S>>::load(reader); });
            continue;
        }
        auto loaded = Keyed<Ivf<S>>::load(reader);
        CHECK(loaded.search(view_of<float>(queries), 500, probe(1)).count(0) == 338);
        CHECK(loaded.search(view_of<float>(queries).slice(0, 1), 500, probe(1)).count(0) == 338);
        loaded.add(view_of<float>(rows).slice(0, 50));
        loaded.remove(std::vector<Id>{0, 1, 2});
        loaded.rebalance();
        CHECK(loaded.search(view_of<float>(queries), 500, probe(1)).count(0) == 385);
        if (wrong.centroids[0] == good[0]) CHECK_NOTHROW(loaded.index().validate("m"));
    }
    auto bad = build_over<S>(rows, {.nlist = 7});
    SectionWriter writer({.kind = "ivf", .space = "ip/f32", .count = 300, .dim = 8});
    bad.space().save(writer);
    bad.lists().save(writer);
    writer.add("ivf_centroids", std::span<const float>(nan));
    const std::uint64_t state[] = {1, 2, 3, 4};
    writer.add_copy("ivf", std::span<const std::uint64_t>(state));
    const auto bytes = writer.to_bytes();
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    const auto loaded = Ivf<S>::load(SectionReader(buffer->span(), "m", buffer));
    check_error(ErrorCode::corrupt, {"ivf_centroids", "centroid 0"}, [&] { loaded.validate("m"); });
}

namespace {

/// A space that wants its runs to begin at multiples of 8, and whose scorer depends on the list: it adds the first coordinate of the list's centroid.
class Blocks : public DenseSpace<L2, float> {
    using Base = DenseSpace<L2, float>;

public:
    static constexpr std::size_t run_alignment = 8;

    using Base::Base;
    explicit Blocks(Base base) : Base(std::move(base)) {}
    Blocks reordered(std::span<const Slot> old_of, Executor& executor) const { return Blocks(Base::reordered(old_of, executor)); }

    class Local {
    public:
        using distance_type = float;
        Local(const Base::scorer_type& inner, float offset) : inner_(inner), offset_(offset) {}
        float operator()(Slot slot) const { return inner_(slot) + offset_; }
        void gather(std::span<const Slot> slots, float* out) const {
            for (std::size_t i = 0; i < slots.size(); ++i) out[i] = (*this)(slots[i]);
        }
        void run(std::size_t first, std::size_t count, float* out) const {
            for (std::size_t i = 0; i < count; ++i) out[i] = (*this)(static_cast<Slot>(first + i));
        }

    protected:
        Base::scorer_type inner_;
        float offset_;
    };
    class Bound : public Local {
    public:
        explicit Bound(const Base::scorer_type& inner) : Local(inner, 0) {}
        Local in_list(std::size_t, std::span<const float> centroid) const { return {inner_, 1000 * centroid[0]}; }
    };
    Bound scorer(std::span<const float> query) const { return Bound(Base::scorer(query)); }
};

}  // namespace

TEST_CASE("a space whose runs are aligned and whose scorers depend on the list", "[ivf]") {
    STATIC_REQUIRE(PartitionSpace<Blocks>);
    STATIC_REQUIRE(GrowableSpace<Blocks>);
    const auto rows = clustered<float>(500, 8, 41);
    const auto queries = clustered<float>(30, 8, 42);
    Keyed keyed(Ivf<Blocks>::build(Blocks(Rows<float>::copy(view_of<float>(rows))), {.nlist = 11}, 1));
    const auto check = [&] {
        const auto& index = keyed.index();
        for (std::size_t list = 0; list < index.lists().count(); ++list)
            index.lists().for_each_run(list, [](const Lists::Run& run) { CHECK(run.first % 8 == 0); });
        Bitset most = keyed.live_slots(), few(keyed.slots());
        for (Slot slot = 0; slot < most.size(); slot += 9) most.reset(slot);
        for (Slot slot = 0; slot < few.size(); slot += 40) few.set(slot);
        Bitset all(keyed.slots(), true);
        for (const Bitset* bits : {&all, &most, &few}) {
            const BitsetFilter filter(bits->view());
            const auto found = keyed.search(view_of<float>(queries), 10, everywhere, {&filter, 1});
            for (std::size_t q = 0; q < 30; ++q) {
                std::vector<std::pair<float, Id>> expected;
                for (Slot slot = 0; slot < keyed.slots(); ++slot) {
                    if (index.is_vacant(slot) || !bits->test(slot)) continue;
                    const float offset = 1000 * index.centroids().row(index.lists().list_of(slot))[0];
                    expected.emplace_back(static_cast<const DenseSpace<L2, float>&>(index.space()).scorer(view_of<float>(queries)[q])(slot) + offset, keyed.ids().id(slot));
                }
                std::sort(expected.begin(), expected.end());
                REQUIRE(found.count(q) == std::min<std::size_t>(10, expected.size()));
                for (std::size_t i = 0; i < found.count(q); ++i) CHECK(found.ids(q)[i] == expected[i].second);
            }
        }
    };
    CHECK(keyed.slots() > 500);
    CHECK(keyed.slots() % 8 == 0);
    CHECK(keyed.size() == 500);
    check();
    std::vector<Id> gone;
    for (Id id = 0; id < 500; id += 4) gone.push_back(id);
    keyed.remove(gone);
    keyed.add(view_of<float>(rows).slice(0, 60));
    check();
    keyed.compact();
    CHECK(keyed.slots() == keyed.index().compact_slots());
    CHECK(keyed.size() == 435);
    for (Id id = 0; id < 560; ++id) CHECK(keyed.contains(id) == (id >= 500 || id % 4 != 0));
    check();
    keyed.rebalance();
    CHECK(keyed.size() == 435);
    check();
    Keyed late(Ivf<Blocks>::build(Blocks(Rows<float>(8)), {.nlist = 11}, 1));
    late.add(view_of<float>(rows));
    CHECK(late.size() == 500);
    CHECK(late.slots() % 8 == 0);
    CHECK(late.index().lists().slots() == late.index().space().size());
}
