# SPDX-License-Identifier: Apache-2.0
"""The life of an index: borrowed memory, add and remove, files, threads, fork, progress, refusals."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import signal
import sys
import threading
import time
import timeit
import tracemalloc
import weakref

import numpy as np
import pytest

import kith


def random(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d), dtype=np.float32)


# --- memory -----------------------------------------------------------------------------------------------------------


class Tracked(np.ndarray):
    """An array that can be watched by a weak reference."""


@pytest.mark.parametrize("rows", [slice(None), slice(None, None, 2), slice(10, 50)])
def test_rows_are_used_where_they_lie(rng, rows):
    base = random(rng, 100, 16)[rows]
    index = kith.build("flat", base)
    assert index.describe()["storage"] == "borrowed"
    base[3] = 1000.0  # the documented crime, to prove that it is the same memory
    assert index.row(3)[0] == 1000.0
    assert kith.build("flat", base, copy=True).describe()["storage"] == "owned"
    padded = np.zeros((20, 32), np.float32)
    inner = padded[:, 4:20]
    index = kith.build("flat", inner)
    padded[5, 4] = 7
    assert index.row(5)[0] == 7


def test_building_allocates_nothing_for_the_rows(rng):
    base = random(rng, 20_000, 64)
    rss = resident()
    tracemalloc.start()
    index = kith.build("flat", base, threads=1)
    index.search(base[:1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < base.nbytes // 20
    assert resident() - rss < base.nbytes // 2
    assert index.memory_bytes >= base.nbytes


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("form", ["columns", "fortran", "reversed", "swapped", "unaligned", "every other"])
def test_other_layouts_are_copied_once(rng, form):
    plain = random(rng, 30, 8)
    if form == "columns":
        base = np.repeat(plain, 2, axis=1)[:, ::2]
    elif form == "fortran":
        base = np.asfortranarray(plain)
    elif form == "reversed":
        base = plain[::-1][::-1][::-1]
        plain = plain[::-1]
    elif form == "swapped":
        base = plain.astype(">f4")
    elif form == "unaligned":
        raw = np.zeros(plain.nbytes + 1, np.uint8)
        raw[1:] = plain.view(np.uint8).ravel()
        base = raw[1:].view(np.float32).reshape(plain.shape)
    else:
        base = np.zeros((30, 16), np.float32)[:, ::2]
        base[:] = plain
    index = kith.build("flat", base)
    for i in (0, 7, 29):
        np.testing.assert_array_equal(index.row(i), plain[i])
    np.testing.assert_array_equal(index.search(base, k=1).ids.ravel(), np.arange(30))


def test_the_index_keeps_the_array_alive_and_lets_it_go(rng):
    base = random(rng, 10, 4).view(Tracked)
    alive = weakref.ref(base)
    index = kith.build("flat", base)
    expected = np.array(base[2])
    del base
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(index.row(2), expected)
    del index
    gc.collect()
    assert alive() is None


def test_no_reference_leaks(rng):
    base = random(rng, 50, 8)
    index = kith.build("flat", base)
    query = base[0].copy()
    mask = np.ones(50, bool)
    before = sys.getrefcount(query), sys.getrefcount(index), sys.getrefcount(mask), sys.getrefcount(None)
    for _ in range(200):
        result = index.search(query, k=3, threads=1, filter=mask)
        result.stats, repr(result), list(result)
        index.search(base[:4], 2, filter=[None, mask, [1], {2}])
        index.range_search(query, 1.0)
        with pytest.raises(kith.Error):
            index.search(query, k=0)
    result = None
    after = sys.getrefcount(query), sys.getrefcount(index), sys.getrefcount(mask), sys.getrefcount(None)
    assert all(abs(a - b) < 50 for a, b in zip(after, before))


# --- properties, add, remove ------------------------------------------------------------------------------------------


def test_properties(rng):
    index = kith.build("flat", random(rng, 10, 4), metric="ip")
    assert (index.size, len(index), index.dim, index.metric, index.kind) == (10, 10, 4, "ip", "flat")
    assert index.spec == "flat over ip/f32" and index.dtype == np.float32 and index.element_type == "f32"
    assert repr(index) == "<kith.Index flat over ip/f32, 10 rows of 4 dimensions>"
    assert index.describe()["rows"] == 10
    assert index.search_params() == [] and index.build_params() == []
    assert 3 in index and 10 not in index and -1 not in index and "a" not in index and 2.5 not in index
    np.testing.assert_array_equal(index.ids(), np.arange(10))
    assert kith.build(index.spec, random(rng, 5, 4)).spec == index.spec
    assert "flat" in kith.kinds() and set(kith.metrics()) >= {"l2", "ip", "cosine", "l1", "hamming", "jaccard", "euclidean"}


def test_add_and_remove(rng):
    base = random(rng, 20, 6)
    original = base.copy()
    index = kith.build("flat", base)
    index.add(random(rng, 3, 6))
    assert len(index) == 23 and 22 in index
    extra = random(rng, 2, 6)
    index.add(extra, ids=[1000, 999], threads=2)
    assert index.search(extra[0], k=1).ids.tolist() == [1000]
    index.add(random(rng, 1, 6)[0])
    index.remove([0, 5, 1000])
    index.remove(7)
    index.remove(np.int64(8))
    assert len(index) == 21 and 1000 not in index and 5 not in index
    assert index.search(base[5], k=1).ids.tolist() != [5]
    np.testing.assert_array_equal(base, original)  # the caller's array is never written
    np.testing.assert_array_equal(index.row(999), extra[1])
    with pytest.raises(kith.AlreadyExistsError, match="999"):
        index.add(extra, ids=[5000, 999])
    assert 5000 not in index
    with pytest.raises(kith.NotFoundError, match="12345"):
        index.remove([1, 12345])
    assert 1 in index
    with pytest.raises(LookupError):
        index.row(12345)
    with pytest.raises(kith.DimensionError):
        index.add(extra, ids=[1])
    with pytest.raises(kith.DimensionError):
        index.add(random(rng, 2, 7))
    with pytest.raises(kith.TypeMismatchError):
        index.add(extra.astype(np.float16))
    with pytest.raises(kith.NotFiniteError):
        index.add(np.full((1, 6), np.nan, np.float32))
    index.add(np.full((1, 6), np.inf, np.float32), not_finite="allow")
    assert len(index) == 22


# --- bytes and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("verify", [True, False])
def test_save_and_load(rng, tmp_path, mmap, verify):
    base = random(rng, 200, 12)
    index = kith.build("flat", base, metric="cosine", ids=np.arange(200) * 2)
    wanted = index.search(base[:9], k=5)
    path = tmp_path / "an index.kith"
    index.save(path)
    kith.verify(path)
    loaded = kith.load(path, mmap=mmap, verify=verify)
    path.unlink()  # a mapped file lives on
    assert loaded.spec == index.spec and len(loaded) == 200
    assert loaded.describe()["storage"] == ("mapped" if mmap else "borrowed") or not mmap
    got = loaded.search(base[:9], k=5)
    np.testing.assert_array_equal(got.ids, wanted.ids)
    np.testing.assert_array_equal(got.distances, wanted.distances)
    assert loaded.to_bytes() == index.to_bytes()
    loaded.remove(0)
    loaded.add(base[:1], ids=[1])
    assert len(loaded) == 200


def test_same_bytes_for_any_number_of_threads(rng):
    base = random(rng, 3000, 20)
    first, *others = (kith.build("flat", base, seed=3, threads=t).to_bytes() for t in (1, 2, 5))
    assert all(other == first for other in others)


def test_pickle_and_deepcopy(rng):
    base = random(rng, 40, 5)
    index = kith.build("flat", base, ids=np.arange(40) + 7)
    for other in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index), kith.from_bytes(index.to_bytes())):
        assert other.spec == index.spec
        np.testing.assert_array_equal(other.search(base, 3).ids, index.search(base, 3).ids)
    with pytest.raises(kith.CorruptError):
        kith.from_bytes(b"not an index")


def test_damaged_files(rng, tmp_path):
    path = tmp_path / "x.kith"
    index = kith.build("flat", random(rng, 100, 8))
    index.save(path)
    good = path.read_bytes()
    for length in (0, 1, 16, 63, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(kith.CorruptError):
            kith.load(path, verify=True)
        with pytest.raises(kith.CorruptError):
            kith.verify(path)
    for at in range(0, len(good), 97):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        with pytest.raises(kith.Error):
            kith.verify(path)
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    with pytest.raises(kith.CorruptError):
        kith.load(path)


def test_file_errors(rng, tmp_path):
    index = kith.build("flat", random(rng, 10, 8))
    with pytest.raises(FileNotFoundError, match="nothing.kith") as caught:
        kith.load(tmp_path / "nothing.kith")
    assert isinstance(caught.value, kith.FileMissingError) and caught.value.code == "not_found"
    with pytest.raises(kith.FileError):
        kith.load(tmp_path)
    with pytest.raises(kith.FileError):
        index.save(tmp_path)
    with pytest.raises(kith.FileError):
        index.save(tmp_path / "no" / "such" / "folder.kith")
    with pytest.raises(TypeError):
        index.save(3.5)
    old = tmp_path / "old.kith"
    index.save(old)
    before = old.read_bytes()
    if os.path.exists("/dev/full"):
        with pytest.raises(OSError):
            index.save("/dev/full/x")
    limit = tmp_path / "limited"
    limit.mkdir()
    limit.chmod(0o500)
    if os.geteuid() != 0:
        with pytest.raises(OSError):
            index.save(limit / "x")
    assert old.read_bytes() == before and os.listdir(tmp_path / "limited") == []


# --- threads ----------------------------------------------------------------------------------------------------------


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


# --- progress and interruption ----------------------------------------------------------------------------------------


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
    queries = random(rng, 50_000, 64)
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


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_exception_classes():
    families = {
        kith.InvalidArgumentError: (ValueError, "invalid_argument"),
        kith.DimensionError: (ValueError, "dimension_mismatch"),
        kith.TypeMismatchError: (TypeError, "type_mismatch"),
        kith.NotFiniteError: (ValueError, "not_finite"),
        kith.UnsupportedError: (NotImplementedError, "unsupported"),
        kith.NotFoundError: (LookupError, "not_found"),
        kith.AlreadyExistsError: (ValueError, "already_exists"),
        kith.FileError: (OSError, "io"),
        kith.FileMissingError: (FileNotFoundError, "not_found"),
        kith.CorruptError: (ValueError, "corrupt"),
        kith.VersionError: (ValueError, "version"),
        kith.CancelledError: (Exception, "cancelled"),
        kith.OutOfMemoryError: (MemoryError, "out_of_memory"),
    }
    for cls, (built_in, code) in families.items():
        assert issubclass(cls, kith.Error) and issubclass(cls, built_in) and cls.code == code
        assert cls.__module__ == "kith" and pickle.loads(pickle.dumps(cls("x"))).args == ("x",)


BASE = np.zeros((10, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("flat", np.zeros((3, 4))), kith.TypeMismatchError, r"float64; convert with array.astype\(numpy.float32\)"),
        (("flat", np.zeros((3, 4), np.int32)), kith.TypeMismatchError, "int32"),
        (("flat", np.zeros((3, 4), bool)), kith.TypeMismatchError, "packbits"),
        (("flat", np.zeros((3, 4), complex)), kith.TypeMismatchError, "complex128"),
        (("flat", np.array([["a"]])), kith.TypeMismatchError, "<U1"),
        (("flat", np.zeros(4, np.float32)), kith.DimensionError, r"\(n, d\), not \(4,\)"),
        (("flat", np.zeros((1, 1, 4), np.float32)), kith.DimensionError, r"\(1, 1, 4\)"),
        (("flat", np.float32(3)), kith.DimensionError, r"\(\)"),
        (("flat", [[1, 2], [3]]), kith.TypeMismatchError, "base"),
        (("flat", np.full((3, 4), np.nan, np.float32)), kith.NotFiniteError, "row 0"),
        (("flat", np.full((3, 4), np.inf, np.float16)), kith.NotFiniteError, "row 0"),
        (("flut", BASE), kith.InvalidArgumentError, "flut.*flat"),
        (("", BASE), kith.InvalidArgumentError, "kind"),
        (("flat(", BASE), kith.InvalidArgumentError, r"'\)'"),
        (("flat(m=3)", BASE), kith.InvalidArgumentError, "unknown parameter 'm'"),
        ((3, BASE), kith.TypeMismatchError, "spec"),
        (("flat", BASE, "l3"), kith.InvalidArgumentError, "l3.*known.*l2"),
        (("flat", BASE, "hamming"), kith.UnsupportedError, "hamming/f32"),
        (("flat", BASE, 3), kith.TypeMismatchError, "metric"),
        (("flat", BASE, "l2", 1, 0.5), kith.TypeMismatchError, "seed"),
        (("flat", BASE, "l2", 1, -1), kith.InvalidArgumentError, "seed"),
        (("flat", BASE, "l2", 1, 0, None, "no"), kith.TypeMismatchError, "copy"),
        (("flat", BASE, "l2", 0), kith.InvalidArgumentError, "threads"),
        (("flat", BASE, "l2", -3), kith.InvalidArgumentError, "-3"),
        (("flat", BASE, "l2", 1.5), kith.TypeMismatchError, "1.5"),
        (("flat", BASE, "l2", 1, 0, [1, 2]), kith.DimensionError, "expected 10 ids, one for each row, got 2"),
        (("flat", BASE, "l2", 1, 0, [3] * 10), kith.AlreadyExistsError, "3"),
        (("flat", BASE, "l2", 1, 0, np.arange(10) - 1), kith.InvalidArgumentError, "-1"),
        (("flat", BASE, "l2", 1, 0, np.arange(10.0)), kith.TypeMismatchError, "integers, not float64"),
        (("flat", BASE, "l2", 1, 0, np.zeros((10, 1), int)), kith.DimensionError, "one-dimensional"),
        (("flat", BASE, "l2", 1, 0, None, False, "maybe"), kith.InvalidArgumentError, "maybe"),
    ],
)
def test_bad_builds(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        kith.build(*arguments)
    assert isinstance(caught.value, (ValueError, TypeError, NotImplementedError))


def test_unknown_parameters_list_the_known_ones():
    with pytest.raises(kith.InvalidArgumentError, match="unknown parameter 'ef_construction' of flat; known: none"):
        kith.build("flat", BASE, ef_construction=3)
    with pytest.raises(kith.InvalidArgumentError, match="unknown parameter 'ef' of flat; known: none"):
        kith.build("flat", BASE).search(BASE, ef=3)
    with pytest.raises(kith.InvalidArgumentError, match="unknown parameter 'ef'"):
        kith.build("flat", BASE).range_search(BASE, 1.0, ef=3)


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "words"),
    [
        ((BASE[:2, :3],), {}, kith.DimensionError, "expected queries of 4 elements, got 3"),
        ((BASE[:2].astype(np.float64),), {}, kith.TypeMismatchError, "float64"),
        ((np.zeros((1, 1, 4), np.float32),), {}, kith.DimensionError, r"\(n, d\) or \(d,\)"),
        ((np.full(4, np.nan, np.float32),), {}, kith.NotFiniteError, "query"),
        ((object(),), {}, kith.DimensionError, "queries"),
        ((["a", "b"],), {}, kith.TypeMismatchError, "<U1"),
        ((BASE,), {"k": 0}, kith.InvalidArgumentError, "k must be at least 1, not 0"),
        ((BASE,), {"k": -2}, kith.InvalidArgumentError, "-2"),
        ((BASE,), {"k": 2.0}, kith.TypeMismatchError, "k must be an integer, not 2.0"),
        ((BASE,), {"k": "3"}, kith.TypeMismatchError, "'3'"),
        ((BASE,), {"threads": 0}, kith.InvalidArgumentError, "threads"),
        ((BASE,), {"threads": 100_000}, kith.InvalidArgumentError, "1024"),
        ((BASE,), {"ef": object()}, kith.TypeMismatchError, "ef"),
        ((BASE,), {"ef": 2**70}, kith.InvalidArgumentError, "out of range"),
        ((BASE, 3), {"k": 3}, kith.TypeMismatchError, "two values for 'k'"),
        ((), {}, kith.TypeMismatchError, "needs queries"),
        ((BASE, 3, 1, None, 5), {}, kith.TypeMismatchError, "at most 4"),
    ],
)
def test_bad_searches(arguments, keywords, error, words):
    index = kith.build("flat", BASE)
    with pytest.raises(error, match=words):
        index.search(*arguments, **keywords)
    assert index.search(queries=BASE[0], k=np.int32(3), threads=np.int64(1)).ids.tolist() == [0, 1, 2]


def test_bad_arguments_elsewhere():
    index = kith.build("flat", BASE)
    for call, error in (
        (lambda: index.row("a"), kith.TypeMismatchError),
        (lambda: index.row(10**30), kith.NotFoundError),
        (lambda: index.row(-1), kith.NotFoundError),
        (lambda: index.range_search(BASE, "near"), kith.TypeMismatchError),
        (lambda: index.add(BASE[:1], not_finite=3), kith.InvalidArgumentError),
        (lambda: index.remove("a"), kith.DimensionError),
        (lambda: index.remove([0.5]), kith.TypeMismatchError),
        (lambda: kith.from_bytes(3), kith.TypeMismatchError),
        (lambda: kith.load(3), kith.TypeMismatchError),
        (lambda: kith.verify(None), kith.TypeMismatchError),
    ):
        with pytest.raises(error):
            call()
    assert 10**30 not in index and len(index) == 10


def test_wrong_receivers():
    with pytest.raises(TypeError):
        kith.Index.search(3, BASE)
    with pytest.raises(TypeError):
        kith.Index()
