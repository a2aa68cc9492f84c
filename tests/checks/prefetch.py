#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that a walk's prefetches are in the machine code: a compiler may drop calls that only prefetch, and then nothing fails but the speed.

    prefetch.py <objdump> <object of prefetch_probe.cpp>
    prefetch.py --self-test
"""
import re
import subprocess
import sys

EXPECTED = 2  # of rows, and of links
INSTRUCTION = re.compile(r"\s(prefetch\w*|prfm)\s")


def count(listing: str) -> int:
    return sum(1 for line in listing.splitlines() if INSTRUCTION.search(line))


def main() -> int:
    if sys.argv[1:] == ["--self-test"]:
        assert count("  12:\tprefetcht0 (%rax)\n  15:\tmov %rax,%rbx\n") == 1
        assert count("   8:\tprfm\tpldl1keep, [x0]\n") == 1
        assert count("   8:\tcall <kith::prefetch_row>\n") == 0
        return 0
    objdump, path = sys.argv[1:]
    found = count(subprocess.run([objdump, "-d", path], check=True, capture_output=True, text=True).stdout)
    if found < EXPECTED:
        print(f"{path}: expected at least {EXPECTED} prefetch instructions in a walk, found {found}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
