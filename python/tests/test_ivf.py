# SPDX-License-Identifier: Apache-2.0
"""IVF: lists over rows and codes; the caller's row numbers; changes, rebalancing, files."""

from __future__ import annotations

import numpy as np
import pytest
from reference import assert_exact

import kith

N, D, K = 1500, 24, 10

CASES = [
    ("ivf(nlist=30)", "l2", np.float32),
    ("ivf", "ip", np.float32),
    ("ivf(nlist=30)", "cosine", np.float32),
    ("ivf(nlist=30)", "l2", np.float16),
    ("ivf(nlist=30)", "l2", np.uint8),
    ("ivf(nlist=30) over l2/sq8, refine f32", None, np.float32),
]


def rows_of(rng: np.random.Generator, n: int, dtype: type) -> np.ndarray:
    """Rows around a few centres."""
    centres = np.random.default_rng(1).standard_normal((12, D)) * 2
    rows = centres[rng.integers(0, 12, n)] + rng.standard_normal((n, D))
    return np.clip(rows * 20 + 128, 0, 255).astype(np.uint8) if dtype is np.uint8 else rows.astype(dtype)


@pytest.mark.parametrize(("spec", "metric", "dtype"), CASES)
def test_all_lists_are_exact_and_some_nearly(rng, spec, metric, dtype):
    base, queries = rows_of(rng, N, dtype), rows_of(rng, 40, dtype)
    index = kith.build(spec, base, metric=metric, threads=2)
    assert index.kind == "ivf" and index.size == N
    assert sorted(index.ids()) == list(range(N))
    for i in (0, 7, N - 1):
        np.testing.assert_array_equal(index.row(i), base[i])
    rest = {"refine": 100.0} if "refine" in spec else {}
    everything = index.search(queries, k=K, nprobe=N, **rest)
    if dtype is np.float16:
        queries = queries.astype(np.float32)
    assert_exact(everything, index.metric, queries, base.astype(np.float32) if dtype is np.float16 else base, K)
    some = index.search(queries, k=K, nprobe=8)
    assert (some.counts == K).all()
    assert some.stats.lists >= 8 * 40 and some.stats.distances < everything.stats.distances
    right = [len(set(a) & set(b)) for a, b in zip(some.ids.tolist(), everything.ids.tolist())]
    assert np.mean(right) >= 0.9 * K
    assert kith.build(index.spec, base).to_bytes() == index.to_bytes()


def test_filters_and_masks_speak_of_ids(rng):
    base, queries = rows_of(rng, N, np.float32), rows_of(rng, 20, np.float32)
    index = kith.build("ivf(nlist=40)", base)
    for share in (0.5, 0.02, 0.002):
        mask = rng.random(N) < share
        mask[3] = True
        assert_exact(index.search(queries, k=K, filter=mask, nprobe=N), "l2", queries, base, K, mask)
        some = index.search(queries, k=K, filter=np.flatnonzero(mask), nprobe=1)
        assert (some.counts == min(K, mask.sum())).all()
        assert all(mask[i] for row, n in zip(some.ids, some.counts) for i in row[:n])


def test_rows_come_and_go_and_lists_are_put_right(rng, tmp_path):
    base = rows_of(rng, N, np.float32)
    index = kith.build("ivf", base[:100])
    index.add(base[100:], threads=2)
    assert index.describe()["nlist"] == 10
    before = index.search(base[:50], k=K, nprobe=N)
    index.rebalance(threads=2)
    facts = index.describe()
    assert facts["nlist"] >= 20 and facts["vacant_slots"] == 0
    after = index.search(base[:50], k=K, nprobe=N)
    np.testing.assert_array_equal(after.ids, before.ids)
    index.remove(np.arange(0, N, 2))
    assert index.size == N // 2 and 2 not in index and 3 in index
    index.save(tmp_path / "a.kith")
    kith.verify(tmp_path / "a.kith")
    loaded = kith.load(tmp_path / "a.kith")
    index.compact()
    np.testing.assert_array_equal(loaded.search(base[:9], k=K).ids, index.search(base[:9], k=K).ids)
    np.testing.assert_array_equal(loaded.row(3), base[3])
    with pytest.raises(kith.Error, match="rebalancing"):
        kith.build("flat", base).rebalance()


def test_built_from_nothing(rng):
    base = rows_of(rng, 300, np.float32)
    index = kith.build("ivf(nlist=9)", base[:0])
    index.add(base)
    assert index.describe()["nlist"] == 9
    assert_exact(index.search(base[:20], k=K, nprobe=9), "l2", base[:20], base, K)


def test_spaces_that_there_are_not(rng):
    with pytest.raises(kith.Error, match="ivf over l1/f32 does not exist.*l2/f32"):
        kith.build("ivf", rows_of(rng, 30, np.float32), metric="l1")
