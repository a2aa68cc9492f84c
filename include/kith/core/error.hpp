// SPDX-License-Identifier: Apache-2.0
//
// One exception class for the whole library, thrown at its border only: building, loading, saving and the checks of a
// search's arguments. Never inside a search loop, a scorer or a kernel. A message names what was expected and what came.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

namespace kith {

enum class ErrorCode {
    invalid_argument,    // a parameter out of its range, an unknown name, k = 0
    dimension_mismatch,  // rows, queries or outputs of another shape
    type_mismatch,       // another element type
    not_finite,          // NaN or infinity where the policy refuses them
    unsupported,         // a combination that does not exist, or an index that lacks the ability
    not_found,           // an id, a file or a section that is not there
    already_exists,      // an id that is taken
    io,                  // the operating system said no: reading, writing, mapping
    corrupt,             // bytes that no intact kith file can hold
    version,             // a file of a newer major format
    cancelled,           // the caller's progress callback asked to stop
    out_of_memory,
};

constexpr std::string_view name(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::invalid_argument: return "invalid_argument";
        case ErrorCode::dimension_mismatch: return "dimension_mismatch";
        case ErrorCode::type_mismatch: return "type_mismatch";
        case ErrorCode::not_finite: return "not_finite";
        case ErrorCode::unsupported: return "unsupported";
        case ErrorCode::not_found: return "not_found";
        case ErrorCode::already_exists: return "already_exists";
        case ErrorCode::io: return "io";
        case ErrorCode::corrupt: return "corrupt";
        case ErrorCode::version: return "version";
        case ErrorCode::cancelled: return "cancelled";
        case ErrorCode::out_of_memory: return "out_of_memory";
    }
    return "unknown";
}

class Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

/// Throws Error{code} whose message is the parts, streamed one after the other.
template <class... Parts>
[[noreturn]] void fail(ErrorCode code, const Parts&... parts) {
    std::ostringstream message;
    (message << ... << parts);
    throw Error(code, message.str());
}

}  // namespace kith
