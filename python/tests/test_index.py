# SPDX-License-Identifier: Apache-2.0
"""The life of an index: borrowed memory, add and remove, files, bytes."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import sys
import tracemalloc
import weakref

import numpy as np
import pytest

import kith


def random(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.standard_normal((n, d), dtype=np.float32)


# --- memory ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "form", ["columns", "fortran", "reversed", "swapped", "unaligned", "every other"]
)
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
    before = (
        sys.getrefcount(query),
        sys.getrefcount(index),
        sys.getrefcount(mask),
        sys.getrefcount(None),
    )
    for _ in range(200):
        result = index.search(query, k=3, threads=1, filter=mask)
        result.stats, repr(result), list(result)
        index.search(base[:4], 2, filter=[None, mask, [1], {2}])
        index.range_search(query, 1.0)
        with pytest.raises(kith.Error):
            index.search(query, k=0)
    result = None
    after = (
        sys.getrefcount(query),
        sys.getrefcount(index),
        sys.getrefcount(mask),
        sys.getrefcount(None),
    )
    assert all(abs(a - b) < 50 for a, b in zip(after, before))


# --- properties, add, remove ----------------------------------------------------------------------


def test_properties(rng):
    index = kith.build("flat", random(rng, 10, 4), metric="ip")
    assert (index.size, len(index), index.dim, index.metric, index.kind) == (
        10,
        10,
        4,
        "ip",
        "flat",
    )
    assert (
        index.spec == "flat over ip/f32"
        and index.dtype == np.float32
        and index.element_type == "f32"
    )
    assert repr(index) == "<kith.Index flat over ip/f32, 10 rows of 4 dimensions>"
    assert index.describe()["rows"] == 10
    assert index.search_params() == [] and index.build_params() == []
    assert (
        3 in index and 10 not in index and -1 not in index and "a" not in index and 2.5 not in index
    )
    np.testing.assert_array_equal(index.ids(), np.arange(10))
    assert kith.build(index.spec, random(rng, 5, 4)).spec == index.spec
    assert "flat" in kith.kinds() and set(kith.metrics()) >= {
        "l2",
        "ip",
        "cosine",
        "l1",
        "hamming",
        "jaccard",
        "euclidean",
    }


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
    with pytest.raises(kith.AlreadyExistsError, match="5000"):
        index.add(extra, ids=[5000, 5000])
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


def test_a_row_whose_id_is_there_replaces_that_row(rng):
    index = kith.build("flat", random(rng, 20, 6), ids=np.arange(20) * 3)
    rows = random(rng, 3, 6)
    index.add(rows, ids=[9, 1000, 0])
    assert len(index) == 21
    for row, id in zip(rows, (9, 1000, 0)):
        np.testing.assert_array_equal(index.row(id), row)
        assert index.search(row, k=1).ids.tolist() == [id]
    before = index.to_bytes()
    with pytest.raises(kith.NotFiniteError):
        index.add(np.full((1, 6), np.nan, np.float32), ids=[9])
    assert index.to_bytes() == before
    index.compact(threads=2)
    index.remove([9, 0], threads=2, progress=lambda *_: True)
    assert len(index) == 19 and sorted(index.ids().tolist()) == sorted(
        [*range(3, 9, 3), *range(12, 60, 3), 1000]
    )


def test_iterating_gives_every_row_once_nearest_first(rng):
    base = random(rng, 150, 6)
    index = kith.build("flat", base, ids=np.arange(150) + 7)
    wanted = index.search(base[3], k=150)
    given = list(index.iterate(base[3]))
    assert [id for id, _ in given] == wanted.ids.tolist()
    assert [distance for _, distance in given] == wanted.distances.tolist()
    assert all(type(id) is int and type(distance) is float for id, distance in given)
    cursor = index.iterate(base[3:4], filter=[8, 9, 30, 12345])
    assert iter(cursor) is cursor and isinstance(cursor, kith.Cursor)
    assert sorted(id for id, _ in cursor) == [8, 9, 30]
    assert list(cursor) == []
    mask = np.zeros(200, bool)
    mask[20:40] = True
    assert {id for id, _ in index.iterate(base[0], filter=mask)} == set(range(20, 40))
    assert list(kith.build("flat", base[:0]).iterate(base[0])) == []
    with pytest.raises(kith.DimensionError, match="one query"):
        index.iterate(base)
    with pytest.raises(kith.DimensionError):
        index.iterate(base[0, :3])
    with pytest.raises(kith.InvalidArgumentError, match="eff"):
        index.iterate(base[0], eff=3)


def test_changing_an_index_ends_its_iterators_as_in_a_dict(rng):
    base = random(rng, 100, 4)
    for change in (
        lambda index: index.add(base[:1]),
        lambda index: index.add(base[:1], ids=[5]),
        lambda index: index.remove(3),
        lambda index: index.compact(),
    ):
        index = kith.build("flat", base)
        cursor = index.iterate(base[0])
        next(cursor)
        with pytest.raises(kith.Error):
            index.remove(12345)  # changes nothing
        next(cursor)
        change(index)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="changed"):
                next(cursor)
        assert len(list(index.iterate(base[0]))) == len(index)
    cursor = kith.build("flat", base).iterate(base[0])  # keeps the index alive
    gc.collect()
    assert len(list(cursor)) == 100


# --- bytes and files ------------------------------------------------------------------------------


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
    for other in (
        pickle.loads(pickle.dumps(index)),
        copy.deepcopy(index),
        kith.from_bytes(index.to_bytes()),
    ):
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
