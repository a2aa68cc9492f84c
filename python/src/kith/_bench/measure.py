# SPDX-License-Identifier: Apache-2.0
"""The loop that times all contenders alike.

Every contender is built first. Then all of them take turns, round after round, each with all of its
settings, so that what else the machine does falls on all of them. A round of a setting is a few
queries that do not count, then single queries (one call each, from one thread), then all queries in
one call. Rates are the best of the rounds, as what disturbs a run only makes it slower; the spread
of the rounds is kept beside them. Latencies are those of all rounds.
"""

from __future__ import annotations

import contextlib
import gc
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Iterator, Optional

import numpy as np

from .contenders import Contender
from .workload import Workload

WARM_UP = 20
LEAST_QUERIES = 50


@dataclass
class Measured:
    """One contender with one setting."""

    setting: dict[str, Any]
    recall: float
    recall_95: float  # half the width of the 95% confidence interval
    distances: Optional[float]
    single: list[float] = field(default_factory=list)  # queries a second, of each round
    batch: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)  # seconds, of every timed query

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "setting": self.setting,
            "recall": self.recall,
            "recall_95": self.recall_95,
            "distances_per_query": self.distances,
            "single_rounds": self.single,
            "batch_rounds": self.batch,
            "single_qps": max(self.single, default=None),
            "batch_qps": max(self.batch, default=None),
        }
        if self.latencies:
            seconds = np.array(self.latencies)
            facts["latency"] = {
                "mean": float(seconds.mean()),
                **{f"p{p}": float(np.percentile(seconds, p)) for p in (50, 95, 99)},
            }
        return facts


@dataclass
class Built:
    contender: Contender
    seconds: float
    peak_bytes: Optional[int]
    measured: list[Measured] = field(default_factory=list)


@contextlib.contextmanager
def threads_limited(count: int) -> Iterator[None]:
    """Also of libraries that know no argument for it: OpenMP's and BLAS's, where they can be told."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(count):
        yield


def _status(name: str) -> Optional[int]:
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def build(contender: Contender, workload: Workload, threads: int, progress: Any = None) -> Built:
    """Peak memory is what the process held at most during the build, less what it held before."""
    gc.collect()
    with contextlib.suppress(OSError):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    before = _status("VmRSS")
    with threads_limited(threads):
        start = time.perf_counter()
        contender.build(workload.base, workload.metric, threads, progress)
        seconds = time.perf_counter() - start
    peak = _status("VmHWM")
    held = max(0, peak - before) if peak is not None and before is not None else None
    return Built(contender, seconds, held)


def recalls(
    built: Built,
    workload: Workload,
    sweeps: dict[str, tuple[Any, ...]],
    threads: int,
    advance: Callable[[], None],
) -> None:
    """What each setting finds."""
    with threads_limited(threads):
        for setting in built.contender.settings(sweeps):
            built.contender.set(setting, workload.k, threads)
            recall, interval = workload.recall(built.contender.batch(workload.queries))
            scored = built.contender.distances(workload.queries)
            built.measured.append(Measured(setting, recall, interval, scored))
            advance()


def rounds(
    contenders: list[Built],
    workload: Workload,
    count: int,
    threads: int,
    seconds: float,
    single: bool,
    batch: bool,
    advance: Callable[[], None],
) -> None:
    """`count` rounds; of single queries as many as `seconds` allow."""
    prepared = [built.contender.prepare(workload.queries) for built in contenders]
    with threads_limited(threads):
        for _ in range(count):
            for built, queries in zip(contenders, prepared):
                for measured in built.measured:
                    built.contender.set(measured.setting, workload.k, threads)
                    if single:
                        _time_single(built.contender, queries, seconds, measured)
                    if batch:
                        start = time.perf_counter()
                        built.contender.batch(workload.queries)
                        taken = time.perf_counter() - start
                        measured.batch.append(len(workload.queries) / taken)
                    advance()


def _time_single(
    contender: Contender, queries: list[Any], seconds: float, measured: Measured
) -> None:
    one, clock = contender.one, time.perf_counter_ns
    for query in queries[:WARM_UP]:
        one(query)
    collecting = gc.isenabled()
    gc.disable()
    try:
        taken: list[int] = []
        last = begin = clock()
        end = begin + int(seconds * 1e9)
        for query in queries:
            one(query)
            now = clock()
            taken.append(now - last)
            last = now
            if now > end and len(taken) >= LEAST_QUERIES:
                break
    finally:
        if collecting:
            gc.enable()
    measured.single.append(len(taken) / ((last - begin) * 1e-9))
    measured.latencies.extend(t * 1e-9 for t in taken)
