// SPDX-License-Identifier: Apache-2.0
//
// A codec of your own: one byte for each dimension, with an offset and a step for each row. Whatever models the Space concept
// works in every index; here it is searched by the library's Flat.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "kith/kith.hpp"

namespace {

/// Squared L2 between a float query and rows of 8-bit codes: x_i = offset + step * code_i.
class ByteSpace {
public:
    using metric_type = kith::L2;
    using query_type = float;
    using distance_type = float;
    using rows_view = kith::MatrixView<const float>;

    explicit ByteSpace(rows_view rows) : dim_(rows.cols()), codes_(rows.rows() * rows.cols()) {
        for (std::size_t i = 0; i < rows.rows(); ++i) {
            const auto [low, high] = std::minmax_element(rows[i].begin(), rows[i].end());
            const float step = std::max((*high - *low) / 255, 1e-30f);
            for (std::size_t d = 0; d < dim_; ++d)
                codes_[i * dim_ + d] = static_cast<std::uint8_t>((rows[i][d] - *low) / step + 0.5f);
            scales_.push_back({*low, step});
        }
    }

    std::size_t size() const noexcept { return scales_.size(); }
    std::size_t dim() const noexcept { return dim_; }
    std::size_t dimensions() const noexcept { return dim_; }
    std::string label() const { return "l2/byte"; }
    std::size_t row_bytes() const noexcept { return dim_ + sizeof(Scale); }
    std::size_t memory_bytes() const noexcept { return size() * row_bytes(); }
    double report(double internal) const noexcept { return internal; }
    double internal(double reported) const noexcept { return reported; }

    void read_query(kith::Slot slot, std::span<float> out) const {
        for (std::size_t d = 0; d < dim_; ++d) out[d] = decode(slot, d);
    }
    float distance(kith::Slot a, kith::Slot b) const {
        float sum = 0;
        for (std::size_t d = 0; d < dim_; ++d) sum += square(decode(a, d) - decode(b, d));
        return sum;
    }

    class Scorer {
    public:
        using distance_type = float;
        Scorer(const ByteSpace& space, std::span<const float> query) noexcept
            : space_(&space), query_(query) {}

        float operator()(kith::Slot slot) const {
            float sum = 0;
            for (std::size_t d = 0; d < query_.size(); ++d)
                sum += square(query_[d] - space_->decode(slot, d));
            return sum;
        }
        void gather(std::span<const kith::Slot> slots, float* out) const {
            for (const kith::Slot slot : slots) *out++ = (*this)(slot);
        }
        void run(std::size_t first, std::size_t count, float* out) const {
            for (std::size_t i = 0; i < count; ++i)
                out[i] = (*this)(static_cast<kith::Slot>(first + i));
        }

    private:
        const ByteSpace* space_;
        std::span<const float> query_;
    };
    Scorer scorer(std::span<const float> query) const noexcept { return {*this, query}; }

private:
    struct Scale {
        float offset;
        float step;
    };

    static float square(float x) noexcept { return x * x; }
    float decode(kith::Slot slot, std::size_t d) const noexcept {
        return scales_[slot].offset +
               scales_[slot].step * static_cast<float>(codes_[slot * dim_ + d]);
    }

    std::size_t dim_;
    std::vector<std::uint8_t> codes_;
    std::vector<Scale> scales_;
};

static_assert(kith::Space<ByteSpace>);

}  // namespace

int main() {
    constexpr std::size_t n = 5'000;
    constexpr std::size_t dim = 64;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<float> points((n + 20) * dim);
    for (auto& x : points) x = normal(random);
    const kith::MatrixView<const float> rows(points.data(), n, dim);
    const kith::MatrixView<const float> queries(points.data() + n * dim, 20, dim);

    const kith::Keyed coded{kith::Flat{ByteSpace(rows)}};
    const kith::Keyed exact(
        kith::Flat(kith::DenseSpace<kith::L2, float>(kith::Rows<float>::borrow(rows))));
    const kith::Results found = coded.search(queries, 10);
    const kith::Results truth = exact.search(queries, 10);

    std::size_t right = 0;
    for (std::size_t q = 0; q < queries.rows(); ++q)
        for (const kith::Id id : found.ids(q))
            right += std::count(truth.ids(q).begin(), truth.ids(q).end(), id) > 0 ? 1 : 0;
    const double recall = static_cast<double>(right) / static_cast<double>(queries.rows() * 10);
    std::printf("%s: %zu bytes a row instead of %zu, recall@10 %.3f\n",
                coded.index().space().label().c_str(), coded.index().space().row_bytes(),
                exact.index().space().row_bytes(), recall);
    return recall > 0.9 ? 0 : 1;
}
