# SPDX-License-Identifier: Apache-2.0
"""kith for ann-benchmarks: any index by its spec."""

import numpy as np

import kith

from ..base.module import BaseANN


class Kith(BaseANN):
    METRICS = {"angular": "cosine", "euclidean": "l2", "hamming": "hamming", "jaccard": "jaccard"}

    def __init__(self, metric, spec):
        if metric not in self.METRICS:
            raise NotImplementedError(f"kith does not measure {metric}")
        self._metric, self._spec = self.METRICS[metric], spec
        self._params = {}
        self.name = f"kith {spec}"

    def fit(self, X):
        self._index = kith.build(self._spec, self._rows(X), metric=self._metric)

    def set_query_arguments(self, *values):
        """In the order of the parameters that the index has, those that are given."""
        names = [param["name"] for param in self._index.search_params()]
        self._params = dict(zip(names, values))
        shown = ", ".join(f"{name}={value}" for name, value in self._params.items())
        self.name = f"kith {self._spec}" + (f", {shown}" if shown else "")

    def query(self, v, n):
        return self._index.search(self._rows(v), k=n, **self._params).ids

    def batch_query(self, X, n):
        self._found = self._index.search(self._rows(X), k=n, threads=None, **self._params).ids

    def get_batch_results(self):
        return self._found

    def get_memory_usage(self):
        return self._index.memory_bytes / 1024 if hasattr(self, "_index") else super().get_memory_usage()

    def _rows(self, X):
        """Bits come as booleans, one for each; kith packs eight into a byte."""
        X = np.asarray(X)
        if X.dtype == np.bool_:
            return np.packbits(X, axis=-1)
        return np.ascontiguousarray(X, np.float32)
