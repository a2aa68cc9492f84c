// SPDX-License-Identifier: Apache-2.0
//
// ScalarCodec<Bits>: rows as 8 or 4 bits a dimension (Sq8Codec, Sq4Codec), so that distances between codes are integer
// kernels and nothing else.
//
//     x_i  ~  centre_i + step * level_i        level_i in -2^(Bits-1) .. 2^(Bits-1) - 1
//
// A code is a byte here, whatever Bits is; who keeps codes of 4 bits packs them (quantize/nibbles.hpp).
//
// One step serves all dimensions, which is what keeps the arithmetic whole: |x - y|^2 ~ step^2 * |levels of x -
// levels of y|^2, and centres cancel. (A step for each dimension needs a multiplication for each; one for each row is
// locally-adaptive vector quantisation, Aguerrebere et al. 2023, "Similarity search in the blink of an eye with
// compressed indices".)
//
// Training takes rows at fixed places of equal strata, at most 8,192, and looks for the step with the least squared
// error on them, rounding and clipping together: a step that reaches the farthest outlier is not fine enough for all
// others. Given a step, each dimension has the window of levels that clips least, which is found by ternary
// search, the clipped error being convex in the window's place, and then moved by less than half a step until the
// median is a level: where most values are the same (zeros of sparse rows), that is exact. Rows with NaN or infinity
// are left out; and so are, unless it is asked for, up to one in a hundred that are more than 8 times as far from the
// mean as the median row: one broken row must not make all others alike. Few rows say little about those to come: the
// step is widened by 8 / n of itself.
//
// Arithmetic that decides on a code is double and free of sums that a compiler might fuse, so codes do not depend on
// the machine. A decoded row has exactly its own codes, as long as the step is not finer than floats are spaced
// there. 8-bit integer rows decode to integers, and have a step of at least 1, for the same reason.
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kith/core/error.hpp"
#include "kith/core/executor.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"
#include "kith/quantize/sample.hpp"

namespace kith {

/// What training does about rows far off. Under the inner product they are the answers.
enum class FarRows : std::uint8_t { leave_out, keep };

/// Rows that are quantised to 4 bits: 8-bit unsigned integers have something to lose too.
template <class T>
concept QuantizedElement = FloatElement<T> || std::same_as<T, std::uint8_t>;

template <int Bits>
class ScalarCodec {
    static_assert(Bits == 4 || Bits == 8);
    static constexpr int zero = 1 << (Bits - 1);  // the unsigned code of level 0

public:
    /// Centres, one for each dimension, and a step > 0. Throws Error{dimension_mismatch} for no dimensions.
    ScalarCodec(std::vector<float> centres, float step) : centres_(std::move(centres)), step_(step) {
        if (centres_.empty()) fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
    }

    /// O(m d log m) for a sample of m = min(n, 8192) rows, fewer past 512 dimensions; 4 m d bytes meanwhile. The same
    /// for any executor.
    template <QuantizedElement T, class Scale = Unscaled>
    static ScalarCodec train(MatrixView<const T> rows, Executor& executor = inline_executor(), std::uint64_t seed = 0, Scale scale = {},
                          FarRows far = FarRows::leave_out) {
        if (rows.cols() == 0) fail(ErrorCode::dimension_mismatch, "expected rows of at least 1 element, got 0");
        return Trainer(sample(rows, seed, scale, far, executor), rows.cols(), FloatElement<T> ? 0 : 1).train(executor);
    }

    std::size_t dim() const noexcept { return centres_.size(); }
    const float& step() const noexcept { return step_; }
    std::span<const float> centres() const noexcept { return centres_; }

    /// The code of a value that was scaled: levels are signed, codes of uint8 count from 0. NaN is as low as can be.
    template <class Code>
    Code code(double value, std::size_t dimension) const noexcept {
        return nearest<Code>(value, centres_[dimension], inverse());
    }

    template <class Code>
    float value(Code code, std::size_t dimension) const noexcept {
        constexpr double most = std::numeric_limits<float>::max();
        return static_cast<float>(std::clamp(exact(code, dimension), -most, most));
    }

    /// dim() values to dim() codes of int8 or uint8. O(d).
    template <class T, class Code>
    void encode(const T* row, float scale, Code* codes) const noexcept {
        // Bytes that are written might be anybody's: what the loop reads is made its own.
        const float* const centres = centres_.data();
        const std::size_t count = dim();
        const double by = inverse();
        for (std::size_t i = 0; i < count; ++i)
            codes[i] = nearest<Code>(static_cast<double>(to_float(row[i])) * static_cast<double>(scale), centres[i], by);
    }

    /// A query, which may be finer than rows and reach beyond them: quarters of a level from the lowest one on, -32 .. 95.
    /// The 16 levels are 0, 4 .. 60; as many again are outside, where clipping a query would cost more than a row's.
    template <class T>
        requires(Bits == 4)
    void encode_query(const T* row, float scale, std::int8_t* quarters) const noexcept {
        const double by = 4 * inverse();
        for (std::size_t i = 0; i < dim(); ++i) {
            const double x = static_cast<double>(to_float(row[i])) * static_cast<double>(scale);
            quarters[i] = static_cast<std::int8_t>(nearest(x, centres_[i], by, -64, 63) + 32);
        }
    }

    /// A value as an element of a decoded row.
    template <class T, class Code>
    T element(Code code, std::size_t dimension) const noexcept {
        if constexpr (std::is_same_v<T, float>) {
            return value(code, dimension);
        } else {
            const double v = exact(code, dimension);  // NaN, of a file that nobody has validated
            return v > 0 ? static_cast<T>(std::min(v, 255.0) + 0.5) : T{0};
        }
    }

    template <class T, class Code>
    void decode(const Code* codes, T* row) const noexcept {
        for (std::size_t i = 0; i < dim(); ++i) row[i] = element<T>(codes[i], i);
    }

    /// Whether a row is what decode() makes of codes, which then come out; it ends at the first value that is not.
    template <class T, class Code>
    bool is_decoded(const T* row, Code* codes) const noexcept {
        for (std::size_t i = 0; i < dim(); ++i) {
            codes[i] = code<Code>(static_cast<double>(row[i]), i);
            if (element<T>(codes[i], i) != row[i]) return false;
        }
        return true;
    }

    /// The squared distance of a scaled row from what is left of it.
    template <class T>
    double squared_error(const T* row, float scale = 1.0f) const noexcept {
        double sum = 0;
        for (std::size_t i = 0; i < dim(); ++i) {
            const double x = static_cast<double>(to_float(row[i])) * static_cast<double>(scale);
            const double error = x - static_cast<double>(value(code<std::uint8_t>(x, i), i));
            sum += error * error;
        }
        return sum;
    }

private:
    template <class Code>
    double exact(Code code, std::size_t dimension) const noexcept {
        const int level = std::is_signed_v<Code> ? int{code} : int{code} - zero;
        return static_cast<double>(centres_[dimension]) + static_cast<double>(step_) * level;
    }

    double inverse() const noexcept { return 1.0 / static_cast<double>(step_); }

    static int nearest(double value, float centre, double inverse_step, int least, int most) noexcept {
        double level = (value - static_cast<double>(centre)) * inverse_step;
        level = level > least ? level : least;
        level = level < most ? level : most;
        return static_cast<int>(level + (0.5 - least)) + least;
    }
    template <class Code>
    static Code nearest(double value, float centre, double inverse_step) noexcept {
        const int level = nearest(value, centre, inverse_step, -zero, zero - 1);
        return static_cast<Code>(std::is_signed_v<Code> ? level : level + zero);
    }

    static constexpr std::size_t most_sampled = 8192;
    static constexpr std::size_t least_sampled = 1024;
    static constexpr std::size_t sampled_values = std::size_t{1} << 22;

    /// A row of the sample.
    template <class T>
    struct Picked {
        const T* row;
        float scale;
        double radius;  // squared distance from the mean
    };

    /// m values of each dimension, one dimension after the other.
    template <class T, class Scale>
    static std::vector<float> sample(MatrixView<const T> rows, std::uint64_t seed, Scale scale, FarRows far, Executor& executor) {
        const std::size_t dim = rows.cols();
        const std::size_t wanted = std::min(rows.rows(), std::clamp(sampled_values / dim, least_sampled, most_sampled));
        const Random random(seed, 0x73713874726e);
        std::vector<Picked<T>> picked(wanted);
        executor.run(wanted, 256, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = begin; i < end; ++i) {
                const std::size_t first = i * rows.rows() / wanted;
                const T* row = rows.row(first + random.below(i, (i + 1) * rows.rows() / wanted - first));
                const float by = scale(row, dim);
                bool finite = std::isfinite(by);
                for (std::size_t d = 0; d < dim && finite; ++d) finite = std::isfinite(to_float(row[d]) * by);
                picked[i] = {finite ? row : nullptr, by, 0};
            }
        });
        std::erase_if(picked, [](const Picked<T>& one) { return one.row == nullptr; });
        if (far == FarRows::leave_out && picked.size() >= 100) drop_far(picked, dim, executor);
        std::vector<float> columns(picked.size() * dim);
        executor.run(dim, 16, [&](std::size_t begin, std::size_t end, std::size_t) {
            for (std::size_t i = 0; i < picked.size(); ++i)
                for (std::size_t d = begin; d < end; ++d)
                    columns[d * picked.size() + i] = to_float(picked[i].row[d]) * picked[i].scale;
        });
        return columns;
    }

    /// Again without those found far, while that finds more: the farthest hide the others by what they do to the mean.
    template <class T>
    static void drop_far(std::vector<Picked<T>>& picked, std::size_t dim, Executor& executor) {
        const auto at = [&](std::size_t i, std::size_t d) { return static_cast<double>(to_float(picked[i].row[d]) * picked[i].scale); };
        std::vector<double> mean(dim);
        std::vector<double> radii;
        for (std::size_t budget = picked.size() / 100; budget > 0;) {
            executor.run(dim, 16, [&](std::size_t begin, std::size_t end, std::size_t) {
                std::fill(mean.begin() + static_cast<std::ptrdiff_t>(begin), mean.begin() + static_cast<std::ptrdiff_t>(end), 0.0);
                for (std::size_t i = 0; i < picked.size(); ++i)
                    for (std::size_t d = begin; d < end; ++d) mean[d] += at(i, d) / static_cast<double>(picked.size());
            });
            executor.run(picked.size(), 256, [&](std::size_t begin, std::size_t end, std::size_t) {
                for (std::size_t i = begin; i < end; ++i) {
                    picked[i].radius = 0;
                    for (std::size_t d = 0; d < dim; ++d) picked[i].radius += (at(i, d) - mean[d]) * (at(i, d) - mean[d]);
                }
            });
            radii.clear();
            for (const auto& one : picked) radii.push_back(one.radius);
            const auto middle = radii.begin() + static_cast<std::ptrdiff_t>(radii.size() / 2);
            std::nth_element(radii.begin(), middle, radii.end());
            const auto is_far = [most = 64 * *middle](const Picked<T>& one) { return one.radius > most; };
            const auto count = static_cast<std::size_t>(std::count_if(picked.begin(), picked.end(), is_far));
            if (count == 0 || count > budget) return;
            std::erase_if(picked, is_far);
            budget -= count;
        }
    }

    class Trainer {
    public:
        Trainer(std::vector<float> columns, std::size_t dim, double least_step)
            : columns_(std::move(columns)), dim_(dim), rows_(columns_.size() / dim), least_step_(least_step) {}

        ScalarCodec train(Executor& executor) {
            double range = 0, magnitude = 0;
            if (rows_ > 0) {
                executor.run(dim_, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
                    for (std::size_t d = begin; d < end; ++d) std::sort(column(d), column(d) + rows_);
                });
                for (std::size_t d = 0; d < dim_; ++d) {
                    range = std::max(range, highest(d) - lowest(d));
                    magnitude = std::max({magnitude, std::abs(lowest(d)), std::abs(highest(d))});
                }
            }
            std::vector<float> centres(dim_, 0.0f);
            if (rows_ == 0 || range == 0) {  // nothing says how rows will differ: as much as twice their values
                for (std::size_t d = 0; d < dim_ && rows_ > 0; ++d) centres[d] = column(d)[0];
                return {std::move(centres), usable(std::max(least_step_, (magnitude > 0 ? magnitude : 1.0) / (zero / 2)))};
            }
            const double worst = static_cast<double>(rows_ * dim_) * (range / steps) * (range / steps) / 4;
            double best = best_step(range / steps, ratio, candidates, worst, executor);
            if constexpr (is_coarse) best = best_step(best / ratio, 0.97, 10, worst, executor);
            best *= 1.0 + 8.0 / static_cast<double>(rows_);
            // Where all values of integers have levels, a wider step would lose what this one keeps.
            const float step = usable(best < least_step_ * (1 + 1.0 / steps) ? least_step_ : best);
            executor.run(dim_, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
                Sums sums;
                for (std::size_t d = begin; d < end; ++d) {
                    add_up(d, sums);
                    constexpr double most = std::numeric_limits<float>::max();
                    centres[d] = static_cast<float>(std::clamp(centre(d, static_cast<double>(step), sums), -most, most));
                }
            });
            return {std::move(centres), step};
        }

    private:
        static constexpr int steps = 2 * zero - 1;  // from the lowest level to the highest
        static constexpr bool is_coarse = Bits < 8;  // then it is worth while to look closer
        static constexpr std::size_t candidates = 80;
        static constexpr double ratio = 0.87;  // of a candidate to the one before; 0.87^80 is 1 / 70,000

        /// Sums of a sorted column's first values and of their squares, from its lowest value.
        struct Sums {
            std::vector<double> first, second;
        };

        float* column(std::size_t d) { return columns_.data() + d * rows_; }
        const float* column(std::size_t d) const { return columns_.data() + d * rows_; }
        double lowest(std::size_t d) const { return static_cast<double>(column(d)[0]); }
        double highest(std::size_t d) const { return static_cast<double>(column(d)[rows_ - 1]); }

        static float usable(double step) {
            constexpr double least = std::numeric_limits<float>::min();
            return static_cast<float>(std::clamp(step, least, static_cast<double>(std::numeric_limits<float>::max())));
        }

        void add_up(std::size_t d, Sums& sums) const {
            sums.first.assign(rows_ + 1, 0.0);
            sums.second.assign(rows_ + 1, 0.0);
            for (std::size_t i = 0; i < rows_; ++i) {
                const double x = static_cast<double>(column(d)[i]) - lowest(d);
                sums.first[i + 1] = sums.first[i] + x;
                sums.second[i + 1] = sums.second[i] + x * x;
            }
        }

        /// What lies outside [low, low + width], squared; `low` counts from the column's lowest value.
        double clipped(std::size_t d, double low, double width, const Sums& sums) const {
            const float* const x = column(d);
            const double high = low + width;
            const auto below = static_cast<std::size_t>(
                std::partition_point(x, x + rows_, [&](float v) { return static_cast<double>(v) - lowest(d) < low; }) - x);
            const auto above = static_cast<std::size_t>(
                std::partition_point(x + below, x + rows_, [&](float v) { return static_cast<double>(v) - lowest(d) <= high; }) - x);
            const double under = low * low * static_cast<double>(below) - 2 * low * sums.first[below] + sums.second[below];
            const double over = high * high * static_cast<double>(rows_ - above) -
                                2 * high * (sums.first[rows_] - sums.first[above]) + (sums.second[rows_] - sums.second[above]);
            return std::max(under, 0.0) + std::max(over, 0.0);
        }

        /// The place of the window that clips least, counted from the lowest value.
        double window(std::size_t d, double width, const Sums& sums) const {
            const double range = highest(d) - lowest(d);
            if (range <= width) return (range - width) / 2;
            double left = 0, right = range - width;
            for (int i = 0; i < 40; ++i) {
                const double third = (right - left) / 3;
                if (clipped(d, left + third, width, sums) <= clipped(d, right - third, width, sums)) right -= third;
                else left += third;
            }
            return (left + right) / 2;
        }

        /// Level 0 of dimension d. Of few levels, half a step is not little: the window is moved only where that is better.
        double centre(std::size_t d, double step, const Sums& sums) const {
            if (highest(d) == lowest(d)) return lowest(d);
            const double middle = lowest(d) + window(d, steps * step, sums) + steps / 2.0 * step;
            const auto median = static_cast<double>(column(d)[rows_ / 2]);
            const double moved = median + std::round((middle - median) / step) * step;
            if constexpr (is_coarse) {
                const double unmoved = middle + step / 2;
                if (step > least_step_ && error(d, step, unmoved, sums) < 0.98 * error(d, step, moved, sums)) return unmoved;
            }
            return moved;
        }

        /// What clips is added up from the sums; what is rounded is measured, on every so many values of the sorted column.
        double error(std::size_t d, double step, double middle, const Sums& sums) const {
            const double low = middle - zero * step, high = middle + (zero - 1) * step;
            const std::size_t stride = std::max<std::size_t>(rows_ / 512, 1);
            double rounded = 0;
            for (std::size_t i = stride / 2; i < rows_; i += stride) {
                const auto x = static_cast<double>(column(d)[i]);
                if (x < low || x > high) continue;
                const double levels = (x - low) / step;
                const double off = levels - static_cast<double>(static_cast<int>(levels + 0.5));
                rounded += off * off;
            }
            return rounded * step * step * static_cast<double>(stride) + clipped(d, low - lowest(d), steps * step, sums);
        }

        /// Of a geometric series of `count` steps that begins at `widest`. `worst` is more than the error of the step that
        /// clips nothing.
        double best_step(double widest, double by, std::size_t count, double worst, Executor& executor) const {
            std::vector<double> tried(count);
            for (std::size_t c = 0; c < count; ++c) tried[c] = widest * std::pow(by, static_cast<double>(c));
            std::vector<double> errors(dim_ * count);
            executor.run(dim_, 1, [&](std::size_t begin, std::size_t end, std::size_t) {
                Sums sums;
                for (std::size_t d = begin; d < end; ++d) {
                    add_up(d, sums);
                    for (std::size_t c = 0; c < count; ++c) {
                        errors[d * count + c] = error(d, tried[c], centre(d, tried[c], sums), sums);
                        // Finer steps only clip more: enough once this dimension alone is worse than all need be.
                        if (errors[d * count + c] > worst) {
                            std::fill_n(errors.data() + d * count + c, count - c, std::numeric_limits<double>::infinity());
                            break;
                        }
                    }
                }
            });
            std::size_t best = 0;
            double least = std::numeric_limits<double>::infinity();
            for (std::size_t c = 0; c < count; ++c) {
                double total = 0;
                for (std::size_t d = 0; d < dim_; ++d) total += errors[d * count + c];
                if (total < least) {
                    least = total;
                    best = c;
                }
            }
            return tried[best];
        }

        std::vector<float> columns_;
        std::size_t dim_;
        std::size_t rows_;
        double least_step_;
    };

    std::vector<float> centres_;
    float step_;
};

using Sq8Codec = ScalarCodec<8>;
using Sq4Codec = ScalarCodec<4>;

}  // namespace kith
