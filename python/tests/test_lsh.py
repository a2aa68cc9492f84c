# SPDX-License-Identifier: Apache-2.0
"""LSH: families over every metric, probes, recall that was asked for, changes, files, near duplicates."""

from __future__ import annotations

import numpy as np
import pytest
from reference import assert_exact

import kith

N, D, K = 3000, 24, 10

CASES = [
    ("lsh(tables=8,bits=8)", "l2", np.float32),
    ("lsh(tables=8,bits=8,family=hyperplane)", "l2", np.float32),
    ("lsh(tables=8,bits=8,family=p_stable)", "l2", np.float32),
    ("lsh(tables=8,bits=8)", "ip", np.float32),
    ("lsh(tables=8,bits=8)", "cosine", np.float32),
    ("lsh(tables=8,bits=8)", "l1", np.float32),
    ("lsh(tables=8,bits=8)", "l2", np.uint8),
    ("lsh(tables=8,bits=8) over l2/sq8, refine f32", None, np.float32),
]


def rows_of(rng: np.random.Generator, n: int, dtype: type = np.float32) -> np.ndarray:
    """Rows around a few centres."""
    centres = np.random.default_rng(1).standard_normal((30, D)) * 2
    rows = centres[rng.integers(0, 30, n)] + rng.standard_normal((n, D))
    return np.clip(rows * 20 + 128, 0, 255).astype(np.uint8) if dtype is np.uint8 else rows.astype(dtype)


@pytest.mark.parametrize(("spec", "metric", "dtype"), CASES)
def test_all_buckets_are_exact_and_some_nearly(rng, spec, metric, dtype):
    base, queries = rows_of(rng, N, dtype), rows_of(rng, 40, dtype)
    index = kith.build(spec, base, metric=metric, threads=2)
    assert index.kind == "lsh" and index.size == N
    rest = {"refine": 300.0} if "refine" in spec else {}
    everything = index.search(queries, k=K, probes=1 << 30, **rest)
    assert_exact(everything, index.metric, queries, base, K)
    some = index.search(queries, k=K, probes=150)
    assert (some.counts == K).all()
    assert some.stats.lists == 150 * 40 and some.stats.distances < everything.stats.distances
    right = [len(set(a) & set(b)) for a, b in zip(some.ids.tolist(), everything.ids.tolist())]
    assert np.mean(right) >= (0.6 if metric == "l1" else 0.85) * K
    assert kith.build(index.spec, base).to_bytes() == index.to_bytes()


@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_bits(rng, metric):
    prototypes = np.random.default_rng(2).random((20, 256)) < 0.3
    rows = prototypes[rng.integers(0, 20, 2020)] ^ (rng.random((2020, 256)) < 0.02)
    packed = np.packbits(rows, axis=1)
    base, queries = packed[:2000], packed[2000:]
    index = kith.build("lsh(tables=10,bits=24)", base, metric=metric)
    assert index.describe()["family"] == {"hamming": "bit_sampling", "jaccard": "minhash"}[metric]
    exact = kith.build("flat", base, metric=metric).search(queries, k=5)
    found = index.search(queries, k=5, probes=200)
    assert np.mean(found.distances <= exact.distances[:, -1:]) > 0.8


def test_target_recall_holds_on_new_queries_and_is_kept_in_the_file(rng, tmp_path):
    base, queries = rows_of(rng, 8000), rows_of(rng, 500)
    index = kith.build("lsh(tables=10)", base, target_recall=0.9)
    facts = index.describe()
    assert facts["recall_measured"] >= 0.9 and facts["recall_error"] > 0
    assert abs(facts["own_buckets_recall_measured"] - facts["own_buckets_recall_predicted"]) < 0.08
    truth = kith.build("flat", base).search(queries, k=K)
    index.save(tmp_path / "lsh.kith")
    for one in (index, kith.load(tmp_path / "lsh.kith")):
        found = one.search(queries, k=K)
        assert np.mean(found.distances <= truth.distances[:, -1:]) >= 0.89
        assert one.describe()["default_probes"] == facts["default_probes"]
    kith.verify(tmp_path / "lsh.kith")


def test_rows_come_and_go(rng):
    rows = rows_of(rng, 3000)
    index = kith.build("lsh(tables=6)", rows[:500])
    for at in range(500, 3000, 250):
        index.add(rows[at : at + 250])
        index.remove(np.arange(at - 500, at - 250))
    assert sorted(index.ids()) == list(range(2500, 3000)) + []
    np.testing.assert_array_equal(index.search(rows[2600:2610], k=1).ids[:, 0], np.arange(2600, 2610))
    before = index.search(rows[2500:2520], k=3).ids
    index.compact()
    np.testing.assert_array_equal(index.search(rows[2500:2520], k=3).ids, before)


def test_filters_and_budgets(rng):
    base, queries = rows_of(rng, N), rows_of(rng, 20)
    index = kith.build("lsh(tables=6,bits=7)", base)
    mask = rng.random(N) < 0.3
    found = index.search(queries, k=K, filter=mask, probes=40)
    assert (found.counts == K).all() and mask[found.ids].all()
    few = np.flatnonzero(mask)[:50]
    assert_exact(index.search(queries, k=K, filter=few), "l2", queries, base, K, np.isin(np.arange(N), few))
    cheap, dear = (index.search(queries, k=K, probes=300, candidates=c).stats for c in (200, 0))
    assert cheap.distances < dear.distances and cheap.lists < dear.lists


def test_near_duplicates(rng):
    base = rows_of(rng, 4000)
    copies = base[rng.permutation(4000)[:300]]
    near = np.concatenate([base, copies + 0.001 * rng.standard_normal(copies.shape).astype(np.float32)])
    calls = []
    exact = kith.build("flat", near).near_duplicates(0.01, progress=lambda *call: calls.append(call))
    assert len(exact) == 300 and exact.pairs.shape == (300, 2) and len(exact.groups) == 300
    assert (exact.pairs[:, 0] < 4000).all() and (exact.pairs[:, 1] >= 4000).all() and (exact.distances <= 0.01).all()
    assert all(len(group) == 2 for group in exact.groups)
    assert calls[-1] == ("duplicates", 4300, 4300)
    found = kith.build("lsh(tables=10)", near, threads=2).near_duplicates(0.01, threads=2, probes=10)
    assert len(found) >= 299 and {tuple(p) for p in found.pairs} <= {tuple(p) for p in exact.pairs}
    assert found.stats.distances < exact.stats.distances / 5
    assert "300 pairs in 300 groups" in repr(exact)


def test_refusals(rng):
    base = rows_of(rng, 100)
    with pytest.raises(kith.InvalidArgumentError, match="'family'.*cross_polytope, hyperplane, p_stable.*'minhash'"):
        kith.build("lsh(family=minhash)", base)
    with pytest.raises(kith.InvalidArgumentError, match="'target_recall'"):
        kith.build("lsh", base, target_recall=1.5)
    with pytest.raises(kith.InvalidArgumentError, match="unknown parameter 'hash'.*tables, bits"):
        kith.build("lsh(hash=3)", base)
    with pytest.raises(kith.UnsupportedError, match="lsh over euclidean/f32"):
        kith.build("lsh", base, metric="euclidean")


def test_sets_become_rows_of_bits_that_differ_as_sets_do():
    words = [f"word{i}" for i in range(200)]
    sets = [words[:100], set(words[:100]), words[50:150], words[100:], []]
    rows = kith.sketch_sets(sets, bits=2048)
    assert rows.shape == (5, 256) and rows.dtype == np.uint8
    found = kith.build("flat", rows, metric="hamming").search(rows[0], k=5)
    assert list(found.ids[:3]) == [0, 1, 2] and found.distances[1] == 0
    assert abs(found.distances[2] / 2048 - 1 / 3) < 0.05
    assert not rows[4].any()
    np.testing.assert_array_equal(kith.sketch_sets([range(10), [3, 2**64 - 1]], threads=2), kith.sketch_sets([range(10), [-1, 3, 3]]))
    assert kith.sketch_sets([]).shape == (0, 32)
    for wrong, error, words in (([[1.5]], kith.TypeMismatchError, "1.5"), (["ab"], kith.TypeMismatchError, "'ab'")):
        with pytest.raises(error, match=words):
            kith.sketch_sets(wrong)
    with pytest.raises(kith.InvalidArgumentError, match="multiple of 8"):
        kith.sketch_sets([[1]], bits=12)


def test_near_duplicate_texts(rng):
    texts = [" ".join(rng.choice([f"w{i}" for i in range(400)], 60)) for _ in range(500)]
    texts += [text.replace("w7 ", "w8 ") + " end" for text in texts[:40]]
    shingles = [{text[i : i + 8] for i in range(len(text) - 7)} for text in texts]
    rows = kith.sketch_sets(shingles, bits=512)
    index = kith.build("lsh(tables=10,bits=12)", rows, metric="hamming")
    pairs = index.near_duplicates(0.15 * 512, probes=60).pairs
    assert {tuple(pair) for pair in pairs} == {(i, 500 + i) for i in range(40)}
