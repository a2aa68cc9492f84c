// SPDX-License-Identifier: Apache-2.0
//
// Writing files of vectors (the formats of vector_format.hpp), atomically: the file appears whole
// or not at all. Rows are written from where they lie, whatever their stride. Errors: type_mismatch
// when the format holds other elements (values are never converted), invalid_argument for shapes
// that the format cannot say, unsupported, io.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "kith/core/error.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/progress.hpp"
#include "kith/storage/file_writer.hpp"
#include "kith/storage/npy.hpp"
#include "kith/storage/vector_format.hpp"

namespace kith {

namespace detail {

inline std::string_view npy_descr(FileElement element, const std::filesystem::path& path) {
    switch (element) {
        case FileElement::f32: return "<f4";
        case FileElement::f16: return "<f2";
        case FileElement::u8: return "|u1";
        case FileElement::i8: return "|i1";
        case FileElement::i32: return "<i4";
        case FileElement::i64: return "<i8";
        default:
            fail(ErrorCode::unsupported, "cannot write ", path, ": NumPy has no type for ",
                 name(element), "; use .", name(element), "bin");
    }
}

template <class Integer>
Integer count_as(std::size_t value, std::string_view what, const std::filesystem::path& path) {
    if (value > static_cast<std::size_t>(std::numeric_limits<Integer>::max()))
        fail(ErrorCode::invalid_argument, "cannot write ", path, ": the format holds at most ",
             std::numeric_limits<Integer>::max(), " ", what, ", got ", value);
    return static_cast<Integer>(value);
}

}  // namespace detail

/// Creates or replaces `path`, in the format that its extension names. `bits`: the dimensions of b1
/// rows, 8 per element by default. Progress counts rows in the phase "write".
template <class View>
void write_vectors(const std::filesystem::path& path, const View& rows,
                   const Progress& progress = {}, std::size_t bits = 0) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(rows.data())>>;
    const VectorFormat format = vector_format(path);
    constexpr FileElement element = file_element<T>::value;
    if (format.layout != VectorLayout::npy && format.element != element)
        fail(ErrorCode::type_mismatch, "cannot write ", path, ": the format holds ",
             name(format.element), " elements, got ", name(element));
    if (rows.cols() == 0)
        fail(ErrorCode::invalid_argument, "cannot write ", path, ": rows of 0 dimensions");
    std::size_t dim = rows.cols();
    if (element == FileElement::b1) {
        dim = bits == 0 ? rows.cols() * 8 : bits;
        if (dim > rows.cols() * 8 || (dim + 7) / 8 != rows.cols())
            fail(ErrorCode::invalid_argument, "cannot write ", path, ": ", bits,
                 " bits do not fill rows of ", rows.cols(), " bytes");
    }

    std::string header;       // once
    std::int32_t prefix = 0;  // before each row, for vecs
    if (format.layout == VectorLayout::npy) {
        header = detail::make_npy(detail::npy_descr(element, path), rows.rows(), dim);
    } else if (format.layout == VectorLayout::bin) {
        const std::uint32_t shape[2] = {detail::count_as<std::uint32_t>(rows.rows(), "rows", path),
                                        detail::count_as<std::uint32_t>(dim, "dimensions", path)};
        header.assign(reinterpret_cast<const char*>(shape), sizeof shape);
    } else {
        prefix = detail::count_as<std::int32_t>(dim, "dimensions", path);
        if (rows.rows() == 0)
            fail(ErrorCode::invalid_argument, "cannot write ", path,
                 ": without a row the format cannot say the dimension; use .npy");
    }

    AtomicFile file(path);
    file.write(std::as_bytes(std::span(header)));
    constexpr std::size_t rows_between_reports = 4096;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        if (format.layout == VectorLayout::vecs) file.write(std::as_bytes(std::span(&prefix, 1)));
        file.write(std::as_bytes(rows[i]));
        if ((i + 1) % rows_between_reports == 0) progress.report("write", i + 1, rows.rows());
    }
    progress.report("write", rows.rows(), rows.rows());
    file.commit();
}

}  // namespace kith
