# SPDX-License-Identifier: Apache-2.0
"""Libraries of partitions and trees; faiss, which has graphs too."""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contenders import Progress
from .base import EF, NPROBE, REFINE, Peer, float_rows, lists_for


class Faiss(Peer):
    """Any index of faiss's factory. `refine` of one that ends in RFlat is its k_factor."""

    library = "faiss"
    package = "faiss-cpu"

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        graph = spec.startswith("HNSW")
        self.names = (EF,) if graph else (NPROBE,) if spec.startswith("IVF") else ()
        if "RFlat" in spec or "Refine" in spec:
            self.names += (REFINE,)

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        faiss = self.module
        faiss.omp_set_num_threads(threads)
        self.metric, self.rows = metric, float_rows(base, metric)
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        self.index = faiss.index_factory(self.rows.shape[1], self.spec, kind)
        inner = faiss.downcast_index(getattr(self.index, "base_index", self.index))
        if hasattr(inner, "hnsw"):
            inner.hnsw.efConstruction = 200
        self.index.train(self.rows)
        self.index.add(self.rows)
        self.inner = faiss.downcast_index(getattr(self.index, "base_index", self.index))

    def most(self) -> dict[str, int]:
        return {NPROBE: self.inner.nlist} if hasattr(self.inner, "nlist") else {}

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.module.omp_set_num_threads(threads)
        self.k = k
        if EF in setting:
            self.inner.hnsw.efSearch = setting[EF]
        if NPROBE in setting:
            self.inner.nprobe = setting[NPROBE]
        if REFINE in setting:
            self.index.k_factor = setting[REFINE]

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        """Pointers for its C function: its Python method costs several microseconds a call."""
        faiss = self.module
        self.asked = float_rows(queries, self.metric)
        self.out = np.empty(4096, np.float32), np.empty(4096, np.int64)
        found = [faiss.swig_ptr(array) for array in self.out]
        return [(faiss.swig_ptr(row), *found) for row in self.asked]

    def one(self, prepared: Any) -> None:
        query, distances, ids = prepared
        self.index.search_c(1, query, self.k, distances, ids)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        return self.index.search(float_rows(queries, self.metric), self.k)[1]

    def size(self) -> int:
        return int(self.module.serialize_index(self.index).size)


class Scann(Peer):
    """Leaves, 4-bit codes of two dimensions each, and exact rows for the best of them."""

    library = "scann"
    package = "scann"
    names = (NPROBE, REFINE)

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        rows = float_rows(base, metric)
        self.leaves = lists_for(len(rows))
        measure = "squared_l2" if metric == "l2" else "dot_product"
        builder = self.module.scann_ops_pybind.builder(rows, 10, measure)
        builder = builder.set_n_training_threads(threads).tree(
            num_leaves=self.leaves,
            num_leaves_to_search=max(1, self.leaves // 20),
            training_sample_size=min(len(rows), 128 * self.leaves),
        )
        threshold = 0.2 if metric != "l2" else float("nan")
        self.index = (
            builder.score_ah(2, anisotropic_quantization_threshold=threshold).reorder(100).build()
        )

    def most(self) -> dict[str, int]:
        return {NPROBE: self.leaves}

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.arguments = {
            "final_num_neighbors": k,
            "leaves_to_search": setting[NPROBE],
            "pre_reorder_num_neighbors": setting[REFINE] * k,
        }
        self.parallel = threads > 1

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(float_rows(queries, self.metric))

    def one(self, prepared: Any) -> None:
        self.index.search(prepared, **self.arguments)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        search = self.index.search_batched_parallel if self.parallel else self.index.search_batched
        return search(float_rows(queries, self.metric), **self.arguments)[0].astype(np.int64)

    def size(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            self.index.serialize(folder)
            return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


class Annoy(Peer):
    library = "annoy"
    package = "annoy"
    names = ("search_k",)
    tried = {"search_k": (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000)}

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        rows = np.asarray(base, np.float32)
        kind = {"l2": "euclidean", "ip": "dot", "cosine": "angular"}[metric]
        self.index = self.module.AnnoyIndex(rows.shape[1], kind)
        for i, row in enumerate(rows):
            self.index.add_item(i, row)
        self.index.build(100, n_jobs=threads)

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k, self.search_k = k, setting["search_k"]

    def one(self, prepared: Any) -> list[int]:
        return self.index.get_nns_by_vector(prepared, self.k, search_k=self.search_k)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """It has none: one after the other."""
        found = np.full((len(queries), self.k), -1, np.int64)
        for i, query in enumerate(self.prepare(queries)):
            ids = self.one(query)
            found[i, : len(ids)] = ids
        return found

    def size(self) -> int:
        return self.saved(self.index.save)
