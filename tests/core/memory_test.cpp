// SPDX-License-Identifier: Apache-2.0
//
// Aligned buffers and matrix views.
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/types.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using namespace kith;  // NOLINT

template <class T>
bool aligned(const AlignedBuffer<T>& buffer, std::size_t alignment) {
    return reinterpret_cast<std::uintptr_t>(buffer.data()) % alignment == 0;
}

}  // namespace

TEST_CASE("a buffer is aligned and zero, its padding too", "[buffer]") {
    for (const std::size_t size : {1, 15, 16, 17, 63, 64, 65, 1000}) {
        CAPTURE(size);
        const AlignedBuffer<float> buffer(size);
        CHECK(buffer.size() == size);
        CHECK(aligned(buffer, 64));
        CHECK(buffer.bytes() % 64 == 0);
        CHECK(buffer.bytes() >= size * sizeof(float));
        const auto* bytes = reinterpret_cast<const unsigned char*>(buffer.data());
        CHECK(std::accumulate(bytes, bytes + buffer.bytes(), 0) == 0);
    }
}

TEST_CASE("a large buffer starts at a huge page where the policy says so", "[buffer]") {
    const std::size_t size = std::size_t{4} << 20;
    const AlignedBuffer<std::byte> huge(size);
    CHECK(aligned(huge, std::size_t{2} << 20));
    CHECK(huge.bytes() % (std::size_t{2} << 20) == 0);
    MemoryPolicy policy;
    policy.huge_pages = false;
    CHECK(AlignedBuffer<std::byte>(size + 1, policy).bytes() == size + 64);
    policy.huge_pages = true;
    policy.huge_page_threshold = size * 2;
    CHECK(AlignedBuffer<std::byte>(size + 1, policy).bytes() == size + 64);
}

TEST_CASE("an empty buffer allocates nothing", "[buffer]") {
    const AlignedBuffer<float> empty;
    const AlignedBuffer<float> zero(0);
    CHECK(empty.data() == nullptr);
    CHECK(zero.data() == nullptr);
    CHECK(zero.empty());
    CHECK(zero.begin() == zero.end());
}

TEST_CASE("sizes that no machine has are an error, whatever they overflow", "[buffer]") {
    for (const std::size_t size : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 8, (std::size_t{1} << 62) / 8 + 1})
        test::check_error(ErrorCode::out_of_memory, {"cannot allocate"}, [&] { AlignedBuffer<double> buffer(size); });
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they refuse by ending the process
#if !defined(__has_feature)
    test::check_error(ErrorCode::out_of_memory, {"cannot allocate"}, [&] { AlignedBuffer<double> buffer(std::size_t{1} << 58); });
#endif
#endif
}

TEST_CASE("moving hands the memory over", "[buffer]") {
    AlignedBuffer<int> a(10);
    std::iota(a.begin(), a.end(), 0);
    const int* memory = a.data();
    AlignedBuffer<int> b(std::move(a));
    CHECK(b.data() == memory);
    CHECK(a.data() == nullptr);  // NOLINT: moved from on purpose
    CHECK(a.size() == 0);
    AlignedBuffer<int> c(3);
    c = std::move(b);
    CHECK(c.data() == memory);
    CHECK(c.size() == 10);
    CHECK(c[9] == 9);
    CHECK(b.empty());  // NOLINT
    c = AlignedBuffer<int>();
    CHECK(c.data() == nullptr);
    STATIC_REQUIRE(!std::is_copy_constructible_v<AlignedBuffer<int>>);
}

TEST_CASE("reserving for scratch grows, never shrinks", "[buffer]") {
    AlignedBuffer<int> scratch(10);
    scratch[0] = 7;
    const int* memory = scratch.data();
    scratch.reserve_discarding(5);
    scratch.reserve_discarding(10);
    CHECK(scratch.data() == memory);
    CHECK(scratch[0] == 7);
    scratch.reserve_discarding(100);
    CHECK(scratch.size() == 100);
    CHECK(scratch[0] == 0);
}

TEST_CASE("a matrix view finds its rows, with and without a stride", "[matrix]") {
    std::vector<int> data(20);
    std::iota(data.begin(), data.end(), 0);
    const MatrixView<int> dense(data.data(), 4, 5);
    CHECK(dense.contiguous());
    CHECK(dense.row(3)[4] == 19);
    const MatrixView<int> strided(data.data(), 4, 3, 5);
    CHECK_FALSE(strided.contiguous());
    CHECK(strided.row(2)[1] == 11);
    CHECK(strided[2].size() == 3);
    CHECK(strided[2][2] == 12);
    const MatrixView<const int> constant = strided;
    CHECK(constant.stride() == 5);
    const auto middle = constant.slice(1, 2);
    CHECK(middle.rows() == 2);
    CHECK(middle.row(0)[0] == 5);
    CHECK(middle.row(1)[2] == 12);
    CHECK(middle.stride() == 5);
    CHECK(constant.slice(4, 0).empty());
    constexpr MatrixView<int> nothing;
    CHECK(nothing.empty());
    CHECK(nothing.slice(0, 0).data() == nullptr);
    STATIC_REQUIRE(!std::is_convertible_v<MatrixView<const int>, MatrixView<int>>);
}
