# SPDX-License-Identifier: Apache-2.0
"""kith for big-ann-benchmarks: the tracks filter and ood of NeurIPS 2023."""

import os

import numpy as np

import kith
from benchmark.algorithms.base import BaseANN
from benchmark.datasets import DATASETS


class Kith(BaseANN):
    METRICS = {"euclidean": "l2", "ip": "ip", "angular": "cosine"}

    def __init__(self, metric, index_params):
        self._metric = self.METRICS[metric]
        self._spec = index_params["spec"]
        self._threads = index_params.get("threads")
        self._params = {}
        self.name = f"kith {self._spec}"

    def track(self):
        return "ood"

    def fit(self, dataset):
        data = DATASETS[dataset]()
        self._index = kith.build(self._spec, self._rows(data), metric=self._metric, threads=self._threads)
        os.makedirs(os.path.dirname(self._path(dataset)), exist_ok=True)
        self._index.save(self._path(dataset))

    def load_index(self, dataset):
        if not os.path.exists(self._path(dataset)):
            return False
        self._index = kith.load(self._path(dataset))
        return True

    def index_files_to_store(self, dataset):
        folder, name = os.path.split(self._path(dataset))
        return [folder, "", [name]]

    def set_query_arguments(self, query_args):
        self._params = dict(query_args)
        shown = ", ".join(f"{name}={value}" for name, value in self._params.items())
        self.name = f"kith {self._spec}" + (f", {shown}" if shown else "")

    def query(self, X, k):
        found = self._index.search(self._queries(X), k=k, threads=self._threads, **self._params)
        self.res, self._distances = found.ids, found.stats.distances / max(len(X), 1)

    def range_query(self, X, radius):
        found = self._index.range_search(self._queries(X), radius, threads=self._threads, **self._params)
        self.res = found.offsets, found.distances, found.ids

    def get_additional(self):
        return {"dist_comps": self._distances} if hasattr(self, "_distances") else {}

    def _queries(self, X):
        return np.ascontiguousarray(X, self._index.dtype if self._index.dtype in (np.uint8, np.int8) else np.float32)

    def _rows(self, data):
        return np.ascontiguousarray(data.get_dataset())

    def _path(self, dataset):
        words = "".join(c if c.isalnum() else "_" for c in self._spec)
        return os.path.join("data", "indices", self.track(), f"kith_{words}", DATASETS[dataset]().short_name(), "index.kith")


class KithFilter(Kith):
    """Queries name one or two tags; rows that have them all are those that it may find."""

    def track(self):
        return "filter"

    def fit(self, dataset):
        super().fit(dataset)
        self._tags(dataset)

    def load_index(self, dataset):
        if not super().load_index(dataset):
            return False
        self._tags(dataset)
        return True

    def filtered_query(self, X, filter, k):
        wanted = []
        for i in range(filter.shape[0]):
            tags = filter.indices[filter.indptr[i] : filter.indptr[i + 1]]
            rows = [self._with_tag(tag) for tag in tags]
            both = rows[0] if rows else np.arange(self._index.size)
            for more in rows[1:]:
                both = np.intersect1d(both, more, assume_unique=True)
            wanted.append(both)
        found = self._index.search(self._queries(X), k=k, threads=self._threads, filter=wanted, **self._params)
        self.res, self._distances = found.ids, found.stats.distances / max(len(X), 1)

    def _tags(self, dataset):
        by_tag = DATASETS[dataset]().get_dataset_metadata().tocsc()
        by_tag.sort_indices()
        self._tag_rows, self._tag_ends = by_tag.indices.astype(np.int64), by_tag.indptr

    def _with_tag(self, tag):
        return self._tag_rows[self._tag_ends[tag] : self._tag_ends[tag + 1]]
