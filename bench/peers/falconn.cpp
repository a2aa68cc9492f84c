// SPDX-License-Identifier: Apache-2.0
//
// FALCONN beside kith: what bench/lsh.py runs and compares with. Built against FALCONN's own sources, with the flags of its Makefile:
//
//     g++ -std=c++14 -DNDEBUG -O3 -march=native -I FALCONN/src/include -I FALCONN/external/eigen -I FALCONN/external/simple-serializer -I FALCONN/external/nlohmann bench/peers/falconn.cpp -o falconn_bench -pthread
//     ./falconn_bench BASE.f32 QUERY.f32 DIM TABLES BITS THREADS PROBES,PROBES,... OUT REPETITIONS
//
// BASE and QUERY are float32, row after row, prepared as FALCONN's manual wants them (centred, and of length 1 for cosine). Prints "build SECONDS", and for each number of
// probes (all tables together) "search PROBES SECONDS CANDIDATES", the best of REPETITIONS; the ten rows found for each query go to OUT, int32, one block a number.
#include <falconn/lsh_nn_table.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

using Point = falconn::DenseVector<float>;

static std::vector<Point> read(const char* path, int dim) {
    std::ifstream in(path, std::ios::binary);
    std::vector<Point> points;
    Point point(dim);
    while (in.read(reinterpret_cast<char*>(point.data()), static_cast<std::streamsize>(sizeof(float)) * dim)) points.push_back(point);
    return points;
}

static double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

int main(int argc, char** argv) {
    if (argc != 10) {
        std::fprintf(stderr, "expected 9 arguments, got %d\n", argc - 1);
        return 2;
    }
    const int dim = std::atoi(argv[3]), tables = std::atoi(argv[4]), bits = std::atoi(argv[5]), threads = std::atoi(argv[6]), repetitions = std::atoi(argv[9]);
    std::vector<Point> base = read(argv[1], dim), queries = read(argv[2], dim);

    falconn::LSHConstructionParameters params;
    params.dimension = dim;
    params.lsh_family = falconn::LSHFamily::CrossPolytope;
    params.l = tables;
    params.distance_function = falconn::DistanceFunction::EuclideanSquared;
    params.num_rotations = 1;  // what its manual says of dense data
    params.num_setup_threads = threads;
    params.storage_hash_table = falconn::StorageHashTable::BitPackedFlatHashTable;
    params.seed = 5721840;
    falconn::compute_number_of_hash_functions<Point>(bits, &params);

    const double start = now();
    auto table = falconn::construct_table<Point, std::int32_t>(base, params);
    std::printf("build %.6f\n", now() - start);

    std::ofstream out(argv[8], std::ios::binary);
    for (const char* at = argv[7]; *at != 0;) {
        char* end = nullptr;
        const int probes = static_cast<int>(std::strtol(at, &end, 10));
        at = *end == ',' ? end + 1 : end;
        auto query = table->construct_query_object(probes);
        double best = 1e30;
        std::vector<std::int32_t> found, some;
        for (int repetition = 0; repetition < repetitions; ++repetition) {
            found.clear();
            const double begin = now();
            for (const Point& q : queries) {
                query->find_k_nearest_neighbors(q, 10, &some);
                some.resize(10, -1);
                found.insert(found.end(), some.begin(), some.end());
            }
            best = std::min(best, now() - begin);
        }
        double candidates = 0;
        for (const Point& q : queries) {
            query->get_unique_candidates(q, &some);
            candidates += static_cast<double>(some.size());
        }
        std::printf("search %d %.6f %.1f\n", probes, best, candidates / static_cast<double>(queries.size()));
        std::fflush(stdout);
        out.write(reinterpret_cast<const char*>(found.data()), static_cast<std::streamsize>(found.size() * sizeof(std::int32_t)));
    }
}
