# SPDX-License-Identifier: Apache-2.0
"""Libraries of graphs."""

from __future__ import annotations

import copy
import inspect
import json
import os
import pickle
import tempfile
from typing import Any, Optional

import numpy as np
from numpy.typing import NDArray

from ..contenders import Progress
from .base import EF, Peer, float_rows


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
    imported = "usearch.index"

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

    def one(self, prepared: Any) -> None:
        self.index.search(prepared, self.k, threads=1)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        rows = np.ascontiguousarray(queries, np.float32)
        found = np.asarray(self.index.search(rows, self.k, threads=self.threads).keys)
        return found.astype(np.int64).reshape(len(rows), -1)

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


class Pynndescent(Peer):
    """The constructor's defaults. Cosine is its "dot" of rows of length 1, as its author measures it."""

    library = "pynndescent"
    package = "pynndescent"
    attribute = "NNDescent"
    names = ("epsilon",)
    tried = {"epsilon": (0.0, 0.02, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32, 0.36)}
    kinds = {"l2": "euclidean", "ip": "inner_product", "cosine": "dot"}
    compiled = False

    def __init__(self, spec: str) -> None:
        """numba compiles when a function is first called: here, where no clock runs."""
        super().__init__(spec)
        if not Pynndescent.compiled:
            rows = np.random.default_rng(0).standard_normal((20_000, 8), dtype=np.float32)
            for metric in self.kinds:
                self.build(rows, metric, 1, None)
                self.set({"epsilon": 0.1}, 10, 1)
                self.one(self.prepare(rows[:1])[0])
            del self.index
            Pynndescent.compiled = True

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        self.metric = metric
        count = self._numba_threads(threads)
        rows = float_rows(base, metric)
        self.index = self.module.NNDescent(
            np.require(rows, requirements="W"),  # others would be compiled for anew
            metric=self.kinds[metric],
            n_jobs=count,
            random_state=0,
            compressed=True,
        )
        self.index.prepare()
        self.parallel: Any = None
        known = inspect.signature(self.index.query).parameters
        self.cheapest = {"return_distances": False} if "return_distances" in known else {}
        self.of_length_1 = metric == "cosine" and "pre_normalized" in known

    def _numba_threads(self, threads: int) -> int:
        """Of as many as numba was started with at most."""
        import numba

        count = min(threads, numba.config.NUMBA_NUM_THREADS)
        numba.set_num_threads(count)
        return count

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self._numba_threads(threads)
        if threads > 1 and self.parallel is None and self.metric != "ip":  # which does not compile
            # Batches run in parallel in an index that is told so, which slows its single queries:
            # the copy shares everything with this one but the search function.
            self.index.parallel_batch_queries = True
            self.parallel = copy.copy(self.index)
            self.index.parallel_batch_queries = False
            self.parallel.query(np.zeros((2, self.index.dim), np.float32), k=k)
        self.several = self.parallel if threads > 1 and self.parallel is not None else self.index
        self.arguments = {"k": k, "epsilon": setting["epsilon"], **self.cheapest}
        self.arguments_of_one = dict(self.arguments)
        if self.of_length_1:
            self.arguments_of_one["pre_normalized"] = True

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return [row.reshape(1, -1) for row in float_rows(queries, self.metric)]

    def one(self, prepared: Any) -> None:
        self.index.query(prepared, **self.arguments_of_one)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        found = self.several.query(np.ascontiguousarray(queries, np.float32), **self.arguments)
        ids = found if self.cheapest else found[0]
        return ids.astype(np.int64)

    def size(self) -> int:
        def save(path: str) -> None:
            with open(path, "wb") as file:
                pickle.dump(self.index, file, pickle.HIGHEST_PROTOCOL)

        return self.saved(save)


class Svs(Peer):
    """Intel's Vamana. Cosine is the inner product of rows of length 1, which costs less than its own."""

    library = "svs"
    package = "scalable-vs"
    attribute = "Vamana"

    def __init__(self, degree: int, window: int) -> None:
        super().__init__(f"Vamana float32, graph_max_degree={degree}, window_size={window}")
        self.degree, self.window = degree, window

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        svs = self.module
        self.metric = metric
        parameters = svs.VamanaBuildParameters(
            graph_max_degree=self.degree, window_size=self.window
        )
        kind = svs.DistanceType.L2 if metric == "l2" else svs.DistanceType.MIP
        with tempfile.TemporaryDirectory() as folder:
            data = self.data(float_rows(base, metric), folder)
            self.index = svs.Vamana.build(parameters, data, kind, num_threads=threads)

    def data(self, rows: NDArray[np.float32], folder: str) -> Any:
        """What build() takes; files may be left in the folder."""
        return rows

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k = k
        if self.index.num_threads != threads:  # starts them anew
            self.index.num_threads = threads
        self.index.search_window_size = max(setting[EF], k)

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(float_rows(queries, self.metric))

    def one(self, prepared: Any) -> None:
        self.index.search(prepared, self.k)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        return self.index.search(float_rows(queries, self.metric), self.k)[0].astype(np.int64)

    def size(self) -> int:
        parts = ("config", "graph", "data")
        return self.saved(lambda path: self.index.save(*(f"{path}.{part}" for part in parts)))


def _vendor() -> str:
    """Of the processor, as Linux has it; empty elsewhere."""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("vendor_id"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""


class SvsLvq(Svs):
    """The graph over LVQ codes of so many bits, and so many more for the last of each search."""

    library = "svs-lvq"
    imported = "svs"

    def __init__(self, degree: int, window: int, bits: int, residual: int) -> None:
        super().__init__(degree, window)
        codes = f"LVQ{bits}x{residual}" if residual else f"LVQ{bits}"
        self.spec = f"Vamana {codes}, graph_max_degree={degree}, window_size={window}"
        self.bits, self.residual = bits, residual

    @classmethod
    def absent(cls, metric: Optional[str] = None) -> Optional[str]:
        """On other processors the library ends the process."""
        reason = super().absent(metric)
        if reason is None and _vendor() != "GenuineIntel":
            return f"LVQ runs on Intel's processors alone, this one is of {_vendor() or 'unknown make'}"
        return reason

    def data(self, rows: NDArray[np.float32], folder: str) -> Any:
        """Codes are made of files only."""
        svs = self.module
        path = os.path.join(folder, "rows.fvecs")
        svs.write_vecs(rows, path)
        loader = svs.VectorDataLoader(path, svs.DataType.float32, dims=rows.shape[1])
        return svs.LVQLoader(loader, primary=self.bits, residual=self.residual, padding=32)


class Vsag(Peer):
    """One of VSAG's graphs. It has no batches, and builds hnsw with one thread."""

    library = "pyvsag"
    package = "pyvsag"
    attribute = "Index"

    def __init__(self, kind: str, parameters: dict[str, Any], more: str = "") -> None:
        degree, ef = parameters["max_degree"], parameters["ef_construction"]
        super().__init__(f"{kind} max_degree={degree}, ef_construction={ef}{more}")
        self.kind, self.build_parameters = kind, parameters
        self.module.set_logger_off()

    def build(self, base: NDArray[Any], metric: str, threads: int, progress: Progress) -> None:
        rows = np.array(base, np.float32)  # it ends the process unless it may write there
        count, dim = rows.shape
        parameters = dict(self.build_parameters)
        if self.kind == "hgraph":
            parameters["build_thread_count"] = threads
        described = {
            "dtype": "float32",
            "metric_type": metric,
            "dim": dim,
            "hnsw" if self.kind == "hnsw" else "index_param": parameters,
        }
        self.index = self.module.Index(self.kind, json.dumps(described))
        self.index.build(rows, np.arange(count), count, dim)

    def set(self, setting: dict[str, Any], k: int, threads: int) -> None:
        self.k = k
        self.parameters_of_search = json.dumps({self.kind: {"ef_search": max(setting[EF], k)}})

    def prepare(self, queries: NDArray[Any]) -> list[Any]:
        return list(np.array(queries, np.float32))

    def one(self, prepared: Any) -> Any:
        return self.index.knn_search(prepared, self.k, self.parameters_of_search)

    def batch(self, queries: NDArray[Any]) -> NDArray[np.integer[Any]]:
        """One after the other."""
        found = np.full((len(queries), self.k), -1, np.int64)
        for i, query in enumerate(self.prepare(queries)):
            ids = self.one(query)[0]
            found[i, : len(ids)] = ids
        return found

    def size(self) -> int:
        """Without the pages of zeros in its file: hgraph saves blocks of 128 MiB, empty or not."""

        def held(path: str) -> int:
            with open(path, "rb") as file:
                pages = iter(lambda: file.read(4096), b"")
                return sum(len(page) for page in pages if page.count(0) < len(page))

        return self.saved(self.index.save, held)
