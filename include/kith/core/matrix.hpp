// SPDX-License-Identifier: Apache-2.0
//
// MatrixView: rows x cols elements that somebody else owns, row-major, `stride` elements from one row to the next.
// Owned, borrowed and memory-mapped rows all look like this, so that no index has a storage type parameter.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

namespace kith {

template <class T>
class MatrixView {
public:
    constexpr MatrixView() = default;

    /// `stride >= cols` elements between the starts of two rows.
    constexpr MatrixView(T* data, std::size_t rows, std::size_t cols, std::size_t stride) noexcept
        : data_(data), rows_(rows), cols_(cols), stride_(stride) {}

    constexpr MatrixView(T* data, std::size_t rows, std::size_t cols) noexcept
        : MatrixView(data, rows, cols, cols) {}

    /// A view of mutable elements is a view of constant ones.
    template <class U>
        requires std::is_same_v<T, const U>
    constexpr MatrixView(const MatrixView<U>& other) noexcept
        : MatrixView(other.data(), other.rows(), other.cols(), other.stride()) {}

    constexpr T* data() const noexcept { return data_; }
    constexpr std::size_t rows() const noexcept { return rows_; }
    constexpr std::size_t cols() const noexcept { return cols_; }
    constexpr std::size_t stride() const noexcept { return stride_; }
    constexpr bool empty() const noexcept { return rows_ == 0; }
    constexpr bool contiguous() const noexcept { return stride_ == cols_; }

    constexpr T* row(std::size_t i) const noexcept { return data_ + i * stride_; }
    constexpr std::span<T> operator[](std::size_t i) const noexcept { return {row(i), cols_}; }

    /// Rows [first, first + count).
    constexpr MatrixView slice(std::size_t first, std::size_t count) const noexcept {
        return {data_ == nullptr ? nullptr : row(first), count, cols_, stride_};
    }

private:
    T* data_ = nullptr;
    std::size_t rows_ = 0;
    std::size_t cols_ = 0;
    std::size_t stride_ = 0;
};

}  // namespace kith
