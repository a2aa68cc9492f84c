# SPDX-License-Identifier: Apache-2.0
"""What the adapters of other libraries have in common."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import tempfile
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from ..contenders import Contender
from ..sweep import settings

EF = "ef"
NPROBE = "nprobe"
REFINE = "refine"


def float_rows(base: NDArray[Any], metric: str) -> NDArray[np.float32]:
    """As float32, for cosine brought to length 1: an inner product of such is the cosine."""
    rows = np.ascontiguousarray(base, np.float32)
    if metric == "cosine":
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return rows


def lists_for(rows: int) -> int:
    """The power of two next to the square root: what partitions are recommended to have."""
    return 1 << round(np.log2(max(1.0, rows**0.5)))


class Peer(Contender):
    """One index of another library."""

    package: str
    #: The module that it comes as; None: called as the library.
    imported: Optional[str] = None
    #: What that module has if it is the right one: other packages may have one called alike.
    attribute: str = "__name__"
    metrics: tuple[str, ...] = ("l2", "ip", "cosine")
    names: tuple[str, ...] = (EF,)
    #: Values of parameters that sweep.DEFAULTS does not know.
    tried: dict[str, tuple[Any, ...]] = {}

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.module: Any = importlib.import_module(self.imported or self.library)
        self.version = importlib.metadata.version(self.package)

    @classmethod
    def absent(cls, metric: Optional[str] = None) -> Optional[str]:
        """Why it takes no part, None where it does."""
        try:
            module = importlib.import_module(cls.imported or cls.library)
            importlib.metadata.version(cls.package)
        except Exception as error:  # one that is installed may still fail in any way, as numba does
            return str(error) or type(error).__name__
        if not hasattr(module, cls.attribute):
            return f"the module {module.__name__} is not that of {cls.package}"
        if metric is not None and metric not in cls.metrics:
            return f"measured for {', '.join(cls.metrics)} only, not for {metric}"
        return None

    def parameters(self) -> set[str]:
        return set(self.names)

    def settings(self, sweeps: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
        return settings(list(self.names), {**self.tried, **sweeps}, self.most())

    def most(self) -> dict[str, int]:
        return {}

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(np.ascontiguousarray(queries, np.float32))

    def saved(
        self, save: Callable[[str], Any], held: Callable[[str], int] = os.path.getsize
    ) -> int:
        """Bytes of what save(path) writes, or what `held` says of each of its files."""
        with tempfile.TemporaryDirectory() as folder:
            save(os.path.join(folder, "index"))
            return sum(
                held(os.path.join(at, name)) for at, _, files in os.walk(folder) for name in files
            )
