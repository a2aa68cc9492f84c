# SPDX-License-Identifier: Apache-2.0
"""What is measured: an index of kith, or of another library (peers), behind one face."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

import kith

from .sweep import settings

Progress = Optional[Callable[[str, int, int], Any]]


class Contender(ABC):
    """Built once, then searched with one setting after the other."""

    library: str
    version: str
    spec: str

    @property
    def name(self) -> str:
        return f"{self.library} {self.spec}"

    @abstractmethod
    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None: ...

    @abstractmethod
    def settings(self, sweeps: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
        """In rising order of what they cost, as well as that is known."""

    @abstractmethod
    def set(self, setting: dict[str, Any], k: int, threads: int) -> None: ...

    @abstractmethod
    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        """What one() takes, for each query: whatever can be made before the clock runs."""

    @abstractmethod
    def one(self, prepared: Any) -> None:
        """Searches for a single query, with as little around it as the library allows."""

    @abstractmethod
    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]: ...

    @abstractmethod
    def size(self) -> int:
        """Bytes of the index, rows among them."""

    def parameters(self) -> set[str]:
        """Names that settings() knows."""
        return set()

    def distances(self, queries: NDArray[Any]) -> Optional[float]:
        """Rows scored a query, where the library counts them."""
        return None

    def facts(self) -> dict[str, Any]:
        return {}


class Kith(Contender):
    library = "kith"
    version = kith.__version__

    def __init__(self, spec: str, dtype: Any = np.float32, seed: int = 0) -> None:
        """dtype: of the rows it will be given. Other libraries turn them to float32, so it is said."""
        self.spec = spec
        self._dtype = np.dtype(dtype)
        self._seed = seed
        self._setting: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return super().name + ("" if self._dtype == np.float32 else f" on {self._dtype}")

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.index = kith.build(
            self.spec, base, metric=metric, threads=threads, seed=self._seed, progress=progress
        )

    def parameters(self) -> set[str]:
        return {param["name"] for param in self.index.search_params()}

    def settings(self, sweeps: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
        lists = self.index.describe().get("nlist")
        most = {"nprobe": lists} if isinstance(lists, int) else {}
        names = [param["name"] for param in self.index.search_params()]
        return settings(names, sweeps, most)

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self._setting = {**setting, "k": k}
        self._threads = threads

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(queries)

    def one(self, prepared: Any) -> None:
        self.index.search(prepared, **self._setting)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        return self.index.search(queries, threads=self._threads, **self._setting).ids

    def size(self) -> int:
        return self.index.memory_bytes

    def distances(self, queries: NDArray[Any]) -> Optional[float]:
        found = self.index.search(queries, threads=self._threads, **self._setting)
        return found.stats.distances / len(queries)

    def facts(self) -> dict[str, Any]:
        return {"described": self.index.describe(), "instruction_set": kith.instruction_set()}
