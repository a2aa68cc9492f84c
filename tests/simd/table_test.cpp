// SPDX-License-Identifier: Apache-2.0
//
// Which tables there are, which run here, and how one is chosen. tests/checks/arch_probe.cpp forces each one through KITH_ARCH.
#include <cstdlib>

#include "simd/reference.hpp"

namespace kith::simd::test {

TEST_CASE("the tables that run here are tested, the others are named") {
    std::size_t runnable = 0;
    for (const LinkedTable& t : linked_tables()) {
        runnable += t.runnable;
        if (!t.runnable)
            WARN("NOT TESTED: this processor cannot run the kernels '" << t.table->name << "'");
    }
    CHECK(runnable >= 1);
    CHECK(available_tables().size() == runnable);
}

TEST_CASE("every table is complete") {
    for (const LinkedTable& linked : linked_tables()) {
        const KernelTable& t = *linked.table;
        INFO("table " << t.name);
        const auto complete = [](const auto& k) {
            return k.one != nullptr && k.gather != nullptr && k.run != nullptr;
        };
        CHECK(complete(t.l2_f32));
        CHECK(complete(t.dot_f32));
        CHECK(complete(t.l1_f32));
        CHECK(complete(t.l2_f16));
        CHECK(complete(t.dot_f16));
        CHECK(complete(t.l1_f16));
        CHECK(complete(t.l2_bf16));
        CHECK(complete(t.dot_bf16));
        CHECK(complete(t.l1_bf16));
        CHECK(complete(t.l2_i8));
        CHECK(complete(t.dot_i8));
        CHECK(complete(t.l1_i8));
        CHECK(complete(t.l2_u8));
        CHECK(complete(t.dot_u8));
        CHECK(complete(t.l1_u8));
        CHECK(complete(t.hamming_b1));
        CHECK(complete(t.jaccard_b1));
        CHECK(complete(t.l2_n4));
        CHECK(complete(t.dot_n4));
        CHECK((t.tile_f32.lanes > 0 && t.tile_f32.pack != nullptr && t.tile_f32.score != nullptr));
        CHECK((t.tile_i8.score == nullptr) == (t.tile_u8.score == nullptr));
        CHECK((t.merge_i32 != nullptr && t.merge_f32 != nullptr));
        CHECK((t.estimate32 != nullptr && t.scan32 != nullptr && t.gather32 != nullptr));
        CHECK((t.product.encode != nullptr && t.product.l2_table != nullptr && t.product.dot_table != nullptr &&
               t.product.l2_between != nullptr && t.product.dot_between != nullptr && t.product.run != nullptr &&
               t.product.gather != nullptr));
        for (std::size_t bits = 1; bits <= 8; ++bits) CHECK((t.rabitq.run[bits - 1] != nullptr && t.rabitq.gather[bits - 1] != nullptr));
        CHECK((t.nearest_f32.lanes > 0 && t.nearest_f32.pack != nullptr && t.nearest_f32.score != nullptr));
        CHECK(t.add_rows_f32 != nullptr);
        CHECK((t.widen_f16 != nullptr && t.widen_bf16 != nullptr && t.widen_i8 != nullptr && t.widen_u8 != nullptr));
        CHECK((t.first_not_finite_f32 != nullptr && t.first_not_finite_f16 != nullptr &&
               t.first_not_finite_bf16 != nullptr));
    }
}

TEST_CASE("a table is chosen by name, the best one by default") {
    for (const KernelTable* table : available_tables()) {
        CHECK(&choose_table(table->name) == table);
        CHECK(find_table(table->name) == table);
    }
    CHECK(&choose_table("") == available_tables().back());
    CHECK(find_table("altivec") == nullptr);
    if (const char* forced = std::getenv("KITH_ARCH"))
        CHECK(std::string_view(kernels().name) == forced);
    else
        CHECK(&kernels() == available_tables().back());
}

TEST_CASE("an unknown table is an error that lists what there is") {
    try {
        choose_table("altivec");
        FAIL("no error");
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::unsupported);
        const std::string message = error.what();
        CHECK(message.find("altivec") != std::string::npos);
        for (const LinkedTable& t : linked_tables())
            CHECK(message.find(t.table->name) != std::string::npos);
    }
}

}  // namespace kith::simd::test
