#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Installs what is missing to build kith on Debian 12 (or a relative of it); says nothing and needs no network when everything
# is there.
#
#   scripts/setup.sh demo|bench|test
#
# Missing packages that only add checks (clang's fuzzer, the Arm cross compiler) or save time (ccache: several tests compile the
# same sources) are wished for: without them the rest works.
set -euo pipefail

required=(g++ cmake ninja-build libxsimd-dev libeigen3-dev)
wished=()
case "${1:-test}" in
    demo) ;;
    bench) required+=(libbenchmark-dev) ;;
    test)
        required+=(binutils git catch2 libbenchmark-dev pybind11-dev python3 python3-dev python3-venv)
        wished=(ccache clang libclang-rt-14-dev g++-aarch64-linux-gnu qemu-user)
        ;;
    *)
        echo "usage: $0 demo|bench|test" >&2
        exit 2
        ;;
esac

missing_of() {
    local package
    for package in "$@"; do
        if [[ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" != installed ]]; then
            echo "$package"
        fi
    done
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup: no apt here, so nothing is installed. kith needs what Debian 12 calls: ${required[*]}" >&2
    exit 0
fi

mapfile -t missing < <(missing_of "${required[@]}")
mapfile -t missing_wished < <(missing_of "${wished[@]}")
if [[ ${#missing[@]} -eq 0 && ${#missing_wished[@]} -eq 0 ]]; then
    exit 0
fi

root=()
if [[ "$(id -u)" -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: not root and no sudo. Missing: ${missing[*]} ${missing_wished[*]}" >&2
        [[ ${#missing[@]} -eq 0 ]] && exit 0 || exit 1
    fi
    root=(sudo -E)
fi

apt() {
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" >/dev/null
}

echo "setup: installing ${missing[*]} ${missing_wished[*]}"
apt update || echo "setup: the package lists could not be refreshed; trying with what is known" >&2
if [[ ${#missing[@]} -gt 0 ]] && ! apt install -y --no-install-recommends "${missing[@]}"; then
    echo "setup: apt could not install: ${missing[*]}" >&2
    exit 1
fi
for package in "${missing_wished[@]}"; do
    apt install -y --no-install-recommends "$package" ||
        echo "setup: $package could not be installed; the checks that need it will be skipped" >&2
done
