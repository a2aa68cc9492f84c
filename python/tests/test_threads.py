# SPDX-License-Identifier: Apache-2.0
"""Threads, fork, progress, interruption, and what a call costs."""

from __future__ import annotations

import os
import signal
import threading
import time
import timeit

import numpy as np
import pytest

import kith


def random(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d), dtype=np.float32)


# --- threads --------------------------------------------------------------------------------------


def test_threads_give_the_same_results(rng):
    base, queries = random(rng, 2000, 24), random(rng, 300, 24)
    index = kith.build("flat", base)
    wanted = index.search(queries, k=8)
    for threads in (2, 3, None):
        got = index.search(queries, k=8, threads=threads)
        np.testing.assert_array_equal(got.ids, wanted.ids)
        np.testing.assert_array_equal(got.distances, wanted.distances)
        assert got.stats == wanted.stats


def in_threads(count: int, work) -> list[BaseException]:
    failures: list[BaseException] = []

    def run(i: int) -> None:
        try:
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_many_python_threads_search_at_once(rng):
    base, queries = random(rng, 1000, 16), random(rng, 64, 16)
    index = kith.build("flat", base)
    wanted = index.search(queries, k=5)

    def work(i: int) -> None:
        for _ in range(30):
            got = index.search(queries, k=5, threads=1 + i % 3)
            np.testing.assert_array_equal(got.ids, wanted.ids)
            assert index.search(queries[i], k=1).ids[0] == wanted.ids[i, 0]

    assert in_threads(6, work) == []


def test_searching_while_adding_and_removing(rng):
    base = random(rng, 500, 8)
    index = kith.build("flat", base)
    stop = threading.Event()

    def work(i: int) -> None:
        if i == 0:
            for round_ in range(60):
                index.add(base[:20] + 1000, ids=np.arange(20) + 10_000)
                index.remove(np.arange(20) + 10_000)
            stop.set()
            return
        while not stop.is_set():
            got = index.search(base[:40], k=1, filter=None if i == 1 else np.arange(500))
            np.testing.assert_array_equal(got.ids.ravel(), np.arange(40))
            assert 3 in index and len(index) in (500, 520)

    try:
        assert in_threads(3, work) == []
    finally:
        stop.set()


def test_a_change_comes_in_although_searches_never_stop(rng):
    base = random(rng, 1000, 32)
    index = kith.build("flat", base)
    stop = threading.Event()
    searching = threading.Barrier(4)

    def work(i: int) -> None:
        searching.wait()
        if i == 0:
            try:
                for round_ in range(20):
                    index.add(base[:10] + round_, ids=np.arange(10) + 50_000)
                    index.compact()
            finally:
                stop.set()
            return
        while not stop.is_set():  # there is always one under way: three take turns
            got = index.search(base[:50], k=1010)
            # All of a batch or nothing of it.
            assert got.ids.shape in ((50, 1000), (50, 1010))

    assert in_threads(4, work) == []
    assert len(index) == 1010


def test_an_iterator_is_for_one_thread_at_a_time(rng):
    base = random(rng, 3000, 16)
    cursor = kith.build("flat", base).iterate(base[0])
    given: list[int] = []

    def work(_: int) -> None:
        while True:
            try:
                given.append(next(cursor)[0])
            except ValueError as error:  # as generators say it
                assert "already executing" in str(error)
            except StopIteration:
                return

    assert in_threads(3, work) == []
    assert sorted(given) == list(range(3000))


def test_the_gil_is_released(rng):
    base = random(rng, 60_000, 64)
    index = kith.build("flat", base, threads=1)
    ticks = 0
    done = threading.Event()

    def search() -> None:
        index.search(base[:400], k=10)
        done.set()

    thread = threading.Thread(target=search)
    thread.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.0005)
    thread.join()
    assert ticks > 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_with_warm_pools(rng):
    base = random(rng, 500, 8)
    index = kith.build("flat", base, threads=2)
    wanted = index.search(base[:100], k=2, threads=3).ids
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(20)
            same = (index.search(base[:100], k=2, threads=3).ids == wanted).all()
            index.add(base[:1])
            status = 0 if same and len(index) == 501 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(index.search(base[:100], k=2, threads=3).ids, wanted)


# --- progress and interruption --------------------------------------------------------------------


def test_progress_and_cancelling(rng, tmp_path):
    index = kith.build("flat", random(rng, 5000, 64))
    calls: list[tuple[str, int, int]] = []
    index.save(tmp_path / "x.kith", progress=lambda *call: calls.append(call))
    assert calls and all(0 <= done <= total for _, done, total in calls)
    before = (tmp_path / "x.kith").read_bytes()
    index.remove(0)
    with pytest.raises(kith.CancelledError) as caught:
        index.save(tmp_path / "x.kith", progress=lambda *call: False)
    assert caught.value.code == "cancelled"

    def explode(*call):
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        index.save(tmp_path / "x.kith", progress=explode)
    assert (tmp_path / "x.kith").read_bytes() == before and os.listdir(tmp_path) == ["x.kith"]
    with pytest.raises(kith.TypeMismatchError):
        index.save(tmp_path / "x.kith", progress=3)


def test_ctrl_c_stops_a_long_search(rng):
    base = random(rng, 50_000, 64)
    queries = random(rng, 200_000, 64)  # seconds of work on any machine
    index = kith.build("flat", base)
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        index.search(queries, k=10, threads=2)
    assert time.monotonic() - start < 10
    timer.join()
    assert index.search(queries[:2], k=3, threads=2).counts.tolist() == [3, 3]


def test_a_call_costs_little():
    """About a microsecond on a quiet machine (bench/overhead.py); the bound only catches accidents."""
    index = kith.build("flat", np.zeros((1, 128), np.float32), threads=1)
    query = np.ones(128, np.float32)
    best = min(timeit.repeat(lambda: index.search(query, k=10), number=2000, repeat=20)) / 2000
    assert best < 10e-6
