// SPDX-License-Identifier: Apache-2.0
//
// Progress and cancellation of long work (building, adding, saving, verifying): the caller's callback is told how much is done
// and says whether to go on. A null Progress costs one branch. Callbacks come from the calling thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "kith/core/error.hpp"

namespace kith {

/// (phase, done, total) -> go on? Returning false ends the work with Error{cancelled}, leaving everything as it was.
using ProgressCallback = std::function<bool(std::string_view phase, std::size_t done, std::size_t total)>;

class Progress {
public:
    Progress() = default;
    explicit Progress(ProgressCallback callback) : callback_(std::move(callback)) {}

    /// Throws Error{cancelled} when the callback declines.
    void report(std::string_view phase, std::size_t done, std::size_t total) const {
        if (callback_ && !callback_(phase, done, total))
            fail(ErrorCode::cancelled, phase, " cancelled at ", done, " of ", total);
    }

    explicit operator bool() const noexcept { return static_cast<bool>(callback_); }

private:
    ProgressCallback callback_;
};

}  // namespace kith
