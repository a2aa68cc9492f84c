# SPDX-License-Identifier: Apache-2.0
"""recall@k with the tie rule: a result counts if it is among the first k of the ground truth, or as
near as the k-th of them.

Which of several equally near rows a ground truth lists is chance; without the rule an exact search
of data with duplicates would seem to miss some.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._core import DimensionError, Index, NotFoundError, UnsupportedError


def distances(metric: str, query: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.float64]:
    """What the metric reports of the query and each row, in double precision; ip is negated, so that
    smaller is nearer. l2 stands for euclidean too, which ranks alike."""
    if metric in ("hamming", "jaccard"):
        both, either = (
            np.unpackbits(bits, axis=1).sum(axis=1, dtype=np.int64)
            for bits in (rows & query, rows | query)
        )
        if metric == "hamming":
            return (either - both).astype(np.float64)
        return np.where(either > 0, 1.0 - both / np.maximum(either, 1), 0.0)
    x, y = np.asarray(query, np.float64), np.asarray(rows, np.float64)
    if metric == "ip":
        return -(y @ x)
    if metric == "cosine":
        norms = np.sqrt((x @ x) * np.einsum("ij,ij->i", y, y))
        return np.where(norms > 0, 1.0 - (y @ x) / np.where(norms > 0, norms, 1.0), 1.0)
    if metric == "l1":
        return np.abs(y - x).sum(axis=1)
    return ((y - x) ** 2).sum(axis=1)


def distance(metric: str, a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(distances(metric, a, b[np.newaxis])[0])


def recall(
    index: Index, queries: NDArray[Any], ids: NDArray[np.int64], truth: NDArray[Any], k: int
) -> float:
    """Mean over queries of hits / min(k, columns of truth)."""
    if len(truth) < len(ids):
        raise DimensionError(
            f"the ground truth has {len(truth)} rows, expected {len(ids)}, one for each query"
        )
    k = min(k, truth.shape[1])
    if k == 0 or len(ids) == 0:
        return 1.0
    hits = 0
    for query, found, wanted in zip(queries, ids[:, :k], truth[:, :k]):
        missed = found[~np.isin(found, wanted)]
        missed = missed[missed >= 0]
        hits += int(np.isin(found, wanted).sum())
        if missed.size:
            hits += _ties(index, query, missed, int(wanted[-1]))
    return hits / (k * len(ids))


def _ties(index: Index, query: NDArray[Any], missed: NDArray[np.int64], last: int) -> int:
    try:
        limit = distance(index.metric, query, index.row(last))
        limit += 1e-12 * abs(limit)
        return sum(distance(index.metric, query, index.row(int(i))) <= limit for i in missed)
    except (NotFoundError, UnsupportedError):  # the rows are not there to ask: ids decide
        return 0
