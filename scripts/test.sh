#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Every test of the project, one part after the other; what `make test` and continuous integration run.
#
#   scripts/test.sh              all parts
#   scripts/test.sh cpp python   some of them
#
# Each part's output is shown only when it fails, and kept in build/logs/. A part whose tools cannot be had here is skipped with
# the reason. Exits with 1 if any part failed, and names it.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

jobs="${KITH_JOBS:-$(nproc 2>/dev/null || echo 2)}"
all_parts=(setup cpp sanitizers threads arm python)
logs=build/logs
skip_status=77

skip() {
    echo "skipped: $*"
    exit "$skip_status"
}

# build <preset> [target...]
build() {
    local preset="$1"
    shift
    cmake --preset "$preset" && cmake --build "build/$preset" -j "$jobs" --target "${@:-all}" -- -k 0
}

# Whether clang++ is here and links programs with these sanitizers.
clang_has() {
    command -v clang++ >/dev/null || return 1
    echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' >"$logs/probe.cpp"
    [[ "$1" == *fuzzer* ]] || echo 'int main() {}' >>"$logs/probe.cpp"
    clang++ "-fsanitize=$1" "$logs/probe.cpp" -o "$logs/probe"
}

# Sanitizers of this age lose their way when the kernel randomises addresses by more bits than they knew of.
fixed_addresses() {
    if setarch "$(uname -m)" -R true 2>/dev/null; then
        setarch "$(uname -m)" -R "$@"
    else
        "$@"
    fi
}

# run_tests <preset> [ctest argument...]
run_tests() {
    local preset="$1"
    shift
    fixed_addresses ctest --test-dir "build/$preset" --output-on-failure --no-tests=error -j "$jobs" "$@"
}

part_setup() { scripts/setup.sh test; }

# The whole C++ suite, warnings as errors, and every header compiled alone.
part_cpp() { build test all all_verify_interface_header_sets && run_tests test; }

# The suite under AddressSanitizer and UndefinedBehaviorSanitizer; with clang also libFuzzer, a short run for each target over its
# corpus (elsewhere the corpus is replayed).
part_sanitizers() {
    local fuzzers=OFF
    clang_has address,undefined && export CXX=clang++  # compiles such code several times faster than g++ 12
    clang_has fuzzer,address,undefined && fuzzers=ON
    KITH_FUZZERS=$fuzzers build asan-ubsan kith_checked && run_tests asan-ubsan -LE forced
}

# The executor and concurrent searches under ThreadSanitizer.
part_threads() {
    clang_has thread && export CXX=clang++
    build tsan kith_thread_tests && run_tests tsan -R '^kith_thread_tests$'
}

# The kernels on 64-bit Arm, through qemu.
part_arm() {
    command -v aarch64-linux-gnu-g++ >/dev/null || skip "no aarch64-linux-gnu-g++"
    command -v qemu-aarch64 >/dev/null || skip "no qemu-aarch64"
    build aarch64 kith_simd_tests && run_tests aarch64 -R '^kith_simd_tests$'
}

# The Python package and its tests: over the libraries that the C++ part built, if it did (compiling them again takes several
# minutes), else from the tree alone, as `pip install ./python` does it.
part_python() {
    local prefix=
    if [[ -f build/test/libkith_any.a ]]; then
        prefix="$PWD/build/test/prefix"
        cmake --install build/test --prefix "$prefix" >/dev/null || return 1
    fi
    scripts/python_env.sh "$prefix" && build/.venv/bin/python -m pytest python/tests
}

run_part() {
    local part="$1" log="$logs/$1.log" status=0 started=$SECONDS line
    printf '%-12s' "$part"
    if command -v ccache >/dev/null; then  # which the part before may have installed
        export CMAKE_CXX_COMPILER_LAUNCHER="${CMAKE_CXX_COMPILER_LAUNCHER:-ccache}"
    fi
    ("part_$part") >"$log" 2>&1 || status=$?
    case "$status" in
        0) line="passed$(grep -hoE '^[0-9]+% tests passed.*|[0-9]+ passed.* in [0-9.]+s' "$log" | sed 's/^/: /')" ;;
        "$skip_status") line="$(tail -n 1 "$log")" ;;
        *) line="FAILED" ;;
    esac
    printf '%s (%d s)\n' "$line" $((SECONDS - started))
    [[ "$status" -eq 0 || "$status" -eq "$skip_status" ]] && return "$status"
    # The steps of a build that went well say nothing about what went wrong.
    grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Re-checking)' "$log" | tail -n 150 | sed 's/^/    /'
    return 1
}

main() {
    mkdir -p "$logs"
    local parts=("$@") failed=() part
    [[ ${#parts[@]} -eq 0 ]] && parts=("${all_parts[@]}")
    local passed=0 skipped=0 status
    for part in "${parts[@]}"; do
        if ! declare -F "part_$part" >/dev/null; then
            echo "unknown part '$part'; the parts are: ${all_parts[*]}" >&2
            exit 2
        fi
        status=0
        run_part "$part" || status=$?
        case "$status" in
            0) passed=$((passed + 1)) ;;
            "$skip_status") skipped=$((skipped + 1)) ;;
            *) failed+=("$part") ;;
        esac
    done
    if [[ ${#failed[@]} -gt 0 ]]; then
        echo "FAILED: ${failed[*]} (logs in $logs)"
    fi
    echo "parts of the test suite, in $SECONDS s:"
    echo "$passed passed, ${#failed[@]} failed, $skipped skipped"
    [[ ${#failed[@]} -eq 0 ]]
}

main "$@"
