// SPDX-License-Identifier: Apache-2.0
//
// Rows of any element type for tests, and the reference that indexes are held against: brute force in double precision, with formulas of
// its own that share no code with the library.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string_view>
#include <vector>

#include "kith/any/any_index.hpp"
#include "kith/core/random.hpp"

namespace test {

using namespace kith;  // NOLINT: tests speak of nothing else

/// rows x cols elements with their values as doubles beside them (bits: 0 or 1, eight to an element).
class Vectors {
public:
    Vectors(ElementType type, std::size_t rows, std::size_t cols)
        : type_(type), rows_(rows), cols_(cols), bytes_(rows * cols * element_bytes(type) + 64) {}

    /// Whole numbers in a range that all types hold and in which float sums are exact; sparse enough to make ties.
    static Vectors whole(ElementType type, std::size_t rows, std::size_t cols, std::uint64_t seed) {
        return fill(type, rows, cols, [random = Random(seed), type](std::size_t i) {
            const auto low = type == ElementType::u8 || type == ElementType::b1 ? 0 : -8;
            return static_cast<double>(low + static_cast<int>(random.below(i, type == ElementType::b1 ? 256 : 17)));
        });
    }

    static Vectors normal(ElementType type, std::size_t rows, std::size_t cols, std::uint64_t seed, double offset = 0,
                          double scale = 1) {
        return fill(type, rows, cols,
                    [=, random = Random(seed)](std::size_t i) { return offset + scale * random.normal(i); });
    }

    template <class Value>
    static Vectors fill(ElementType type, std::size_t rows, std::size_t cols, Value value) {
        Vectors vectors(type, rows, cols);
        for (std::size_t i = 0; i < rows * cols; ++i) vectors.set(i / cols, i % cols, value(i));
        return vectors;
    }

    void set(std::size_t row, std::size_t col, double value) {
        void* at = bytes_.data() + (row * cols_ + col) * element_bytes(type_);
        const auto put = [at](auto element) { std::memcpy(at, &element, sizeof element); };
        switch (type_) {
            case ElementType::f32: put(static_cast<float>(value)); break;
            case ElementType::f16: put(to_half(static_cast<float>(value))); break;
            case ElementType::bf16: put(to_bfloat16(static_cast<float>(value))); break;
            case ElementType::i8: put(static_cast<std::int8_t>(value)); break;
            case ElementType::u8:
            case ElementType::b1: put(static_cast<std::uint8_t>(value)); break;
        }
    }

    double value(std::size_t row, std::size_t col) const {
        const void* at = bytes_.data() + (row * cols_ + col) * element_bytes(type_);
        const auto take = [at](auto element) {
            std::memcpy(&element, at, sizeof element);
            return static_cast<double>(to_float(element));
        };
        switch (type_) {
            case ElementType::f32: return take(float{});
            case ElementType::f16: return take(Half{});
            case ElementType::bf16: return take(BFloat16{});
            case ElementType::i8: return take(std::int8_t{});
            default: return take(std::uint8_t{});
        }
    }

    AnyMatrix view() const { return {type_, bytes_.data(), rows_, cols_, cols_}; }
    AnyMatrix row(std::size_t i) const { return slice(i, 1); }
    AnyMatrix slice(std::size_t first, std::size_t count) const {
        return {type_, bytes_.data() + first * cols_ * element_bytes(type_), count, cols_, cols_};
    }
    std::size_t rows() const { return rows_; }
    std::size_t cols() const { return cols_; }
    ElementType type() const { return type_; }

private:
    ElementType type_;
    std::size_t rows_;
    std::size_t cols_;
    std::vector<unsigned char> bytes_;
};

/// The number a user of this metric sees.
inline double reference_distance(std::string_view metric, const Vectors& a, std::size_t i, const Vectors& b,
                                 std::size_t j) {
    double dot = 0, aa = 0, bb = 0, l1 = 0, l2 = 0;
    int differ = 0, both = 0, either = 0;
    for (std::size_t c = 0; c < a.cols(); ++c) {
        const double x = a.value(i, c);
        const double y = b.value(j, c);
        dot += x * y;
        aa += x * x;
        bb += y * y;
        l1 += std::abs(x - y);
        l2 += (x - y) * (x - y);
        for (int bit = 0; bit < 8 && a.type() == ElementType::b1; ++bit) {
            const bool p = (static_cast<int>(x) >> bit & 1) != 0;
            const bool q = (static_cast<int>(y) >> bit & 1) != 0;
            differ += p != q;
            both += p && q;
            either += p || q;
        }
    }
    if (metric == "l2") return l2;
    if (metric == "euclidean") return std::sqrt(l2);
    if (metric == "ip") return dot;
    if (metric == "cosine") return aa == 0 || bb == 0 ? 1.0 : 1.0 - dot / std::sqrt(aa * bb);
    if (metric == "l1") return l1;
    if (metric == "hamming") return differ;
    if (metric == "jaccard") return either == 0 ? 0.0 : 1.0 - static_cast<double>(both) / either;
    return std::numeric_limits<double>::quiet_NaN();
}

struct Neighbour {
    Id id;
    double distance;
};

/// Larger is nearer for this metric.
inline bool is_similarity(std::string_view metric) { return metric == "ip"; }

/// All rows that `allowed(id)` lets through, by (distance, id). Row i has id ids[i], or i.
template <class Allowed>
std::vector<Neighbour> brute_force(std::string_view metric, const Vectors& base, const Vectors& queries, std::size_t query,
                                   Allowed allowed, const std::vector<Id>& ids = {}) {
    std::vector<Neighbour> found;
    for (std::size_t i = 0; i < base.rows(); ++i) {
        const Id id = ids.empty() ? static_cast<Id>(i) : ids[i];
        if (allowed(id)) found.push_back({id, reference_distance(metric, queries, query, base, i)});
    }
    const double sign = is_similarity(metric) ? -1 : 1;
    std::sort(found.begin(), found.end(), [sign](const Neighbour& a, const Neighbour& b) {
        return a.distance != b.distance ? sign * a.distance < sign * b.distance : a.id < b.id;
    });
    return found;
}

inline std::vector<Neighbour> brute_force(std::string_view metric, const Vectors& base, const Vectors& queries,
                                          std::size_t query) {
    return brute_force(metric, base, queries, query, [](Id) { return true; });
}

/// The cosine is the one metric whose value on whole numbers is not exact in float.
inline bool exact_on_whole_numbers(std::string_view metric) { return metric != "cosine"; }

/// Whether results of one query are the nearest of `expected`: identical where arithmetic is exact, else every distance right and no
/// further than the reference's at its rank.
inline bool same_neighbours(std::string_view metric, std::span<const Id> ids, std::span<const float> distances,
                            const std::vector<Neighbour>& expected, std::size_t k, double tolerance = 0) {
    const std::size_t count = std::min(k, expected.size());
    if (ids.size() != count || distances.size() != count) return false;
    for (std::size_t i = 0; i < count; ++i) {
        const auto own = std::find_if(expected.begin(), expected.end(), [&](const Neighbour& n) { return n.id == ids[i]; });
        if (own == expected.end()) return false;
        if (tolerance == 0) {
            if (expected[i].id != ids[i] || static_cast<float>(expected[i].distance) != distances[i]) return false;
        } else {
            if (std::abs(own->distance - static_cast<double>(distances[i])) > tolerance) return false;
            const double sign = is_similarity(metric) ? -1 : 1;
            if (sign * own->distance > sign * expected[i].distance + tolerance) return false;
            for (std::size_t j = 0; j < i; ++j)
                if (ids[j] == ids[i]) return false;
        }
    }
    return true;
}

}  // namespace test
