# SPDX-License-Identifier: Apache-2.0
"""kith.tune: which index for these rows, this recall, this memory.

Every structure that suits the rows is built over two samples of them, calibrated, and timed at the
recall that is wanted with queries that it never saw. How a query's time, the time to build and the
bytes of a row change from the small sample to the large one is carried on to all rows, as a power of
their number. What that predicts is in the table; the fastest that keeps to the limits is chosen.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Union

import numpy as np

from . import _core
from ._api import PathLike, build, checked_seed, checked_target
from ._evaluate import recall
from .io import read_vectors

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Rows of the larger sample, and how many times as many as of the smaller.
SAMPLE, STEP = 32_768, 4
QUERIES = 200
#: A reached recall may be this much below the target: the error of so few queries.
SLACK = 0.01
#: Times as slow that counts as no slower.
NEARLY = 1.1

#: Specs that are tried for rows of floats under l2, ip and cosine; {m4} and {m2} are codes of a quarter
#: and half as many subspaces as there are dimensions.
FLOAT_SPECS = (
    "flat",
    "hnsw(m=16)",
    "hnsw(m=32)",
    "vamana(packed=true)",
    "ivf",
    "hnsw(m=16) over sq8, refine f32",
    "ivf over sq8, refine f32",
    "ivf_pq(m={m2},bits=4), refine f32",
    "flat over sq8",
    "hnsw(m=16) over sq8",
    "ivf over sq8",
    "ivf_pq(m={m2})",
    "ivf_pq(m={m4})",
)
#: And for all others.
PLAIN_SPECS = ("flat", "hnsw(m=16)", "hnsw(m=32)", "vamana", "ivf", "lsh")


@dataclass
class Trial:
    """One spec. Seconds and bytes are of all rows, predicted; recall is what queries of its own found
    in the larger sample."""

    spec: str
    recall: float = 0.0
    params: dict[str, Any] = field(default_factory=dict)
    query_seconds: float = float("inf")
    build_seconds: float = float("inf")
    memory_bytes: float = float("inf")
    verdict: str = ""

    @property
    def qps(self) -> float:
        return 1 / self.query_seconds if self.query_seconds > 0 else 0.0


@dataclass
class Tuning:
    """What tune found: `spec` for kith.build, with `params` for search, and why (`trials`, or print it)."""

    spec: str
    metric: str
    params: dict[str, Any]
    k: int
    target_recall: float
    rows: int
    sampled: int
    trials: list[Trial]

    def build(self, base: Union[ArrayLike, PathLike], **options: Any) -> _core.Index:
        """kith.build with the spec, metric and recall that were found."""
        return build(self.spec, base, metric=self.metric, target_recall=self.target_recall, **options)

    def __str__(self) -> str:
        head = (
            f"recall@{self.k} of {self.target_recall} over {self.rows:,} rows ({self.metric}), "
            f"predicted from {self.sampled:,} of them, one thread a query:"
        )
        rows = [("spec", "recall", "queries/s", "build s", "MiB", "")]
        for trial in self.trials:
            measured = trial.query_seconds < float("inf")
            rows.append(
                (
                    trial.spec,
                    f"{trial.recall:.3f}" if measured else "-",
                    f"{trial.qps:,.0f}" if measured else "-",
                    f"{trial.build_seconds:,.1f}" if measured else "-",
                    f"{trial.memory_bytes / 2**20:,.1f}" if measured else "-",
                    trial.verdict,
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        lines = [
            "  ".join(
                cell.ljust(width) if i in (0, 5) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([head, *lines])


def tune(
    base: Union[ArrayLike, PathLike],
    k: int = 10,
    target_recall: float = 0.95,
    metric: str = "l2",
    queries: Optional[ArrayLike] = None,
    max_memory: Optional[float] = None,
    max_build_seconds: Optional[float] = None,
    specs: Optional[Sequence[str]] = None,
    sample: int = SAMPLE,
    threads: Optional[int] = None,
    seed: int = 0,
    progress: Optional[Callable[[str, int, int], Any]] = None,
) -> Tuning:
    """The index for these rows: the one whose single queries are fastest at the recall that is wanted.

    base               (n, d) array, or the path of a vector file
    queries            such as will be asked, if there are any; else rows are held out for that
    max_memory         bytes of all that the index holds, rows too
    max_build_seconds  time to build and calibrate it, with `threads`
    specs              what to try, instead of what is known to be good
    sample             rows to try it on; fewer are quicker and predict worse
    progress           called with (phase, done, total); False ends the work with CancelledError

    Takes about as long as building a dozen indexes over the sample. Raises InvalidArgumentError where
    nothing keeps to the limits, with the table of what was tried.
    """
    rows = read_vectors(base) if isinstance(base, (str,)) or hasattr(base, "__fspath__") else np.asarray(base)
    target = checked_target(target_recall)
    if not target:
        raise _core.InvalidArgumentError("tune needs a target_recall")
    if rows.ndim != 2 or len(rows) < 2:
        raise _core.DimensionError(f"expected at least 2 rows (n, d), got {rows.shape}")
    if k < 1:
        raise _core.InvalidArgumentError(f"k must be at least 1, not {k}")
    if sample < 2 * k:
        raise _core.InvalidArgumentError(f"sample must be at least 2 k = {2 * k} rows, not {sample}")
    large, asked = _sampled(rows, queries, sample, checked_seed(seed))
    small = large[:: STEP] if len(large) >= 8 * STEP * k else large
    trials = []
    chosen_specs = list(specs) if specs is not None else _specs_for(rows, metric)
    for i, spec in enumerate(chosen_specs):
        if progress is not None and progress("trials", i, len(chosen_specs)) is False:
            raise _core.CancelledError("tune was cancelled")
        trials.append(_trial(spec, rows, large, small, asked, k, target, metric, threads, seed))
    if progress is not None:
        progress("trials", len(chosen_specs), len(chosen_specs))
    best = _judge(trials, target, max_memory, max_build_seconds)
    tuning = Tuning(
        best.spec if best else "", metric, best.params if best else {}, k, target, len(rows), len(large), trials
    )
    if best is None:
        raise _core.InvalidArgumentError(f"nothing that was tried keeps to the limits\n{tuning}")
    return tuning


def _specs_for(rows: NDArray[Any], metric: str) -> list[str]:
    if metric not in ("l2", "ip", "cosine") or rows.dtype != np.float32:
        return list(PLAIN_SPECS)
    dim = rows.shape[1]
    return [s.format(m2=max(1, dim // 2), m4=max(1, dim // 4)) for s in FLOAT_SPECS]


def _sampled(
    rows: NDArray[Any], queries: Optional[ArrayLike], sample: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Rows to try and queries that are none of them."""
    held = min(QUERIES, max(1, len(rows) // 10)) if queries is None else 0
    chosen = np.random.default_rng(seed).permutation(len(rows))[: min(len(rows), sample + held)]
    if queries is None:
        asked = rows[np.sort(chosen[:held])]
    else:
        asked = np.asarray(queries)[:QUERIES]
        if asked.ndim != 2 or asked.shape[1] != rows.shape[1] or len(asked) == 0:
            raise _core.DimensionError(f"expected queries (n, {rows.shape[1]}), got {asked.shape}")
    return np.ascontiguousarray(rows[np.sort(chosen[held:])]), np.ascontiguousarray(asked)


@dataclass
class _Measured:
    recall: float
    params: dict[str, Any]
    query_seconds: float
    build_seconds: float
    bytes_a_row: float


def _measure(
    spec: str,
    sample: NDArray[Any],
    asked: NDArray[Any],
    k: int,
    target: float,
    metric: str,
    threads: Optional[int],
    seed: int,
) -> _Measured:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the table says it
        start = time.perf_counter()
        index = build(spec, sample, metric=metric, threads=threads, seed=seed, target_recall=target)
        build_seconds = time.perf_counter() - start
    try:
        params = index.params_for(target, k)
    except _core.UnsupportedError:
        params = index.params_for(1.0, k)  # the best there is
    flat = build("flat", sample, metric=metric)  # which has the rows that ties are told by
    exact = flat.search(asked, k=k, threads=threads).ids
    reached = recall(flat, asked, index.search(asked, k=k, **params).ids, exact, k)
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for query in asked:
            index.search(query, k=k, **params)
        best = min(best, time.perf_counter() - start)
    return _Measured(
        reached, params, best / len(asked), build_seconds, index.memory_bytes / len(sample)
    )


def _trial(
    spec: str,
    rows: NDArray[Any],
    large: NDArray[Any],
    small: NDArray[Any],
    asked: NDArray[Any],
    k: int,
    target: float,
    metric: str,
    threads: Optional[int],
    seed: int,
) -> Trial:
    trial = Trial(spec)
    try:
        now = _measure(spec, large, asked, k, target, metric, threads, seed)
        before = _measure(spec, small, asked, k, target, metric, threads, seed) if len(small) < len(large) else now
    except (_core.UnsupportedError, _core.InvalidArgumentError, _core.TypeMismatchError) as error:
        trial.verdict = str(error).split(";")[0].split("\n")[0][:100]
        return trial
    times = len(rows) / len(large)
    step = np.log(len(large) / len(small)) if len(small) < len(large) else 1.0

    def at_all(large_value: float, small_value: float, low: float, high: float) -> float:
        power = np.log(max(large_value, 1e-12) / max(small_value, 1e-12)) / step
        return float(large_value * times ** float(np.clip(power, low, high)))

    trial.recall, trial.params = now.recall, now.params
    trial.query_seconds = at_all(now.query_seconds, before.query_seconds, 0.0, 1.0)
    trial.build_seconds = at_all(now.build_seconds, before.build_seconds, 1.0, 1.3)
    trial.memory_bytes = now.bytes_a_row * len(rows)
    return trial


def _judge(
    trials: list[Trial], target: float, max_memory: Optional[float], max_build_seconds: Optional[float]
) -> Optional[Trial]:
    """Says of each trial what speaks against it; the one against which nothing speaks."""
    fit = []
    for trial in trials:
        if trial.verdict:
            continue
        if trial.recall < target - SLACK:
            trial.verdict = "recall out of reach"
        elif max_memory is not None and trial.memory_bytes > max_memory:
            trial.verdict = "too large"
        elif max_build_seconds is not None and trial.build_seconds > max_build_seconds:
            trial.verdict = "takes too long to build"
        else:
            fit.append(trial)
    if not fit:
        return None
    fastest = min(trial.query_seconds for trial in fit)
    # What is about as fast as the fastest is a matter of luck: then the first that was named, the plainer.
    best = next(trial for trial in fit if trial.query_seconds <= NEARLY * fastest)
    for trial in fit:
        ratio = trial.query_seconds / best.query_seconds
        trial.verdict = (
            "chosen" if trial is best else f"{ratio:.1f} x slower" if ratio >= 1.05 else "about as fast"
        )
        if _codes_alone(trial.spec):
            trial.verdict += "; distances are those of codes"
    return best


def _codes_alone(spec: str) -> bool:
    """Whether the index keeps no rows to measure exact distances with."""
    return "refine" not in spec and any(f"{codec}" in spec for codec in ("sq8", "sq4", "pq", "rabitq"))
