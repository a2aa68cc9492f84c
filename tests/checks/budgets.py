#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keeps files small enough to read, and marked: at most 500 lines each, the licence line, `#pragma once` in headers.

    budgets.py [repository]      check a tree
    budgets.py --self-test       prove that planted violations are caught
"""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path

MAX_LINES = 500
DIRECTORIES = ["include", "tests", "bench", "examples", "python", "datasets", "cmake", "scripts"]
CODE = {".hpp", ".cpp", ".py", ".pyi", ".cmake", ".sh"}
SKIPPED = {"build", "__pycache__", ".venv", "dist"}
LICENCE = "SPDX-License-Identifier: Apache-2.0"


def sources(root: Path) -> list[Path]:
    found = []
    for directory in DIRECTORIES:
        for path in sorted((root / directory).rglob("*")):
            parts = path.relative_to(root).parts
            if path.suffix in CODE and path.is_file() and not SKIPPED.intersection(parts):
                found.append(path)
    return found


def violations(root: Path) -> list[str]:
    found = []
    for path in sources(root):
        lines = path.read_text(encoding="utf-8").splitlines()
        name = path.relative_to(root)
        if len(lines) > MAX_LINES:
            found.append(f"{name}: {len(lines)} lines, at most {MAX_LINES}")
        if lines and not any(LICENCE in line for line in lines[:3]):
            found.append(f"{name}: no '{LICENCE}' at the top")
        if path.suffix == ".hpp" and "#pragma once" not in lines:
            found.append(f"{name}: no #pragma once")
    return found


def self_test() -> None:
    head = f"// {LICENCE}\n"
    cases = {
        "include/kith/core/long.hpp": (head + "#pragma once\n" * MAX_LINES, "501 lines"),
        "include/kith/core/bare.hpp": ("#pragma once\n", "no 'SPDX"),
        "include/kith/core/twice.hpp": (head, "no #pragma once"),
    }
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "include/kith/core").mkdir(parents=True)
        (root / "include/kith/core/good.hpp").write_text(head + "#pragma once\n", encoding="utf-8")
        assert violations(root) == []
        for name, (text, expected) in cases.items():
            (root / name).write_text(text, encoding="utf-8")
            found = violations(root)
            assert len(found) == 1 and expected in found[0], (name, found)
            (root / name).unlink()
    print(f"{len(cases)} planted violations caught")


def main(arguments: list[str]) -> int:
    if arguments == ["--self-test"]:
        self_test()
        return 0
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parents[2]
    found = violations(root)
    print("\n".join(found) if found else f"{len(sources(root))} files within budget")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
