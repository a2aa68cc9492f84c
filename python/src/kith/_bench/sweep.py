# SPDX-License-Identifier: Apache-2.0
"""Which settings of a search are tried.

A sweep is written `ef=10,20,40`. Where several parameters are swept, all their combinations are
tried. Of parameters that a kind of index does not have nothing is said: one command may sweep `ef`
for graphs and `nprobe` for partitions.
"""

from __future__ import annotations

import itertools
from typing import Any, Optional

from .. import _core

#: What is tried where nothing is said, as far as an index has the parameter.
DEFAULTS: dict[str, tuple[Any, ...]] = {
    "ef": (10, 14, 20, 28, 40, 56, 80, 112, 160, 226, 320),
    "nprobe": (1, 2, 4, 6, 8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256),
    "probes": (8, 16, 32, 64, 128, 256, 512, 1024, 2048),
    "refine": (1, 2, 4, 8, 16, 32),
}


def parse(texts: Optional[list[str]]) -> dict[str, tuple[Any, ...]]:
    """`["ef=10,20"]` as `{"ef": (10, 20)}`."""
    sweeps: dict[str, tuple[Any, ...]] = {}
    for text in texts or []:
        name, equals, values = text.partition("=")
        items = [item.strip() for item in values.split(",")] if equals else []
        if not name or not items or not all(items):
            raise _core.InvalidArgumentError(
                f"--sweep expects NAME=VALUE,VALUE,..., not '{text}'"
            )
        if name in sweeps:
            raise _core.InvalidArgumentError(f"--sweep {name} is given twice")
        sweeps[name] = tuple(_core._convert_param(item) for item in items)
    return sweeps


def settings(
    names: list[str], sweeps: dict[str, tuple[Any, ...]], most: dict[str, int]
) -> list[dict[str, Any]]:
    """All combinations for an index that has the parameters `names`; `most` says how much of one
    makes sense (more lists than there are find nothing more)."""
    chosen: dict[str, tuple[Any, ...]] = {}
    for name in names:
        values = sweeps.get(name) or DEFAULTS.get(name)
        if not values:
            continue
        if name in most:
            values = tuple(v for v in values if v <= most[name]) or (most[name],)
        chosen[name] = values
    return [dict(zip(chosen, values)) for values in itertools.product(*chosen.values())]


def check(names: set[str], sweeps: dict[str, tuple[Any, ...]]) -> None:
    """Refuses a parameter that no contender has: most likely it is misspelt."""
    for name in sweeps:
        if name not in names:
            raise _core.InvalidArgumentError(
                f"--sweep {name}: none of the indexes has that parameter; "
                f"known: {', '.join(sorted(names)) or 'none'}"
            )


def label(setting: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in setting.items()) or "-"
