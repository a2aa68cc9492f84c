// SPDX-License-Identifier: Apache-2.0
//
// Rows<T>: the vectors of an index, owned, borrowed from the caller or mapped from a file; always
// seen through one MatrixView, so that no index has a storage type parameter.
//
// Borrowing and mapping copy nothing. A change that the foreign memory cannot take (append,
// overwrite, swap_remove of an inner row) first copies all rows into memory of their own, once;
// truncating never copies. Appending is amortised O(1) per row (growth by half). The view and every
// pointer into it are invalidated by a change. Errors: dimension_mismatch (row of another length),
// invalid_argument (too many rows, slot out of range), out_of_memory; after an error the rows are
// as they were.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/types.hpp"

namespace kith {

enum class RowsKind : std::uint8_t { owned, borrowed, mapped };

struct RowsOptions {
    bool pad_rows = false;  // start every owned row at a multiple of 64 bytes
    MemoryPolicy memory;
};

template <class T>
class Rows {
    static_assert(std::is_trivially_copyable_v<T> && !std::is_const_v<T>);

public:
    Rows() = default;

    /// No rows yet, of `cols` elements each.
    explicit Rows(std::size_t cols, RowsOptions options = {})
        : cols_(cols), stride_(padded(cols, options)), options_(options) {
        if (cols == 0)
            fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
    }

    /// The caller's memory, which must stay as long as these rows do, or as `keep_alive` keeps it.
    static Rows borrow(MatrixView<const T> view, std::shared_ptr<const void> keep_alive = {},
                       RowsOptions options = {}) {
        return Rows(view, RowsKind::borrowed, std::move(keep_alive), options);
    }
    /// Memory inside a mapped file that `keep_alive` holds.
    static Rows map(MatrixView<const T> view, std::shared_ptr<const void> keep_alive,
                    RowsOptions options = {}) {
        return Rows(view, RowsKind::mapped, std::move(keep_alive), options);
    }
    static Rows copy(MatrixView<const T> view, RowsOptions options = {}) {
        Rows rows(view.cols(), options);
        rows.append(view);
        return rows;
    }

    Rows(Rows&& other) noexcept { swap(other); }
    Rows& operator=(Rows&& other) noexcept {
        Rows moved(std::move(other));
        swap(moved);
        return *this;
    }
    Rows(const Rows&) = delete;
    Rows& operator=(const Rows&) = delete;
    ~Rows() = default;

    MatrixView<const T> view() const noexcept { return {data_, rows_, cols_, stride_}; }
    const T* row(Slot slot) const noexcept { return data_ + std::size_t{slot} * stride_; }
    std::size_t rows() const noexcept { return rows_; }
    std::size_t cols() const noexcept { return cols_; }
    std::size_t stride() const noexcept { return stride_; }
    bool empty() const noexcept { return rows_ == 0; }

    RowsKind kind() const noexcept { return kind_; }
    /// Whether the memory is somebody else's: the caller's or a mapped file.
    bool is_borrowed() const noexcept { return kind_ != RowsKind::owned; }
    /// Memory of their own, in bytes.
    std::size_t bytes() const noexcept { return buffer_.bytes(); }
    /// Rows that fit before the next allocation.
    std::size_t capacity() const noexcept {
        return is_borrowed() || stride_ == 0 ? rows_ : buffer_.size() / stride_;
    }

    /// Rows of their own: row i is row slots[i] of these, zeros where that is invalid_slot.
    Rows selected(std::span<const Slot> slots, Executor& executor = inline_executor()) const {
        Rows rows(cols_, options_);
        rows.reserve(slots.size());
        rows.rows_ = slots.size();
        executor.run(slots.size(), 1024, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = begin; i < end; ++i)
                if (slots[i] != invalid_slot)
                    std::memcpy(rows.own_row(static_cast<Slot>(i)), row(slots[i]), cols_ * sizeof(T));
        });
        return rows;
    }

    /// Makes room for `count` rows in all; copies foreign rows.
    void reserve(std::size_t count) {
        if (is_borrowed() || count > capacity()) reallocate(std::max(count, rows_));
    }

    /// Appends rows of the same length; may be rows of this very object.
    void append(MatrixView<const T> more) {
        if (more.cols() != cols_)
            fail(ErrorCode::dimension_mismatch, "expected rows of ", cols_, " elements, got ",
                 more.cols());
        if (more.rows() == 0) return;
        if (more.rows() > max_rows - rows_)
            fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " rows, got ", rows_,
                 " and ", more.rows(), " more");
        const std::size_t total = rows_ + more.rows();
        AlignedBuffer<T> old;  // keeps the memory of `more` where that is our own
        std::shared_ptr<const void> old_owner = keep_alive_;
        if (is_borrowed() || total > capacity()) {
            // The first rows often are all there will be: no slack for them.
            const std::size_t wanted =
                rows_ == 0 ? total : std::max(total, std::min(rows_ + rows_ / 2, max_rows));
            old = reallocate(wanted);
        }
        T* to = buffer_.data() + rows_ * stride_;
        if (more.stride() == stride_ && stride_ == cols_) {
            std::memcpy(to, more.data(), more.rows() * cols_ * sizeof(T));
        } else {
            for (std::size_t i = 0; i < more.rows(); ++i)
                std::memcpy(to + i * stride_, more.row(i), cols_ * sizeof(T));
        }
        rows_ = total;
    }
    void append(std::span<const T> row) { append(MatrixView<const T>(row.data(), 1, row.size())); }

    /// Rows of `value` in every element, up to `count` of them in all.
    void extend(std::size_t count, T value) {
        if (count <= rows_) return;
        if (count > max_rows)
            fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " rows, got ", count);
        if (is_borrowed() || count > capacity())
            reallocate(rows_ == 0 ? count
                                  : std::max(count, std::min(rows_ + rows_ / 2, max_rows)));
        for (std::size_t i = rows_; i < count; ++i)
            std::fill_n(buffer_.data() + i * stride_, cols_, value);
        rows_ = count;
    }

    /// The row, to be written. Only rows that are owned (make_owned) have one.
    T* own_row(Slot slot) noexcept { return buffer_.data() + std::size_t{slot} * stride_; }

    /// Replaces a row.
    void overwrite(Slot slot, std::span<const T> row) {
        check(slot);
        if (row.size() != cols_)
            fail(ErrorCode::dimension_mismatch, "expected a row of ", cols_, " elements, got ",
                 row.size());
        AlignedBuffer<T> old;
        std::shared_ptr<const void> old_owner = keep_alive_;
        if (is_borrowed()) old = reallocate(rows_);
        std::memmove(buffer_.data() + std::size_t{slot} * stride_, row.data(), cols_ * sizeof(T));
    }

    /// Removes a row in O(1): the last row takes its slot.
    void swap_remove(Slot slot) {
        check(slot);
        if (slot + 1 != rows_) overwrite(slot, view()[rows_ - 1]);
        --rows_;
    }

    /// Keeps the first `count` rows.
    void truncate(std::size_t count) noexcept { rows_ = std::min(rows_, count); }

    /// Copies foreign rows into memory of their own, and lets the foreign memory go.
    void make_owned() {
        if (is_borrowed()) reallocate(rows_);
    }

private:
    Rows(MatrixView<const T> view, RowsKind kind, std::shared_ptr<const void> keep_alive,
         RowsOptions options)
        : keep_alive_(std::move(keep_alive)),
          data_(view.data()),
          rows_(view.rows()),
          cols_(view.cols()),
          stride_(view.stride()),
          options_(options),
          kind_(kind) {
        if (cols_ == 0)
            fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
        if (stride_ < cols_)
            fail(ErrorCode::invalid_argument, "expected a stride of at least ", cols_,
                 " elements, got ", stride_);
        if (rows_ > max_rows)
            fail(ErrorCode::invalid_argument, "expected at most ", max_rows, " rows, got ", rows_);
        if (reinterpret_cast<std::uintptr_t>(data_) % alignof(T) != 0)
            fail(ErrorCode::invalid_argument, "expected rows aligned to ", alignof(T), " bytes");
    }

    static constexpr std::size_t padded(std::size_t cols, const RowsOptions& options) noexcept {
        constexpr std::size_t line = AlignedBuffer<T>::alignment / sizeof(T);
        if (!options.pad_rows || AlignedBuffer<T>::alignment % sizeof(T) != 0) return cols;
        return (cols + line - 1) / line * line;
    }

    void check(Slot slot) const {
        if (slot >= rows_)
            fail(ErrorCode::invalid_argument, "expected a slot below ", rows_, ", got ", slot);
    }

    /// Moves the rows into an own buffer for `capacity` rows; returns the buffer they were in.
    AlignedBuffer<T> reallocate(std::size_t capacity) {
        const std::size_t stride = padded(cols_, options_);
        if (stride != 0 && capacity > SIZE_MAX / sizeof(T) / stride)
            fail(ErrorCode::out_of_memory, "cannot allocate ", capacity, " rows of ", stride,
                 " elements");
        AlignedBuffer<T> buffer(capacity * stride, options_.memory);
        if (rows_ != 0 && stride == cols_ && stride_ == cols_) {
            std::memcpy(buffer.data(), data_, rows_ * cols_ * sizeof(T));
        } else {
            for (std::size_t i = 0; i < rows_; ++i)
                std::memcpy(buffer.data() + i * stride, data_ + i * stride_, cols_ * sizeof(T));
        }
        std::swap(buffer_, buffer);
        data_ = buffer_.data();
        stride_ = stride;
        kind_ = RowsKind::owned;
        keep_alive_.reset();
        return buffer;
    }

    void swap(Rows& other) noexcept {
        std::swap(buffer_, other.buffer_);
        std::swap(keep_alive_, other.keep_alive_);
        std::swap(data_, other.data_);
        std::swap(rows_, other.rows_);
        std::swap(cols_, other.cols_);
        std::swap(stride_, other.stride_);
        std::swap(options_, other.options_);
        std::swap(kind_, other.kind_);
    }

    AlignedBuffer<T> buffer_;                 // empty unless owned
    std::shared_ptr<const void> keep_alive_;  // of foreign memory, where anybody gave it
    const T* data_ = nullptr;                 // of row 0
    std::size_t rows_ = 0;
    std::size_t cols_ = 0;
    std::size_t stride_ = 0;
    RowsOptions options_;
    RowsKind kind_ = RowsKind::owned;
};

}  // namespace kith
