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


def distance(metric: str, a: NDArray[Any], b: NDArray[Any]) -> float:
    """What the metric reports, in double precision; ip is negated, so that smaller is nearer."""
    if metric in ("hamming", "jaccard"):
        both, either = (int(np.unpackbits(x).sum()) for x in (a & b, a | b))
        return (
            float(either - both) if metric == "hamming" else 1.0 - both / either if either else 0.0
        )
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "ip":
        return -float(x @ y)
    if metric == "cosine":
        norm = float(np.sqrt((x @ x) * (y @ y)))
        return 1.0 - float(x @ y) / norm if norm else 1.0
    if metric == "l1":
        return float(np.abs(x - y).sum())
    return float(((x - y) ** 2).sum())  # l2; euclidean ranks alike


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
