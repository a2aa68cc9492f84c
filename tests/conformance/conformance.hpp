// SPDX-License-Identifier: Apache-2.0
//
// What the conformance suite needs to know of a kind of index: how to build it, and how to make it search exhaustively. Everything else is the
// contract, the same for all. A new index adds one line to `kinds`.
#pragma once

#include <string>
#include <vector>

#include "kith/any/registry.hpp"
#include "support/vectors.hpp"

namespace test {

struct Kind {
    std::string spec;         // build spec, small enough parameters for tiny data
    ParamMap exhaustive;      // search parameters under which results must be exact
};

inline std::vector<Kind> kinds() { return {{"flat", {}}}; }

struct Combination {
    Kind kind;
    std::string metric;
    ElementType type;
    std::string name() const { return kind.spec + " over " + metric + "/" + std::string(kith::name(type)); }
};

/// Every kind over every space of the registry.
inline std::vector<Combination> combinations() {
    std::vector<Combination> all;
    for (const auto& kind : kinds())
        for (const auto& space : known_spaces()) {
            const auto slash = space.find('/');
            for (const auto type : {ElementType::f32, ElementType::f16, ElementType::bf16, ElementType::i8, ElementType::u8,
                                    ElementType::b1})
                if (space.substr(slash + 1) == kith::name(type)) all.push_back({kind, space.substr(0, slash), type});
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

inline bool is_float(ElementType type) { return type == ElementType::f32 || type == ElementType::f16 || type == ElementType::bf16; }

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
