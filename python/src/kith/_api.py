# SPDX-License-Identifier: Apache-2.0
"""kith.build, kith.load and kith.verify: arguments made ready for the compiled part."""

from __future__ import annotations

import operator
import os
import re
import warnings
from typing import TYPE_CHECKING, Any, Callable, Literal, Optional, Union

import numpy as np

from . import _core
from .io import read_vectors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

PathLike = Union[str, "os.PathLike[str]"]
Progress = Callable[[str, int, int], Any]

os.register_at_fork(after_in_child=_core._after_fork)


def usable_threads() -> int:
    """How many threads this process may run at once (its CPU affinity counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def checked_seed(seed: Any) -> int:
    if not hasattr(seed, "__index__"):
        raise _core.TypeMismatchError(f"seed must be an integer, not {seed!r}")
    if not 0 <= operator.index(seed) < 1 << 64:
        raise _core.InvalidArgumentError(f"seed must be between 0 and 2^64 - 1, not {seed}")
    return operator.index(seed)


def checked_target(target_recall: Optional[float]) -> float:
    """0 for None."""
    if target_recall is None:
        return 0.0
    if isinstance(target_recall, (bool, str)) or not hasattr(target_recall, "__float__"):
        raise _core.TypeMismatchError(f"target_recall must be a number, not {target_recall!r}")
    if not 0 < float(target_recall) <= 1:
        raise _core.InvalidArgumentError(
            f"parameter 'target_recall' must be above 0 and at most 1, not {target_recall}"
        )
    return float(target_recall)


def warn_if_out_of_reach(index: _core.Index, target: float) -> None:
    curve = index.recall_curve
    if not target or not curve or not curve["points"]:
        return
    best = index.describe()["calibrated_best_recall"]
    if best < min(target, 0.999):
        warnings.warn(
            f"{index.spec} reaches a recall@10 of {best:.3f}, not {target}: searches do their best; "
            "more bits, a codec that loses less or refine reach more",
            stacklevel=3,
        )


def _spec_with(spec: str, params: dict[str, Any]) -> str:
    """Build parameters given as keywords, appended to those in the spec string."""
    if not params:
        return spec
    words = [
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in params.items()
    ]
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^)]*)\))?(.*)", spec, re.DOTALL)
    if match is None:
        return spec  # for the parser to complain about
    kind, written, rest = match.groups()
    return f"{kind}({','.join(filter(None, [(written or '').strip(), *words]))}){rest}"


def build(
    spec: str,
    base: Union[ArrayLike, PathLike],
    metric: Optional[str] = None,
    threads: Optional[int] = None,
    seed: int = 0,
    ids: Optional[ArrayLike] = None,
    copy: bool = False,
    not_finite: Literal["reject", "allow"] = "reject",
    progress: Optional[Progress] = None,
    target_recall: Optional[float] = None,
    **build_params: Any,
) -> _core.Index:
    """An index over the rows of `base`.

    spec      which index, e.g. "flat"; its parameters follow in parentheses or as keywords
    base      (n, d) array of float32, float16, bfloat16 (ml_dtypes), int8 or uint8; for metrics
              hamming and jaccard uint8 that numpy.packbits made. Or the path of a vector file, which
              is mapped, not read.
              A C-contiguous array is used where it lies: do not change it while the index lives.
    metric    "l2" (squared; the default unless the spec says otherwise), "euclidean", "ip",
              "cosine", "l1", "hamming", "jaccard"
    threads   how many; None: all that this process may use
    seed      the same seed and rows give the same index, whatever the number of threads
    ids       int64 (n,), not negative, all different; None: 0 .. n - 1
    copy      own a copy of the rows
    not_finite  "reject" refuses NaN and infinity, "allow" does not look
    progress  called with (phase, done, total) now and then; False ends the work with CancelledError
    target_recall  measure recall under the search parameters once the index is built (Index.calibrate),
              and aim at this recall@10 wherever a search says nothing else. What cannot be reached is
              warned of, and the index then does its best.
    """
    target = checked_target(target_recall)
    if target and re.match(r"\s*lsh\b", str(spec)) and "target_recall" not in spec:
        build_params = {"target_recall": min(target, 0.999), **build_params}
    if isinstance(base, (str, os.PathLike)):
        base = read_vectors(base)
    if not isinstance(spec, str):
        raise _core.TypeMismatchError(
            f"spec must be a string such as 'flat', not {type(spec).__name__}"
        )
    if metric is not None and not isinstance(metric, str):
        raise _core.TypeMismatchError(f"metric must be a string such as 'l2', not {metric!r}")
    if not isinstance(copy, (bool, np.bool_)):
        raise _core.TypeMismatchError(f"copy must be True or False, not {copy!r}")
    index = _core.build(
        _spec_with(spec, build_params),
        base,
        metric or "",
        threads,
        checked_seed(seed),
        ids,
        bool(copy),
        not_finite,
        progress,
        target,
    )
    warn_if_out_of_reach(index, target)
    return index


def train(
    spec: str,
    rows: Union[ArrayLike, PathLike],
    metric: Optional[str] = None,
    threads: Optional[int] = None,
    seed: int = 0,
    not_finite: Literal["reject", "allow"] = "reject",
    progress: Optional[Progress] = None,
    **build_params: Any,
) -> _core.Index:
    """An index without rows, trained on these: codebooks, centroids and lists are what build makes of them.

    Saved, it is a file that shards are filled from, so that all code their rows alike and distances from
    one can be compared with those from another: `shard = kith.load(path); shard.add(rows, ids)`. Arguments
    are those of build. Training looks at a sample of the rows, but a partition assigns all of them once;
    give a sample where there are very many.
    """
    index = build(
        spec,
        rows,
        metric,
        threads=threads,
        seed=seed,
        not_finite=not_finite,
        progress=progress,
        **build_params,
    )
    index.clear(threads=threads)
    return index


def load(
    path: PathLike, mmap: bool = True, verify: bool = False, progress: Optional[Progress] = None
) -> _core.Index:
    """The index in a file that save wrote.

    mmap      map the file, so that rows are read when they are needed and shared between processes;
              False reads it all
    verify    check every checksum and the meaning of every section first
    """
    return _core.load(path, mmap, verify, progress)


def verify(path: PathLike, progress: Optional[Progress] = None) -> None:
    """Reads a whole index file and raises at the first damage (CorruptError, VersionError)."""
    _core.verify(path, progress)


def from_bytes(data: Union[bytes, bytearray, memoryview]) -> _core.Index:
    """The index in bytes that Index.to_bytes made; also what unpickling calls."""
    return _core.from_bytes(data)
