// SPDX-License-Identifier: Apache-2.0
//
// Search among some rows only: a set of ids, a mask, one filter for each query, or any predicate.
#include <array>
#include <cstdint>
#include <cstdio>
#include <span>
#include <vector>

#include "kith/kith.hpp"

int main() {
    const std::vector<float> points{0, 1, 2, 3, 4, 5, 6, 7};  // on a line
    using Flat = kith::Flat<kith::DenseSpace<kith::L1, float>>;
    const kith::Keyed index(
        Flat(Flat::space_type(kith::Rows<float>::borrow({points.data(), 8, 1}))));
    const std::vector<float> queries{0, 7};
    const kith::MatrixView<const float> both(queries.data(), 2, 1);

    // Ids become slots once; the bits can serve any number of searches.
    const std::vector<kith::Id> wanted{2, 3, 5};
    const kith::Bitset primes = index.slots_of(wanted);
    const std::vector<std::uint8_t> mask{1, 0, 0, 0, 1, 0, 0, 0};  // id by id
    const kith::Bitset marked = index.slots_of_mask(mask);

    const kith::BitsetFilter one(primes);
    const kith::Results same = index.search(both, 2, {}, {&one, 1});
    std::printf("among 2, 3, 5:     nearest to 0 is %lld, nearest to 7 is %lld\n",
                static_cast<long long>(same.ids(0)[0]), static_cast<long long>(same.ids(1)[0]));

    const std::array each{kith::BitsetFilter(primes), kith::BitsetFilter(marked)};
    const kith::Results own = index.search(both, 4, {}, each);
    std::printf("a filter each:     %zu results for 0, %zu for 7: as many as pass\n", own.count(0),
                own.count(1));

    // Below the batch: any predicate over slots, inlined into the scan; a collector and scratch of one's own.
    std::array<kith::Hit<float>, 2> storage;
    kith::TopK<float> nearest{std::span(storage)};
    Flat::scratch_type scratch;
    const kith::PredicateFilter odd([](kith::Slot slot) { return slot % 2 == 1; });
    index.index().search(both[0], {}, odd, scratch, nearest);
    std::printf("odd rows:          nearest to 0 is %u\n", nearest.sorted()[0].slot);

    return same.ids(0)[0] == 2 && same.ids(1)[0] == 5 && own.count(0) == 3 && own.count(1) == 2 &&
                   storage[0].slot == 1
               ? 0
               : 1;
}
