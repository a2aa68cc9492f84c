// SPDX-License-Identifier: Apache-2.0
//
// Parameters, described once. A parameter struct is a plain aggregate with defaults and a constexpr `fields()`:
//
//     struct HnswSearch {
//         std::uint32_t ef = 64;
//         static constexpr auto fields() {
//             return std::tuple{field("ef", &HnswSearch::ef, 1, 1u << 20, "candidates kept while walking")};
//         }
//         friend bool operator==(const HnswSearch&, const HnswSearch&) = default;
//     };
//
// From that come Python's keyword arguments, the command line's flags, the `params` section of a file, spec strings, and every message
// about an unknown name or a value out of range.
#pragma once

#include <charconv>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "kith/core/error.hpp"

namespace kith {

using ParamValue = std::variant<bool, std::int64_t, double, std::string>;
using ParamMap = std::vector<std::pair<std::string, ParamValue>>;

/// One member of a parameter struct; for bool and string members the range is not used.
template <class P, class V>
struct Field {
    std::string_view name;
    V P::*member;
    double min;
    double max;
    std::string_view help;
};

template <class P, class V>
constexpr Field<P, V> field(std::string_view name, V P::*member, double min, double max, std::string_view help) {
    return {name, member, min, max, help};
}

template <class P, class V>
    requires std::same_as<V, bool> || std::same_as<V, std::string>
constexpr Field<P, V> field(std::string_view name, V P::*member, std::string_view help) {
    return {name, member, 0, 0, help};
}

template <class P>
concept Params = std::is_aggregate_v<P> && std::default_initializable<P> && std::equality_comparable<P> &&
                 requires { P::fields(); };

/// A field as its users see it: for help texts, signatures and tables.
struct FieldInfo {
    std::string name;
    std::string type;  // "int", "float", "bool", "str"
    std::string default_value;
    double min = 0;
    double max = 0;
    std::string help;
};

namespace detail {

template <class P, class Visit>
constexpr void for_each_field(Visit&& visit) {
    std::apply([&](const auto&... fields) { (visit(fields), ...); }, P::fields());
}

template <class V>
constexpr std::string_view param_type() {
    if constexpr (std::is_same_v<V, bool>) return "bool";
    else if constexpr (std::is_integral_v<V>) return "int";
    else if constexpr (std::is_floating_point_v<V>) return "float";
    else return "str";
}

template <class V>
std::string param_text(const V& value) {
    if constexpr (std::is_same_v<V, bool>) {
        return value ? "true" : "false";
    } else if constexpr (std::is_arithmetic_v<V>) {
        char text[64];
        const auto end = std::to_chars(text, text + sizeof text, value).ptr;  // shortest form that reads back equal
        return {text, end};
    } else {
        return value;
    }
}

/// parse_param_value reads the same value back: 5.0 stays a number that is not an integer.
inline std::string param_text(const ParamValue& value) {
    std::string text = std::visit([](const auto& v) { return param_text(v); }, value);
    if (std::holds_alternative<double>(value) && text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";
    return text;
}

template <class V>
void assign_param(V& target, const ParamValue& value, std::string_view name, double min, double max) {
    const auto mistyped = [&] {
        fail(ErrorCode::invalid_argument, "parameter '", name, "' must be ", param_type<V>(), ", not '",
             param_text(value), "'");
    };
    if constexpr (std::is_same_v<V, bool>) {
        if (const auto* flag = std::get_if<bool>(&value)) target = *flag;
        else mistyped();
    } else if constexpr (std::is_same_v<V, std::string>) {
        if (const auto* text = std::get_if<std::string>(&value)) target = *text;
        else mistyped();
    } else {
        double number = 0;
        if (const auto* i = std::get_if<std::int64_t>(&value)) number = static_cast<double>(*i);
        else if (const auto* d = std::get_if<double>(&value)) number = *d;
        else mistyped();
        if constexpr (std::is_integral_v<V>) {
            if (number != std::floor(number)) mistyped();
        }
        if (!(number >= min && number <= max))
            fail(ErrorCode::invalid_argument, "parameter '", name, "' must be between ", param_text(min), " and ",
                 param_text(max), ", not ", param_text(value));
        if (const auto* exact = std::get_if<std::int64_t>(&value)) target = static_cast<V>(*exact);
        else target = static_cast<V>(number);
    }
}

}  // namespace detail

/// "a, b, c", or "none".
template <Params P>
std::string known_params() {
    std::string names;
    detail::for_each_field<P>([&](const auto& f) { names += (names.empty() ? "" : ", ") + std::string(f.name); });
    return names.empty() ? "none" : names;
}

template <Params P>
bool is_param(std::string_view name) {
    bool known = false;
    detail::for_each_field<P>([&](const auto& f) { known = known || f.name == name; });
    return known;
}

/// `params` over the defaults. Throws Error{invalid_argument} for a name that is not known (and lists those that are), a name
/// given twice, a value of another type or out of range. `what` names the owner in messages, e.g. "flat search".
template <Params P>
P parse_params(const ParamMap& params, std::string_view what) {
    P result;
    for (std::size_t i = 0; i < params.size(); ++i) {
        const std::string& name = params[i].first;
        const ParamValue& value = params[i].second;
        for (std::size_t j = 0; j < i; ++j)
            if (params[j].first == name)
                fail(ErrorCode::invalid_argument, "parameter '", name, "' of ", what, " is given twice");
        if (!is_param<P>(name))
            fail(ErrorCode::invalid_argument, "unknown parameter '", name, "' of ", what, "; known: ", known_params<P>());
        detail::for_each_field<P>([&](const auto& f) {
            if (f.name == name) detail::assign_param(result.*(f.member), value, f.name, f.min, f.max);
        });
    }
    return result;
}

/// "m=16,ef_construction=200", all fields in their order; "" where there are none.
template <Params P>
std::string to_string(const P& params) {
    std::string text;
    detail::for_each_field<P>([&](const auto& f) {
        text += (text.empty() ? "" : ",") + std::string(f.name) + "=" + detail::param_text(params.*(f.member));
    });
    return text;
}

/// One typed value out of its text: true, false, an integer, a number (no NaN), else a string.
inline ParamValue parse_param_value(std::string_view text) {
    if (text == "true") return true;
    if (text == "false") return false;
    const char* end = text.data() + text.size();
    std::int64_t integer = 0;
    if (const auto r = std::from_chars(text.data(), end, integer); r.ec == std::errc() && r.ptr == end) return integer;
    double number = 0;
    if (const auto r = std::from_chars(text.data(), end, number);
        r.ec == std::errc() && r.ptr == end && !std::isnan(number))
        return number;
    return std::string(text);
}

/// The inverse of to_string: "a=1,b=x" -> map. Throws Error{invalid_argument}; `what` names the source in messages.
inline ParamMap parse_param_list(std::string_view text, std::string_view what) {
    const auto trim = [](std::string_view s) {
        while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
        while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
        return s;
    };
    ParamMap params;
    text = trim(text);
    while (!text.empty()) {
        const std::size_t comma = text.find(',');
        const std::string_view item = trim(text.substr(0, comma));
        const std::size_t equals = item.find('=');
        if (equals == std::string_view::npos || equals == 0)
            fail(ErrorCode::invalid_argument, "expected name=value in ", what, ", not '", item, "'");
        params.emplace_back(std::string(trim(item.substr(0, equals))), parse_param_value(trim(item.substr(equals + 1))));
        if (comma == std::string_view::npos) break;
        text = trim(text.substr(comma + 1));
        if (text.empty()) fail(ErrorCode::invalid_argument, "expected name=value after ',' in ", what);
    }
    return params;
}

template <Params P>
std::vector<FieldInfo> describe_params() {
    std::vector<FieldInfo> infos;
    const P defaults;
    detail::for_each_field<P>([&](const auto& f) {
        using V = std::remove_cvref_t<decltype(defaults.*(f.member))>;
        infos.push_back({std::string(f.name), std::string(detail::param_type<V>()),
                         detail::param_text(defaults.*(f.member)), f.min, f.max, std::string(f.help)});
    });
    return infos;
}

/// For indexes that take none.
struct NoParams {
    static constexpr auto fields() { return std::tuple<>{}; }
    friend bool operator==(const NoParams&, const NoParams&) = default;
};

}  // namespace kith
