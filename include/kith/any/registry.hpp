// SPDX-License-Identifier: Apache-2.0
//
// The registry: the closed list of what AnyIndex can be, as types. Kinds and spaces are looked up by walking the list, so a name and the type it
// stands for cannot drift apart, and messages list what there really is.
//
// To add an index: add its template to `Structures` and to KITH_MODELS (any/model_lists.hpp), or, if it is not to be had over all spaces, say in `offered` over which. To add a metric or
// element type: add a space to `Spaces`. Over the codecs of `CodecSpaces` a structure exists twice: over codes alone, and refined with the exact rows.
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
#include "kith/any/calibration.hpp"
#include "kith/any/model.hpp"
#include "kith/any/model_lists.hpp"
#include "kith/index/flat.hpp"
#include "kith/index/hnsw.hpp"
#include "kith/index/ivf.hpp"
#include "kith/index/ivf_pq.hpp"
#include "kith/index/lsh.hpp"
#include "kith/index/refine.hpp"
#include "kith/index/vamana.hpp"
#include "kith/space/pq_space.hpp"
#include "kith/space/rabitq_space.hpp"
#include "kith/space/sq4_space.hpp"
#include "kith/space/sq8_space.hpp"

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

template <class... Lists>
struct Concat;
template <class... T>
struct Concat<TypeList<T...>> { using type = TypeList<T...>; };
template <class... A, class... B, class... Rest>
struct Concat<TypeList<A...>, TypeList<B...>, Rest...> : Concat<TypeList<A..., B...>, Rest...> {};

#if defined(KITH_FEW_SPACES)

// For builds that want every structure but not every row type, as instrumented ones do.
#if defined(KITH_FEWEST_SPACES)
using Spaces = TypeList<DenseSpace<L2, float>, DenseSpace<Hamming, Bits8>>;
#else
using Spaces = TypeList<DenseSpace<L2, float>, DenseSpace<InnerProduct, float>, DenseSpace<Cosine, float>, DenseSpace<L2, Half>,
                        DenseSpace<Cosine, std::int8_t>, DenseSpace<L2, std::uint8_t>, DenseSpace<Hamming, Bits8>>;
#endif
using Sq8Spaces = TypeList<Sq8Space<L2, float>>;
using Sq4Spaces = TypeList<Sq4Space<L2, float>>;
using PqSpaces = TypeList<PqSpace<L2, float>>;
using RabitqSpaces = TypeList<RabitqSpace<L2, float>>;

#else

template <class T>
using DenseSpacesOf = TypeList<DenseSpace<L2, T>, DenseSpace<Euclidean, T>, DenseSpace<InnerProduct, T>,
                               DenseSpace<Cosine, T>, DenseSpace<L1, T>>;

using Spaces = Concat<DenseSpacesOf<float>, DenseSpacesOf<Half>, DenseSpacesOf<BFloat16>, DenseSpacesOf<std::int8_t>,
                      DenseSpacesOf<std::uint8_t>,
                      TypeList<DenseSpace<Hamming, Bits8>, DenseSpace<Jaccard, Bits8>>>::type;

template <class T>
using Sq8SpacesOf = TypeList<Sq8Space<L2, T>, Sq8Space<InnerProduct, T>, Sq8Space<Cosine, T>>;
using Sq8Spaces = Concat<Sq8SpacesOf<float>, Sq8SpacesOf<Half>>::type;
using Sq4Spaces = TypeList<Sq4Space<L2, float>, Sq4Space<InnerProduct, float>, Sq4Space<Cosine, float>>;
using PqSpaces = TypeList<PqSpace<L2, float>, PqSpace<InnerProduct, float>, PqSpace<Cosine, float>>;
using RabitqSpaces = TypeList<RabitqSpace<L2, float>, RabitqSpace<InnerProduct, float>, RabitqSpace<Cosine, float>>;

#endif

/// Codecs by which graphs are to be had as Hnsw only.
using SmallCodecSpaces = Concat<Sq4Spaces, PqSpaces, RabitqSpaces>::type;
using CodecSpaces = Concat<Sq8Spaces, SmallCodecSpaces>::type;

/// An index template as a value.
template <template <class> class I>
struct Structure {
    template <class S>
    using over = I<S>;
};

using Structures = TypeList<Structure<Flat>, Structure<Hnsw>, Structure<Vamana>, Structure<Ivf>, Structure<IvfPqOver>, Structure<Lsh>>;

/// What IVF is to be had over: compiling all that it could be over takes longer than it is worth. So it is with IVF-PQ, by the rows that it takes.
using IvfRows = TypeList<DenseSpace<L2, float>, DenseSpace<InnerProduct, float>, DenseSpace<Cosine, float>, DenseSpace<L2, Half>, DenseSpace<Cosine, Half>,
                         DenseSpace<L2, std::uint8_t>, DenseSpace<Hamming, Bits8>, Sq8Space<L2, float>, Sq8Space<InnerProduct, float>, Sq8Space<Cosine, float>>;
using IvfSpaces = Concat<IvfRows, Sq4Spaces, RabitqSpaces>::type;
#if defined(KITH_FEW_SPACES)
using IvfPqRows = TypeList<DenseSpace<L2, float>>;
#else
using IvfPqRows = TypeList<DenseSpace<L2, float>, DenseSpace<InnerProduct, float>, DenseSpace<Cosine, float>>;
#endif

/// What LSH is to be had over, for the same reason.
using LshSpaces = TypeList<DenseSpace<L2, float>, DenseSpace<InnerProduct, float>, DenseSpace<Cosine, float>, DenseSpace<L1, float>, DenseSpace<L2, Half>, DenseSpace<Cosine, Half>,
                           DenseSpace<Cosine, std::int8_t>, DenseSpace<L2, std::uint8_t>, DenseSpace<Hamming, Bits8>, DenseSpace<Jaccard, Bits8>, Sq8Space<L2, float>,
                           Sq8Space<InnerProduct, float>, Sq8Space<Cosine, float>>;

template <class List, class T>
inline constexpr bool contains = false;
template <class... All, class T>
inline constexpr bool contains<TypeList<All...>, T> = (std::same_as<All, T> || ...);

/// Whether a structure is to be had over a space.
template <class C, class S>
inline constexpr bool offered = true;
template <class S>
inline constexpr bool offered<Structure<Ivf>, S> = contains<IvfSpaces, S>;
template <class S>
inline constexpr bool offered<Structure<Vamana>, S> = !contains<SmallCodecSpaces, S>;
template <class S>
inline constexpr bool offered<Structure<IvfPqOver>, S> = contains<IvfPqRows, S>;
template <class S>
inline constexpr bool offered<Structure<Lsh>, S> = contains<LshSpaces, S>;

template <class I>
struct Plain { using type = I; };
template <class I>
struct Refined { using type = Refine<I>; };

/// What a file says of the rows of an index of type I, and what a spec's `over` comes to: "l2/f32", "l2/sq8:f32", "l2/sq8+f32".
template <class I>
std::string rows_label() {
    if constexpr (requires { I::file_label(); }) return I::file_label();
    else if constexpr (requires { I::space_type::file_label(); }) return I::space_type::file_label();
    else return I::space_type::type_label();
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

/// The codes that an index searches, or its rows.
template <class I>
struct SearchedOf { using type = typename I::space_type; };
template <class I>
    requires requires { typename I::inner_type; }
struct SearchedOf<I> { using type = typename I::inner_type::space_type; };

/// Whether a codec's parameters stand behind "over" or among the index's own.
template <class I>
inline constexpr bool codes_by_itself = EncodesRows<I>;
template <class I>
inline constexpr bool codes_by_itself<Refine<I>> = EncodesRows<I>;
template <class I>
using codec_params_in = std::conditional_t<codes_by_itself<I>, NoParams, codec_params_of<typename SearchedOf<I>::type>>;

template <class I>
I build_index(MatrixView<const typename I::space_type::element_type> rows, const typename I::build_params& params,
              [[maybe_unused]] const codec_params_in<I>& codec, const BuildOptions& options, Executor& executor) {
    using S = typename I::space_type;
    using T = typename S::element_type;
    if constexpr (EncodesRows<I>) {
        return I::build(rows, params, options.seed, executor, options.progress);
    } else if constexpr (CodecSpace<S>) {
        return I::build(encode_rows<S>(rows, codec, options.seed, executor, options.progress), params, options.seed, executor, options.progress);
    } else {
        const bool copy = options.copy && !ReordersRows<I>;  // which copies all rows anyway
        S space(copy ? Rows<T>::copy(rows) : Rows<T>::borrow(rows, options.keep_alive));
        if constexpr (requires { typename I::inner_type; } && !codes_by_itself<I>) return I::build(std::move(space), params, options.seed, executor, options.progress, codec);
        else return I::build(std::move(space), params, options.seed, executor, options.progress);
    }
}

template <class I>
std::unique_ptr<AnyModel> build_model(AnyMatrix matrix, const Spec& spec, const BuildOptions& options, Executor& executor) {
    using T = typename I::space_type::element_type;
    const OverSpec over = parse_over(spec.over);
    const auto params = parse_params<typename I::build_params>(spec.params, I::kind);
    const auto codec = parse_params<codec_params_in<I>>(over.params, over.codec.empty() ? "rows as they are" : over.codec);
    const auto rows = typed<T>(matrix, "rows");
    if (options.not_finite == NotFinite::reject) require_finite(rows, "row");
    if (!options.ids.empty() && options.ids.size() != rows.rows())
        fail(ErrorCode::dimension_mismatch, "expected ", rows.rows(), " ids, one for each row, got ", options.ids.size());
    I index = build_index<I>(rows, params, codec, options, executor);
    if (options.ids.empty()) return std::make_unique<IndexModel<I>>(Keyed<I>(std::move(index)));
    return std::make_unique<IndexModel<I>>(Keyed<I>(std::move(index), options.ids));
}

template <class I>
std::unique_ptr<AnyModel> load_model(const SectionReader& reader) {
    return std::make_unique<IndexModel<I>>(Keyed<I>::load(reader));
}

#if defined(KITH_COMPILED_MODELS)
KITH_F32_MODELS(extern)
KITH_F16_MODELS(extern)
KITH_BF16_MODELS(extern)
KITH_I8_MODELS(extern)
KITH_U8_MODELS(extern)
KITH_B1_MODELS(extern)
KITH_SQ8_F32_MODELS(extern)
KITH_SQ8_F16_MODELS(extern)
KITH_IVF_MODELS(extern)
KITH_IVF_SQ8_MODELS(extern)
KITH_PQ_MODELS(extern)
KITH_SQ4_MODELS(extern)
KITH_RABITQ_MODELS(extern)
KITH_IVF_PQ_MODELS(extern)
KITH_LSH_MODELS(extern)
#endif

/// Calls visit(Type<I>{}) for the index type of this kind over these rows (rows_label); false where there is none.
template <class Spaces, template <class> class Form, class Visit>
bool visit_index_type(std::string_view kind, std::string_view rows, Visit& visit) {
    return any_of_types(Structures{}, [&]<class C>(Type<C>) {
        return any_of_types(Spaces{}, [&]<class S>(Type<S>) {
            if constexpr (offered<C, S>) {
                using I = typename Form<typename C::template over<S>>::type;
                if (I::kind != kind || rows_label<I>() != rows) return false;
                visit(Type<I>{});
                return true;
            } else {
                return false;
            }
        });
    });
}

/// The labels of what a kind of index can be over: those of visit_index_type.
template <class Spaces, template <class> class Form>
std::vector<std::string> labels_of(std::string_view kind) {
    std::vector<std::string> names;
    any_of_types(Structures{}, [&]<class C>(Type<C>) {
        return any_of_types(Spaces{}, [&]<class S>(Type<S>) {
            if constexpr (offered<C, S>) {
                using I = typename Form<typename C::template over<S>>::type;
                if (I::kind == kind) names.push_back(rows_label<I>());
            }
            return false;
        });
    });
    return names;
}

/// Refined IVF-PQ, by the rows that it takes and keeps.
template <class Visit>
bool visit_refined_ivf_pq(std::string_view kind, std::string_view rows, Visit& visit) {
    return any_of_types(IvfPqRows{}, [&]<class S>(Type<S>) {
        using I = Refine<IvfPqOver<S>>;
        if (I::kind != kind || rows_label<I>() != rows) return false;
        visit(Type<I>{});
        return true;
    });
}

/// The same; throws Error{invalid_argument, unsupported} naming what there is.
template <class Visit>
void with_index_type(std::string_view kind, std::string_view rows, Visit&& visit) {
    if (visit_index_type<Spaces, Plain>(kind, rows, visit) || visit_index_type<CodecSpaces, Plain>(kind, rows, visit) ||
        visit_index_type<CodecSpaces, Refined>(kind, rows, visit) || visit_refined_ivf_pq(kind, rows, visit))
        return;
    const auto kinds = known_kinds();
    if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end())
        fail(ErrorCode::invalid_argument, "unknown kind of index '", kind, "'; known: ", list_of(kinds));
    const std::string metric(rows.substr(0, rows.find('/')));
    const auto metrics = known_metrics();
    if (std::find(metrics.begin(), metrics.end(), metric) == metrics.end())
        fail(ErrorCode::invalid_argument, "unknown metric '", metric, "'; known: ", list_of(metrics));
    fail(ErrorCode::unsupported, kind, " over ", rows, " does not exist; spaces: ", list_of(labels_of<Spaces, Plain>(kind)),
         "; codecs: ", list_of(labels_of<CodecSpaces, Plain>(kind)));
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
        names.push_back(decltype(space)::type::type_label());
        return false;
    });
    return names;
}

inline std::vector<std::string> known_codecs() {
    std::vector<std::string> names;
    detail::any_of_types(detail::CodecSpaces{}, [&](auto space) {
        names.push_back(decltype(space)::type::file_label());
        return false;
    });
    return names;
}

namespace detail {

/// "pq(m=16)" is short for "flat over pq(m=16)".
inline Spec without_short_forms(Spec spec, std::string_view text) {
    if (spec.kind != "pq") return spec;
    if (!spec.over.empty())
        fail(ErrorCode::invalid_argument, "spec '", text, "': pq is short for flat over pq(...), over nothing else");
    std::string params;
    for (const auto& [name, value] : spec.params) params += (params.empty() ? "" : ",") + name + "=" + param_text(value);
    spec.over = params.empty() ? "pq" : "pq(" + params + ")";
    spec.kind = "flat";
    spec.params.clear();
    return spec;
}

}  // namespace detail

inline AnyIndex AnyIndex::build(std::string_view text, AnyMatrix rows, const BuildOptions& options, Executor& executor) {
    if (!(options.target_recall >= 0 && options.target_recall <= 1)) fail(ErrorCode::invalid_argument, "expected a target_recall above 0 and at most 1, got ", options.target_recall);
    const Spec spec = detail::without_short_forms(parse_spec(text), text);
    const OverSpec over = parse_over(spec.over);
    const std::string element(name(rows.type));
    const std::string codec = over.codec.empty() ? element : over.codec;
    std::string metric = over.metric;
    if (!metric.empty() && !options.metric.empty() && metric != options.metric)
        fail(ErrorCode::invalid_argument, "spec '", text, "' says metric ", metric, ", the argument says ", options.metric);
    if (metric.empty()) metric = options.metric.empty() ? "l2" : options.metric;
    const auto is_element = [](std::string_view word) {
        for (const auto type : {ElementType::f32, ElementType::f16, ElementType::bf16, ElementType::i8, ElementType::u8, ElementType::b1})
            if (word == name(type)) return true;
        return false;
    };
    if (is_element(codec) && codec != element)
        fail(ErrorCode::type_mismatch, "spec '", text, "' wants rows of ", codec, ", got ", element);
    const bool by_itself = spec.kind == IvfPqOver<DenseSpace<L2, float>>::kind;
    if (codec == element && !spec.refine.empty() && !by_itself)
        fail(ErrorCode::unsupported, spec.kind, " over ", codec, " searches exact rows: there is nothing to refine with ", spec.refine);
    if (!spec.refine.empty() && spec.refine != element)
        fail(ErrorCode::type_mismatch, "spec '", text, "' refines with rows of ", spec.refine, ", got ", element);
    std::string label = metric + "/" + codec;
    if (by_itself && !spec.refine.empty()) label = metric + "/pq+" + element;  // what files say of them
    else if (codec != element) label += (spec.refine.empty() ? ":" : "+") + element;
    std::unique_ptr<detail::AnyModel> model;
    detail::with_index_type(spec.kind, label, [&](auto type) {
        model = detail::build_model<typename decltype(type)::type>(rows, spec, options, executor);
    });
    if (options.target_recall > 0) detail::calibrate_model(*model, rows, options.ids, options.target_recall, options.seed, executor, options.progress);
    return AnyIndex(std::move(model));
}

inline void AnyIndex::calibrate(double target, std::uint64_t seed, Executor& executor, const Progress& progress) {
    if (!(target >= 0 && target <= 1)) fail(ErrorCode::invalid_argument, "expected a target of recall from 0 to 1, got ", target);
    detail::calibrate_model(*model_, std::nullopt, {}, target, seed, executor, progress);
    changed_ = 0;
}

inline void AnyIndex::changed(std::size_t rows, Executor& executor) noexcept {
    const auto& curve = model_->recall_curve();
    changed_ += rows;
    if (!curve || changed_ == 0 || changed_ < curve->rows / 4) return;
    changed_ = 0;
    detail::calibrate_again(*model_, executor);
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
