#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails on an include edge between kith's headers that climbs, and on SIMD headers outside simd/.

    layers.py [include/kith]     check a tree
    layers.py --self-test        prove that planted violations are caught

A header may include its own layer and lower ones. Only simd/ may include xsimd or an intrinsics header. kith.hpp, the
umbrella, stands above all layers.
"""
from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

LAYERS = ["core", "simd", "metric", "storage", "quantize", "space", "filter", "graph", "partition", "hash", "index", "persist", "shard", "any"]
RANK = {name: rank for rank, name in enumerate(LAYERS)}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
SIMD_HEADER = re.compile(r"^(xsimd/|arm_neon\.h$|arm_sve\.h$|cpuid\.h$|[a-z0-9]*intrin\.h$)")


def sources(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.suffix in {".hpp", ".cpp", ".h", ".inc"})


def violations(root: Path) -> list[str]:
    """One line for each forbidden include under `root` (the directory include/kith)."""
    found = []
    for path in sources(root):
        relative = path.relative_to(root)
        layer = relative.parts[0] if len(relative.parts) > 1 else None
        if layer is not None and layer not in RANK:
            found.append(f"{relative}: directory '{layer}' is not a layer ({', '.join(LAYERS)})")
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = INCLUDE.match(line)
            if match is None:
                continue
            for problem in judge(root, path, layer, match[1], match[2]):
                found.append(f"{relative}:{number}: {problem}")
    return found


def judge(root: Path, path: Path, layer: str | None, bracket: str, target: str) -> list[str]:
    """What is wrong with including `target` from `path`, which lies in `layer` (None: the umbrella)."""
    if SIMD_HEADER.match(target):
        return [] if layer == "simd" else [f"only simd/ may include {target}"]
    if not target.startswith("kith/"):
        if bracket == '"':
            return [f'"{target}" should be written "kith/<layer>/<file>"']
        return []
    if not (root.parent / target).is_file():
        return [f"{target} does not exist"]
    parts = target.split("/")
    if layer is None:
        return []
    if len(parts) == 2:
        return [f"{target} stands above all layers"]
    if RANK.get(parts[1], len(LAYERS)) > RANK[layer]:
        return [f"{layer} may not include {target}, which is higher"]
    return []


def self_test() -> None:
    cases = {
        "core/bad.hpp": ('#include "kith/simd/good.hpp"', "core may not include kith/simd/good.hpp"),
        "index/bad.hpp": ('  #  include <kith/any/good.hpp>', "index may not include kith/any/good.hpp"),
        "metric/bad.hpp": ("#include <immintrin.h>", "only simd/ may include immintrin.h"),
        "storage/bad.hpp": ("#include <xsimd/xsimd.hpp>", "only simd/ may include xsimd/xsimd.hpp"),
        "space/bad.hpp": ('#include "neighbour.hpp"', "should be written"),
        "any/bad.hpp": ('#include "kith/core/nothing.hpp"', "does not exist"),
        "filter/bad.hpp": ('#include "kith/kith.hpp"', "above all layers"),
        "extra/bad.hpp": ("", "is not a layer"),
    }
    good = {
        "kith.hpp": '#include "kith/any/good.hpp"',
        "simd/good.hpp": '#include <immintrin.h>\n#include "kith/core/good.hpp"',
        "core/good.hpp": "#include <vector>",
        "any/good.hpp": '#include "kith/index/good.hpp"\n#include "kith/any/good.hpp"',
        "index/good.hpp": '#include "kith/core/good.hpp"',
    }
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "kith"
        write(root, good)
        assert violations(root) == [], violations(root)
        for name, (text, expected) in cases.items():
            write(root, {name: text})
            found = violations(root)
            assert len(found) == 1 and expected in found[0], (name, found)
            (root / name).unlink()
            if not any((root / name).parent.iterdir()):
                (root / name).parent.rmdir()
    print(f"{len(cases)} planted violations caught")


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    if arguments == ["--self-test"]:
        self_test()
        return 0
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2] / "include" / "kith"
    found = violations(root)
    print("\n".join(found) if found else f"{len(sources(root))} files, no include climbs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
