// SPDX-License-Identifier: Apache-2.0
//
// Kernels read nothing outside their rows: rows that end where an inaccessible page begins, and rows that begin behind one. A kernel that
// reads too far dies here. Also the search for NaN and infinity.
#include <sys/mman.h>
#include <unistd.h>

#include <limits>

#include "simd/reference.hpp"

namespace kith::simd::test {
namespace {

/// Accessible bytes between two pages that are not.
class GuardedPages {
public:
    GuardedPages() : page_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))) {
        inner_ = (9 * longest * sizeof(float) / page_ + 1) * page_;
        void* p =
            ::mmap(nullptr, inner_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(p != MAP_FAILED);
        base_ = static_cast<unsigned char*>(p);
        REQUIRE(::mprotect(base_ + page_, inner_, PROT_READ | PROT_WRITE) == 0);
        for (std::size_t i = 0; i < inner_; ++i)
            base_[page_ + i] = static_cast<unsigned char>(i % 61);
    }
    GuardedPages(const GuardedPages&) = delete;
    GuardedPages& operator=(const GuardedPages&) = delete;
    ~GuardedPages() { ::munmap(base_, inner_ + 2 * page_); }

    /// `bytes` bytes just before the upper guard, or just after the lower one.
    template <class T>
    T* place(std::size_t n, bool at_end) const {
        return reinterpret_cast<T*>(base_ + page_ + (at_end ? inner_ - n * sizeof(T) : 0));
    }

private:
    std::size_t page_;
    std::size_t inner_ = 0;
    unsigned char* base_ = nullptr;
};

template <class T, class D>
void touch(const DistanceKernels<T, D>& kernels, const GuardedPages& row_pages,
           const GuardedPages& query_pages, std::size_t dim, bool at_end) {
    using Query = query_element_t<T>;
    constexpr Slot slots[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    const std::int32_t norms[9] = {};
    D out[9];
    const Query* q = query_pages.place<Query>(dim, at_end);
    for (const std::size_t count :
         {std::size_t{1}, std::size_t{4}, std::size_t{8}, std::size_t{9}}) {
        const RowsRef<T> rows{row_pages.place<T>(count * dim, at_end), dim, dim, norms};
        kernels.run(q, rows, 0, count, out);
        kernels.gather(q, rows, slots, count, out);
    }
    static_cast<void>(
        kernels.one(query_pages.place<T>(dim, at_end), row_pages.place<T>(dim, at_end), dim));
}

void touch(const NibbleKernels& kernels, const GuardedPages& row_pages, const GuardedPages& query_pages,
           std::size_t bytes, bool at_end) {
    using Byte = std::uint8_t;
    constexpr Slot slots[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    std::int32_t out[9];
    const std::int8_t* q = query_pages.place<std::int8_t>(2 * bytes, at_end);
    for (const std::size_t count : {std::size_t{1}, std::size_t{8}, std::size_t{9}}) {
        const RowsRef<Byte> rows{row_pages.place<Byte>(count * bytes, at_end), bytes, bytes, nullptr};
        kernels.run(q, rows, 0, count, out);
        kernels.gather(q, rows, slots, count, out);
    }
    static_cast<void>(kernels.one(query_pages.place<Byte>(bytes, at_end), row_pages.place<Byte>(bytes, at_end), bytes));
}

template <class T>
void touch_integer_tile(const IntegerTile<T>& tile, const GuardedPages& pages, std::size_t dim,
                        bool at_end) {
    if (tile.score == nullptr) return;
    constexpr std::size_t count = 9;
    std::vector<unsigned char> panel(tile.panel_bytes(dim));
    const T* rows = pages.place<T>(count * dim, at_end);
    tile.pack(rows, dim, 5, dim, panel.data());
    std::vector<std::int32_t> bias(count), norms(count), threshold(tile.lanes);
    std::vector<TileHit> hits(count * tile.lanes);
    tile.prepare_rows(rows, dim, count, dim, bias.data(), norms.data());
    static_cast<void>(tile.score(panel.data(), dim, rows, dim, count, -2, bias.data(),
                                 threshold.data(), hits.data()));
}

void touch_float_tile(const FloatTile& tile, const GuardedPages& pages, std::size_t dim,
                      bool at_end) {
    constexpr std::size_t count = 9;
    std::vector<float> panel(tile.lanes * dim), zero(count), threshold(tile.lanes);
    const float* rows = pages.place<float>(count * dim, at_end);
    tile.pack(rows, dim, 5, dim, panel.data());
    std::vector<TileHit> hits(count * tile.lanes);
    static_cast<void>(tile.score(panel.data(), dim, rows, dim, count, zero.data(), zero.data(),
                                 threshold.data(), hits.data()));
}

void touch_nearest(const KernelTable& t, const GuardedPages& row_pages,
                   const GuardedPages& query_pages, std::size_t dim, bool at_end) {
    constexpr Slot slots[9] = {8, 1, 2, 3, 4, 5, 6, 7, 0};
    const NearestTile& tile = t.nearest_f32;
    std::vector<float> panel(tile.lanes * dim), norms(tile.lanes), least(tile.lanes),
        second(tile.lanes);
    std::vector<std::uint32_t> number(tile.lanes);
    std::vector<double> sums(dim);
    const float* centre = query_pages.place<float>(dim, at_end);
    for (const std::size_t count : {std::size_t{1}, std::size_t{4}, std::size_t{9}}) {
        const float* rows = row_pages.place<float>(count * dim, at_end);
        if (count <= tile.lanes)
            tile.pack(rows, dim, count, dim, centre, panel.data(), norms.data());
        const float* bias = query_pages.place<float>(count, at_end);
        tile.score(panel.data(), dim, rows, dim, count, bias, 0,
                   {least.data(), second.data(), number.data()});
    }
    t.add_rows_f32(row_pages.place<float>(9 * dim, at_end), dim, slots, 9, dim, sums.data());
}

template <class T>
T not_finite(bool nan) {
    const float x =
        nan ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
    if constexpr (std::is_same_v<T, Half>)
        return to_half(x);
    else if constexpr (std::is_same_v<T, BFloat16>)
        return to_bfloat16(x);
    else
        return x;
}

template <class T>
void check_finite(std::size_t (*KernelTable::*member)(const T*, std::size_t) noexcept) {
    std::vector<T> x = random_elements<T>(2 * longest, 41);
    for_each_table([&](const KernelTable& table) {
        const auto first = table.*member;
        for (std::size_t n = 0; n <= longest; n += n < 140 ? 1 : 89)
            for (std::size_t bad = 0; bad <= n; bad += n < 140 ? 1 : 3) {
                const T kept = x[1 + bad];
                x[1 + bad] = not_finite<T>(bad % 2 == 0);  // at bad == n it lies just outside
                const std::size_t found = first(x.data() + 1, n);
                x[1 + bad] = kept;
                if (found != bad) FAIL("n " << n << ": found " << found << " instead of " << bad);
            }
        std::vector<T> largest(longest, std::is_same_v<T, Half> ? T{} : T{});
        if constexpr (std::is_same_v<T, float>)
            largest.assign(longest, -std::numeric_limits<float>::max());
        else
            largest.assign(
                longest, T{static_cast<std::uint16_t>(std::is_same_v<T, Half> ? 0xFBFF : 0xFF7F)});
        CHECK(first(largest.data(), longest) == longest);
        largest[700] = not_finite<T>(true);
        largest[900] = not_finite<T>(false);
        CHECK(first(largest.data(), longest) == 700);
    });
}

}  // namespace

TEST_CASE("kernels read nothing outside their rows") {
    const GuardedPages rows;
    const GuardedPages query;
    for_each_table([&](const KernelTable& t) {
        std::vector<float> widened(longest);
        for (std::size_t dim = 0; dim <= longest; dim += dim < 300 ? 1 : 13)
            for (const bool at_end : {false, true}) {
                for (const auto& k : {t.l2_f32, t.dot_f32, t.l1_f32})
                    touch(k, rows, query, dim, at_end);
                for (const auto& k : {t.l2_f16, t.dot_f16, t.l1_f16})
                    touch(k, rows, query, dim, at_end);
                for (const auto& k : {t.l2_bf16, t.dot_bf16, t.l1_bf16})
                    touch(k, rows, query, dim, at_end);
                for (const auto& k : {t.l2_i8, t.dot_i8, t.l1_i8})
                    touch(k, rows, query, dim, at_end);
                for (const auto& k : {t.l2_u8, t.dot_u8, t.l1_u8})
                    touch(k, rows, query, dim, at_end);
                touch(t.hamming_b1, rows, query, dim, at_end);
                touch(t.jaccard_b1, rows, query, dim, at_end);
                touch(t.l2_n4, rows, query, dim, at_end);
                touch(t.dot_n4, rows, query, dim, at_end);
                touch_float_tile(t.tile_f32, rows, dim, at_end);
                touch_nearest(t, rows, query, dim, at_end);
                touch_integer_tile(t.tile_i8, rows, dim, at_end);
                touch_integer_tile(t.tile_u8, rows, dim, at_end);
                t.widen_f16(rows.place<Half>(dim, at_end), dim, widened.data());
                t.widen_bf16(rows.place<BFloat16>(dim, at_end), dim, widened.data());
                t.widen_i8(rows.place<std::int8_t>(dim, at_end), dim, widened.data());
                t.widen_u8(rows.place<std::uint8_t>(dim, at_end), dim, widened.data());
                static_cast<void>(t.first_not_finite_f32(rows.place<float>(dim, at_end), dim));
                static_cast<void>(t.first_not_finite_f16(rows.place<Half>(dim, at_end), dim));
                static_cast<void>(t.first_not_finite_bf16(rows.place<BFloat16>(dim, at_end), dim));
            }
    });
    SUCCEED();
}

TEST_CASE("the first NaN or infinity is found") {
    check_finite<float>(&KernelTable::first_not_finite_f32);
    check_finite<Half>(&KernelTable::first_not_finite_f16);
    check_finite<BFloat16>(&KernelTable::first_not_finite_bf16);
}

}  // namespace kith::simd::test
