// SPDX-License-Identifier: Apache-2.0
//
// Keyed over an index whose slots are stable: removed rows leave vacant slots that later rows take. The index here is a scan that
// skips vacant slots, so that ids, filters, files and failures are tested without a graph.
#include <algorithm>
#include <new>
#include <vector>

#include "kith/index/keyed.hpp"
#include "kith/space/dense.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT
using test::check_error;

using Line = DenseSpace<L2, float>;

/// What is to go wrong next.
struct Faults {
    bool insert = false;
    int removals = 0;  // so many removals fail
    bool compact = false;
};

class Holes {
public:
    static constexpr std::string_view kind = "holes";
    using space_type = Line;
    using build_params = NoParams;
    using search_params = NoParams;
    struct scratch_type {};

    explicit Holes(Line space) : space_(std::move(space)), live_(space_.size(), true) {}

    const Line& space() const noexcept { return space_; }
    std::size_t size() const noexcept { return live_.count(); }
    const NoParams& params() const noexcept { return params_; }
    Faults& faults() const noexcept { return *faults_; }

    template <Filter F, Collector C>
    SearchStats search(std::span<const float> query, const NoParams&, const F& filter, scratch_type&, C& collector) const {
        const auto scorer = space_.scorer(query);
        SearchStats stats;
        for (std::size_t i = 0; i < live_.size(); ++i) {
            const auto slot = static_cast<Slot>(i);
            if (!live_.test(i) || !filter.allows(slot)) continue;
            collector.offer(slot, scorer(slot));
            ++stats.distances;
        }
        return stats;
    }

    std::vector<Slot> insert(MatrixView<const float> rows, Executor& = inline_executor(), const Progress& = {}) {
        if (faults_->insert) fail(ErrorCode::cancelled, "insert");
        std::vector<Slot> slots;
        for (std::size_t i = live_.size(); i-- > 0 && slots.size() < rows.rows();)  // backwards: in no order that one might rely on
            if (!live_.test(i)) slots.push_back(static_cast<Slot>(i));
        for (std::size_t i = 0; i < slots.size(); ++i) space_.overwrite(slots[i], rows[i]);
        const std::size_t reused = slots.size();
        space_.append(rows.slice(reused, rows.rows() - reused));
        while (slots.size() < rows.rows()) slots.push_back(static_cast<Slot>(live_.size() + slots.size() - reused));
        live_.resize(space_.size(), true);
        for (const Slot slot : slots) live_.set(slot);
        return slots;
    }
    void own_rows() { space_.own_rows(); }
    void remove(std::span<const Slot> slots, Executor&, const Progress& progress) {
        progress.report("remove", 0, slots.size());
        if (faults_->removals > 0) {
            --faults_->removals;
            throw std::bad_alloc();
        }
        for (const Slot slot : slots) live_.reset(slot);
    }
    std::vector<Slot> compact(Executor&, const Progress&) {
        if (faults_->compact) throw std::bad_alloc();
        std::vector<Slot> old_of;
        live_.view().for_each_set([&](std::size_t slot) { old_of.push_back(static_cast<Slot>(slot)); });
        for (std::size_t i = 0; i < old_of.size(); ++i) space_.move_row(old_of[i], static_cast<Slot>(i));
        space_.truncate(old_of.size());
        live_ = Bitset(old_of.size(), true);
        return old_of;
    }

    void save(SectionWriter& writer) const {
        space_.save(writer);
        std::vector<std::uint8_t> live(live_.size());
        for (std::size_t i = 0; i < live.size(); ++i) live[i] = live_.test(i) ? 1 : 0;
        writer.add_copy("live", std::span<const std::uint8_t>(live));
    }
    static Holes load(const SectionReader& reader, const NoParams& = {}) {
        Holes index(Line::load(reader));
        const auto live = reader.section<std::uint8_t>("live", index.live_.size());
        for (std::size_t i = 0; i < live.size(); ++i) index.live_.assign(i, live[i] != 0);
        return index;
    }
    static std::vector<std::string_view> section_names() {
        auto names = Line::section_names();
        names.push_back("live");
        return names;
    }
    void validate(std::string_view, const Progress& = {}) const {}

private:
    Line space_;
    Bitset live_;
    NoParams params_;
    std::unique_ptr<Faults> faults_ = std::make_unique<Faults>();
};

static_assert(Insertable<Holes> && StablyRemovable<Holes> && Removable<Holes> && Compactable<Holes> && Persistable<Holes>);
static_assert(!DenselyRemovable<Holes> && !Overwritable<Holes>);

using Points = Keyed<Holes>;

Points points(std::size_t n, const std::vector<Id>& ids = {}) {
    std::vector<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>(i);
    Holes index(Line(Rows<float>::copy({values.data(), n, 1})));
    return ids.empty() ? Points(std::move(index)) : Points(std::move(index), ids);
}

void add(Points& index, const std::vector<float>& values, const std::vector<Id>& ids = {}) {
    index.add({values.data(), values.size(), 1}, ids);
}

void remove(Points& index, const std::vector<Id>& ids) { index.remove(ids); }

/// All rows as (id, value), by id; also what every look-up says of them.
std::vector<std::pair<Id, float>> contents(const Points& index) {
    std::vector<std::pair<Id, float>> all;
    std::vector<float> row(1);
    for (std::size_t slot = 0; slot < index.ids().slots(); ++slot) {
        const Id id = index.ids().id(static_cast<Slot>(slot));
        if (id == invalid_id) continue;
        index.index().space().read_query(static_cast<Slot>(slot), row);
        all.emplace_back(id, row[0]);
        REQUIRE(index.contains(id));
    }
    std::sort(all.begin(), all.end());
    REQUIRE(index.size() == all.size());
    REQUIRE(index.index().size() == all.size());
    REQUIRE(index.slots() == index.index().space().size());
    REQUIRE(index.live_slots().count() == all.size());
    const float at = 0;
    const auto found = index.search({&at, 1, 1}, all.size() + 10);
    REQUIRE(found.count(0) == all.size());  // k is capped by the rows, not by the slots
    REQUIRE(found.k() == all.size());
    for (const Id id : found.ids(0)) REQUIRE(id >= 0);
    return all;
}

using Contents = std::vector<std::pair<Id, float>>;

AlignedBuffer<std::byte> aligned(const std::vector<std::byte>& bytes) {
    AlignedBuffer<std::byte> buffer(bytes.size());
    std::copy(bytes.begin(), bytes.end(), buffer.begin());
    return buffer;
}

}  // namespace

TEST_CASE("removed rows leave vacant slots that new rows take", "[keyed][stable]") {
    Points index = points(5);
    remove(index, {1, 4});
    CHECK(index.size() == 3);
    CHECK(index.slots() == 5);
    CHECK(contents(index) == Contents{{0, 0}, {2, 2}, {3, 3}});
    add(index, {50, 60, 70});
    CHECK(index.slots() == 6);
    CHECK(contents(index) == Contents{{0, 0}, {2, 2}, {3, 3}, {5, 50}, {6, 60}, {7, 70}});
    remove(index, {0, 2, 3, 5, 6, 7});
    CHECK(contents(index).empty());
    CHECK(index.slots() == 6);
    add(index, {1}, {77});
    CHECK(contents(index) == Contents{{77, 1}});
}

TEST_CASE("filters speak slots and never name a vacant one", "[keyed][stable]") {
    Points index = points(6);
    remove(index, {0, 3});
    const auto bits = index.slots_of(std::vector<Id>{0, 1, 5, -1, 99});
    CHECK(bits.size() == 6);
    CHECK(bits.count() == 2);
    const auto masked = index.slots_of_mask(std::vector<std::uint8_t>(6, 1));
    CHECK(masked.count() == 4);
    CHECK_FALSE(masked.test(0));
    const std::vector<BitsetFilter> filter{BitsetFilter(bits)};
    const float at = 4;
    const auto found = index.search({&at, 1, 1}, 4, {}, filter);
    CHECK(std::ranges::equal(found.ids(0), std::vector<Id>{5, 1}));
    auto cursor = index.iterate({&at, 1});
    CHECK(cursor.next(10).ids == std::vector<Id>{4, 5, 2, 1});
    // Bits that name vacant slots all the same: they count as eligible but are not there.
    auto wide = index.iterate({&at, 1}, {}, Bitset(6, true));
    CHECK(wide.next(3).ids == std::vector<Id>{4, 5, 2});
    CHECK(wide.next(3).ids == std::vector<Id>{1});
    CHECK(wide.next(3).empty());
}

TEST_CASE("rows replaced in stable slots", "[keyed][stable]") {
    Points index = points(4, {10, 20, 30, 40});
    add(index, {100, 200, 300}, {20, 50, 40});
    CHECK(contents(index) == Contents{{10, 0}, {20, 100}, {30, 2}, {40, 300}, {50, 200}});
    CHECK(index.slots() == 7);  // the old rows went after the new ones had come
    add(index, {5, 6}, {10, 60});
    CHECK(index.slots() == 7);
    CHECK(contents(index) == Contents{{10, 5}, {20, 100}, {30, 2}, {40, 300}, {50, 200}, {60, 6}});
}

TEST_CASE("what fails in the index changes nothing in front of it", "[keyed][stable]") {
    Points index = points(4, {10, 20, 30, 40});
    remove(index, {30});
    const Contents before = contents(index);
    const auto bytes = index.to_bytes();
    index.index().faults().insert = true;
    check_error(ErrorCode::cancelled, {"insert"}, [&] { add(index, {7}); });
    check_error(ErrorCode::cancelled, {"insert"}, [&] { add(index, {7, 8}, {20, 50}); });
    index.index().faults().insert = false;
    CHECK(index.to_bytes() == bytes);
    index.index().faults().removals = 1;
    CHECK_THROWS_AS(remove(index, {10}), std::bad_alloc);
    const Progress stop([](std::string_view, std::size_t, std::size_t) { return false; });
    check_error(ErrorCode::cancelled, {"remove"}, [&] { index.remove(std::vector<Id>{10}, inline_executor(), stop); });
    index.index().faults().compact = true;
    CHECK_THROWS_AS(index.compact(), std::bad_alloc);
    CHECK(index.to_bytes() == bytes);
    // The old rows of a replacement cannot be removed: the new ones go again.
    index.index().faults().removals = 1;
    CHECK_THROWS_AS(add(index, {7, 8}, {20, 50}), std::bad_alloc);
    CHECK(contents(index) == before);
    CHECK(index.slots() == 5);  // one was made for it and is vacant now
    const auto longer = aligned(index.to_bytes());
    CHECK(contents(Points::load(SectionReader(longer.span()))) == before);
    CHECK(index.slots_of_mask(std::vector<std::uint8_t>(41, 1)).count() == 3);
    // Nor can those: they stay, under ids of their own, and nothing is lost.
    index.index().faults().removals = 2;
    CHECK_THROWS_AS(add(index, {7, 8}, {20, 50}), std::bad_alloc);
    CHECK(contents(index) == Contents{{10, 0}, {20, 1}, {40, 3}, {41, 7}, {42, 8}});
    check_error(ErrorCode::not_found, {"30"}, [&] { remove(index, {10, 30}); });
    check_error(ErrorCode::invalid_argument, {"10", "twice"}, [&] { remove(index, {10, 10}); });
    check_error(ErrorCode::already_exists, {"9", "twice"}, [&] { add(index, {1, 2}, {9, 9}); });
    CHECK(contents(index).size() == 5);
    index.compact();
    CHECK(contents(index).size() == 5);
    CHECK(index.slots() == 5);
}

TEST_CASE("compacting keeps ids and rows and leaves no slot vacant", "[keyed][stable]") {
    Points index = points(8);
    index.compact();
    CHECK(index.slot_ids() == nullptr);
    remove(index, {0, 3, 7});
    const Contents before = contents(index);
    index.compact();
    CHECK(index.slots() == 5);
    CHECK(contents(index) == before);
    add(index, {9});
    CHECK(index.ids().slot(8) == 5);  // next_id lives on
    remove(index, {1, 2, 4, 5, 6, 8});
    index.compact();
    CHECK(index.slots() == 0);
    CHECK(contents(index).empty());
    add(index, {4, 5});
    CHECK(contents(index) == Contents{{9, 4}, {10, 5}});
}

TEST_CASE("vacant slots go into files and come back", "[keyed][stable]") {
    Points index = points(6);
    remove(index, {2, 5});
    const auto bytes = index.to_bytes();
    const auto buffer = aligned(bytes);
    const SectionReader reader(buffer.span());
    CHECK(reader.info().count == 6);  // slots
    const auto ids = reader.section<Id>("ids", 6);
    CHECK(std::vector<Id>(ids.begin(), ids.end()) == std::vector<Id>{0, 1, -1, 3, 4, -1});
    Points loaded = Points::load(reader);
    CHECK(contents(loaded) == contents(index));
    CHECK(loaded.to_bytes() == bytes);
    add(loaded, {9, 9});
    CHECK(loaded.slots() == 6);
    CHECK(contents(loaded).back() == std::pair<Id, float>{7, 9});
    // Ids that do not fit the rows that are there.
    SectionWriter writer({.kind = "holes", .space = "l2/f32", .count = 6, .dim = 1});
    index.index().save(writer);
    const std::vector<Id> five{0, 1, 2, 3, 4, -1};
    writer.add("ids", std::span<const Id>(five));
    const auto wrong = aligned(writer.to_bytes());
    check_error(ErrorCode::corrupt, {"4 ids", "5"}, [&] { Points::load(SectionReader(wrong.span())); });
    SectionWriter none({.kind = "holes", .space = "l2/f32", .count = 6, .dim = 1});
    index.index().save(none);
    const auto without = aligned(none.to_bytes());
    check_error(ErrorCode::corrupt, {"4 ids", "6"}, [&] { Points::load(SectionReader(without.span())); });
}

TEST_CASE("an index with vacant slots needs a map that knows them", "[keyed][stable]") {
    const auto holey = [] {
        std::vector<float> values(3);
        Holes index(Line(Rows<float>::copy({values.data(), 3, 1})));
        index.remove(std::vector<Slot>{1}, inline_executor(), {});
        return index;
    };
    check_error(ErrorCode::dimension_mismatch, {"3 slots", "2"}, [&] { Points{holey()}; });
    check_error(ErrorCode::dimension_mismatch, {"3 slots", "2"}, [&] { Points(holey(), std::vector<Id>{5, 6}); });
    IdMap ids(3);
    ids.vacate(std::vector<Slot>{1});
    CHECK(contents(Points(holey(), std::move(ids))) == Contents{{0, 0}, {2, 0}});
}

TEST_CASE("any order of adding, replacing, removing and compacting agrees with a dictionary", "[keyed][stable]") {
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        const Random random(seed);
        Points index = points(10);
        std::vector<std::pair<Id, float>> model;
        for (std::size_t i = 0; i < 10; ++i) model.emplace_back(static_cast<Id>(i), static_cast<float>(i));
        for (std::uint64_t step = 0; step < 300; ++step) {
            const auto action = random.below(step, 8);
            if (action < 4) {
                std::vector<Id> ids;
                std::vector<float> values;
                for (std::uint64_t i = 0; i < 1 + action; ++i) {
                    const auto id = static_cast<Id>(random.below(1000 + 10 * step + i, 60));
                    if (std::find(ids.begin(), ids.end(), id) != ids.end()) continue;
                    ids.push_back(id);
                    values.push_back(static_cast<float>(step));
                    std::erase_if(model, [&](const auto& row) { return row.first == id; });
                    model.emplace_back(id, static_cast<float>(step));
                }
                add(index, values, ids);
            } else if (action < 7 && model.size() > 3) {
                const std::size_t first = random.below(50000 + step, model.size() - 2);
                remove(index, {model[first].first, model[first + 2].first});
                model.erase(model.begin() + static_cast<std::ptrdiff_t>(first) + 2);
                model.erase(model.begin() + static_cast<std::ptrdiff_t>(first));
            } else if (action == 7) {
                index.compact();
                REQUIRE_FALSE(index.ids().has_vacant());
            }
            std::sort(model.begin(), model.end());
            REQUIRE(contents(index) == model);
        }
    }
}
