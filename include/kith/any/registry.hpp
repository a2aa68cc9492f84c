// SPDX-License-Identifier: Apache-2.0
//
// The registry: the closed list of what AnyIndex can be, as types. Kinds and spaces are looked up by walking the list, so a name and the type it
// stands for cannot drift apart, and messages list what there really is.
//
// To add an index: add its template to `structures`. To add a metric or element type: add a space to `Spaces`.
//
// Compiling every pair takes a while. Header-only users pay it once in the file that includes this header; who links kith::any gets
// them compiled (KITH_COMPILED_MODELS; include/kith/any/models/*.cpp).
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kith/any/any_index.hpp"
#include "kith/any/model.hpp"
#include "kith/index/flat.hpp"
#include "kith/index/hnsw.hpp"
#include "kith/index/vamana.hpp"

namespace kith {

namespace detail {

template <class... T>
struct TypeList {};

/// visit(Type<T>{}) for each type in turn, until one returns true; returns whether one did.
template <class T>
struct Type { using type = T; };

template <class... T, class Visit>
bool any_of_types(TypeList<T...>, Visit&& visit) {
    return (visit(Type<T>{}) || ...);
}

template <class T>
using DenseSpacesOf = TypeList<DenseSpace<L2, T>, DenseSpace<Euclidean, T>, DenseSpace<InnerProduct, T>,
                               DenseSpace<Cosine, T>, DenseSpace<L1, T>>;

template <class... Lists>
struct Concat;
template <class... T>
struct Concat<TypeList<T...>> { using type = TypeList<T...>; };
template <class... A, class... B, class... Rest>
struct Concat<TypeList<A...>, TypeList<B...>, Rest...> : Concat<TypeList<A..., B...>, Rest...> {};

using Spaces = Concat<DenseSpacesOf<float>, DenseSpacesOf<Half>, DenseSpacesOf<BFloat16>, DenseSpacesOf<std::int8_t>,
                      DenseSpacesOf<std::uint8_t>,
                      TypeList<DenseSpace<Hamming, Bits8>, DenseSpace<Jaccard, Bits8>>>::type;

/// An index template as a value.
template <template <class> class I>
struct Structure {
    template <class S>
    using over = I<S>;
};

using Structures = TypeList<Structure<Flat>, Structure<Hnsw>, Structure<Vamana>>;

template <class S>
std::string space_label() {
    return std::string(S::metric_type::name) + "/" + std::string(name(element_traits<typename S::element_type>::type));
}

inline std::string list_of(const std::vector<std::string>& names) {
    std::string text;
    for (const auto& one : names) text += (text.empty() ? "" : ", ") + one;
    return text;
}

inline void add_once(std::vector<std::string>& names, std::string name) {
    for (const auto& known : names)
        if (known == name) return;
    names.push_back(std::move(name));
}

template <class I>
std::unique_ptr<AnyModel> build_model(AnyMatrix matrix, const Spec& spec, const BuildOptions& options, Executor& executor) {
    using S = typename I::space_type;
    using T = typename S::element_type;
    const auto params = parse_params<typename I::build_params>(spec.params, I::kind);
    const auto rows = typed<T>(matrix, "rows");
    if (options.not_finite == NotFinite::reject) require_finite(rows, "row");
    if (!options.ids.empty() && options.ids.size() != rows.rows())
        fail(ErrorCode::dimension_mismatch, "expected ", rows.rows(), " ids, one for each row, got ", options.ids.size());
    S space(options.copy ? Rows<T>::copy(rows) : Rows<T>::borrow(rows, options.keep_alive));
    I index = I::build(std::move(space), params, options.seed, executor, options.progress);
    if (options.ids.empty()) return std::make_unique<IndexModel<I>>(Keyed<I>(std::move(index)));
    return std::make_unique<IndexModel<I>>(Keyed<I>(std::move(index), options.ids));
}

template <class I>
std::unique_ptr<AnyModel> load_model(const SectionReader& reader) {
    return std::make_unique<IndexModel<I>>(Keyed<I>::load(reader));
}

/// Instantiates one pair of structure and space, or only declares it (PREFIX extern).
#define KITH_MODEL(PREFIX, I, M, T)                                                                      \
    PREFIX template std::unique_ptr<AnyModel> build_model<I<DenseSpace<M, T>>>(                          \
        AnyMatrix, const Spec&, const BuildOptions&, Executor&);                                         \
    PREFIX template std::unique_ptr<AnyModel> load_model<I<DenseSpace<M, T>>>(const SectionReader&);
/// Every structure over one space.
#define KITH_MODELS(PREFIX, M, T)      \
    KITH_MODEL(PREFIX, Flat, M, T)     \
    KITH_MODEL(PREFIX, Hnsw, M, T)     \
    KITH_MODEL(PREFIX, Vamana, M, T)
#define KITH_DENSE_MODELS(PREFIX, T)    \
    KITH_MODELS(PREFIX, L2, T)          \
    KITH_MODELS(PREFIX, Euclidean, T)   \
    KITH_MODELS(PREFIX, InnerProduct, T)\
    KITH_MODELS(PREFIX, Cosine, T)      \
    KITH_MODELS(PREFIX, L1, T)
#define KITH_BIT_MODELS(PREFIX)         \
    KITH_MODELS(PREFIX, Hamming, Bits8) \
    KITH_MODELS(PREFIX, Jaccard, Bits8)

#if defined(KITH_COMPILED_MODELS)
KITH_DENSE_MODELS(extern, float)
KITH_DENSE_MODELS(extern, Half)
KITH_DENSE_MODELS(extern, BFloat16)
KITH_DENSE_MODELS(extern, std::int8_t)
KITH_DENSE_MODELS(extern, std::uint8_t)
KITH_BIT_MODELS(extern)
#endif

/// Calls visit(Type<I>{}) for the index type that these names mean; throws Error{invalid_argument, unsupported} naming what there is.
template <class Visit>
void with_index_type(std::string_view kind, std::string_view space, Visit&& visit) {
    bool kind_known = false;
    const bool found = any_of_types(Structures{}, [&](auto structure) {
        using Chosen = typename decltype(structure)::type;
        return any_of_types(Spaces{}, [&](auto candidate) {
            using S = typename decltype(candidate)::type;
            using I = typename Chosen::template over<S>;
            if (I::kind != kind) return false;
            kind_known = true;
            if (space_label<S>() != space) return false;
            visit(Type<I>{});
            return true;
        });
    });
    if (found) return;
    if (!kind_known)
        fail(ErrorCode::invalid_argument, "unknown kind of index '", kind, "'; known: ", list_of(known_kinds()));
    const std::string metric(space.substr(0, space.find('/')));
    const auto metrics = known_metrics();
    if (std::find(metrics.begin(), metrics.end(), metric) == metrics.end())
        fail(ErrorCode::invalid_argument, "unknown metric '", metric, "'; known: ", list_of(metrics));
    fail(ErrorCode::unsupported, kind, " over ", space, " does not exist; spaces: ", list_of(known_spaces()));
}

}  // namespace detail

inline std::vector<std::string> known_kinds() {
    std::vector<std::string> names;
    detail::any_of_types(detail::Structures{}, [&](auto structure) {
        detail::add_once(names, std::string(decltype(structure)::type::template over<DenseSpace<L2, float>>::kind));
        return false;
    });
    return names;
}

inline std::vector<std::string> known_metrics() {
    std::vector<std::string> names;
    detail::any_of_types(detail::Spaces{}, [&](auto space) {
        detail::add_once(names, std::string(decltype(space)::type::metric_type::name));
        return false;
    });
    return names;
}

inline std::vector<std::string> known_spaces() {
    std::vector<std::string> names;
    detail::any_of_types(detail::Spaces{}, [&](auto space) {
        names.push_back(detail::space_label<typename decltype(space)::type>());
        return false;
    });
    return names;
}

inline AnyIndex AnyIndex::build(std::string_view text, AnyMatrix rows, const BuildOptions& options, Executor& executor) {
    const Spec spec = parse_spec(text);
    if (!spec.refine.empty())
        fail(ErrorCode::unsupported, spec.kind, " searches exact rows: there is nothing to refine with ", spec.refine);
    const std::string element(name(rows.type));
    std::string space = (options.metric.empty() ? "l2" : options.metric) + "/" + element;
    if (!spec.over.empty()) {
        const std::size_t slash = spec.over.find('/');
        const std::string codec = slash == std::string::npos ? spec.over : spec.over.substr(slash + 1);
        const std::string metric = slash == std::string::npos ? "" : spec.over.substr(0, slash);
        if (codec != element)
            fail(ErrorCode::type_mismatch, "spec '", text, "' wants rows of ", codec, ", got ", element);
        if (!metric.empty() && !options.metric.empty() && metric != options.metric)
            fail(ErrorCode::invalid_argument, "spec '", text, "' says metric ", metric, ", the argument says ", options.metric);
        if (!metric.empty()) space = metric + "/" + element;
    }
    std::unique_ptr<detail::AnyModel> model;
    detail::with_index_type(spec.kind, space, [&](auto type) {
        model = detail::build_model<typename decltype(type)::type>(rows, spec, options, executor);
    });
    return AnyIndex(std::move(model));
}

inline AnyIndex AnyIndex::load(const SectionReader& reader) {
    std::unique_ptr<detail::AnyModel> (*load_as)(const SectionReader&) = nullptr;
    try {
        detail::with_index_type(reader.info().kind, reader.info().space,
                                [&](auto type) { load_as = &detail::load_model<typename decltype(type)::type>; });
    } catch (const Error& error) {  // names from a file are not the caller's arguments
        fail(ErrorCode::unsupported, reader.name(), ": ", error.what());
    }
    return AnyIndex(load_as(reader));
}

inline AnyIndex AnyIndex::load(const std::filesystem::path& path, const LoadOptions& options, const Progress& progress) {
    return load(SectionReader(path, options, progress));
}

inline void verify_file(const std::filesystem::path& path, const Progress& progress) {
    const SectionReader reader(path, {.mmap = true, .checksums = Checksums::verify}, progress);
    AnyIndex::load(reader).validate(reader.name(), progress);
}

}  // namespace kith
