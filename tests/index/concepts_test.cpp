// SPDX-License-Identifier: Apache-2.0
//
// The concepts are enough: a space that has exactly what Space asks for works in Flat, and an index that has exactly what Index asks for
// works in Keyed, search_batch and range_batch. If the library used anything else of them, this file would not compile.
#include <cmath>
#include <vector>

#include "kith/kith.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

/// Points on a line; a query is one long (not an Element), distances are int32. Nothing more than the concept asks for.
class LineSpace {
public:
    using query_type = long;
    using distance_type = std::int32_t;

    explicit LineSpace(std::vector<long> points) : points_(std::move(points)) {}
    LineSpace(LineSpace&&) = default;
    LineSpace& operator=(LineSpace&&) = default;
    LineSpace(const LineSpace&) = delete;
    LineSpace& operator=(const LineSpace&) = delete;

    std::size_t size() const { return points_.size(); }
    std::size_t dim() const { return 1; }
    std::size_t dimensions() const { return 1; }
    std::string label() const { return "line/long"; }
    std::size_t row_bytes() const { return sizeof(long); }
    std::size_t memory_bytes() const { return size() * sizeof(long); }
    double report(double internal) const { return internal / 2; }  // not the identity: who forgets it fails
    double internal(double reported) const { return reported * 2; }
    void read_query(Slot slot, std::span<long> out) const { out[0] = points_[slot]; }
    std::int32_t distance(Slot a, Slot b) const { return between(points_[a], points_[b]); }

    class Bound {
    public:
        using distance_type = std::int32_t;
        Bound(const LineSpace& space, long at) : space_(&space), at_(at) {}
        std::int32_t operator()(Slot slot) const { return between(at_, space_->points_[slot]); }
        void gather(std::span<const Slot> slots, std::int32_t* out) const {
            for (const Slot slot : slots) *out++ = (*this)(slot);
        }
        void run(std::size_t first, std::size_t count, std::int32_t* out) const {
            for (std::size_t i = 0; i < count; ++i) out[i] = (*this)(static_cast<Slot>(first + i));
        }

    private:
        const LineSpace* space_;
        long at_;
    };
    Bound scorer(std::span<const long> query) const { return {*this, query[0]}; }

private:
    static std::int32_t between(long a, long b) { return static_cast<std::int32_t>(2 * std::labs(a - b)); }
    std::vector<long> points_;
};

/// Walks its rows backwards, with nothing more than the concept asks for.
template <Space S>
class Backwards {
public:
    static constexpr std::string_view kind = "backwards";
    using space_type = S;
    struct scratch_type {};
    struct search_params {
        bool skip_even = false;
        static constexpr auto fields() { return std::tuple{field("skip_even", &search_params::skip_even, "for the test")}; }
        friend bool operator==(const search_params&, const search_params&) = default;
    };

    explicit Backwards(S space) : space_(std::move(space)) {}
    const S& space() const { return space_; }
    std::size_t size() const { return space_.size(); }

    template <Filter F, Collector C>
    SearchStats search(std::span<const typename S::query_type> query, const search_params& params, const F& filter, scratch_type&,
                       C& collector) const {
        const auto scorer = space_.scorer(query);
        SearchStats stats;
        for (auto slot = static_cast<Slot>(size()); slot-- > 0;) {
            if (!filter.allows(slot) || (params.skip_even && slot % 2 == 0)) continue;
            collector.offer(slot, scorer(slot));
            ++stats.distances;
        }
        return stats;
    }

private:
    S space_;
};

struct NotAnIndex {};

template <class Without>
concept SearchesLines = Index<Without> && std::is_same_v<typename Without::space_type, LineSpace>;

/// 0, 3, 6, ... and, for ties, each twice.
LineSpace line() {
    std::vector<long> points;
    for (long i = 0; i < 600; ++i) points.push_back(i / 2 * 3);
    return LineSpace(points);
}

/// The check that both archetypes must pass.
template <class I>
void check_on_line(const Keyed<I>& index) {
    const std::vector<long> positions{0, 1, 300, 449, 898, 2000};
    const MatrixView<const long> queries(positions.data(), positions.size(), 1);
    ThreadPool pool(2);
    for (Executor* executor : {&inline_executor(), static_cast<Executor*>(&pool)}) {
        const auto results = index.search(queries, 4, {}, {}, *executor);
        REQUIRE(results.queries() == 6);
        const auto ids = [&](std::size_t q) { return std::vector<Id>(results.ids(q).begin(), results.ids(q).end()); };
        CHECK(ids(0) == std::vector<Id>{0, 1, 2, 3});
        CHECK(ids(1) == std::vector<Id>{0, 1, 2, 3});
        CHECK(ids(2) == std::vector<Id>{200, 201, 198, 199});
        CHECK(ids(3) == std::vector<Id>{300, 301, 298, 299});
        CHECK(ids(4) == std::vector<Id>{598, 599, 596, 597});
        CHECK(ids(5) == std::vector<Id>{598, 599, 596, 597});
        CHECK(results.distances(1)[0] == 1.0f);
        CHECK(results.distances(1)[2] == 2.0f);
        CHECK(results.distances(5)[0] == 1103.0f);
        CHECK(results.stats.distances == 6 * 600);
    }
    const auto within = index.range_search(queries.slice(1, 2), 2.0);
    CHECK(within.offsets == std::vector<std::size_t>{0, 4, 6});
    CHECK(within.ids == std::vector<Id>{0, 1, 2, 3, 200, 201});
    CHECK(within.distances == std::vector<float>{1, 1, 2, 2, 0, 0});
    for (const std::size_t keep : {2, 500}) {  // few allowed, most allowed
        const Bitset bits = index.slots_of([&] {
            std::vector<Id> ids;
            for (std::size_t i = 0; i < keep; ++i) ids.push_back(static_cast<Id>(599 - i));
            return ids;
        }());
        const std::vector<BitsetFilter> filter{BitsetFilter(bits)};
        const auto filtered = index.search(queries.slice(0, 1), 3, {}, filter);
        CHECK(filtered.count(0) == std::min<std::size_t>(3, keep));
        CHECK(filtered.ids(0)[0] == static_cast<Id>(600 - keep));
    }
}

}  // namespace

TEST_CASE("archetypes model the concepts and nothing more", "[concepts]") {
    STATIC_REQUIRE(Space<LineSpace>);
    STATIC_REQUIRE_FALSE(GrowableSpace<LineSpace>);
    STATIC_REQUIRE_FALSE(PersistableSpace<LineSpace>);
    STATIC_REQUIRE_FALSE(TileSpace<LineSpace>);
    STATIC_REQUIRE(Scorer<LineSpace::Bound>);
    STATIC_REQUIRE(SearchesLines<Flat<LineSpace>>);
    STATIC_REQUIRE(Buildable<Flat<LineSpace>>);
    STATIC_REQUIRE(BlockSearchable<Flat<LineSpace>>);
    STATIC_REQUIRE_FALSE(Insertable<Flat<LineSpace>>);
    STATIC_REQUIRE_FALSE(Removable<Flat<LineSpace>>);
    STATIC_REQUIRE_FALSE(Overwritable<Flat<LineSpace>>);
    STATIC_REQUIRE_FALSE(Persistable<Flat<LineSpace>>);
    STATIC_REQUIRE(SearchesLines<Backwards<LineSpace>>);
    STATIC_REQUIRE_FALSE(Buildable<Backwards<LineSpace>>);
    STATIC_REQUIRE_FALSE(BlockSearchable<Backwards<LineSpace>>);
    STATIC_REQUIRE_FALSE(Insertable<Backwards<LineSpace>>);
    STATIC_REQUIRE_FALSE(Index<NotAnIndex>);
    STATIC_REQUIRE_FALSE(Space<std::vector<float>>);
}

TEST_CASE("the library's index over dense rows has every ability", "[concepts]") {
    using Dense = Flat<DenseSpace<L2, float>>;
    STATIC_REQUIRE(Buildable<Dense>);
    STATIC_REQUIRE(Insertable<Dense>);
    STATIC_REQUIRE(Removable<Dense>);
    STATIC_REQUIRE(DenselyRemovable<Dense>);
    STATIC_REQUIRE(Overwritable<Dense>);
    STATIC_REQUIRE_FALSE(StablyRemovable<Dense>);
    STATIC_REQUIRE_FALSE(Compactable<Dense>);  // there is never anything to compact: Keyed::compact does nothing
    STATIC_REQUIRE(BlockSearchable<Dense>);
    STATIC_REQUIRE(Persistable<Dense>);
    STATIC_REQUIRE(Persistable<Flat<DenseSpace<Cosine, std::int8_t>>>);
    STATIC_REQUIRE(TileSpace<DenseSpace<Cosine, Half>>);
    STATIC_REQUIRE_FALSE(TileSpace<DenseSpace<L1, float>>);
    STATIC_REQUIRE_FALSE(TileSpace<DenseSpace<Cosine, std::int8_t>>);
    STATIC_REQUIRE_FALSE(std::is_copy_constructible_v<Dense>);
}

TEST_CASE("a space that is only a Space works in Flat", "[concepts]") { check_on_line(Keyed(Flat(line()))); }

TEST_CASE("an index that is only an Index works in Keyed, batches and ranges", "[concepts]") {
    const Keyed index{Backwards<LineSpace>(line())};
    check_on_line(index);
    const long at = 300;
    const auto odd = index.search({&at, 1, 1}, 2, {.skip_even = true});
    CHECK(odd.ids(0)[0] == 201);
    CHECK(odd.ids(0)[1] == 199);
}
