# SPDX-License-Identifier: Apache-2.0
"""kith where scikit-learn expects nearest neighbours.

    from kith.sklearn import KNeighborsTransformer
    make_pipeline(KNeighborsTransformer(n_neighbors=15, spec="hnsw(m=16)"), TSNE(metric="precomputed"))

takes the place of sklearn.neighbors.KNeighborsTransformer: what precomputed graphs are good for
(DBSCAN, Isomap, SpectralClustering, TSNE, KNeighborsClassifier with metric="precomputed") works with
the neighbours that an approximate index finds.
"""

from __future__ import annotations

import numbers
from typing import Any, Literal, Optional

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from ._api import build, usable_threads

#: scikit-learn's names of what kith measures.
METRICS = {
    "euclidean": "l2",
    "l2": "l2",
    "sqeuclidean": "l2",
    "cosine": "cosine",
    "manhattan": "l1",
    "cityblock": "l1",
    "l1": "l1",
}

#: Whose distances are the roots of kith's: every index has l2, and the order is the same.
ROOTS = ("euclidean", "l2")


class KNeighborsTransformer(TransformerMixin, BaseEstimator):
    """Sparse graphs of the nearest neighbours, found by an index of kith.

    n_neighbors    of each row; in mode "distance" one more, as scikit-learn has it: a row of the
                   training set is its own nearest
    mode           "distance" or "connectivity": what the graph's entries are
    metric         euclidean (or l2), sqeuclidean, cosine, manhattan (or cityblock, l1)
    spec           which index, as kith.build takes it
    search_params  of each search, e.g. {"ef": 200}
    n_jobs         threads; None: one, -1: all
    seed           the same seed and rows give the same index

    After fit: index_, n_features_in_, n_samples_fit_.
    """

    def __init__(
        self,
        n_neighbors: int = 5,
        *,
        mode: Literal["distance", "connectivity"] = "distance",
        metric: str = "euclidean",
        spec: str = "hnsw",
        search_params: Optional[dict[str, Any]] = None,
        n_jobs: Optional[int] = None,
        seed: int = 0,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.mode = mode
        self.metric = metric
        self.spec = spec
        self.search_params = search_params
        self.n_jobs = n_jobs
        self.seed = seed

    def fit(self, X: ArrayLike, y: Any = None) -> KNeighborsTransformer:
        """Builds the index. X: (n, d), converted to float32."""
        if self.metric not in METRICS:
            raise ValueError(
                f"metric must be one of {', '.join(sorted(METRICS))}, not {self.metric!r}"
            )
        self._check_mode(self.mode)
        self._check_count(self.n_neighbors)
        rows = self._rows(X, reset=True)
        self.n_samples_fit_ = len(rows)
        self._fit_X = rows  # where the index lies on rows as they are, these are its own
        self.index_ = build(
            self.spec, rows, metric=METRICS[self.metric], threads=self._threads(), seed=self.seed
        )
        return self

    def transform(self, X: ArrayLike) -> csr_matrix:
        """(m, n_samples_fit_): entries for the neighbours of each row of X."""
        extra = int(self.mode == "distance")
        check_is_fitted(self)
        return self.kneighbors_graph(X, self.n_neighbors + extra, mode=self.mode)

    def fit_transform(self, X: ArrayLike, y: Any = None, **params: Any) -> csr_matrix:
        return self.fit(X, y).transform(X)

    def kneighbors(
        self,
        X: Optional[ArrayLike] = None,
        n_neighbors: Optional[int] = None,
        return_distance: bool = True,
    ) -> Any:
        """Distances (m, k) and indices (m, k), nearest first; of the training rows, without
        themselves, where X is None."""
        check_is_fitted(self)
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        self._check_count(k)
        own = X is None
        most = self.n_samples_fit_ - int(own)
        if k > most:
            raise ValueError(
                f"Expected n_neighbors <= n_samples_fit, but n_neighbors = {k}, n_samples_fit = {most}"
            )
        if X is None:
            rows = self._fit_X
        else:
            rows = self._rows(X, reset=False)
        found = self.index_.search(
            rows, k=k + int(own), threads=self._threads(), **(self.search_params or {})
        )
        ids, distances = found.ids, found.distances
        if own:
            ids, distances = _without_self(ids, distances)
        distances = distances.astype(np.float64)
        if self.metric in ROOTS:
            distances = np.sqrt(distances)
        return (distances, ids) if return_distance else ids

    def kneighbors_graph(
        self,
        X: Optional[ArrayLike] = None,
        n_neighbors: Optional[int] = None,
        mode: Literal["connectivity", "distance"] = "connectivity",
    ) -> csr_matrix:
        """(m, n_samples_fit_): 1, or the distance, for each neighbour."""
        self._check_mode(mode)
        distances, ids = self.kneighbors(X, n_neighbors)
        data = distances.ravel() if mode == "distance" else np.ones(ids.size)
        ends = np.arange(0, ids.size + 1, ids.shape[1])
        return csr_matrix((data, ids.ravel(), ends), shape=(len(ids), self.n_samples_fit_))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        check_is_fitted(self)
        return np.array([f"kneighborstransformer{i}" for i in range(self.n_samples_fit_)], object)

    def _rows(self, X: ArrayLike, reset: bool) -> NDArray[np.float32]:
        try:
            from sklearn.utils.validation import validate_data
        except ImportError:  # before 1.6
            rows = self._validate_data(X, dtype=np.float32, order="C", reset=reset)
        else:
            rows = validate_data(self, X, dtype=np.float32, order="C", reset=reset)
        # The index uses rows where they lie; they are not ours to keep.
        return np.array(rows, np.float32, order="C", copy=True) if reset else rows

    def _threads(self) -> int:
        if self.n_jobs is None:
            return 1
        if self.n_jobs == 0:
            raise ValueError("n_jobs == 0 has no meaning")
        return self.n_jobs if self.n_jobs > 0 else max(1, usable_threads() + 1 + self.n_jobs)

    @staticmethod
    def _check_mode(mode: Any) -> None:
        if mode not in ("distance", "connectivity"):
            raise ValueError(f"mode must be 'distance' or 'connectivity', not {mode!r}")

    @staticmethod
    def _check_count(count: Any) -> None:
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            raise TypeError(f"n_neighbors must be an integer, not {count!r}")
        if count < 1:
            raise ValueError(f"Expected n_neighbors > 0. Got {count}")


def _without_self(
    ids: NDArray[np.int64], distances: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """A row less in each line: the row itself, or the farthest where it was not found."""
    own = ids == np.arange(len(ids))[:, np.newaxis]
    own[~own.any(axis=1), -1] = True
    keep = ~own
    shape = len(ids), ids.shape[1] - 1
    return ids[keep].reshape(shape), distances[keep].reshape(shape)


__all__ = ["KNeighborsTransformer", "METRICS"]
