// SPDX-License-Identifier: Apache-2.0
//
// AtomicFile and MappedFile: whatever goes wrong, the old file is intact, nothing is left behind,
// and the error says what.
#include "kith/storage/file_writer.hpp"

#include <csignal>
#include <fstream>
#include <string>

#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kith/storage/mapped_file.hpp"
#include "support/catch.hpp"
#include "support/temp_dir.hpp"

namespace {

using kith::AtomicFile;
using kith::Error;
using kith::ErrorCode;
using test::check_error;
using test::read_bytes;
using test::write_bytes;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

std::string text_of(const std::filesystem::path& path) {
    const auto bytes = read_bytes(path);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void save(const std::filesystem::path& path, std::string_view text) {
    AtomicFile file(path);
    file.write(bytes_of(text));
    file.commit();
}

unsigned mode_of(const std::filesystem::path& path) {
    struct ::stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return status.st_mode & 0777;
}

}  // namespace

TEST_CASE("an atomic file appears at commit and not before") {
    const test::TempDir dir;
    const auto path = dir / "a.bin";
    {
        AtomicFile file(path);
        file.write(bytes_of("hello "));
        file.write(bytes_of("world"));
        CHECK_FALSE(std::filesystem::exists(path));
        CHECK(file.size() == 11);
        file.overwrite(0, bytes_of("J"));
        file.commit();
    }
    CHECK(text_of(path) == "Jello world");
    CHECK(dir.entries() == 1);
    {
        AtomicFile file(path);
        file.write(bytes_of("never"));
    }
    CHECK(text_of(path) == "Jello world");
    CHECK(dir.entries() == 1);
}

TEST_CASE("large and small writes keep their order") {
    const test::TempDir dir;
    std::string expected;
    AtomicFile file(dir / "a.bin");
    for (std::size_t i = 0; i < 60; ++i) {
        const std::string piece(i % 7 == 0 ? 300000 + i : i * 100, static_cast<char>('a' + i % 26));
        file.write(bytes_of(piece));
        expected += piece;
    }
    file.overwrite(expected.size() - 3, bytes_of("end"));
    expected.replace(expected.size() - 3, 3, "end");
    CHECK_THROWS_AS(file.overwrite(expected.size() - 2, bytes_of("end")), Error);
    file.commit();
    CHECK(text_of(dir / "a.bin") == expected);
}

TEST_CASE("permissions of a replaced file stay, a new file follows the umask") {
    const test::TempDir dir;
    const ::mode_t old_mask = ::umask(027);
    save(dir / "new", "1");
    ::umask(old_mask);
    CHECK(mode_of(dir / "new") == 0640);
    REQUIRE(::chmod((dir / "new").c_str(), 0666) == 0);
    save(dir / "new", "2");
    CHECK(mode_of(dir / "new") == 0666);
    REQUIRE(::chmod((dir / "new").c_str(), 0600) == 0);
    save(dir / "new", "3");
    CHECK(mode_of(dir / "new") == 0600);
    CHECK(text_of(dir / "new") == "3");
}

TEST_CASE("a symbolic link stays and its target is replaced") {
    const test::TempDir dir;
    std::filesystem::create_directory(dir / "real");
    write_bytes(dir / "real/file", "old");
    std::filesystem::create_symlink("real/file", dir / "link");
    std::filesystem::create_symlink("link", dir / "link2");
    save(dir / "link2", "new");
    CHECK(std::filesystem::is_symlink(dir / "link2"));
    CHECK(std::filesystem::is_symlink(dir / "link"));
    CHECK(text_of(dir / "real/file") == "new");

    std::filesystem::create_symlink("real/fresh", dir / "dangling");
    save(dir / "dangling", "made");
    CHECK(text_of(dir / "real/fresh") == "made");

    std::filesystem::create_symlink("loop", dir / "loop");
    check_error(ErrorCode::io, {"loop", "symbolic links"}, [&] { save(dir / "loop", "x"); });
}

TEST_CASE("targets that must not be replaced are refused") {
    const test::TempDir dir;
    check_error(ErrorCode::io, {dir.path().string(), "is a directory"},
                [&] { save(dir.path(), "x"); });
    check_error(ErrorCode::io, {"/dev/null", "device"}, [&] { save("/dev/null", "x"); });
    check_error(ErrorCode::not_found, {"none", "No such file or directory"},
                [&] { save(dir / "none/a", "x"); });
    write_bytes(dir / "file", "old");
    check_error(ErrorCode::io, {"file/a", "Not a directory"}, [&] { save(dir / "file/a", "x"); });
    check_error(ErrorCode::io, {"no file name"}, [&] { save(dir.path() / "", "x"); });
    check_error(ErrorCode::io, {"File name too long"},
                [&] { save(dir / std::string(300, 'x'), "x"); });
    REQUIRE(::chmod((dir / "file").c_str(), 0444) == 0);
    check_error(ErrorCode::io, {"file", "read-only"}, [&] { save(dir / "file", "x"); });
    CHECK(text_of(dir / "file") == "old");
    CHECK(dir.entries() == 1);
}

TEST_CASE("a directory that takes no new files gives an error") {
    // Root ignores permissions; nobody can create files in /proc/self.
    check_error(ErrorCode::not_found, {"/proc/self"}, [] { save("/proc/self/kith", "x"); });
    const test::TempDir dir;
    std::filesystem::create_directory(dir / "locked");
    write_bytes(dir / "locked/file", "old");
    REQUIRE(::chmod((dir / "locked").c_str(), 0555) == 0);
    if (::geteuid() != 0) {
        check_error(ErrorCode::io, {"locked", "Permission denied"},
                    [&] { save(dir / "locked/file", "x"); });
        CHECK(text_of(dir / "locked/file") == "old");
    }
    REQUIRE(::chmod((dir / "locked").c_str(), 0755) == 0);
}

#if defined(__linux__)
TEST_CASE("a full disk leaves the old file intact") {
    const test::TempDir dir;
    if (::mount("tmpfs", dir.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
        WARN("cannot mount a small file system here; the size limit test below stands in");
        return;
    }
    write_bytes(dir / "file", "old");
    check_error(ErrorCode::io, {"file", "No space left on device", "byte"},
                [&] { save(dir / "file", std::string(1 << 20, 'x')); });
    check_error(ErrorCode::io, {"file", "No space left on device"},
                [&] {  // small pieces: fails at commit
                    AtomicFile file(dir / "file");
                    for (int i = 0; i < 4096; ++i) file.write(bytes_of(std::string(64, 'x')));
                    file.commit();
                });
    CHECK(text_of(dir / "file") == "old");
    CHECK(dir.entries() == 1);
    ::umount(dir.path().c_str());
}
#endif

TEST_CASE("a file size limit leaves the old file intact") {
    const test::TempDir dir;
    write_bytes(dir / "file", "old");
    struct ::rlimit old_limit {};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    const struct ::rlimit limit { 64 << 10, old_limit.rlim_max };
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    check_error(ErrorCode::io, {"file", "File too large"},
                [&] { save(dir / "file", std::string(1 << 20, 'x')); });
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &old_limit) == 0);
    std::signal(SIGXFSZ, old_handler);
    CHECK(text_of(dir / "file") == "old");
    CHECK(dir.entries() == 1);
}

TEST_CASE("mapping and reading refuse what is no file") {
    const test::TempDir dir;
    write_bytes(dir / "empty", "");
    REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
    const auto refuse = [&](auto open) {
        check_error(ErrorCode::io, {dir.path().string(), "is a directory"},
                    [&] { open(dir.path()); });
        check_error(ErrorCode::not_found, {"missing", "No such file"},
                    [&] { open(dir / "missing"); });
        check_error(ErrorCode::corrupt, {"empty", "0 bytes"}, [&] { open(dir / "empty"); });
        check_error(ErrorCode::io, {"pipe"}, [&] { open(dir / "pipe"); });
        check_error(ErrorCode::io, {"/dev/zero", "device"}, [&] { open("/dev/zero"); });
        check_error(ErrorCode::io, {"Not a directory"}, [&] { open(dir / "empty/x"); });
    };
    refuse([](const std::filesystem::path& path) { kith::MappedFile file(path); });
    refuse([](const std::filesystem::path& path) { kith::read_file(path); });
    if (::geteuid() != 0) {
        write_bytes(dir / "secret", "x");
        REQUIRE(::chmod((dir / "secret").c_str(), 0) == 0);
        check_error(ErrorCode::io, {"secret", "Permission denied"},
                    [&] { kith::read_file(dir / "secret"); });
    }
}

TEST_CASE("a mapping shows the file and survives its replacement") {
    const test::TempDir dir;
    std::string content(100000, 'a');
    write_bytes(dir / "file", content);
    kith::MappedFile file(dir / "file");
    for (const auto access : {kith::Access::sequential, kith::Access::random,
                              kith::Access::will_need, kith::Access::normal}) {
        file.advise(access);
        file.advise(access, 5000, 10);
        file.advise(access, 99999, 1000000);
        file.advise(access, 1000000, 1);
    }
    save(dir / "file", "b");
    REQUIRE(file.size() == content.size());
    CHECK(file.bytes().back() == std::byte{'a'});
    const kith::MappedFile moved = std::move(file);
    CHECK(moved.bytes().front() == std::byte{'a'});
    const auto read = kith::read_file(dir / "file");
    REQUIRE(read.size() == 1);
    CHECK(read[0] == std::byte{'b'});
}
