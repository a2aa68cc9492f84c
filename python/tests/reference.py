# SPDX-License-Identifier: Apache-2.0
"""What an exact search must return, in numpy and double precision."""

from __future__ import annotations

import numpy as np

METRICS = ("l2", "euclidean", "ip", "cosine", "l1")
BIT_METRICS = ("hamming", "jaccard")


def distances(metric: str, queries: np.ndarray, base: np.ndarray) -> np.ndarray:
    """What the metric reports, (nq, n)."""
    if metric in BIT_METRICS:
        q, x = (np.unpackbits(a, axis=1).astype(np.int64) for a in (queries, base))
        both = q @ x.T
        either = q.sum(1)[:, None] + x.sum(1)[None] - both
        if metric == "hamming":
            return (either - both).astype(np.float64)
        return 1.0 - np.divide(both, either, out=np.ones_like(both, np.float64), where=either > 0)
    q, x = queries.astype(np.float64), base.astype(np.float64)
    if metric == "ip":
        return q @ x.T
    if metric == "cosine":
        norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(x, axis=1)[None]
        return 1.0 - np.divide(q @ x.T, norms, out=np.zeros_like(norms), where=norms > 0)
    difference = q[:, None] - x[None]
    if metric == "l1":
        return np.abs(difference).sum(2)
    squared = (difference**2).sum(2)
    return np.sqrt(squared) if metric == "euclidean" else squared


def nearest(
    metric: str, queries: np.ndarray, base: np.ndarray, k: int, allowed=None
) -> tuple[list, list]:
    """Ids and distances, nearest first, ties by smaller id; one list a query."""
    table = distances(metric, queries, base)
    keys = -table if metric == "ip" else table
    ids, found = [], []
    for i, row in enumerate(keys):
        rows = (
            np.arange(len(base))
            if allowed is None
            else np.flatnonzero(allowed[i] if allowed.ndim == 2 else allowed)
        )
        order = rows[np.lexsort((rows, row[rows]))][:k]
        ids.append(order)
        found.append(table[i, order])
    return ids, found


def assert_exact(
    result,
    metric: str,
    queries: np.ndarray,
    base: np.ndarray,
    k: int,
    allowed=None,
    rtol=2e-5,
    atol=2e-5,
) -> None:
    """The right distance at each rank, and each id really that far away: rounding may swap ties."""
    table = distances(metric, queries, base)
    ids, wanted = nearest(metric, queries, base, k, allowed)
    for i in range(len(queries)):
        count = int(result.counts[i])
        assert count == len(ids[i])
        got = result.ids[i, :count]
        assert len(set(got.tolist())) == count
        if allowed is not None:
            mask = allowed[i] if allowed.ndim == 2 else allowed
            assert mask[got].all()
        np.testing.assert_allclose(result.distances[i, :count], wanted[i], rtol=rtol, atol=atol)
        np.testing.assert_allclose(table[i, got], result.distances[i, :count], rtol=rtol, atol=atol)
        assert (result.ids[i, count:] == -1).all()
        assert np.isinf(result.distances[i, count:]).all()
