#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Proves that kernels compiled for one instruction set share no function with any other code.

    odr_symbols.py <object>...        objects named <arch>.cpp.o, <arch>.o or the like
    odr_symbols.py --self-test

The linker keeps one copy of an inline function, whichever translation unit it came from. Were a copy compiled for AVX-512 kept for
code that runs anywhere, that code would crash on an older processor. So every symbol that an object offers for sharing must carry the
tag of the object's own instruction set in its name, and an object must call nothing but the C library's memory functions.
"""
import os
import re
import subprocess
import sys

TAGS = {"baseline": "Baseline", "avx2": "Avx2", "avx512": "Avx512", "avx512_vnni": "Avx512Vnni", "neon": "Neon"}
# Data of the language's run time that objects share on purpose; it holds no instructions.
HARMLESS = re.compile(r"^(DW\.ref\.)?__gxx_personality_v0$")
CALLABLE = re.compile(r"^(mem(cpy|set|move|cmp)|__gxx_personality_v0|_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__(asan|ubsan|tsan|gcov)_.*)$")


def arch_of(path: str) -> str:
    return os.path.basename(path).split(".")[0]


def problems(arch: str, lines: list) -> list:
    """What is wrong with the symbols that `nm -C` printed for an object of this instruction set."""
    if arch not in TAGS:
        return [f"no instruction set is called '{arch}'; there are {', '.join(TAGS)}"]
    own = re.compile(rf"\barch::{TAGS[arch]}\b")
    found = []
    for line in lines:
        match = re.match(r"^(?:[0-9a-fA-F]+)?\s+([A-Za-z?])\s+(.*)$", line)
        if not match:
            continue
        kind, name = match.groups()
        if kind in "WVuwv" and not own.search(name) and not HARMLESS.match(name):
            found.append(f"shared without the tag arch::{TAGS[arch]}: {name}")
        elif kind == "T" and name != f"kith::simd::table_{arch}()":
            found.append(f"exported: {name}")
        elif kind in "DBRCGS":
            found.append(f"exported data: {name}")
        elif kind == "U" and not CALLABLE.match(name):
            found.append(f"called from outside: {name}")
    return found


def self_test() -> int:
    good = ["0000000000000000 T kith::simd::table_avx512()", "                 U memcpy",
            "0000000000000000 W kith::simd::Scan<kith::simd::HammingOp<kith::simd::arch::Avx512> >::run()"]
    bad = ["0000000000000000 W kith::simd::Scan<kith::simd::HammingOp<kith::simd::arch::Avx512Vnni> >::run()",
           "0000000000000000 W xsimd::fma(xsimd::batch<float, xsimd::avx512bw> const&)",
           "0000000000000000 T kith::simd::helper()", "                 U std::__throw_length_error(char const*)"]
    assert problems("avx512", good) == [], problems("avx512", good)
    for line in bad:
        assert len(problems("avx512", [line])) == 1, line
    assert problems("mmx", good)
    return 0


def main(arguments: list) -> int:
    if arguments == ["--self-test"]:
        return self_test()
    if not arguments:
        print(__doc__)
        return 2
    failed = 0
    for path in arguments:
        listing = subprocess.run(["nm", "-C", path], check=True, capture_output=True, text=True).stdout
        found = problems(arch_of(path), listing.splitlines())
        for problem in found:
            print(f"{path}: {problem}")
        failed += len(found)
        print(f"{arch_of(path)}: {len(listing.splitlines())} symbols, {len(found)} problems")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
