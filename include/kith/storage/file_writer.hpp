// SPDX-License-Identifier: Apache-2.0
//
// AtomicFile: a file that appears whole or not at all. Bytes go to a temporary file in the target's
// directory; commit() syncs it, renames it over the target and syncs the directory. Without commit
// (an exception, a full disk) the temporary file is removed and the old file stays as it was.
//
// A replaced file's permissions are kept; a new one's are 0666 less the umask. A symbolic link
// stays and what it points to is replaced. Directories, devices and targets without any write
// permission bit are refused (the last even to root, whom the kernel would let). Errors: Error{io}
// naming path and the system's reason; not_found when the directory does not exist.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kith/core/error.hpp"
#include "kith/core/random.hpp"
#include "kith/storage/mapped_file.hpp"

namespace kith {

class AtomicFile {
public:
    explicit AtomicFile(const std::filesystem::path& path) : target_(follow_links(path)) {
        directory_ = target_.parent_path();
        if (directory_.empty()) directory_ = ".";
        if (!target_.has_filename()) fail(ErrorCode::io, "cannot write ", path, ": no file name");
        const bool replaces = examine_target();
        buffer_.reserve(buffer_size);
        create_temporary(replaces ? old_mode_ : 0666);
        if (replaces) keep_permissions();
    }

    AtomicFile(const AtomicFile&) = delete;
    AtomicFile& operator=(const AtomicFile&) = delete;
    ~AtomicFile() { discard(); }

    /// Appends. Small pieces are gathered.
    void write(std::span<const std::byte> bytes) {
        size_ += bytes.size();
        if (buffer_.size() + bytes.size() > buffer_size) flush();
        if (bytes.size() >= buffer_size)
            write_through(bytes);
        else
            buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    }

    /// Overwrites bytes that were written before.
    void overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
        if (offset > size_ || bytes.size() > size_ - offset)
            fail(ErrorCode::invalid_argument, "overwriting bytes ", offset, " to ",
                 offset + bytes.size(), " of a file of ", size_);
        flush();
        while (!bytes.empty()) {
            const ::ssize_t put =
                ::pwrite(fd_.value(), bytes.data(), bytes.size(), static_cast<::off_t>(offset));
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) fail_writing(offset, put < 0 ? errno : ENOSPC);
            bytes = bytes.subspan(static_cast<std::size_t>(put));
            offset += static_cast<std::uint64_t>(put);
        }
    }

    /// Bytes written so far.
    std::uint64_t size() const noexcept { return size_; }
    /// The file that commit() creates or replaces.
    const std::filesystem::path& path() const noexcept { return target_; }

    /// Makes the file durable and visible. If only the last step, syncing the directory, fails, the
    /// new file is in place but might not survive a power cut, and the error says so.
    void commit() {
        flush();
        if (sync(fd_.value()) != 0) fail_with("cannot sync ", errno);
        if (::close(fd_.release()) != 0) fail_with("cannot close ", errno);
        if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail_with("cannot replace ", errno);
        temporary_.clear();
        sync_directory();
    }

    /// Removes the temporary file; the target stays as it was.
    void discard() noexcept {
        fd_ = detail::FileDescriptor();
        if (!temporary_.empty()) ::unlink(temporary_.c_str());
        temporary_.clear();
    }

private:
    static constexpr std::size_t buffer_size = std::size_t{256} << 10;

    static std::filesystem::path follow_links(std::filesystem::path path) {
        std::error_code ignored;  // what cannot be examined fails later, with a better message
        for (int hops = 0; std::filesystem::is_symlink(path, ignored); ++hops) {
            if (hops == 40) fail(ErrorCode::io, "cannot write ", path, ": too many symbolic links");
            path = path.parent_path() / std::filesystem::read_symlink(path, ignored);
        }
        return path;
    }

    /// Whether there is a file to replace; refuses what must not be replaced.
    bool examine_target() {
        struct ::stat status {};
        if (::stat(target_.c_str(), &status) != 0) {
            if (errno == ENOENT) return false;
            fail_with("cannot write ", errno);
        }
        if (S_ISDIR(status.st_mode))
            fail(ErrorCode::io, "cannot write ", target_, ": it is a directory");
        if (!S_ISREG(status.st_mode))
            fail(ErrorCode::io, "cannot write ", target_,
                 ": it is a device, pipe or socket, not a file");
        if ((status.st_mode & 0222) == 0 || ::access(target_.c_str(), W_OK) != 0)
            fail(ErrorCode::io, "cannot write ", target_, ": the file is read-only");
        old_mode_ = status.st_mode & 0777;
        old_owner_ = status.st_uid;
        old_group_ = status.st_gid;
        return true;
    }

    void create_temporary(::mode_t mode) {
        static std::atomic<std::uint64_t> counter{0};
        const Random random(static_cast<std::uint64_t>(::getpid()),
                            static_cast<std::uint64_t>(
                                std::chrono::steady_clock::now().time_since_epoch().count()));
        for (int attempt = 0;; ++attempt) {
            char name[40];
            std::snprintf(name, sizeof name, ".kith-%016llx.tmp",
                          static_cast<unsigned long long>(random.bits(counter.fetch_add(1))));
            std::filesystem::path path = directory_ / name;
            fd_ = detail::FileDescriptor(
                ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode));
            if (fd_) {
                temporary_ = std::move(path);
                return;
            }
            const int error = errno;
            if (error == EEXIST && attempt < 100) continue;
            fail(error == ENOENT ? ErrorCode::not_found : ErrorCode::io, "cannot write ", target_,
                 ": creating a temporary file in ", directory_,
                 " failed: ", detail::system_reason(error));
        }
    }

    /// Best effort for the owner; a group that cannot be kept must not hand its rights to another
    /// group.
    void keep_permissions() {
        ::mode_t mode = old_mode_;
        if (::fchown(fd_.value(), old_owner_, old_group_) != 0 &&
            ::fchown(fd_.value(), static_cast<::uid_t>(-1), old_group_) != 0)
            mode &= ~static_cast<::mode_t>(070) | ((mode & 07u) << 3);
        if (::fchmod(fd_.value(), mode) != 0) {
            const int error = errno;
            discard();  // the destructor does not run when the constructor throws
            fail_with("cannot set the permissions of ", error);
        }
    }

    void flush() {
        write_through(buffer_);
        buffer_.clear();
    }

    void write_through(std::span<const std::byte> bytes) {
        constexpr std::size_t largest_write = std::size_t{1} << 30;
        while (!bytes.empty()) {
            const ::ssize_t put =
                ::write(fd_.value(), bytes.data(), std::min(bytes.size(), largest_write));
            if (put < 0 && errno == EINTR) continue;
            if (put <= 0) fail_writing(flushed_, put < 0 ? errno : ENOSPC);
            bytes = bytes.subspan(static_cast<std::size_t>(put));
            flushed_ += static_cast<std::uint64_t>(put);
        }
    }

    static int sync(int fd) noexcept {
#if defined(__APPLE__)
        if (::fcntl(fd, F_FULLFSYNC) == 0)
            return 0;  // fsync alone leaves bytes in the drive's cache there
#endif
        return ::fsync(fd);
    }

    void sync_directory() const {
        const detail::FileDescriptor directory(
            ::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        // Some file systems cannot sync a directory (EINVAL), and a directory may be writable but
        // not readable.
        if (!directory || sync(directory.value()) == 0 || errno == EINVAL || errno == ENOTSUP)
            return;
        fail(ErrorCode::io, target_,
             " is written, but syncing its directory failed: ", detail::system_reason(errno));
    }

    [[noreturn]] void fail_with(const char* what, int error) const {
        fail(ErrorCode::io, what, target_, ": ", detail::system_reason(error));
    }
    [[noreturn]] void fail_writing(std::uint64_t at, int error) const {
        fail(ErrorCode::io, "cannot write ", target_, " at byte ", at, ": ",
             detail::system_reason(error));
    }

    std::filesystem::path target_;
    std::filesystem::path directory_;
    std::filesystem::path temporary_;  // empty when there is none to remove
    detail::FileDescriptor fd_;
    std::vector<std::byte> buffer_;
    std::uint64_t size_ = 0;     // handed to write()
    std::uint64_t flushed_ = 0;  // handed on to the system
    ::mode_t old_mode_ = 0666;
    ::uid_t old_owner_ = 0;
    ::gid_t old_group_ = 0;
};

}  // namespace kith
