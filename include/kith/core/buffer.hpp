// SPDX-License-Identifier: Apache-2.0
//
// AlignedBuffer: memory for rows, codes and graphs. 64-byte aligned, zero-filled up to the next 64 bytes (kernels may
// read, never write, that padding), move-only. Large buffers ask for huge pages where the policy says so: a random gather over a
// gigabyte of 4 KiB pages spends a good part of its time in TLB misses.
#pragma once

#include <cstddef>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kith/core/error.hpp"

namespace kith {

/// How large buffers are obtained; a value, not a template parameter.
struct MemoryPolicy {
    bool huge_pages = true;                             // ask the kernel for them; ordinary pages when it declines
    std::size_t huge_page_threshold = std::size_t{4} << 20;  // bytes; smaller buffers never ask
};

template <class T>
class AlignedBuffer {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    static constexpr std::size_t alignment = 64;

    AlignedBuffer() = default;

    /// `size` zeroed elements. Throws Error{out_of_memory}.
    explicit AlignedBuffer(std::size_t size, MemoryPolicy policy = {}) : size_(size) {
        if (size == 0) return;
        constexpr std::size_t huge_page = std::size_t{2} << 20;
        if (size > (std::size_t{1} << 62) / sizeof(T))
            fail(ErrorCode::out_of_memory, "cannot allocate ", size, " elements of ", sizeof(T), " bytes");
        bytes_ = (size * sizeof(T) + alignment - 1) / alignment * alignment;
        const bool huge = policy.huge_pages && bytes_ >= policy.huge_page_threshold;
        const std::size_t align = huge ? huge_page : alignment;
        bytes_ = (bytes_ + align - 1) / align * align;
        align_ = align;
        data_ = static_cast<T*>(::operator new(bytes_, std::align_val_t{align}, std::nothrow));
        if (data_ == nullptr) fail(ErrorCode::out_of_memory, "cannot allocate ", bytes_, " bytes");
#if defined(__linux__)
        if (huge) ::madvise(static_cast<void*>(data_), bytes_, MADV_HUGEPAGE);  // a refusal costs nothing but speed
#endif
        std::memset(static_cast<void*>(data_), 0, bytes_);
    }

    AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
    AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
        AlignedBuffer moved(std::move(other));
        swap(moved);
        return *this;
    }
    AlignedBuffer(const AlignedBuffer&) = delete;
    AlignedBuffer& operator=(const AlignedBuffer&) = delete;
    ~AlignedBuffer() {
        if (data_ != nullptr) ::operator delete(static_cast<void*>(data_), std::align_val_t{align_});
    }

    T* data() noexcept { return data_; }
    const T* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t bytes() const noexcept { return bytes_; }
    bool empty() const noexcept { return size_ == 0; }

    T& operator[](std::size_t i) noexcept { return data_[i]; }
    const T& operator[](std::size_t i) const noexcept { return data_[i]; }
    T* begin() noexcept { return data_; }
    T* end() noexcept { return data_ + size_; }
    const T* begin() const noexcept { return data_; }
    const T* end() const noexcept { return data_ + size_; }
    std::span<T> span() noexcept { return {data_, size_}; }
    std::span<const T> span() const noexcept { return {data_, size_}; }

    /// Grows to at least `size` elements and forgets the old content; never shrinks. For scratch.
    void reserve_discarding(std::size_t size) {
        if (size > size_) *this = AlignedBuffer(size);
    }

private:
    void swap(AlignedBuffer& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(bytes_, other.bytes_);
        std::swap(align_, other.align_);
    }

    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t bytes_ = 0;
    std::size_t align_ = alignment;
};

}  // namespace kith
