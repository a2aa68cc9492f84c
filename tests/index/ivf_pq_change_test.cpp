// SPDX-License-Identifier: Apache-2.0
//
// Changing an IVF-PQ: rows come, are replaced and go, with codes of their lists' residuals at any time; compacting and putting right; files, and such
// as nobody wrote; empty and odd rows.
#include <map>
#include <set>
#include <vector>

#include "index/ivf_pq_support.hpp"
#include "kith/index/refine.hpp"

namespace {

using namespace test;  // NOLINT

/// Random changes of an index of type I, held against a dictionary of id -> row of `pool`; check(keyed, model) now and then.
template <class I, class Check>
void churn(Keyed<I>& keyed, const Vectors& pool, std::size_t start, std::size_t steps, bool rebalance, Check check) {
    using T = typename I::space_type::element_type;
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
        } else if (rebalance) {
            keyed.rebalance();
        }
        REQUIRE(keyed.size() == model.size());
        if (step % 12 != 11) continue;
        CAPTURE(step);
        for (const auto& [id, row] : model) REQUIRE(keyed.contains(id));
        check(keyed, model);
    }
}

/// Rows whose slot does not hold what encoding them against their list gives.
template <class I>
std::size_t wrong_codes(const I& index, const IdMap& ids, const Vectors& pool, const std::map<Id, std::size_t>& model) {
    const auto& space = index.space();
    const std::size_t d = space.dim();
    std::vector<float> residual(d), rotated(d);
    std::vector<std::uint8_t> expected(space.codec().m()), codes(space.codec().m());
    std::size_t wrong = 0;
    for (const auto& [id, row] : model) {
        const Slot slot = ids.slot(id);
        const std::uint32_t list = index.lists().list_of(slot);
        wrong += space.list_of(slot) != list ? 1 : 0;
        double squares = 0;
        for (std::size_t i = 0; i < d; ++i) squares += pool.value(row, i) * pool.value(row, i);
        const auto scale = static_cast<float>(std::is_same_v<typename I::space_type::metric_type, Cosine> ? 1 / std::sqrt(squares) : 1);
        for (std::size_t i = 0; i < d; ++i) residual[i] = static_cast<float>(pool.value(row, i)) * scale - index.centroids().row(list)[i];
        space.codec().encode(residual.data(), expected.data());
        space.residuals().codes().read(slot, codes.data());
        wrong += codes != expected ? 1 : 0;
    }
    return wrong;
}

}  // namespace

TEST_CASE("changed rows have the codes of their lists' residuals", "[ivf_pq]") {
    for_each_ivf_pq([]<class I>(I*) {
        using S = typename I::space_type;
        const auto pool = rows_for<S>(3000, 12, 21);
        const auto queries = queries_for<S>(12, 12, 22);
        for (const std::uint32_t bits : {4u, 8u}) {
            CAPTURE(bits);
            const auto first = rows_for<S>(200, 12, 21);  // the pool's first
            Keyed keyed(build_pq<I>(first, {.nlist = 8, .m = 6, .bits = bits, .pq_sample = 1}));
            churn(keyed, pool, 200, 96, false, [&](const auto& now, const auto& model) {
                REQUIRE(wrong_codes(now.index(), now.ids(), pool, model) <= model.size() / 100);  // a centroid as near but for rounding
                const auto found = now.search(view_of<float>(queries), 10, everywhere);
                for (std::size_t q = 0; q < 12; ++q)
                    REQUIRE(is_scan(now, found, q, scan_codes(now, view_of<float>(queries)[q], [](Slot) { return true; }), 10));
                const auto loaded = reloaded(now);
                REQUIRE_NOTHROW(loaded.index().validate("m"));
                REQUIRE(same(loaded.search(view_of<float>(queries), 10, everywhere), found));
                REQUIRE(loaded.to_bytes() == now.to_bytes());
            });
        }
    });
}

TEST_CASE("codes refined with exact rows stay slot for slot", "[ivf_pq]") {
    using I = Refine<IvfPq<L2, float>>;
    using S = DenseSpace<L2, float>;
    const auto pool = clustered<float>(3000, 12, 24), first = clustered<float>(200, 12, 24), queries = clustered<float>(12, 12, 25);
    Keyed keyed(I::build(space_of<S>(first), {.nlist = 8, .m = 6, .bits = 4, .pq_sample = 4}));
    RefineParams<IvfSearchParams> all;
    all.nprobe = 1 << 20;
    all.refine = 1000;
    churn(keyed, pool, 200, 120, true, [&](const auto& now, const auto& model) {
        Rows<float> rows(12);
        std::vector<Id> ids;
        for (const auto& [id, row] : model) {
            rows.append(view_of<float>(pool)[row]);
            ids.push_back(id);
        }
        const auto found = now.search(view_of<float>(queries), 10, all);
        REQUIRE(same(found, Keyed(Flat<S>(S(std::move(rows))), ids).search(view_of<float>(queries), 10)));
        REQUIRE(now.index().space().size() == now.index().inner().space().size());
        REQUIRE(same(reloaded(now).search(view_of<float>(queries), 10, all), found));
        REQUIRE(wrong_codes(now.index().inner(), now.ids(), pool, model) <= model.size() / 50);  // also after lists were put right: exact rows are coded
    });
}

TEST_CASE("rebalancing keeps codes of lists that stay and little is lost of others", "[ivf_pq]") {
    for_each_ivf_pq([]<class I>(I*) {
        using S = typename I::space_type;
        using T = typename S::element_type;
        const auto rows = rows_for<S>(300, 16, 31), alike = rows_for<S>(900, 16, 32);
        const auto more = Vectors::fill(element_traits<T>::type, 900, 16, [&](std::size_t i) { return 5 + alike.value(i / 16, i % 16); });  // all go to few lists
        const auto queries = queries_for<S>(60, 16, 33);
        ThreadPool three(3);
        for (const std::uint32_t bits : {4u, 8u}) {
            const auto make = [&] {
                Keyed keyed(build_pq<I>(rows, {.nlist = 0, .m = 16, .bits = bits}));
                keyed.add(view_of<T>(more));
                return keyed;
            };
            Keyed keyed = make(), threaded = make();
            const auto read = [](const Keyed<I>& from, Id id) {
                std::vector<float> row(16);
                from.index().space().read_query(from.ids().slot(id), row);
                return row;
            };
            std::vector<std::vector<float>> before;
            for (Id id = 0; id < 1200; ++id) before.push_back(read(keyed, id));
            keyed.rebalance();
            threaded.rebalance(three);
            CHECK(keyed.to_bytes() == threaded.to_bytes());
            CHECK(keyed.index().lists().count() != 17);
            double change = 0, size = 0;
            std::size_t same_rows = 0;
            for (Id id = 0; id < 1200; ++id) {
                const auto row = read(keyed, id);
                same_rows += row == before[static_cast<std::size_t>(id)] ? 1 : 0;
                for (std::size_t i = 0; i < 16; ++i) {
                    const double off = static_cast<double>(row[i]) - static_cast<double>(before[static_cast<std::size_t>(id)][i]);
                    change += off * off;
                    size += static_cast<double>(row[i]) * static_cast<double>(row[i]);
                }
            }
            CAPTURE(bits, same_rows, change / size);
            CHECK(same_rows < 1200);
            CHECK(change < (bits == 8 ? 0.02 : 0.1) * size);
            const auto found = keyed.search(view_of<float>(queries), 10, everywhere);
            for (std::size_t q = 0; q < 60; ++q) CHECK(is_scan(keyed, found, q, scan_codes(keyed, view_of<float>(queries)[q], [](Slot) { return true; }), 10));
        }
    });
}

TEST_CASE("files: mapped or read, and such as nobody wrote", "[ivf_pq]") {
    for_each_ivf_pq([]<class I>(I*) {
        using S = typename I::space_type;
        using T = typename S::element_type;
        const auto rows = rows_for<S>(150, 8, 41), queries = queries_for<S>(6, 8, 42);
        const TempDir directory;
        for (const auto& params : {IvfPqParams{.nlist = 6, .m = 4, .bits = 4, .opq = true, .opq_iterations = 1}, IvfPqParams{.nlist = 6, .m = 3}}) {
            Keyed keyed(build_pq<I>(rows, params));
            keyed.remove(std::vector<Id>{3, 4, 5, 90});
            const auto expected = keyed.search(view_of<float>(queries), 20, probe(3));
            const auto path = directory.path() / "index";
            keyed.save(path);
            for (const bool mmap : {true, false}) {
                auto loaded = Keyed<I>::load(SectionReader(path, {.mmap = mmap}));
                CHECK(loaded.index().params() == params);
                CHECK(same(loaded.search(view_of<float>(queries), 20, probe(3)), expected));
                loaded.add(view_of<T>(rows).slice(3, 3));  // copies what is mapped
                CHECK(loaded.size() == 149);
                CHECK(loaded.search(view_of<float>(queries), 200, everywhere).count(0) == 149);
            }
            const auto bytes = keyed.to_bytes();
            const Random random(43);
            std::size_t refused = 0;
            for (std::uint64_t trial = 0; trial < 400; ++trial) {
                auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
                std::copy(bytes.begin(), bytes.end(), buffer->begin());
                for (std::uint64_t flips = 0; flips <= trial % 3; ++flips)
                    (*buffer)[random.below(8 * trial + flips, bytes.size())] ^= static_cast<std::byte>(1 + random.below(8 * trial + 4 + flips, 255));
                try {
                    const auto loaded = Keyed<I>::load(SectionReader(buffer->span(), "m", buffer, Checksums::skip));
                    loaded.index().validate("m");
                    CHECK(loaded.search(view_of<float>(queries), 20, probe(3)).count(0) == std::min<std::size_t>(20, loaded.size()));
                } catch (const Error&) {
                    ++refused;
                }
            }
            CHECK(refused > 0);
            CHECK(refused < 400);
        }
    });
}

TEST_CASE("parameters of a file must be those of its codec", "[ivf_pq]") {
    using I = IvfPq<L2, float>;
    const auto rows = clustered<float>(60, 8, 44);
    const I index = build_pq<I>(rows, {.nlist = 3, .m = 4, .bits = 4});
    FileInfo info;
    info.kind = "ivf_pq";
    info.space = index.space().file_label();
    info.count = index.space().size();
    info.dim = 8;
    SectionWriter writer(info);
    index.save(writer);
    const auto bytes = writer.to_bytes();
    auto buffer = std::make_shared<AlignedBuffer<std::byte>>(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer->begin());
    check_error(ErrorCode::corrupt, {"params"}, [&] { I::load(SectionReader(buffer->span(), "m", buffer), {.nlist = 3, .m = 2, .bits = 4}); });
    check_error(ErrorCode::invalid_argument, {"m between 1 and 8", "9"}, [&] { build_pq<I>(rows, {.m = 9}); });
    check_error(ErrorCode::invalid_argument, {"4 or 8", "5"}, [&] { build_pq<I>(rows, {.m = 4, .bits = 5}); });
}

TEST_CASE("no rows, and then the first ones train", "[ivf_pq]") {
    for_each_ivf_pq([]<class I>(I*) {
        using S = typename I::space_type;
        using T = typename S::element_type;
        const auto rows = rows_for<S>(400, 12, 51), queries = queries_for<S>(5, 12, 52);
        for (const std::uint32_t bits : {4u, 8u}) {
            Keyed keyed(build_pq<I>(Vectors(element_traits<T>::type, 0, 12), {.nlist = 7, .m = 6, .bits = bits}));
            CHECK(keyed.search(view_of<float>(queries), 3).count(0) == 0);
            CHECK(keyed.range_search(view_of<float>(queries), 5).ids.empty());
            CHECK(reloaded(keyed).size() == 0);
            keyed.add(view_of<T>(rows));
            CHECK(keyed.index().lists().count() == 7);
            CHECK(same(keyed.search(view_of<float>(queries), 10, everywhere),
                       Keyed(build_pq<I>(rows, {.nlist = 7, .m = 6, .bits = bits}, inline_executor(), 1)).search(view_of<float>(queries), 10, everywhere)));
            std::vector<Id> all(400);
            for (Id id = 0; id < 400; ++id) all[static_cast<std::size_t>(id)] = id;
            keyed.remove(all);
            CHECK(keyed.search(view_of<float>(queries), 3, everywhere).count(0) == 0);
            keyed.rebalance();
            keyed.compact();
            CHECK(keyed.slots() == 0);
            keyed.add(view_of<T>(rows).slice(0, 30));
            CHECK(keyed.search(view_of<float>(queries), 50, probe(1)).count(0) == 30);
        }
    });
}

TEST_CASE("equal rows, zero rows, zero queries", "[ivf_pq]") {
    const auto equal = Vectors::fill(ElementType::f32, 100, 8, [](std::size_t i) { return static_cast<double>(i % 8 + 1); });
    const Keyed same_rows(build_pq<IvfPq<Euclidean, float>>(equal, {.nlist = 4, .m = 4, .bits = 4}));
    const auto found = same_rows.search(view_of<float>(equal).slice(0, 1), 100, everywhere);
    for (std::size_t i = 0; i < 100; ++i) {
        CHECK(found.ids(0)[i] == static_cast<Id>(i));
        CHECK(found.distances(0)[i] >= 0);
        CHECK(found.distances(0)[i] < 1e-2f);
    }
    auto rows = clustered<float>(200, 8, 61);
    for (std::size_t i = 0; i < 8; ++i) rows.set(17, i, 0);
    for (const std::uint32_t bits : {4u, 8u}) {
        const Keyed cosine(build_pq<IvfPq<Cosine, float>>(rows, {.nlist = 5, .m = 4, .bits = bits}));
        const auto nowhere = cosine.search(view_of<float>(rows).slice(17, 1), 200, everywhere);
        for (std::size_t i = 0; i < 200; ++i) {
            CHECK(nowhere.ids(0)[i] == static_cast<Id>(i));
            CHECK(nowhere.distances(0)[i] == 1.0f);
        }
    }
}
