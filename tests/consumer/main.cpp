// SPDX-License-Identifier: Apache-2.0
//
// What an application does with kith, in as few lines as it takes: exact search over memory that it keeps.
#include <cstdio>
#include <vector>

#include <kith/kith.hpp>

int main() {
    constexpr std::size_t count = 1000;
    constexpr std::size_t dim = 24;
    std::vector<float> memory(count * dim);
    for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = static_cast<float>((i * 7919) % 1009) / 1009.0f;

    const kith::MatrixView<const float> rows(memory.data(), count, dim);
    const kith::Keyed index(kith::Flat(kith::DenseSpace<kith::L2, float>(kith::Rows<float>::borrow(rows))));
    const kith::Results near = index.search(rows.slice(123, 1), 3);

    for (std::size_t i = 0; i < near.count(0); ++i)
        std::printf("%zu: row %lld at %.4f\n", i + 1, static_cast<long long>(near.ids(0)[i]),
                    static_cast<double>(near.distances(0)[i]));
    std::printf("kernels: %s\n", kith::simd::kernels().name);
    const bool in_place = index.index().space().rows().view().data() == memory.data();
    return in_place && near.count(0) == 3 && near.ids(0)[0] == 123 && !(near.distances(0)[0] > 0.0f) ? 0 : 1;
}
