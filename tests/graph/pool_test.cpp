// SPDX-License-Identifier: Apache-2.0
//
// The candidate pool against a sorted list, operation by operation.
#include "kith/graph/pool.hpp"

#include <vector>

#include "kith/core/random.hpp"
#include "support/catch.hpp"

using namespace kith;  // NOLINT

TEST_CASE("a pool keeps the nearest in order, whatever is offered, offered again and popped", "[graph]") {
    struct Entry {
        float distance;
        Slot slot;
        bool expanded;
    };
    for (const std::size_t capacity : {1, 2, 15, 16, 17, 64}) {
        CandidatePool<float> pool;
        pool.reset(capacity);
        std::vector<Entry> model;
        const Random random(capacity);
        const auto insert = [&](Slot slot, float distance) {
            if (model.size() == capacity && !(distance < model.back().distance)) return;
            std::size_t at = 0;
            while (at < model.size() && model[at].distance <= distance) ++at;
            model.insert(model.begin() + static_cast<std::ptrdiff_t>(at), {distance, slot, false});
            if (model.size() > capacity) model.pop_back();
        };
        for (std::size_t step = 0; step < 2000; ++step) {
            const auto distance = static_cast<float>(random.below(3 * step, 40));
            const std::uint64_t what = random.below(3 * step + 1, 4);
            if (what == 0 && pool.has_next()) {
                const Slot popped = pool.pop();
                std::size_t at = 0;
                while (model[at].expanded) ++at;
                REQUIRE(popped == model[at].slot);
                model[at].expanded = true;
            } else if (what == 1 && !model.empty()) {
                const Entry again = model[random.below(3 * step + 2, model.size())];
                if (again.expanded) continue;
                pool.offer_again(again.slot, distance);
                if (distance < again.distance) {
                    std::erase_if(model, [&](const Entry& e) { return e.slot == again.slot; });
                    insert(again.slot, distance);
                }
            } else {
                pool.offer(static_cast<Slot>(step), distance);
                insert(static_cast<Slot>(step), distance);
            }
            REQUIRE(pool.size() == model.size());
            for (std::size_t i = 0; i < model.size(); ++i) {
                REQUIRE(pool.slot(i) == model[i].slot);
                REQUIRE(pool.distance(i) == model[i].distance);
            }
        }
    }
}
