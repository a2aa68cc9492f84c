// SPDX-License-Identifier: Apache-2.0
//
// A directory that is gone after the test, whole files as bytes, and a check that an Error has the
// right code and words.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "kith/core/error.hpp"
#include "support/catch.hpp"

namespace test {

class TempDir {
public:
    TempDir() {
        std::string name = (std::filesystem::temp_directory_path() / "kith-test-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
        path_ = name;
    }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    ~TempDir() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    const std::filesystem::path& path() const { return path_; }
    std::filesystem::path operator/(std::string_view name) const { return path_ / name; }

    /// How many entries it has; temporary files that were left behind would show.
    std::size_t entries() const {
        return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(path_),
                                                      std::filesystem::directory_iterator()));
    }

private:
    std::filesystem::path path_;
};

inline std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto bytes = std::as_bytes(std::span(text));
    return {bytes.begin(), bytes.end()};
}

inline void write_bytes(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
}
inline void write_bytes(const std::filesystem::path& path, std::string_view text) {
    write_bytes(path, std::as_bytes(std::span(text)));
}

/// `work` must throw an Error of this code whose message has all these words.
template <class Work>
void check_error(kith::ErrorCode code, std::initializer_list<std::string_view> words, Work&& work) {
    try {
        work();
    } catch (const kith::Error& error) {
        const std::string message = error.what();
        INFO("message: " << message);
        CHECK(kith::name(error.code()) == kith::name(code));
        for (const std::string_view word : words) {
            INFO("expected: " << word);
            CHECK(message.find(word) != std::string::npos);
        }
        return;
    }
    FAIL_CHECK("expected Error{" << kith::name(code) << "}, nothing was thrown");
}

}  // namespace test
