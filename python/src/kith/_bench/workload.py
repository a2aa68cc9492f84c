# SPDX-License-Identifier: Apache-2.0
"""Rows, queries and what their true neighbours are.

Recall@k counts a returned row if it is no farther than the true k-th neighbour: of rows that are
equally far, which ones a ground truth lists is chance. Distances are computed anew in double
precision from the rows as they were given, whatever a contender says of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._api import build
from .._evaluate import distances
from ..io import HDF5, read_rows, read_vectors, split_path

#: Equal but for rounding: a distance may be that much above the k-th, relative to it.
TIES = 1e-5
#: Normal quantile of a 95% confidence interval.
QUANTILE = 1.96
#: Rows that become queries where there are none, at most a tenth of all.
HELD_OUT = 1000


@dataclass
class Workload:
    """`within`[q] is the distance of query q's k-th true neighbour."""

    name: str
    metric: str
    base: NDArray[Any]
    queries: NDArray[Any]
    k: int
    within: NDArray[np.float64]
    truth_from: str
    checksum: str
    facts: dict[str, Any] = field(default_factory=dict)

    def recall(self, ids: NDArray[np.integer[Any]]) -> tuple[float, float]:
        """Mean recall over the queries, and half the width of its 95% confidence interval."""
        found = np.empty(len(self.queries))
        wanted = min(self.k, len(self.base))
        for i, (query, row, bound) in enumerate(zip(self.queries, np.asarray(ids), self.within)):
            own = np.unique(row[(row >= 0) & (row < len(self.base))])
            near = distances(self.metric, query, self.base[own]) <= bound + TIES * abs(bound)
            found[i] = min(int(near.sum()), wanted) / wanted if wanted else 1.0
        spread = float(found.std(ddof=1)) if len(found) > 1 else 0.0
        return float(found.mean()), QUANTILE * spread / max(len(found), 1) ** 0.5


def open_workload(
    base: str,
    queries: Optional[str],
    truth: Optional[str],
    metric: Optional[str],
    k: int,
    limit: Optional[int] = None,
    query_limit: Optional[int] = None,
    dtype: Optional[str] = None,
    threads: Optional[int] = None,
    progress: Optional[Callable[[str, int, int], Any]] = None,
) -> Workload:
    """Reads what the paths name; computes the true neighbours where they are not given.

    Of an .hdf5 file of ann-benchmarks the base alone has to be named: queries, true neighbours and
    the metric come from it too. Of other files without queries some rows are held out and asked for.
    A ground truth is of no use when only some of the rows are taken:
    then it is computed.
    """
    file, named = split_path(base)
    whole = file.suffix.lower() in HDF5 and named is None
    rows = read_rows(base, "train", limit, dtype)
    if queries is None and not whole:
        if truth is not None:
            raise _core.InvalidArgumentError(
                f"{truth} is of no use without the queries it belongs to: name them with --query"
            )
        rows, asked = _held_out(base, rows, query_limit or HELD_OUT)
        queries = base
    else:
        queries = queries or f"{base}:test"
        asked = read_rows(queries, "test", query_limit, dtype)
    if rows.shape[1] != asked.shape[1]:
        raise _core.DimensionError(
            f"{queries} has {asked.shape[1]} columns, expected {rows.shape[1]} as {base} has"
        )
    if len(rows) == 0 or len(asked) == 0:
        raise _core.InvalidArgumentError(
            f"expected rows and queries, got {len(rows)} and {len(asked)}"
        )
    if k < 1:
        raise _core.InvalidArgumentError(f"k must be at least 1, not {k}")
    metric = metric or (_metric_of(file) if whole else None) or "l2"
    if truth is None and whole and _has(file, "neighbors"):
        truth = f"{base}:neighbors"
    facts = {"rows": len(rows), "dim": int(rows.shape[1]), "dtype": str(rows.dtype), "queries": len(asked)}
    if truth is not None and limit is None:
        ids = np.asarray(read_vectors(truth, dataset="neighbors")[: len(asked)])
        _check_truth(truth, ids, len(rows), len(asked), min(k, len(rows)))
        last = ids[:, min(k, len(rows)) - 1]
        source = truth
    else:
        exact = build("flat", rows, metric=metric, threads=threads)
        step = max(1, min(len(asked), 1024))
        last = np.empty(len(asked), np.int64)
        for first in range(0, len(asked), step):
            if progress:
                progress("true neighbours", first, len(asked))
            last[first : first + step] = exact.search(
                asked[first : first + step], k=min(k, len(rows)), threads=threads
            ).ids[:, -1]
        if progress:
            progress("true neighbours", len(asked), len(asked))
        source = "exact search"
    within = np.array(
        [distances(metric, query, rows[i : i + 1])[0] for query, i in zip(asked, last)]
    )
    name = file.stem if file.stem not in ("base", "train") else file.resolve().parent.name
    return Workload(name, metric, rows, asked, k, within, source, _checksum(rows, asked), facts)


def _held_out(base: str, rows: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Every so many rows are queries and no rows."""
    if len(rows) < 2:
        raise _core.InvalidArgumentError(
            f"{base} has {len(rows)} rows, expected at least 2 to hold some out as queries"
        )
    count = max(1, min(count, len(rows) // 10))
    chosen = np.arange(count) * len(rows) // count
    return np.delete(rows, chosen, axis=0), np.ascontiguousarray(rows[chosen])


def _checksum(*arrays: NDArray[Any]) -> str:
    """Of shapes, types and contents, so that runs of different data are not taken for one."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        for first in range(0, len(array), 1 << 16):
            digest.update(np.ascontiguousarray(array[first : first + (1 << 16)]).tobytes())
    return digest.hexdigest()


def _check_truth(path: str, ids: NDArray[Any], rows: int, queries: int, k: int) -> None:
    if ids.ndim != 2 or len(ids) < queries or ids.shape[1] < k:
        raise _core.DimensionError(
            f"{path}: expected the {k} nearest rows of {queries} queries, got {ids.shape}"
        )
    if not np.issubdtype(ids.dtype, np.integer):
        raise _core.TypeMismatchError(f"{path}: expected row numbers, got {ids.dtype}")
    if ids.size and (ids.min() < 0 or ids.max() >= rows):
        raise _core.InvalidArgumentError(
            f"{path}: expected rows of 0 .. {rows - 1}, got {ids.min()} .. {ids.max()}"
        )


def _has(file: Path, name: str) -> bool:
    import h5py

    with h5py.File(file, "r") as opened:
        return name in opened


def _metric_of(file: Path) -> Optional[str]:
    """What ann-benchmarks calls the distance of a file."""
    import h5py

    known = {"euclidean": "l2", "angular": "cosine", "hamming": "hamming", "jaccard": "jaccard", "ip": "ip"}
    with h5py.File(file, "r") as opened:
        given = opened.attrs.get("distance")
    given = given.decode() if isinstance(given, bytes) else given
    if given is not None and given not in known:
        raise _core.UnsupportedError(f"{file}: distance '{given}' is none of {', '.join(known)}")
    return known[given] if given is not None else None
