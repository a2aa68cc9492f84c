// SPDX-License-Identifier: Apache-2.0
//
// How likely two vectors get the same value from one function of a family, by the theory of each; what parameters are chosen by, and what tests hold functions to.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace kith {

/// A random plane, vectors at an angle (Charikar 2002).
inline double hyperplane_collision(double angle) noexcept { return 1 - std::clamp(angle, 0.0, 3.141592653589793) / 3.141592653589793; }

/// Intervals of `width` on a Gaussian projection, vectors at a Euclidean distance (Datar et al. 2004, section 3.2).
inline double gaussian_collision(double distance, double width) noexcept {
    if (!(distance > 0)) return 1;
    const double r = width / distance;
    return std::erf(r / std::sqrt(2.0)) - std::sqrt(2 / 3.141592653589793) / r * (1 - std::exp(-r * r / 2));
}

/// The same on a Cauchy projection, vectors at a Manhattan distance.
inline double cauchy_collision(double distance, double width) noexcept {
    if (!(distance > 0)) return 1;
    const double r = width / distance;
    return 2 / 3.141592653589793 * std::atan(r) - std::log1p(r * r) / (3.141592653589793 * r);
}

/// One of `dimensions` bits, rows that differ in some of them.
inline double bit_collision(double different, double dimensions) noexcept { return 1 - different / std::max(dimensions, 1.0); }

/// The first bit of a random order, rows at a Jaccard distance.
inline double minhash_collision(double distance) noexcept { return 1 - distance; }

/// The nearest of 2 `coordinates` poles after a random rotation, vectors at an angle: 2 D times the probability that the first coordinate is the largest of both,
///     integral over x, y > 0 of f(x, y) P(|X| <= x, |Y| <= y)^(D - 1)
/// f being the density of normal variables with the correlation cos(angle), which is what a rotation makes of each coordinate (Andoni et al. 2015, section 3; there with bounds in
/// place of the integral). By the trapezoidal rule; about 1 ms.
inline double cross_polytope_collision(double angle, std::size_t coordinates) {
    const double rho = std::clamp(std::cos(angle), -1.0, 1.0 - 1e-9);
    const double rest = std::sqrt(std::max(1 - rho * rho, 1e-12));
    constexpr std::size_t steps = 60, inner = 48;
    constexpr double far = 6;
    const auto normal = [](double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); };
    const auto density = [](double x) { return std::exp(-x * x / 2) / std::sqrt(2 * 3.141592653589793); };
    if (rest < 0.02) return 1 - std::min(1.0, angle * std::sqrt(static_cast<double>(coordinates)));  // too narrow a ridge for these steps, and nearly certain
    double total = 0;
    for (std::size_t i = 1; i <= steps; ++i) {
        const double x = far * static_cast<double>(i) / steps;
        for (std::size_t j = 1; j <= steps; ++j) {
            const double y = far * static_cast<double>(j) / steps;
            const double joint = density(x) * density((y - rho * x) / rest) / rest;
            if (joint < 1e-12) continue;
            double both = 0;
            for (std::size_t k = 0; k <= inner; ++k) {
                const double u = -x + 2 * x * static_cast<double>(k) / inner;
                const double weight = k == 0 || k == inner ? 0.5 : 1.0;
                both += weight * density(u) * (normal((y - rho * u) / rest) - normal((-y - rho * u) / rest));
            }
            both *= 2 * x / inner;
            total += joint * std::pow(std::min(both, 1.0), static_cast<double>(coordinates) - 1);
        }
    }
    return std::min(1.0, 2 * static_cast<double>(coordinates) * total * (far / steps) * (far / steps));
}

/// The chance that one of `tables` tables of `functions` functions has the same key for both, each function having the same value with probability p: 1 - (1 - p^functions)^tables.
inline double table_collision(double p_key, double tables) noexcept { return 1 - std::pow(1 - std::clamp(p_key, 0.0, 1.0), tables); }

}  // namespace kith
