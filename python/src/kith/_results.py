# SPDX-License-Identifier: Apache-2.0
"""What a range search returns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Iterator

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ._core import SearchStats


class RangeResult:
    """Query i found ids[offsets[i]:offsets[i + 1]], nearest first: rows of different lengths.

    result[i] is the pair (ids, distances) of query i; len(result) is the number of queries.
    """

    __slots__ = {
        "offsets": "int64 (nq + 1,)",
        "ids": "int64, of all queries",
        "distances": "float32, shaped like ids",
        "stats": "SearchStats of the whole batch",
    }

    def __init__(
        self,
        offsets: NDArray[np.int64],
        ids: NDArray[np.int64],
        distances: NDArray[np.float32],
        stats: SearchStats,
    ) -> None:
        self.offsets = offsets
        self.ids = ids
        self.distances = distances
        self.stats = stats

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many rows each query found, int64 (nq,)."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        count = len(self)
        if not -count <= query < count:
            raise IndexError(f"query {query} of {count}")
        query %= count
        found = slice(self.offsets[query], self.offsets[query + 1])
        return self.ids[found], self.distances[found]

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        return (self[query] for query in range(len(self)))

    def __repr__(self) -> str:
        return f"RangeResult({len(self)} queries, {len(self.ids)} rows found)"


class NearDuplicates:
    """Pairs of rows that are near each other; len() is their number.

    groups holds the ids that pairs connect, an int64 array each, rising. A group may be wider than
    the threshold, as one row leads to the next.
    """

    __slots__ = {
        "pairs": "int64 (m, 2): ids, the smaller one first, in order",
        "distances": "float32 (m,)",
        "groups": "list of int64 arrays",
        "stats": "SearchStats of all searches",
    }

    def __init__(
        self,
        pairs: NDArray[np.int64],
        distances: NDArray[np.float32],
        groups: list[NDArray[np.int64]],
        stats: SearchStats,
    ) -> None:
        self.pairs = pairs
        self.distances = distances
        self.groups = groups
        self.stats = stats

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"NearDuplicates({len(self)} pairs in {len(self.groups)} groups)"
