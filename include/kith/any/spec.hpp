// SPDX-License-Identifier: Apache-2.0
//
// Spec strings: what to build, in one line that can be typed, printed and read back.
//
//     spec   = kind [ "(" name "=" value { "," name "=" value } ")" ] [ "over" space ] [ "," "refine" codec ]
//     space  = codec [ "(" ... ")" ] | metric "/" codec
//
//     flat                      hnsw(m=16) over sq8, refine f32          ivf_pq(nlist=1024,m=32) over l2/f32
//
// This file knows the grammar only; which kinds and spaces exist is the registry's business.
#pragma once

#include <cctype>
#include <string>
#include <string_view>

#include "kith/core/error.hpp"
#include "kith/core/params.hpp"

namespace kith {

struct Spec {
    std::string kind;    // "hnsw"
    ParamMap params;     // what the parentheses hold
    std::string over;    // "l2/f32", "sq8", "pq(m=32)"; empty: the rows as they are
    std::string refine;  // "f32"; empty: none

    friend bool operator==(const Spec&, const Spec&) = default;
};

namespace detail {

class SpecParser {
public:
    explicit SpecParser(std::string_view text) : text_(text), rest_(text) {}

    Spec parse() {
        Spec spec;
        spec.kind = word("the kind of an index");
        if (accept("(")) spec.params = parse_param_list(until_close(), "a spec");
        if (accept_word("over")) spec.over = space();
        if (accept(",")) {
            if (!accept_word("refine")) expected("'refine' after ','");
            spec.refine = space();
        }
        skip();
        if (!rest_.empty()) expected("the end");
        return spec;
    }

private:
    void skip() {
        while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0) rest_.remove_prefix(1);
    }

    static bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

    bool accept(std::string_view token) {
        skip();
        if (!rest_.starts_with(token)) return false;
        rest_.remove_prefix(token.size());
        return true;
    }

    bool accept_word(std::string_view word) {
        skip();
        if (!rest_.starts_with(word) || (rest_.size() > word.size() && is_word(rest_[word.size()]))) return false;
        rest_.remove_prefix(word.size());
        return true;
    }

    std::string word(std::string_view what) {
        skip();
        std::size_t n = 0;
        while (n < rest_.size() && is_word(rest_[n])) ++n;
        if (n == 0) expected(what);
        std::string found(rest_.substr(0, n));
        rest_.remove_prefix(n);
        return found;
    }

    std::string_view until_close() {
        const std::size_t close = rest_.find(')');
        if (close == std::string_view::npos) expected("')'");
        const auto inside = rest_.substr(0, close);
        rest_.remove_prefix(close + 1);
        return inside;
    }

    std::string space() {
        std::string found = word("a space or codec");
        if (accept("/")) found += "/" + word("a codec");
        if (accept("(")) found += "(" + std::string(until_close()) + ")";
        return found;
    }

    [[noreturn]] void expected(std::string_view what) const {
        fail(ErrorCode::invalid_argument, "spec '", text_, "': expected ", what, " at position ",
             text_.size() - rest_.size());
    }

    std::string_view text_;
    std::string_view rest_;
};

}  // namespace detail

/// Throws Error{invalid_argument} that says where the text stops making sense.
inline Spec parse_spec(std::string_view text) { return detail::SpecParser(text).parse(); }

/// What a spec says after "over", taken apart: "l2/pq(m=32)". Empty words where it says nothing.
struct OverSpec {
    std::string metric;
    std::string codec;
    ParamMap params;
};

/// Throws Error{invalid_argument} for parameters that cannot be read.
inline OverSpec parse_over(std::string_view over) {
    OverSpec parsed;
    const std::size_t open = over.find('(');
    if (open != std::string_view::npos) parsed.params = parse_param_list(over.substr(open + 1, over.size() - open - 2), "a codec");
    const std::string_view label = over.substr(0, open);
    const std::size_t slash = label.find('/');
    if (slash != std::string_view::npos) parsed.metric = label.substr(0, slash);
    parsed.codec = slash == std::string_view::npos ? label : label.substr(slash + 1);
    return parsed;
}

/// parse_spec(to_string(spec)) == spec.
inline std::string to_string(const Spec& spec) {
    std::string text = spec.kind;
    if (!spec.params.empty()) {
        std::string params;
        for (const auto& [name, value] : spec.params)
            params += (params.empty() ? "" : ",") + name + "=" + detail::param_text(value);
        text += "(" + params + ")";
    }
    if (!spec.over.empty()) text += " over " + spec.over;
    if (!spec.refine.empty()) text += ", refine " + spec.refine;
    return text;
}

}  // namespace kith
