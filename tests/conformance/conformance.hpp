// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite needs to know of a kind of index: how to build it, and how to make it search exhaustively. Everything else is the
// contract, the same for all. A new index adds one line to `kinds`.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kith/any/registry.hpp"
#include "support/vectors.hpp"

namespace test {

struct Kind {
    std::string spec;         // build spec, small enough parameters for tiny data
    ParamMap exhaustive;      // search parameters under which results must be exact
    bool borrows = true;      // rows are used where they lie; false where the codec makes others of them, or the index brings them into its own order
    bool (*exists)(std::string_view metric, ElementType type) = [](std::string_view, ElementType) { return true; };
    std::size_t least_dim = 1;
    std::size_t padding = 0;  // slots that may be vacant in a compact index: where lists begin at multiples of 32

    std::string name() const { return spec.substr(0, spec.find_first_of("( ")); }
};

inline bool is_float(ElementType type) { return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16; }

/// Metrics that come from inner products: those of packed neighbourhoods.
inline bool has_packed(std::string_view metric, ElementType type) { return type != ElementType::b1 && metric != "l1"; }

inline std::vector<Kind> kinds() {
    const ParamMap all{{"ef", std::int64_t{2000}}};  // more than any test has rows: the walk sees whatever can be reached
    ParamMap refined = all;
    refined.emplace_back("refine", 1000.0);  // all rows that the walk sees
    const auto f32 = [](std::string_view metric, ElementType type) {
        return type == ElementType::f32 && (metric == "l2" || metric == "ip" || metric == "cosine");
    };
    const auto partitioned = [](std::string_view metric, ElementType type) {
        switch (type) {
            case ElementType::f32: return metric == "l2" || metric == "ip" || metric == "cosine";
            case ElementType::f16: return metric == "l2" || metric == "cosine";
            case ElementType::u8: return metric == "l2";
            default: return metric == "hamming";
        }
    };
    const ParamMap every_list{{"nprobe", std::int64_t{1000}}};
    ParamMap every_list_refined = every_list;
    every_list_refined.emplace_back("refine", 1000.0);
    const auto f16 = [](std::string_view metric, ElementType type) { return type == ElementType::f16 && (metric == "l2" || metric == "cosine"); };
    const auto hashed = [](std::string_view metric, ElementType type) {
        switch (type) {
            case ElementType::f32: return metric != "euclidean";
            case ElementType::f16: return metric == "l2" || metric == "cosine";
            case ElementType::i8: return metric == "cosine";
            case ElementType::u8: return metric == "l2";
            case ElementType::b1: return true;
            default: return false;
        }
    };
    const ParamMap every_bucket{{"probes", std::int64_t{1} << 30}};
    ParamMap every_bucket_refined = every_bucket;
    every_bucket_refined.emplace_back("refine", 1000.0);
    return {{"flat", {}},
            {"hnsw(m=6,ef_construction=40)", all},
            {"vamana(r=16,l=40)", all},
            {"vamana(r=32,l=40,packed=true)", all, true, has_packed},
            {"ivf(nlist=9)", every_list, false, partitioned},
            {"flat over sq8, refine f32", {{"refine", 1000.0}}, true, f32},
            {"hnsw(m=6,ef_construction=40) over sq8, refine f32", refined, true, f32},
            {"vamana(r=16,l=40) over sq8, refine f16", refined, true, f16},
            {"ivf(nlist=7,graph_from=1) over sq8, refine f32", every_list_refined, false, f32},
            {"hnsw(m=6,ef_construction=40) over sq4, refine f32", refined, true, f32},
            {"flat over pq(m=2,bits=4), refine f32", {{"refine", 1000.0}}, true, f32, 2},
            {"hnsw(m=6,ef_construction=40,exact_links=true) over pq(m=2), refine f32", refined, true, f32, 2},
            {"ivf_pq(nlist=7,m=2,bits=4), refine f32", every_list_refined, false, f32, 2, 7 * 31},
            {"ivf_pq(nlist=5,m=2), refine f32", every_list_refined, false, f32, 2, 5 * 31},
            {"flat over rabitq(bits=8), refine f32", {{"refine", 1000.0}}, true, f32},
            {"hnsw(m=6,ef_construction=40,exact_links=true) over rabitq, refine f32", refined, true, f32},
            {"ivf(nlist=7) over rabitq(bits=1), refine f32", every_list_refined, false, f32},
            {"lsh(tables=3,bits=5)", every_bucket, true, hashed},
            {"lsh(tables=2,bits=4) over sq8, refine f32", every_bucket_refined, true, f32}};
}

struct Combination {
    Kind kind;
    std::string metric;
    ElementType type;
    std::string name() const { return kind.spec + " over " + metric + "/" + std::string(kith::name(type)); }
};

/// The codec that a kind's spec names, or that the kind is made of; empty if there is none.
inline std::string codec_of(const Kind& kind) {
    if (kind.name() == "ivf_pq") return "pq";
    const std::string_view before = " over ";
    const auto at = kind.spec.find(before);
    if (at == std::string::npos) return {};
    const std::string rest = kind.spec.substr(at + before.size());
    return rest.substr(0, rest.find_first_of("(,"));
}

/// Whether the registry has it for such rows.
inline bool has_codec(const Kind& kind, std::string_view metric, ElementType type) {
    const std::string codec = codec_of(kind);
    if (codec.empty()) return true;
    const auto codecs = known_codecs();
    return std::find(codecs.begin(), codecs.end(), std::string(metric) + "/" + codec + ":" + std::string(kith::name(type))) != codecs.end();
}

/// Every kind over every space of the registry.
inline std::vector<Combination> combinations() {
    std::vector<Combination> all;
    for (const auto& kind : kinds())
        for (const auto& space : known_spaces()) {
            const auto slash = space.find('/');
            for (const auto type : {ElementType::f32, ElementType::f16, ElementType::bf16, ElementType::i8, ElementType::u8,
                                    ElementType::b1})
                if (space.substr(slash + 1) == kith::name(type) && kind.exists(space.substr(0, slash), type) &&
                    has_codec(kind, space.substr(0, slash), type))
                    all.push_back({kind, space.substr(0, slash), type});
        }
    return all;
}

inline AnyIndex build(const Combination& c, const Vectors& base, Executor& executor = inline_executor(),
                      std::span<const Id> ids = {}) {
    BuildOptions options;
    options.metric = c.metric;
    options.ids = ids;
    return AnyIndex::build(c.kind.spec, base.view(), options, executor);
}

/// The value of a fact of describe() as text; empty if there is none.
inline std::string fact(const AnyIndex& index, std::string_view wanted) {
    for (const auto& [name, value] : index.describe())
        if (name == wanted)
            return std::visit(
                [](const auto& v) {
                    if constexpr (std::is_same_v<std::decay_t<decltype(v)>, std::string>) return v;
                    else return std::to_string(v);
                },
                value);
    return {};
}

/// How far a reported distance may be from the reference on whole numbers of at most 17 in `dim` dimensions.
inline double tolerance(const Combination& c) { return exact_on_whole_numbers(c.metric) ? 0 : 2e-6; }

/// The same results to the bit?
inline bool identical(const Results& a, const Results& b) {
    if (a.queries() != b.queries() || a.k() != b.k() || !(a.stats == b.stats)) return false;
    for (std::size_t i = 0; i < a.queries(); ++i)
        if (!std::ranges::equal(a.ids(i), b.ids(i)) || !std::ranges::equal(a.distances(i), b.distances(i))) return false;
    return true;
}

}  // namespace test
