# SPDX-License-Identifier: Apache-2.0
"""Exactness: every metric and element type against numpy, shapes, k, filters, range search."""

from __future__ import annotations

import numpy as np
import pytest
from reference import BIT_METRICS, METRICS, assert_exact, distances, nearest

import kith

ml_dtypes = pytest.importorskip("ml_dtypes")

DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16, np.int8, np.uint8)


def sample(rng: np.random.Generator, n: int, d: int, dtype) -> np.ndarray:
    if np.dtype(dtype) == np.int8:
        return rng.integers(-128, 128, (n, d), dtype=np.int8)
    if np.dtype(dtype) == np.uint8:
        return rng.integers(0, 256, (n, d), dtype=np.uint8)
    return rng.standard_normal((n, d)).astype(np.float32).astype(dtype)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda t: np.dtype(t).name)
@pytest.mark.parametrize(("n", "d", "nq"), [(500, 37, 9), (300, 128, 1)])
def test_exact(rng, metric, dtype, n, d, nq):
    base, queries = sample(rng, n, d, dtype), sample(rng, nq, d, dtype)
    result = kith.build("flat", base, metric=metric, threads=1).search(queries, k=10)
    assert result.ids.dtype == np.int64 and result.ids.shape == (nq, 10)
    assert result.distances.dtype == np.float32 and result.distances.shape == (nq, 10)
    assert result.counts.tolist() == [10] * nq
    scale = float(np.abs(distances(metric, queries, base)).max())
    assert_exact(result, metric, queries, base, 10, atol=2e-6 * max(scale, 1.0))


@pytest.mark.parametrize("metric", METRICS[:3] + METRICS[4:])
def test_integers_are_exact_and_ties_go_to_the_smaller_id(rng, metric):
    base = rng.integers(0, 3, (400, 6), dtype=np.uint8)  # full of duplicates
    queries = base[:20]
    result = kith.build("flat", base, metric=metric, threads=1).search(queries, k=25)
    ids, wanted = nearest(metric, queries, base, 25)
    np.testing.assert_array_equal(result.ids, ids)
    np.testing.assert_array_equal(result.distances, np.asarray(wanted, np.float32))


@pytest.mark.parametrize("metric", BIT_METRICS)
def test_bits(rng, metric):
    base = np.packbits(rng.random((600, 203)) < 0.4, axis=1)
    base[7] = 0
    queries = np.concatenate([base[:5], np.zeros((1, base.shape[1]), np.uint8)])
    index = kith.build("flat", base, metric=metric, threads=1)
    assert index.element_type == "b1" and index.dtype == np.uint8 and index.dim == 26
    assert_exact(index.search(queries, k=12), metric, queries, base, 12, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(index.row(3), base[3])


def test_cosine_of_zero_vectors_is_defined():
    base = np.array([[0, 0], [1, 0], [0, 2]], np.float32)
    result = kith.build("flat", base, metric="cosine").search(np.zeros(2, np.float32), k=3)
    assert np.isfinite(result.distances).all()
    assert sorted(result.ids.tolist()) == [0, 1, 2]


def test_result_contract(rng):
    base = sample(rng, 50, 8, np.float32)
    index = kith.build("flat", base)
    one = index.search(base[3], k=4)
    assert one.ids.shape == one.distances.shape == (4,)
    assert one.counts.shape == () and one.counts == 4 and one.ids[0] == 3 and one.distances[0] == 0
    many = index.search(base[3:4], 4)
    assert many.ids.shape == (1, 4) and many.counts.shape == (1,)
    np.testing.assert_array_equal(many.ids[0], one.ids)
    ids, distance = many
    assert ids is many.ids and distance is many.distances
    assert many[0] is many.ids and len(many) == 2
    assert "distances computed" in repr(many)
    assert many.stats.distances == 50 and "distances=50" in repr(many.stats)
    assert many.stats == one.stats and many.stats.bytes == 50 * 32
    with pytest.raises(IndexError):
        many[2]
    with pytest.raises(AttributeError):
        many.ids = None
    with pytest.raises(TypeError):
        kith.Result()


def test_k_beyond_the_rows(rng):
    base = sample(rng, 5, 4, np.float32)
    index = kith.build("flat", base)
    result = index.search(base[:2], k=100)
    assert result.ids.shape == (2, 5) and result.counts.tolist() == [5, 5]
    mask = np.array([True, False, True, False, False])
    result = index.search(base[:2], k=100, filter=mask)
    assert result.ids.shape == (2, 5) and result.counts.tolist() == [2, 2]
    assert (result.ids[:, 2:] == -1).all() and np.isposinf(result.distances[:, 2:]).all()
    assert np.isneginf(
        kith.build("flat", base, metric="ip").search(base[:1], 5, filter=mask).distances[0, 2:]
    ).all()


@pytest.mark.parametrize("n", [0, 1])
def test_empty_and_single(n):
    index = kith.build("flat", np.ones((n, 3), np.float32))
    assert len(index) == n and index
    result = index.search(np.zeros((2, 3), np.float32), k=5)
    assert result.ids.shape == (2, n) and result.counts.tolist() == [n, n]
    assert len(index.range_search(np.zeros((2, 3), np.float32), 10.0)[0][0]) == n
    assert index.search(np.zeros((0, 3), np.float32)).ids.shape == (0, n)


def test_queries_of_other_types(rng):
    base = rng.integers(0, 256, (100, 16), dtype=np.uint8)
    index = kith.build("flat", base)
    wanted = index.search(base[:7], k=3)
    for queries in (base[:7].astype(np.float32), base[:7].astype(np.float16), base[:7].tolist()):
        np.testing.assert_array_equal(index.search(queries, k=3).ids, wanted.ids)
    assert index.search(base[0].tolist(), k=1).ids.tolist() == [0]
    with pytest.raises(kith.TypeMismatchError, match="0.5"):
        index.search(base[:1].astype(np.float32) * 0 + 0.5)
    floats = kith.build("flat", base.astype(np.float32))
    for queries in (base[:7], base[:7].astype(np.float16), base[:7].astype(ml_dtypes.bfloat16)):
        np.testing.assert_array_equal(floats.search(queries, k=1).ids.ravel(), np.arange(7))


# --- filters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
def test_filters_by_mask_and_ids(rng, metric, share):
    base, queries = sample(rng, 700, 19, np.float32), sample(rng, 6, 19, np.float32)
    index = kith.build("flat", base, metric=metric, threads=1)
    mask = rng.random(700) < share
    by_mask = index.search(queries, k=10, filter=mask)
    assert_exact(by_mask, metric, queries, base, 10, mask, rtol=1e-4, atol=1e-4)
    ids = np.flatnonzero(mask)
    for other in (
        ids,
        ids.astype(np.int32),
        ids.astype(np.uint16),
        ids.tolist(),
        set(ids.tolist()),
        tuple(mask.tolist()),
    ):
        got = index.search(queries, k=10, filter=other)
        np.testing.assert_array_equal(got.ids, by_mask.ids)
        np.testing.assert_array_equal(got.counts, by_mask.counts)
    np.testing.assert_array_equal(
        index.search(queries, k=10, filter=np.concatenate([ids, [-5, 10**15]])).ids, by_mask.ids
    )


def test_one_filter_per_query(rng):
    base, queries = sample(rng, 300, 12, np.float32), sample(rng, 8, 12, np.float32)
    index = kith.build("flat", base, threads=1)
    masks = rng.random((8, 300)) < 0.2
    masks[2] = False
    masks[5] = True
    wanted = index.search(queries, k=7, filter=masks)
    assert_exact(wanted, "l2", queries, base, 7, masks, rtol=1e-4, atol=1e-4)
    forms = [
        list(masks),
        [np.flatnonzero(m) for m in masks],
        [np.flatnonzero(m).tolist() for m in masks],
    ]
    mixed = list(masks)
    mixed[5], mixed[2], mixed[0] = None, [], set(np.flatnonzero(masks[0]).tolist())
    for form in [*forms, mixed]:
        for threads in (1, 2):
            got = index.search(queries, k=7, filter=form, threads=threads)
            np.testing.assert_array_equal(got.ids, wanted.ids)
    np.testing.assert_array_equal(
        index.search(queries, 7, filter=[None] * 8).ids, index.search(queries, 7).ids
    )
    np.testing.assert_array_equal(index.search(queries[0], 7, filter=[masks[0]]).ids, wanted.ids[0])


def test_filters_speak_ids(rng):
    base = sample(rng, 20, 4, np.float32)
    ids = np.arange(20) * 3 + 100
    index = kith.build("flat", base, ids=ids)
    assert index.search(base[4], k=3, filter=[112]).ids.tolist()[:1] == [112]
    assert (
        index.search(base[4], k=3, filter=range(100, 110)).counts == 3
    )  # 100, 103, 106, and 109 is cut off
    mask = np.zeros(200, bool)
    mask[[103, 106]] = True
    assert sorted(index.search(base[0], k=5, filter=mask).ids[:2].tolist()) == [103, 106]
    with pytest.raises(kith.DimensionError, match="for ids up to 100"):
        index.search(base[0], filter=np.ones(20, bool))


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.ones(3, bool), kith.DimensionError, "10"),
        (np.ones((2, 10), bool), kith.DimensionError, "expected 4, got 2"),
        (np.ones((4, 10), int), kith.TypeMismatchError, "int64"),
        ([None, None], kith.DimensionError, "expected 4, got 2"),
        (np.ones(3), kith.TypeMismatchError, "float64"),
        ("abc", kith.DimensionError, "one-dimensional"),
        (np.ones((1, 1, 1), bool), kith.DimensionError, "one-dimensional"),
    ],
)
def test_bad_filters(rng, bad, error, words):
    base = sample(rng, 10, 4, np.float32)
    with pytest.raises(error, match=words):
        kith.build("flat", base).search(base[:4], filter=bad)


# --- range search ---------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", METRICS)
def test_range_search(rng, metric):
    base, queries = sample(rng, 400, 10, np.float32), sample(rng, 5, 10, np.float32)
    index = kith.build("flat", base, metric=metric, threads=1)
    table = distances(metric, queries, base)
    radius = float(np.quantile(table, 0.95 if metric == "ip" else 0.05))
    result = index.range_search(queries, radius)
    assert len(result) == 5 and result.offsets.dtype == np.int64 and result.ids.dtype == np.int64
    inside = table >= radius if metric == "ip" else table <= radius
    clear = np.abs(table - radius) > 1e-4
    for i, (ids, found) in enumerate(result):
        got = np.zeros(400, bool)
        got[ids] = True
        np.testing.assert_array_equal(got[clear[i]], inside[i][clear[i]])
        keys = -found if metric == "ip" else found
        assert (np.diff(keys) >= 0).all()
    assert result.counts.sum() == len(result.ids) == result.offsets[-1]
    mask = rng.random(400) < 0.5
    masked = index.range_search(queries, radius, filter=mask, threads=2)
    assert all(mask[ids].all() for ids, _ in masked)
    assert "5 queries" in repr(result)
    np.testing.assert_array_equal(result[-1][0], result[4][0])
    with pytest.raises(IndexError):
        result[5]


def test_range_search_of_one_vector_and_copied_radius(rng):
    base = sample(rng, 100, 10, np.float32)
    index = kith.build("flat", base)
    near = index.search(base[0], k=5)
    result = index.range_search(base[0], float(near.distances[-1]))
    np.testing.assert_array_equal(result[0][0], near.ids)
    with pytest.raises(kith.InvalidArgumentError):
        index.range_search(base[0], float("nan"))


def test_the_fixture(photos):
    base, queries = (
        kith.read_vectors(photos / "base.u8bin"),
        kith.read_vectors(photos / "query.u8bin"),
    )
    truth, distance = (
        kith.read_vectors(photos / "gt_ids.ibin"),
        kith.read_vectors(photos / "gt_dist.fbin"),
    )
    index = kith.build("flat", base)
    k = truth.shape[1]
    result = index.search(queries, k=k, threads=2)
    np.testing.assert_array_equal(result.distances, distance)
    from kith._evaluate import recall

    assert recall(index, queries, result.ids, truth, k) == 1.0
    shifted = (result.ids + 1) % len(base)
    assert recall(index, queries, shifted, truth, k) < 0.5
