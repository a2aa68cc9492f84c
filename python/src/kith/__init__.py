# SPDX-License-Identifier: Apache-2.0
"""kith: nearest-neighbour search over vectors.

index = kith.build("flat", base, metric="l2")     # numpy (n, d); used where it lies
result = index.search(queries, k=10)              # result.ids, .distances, .counts, .stats
index.save("base.kith"); index = kith.load("base.kith")
"""

from ._api import build, from_bytes, load, train, verify
from ._core import (
    AlreadyExistsError,
    CancelledError,
    CorruptError,
    Cursor,
    DimensionError,
    Error,
    FileError,
    FileMissingError,
    Index,
    InvalidArgumentError,
    NotFiniteError,
    NotFoundError,
    OutOfMemoryError,
    Result,
    SearchStats,
    TypeMismatchError,
    UnsupportedError,
    VersionError,
    __version__,
    instruction_set,
    instruction_sets,
    kinds,
    metrics,
)
from ._kmeans import KMeans, kmeans
from ._results import NearDuplicates, RangeResult
from ._sets import sketch_sets
from ._tune import Tuning, tune
from .io import read_vectors, write_vectors

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "CorruptError",
    "Cursor",
    "DimensionError",
    "Error",
    "FileError",
    "FileMissingError",
    "Index",
    "InvalidArgumentError",
    "KMeans",
    "NearDuplicates",
    "NotFiniteError",
    "NotFoundError",
    "OutOfMemoryError",
    "RangeResult",
    "Result",
    "SearchStats",
    "Tuning",
    "TypeMismatchError",
    "UnsupportedError",
    "VersionError",
    "__version__",
    "build",
    "from_bytes",
    "instruction_set",
    "instruction_sets",
    "kinds",
    "kmeans",
    "load",
    "metrics",
    "read_vectors",
    "sketch_sets",
    "train",
    "tune",
    "verify",
    "write_vectors",
]
