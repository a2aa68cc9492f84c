# SPDX-License-Identifier: Apache-2.0
"""Product-quantised indexes by their specs."""

from __future__ import annotations

import numpy as np
import pytest

import kith


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    random = np.random.default_rng(1)
    centres = random.normal(size=(40, 32)).astype(np.float32) * 4
    return (centres[random.integers(0, 40, 3000)] + random.normal(size=(3000, 32))).astype(np.float32)


def recall(index: kith.Index, exact: kith.Index, queries: np.ndarray, **params) -> float:
    truth = exact.search(queries, k=10).ids
    found = index.search(queries, k=10, **params).ids
    return float(np.mean([len(set(a) & set(b)) / 10 for a, b in zip(truth, found)]))


@pytest.mark.parametrize(
    "spec, least, params",
    [
        ("pq(m=16)", 0.6, {}),
        ("pq(m=32,bits=4)", 0.5, {}),
        ("flat over pq(m=16), refine f32", 0.97, {"refine": 10}),
        ("flat over pq(m=32,bits=4), refine f32", 0.97, {"refine": 10}),
        ("hnsw(m=8,exact_links=true) over pq(m=16), refine f32", 0.95, {"refine": 5, "ef": 100}),
        ("ivf_pq(nlist=30,m=16)", 0.6, {"nprobe": 30}),
        ("ivf_pq(nlist=30,m=32,bits=4), refine f32", 0.97, {"nprobe": 30, "refine": 10}),
        ("flat over sq4", 0.7, {}),
        ("ivf(nlist=20) over sq4, refine f32", 0.97, {"nprobe": 20, "refine": 10}),
        ("hnsw(m=8,exact_links=true) over sq4, refine f32", 0.97, {"ef": 200, "refine": 10}),
        ("flat over rabitq(bits=7)", 0.95, {}),
        ("flat over rabitq(bits=1), refine f32", 0.9, {"refine": 20}),
        ("ivf(nlist=20) over rabitq(bits=4)", 0.75, {"nprobe": 20}),
        ("hnsw(m=8,exact_links=true) over rabitq(bits=4), refine f32", 0.97, {"ef": 200, "refine": 10}),
    ],
)
def test_a_spec_is_built_found_and_kept(rows: np.ndarray, spec: str, least: float, params: dict, tmp_path) -> None:
    queries = rows[::100] + np.float32(0.1)
    index = kith.build(spec, rows, metric="l2", threads=2)
    assert recall(index, kith.build("flat", rows), queries, **params) >= least
    path = tmp_path / "index.kith"
    index.save(path)
    loaded = kith.load(path)
    kith.verify(path)
    assert loaded.spec == index.spec
    a, b = index.search(queries, k=5, **params), loaded.search(queries, k=5, **params)
    assert np.array_equal(a.ids, b.ids) and np.array_equal(a.distances, b.distances)


@pytest.mark.parametrize("metric", ["ip", "cosine"])
@pytest.mark.parametrize("spec", ["pq(m=16)", "ivf_pq(nlist=20,m=16), refine f32"])
def test_other_metrics(rows: np.ndarray, metric: str, spec: str) -> None:
    index = kith.build(spec, rows, metric=metric, threads=2)
    assert recall(index, kith.build("flat", rows, metric=metric), rows[::100]) > 0.4
    assert index.metric == metric


def test_the_spec_says_what_the_codec_is(rows: np.ndarray) -> None:
    index = kith.build("pq(m=8,bits=4)", rows)
    assert index.kind == "flat"
    assert "pq(" in index.spec and "m=8" in index.spec and "bits=4" in index.spec
    assert kith.build(index.spec, rows).spec == index.spec


def test_rows_come_and_go(rows: np.ndarray) -> None:
    index = kith.build("ivf_pq(nlist=20,m=16), refine f32", rows[:2000])
    index.add(rows[2000:])
    assert len(index) == 3000
    assert index.search(rows[2500], k=1, nprobe=20).ids[0] == 2500
    index.remove(range(2500, 3000))
    assert len(index) == 2500
    assert 2500 not in index.search(rows[2500], k=100, nprobe=20).ids
    index.compact()
    assert index.search(rows[2400], k=1, nprobe=20).ids[0] == 2400


@pytest.mark.parametrize(
    "spec", ["pq(m=8)", "ivf(nlist=12) over sq4", "ivf_pq(nlist=12,m=8,bits=4), refine f32", "flat over rabitq(bits=2)"]
)
def test_shards_filled_from_one_trained_file_give_what_one_index_gives(rows: np.ndarray, spec: str, tmp_path) -> None:
    sample, queries = rows[::2], rows[::100] + np.float32(0.1)
    kith.train(spec, sample, metric="l2", threads=2).save(tmp_path / "trained.kith")
    assert len(kith.load(tmp_path / "trained.kith")) == 0
    whole = kith.load(tmp_path / "trained.kith")
    whole.add(rows)
    shards = []
    for first in (0, 1000, 2000):
        shard = kith.load(tmp_path / "trained.kith")
        shard.add(rows[first : first + 1000], ids=np.arange(first, first + 1000))
        shards.append(shard)
    params = {} if whole.kind == "flat" else {"nprobe": 12}
    if "refine" in spec:
        params["refine"] = 1000.0
    expected = whole.search(queries, k=10, **params)
    found = [shard.search(queries, k=10, **params) for shard in shards]
    merged = np.sort(np.concatenate([f.distances for f in found], axis=1), axis=1)[:, :10]
    assert np.array_equal(merged, np.sort(expected.distances, axis=1))


def test_rows_of_a_file_are_trained_on_where_they_lie(rows: np.ndarray, tmp_path) -> None:
    np.save(tmp_path / "rows.npy", rows)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    spec = "ivf_pq(nlist=12,m=8), refine f32"
    assert kith.build(spec, mapped).to_bytes() == kith.build(spec, rows).to_bytes()
    assert kith.build(spec, tmp_path / "rows.npy").to_bytes() == kith.build(spec, rows).to_bytes()


@pytest.mark.parametrize(
    "spec, code_bytes",
    [("pq(m=8)", 8), ("pq(m=8,bits=4)", 4), ("ivf_pq(nlist=12,m=8), refine f32", 8), ("flat over sq4", None), ("flat over rabitq(bits=4)", 28)],
)
def test_describe_says_what_training_did(rows: np.ndarray, spec: str, code_bytes, tmp_path) -> None:
    index = kith.build(spec, rows)
    facts = index.describe()
    if code_bytes is not None:
        assert facts["code_bytes"] == code_bytes
    assert facts["compression"] == pytest.approx(4 * rows.shape[1] / facts["code_bytes"])
    assert facts["codebook_bytes"] > 0
    if "pq" in spec:
        assert facts["codec_trained_on"] == len(rows) and 0 < facts["codec_iterations"] <= 20
        assert 0 < facts["codec_loss"] < 1 and 0 <= facts["codec_converged"] <= 1
    index.save(tmp_path / "x.kith")
    loaded = kith.load(tmp_path / "x.kith").describe()
    assert {name: loaded[name] for name in facts if name.startswith("code")} == {name: facts[name] for name in facts if name.startswith("code")}


@pytest.mark.parametrize(
    "spec, words",
    [
        ("pq(m=33)", ["33", "32"]),
        ("pq(bits=5)", ["bits"]),
        ("pq(x=1)", ["x"]),
        ("pq(m=4) over l2/f32", ["pq"]),
        ("vamana over pq(m=4)", ["vamana"]),
        ("ivf_pq(m=40)", ["40", "32"]),
        ("flat over f32(m=3)", ["m"]),
    ],
)
def test_what_does_not_make_sense_is_an_error_that_says_so(rows: np.ndarray, spec: str, words: list) -> None:
    with pytest.raises(kith.Error) as caught:
        kith.build(spec, rows)
    for word in words:
        assert word in str(caught.value)
