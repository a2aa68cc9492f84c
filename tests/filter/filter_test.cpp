// SPDX-License-Identifier: Apache-2.0
#include "kith/filter/filter.hpp"

#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

struct NoCount {
    static constexpr bool trivial = false;
    bool allows(Slot) const { return true; }
};

}  // namespace

TEST_CASE("what models a filter, at compile time", "[filter]") {
    STATIC_REQUIRE(Filter<AllowAll>);
    STATIC_REQUIRE(Filter<BitsetFilter>);
    STATIC_REQUIRE(Filter<PredicateFilter<bool (*)(Slot)>>);
    STATIC_REQUIRE_FALSE(Filter<NoCount>);
    STATIC_REQUIRE(AllowAll::trivial);
    STATIC_REQUIRE_FALSE(BitsetFilter::trivial);
}

TEST_CASE("filters allow and count the same slots", "[filter]") {
    for (const std::size_t rows : {0, 1, 64, 65, 200})
        for (const std::size_t step : {1, 2, 7, 300}) {
            Bitset bits(rows);
            for (std::size_t i = step - 1; i < rows; i += step) bits.set(i);
            const BitsetFilter by_bits(bits);
            const PredicateFilter by_rule([step](Slot slot) { return slot % step == step - 1; });
            std::size_t allowed = 0;
            for (Slot slot = 0; slot < rows; ++slot) {
                CHECK(by_bits.allows(slot) == by_rule.allows(slot));
                allowed += by_bits.allows(slot) ? 1 : 0;
            }
            CHECK(by_bits.count(rows) == allowed);
            CHECK(by_rule.count(rows) == allowed);
            CHECK(AllowAll{}.count(rows) == rows);
        }
}

TEST_CASE("a bitset filter does not allow slots past its end", "[filter]") {
    const Bitset bits(100, true);
    const BitsetFilter filter(bits);
    CHECK(filter.allows(99));
    CHECK_FALSE(filter.allows(100));
    CHECK_FALSE(filter.allows(invalid_slot));
    CHECK_FALSE(BitsetFilter(BitsetView()).allows(0));
    CHECK(AllowAll{}.allows(invalid_slot));
}
