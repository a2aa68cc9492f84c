# SPDX-License-Identifier: Apache-2.0
"""Other libraries, behind the face of contenders.Contender.

Each is built as its own documentation recommends, on the same rows, and searched through the
cheapest call that it offers to Python: what that costs beyond the search is part of what its users
pay, as it is of ours. A library that is not installed takes no part; `available()` says which are.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import tempfile
from typing import Any, Callable, Optional

import numpy as np
from numpy.typing import NDArray

from .contenders import Contender, Progress
from .sweep import settings

EF = "ef"
NPROBE = "nprobe"
REFINE = "refine"


def _float_rows(base: NDArray[Any], metric: str) -> NDArray[np.float32]:
    """As float32, for cosine brought to length 1: an inner product of such is the cosine."""
    rows = np.ascontiguousarray(base, np.float32)
    if metric == "cosine":
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
    return rows


def _lists(rows: int) -> int:
    """The power of two next to the square root: what partitions are recommended to have."""
    return 1 << round(np.log2(max(1.0, rows**0.5)))


class Peer(Contender):
    """What the adapters have in common."""

    package: str
    metrics: tuple[str, ...] = ("l2", "ip", "cosine")
    names: tuple[str, ...] = (EF,)

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.module: Any = importlib.import_module(self.library)
        self.version = importlib.metadata.version(self.package)

    def parameters(self) -> set[str]:
        return set(self.names)

    def settings(self, sweeps: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
        return settings(list(self.names), sweeps, self.most())

    def most(self) -> dict[str, int]:
        return {}

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return [row.reshape(1, -1) for row in _float_rows(queries, self.metric)]

    def saved(self, save: Callable[[str], Any]) -> int:
        """Bytes of what save(path) writes."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "index")
            save(path)
            return sum(
                os.path.getsize(os.path.join(at, name))
                for at, _, files in os.walk(folder)
                for name in files
            )


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
        self.metric, self.rows = metric, _float_rows(base, metric)
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
        self.asked = _float_rows(queries, self.metric)
        self.out = np.empty(4096, np.float32), np.empty(4096, np.int64)
        found = [faiss.swig_ptr(array) for array in self.out]
        return [(faiss.swig_ptr(row), *found) for row in self.asked]

    def one(self, prepared: Any) -> None:
        query, distances, ids = prepared
        self.index.search_c(1, query, self.k, distances, ids)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        return self.index.search(_float_rows(queries, self.metric), self.k)[1]

    def size(self) -> int:
        return int(self.module.serialize_index(self.index).size)


class Hnswlib(Peer):
    library = "hnswlib"
    package = "hnswlib"

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        rows = np.ascontiguousarray(base, np.float32)
        self.index = self.module.Index(space=metric, dim=rows.shape[1])
        self.index.init_index(max_elements=len(rows), ef_construction=200, M=16)
        self.index.add_items(rows, num_threads=threads)

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k, self.threads = k, threads
        self.index.set_ef(max(setting[EF], k))

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(np.ascontiguousarray(queries, np.float32))

    def one(self, prepared: Any) -> None:
        self.index.knn_query(prepared, k=self.k, num_threads=1)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        rows = np.ascontiguousarray(queries, np.float32)
        return self.index.knn_query(rows, k=self.k, num_threads=self.threads)[0].astype(np.int64)

    def size(self) -> int:
        return self.saved(self.index.save_index)


class Usearch(Peer):
    library = "usearch"
    package = "usearch"

    def __init__(self, spec: str) -> None:
        super().__init__(spec)
        self.module = importlib.import_module("usearch.index")

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        kind = {"l2": "l2sq", "ip": "ip", "cosine": "cos"}[metric]
        rows = np.ascontiguousarray(base, np.float32)
        self.index = self.module.Index(
            ndim=rows.shape[1], metric=kind, dtype="f32", connectivity=16, expansion_add=200
        )
        self.index.add(np.arange(len(rows)), rows, threads=threads)

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k, self.threads = k, threads
        self.index.expansion_search = max(setting[EF], k)

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(np.ascontiguousarray(queries, np.float32))

    def one(self, prepared: Any) -> None:
        self.index.search(prepared, self.k, threads=1)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        rows = np.ascontiguousarray(queries, np.float32)
        found = np.asarray(self.index.search(rows, self.k, threads=self.threads).keys)
        return found.astype(np.int64).reshape(len(rows), -1)

    def size(self) -> int:
        return self.saved(self.index.save)


class Scann(Peer):
    """Leaves, 4-bit codes of two dimensions each, and exact rows for the best of them."""

    library = "scann"
    package = "scann"
    names = (NPROBE, REFINE)

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        rows = _float_rows(base, metric)
        self.leaves = _lists(len(rows))
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
        return list(_float_rows(queries, self.metric))

    def one(self, prepared: Any) -> None:
        self.index.search(prepared, **self.arguments)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        search = self.index.search_batched_parallel if self.parallel else self.index.search_batched
        return search(_float_rows(queries, self.metric), **self.arguments)[0].astype(np.int64)

    def size(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            self.index.serialize(folder)
            return sum(entry.stat().st_size for entry in os.scandir(folder) if entry.is_file())


class Annoy(Peer):
    library = "annoy"
    package = "annoy"
    names = ("search_k",)
    tried = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000)

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        rows = np.asarray(base, np.float32)
        kind = {"l2": "euclidean", "ip": "dot", "cosine": "angular"}[metric]
        self.index = self.module.AnnoyIndex(rows.shape[1], kind)
        for i, row in enumerate(rows):
            self.index.add_item(i, row)
        self.index.build(100, n_jobs=threads)

    def settings(self, sweeps: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
        return settings(["search_k"], {"search_k": self.tried, **sweeps}, {})

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k, self.search_k = k, setting["search_k"]

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(np.ascontiguousarray(queries, np.float32))

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


class Voyager(Peer):
    library = "voyager"
    package = "voyager"

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        space = {"l2": "Euclidean", "ip": "InnerProduct", "cosine": "Cosine"}[metric]
        rows = np.array(base, np.float32)  # which must be writable
        self.index = self.module.Index(
            getattr(self.module.Space, space), rows.shape[1], M=16, ef_construction=200
        )
        self.index.add_items(rows, num_threads=threads)

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k, self.threads = k, threads
        self.ef = max(setting[EF], k)

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(np.array(queries, np.float32))

    def one(self, prepared: Any) -> None:
        self.index.query(prepared, k=self.k, query_ef=self.ef)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        rows = np.array(queries, np.float32)
        found = self.index.query(rows, k=self.k, num_threads=self.threads, query_ef=self.ef)[0]
        return found.astype(np.int64)

    def size(self) -> int:
        return self.saved(self.index.save)


def _faiss_specs(rows: int, dim: int) -> list[str]:
    lists = _lists(rows)
    return [
        "HNSW16",
        f"IVF{lists},Flat",
        *([f"IVF{lists},PQ{dim // 2}x4fs,RFlat"] if dim % 2 == 0 else []),
    ]


#: Name of a library -> the contenders it has for so many rows of so many dimensions.
PEERS: dict[str, Callable[[int, int], list[Callable[[], Peer]]]] = {
    "faiss": lambda rows, dim: [lambda s=spec: Faiss(s) for spec in _faiss_specs(rows, dim)],
    "hnswlib": lambda rows, dim: [lambda: Hnswlib("M=16, ef_construction=200")],
    "usearch": lambda rows, dim: [lambda: Usearch("connectivity=16, expansion_add=200")],
    "scann": lambda rows, dim: [lambda: Scann("tree, AH 2 x 4 bits, reordered")],
    "annoy": lambda rows, dim: [lambda: Annoy("100 trees")],
    "voyager": lambda rows, dim: [lambda: Voyager("M=16, ef_construction=200")],
}


def available(name: str) -> Optional[str]:
    """Why a library takes no part; None where it does."""
    try:
        importlib.import_module(name)
    except ImportError as error:
        return str(error)
    return None
