// SPDX-License-Identifier: Apache-2.0
//
// RabitqCodec: 1 to 8 bits a dimension, with an unbiased estimator and a bound of its error. RaBitQ (Gao and Long, SIGMOD 2024, "RaBitQ: quantizing
// high-dimensional vectors with a theoretical error bound for approximate nearest neighbor search") and its extension to more bits (Gao et al., SIGMOD
// 2025, "Practical and asymptotically optimal quantization of high-dimensional vectors in Euclidean space for approximate nearest neighbor search").
//
// c is a centre of all rows, P a random rotation (quantize/rotation.hpp) to D dimensions, delta = P(x - c), r = |delta|. A row's code is a vector of odd
// numbers y_j = 2 u_j - (2^B - 1), u_j of B bits, in the direction that is nearest to delta's: of all y that rounding t delta can give, for any scale t,
// the one with the largest cosine <y, delta> / (|y| r) (section 3.2 of the second paper). For any v that knows nothing of P, over the choice of P
//
//   <delta, v>  ~  rescale <y, v>       rescale = r^2 / <y, delta>           unbiased (theorem 3.2 of the first paper)
//   error       <=  epsilon |v| r tan / (D - 1)^1/2                          cosine = <y, delta> / (|y| r), tan = (1 / cosine^2 - 1)^1/2
//
// but for a share of cases that falls as exp(-epsilon^2 / 2): with epsilon = 1.9 it is about one in twenty. An error is half as large with each bit.
//
// The search for the scale: the cosine is looked at for a dozen scales about the one that is best for normal coordinates, and more closely about the best of
// those. About that one every change of the code that a growing scale brings is tried, D / 2 of them or 128, as the paper does for all of them.
//
// A row of codes is RabitqFactors (12 bytes) and D B / 8 bytes, laid out as simd/rabitq_kernels.hpp says. Rows depend on nothing but the data and the seed.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"
#include "kith/core/params.hpp"
#include "kith/quantize/rotation.hpp"
#include "kith/simd/table.hpp"

namespace kith {

struct RabitqParams {
    std::uint32_t bits = 4;

    static constexpr auto fields() {
        return std::tuple{field("bits", &RabitqParams::bits, 1, 8, "of a dimension's code, 1 to 8; each halves the error of estimates")};
    }
    friend bool operator==(const RabitqParams&, const RabitqParams&) = default;
};

namespace detail {

/// The levels m_j of magnitudes a_j >= 0, y_j = 2 m_j + 1 in size, whose direction is nearest to that of a. Scratch: a warm one allocates nothing more.
class RabitqLevels {
public:
    /// a: dim elements (a multiple of 8), the largest of them between 1/2 and 1. O(dim), and dim log dim for the last step.
    void find(const float* a, std::size_t dim, std::size_t bits, std::uint8_t* levels) {
        most_ = static_cast<std::int32_t>(1u << (bits - 1)) - 1;
        if (bits == 1) {
            std::fill_n(levels, dim, std::uint8_t{0});
            return;
        }
        double squares = 0, sum = 0;
        float largest = 0;
        for (std::size_t i = 0; i < dim; ++i) {
            largest = std::max(largest, a[i]);
            squares += static_cast<double>(a[i]) * static_cast<double>(a[i]);
            sum += static_cast<double>(a[i]);
        }
        const double unclipped = (most_ + 1) / static_cast<double>(largest);  // the largest scale at which no level is cut off
        const double scale = best_on_grid(a, dim, std::sqrt(static_cast<double>(dim) / squares) / normal_step[bits], unclipped);
        const double wanted = std::max(static_cast<double>(dim), 256.0) / 2;  // changes to try
        const double half = std::min(0.3, wanted / (2 * sum * scale));
        sweep(a, dim, scale * (1 - half), scale * (1 + half), levels);
    }

private:
    /// The distance of levels that loses least of a standard normal variable (Max 1960, "Quantizing for minimum distortion").
    static constexpr std::array<double, 9> normal_step{0, 1.596, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308};
    static constexpr std::array<double, 17> grid{1.0, 0.94, 1.06, 0.88, 1.12, 0.82, 1.2, 0.76, 1.3, 0.7, 1.42, 0.64, 1.6, 0.55, 1.9, 0.45, 2.4};

    struct Change {
        double scale;
        std::uint32_t at;
    };

    std::int32_t level(float a, float scale) const noexcept { return std::min(static_cast<std::int32_t>(a * scale), most_); }

    /// The squared cosine, times |a|^2. Products are exact and added in one order.
    double closeness(const float* a, std::size_t dim, double scale) const noexcept {
        constexpr std::size_t lanes = 8;
        const auto s = static_cast<float>(scale);
        double dots[lanes] = {};
        std::int32_t squares[lanes] = {};
        std::int64_t square = 0;
        for (std::size_t i = 0; i < dim;) {
            const std::size_t end = std::min(dim, i + (std::size_t{1} << 16));  // so many squares of at most 255^2 fit into a lane
            for (; i < end; i += lanes)
                for (std::size_t j = 0; j < lanes; ++j) {
                    const std::int32_t y = 2 * level(a[i + j], s) + 1;
                    dots[j] += static_cast<double>(a[i + j]) * y;
                    squares[j] += y * y;
                }
            for (std::size_t j = 0; j < lanes; ++j) square += std::exchange(squares[j], 0);
        }
        const double dot = ((dots[0] + dots[1]) + (dots[2] + dots[3])) + ((dots[4] + dots[5]) + (dots[6] + dots[7]));
        return dot * dot / static_cast<double>(square);
    }

    /// In many dimensions the cosine changes smoothly with the scale, and half of the grid will do.
    double best_on_grid(const float* a, std::size_t dim, double about, double unclipped) const noexcept {
        double best = about, highest = -1;
        const auto look = [&](double scale) {
            const double found = closeness(a, dim, scale);
            if (found > highest) {
                highest = found;
                best = scale;
            }
        };
        look(unclipped);
        for (std::size_t i = 0; i < grid.size(); i += dim < 512 ? 1 : 2) look(about * grid[i]);
        for (const double finer : {0.03, 0.015}) {
            const double middle = best;
            look(middle * (1 - finer));
            look(middle * (1 + finer));
        }
        return best;
    }

    /// The best code between two scales: each step up of a level changes two sums.
    void sweep(const float* a, std::size_t dim, double from, double to, std::uint8_t* levels) {
        changes_.clear();
        double dot = 0, square = 0;
        for (std::size_t i = 0; i < dim; ++i) {
            std::int32_t m = level(a[i], static_cast<float>(from));
            levels[i] = static_cast<std::uint8_t>(m);
            dot += static_cast<double>(a[i]) * (2 * m + 1);
            square += (2 * m + 1) * (2 * m + 1);
            for (++m; m <= most_ && static_cast<double>(a[i]) * to >= m; ++m)
                changes_.push_back({m / static_cast<double>(a[i]), static_cast<std::uint32_t>(i)});
        }
        std::sort(changes_.begin(), changes_.end(),
                  [](const Change& x, const Change& y) { return x.scale != y.scale ? x.scale < y.scale : x.at < y.at; });
        double best = dot * dot / square;
        std::size_t made = 0;
        for (std::size_t i = 0; i < changes_.size(); ++i) {
            const std::size_t at = changes_[i].at;
            ++levels[at];
            dot += 2 * static_cast<double>(a[at]);
            square += 8.0 * levels[at];  // (2m + 1)^2 - (2m - 1)^2
            const double found = dot * dot / square;
            if (found > best) {
                best = found;
                made = i + 1;
            }
        }
        for (std::size_t i = made; i < changes_.size(); ++i) --levels[changes_[i].at];
    }

    std::vector<Change> changes_;
    std::int32_t most_ = 0;
};

}  // namespace detail

/// Copyable; all const members may be called from many threads.
class RabitqCodec {
public:
    using Factors = simd::RabitqFactors;
    static constexpr std::size_t max_dim = 33024;  // 255^2 times that is below 2^31: products of two codes fit

    /// A row on its way to a code.
    struct Workspace {
        AlignedBuffer<float> row, rotated, sizes;
        AlignedBuffer<std::uint8_t> codes;
        detail::RabitqLevels levels;

        void reserve(std::size_t dim, std::size_t padded) {
            row.reserve_discarding(dim);
            rotated.reserve_discarding(padded);
            sizes.reserve_discarding(padded);
            codes.reserve_discarding(padded);
        }
    };

    /// What a row's code is worth: what a kernel needs, and |delta|.
    struct Coded {
        Factors factors;
        float length;
    };

    /// Throws Error{dimension_mismatch, invalid_argument, unsupported}.
    RabitqCodec(std::size_t bits, std::uint64_t seed, std::vector<float> centre) : bits_(bits), centre_(std::move(centre)) {
        check_shape(dim(), bits);
        rotation_ = Rotation(dim(), seed);
        for (const float x : centre_) centre_norm_ += static_cast<double>(x) * static_cast<double>(x);
    }

    static void check_shape(std::size_t dim, std::size_t bits) {
        if (dim == 0) fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
        if (dim > max_dim) fail(ErrorCode::unsupported, "expected at most ", max_dim, " dimensions, got ", dim);
        if (bits < 1 || bits > 8) fail(ErrorCode::invalid_argument, "expected 1 to 8 bits a dimension, got ", bits);
    }

    std::size_t dim() const noexcept { return centre_.size(); }
    std::size_t padded_dim() const noexcept { return rotation_.padded_dim(); }
    std::size_t bits() const noexcept { return bits_; }
    std::size_t code_bytes() const noexcept { return code_bytes(dim(), bits_); }
    static constexpr std::size_t code_bytes(std::size_t dim, std::size_t bits) noexcept {
        return (dim + Rotation::multiple - 1) / Rotation::multiple * (Rotation::multiple / 8) * bits;
    }
    /// 2^bits - 1: the size of the largest y.
    std::int32_t largest() const noexcept { return (1 << bits_) - 1; }
    const Rotation& rotation() const noexcept { return rotation_; }
    std::span<const float> centre() const noexcept { return centre_; }
    double centre_norm() const noexcept { return centre_norm_; }  // squared
    std::size_t bytes() const noexcept { return (dim() + 4 * padded_dim()) * sizeof(float); }

    /// Codes the row in space.row; factors.add is left zero. code: code_bytes() bytes. What is not finite gets the centre's code, and a length that is far off.
    Coded encode(Workspace& space, std::uint8_t* code) const {
        const std::size_t n = padded_dim();
        for (std::size_t i = 0; i < dim(); ++i) space.row[i] -= centre_[i];
        float* const delta = space.rotated.data();
        rotation_.apply(space.row.data(), delta);
        float most = 0;
        bool finite = true;
        for (std::size_t i = 0; i < n; ++i) {
            most = std::max(most, std::abs(delta[i]));
            finite = finite && std::isfinite(delta[i]);
        }
        if (!finite || most < smallest) {
            std::memset(code, 0, code_bytes());
            return {{0.0f, 0.0f, 1.0f}, finite ? 0.0f : std::numeric_limits<float>::max()};
        }
        const float power = std::ldexp(1.0f, -std::ilogb(most) - 1);
        for (std::size_t i = 0; i < n; ++i) space.sizes[i] = std::abs(delta[i]) * power;
        space.levels.find(space.sizes.data(), n, bits_, space.codes.data());
        double square = 0, dot = 0, squares = 0;
        const std::int32_t middle = 1 << (bits_ - 1);
        for (std::size_t i = 0; i < n; ++i) {
            const std::int32_t m = space.codes[i], y = 2 * m + 1;
            const auto d = static_cast<double>(delta[i]);
            square += d * d;
            dot += std::abs(d) * y;
            squares += y * y;
            space.codes[i] = static_cast<std::uint8_t>(std::signbit(delta[i]) ? middle - 1 - m : middle + m);
        }
        pack(space.codes.data(), code);
        const double length = std::sqrt(square);
        return {{0.0f, to_finite(square / dot), static_cast<float>(std::min(1.0, dot / (length * std::sqrt(squares))))}, to_finite(length)};
    }

    /// The nearest float there is.
    static float to_finite(double x) noexcept {
        constexpr auto most = static_cast<double>(std::numeric_limits<float>::max());
        return static_cast<float>(std::clamp(x, -most, most));
    }

    /// padded_dim() codes of 0 .. 2^bits - 1 into code_bytes() bytes, and back.
    void pack(const std::uint8_t* codes, std::uint8_t* to) const noexcept {
        std::memset(to, 0, code_bytes());
        for_each_part([&](std::size_t width, std::size_t shift) {
            const std::size_t length = padded_dim() * width / 8;
            const std::uint32_t mask = (1u << width) - 1;
            for (std::size_t k = 0; k < 8 / width; ++k)
                for (std::size_t p = 0; p < length; ++p)
                    to[p] = static_cast<std::uint8_t>(to[p] | (codes[k * length + p] >> shift & mask) << (k * width));
            to += length;
        });
    }
    void unpack(const std::uint8_t* code, std::uint8_t* codes) const noexcept {
        std::memset(codes, 0, padded_dim());
        for_each_part([&](std::size_t width, std::size_t shift) {
            const std::size_t length = padded_dim() * width / 8;
            const auto mask = static_cast<std::uint8_t>((1u << width) - 1);
            for (std::size_t k = 0; k < 8 / width; ++k)  // four bytes at a time: length is a multiple of that
                for (std::size_t p = 0; p < length; p += 4) {
                    std::uint32_t bytes, sum;
                    std::memcpy(&bytes, code + p, 4);
                    std::memcpy(&sum, codes + k * length + p, 4);
                    sum |= (bytes >> (k * width) & (0x01010101u * mask)) << shift;
                    std::memcpy(codes + k * length + p, &sum, 4);
                }
            code += length;
        });
    }

    /// The row that a code and its factors stand for: centre + P^-1 (r / |y|) y. x: padded_dim() floats, of which the first dim() are the row.
    void decode(const std::uint8_t* code, const Factors& factors, std::uint8_t* codes, float* x) const noexcept {
        unpack(code, codes);
        const float unit = factors.rescale * factors.cosine;
        for (std::size_t i = 0; i < padded_dim(); ++i) x[i] = unit * static_cast<float>(2 * codes[i] - largest());
        rotation_.apply_inverse(x);
        for (std::size_t i = 0; i < dim(); ++i) x[i] += centre_[i];
    }

private:
    static constexpr float smallest = 1e-30f;  // below, squares vanish: such a row is as good as the centre

    /// f(width, shift) for the parts of a code, the most significant ones first.
    template <class F>
    void for_each_part(F f) const {
        std::size_t shift = bits_;
        for (const std::size_t width : {8u, 4u, 2u, 1u})
            if ((bits_ & width) != 0) f(width, shift -= width);
    }

    std::size_t bits_;
    std::vector<float> centre_;
    Rotation rotation_;
    double centre_norm_ = 0;
};

}  // namespace kith
