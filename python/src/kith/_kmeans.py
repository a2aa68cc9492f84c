# SPDX-License-Identifier: Apache-2.0
"""kith.kmeans: clusters for their own sake, and what it returns."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, Optional, Union

import numpy as np

from . import _core
from ._api import PathLike, Progress, checked_seed
from .io import read_vectors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class KMeans:
    """Centroids, and how they came about. Made by kith.kmeans."""

    __slots__ = {
        "centroids": "float32 (clusters, d); of length 1 if spherical",
        "objective": "float64: the mean squared distance of the training rows after each iteration",
        "sizes": "uint32 (clusters,): training rows of each cluster in the last iteration",
        "converged": "whether it stopped because the objective hardly fell any more",
        "reseeded": "how many clusters lost their rows and were given part of another's",
        "training_rows": "how many rows it looked at",
        "imbalance": "1 when all clusters are of one size, `clusters` when one of them has all rows",
        "spherical": "whether only the directions of rows count",
    }

    def __init__(
        self,
        centroids: NDArray[np.float32],
        objective: NDArray[np.float64],
        sizes: NDArray[np.uint32],
        converged: bool,
        reseeded: int,
        training_rows: int,
        imbalance: float,
        spherical: bool,
    ) -> None:
        self.centroids = centroids
        self.objective = objective
        self.sizes = sizes
        self.converged = converged
        self.reseeded = reseeded
        self.training_rows = training_rows
        self.imbalance = imbalance
        self.spherical = spherical

    @property
    def iterations(self) -> int:
        """How many steps there were."""
        return len(self.objective)

    def assign(
        self, rows: ArrayLike, threads: Optional[int] = None
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The nearest centroid of each row, uint32 (n,), and its squared distance, float32 (n,).

        Exact; of centroids that are equally near, the first. One row (d,) gets results without an
        axis. If spherical, rows are brought to length 1 first, and distances are 2 - 2 cos.
        """
        return _core.assign_nearest(self.centroids, rows, self.spherical, threads)

    def __len__(self) -> int:
        return len(self.centroids)

    def __repr__(self) -> str:
        clusters, dim = self.centroids.shape
        steps = f"{self.iterations} iterations" if self.iterations != 1 else "1 iteration"
        last = f", objective {self.objective[-1]:.6g} after {steps}" if self.iterations else ""
        return f"<kith.KMeans {clusters} centroids of {dim} dimensions{last}>"


def kmeans(
    rows: Union[ArrayLike, PathLike],
    clusters: int,
    *,
    iterations: int = 20,
    tolerance: float = 1e-3,
    rows_per_cluster: int = 256,
    plus_plus: bool = True,
    spherical: bool = False,
    hierarchical_from: int = 4096,
    seed: int = 0,
    threads: Optional[int] = None,
    not_finite: Literal["reject", "allow"] = "reject",
    progress: Optional[Progress] = None,
) -> KMeans:
    """Centroids such that rows have a small mean squared distance from the nearest one.

    rows      (n, d) array of float32, float16, bfloat16 (ml_dtypes), int8 or uint8, n >= clusters;
              or the path of a vector file
    clusters  how many
    iterations  Lloyd steps at most; 0 gives what they would begin with
    tolerance   stop when a step lowers the mean squared distance by no more than this share of it
    rows_per_cluster  train on a sample of so many rows for each cluster; 0: on all rows
    plus_plus   begin with rows far from each other (k-means++), not with any
    spherical   rows and centroids of length 1: only directions count, as for "cosine" and "ip"
    hierarchical_from  from this many clusters on train in two levels
    seed      the same seed and rows give the same centroids, whatever the number of threads
    threads   how many; None: all that this process may use
    not_finite  "reject" refuses NaN and infinity anywhere in rows; "allow" does not look, and
              leaves out those of the sample that have any
    progress  called with (phase, done, total) now and then; False ends the work with CancelledError
    """
    if isinstance(rows, (str, os.PathLike)):
        rows = read_vectors(rows)
    if not (isinstance(not_finite, str) and not_finite in ("reject", "allow")):
        raise _core.InvalidArgumentError(
            f"not_finite must be 'reject' or 'allow', not {not_finite!r}"
        )
    params: dict[str, Any] = {
        "clusters": clusters,
        "iterations": iterations,
        "tolerance": tolerance,
        "rows_per_cluster": rows_per_cluster,
        "plus_plus": plus_plus,
        "spherical": spherical,
        "hierarchical_from": hierarchical_from,
    }
    for name, value in params.items():
        if isinstance(value, np.bool_):
            params[name] = bool(value)
    trained = _core.kmeans(
        rows, params, checked_seed(seed), threads, not_finite == "reject", progress
    )
    return KMeans(*trained, spherical=bool(spherical))
