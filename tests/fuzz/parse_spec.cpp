// SPDX-License-Identifier: Apache-2.0
//
// Any text as a spec string and as a list of parameters. What parses must be printed so that it parses to the same; nothing but
// kith::Error may come out.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "kith/any/spec.hpp"

namespace {

std::string list_of(const kith::ParamMap& params) {
    std::string text;
    for (const auto& [name, value] : params) text += (text.empty() ? "" : ",") + name + "=" + kith::detail::param_text(value);
    return text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(reinterpret_cast<const char*>(data), size);  // a copy of its own, so that reads past the end are seen
    try {
        const kith::Spec spec = kith::parse_spec(text);
        if (!(kith::parse_spec(to_string(spec)) == spec)) std::abort();
    } catch (const kith::Error&) {
    }
    try {
        const kith::ParamMap params = kith::parse_param_list(text, "fuzz");
        if (kith::parse_param_list(list_of(params), "fuzz") != params) std::abort();
    } catch (const kith::Error&) {
    }
    return 0;
}
