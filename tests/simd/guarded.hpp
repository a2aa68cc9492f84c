// SPDX-License-Identifier: Apache-2.0
//
// Memory that ends, or begins, where an inaccessible page is: a kernel that reads or writes too far dies there.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "simd/reference.hpp"

namespace kith::simd::test {

/// `bytes` accessible bytes, with an inaccessible page on one side.
class Guarded {
public:
    Guarded(std::size_t bytes, bool at_end) {
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const std::size_t inner = (bytes + page - 1) / page * page;
        mapped_ = inner + 2 * page;
        void* p = ::mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(p != MAP_FAILED);
        base_ = static_cast<unsigned char*>(p);
        REQUIRE(::mprotect(base_ + page, inner, PROT_READ | PROT_WRITE) == 0);
        data_ = base_ + page + (at_end ? inner - bytes : 0);
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() { ::munmap(base_, mapped_); }

    template <class T>
    T* get() const {
        return reinterpret_cast<T*>(data_);
    }

private:
    unsigned char* base_ = nullptr;
    unsigned char* data_ = nullptr;
    std::size_t mapped_ = 0;
};

template <class T>
Guarded guarded_for(const std::vector<T>& x, bool at_end) {
    return Guarded(x.size() * sizeof(T), at_end);
}

}  // namespace kith::simd::test
