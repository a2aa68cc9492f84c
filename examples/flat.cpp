// SPDX-License-Identifier: Apache-2.0
//
// The shortest useful program: build, search, change, save, load.
#include <cstdio>
#include <filesystem>
#include <vector>

#include "kith/kith.hpp"

int main() {
    // Four points in the plane, row-major. Row i gets id i, unless ids are given.
    const std::vector<float> points{0, 0, 3, 4, 1, 1, -2, 0};
    const kith::MatrixView<const float> rows(points.data(), 4, 2);

    using Space = kith::DenseSpace<kith::Euclidean, float>;
    kith::Keyed index(kith::Flat(Space(kith::Rows<float>::copy(rows))));

    const std::vector<float> query{0.5f, 0.75f};
    const kith::Results near = index.search({query.data(), 1, 2}, 3);
    for (std::size_t i = 0; i < near.count(0); ++i)
        std::printf("id %lld at distance %.3f\n", static_cast<long long>(near.ids(0)[i]),
                    static_cast<double>(near.distances(0)[i]));

    // Add a row under an id of our choice, remove another.
    const std::vector<float> more{0.5f, 0.5f};
    const kith::Id id = 42;
    index.add({more.data(), 1, 2}, {&id, 1});
    index.remove({near.ids(0).data(), 1});

    // One file, written atomically; loading maps it and copies nothing.
    const auto path = std::filesystem::temp_directory_path() / "kith-example-flat.kith";
    index.save(path);
    const kith::SectionReader file(path);
    const auto loaded = kith::Keyed<kith::Flat<Space>>::load(file);
    const kith::Results again = loaded.search({query.data(), 1, 2}, 1);
    std::printf("after the changes: id %lld is nearest of %zu\n",
                static_cast<long long>(again.ids(0)[0]), loaded.size());
    std::filesystem::remove(path);
    return again.ids(0)[0] == 42 && loaded.size() == 4 ? 0 : 1;
}
