// SPDX-License-Identifier: Apache-2.0
//
// Which files of vectors there are, told apart by extension, and what their elements can be.
//
//   .fvecs .bvecs .ivecs   (TEXMEX) each row: i32 dimension, then its elements f32, u8 or i32
//   .fbin .f16bin .bf16bin .u8bin .i8bin .ibin .b1bin   (Big ANN) u32 rows, u32 dimension, then all
//     elements; ibin: i32
//   .npy                   (NumPy) C order, little-endian: f4 f2 u1 i1 i4 i8
//
// FileElement goes beyond ElementType: ground truth comes as i32 or i64.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "kith/core/error.hpp"
#include "kith/core/types.hpp"

namespace kith {

enum class FileElement : std::uint8_t { f32, f16, bf16, i8, u8, b1, i32, i64 };

constexpr std::string_view name(FileElement element) noexcept {
    switch (element) {
        case FileElement::f32: return "f32";
        case FileElement::f16: return "f16";
        case FileElement::bf16: return "bf16";
        case FileElement::i8: return "i8";
        case FileElement::u8: return "u8";
        case FileElement::b1: return "b1";
        case FileElement::i32: return "i32";
        case FileElement::i64: return "i64";
    }
    return "unknown";
}

/// Bytes of one stored element (b1: eight dimensions).
constexpr std::size_t element_bytes(FileElement element) noexcept {
    switch (element) {
        case FileElement::f32:
        case FileElement::i32: return 4;
        case FileElement::f16:
        case FileElement::bf16: return 2;
        case FileElement::i64: return 8;
        default: return 1;
    }
}

/// What an index calls the same elements; none for i32 and i64.
constexpr std::optional<ElementType> element_type(FileElement element) noexcept {
    switch (element) {
        case FileElement::f32: return ElementType::f32;
        case FileElement::f16: return ElementType::f16;
        case FileElement::bf16: return ElementType::bf16;
        case FileElement::i8: return ElementType::i8;
        case FileElement::u8: return ElementType::u8;
        case FileElement::b1: return ElementType::b1;
        default: return std::nullopt;
    }
}

template <class T>
struct file_element;
template <>
struct file_element<float> {
    static constexpr auto value = FileElement::f32;
};
template <>
struct file_element<Half> {
    static constexpr auto value = FileElement::f16;
};
template <>
struct file_element<BFloat16> {
    static constexpr auto value = FileElement::bf16;
};
template <>
struct file_element<std::int8_t> {
    static constexpr auto value = FileElement::i8;
};
template <>
struct file_element<std::uint8_t> {
    static constexpr auto value = FileElement::u8;
};
template <>
struct file_element<Bits8> {
    static constexpr auto value = FileElement::b1;
};
template <>
struct file_element<std::int32_t> {
    static constexpr auto value = FileElement::i32;
};
template <>
struct file_element<std::int64_t> {
    static constexpr auto value = FileElement::i64;
};

/// How a file of vectors is laid out; the element is the format's, but for npy, whose header says
/// it.
enum class VectorLayout : std::uint8_t { vecs, bin, npy };

struct VectorFormat {
    std::string_view extension;
    VectorLayout layout = VectorLayout::npy;
    FileElement element = FileElement::f32;
};

inline constexpr std::array<VectorFormat, 11> vector_formats{{
    {".npy", VectorLayout::npy, FileElement::f32},
    {".fvecs", VectorLayout::vecs, FileElement::f32},
    {".bvecs", VectorLayout::vecs, FileElement::u8},
    {".ivecs", VectorLayout::vecs, FileElement::i32},
    {".fbin", VectorLayout::bin, FileElement::f32},
    {".f16bin", VectorLayout::bin, FileElement::f16},
    {".bf16bin", VectorLayout::bin, FileElement::bf16},
    {".u8bin", VectorLayout::bin, FileElement::u8},
    {".i8bin", VectorLayout::bin, FileElement::i8},
    {".ibin", VectorLayout::bin, FileElement::i32},
    {".b1bin", VectorLayout::bin, FileElement::b1},
}};

/// The format that a file's extension names. Throws Error{unsupported}.
inline VectorFormat vector_format(const std::filesystem::path& path) {
    const std::string extension = path.extension().string();
    std::string known;
    for (const VectorFormat& format : vector_formats) {
        if (format.extension == extension) return format;
        known += known.empty() ? "" : " ";
        known += format.extension;
    }
    fail(ErrorCode::unsupported, "cannot tell the format of ", path,
         " by its extension; known: ", known);
}

}  // namespace kith
