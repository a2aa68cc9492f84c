// SPDX-License-Identifier: Apache-2.0
//
// A sample of rows to train on: one from a random place of each of equal strata, so that data which drifts from its first row to its last
// is seen as a whole. Which rows it is depends on their number and the seed alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "kith/core/buffer.hpp"
#include "kith/core/matrix.hpp"
#include "kith/core/random.hpp"
#include "kith/core/types.hpp"

namespace kith {

/// A row's scale before quantisation where there is none; a cosine's is 1 / |x|.
struct Unscaled {
    template <class T>
    float operator()(const T*, std::size_t) const noexcept {
        return 1.0f;
    }
};

/// Rows of floats of their own.
struct Sample {
    AlignedBuffer<float> values;
    std::size_t rows = 0;
    std::size_t dim = 0;

    MatrixView<const float> view() const noexcept { return {values.data(), rows, dim}; }
};

/// At most `wanted` rows, in their order, each times its scale. Rows that are not finite then are left out. O(wanted d).
template <FloatElement T, class Scale = Unscaled>
Sample sample_rows(MatrixView<const T> rows, std::size_t wanted, std::uint64_t seed, Scale scale = {}) {
    const std::size_t n = rows.rows(), dim = rows.cols(), count = std::min(n, wanted);
    Sample sample{AlignedBuffer<float>(count * dim), 0, dim};
    const Random random(seed, 0x73616d706c65);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t first = i * n / count, end = (i + 1) * n / count;
        const T* const row = rows.row(first + random.below(i, end - first));
        const float by = scale(row, dim);
        float* const out = sample.values.data() + sample.rows * dim;
        bool finite = true;
        for (std::size_t d = 0; d < dim; ++d) {
            out[d] = to_float(row[d]) * by;
            finite = finite && std::isfinite(out[d]);
        }
        if (finite) ++sample.rows;
    }
    return sample;
}

}  // namespace kith
