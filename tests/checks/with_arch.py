#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a test program with one instruction set's kernels forced, or reports it as skipped.

    with_arch.py <arch> <probe> <command>...

The probe (arch_probe.cpp) proves that the forced table is the one in use. It exits with 77 where this CPU cannot run the
table, and so does this script; also where kith chooses that table by itself, since the same command not forced is a test too.
CTest then shows the test as skipped, never as passed.
"""
import os
import subprocess
import sys


def main(arguments: list) -> int:
    arch, probe, command = arguments[0], arguments[1], arguments[2:]
    environment = dict(os.environ, KITH_ARCH=arch)
    status = subprocess.call([probe, arch], env=environment)
    if status != 0 or not command:
        return status
    chosen = subprocess.run([probe], env={k: v for k, v in os.environ.items() if k != "KITH_ARCH"}, stdout=subprocess.PIPE, check=True)
    if chosen.stdout.decode().strip() == arch:
        print(f"{arch} is what this CPU runs without being forced: the test of that name covers it")
        return 77
    return subprocess.call(command, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
