// SPDX-License-Identifier: Apache-2.0
#include "kith/core/bitset.hpp"

#include <vector>

#include "kith/core/random.hpp"
#include "support/catch.hpp"

namespace {

using namespace kith;  // NOLINT

/// A bitset must equal the vector of bool, and hold nothing past its end.
void check_equal(const Bitset& bits, const std::vector<bool>& model) {
    REQUIRE(bits.size() == model.size());
    std::size_t count = 0;
    std::size_t wrong = 0;
    std::vector<std::size_t> set;
    for (std::size_t i = 0; i < model.size(); ++i) {
        wrong += bits.test(i) != model[i] ? 1 : 0;
        if (model[i]) set.push_back(i);
        count += model[i] ? 1 : 0;
    }
    CHECK(wrong == 0);
    CHECK(bits.count() == count);
    std::vector<std::size_t> visited;
    bits.view().for_each_set([&](std::size_t i) { visited.push_back(i); });
    CHECK(visited == set);
    for (std::size_t i = model.size(); i < model.size() + 130; ++i) CHECK_FALSE(bits.test(i));
}

std::vector<bool> random_bits(std::size_t size, std::uint64_t seed) {
    std::vector<bool> bits(size);
    for (std::size_t i = 0; i < size; ++i) bits[i] = Random(seed).below(i, 3) == 0;
    return bits;
}

Bitset bitset_of(const std::vector<bool>& model) {
    Bitset bits(model.size());
    for (std::size_t i = 0; i < model.size(); ++i) bits.assign(i, model[i]);
    return bits;
}

}  // namespace

TEST_CASE("a bitset is a vector of bool", "[bitset]") {
    for (const std::size_t size : {0, 1, 63, 64, 65, 127, 128, 129, 1000}) {
        CAPTURE(size);
        check_equal(Bitset(size), std::vector<bool>(size));
        check_equal(Bitset(size, true), std::vector<bool>(size, true));
        auto model = random_bits(size, size + 1);
        auto bits = bitset_of(model);
        check_equal(bits, model);
        bits.flip();
        for (std::size_t i = 0; i < size; ++i) model[i] = !model[i];
        check_equal(bits, model);
        bits.clear();
        check_equal(bits, std::vector<bool>(size));
    }
}

TEST_CASE("set, reset and assign touch one bit", "[bitset]") {
    Bitset bits(130);
    bits.set(0);
    bits.set(64);
    bits.set(129);
    bits.set(129);
    CHECK(bits.count() == 3);
    bits.reset(64);
    bits.reset(65);
    CHECK(bits.count() == 2);
    bits.assign(129, false);
    bits.assign(3, true);
    std::vector<bool> model(130);
    model[0] = model[3] = true;
    check_equal(bits, model);
}

TEST_CASE("growing gives new bits the value, shrinking forgets them", "[bitset]") {
    for (const std::size_t from : {0, 1, 63, 64, 65, 100, 128})
        for (const std::size_t to : {0, 1, 64, 65, 100, 128, 200})
            for (const bool value : {false, true}) {
                CAPTURE(from, to, value);
                auto model = random_bits(from, from + 7);
                auto bits = bitset_of(model);
                bits.resize(to, value);
                model.resize(to, value);
                check_equal(bits, model);
                bits.resize(300);  // nothing that was cut off comes back
                model.resize(300);
                check_equal(bits, model);
            }
}

TEST_CASE("and, or with bitsets of other lengths: what is missing is zero", "[bitset]") {
    for (const std::size_t a : {0, 1, 64, 70, 200})
        for (const std::size_t b : {0, 1, 64, 70, 200}) {
            CAPTURE(a, b);
            const auto left = random_bits(a, 1);
            const auto right = random_bits(b, 2);
            auto both = bitset_of(left);
            auto either = bitset_of(left);
            both &= bitset_of(right);
            either |= bitset_of(right);
            std::vector<bool> both_model(a);
            std::vector<bool> either_model(a);
            for (std::size_t i = 0; i < a; ++i) {
                both_model[i] = left[i] && i < b && right[i];
                either_model[i] = left[i] || (i < b && right[i]);
            }
            check_equal(both, both_model);
            check_equal(either, either_model);
        }
}

TEST_CASE("counting and visiting a range of bits", "[bitset]") {
    for (const std::size_t size : {0, 1, 63, 64, 65, 130, 200}) {
        const auto model = random_bits(size, size + 3);
        const auto bits = bitset_of(model);
        for (const std::size_t first : {0, 1, 5, 63, 64, 65, 127, 128, 199, 300})
            for (const std::size_t last : {0, 1, 5, 63, 64, 65, 127, 128, 199, 200, 300}) {
                CAPTURE(size, first, last);
                std::vector<std::size_t> expected, visited;
                for (std::size_t i = first; i < std::min(last, size); ++i)
                    if (model[i]) expected.push_back(i);
                bits.view().for_each_set(first, last, [&](std::size_t i) { visited.push_back(i); });
                CHECK(visited == expected);
                CHECK(bits.view().count(first, last) == expected.size());
            }
    }
}
