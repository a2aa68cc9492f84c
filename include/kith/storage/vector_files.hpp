// SPDX-License-Identifier: Apache-2.0
//
// Reading files of vectors (the formats of vector_format.hpp): VectorFile maps a file and shows its
// rows where they lie, as a MatrixView with the file's own stride, so that a set larger than memory
// opens at once and is read as it is searched.
//
// Opening costs O(1), but for .fvecs and their like, where each row repeats the dimension and all
// are checked (which touches the whole file; VectorFileOptions turns it off). A payload that is
// misaligned for its elements (an odd .npy header) is copied, once. Errors: not_found, io; corrupt,
// naming the file, expected and actual bytes; unsupported (extension, Fortran order, ...);
// type_mismatch when another element is asked for than the file holds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"
#include "kith/core/matrix.hpp"
#include "kith/storage/mapped_file.hpp"
#include "kith/storage/npy.hpp"
#include "kith/storage/vector_format.hpp"

namespace kith {

struct VectorFileOptions {
    std::optional<VectorFormat> format;  // by default what the extension says
    bool mmap = true;                    // otherwise the file is read into memory
    bool check_rows = true;  // .fvecs .bvecs .ivecs: compare every row's dimension with the first's
};

class VectorFile {
public:
    explicit VectorFile(const std::filesystem::path& path, const VectorFileOptions& options = {})
        : name_(path.string()) {
        const VectorFormat format = options.format ? *options.format : vector_format(path);
        if (options.mmap) {
            auto file = std::make_shared<const MappedFile>(path);
            bytes_ = file->bytes();
            mapped_ = file.get();
            keep_alive_ = std::move(file);
        } else {
            auto buffer = std::make_shared<const AlignedBuffer<std::byte>>(read_file(path));
            bytes_ = buffer->span();
            keep_alive_ = std::move(buffer);
        }
        parse(format, options.check_rows);
    }

    /// Bytes in memory that hold such a file; `keep_alive` may be null when the caller keeps them.
    VectorFile(std::span<const std::byte> bytes, const VectorFormat& format,
               std::string name = "vectors in memory", std::shared_ptr<const void> keep_alive = {})
        : name_(std::move(name)), bytes_(bytes), keep_alive_(std::move(keep_alive)) {
        parse(format, true);
    }

    FileElement element() const noexcept { return element_; }
    std::size_t rows() const noexcept { return rows_; }
    /// Dimensions of a row: bits for b1, elements otherwise.
    std::size_t dim() const noexcept { return dim_; }
    /// Stored elements of a row: bytes for b1.
    std::size_t cols() const noexcept { return cols_; }
    const std::string& name() const noexcept { return name_; }
    bool is_mapped() const noexcept { return mapped_ != nullptr; }
    /// Owner of the rows: hold a copy where views are kept.
    const std::shared_ptr<const void>& keep_alive() const noexcept { return keep_alive_; }

    /// All rows, in place. Throws Error{type_mismatch}.
    template <class T>
    MatrixView<const T> view() const {
        if (file_element<T>::value != element_)
            fail(ErrorCode::type_mismatch, name_, " holds elements of ", kith::name(element_),
                 ", expected ", kith::name(file_element<T>::value));
        return {static_cast<const T*>(static_cast<const void*>(data_)), rows_, cols_,
                stride_ / sizeof(T)};
    }

    /// The row `i` as raw bytes.
    std::span<const std::byte> row_bytes(std::size_t i) const noexcept {
        return {data_ + i * stride_, cols_ * element_bytes(element_)};
    }

    /// How the rows will be read; nothing happens for rows in memory.
    void advise(Access access) const noexcept {
        if (mapped_ != nullptr) mapped_->advise(access);
    }
    void advise(Access access, std::size_t first_row, std::size_t count) const noexcept {
        if (mapped_ != nullptr)
            mapped_->advise(access,
                            static_cast<std::size_t>(data_ - bytes_.data()) + first_row * stride_,
                            count * stride_);
    }

private:
    template <class... Parts>
    [[noreturn]] void corrupt(const Parts&... parts) const {
        fail(ErrorCode::corrupt, name_, ": ", parts...);
    }

    void parse(const VectorFormat& format, bool check_rows) {
        element_ = format.element;
        switch (format.layout) {
            case VectorLayout::vecs: parse_vecs(check_rows); break;
            case VectorLayout::bin: parse_bin(); break;
            case VectorLayout::npy: parse_npy(); break;
        }
        align();
    }

    std::int32_t dimension_at(std::size_t offset) const noexcept {
        std::int32_t dim = 0;
        std::memcpy(&dim, bytes_.data() + offset, sizeof dim);
        return dim;
    }

    void parse_vecs(bool check_rows) {
        constexpr std::size_t prefix = sizeof(std::int32_t);
        if (bytes_.size() < prefix)
            corrupt("expected at least ", prefix, " bytes, the file has ", bytes_.size());
        const std::int32_t dim = dimension_at(0);
        if (dim <= 0) corrupt("expected a positive dimension in row 0, got ", dim);
        cols_ = dim_ = static_cast<std::size_t>(dim);
        stride_ = prefix + cols_ * element_bytes(element_);
        rows_ = bytes_.size() / stride_;
        if (bytes_.size() % stride_ != 0)
            corrupt("expected a whole number of rows of ", stride_, " bytes (dimension ", dim,
                    "), the file has ", bytes_.size(), " bytes, that is ", rows_, " rows and ",
                    bytes_.size() % stride_, " bytes");
        if (check_rows) {
            advise(Access::sequential);
            for (std::size_t i = 1; i < rows_; ++i)
                if (dimension_at(i * stride_) != dim)
                    corrupt("expected dimension ", dim, " in row ", i, ", got ",
                            dimension_at(i * stride_));
            advise(Access::normal);
        }
        data_ = bytes_.data() + prefix;
    }

    void parse_bin() {
        constexpr std::size_t header = 2 * sizeof(std::uint32_t);
        if (bytes_.size() < header)
            corrupt("expected a header of ", header, " bytes, the file has ", bytes_.size());
        std::uint32_t rows = 0;
        std::uint32_t dim = 0;
        std::memcpy(&rows, bytes_.data(), sizeof rows);
        std::memcpy(&dim, bytes_.data() + sizeof rows, sizeof dim);
        set_shape(rows, dim, header);
    }

    void parse_npy() {
        const detail::NpyHeader header = detail::parse_npy(bytes_, name_);
        element_ = header.element;
        set_shape(header.rows, header.cols, header.data_offset);
    }

    /// Dense rows from `offset` to the end of the file.
    void set_shape(std::uint64_t rows, std::uint64_t dim, std::size_t offset) {
        const std::uint64_t payload = bytes_.size() - offset;
        const std::uint64_t size = element_bytes(element_);
        if (dim == 0) corrupt("expected rows of at least 1 dimension, got ", rows, " rows of 0");
        const std::uint64_t cols =
            element_ == FileElement::b1 ? dim / 8 + (dim % 8 != 0 ? 1 : 0) : dim;
        const bool fits =
            cols <= UINT64_MAX / size && (rows == 0 || rows <= UINT64_MAX / (cols * size));
        if (!fits || rows * cols * size != payload)
            corrupt("expected ", rows, " x ", dim, " elements of ", kith::name(element_),
                    " after the header (",
                    fits ? std::to_string(rows * cols * size) : "more than 2^64",
                    " bytes), the file has ", payload);
        rows_ = static_cast<std::size_t>(rows);
        dim_ = static_cast<std::size_t>(dim);
        cols_ = static_cast<std::size_t>(cols);
        stride_ = static_cast<std::size_t>(cols * size);
        data_ = bytes_.data() + offset;
    }

    /// Copies rows that no T* may point to.
    void align() {
        if (reinterpret_cast<std::uintptr_t>(data_) % element_bytes(element_) == 0) return;
        const std::size_t row = cols_ * element_bytes(element_);
        auto copy = std::make_shared<AlignedBuffer<std::byte>>(rows_ * row);
        for (std::size_t i = 0; i < rows_; ++i)
            std::memcpy(copy->data() + i * row, data_ + i * stride_, row);
        data_ = copy->data();
        stride_ = row;
        bytes_ = copy->span();
        mapped_ = nullptr;
        keep_alive_ = std::move(copy);
    }

    std::string name_;
    std::span<const std::byte> bytes_;
    std::shared_ptr<const void> keep_alive_;
    const MappedFile* mapped_ = nullptr;  // inside keep_alive_
    const std::byte* data_ = nullptr;     // of row 0
    std::size_t rows_ = 0;
    std::size_t dim_ = 0;
    std::size_t cols_ = 0;
    std::size_t stride_ = 0;  // bytes
    FileElement element_ = FileElement::f32;
};

/// Maps a file of vectors, its format told by its extension.
inline VectorFile open_vectors(const std::filesystem::path& path,
                               const VectorFileOptions& options = {}) {
    return VectorFile(path, options);
}

}  // namespace kith
