// SPDX-License-Identifier: Apache-2.0
//
// Files as bytes: MappedFile maps one read-only, read_file reads one into memory. The only place
// that opens files for reading.
//
// Errors: not_found for a path that does not exist; io for a directory, a device, a file that may
// not be read; corrupt for an empty file, which none of the formats here can be. The message names
// the path and the system's reason. A mapping outlives the removal or replacement of the file's
// name, but not its truncation in place (SIGBUS on access).
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kith/core/buffer.hpp"
#include "kith/core/error.hpp"

namespace kith {

/// How mapped bytes will be read, so that the kernel reads ahead or does not.
enum class Access { normal, sequential, random, will_need };

namespace detail {

/// strerror, but safe with threads.
inline std::string system_reason(int error) { return std::generic_category().message(error); }

class FileDescriptor {
public:
    FileDescriptor() = default;
    explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
    FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    FileDescriptor& operator=(FileDescriptor&& other) noexcept {
        FileDescriptor moved(std::move(other));
        std::swap(fd_, moved.fd_);
        return *this;
    }
    FileDescriptor(const FileDescriptor&) = delete;
    FileDescriptor& operator=(const FileDescriptor&) = delete;
    ~FileDescriptor() {
        if (fd_ >= 0) ::close(fd_);
    }

    int value() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }

private:
    int fd_ = -1;
};

struct OpenedFile {
    FileDescriptor fd;
    std::size_t size = 0;
};

/// Opens a regular file that is not empty.
inline OpenedFile open_for_reading(const std::filesystem::path& path) {
    // O_NONBLOCK: opening a pipe must not wait for its writer before we can refuse it.
    FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
        const int error = errno;
        fail(error == ENOENT ? ErrorCode::not_found : ErrorCode::io, "cannot open ", path, ": ",
             system_reason(error));
    }
    struct ::stat status {};
    if (::fstat(fd.value(), &status) != 0)
        fail(ErrorCode::io, "cannot examine ", path, ": ", system_reason(errno));
    if (S_ISDIR(status.st_mode))
        fail(ErrorCode::io, "expected a file, but ", path, " is a directory");
    if (!S_ISREG(status.st_mode))
        fail(ErrorCode::io, "expected a file, but ", path, " is a device, pipe or socket");
    if (status.st_size <= 0) fail(ErrorCode::corrupt, path, " is empty (0 bytes)");
    return {std::move(fd), static_cast<std::size_t>(status.st_size)};
}

}  // namespace detail

class MappedFile {
public:
    MappedFile() = default;

    explicit MappedFile(const std::filesystem::path& path) : path_(path) {
        const detail::OpenedFile file = detail::open_for_reading(path);
        void* data = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd.value(), 0);
        if (data == MAP_FAILED)
            fail(ErrorCode::io, "cannot map ", path, " (", file.size,
                 " bytes): ", detail::system_reason(errno));
        data_ = static_cast<const std::byte*>(data);
        size_ = file.size;
    }

    MappedFile(MappedFile&& other) noexcept { swap(other); }
    MappedFile& operator=(MappedFile&& other) noexcept {
        MappedFile moved(std::move(other));
        swap(moved);
        return *this;
    }
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;
    ~MappedFile() {
        if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
    }

    std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
    std::size_t size() const noexcept { return size_; }
    const std::filesystem::path& path() const noexcept { return path_; }

    /// A hint for [offset, offset + length), cut to the file; never fails.
    void advise(Access access, std::size_t offset, std::size_t length) const noexcept {
        if (offset >= size_) return;
        length = std::min(length, size_ - offset);
        const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        const std::size_t begin = offset / page * page;  // madvise wants whole pages
        int advice = MADV_NORMAL;
        if (access == Access::sequential) advice = MADV_SEQUENTIAL;
        if (access == Access::random) advice = MADV_RANDOM;
        if (access == Access::will_need) advice = MADV_WILLNEED;
        ::madvise(const_cast<std::byte*>(data_) + begin, offset + length - begin, advice);
    }
    void advise(Access access) const noexcept { advise(access, 0, size_); }

private:
    void swap(MappedFile& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(path_, other.path_);
    }

    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::filesystem::path path_;
};

/// The whole file in memory of our own, 64-byte aligned: untouched by what happens to the file
/// afterwards.
inline AlignedBuffer<std::byte> read_file(const std::filesystem::path& path,
                                          MemoryPolicy policy = {}) {
    const detail::OpenedFile file = detail::open_for_reading(path);
    AlignedBuffer<std::byte> buffer(file.size, policy);
    constexpr std::size_t largest_read = std::size_t{1} << 30;  // Linux reads at most 2 GiB a call
    for (std::size_t done = 0; done < file.size;) {
        const ::ssize_t got =
            ::pread(file.fd.value(), buffer.data() + done, std::min(file.size - done, largest_read),
                    static_cast<::off_t>(done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            fail(ErrorCode::io, "cannot read ", path, " at byte ", done, ": ",
                 detail::system_reason(errno));
        if (got == 0)
            fail(ErrorCode::io, path, " shrank while it was read: expected ", file.size,
                 " bytes, got ", done);
        done += static_cast<std::size_t>(got);
    }
    return buffer;
}

}  // namespace kith
