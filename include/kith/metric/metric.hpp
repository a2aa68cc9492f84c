// SPDX-License-Identifier: Apache-2.0
//
// Metrics: what "near" means. A metric is a small policy that a space is compiled for; docs/METRICS.md has the formulas and ranges.
//
// Inside the library distances are smaller-is-nearer; at the border report() gives the user's number and internal()
// takes it back (for a radius):
//
//   metric     internal                  reported              kernels
//   l2         |q - x|^2                 the same              l2
//   euclidean  |q - x|^2                 its root              l2
//   ip         -q.x                      q.x, larger nearer    dot
//   cosine     1 - q.x / (|q| |x|)       the same, 0 .. 2      dot, with 1/|x| kept beside each row
//   l1         sum |q_i - x_i|           the same              l1
//   hamming    differing bits            the same              hamming
//   jaccard    1 - |q & x| / |q | x|     the same, 0 .. 1      jaccard
//
// A metric of your own is any type with a `name` and a call operator over two rows (CustomMetric wraps a lambda); it is inlined into every loop,
// needs no kernel, and works in every index. Nothing else in the library knows the list above.
#pragma once

#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "kith/core/types.hpp"
#include "kith/simd/table.hpp"

namespace kith {

/// How a space makes a metric's internal distance from what a kernel returns.
enum class Score {
    as_is,       // the kernel's number
    negated,     // -dot: the inner product, nearer when larger
    normalised,  // 1 - dot * inverse norm of the row * inverse norm of the query
};

/// report and internal for metrics that report what they compute.
struct ReportsAsIs {
    static double report(double internal) noexcept { return internal; }
    static double internal(double reported) noexcept { return reported; }
};

struct L2 : ReportsAsIs {
    static constexpr std::string_view name = "l2";
    static constexpr Score score = Score::as_is;
    static constexpr bool squared_l2 = true;

    static const auto& kernels(const simd::KernelTable& t, float) { return t.l2_f32; }
    static const auto& kernels(const simd::KernelTable& t, Half) { return t.l2_f16; }
    static const auto& kernels(const simd::KernelTable& t, BFloat16) { return t.l2_bf16; }
    static const auto& kernels(const simd::KernelTable& t, std::int8_t) { return t.l2_i8; }
    static const auto& kernels(const simd::KernelTable& t, std::uint8_t) { return t.l2_u8; }
};

/// Same order and kernels as L2; only the reported number differs.
struct Euclidean : L2 {
    static constexpr std::string_view name = "euclidean";
    static double report(double internal) noexcept { return std::sqrt(internal); }
    static double internal(double reported) noexcept {
        return reported < 0 ? -std::numeric_limits<double>::infinity() : reported * reported;
    }
};

/// The metrics over inner products.
struct DotKernels {
    static constexpr bool squared_l2 = false;

    static const auto& kernels(const simd::KernelTable& t, float) { return t.dot_f32; }
    static const auto& kernels(const simd::KernelTable& t, Half) { return t.dot_f16; }
    static const auto& kernels(const simd::KernelTable& t, BFloat16) { return t.dot_bf16; }
    static const auto& kernels(const simd::KernelTable& t, std::int8_t) { return t.dot_i8; }
    static const auto& kernels(const simd::KernelTable& t, std::uint8_t) { return t.dot_u8; }
};

struct InnerProduct : DotKernels {
    static constexpr std::string_view name = "ip";
    static constexpr Score score = Score::negated;
    static double report(double internal) noexcept { return -internal; }
    static double internal(double reported) noexcept { return -reported; }
};

/// A zero vector is at distance 1 from everything, itself included: it has no direction to share.
struct Cosine : DotKernels, ReportsAsIs {
    static constexpr std::string_view name = "cosine";
    static constexpr Score score = Score::normalised;
};

struct L1 : ReportsAsIs {
    static constexpr std::string_view name = "l1";
    static constexpr Score score = Score::as_is;
    static constexpr bool squared_l2 = false;

    static const auto& kernels(const simd::KernelTable& t, float) { return t.l1_f32; }
    static const auto& kernels(const simd::KernelTable& t, Half) { return t.l1_f16; }
    static const auto& kernels(const simd::KernelTable& t, BFloat16) { return t.l1_bf16; }
    static const auto& kernels(const simd::KernelTable& t, std::int8_t) { return t.l1_i8; }
    static const auto& kernels(const simd::KernelTable& t, std::uint8_t) { return t.l1_u8; }
};

struct Hamming : ReportsAsIs {
    static constexpr std::string_view name = "hamming";
    static constexpr Score score = Score::as_is;
    static constexpr bool squared_l2 = false;
    static const auto& kernels(const simd::KernelTable& t, Bits8) { return t.hamming_b1; }
};

struct Jaccard : ReportsAsIs {
    static constexpr std::string_view name = "jaccard";
    static constexpr Score score = Score::as_is;
    static constexpr bool squared_l2 = false;
    static const auto& kernels(const simd::KernelTable& t, Bits8) { return t.jaccard_b1; }
};

template <class M>
concept Metric = std::movable<M> && requires(const M& metric, double number) {
    { M::name } -> std::convertible_to<std::string_view>;
    { metric.report(number) } -> std::convertible_to<double>;
    { metric.internal(number) } -> std::convertible_to<double>;
};

/// A metric with SIMD kernels over rows of T.
template <class M, class T>
concept KernelMetric = Metric<M> && requires(const simd::KernelTable& table) {
    M::kernels(table, T{});
    { M::score } -> std::convertible_to<Score>;
};

/// A metric that is called with two rows of T and answers a float.
template <class M, class T>
concept CallableMetric = Metric<M> && requires(const M& metric, const T* a, const T* b, std::size_t dim) {
    { metric(a, b, dim) } -> std::convertible_to<float>;
};

/// A metric out of any callable (const T* a, const T* b, size_t dim) -> float, smaller is nearer. It is compiled into the index, not called
/// through a pointer. Which argument is the query: the first.
template <class F>
class CustomMetric : public ReportsAsIs {
public:
    static constexpr std::string_view name = "custom";

    explicit CustomMetric(F distance) : distance_(std::move(distance)) {}
    CustomMetric(const CustomMetric&) = default;
    CustomMetric(CustomMetric&&) = default;
    // A lambda that captures cannot be assigned, only made anew.
    CustomMetric& operator=(const CustomMetric& other) {
        if (this != &other) distance_.emplace(*other.distance_);
        return *this;
    }
    CustomMetric& operator=(CustomMetric&& other) {
        if (this != &other) distance_.emplace(std::move(*other.distance_));
        return *this;
    }
    ~CustomMetric() = default;

    template <class T>
        requires std::invocable<const F&, const T*, const T*, std::size_t>
    float operator()(const T* a, const T* b, std::size_t dim) const {
        return (*distance_)(a, b, dim);
    }

private:
    std::optional<F> distance_;  // never empty
};

}  // namespace kith
