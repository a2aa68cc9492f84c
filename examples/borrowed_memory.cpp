// SPDX-License-Identifier: Apache-2.0
//
// An index over memory that the application keeps: rows inside an array of its own records, never copied. A view has a
// stride, so what lies between two rows does not matter.
#include <cstddef>
#include <cstdio>
#include <vector>

#include "kith/kith.hpp"

namespace {

struct Track {
    float embedding[4];
    int year;
};
static_assert(sizeof(Track) % sizeof(float) == 0, "a stride counts whole elements");

}  // namespace

int main() {
    const std::vector<Track> tracks{{{0.9f, 0.1f, 0.0f, 0.2f}, 1971},
                                    {{0.1f, 0.8f, 0.3f, 0.0f}, 1984},
                                    {{0.8f, 0.2f, 0.1f, 0.1f}, 1999}};
    const kith::MatrixView<const float> rows(tracks.data()->embedding, tracks.size(), 4,
                                             sizeof(Track) / sizeof(float));

    // The tracks must outlive the index (or give borrow() a shared_ptr that keeps them alive).
    auto borrowed = kith::Rows<float>::borrow(rows);
    const kith::Keyed index(kith::Flat(kith::DenseSpace<kith::Cosine, float>(std::move(borrowed))));

    const float query[]{1.0f, 0.1f, 0.1f, 0.2f};
    const kith::Results near = index.search({query, 1, 4}, 2);
    for (std::size_t i = 0; i < near.count(0); ++i)
        std::printf("a track of %d at cosine distance %.3f\n",
                    tracks[static_cast<std::size_t>(near.ids(0)[i])].year,
                    static_cast<double>(near.distances(0)[i]));

    const auto& kept = index.index().space().rows();
    std::printf("rows still lie where they were: %s, %zu bytes copied\n",
                kept.view().data() == tracks.data()->embedding ? "yes" : "no", kept.bytes());
    return kept.view().data() == tracks.data()->embedding && kept.bytes() == 0 &&
                   near.ids(0)[0] == 0
               ? 0
               : 1;
}
