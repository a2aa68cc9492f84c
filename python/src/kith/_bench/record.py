# SPDX-License-Identifier: Apache-2.0
"""The document that a benchmark leaves behind: JSON, written whole after each contender, so that a
run that was stopped goes on where it was."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import numpy as np

import kith

from .. import _core
from .measure import Built
from .workload import Workload

FORMAT = 1
#: What the package is built from, for git.
SOURCES = [
    f":(top){name}"
    for name in ("CMakeLists.txt", "cmake", "include", "python/CMakeLists.txt", "python/src")
]


def machine() -> dict[str, Any]:
    """What the figures depend on besides the data."""
    cpu = platform.processor() or platform.machine()
    flags: list[str] = []
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                cpu = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = sorted(value.split())
                break
    except OSError:
        pass
    wide = [f for f in flags if f.startswith(("avx", "sse4", "asimd", "sve", "fma", "f16c"))]
    return {
        "cpu": cpu,
        "cpu_flags": wide,
        "cores": os.cpu_count(),
        "usable_cores": kith._api.usable_threads(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "kith": kith.__version__,
        "instruction_set": kith.instruction_set(),
    }


def commit() -> Optional[str]:
    """Of kith's repository, if the command runs in it: the short hash, with "-dirty" where the sources
    of the package are not those of the commit. None anywhere else."""

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=60)

    try:
        top = git("rev-parse", "--show-toplevel")
        root = Path(top.stdout.strip())
        if top.returncode != 0 or not (root / "include" / "kith" / "kith.hpp").is_file():
            return None
        head = git("rev-parse", "--short", "HEAD")
        if head.returncode != 0:
            return None
        same = git("diff", "--quiet", "HEAD", "--", *SOURCES).returncode == 0
        return head.stdout.strip() + ("" if same else "-dirty")
    except (OSError, subprocess.SubprocessError):
        return None


def _origin() -> dict[str, Any]:
    """When, by which command, and at which commit if that is known."""
    at = commit()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": ["kith", *sys.argv[1:]],
        **({"commit": at} if at is not None else {}),
    }


def document(workload: Workload, threads: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **_origin(),
        "machine": machine(),
        "data": {
            "name": workload.name,
            "metric": workload.metric,
            "sha256": workload.checksum,
            "truth": workload.truth_from,
            **workload.facts,
        },
        "k": workload.k,
        "threads": threads,
        "method": settings,
        "contenders": [],
    }


def contender_facts(built: Built) -> dict[str, Any]:
    contender = built.contender
    return {
        "name": contender.name,
        "library": contender.library,
        "version": contender.version,
        "spec": contender.spec,
        "build_seconds": built.seconds,
        "build_peak_bytes": built.peak_bytes,
        "index_bytes": contender.size(),
        **contender.facts(),
        "runs": [measured.facts() for measured in built.measured],
    }


def write(path: Path, facts: dict[str, Any]) -> None:
    """Whole or not at all."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "w") as file:
        json.dump(facts, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _core.CorruptError(f"{path}: not a benchmark's document: {error}") from error
    if not isinstance(facts, dict) or "contenders" not in facts or "format" not in facts:
        raise _core.CorruptError(f"{path}: not a benchmark's document: it has no 'contenders'")
    if facts["format"] != FORMAT:
        raise _core.VersionError(
            f"{path}: expected a document of format {FORMAT}, got {facts['format']}"
        )
    return facts


def resumed(path: Path, fresh: dict[str, Any]) -> Optional[dict[str, Any]]:
    """The document to go on with, None where there is none. What it says of data, machine and method
    must be what this run would say: figures of different kinds do not belong in one document. Another
    command or commit is noted in its `continued`."""
    if not path.exists():
        return None
    old = read(path)
    for part in ("data", "k", "threads", "method"):
        if old.get(part) != fresh[part]:
            raise _core.InvalidArgumentError(
                f"{path} has other results: its '{part}' is {old.get(part)}, expected {fresh[part]}; "
                "name another file, or remove it"
            )
    for part in ("cpu", "kith", "instruction_set"):
        if old["machine"].get(part) != fresh["machine"][part]:
            raise _core.InvalidArgumentError(
                f"{path} has results of another machine or version: its '{part}' is "
                f"{old['machine'].get(part)}, expected {fresh['machine'][part]}"
            )
    told = ("command", "commit")
    before = [old, *old.get("continued", [])]
    if all([one.get(part) for part in told] != [fresh.get(part) for part in told] for one in before):
        origin = {part: fresh[part] for part in ("date", *told) if part in fresh}
        old["continued"] = [*old.get("continued", []), origin]
    return old
