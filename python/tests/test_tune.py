# SPDX-License-Identifier: Apache-2.0
"""Recall that is asked for, and the choice of an index: on data that neither ever saw."""

import json
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

import kith


def clusters(rng, rows, dim=24, centres=50):
    """Rows around centres that are always the same."""
    centre = np.random.default_rng(7).standard_normal((centres, dim)) * 3
    spread = np.random.default_rng(8).standard_normal((dim, dim)) * 0.6
    drawn = centre[rng.integers(0, centres, rows)] + rng.standard_normal((rows, dim)) @ spread
    return drawn.astype(np.float32)


@pytest.fixture
def data(rng):
    return clusters(rng, 6000), clusters(rng, 400)


def recall(index, base, queries, k, **params):
    exact = kith.build("flat", base, metric=index.metric).search(queries, k=k).ids
    found = index.search(queries, k=k, **params).ids
    return np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(found, exact)])


@pytest.mark.parametrize("metric", ["l2", "cosine", "ip"])
@pytest.mark.parametrize("spec", ["hnsw(m=8)", "ivf", "hnsw(m=8) over sq8, refine f32", "lsh"])
def test_recall_holds_for_queries_that_are_no_rows(data, spec, metric):
    base, queries = data
    index = kith.build(spec, base, metric=metric, target_recall=0.9)
    assert recall(index, base, queries, 10) >= 0.89
    for target in (0.7, 0.97):
        assert recall(index, base, queries, 10, target_recall=target) >= target - 0.01
    assert recall(index, base, queries, 1, target_recall=0.9) >= 0.89
    assert recall(index, base, queries, 60, target_recall=0.9) >= 0.89


def test_the_curve_is_there_to_look_at_and_is_kept(data, tmp_path):
    base, queries = data
    index = kith.build("hnsw(m=8)", base)
    assert index.recall_curve is None
    with pytest.raises(kith.UnsupportedError, match="calibrate"):
        index.search(queries, target_recall=0.9)
    index.calibrate()
    curve = index.recall_curve
    assert curve["parameters"] == ["ef"] and curve["rows"] == 6000 and curve["queries"] == 300
    assert curve["target_recall"] == 0
    points = [point for point in curve["points"] if point["k"] == 10]
    assert [p["recall"] for p in points] == sorted(p["recall"] for p in points)
    assert [p["ef"] for p in points] == sorted(p["ef"] for p in points)
    assert points[-1]["recall"] > 0.99 and points[0]["distances"] < points[-1]["distances"]
    low, high = (index.params_for(r)["ef"] for r in (0.8, 0.99))
    assert 10 <= low < high
    before = index.search(queries, k=10)  # nothing was aimed at: as if it were not calibrated
    assert before.stats.distances == kith.build("hnsw(m=8)", base).search(queries, k=10).stats.distances
    index.calibrate(0.8, threads=2)
    assert index.search(queries, k=10).stats.distances == index.search(queries, k=10, ef=low).stats.distances
    index.save(tmp_path / "index.kith")
    for again in (kith.load(tmp_path / "index.kith"), pickle.loads(pickle.dumps(index))):
        assert again.recall_curve == index.recall_curve
        assert np.array_equal(again.search(queries).ids, index.search(queries).ids)
    assert index.describe()["target_recall"] == 0.8


def test_other_searches_take_it_too(data):
    base, queries = data
    index = kith.build("hnsw(m=8)", base, target_recall=0.95)
    radius = float(index.search(queries[0], k=5).distances[-1])
    assert len(index.range_search(queries[:1], radius, target_recall=0.99).ids) >= 4
    first = next(iter(index.iterate(queries[0], target_recall=0.99)))
    assert first[0] == index.search(queries[0], k=1, ef=200).ids[0]
    allowed = np.arange(0, 6000, 2)
    assert set(index.search(queries, filter=allowed, target_recall=0.9).ids.ravel()) <= set(allowed)


def test_it_is_measured_again_when_rows_come(data, rng):
    base, queries = data
    index = kith.build("hnsw(m=6)", base[:500], target_recall=0.9, copy=True)
    index.add(base[500:])
    assert index.recall_curve["rows"] == 6000
    assert recall(index, base, queries, 10) >= 0.89


def test_what_is_out_of_reach_is_said(data):
    base, queries = data
    with pytest.warns(UserWarning, match="reaches a recall@10 of"):
        index = kith.build("flat over pq(m=3,bits=4)", base, target_recall=0.95)
    assert index.search(queries).ids.shape == (400, 10)
    with pytest.raises(kith.UnsupportedError, match="refine"):
        index.search(queries, target_recall=0.95)
    for wrong in (0, 1.5, -1, float("nan")):
        with pytest.raises(kith.InvalidArgumentError, match="target_recall"):
            kith.build("hnsw", base, target_recall=wrong)
    with pytest.raises(kith.TypeMismatchError, match="target_recall"):
        kith.build("hnsw", base, target_recall="high")
    index = kith.build("hnsw(m=8)", base, target_recall=0.9)
    with pytest.raises(kith.InvalidArgumentError, match="others"):
        index.search(queries, target_recall=0.9, ef=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kith.build("flat", base, target_recall=1.0)


def test_tables_that_found_a_row_are_told(data):
    base, _ = data
    index = kith.build("lsh(tables=6,bits=6)", base, ids=np.arange(6000) + 10)
    counts = index.tables_with(base[5], [15, 16], probes=6)
    assert counts.dtype == np.uint32 and counts[0] == 6 and counts[1] < 6
    with pytest.raises(kith.NotFoundError):
        index.tables_with(base[5], [3])
    with pytest.raises(kith.DimensionError):
        index.tables_with(base[5, :3], [15])
    with pytest.raises(kith.UnsupportedError, match="hash tables"):
        kith.build("flat", base).tables_with(base[0], [1])


SPECS = ["flat", "hnsw(m=8)", "ivf", "flat over pq(m=4,bits=4)"]


def test_tuning_says_what_it_chose_and_why(rng):
    base, queries = clusters(rng, 20_000), clusters(rng, 300)
    tuning = kith.tune(base, target_recall=0.9, specs=SPECS, sample=6000, threads=2)
    assert [trial.spec for trial in tuning.trials] == SPECS
    assert [t.verdict.split(";")[0] for t in tuning.trials].count("chosen") == 1
    assert tuning.trials[3].verdict == "recall out of reach"
    chosen = next(t for t in tuning.trials if t.verdict.startswith("chosen"))
    assert chosen.spec == tuning.spec and chosen.params == tuning.params
    assert all(t.qps <= chosen.qps for t in tuning.trials if "slower" in t.verdict)
    text = str(tuning)
    assert "chosen" in text and all(spec in text for spec in SPECS)
    index = tuning.build(base, threads=2)
    assert recall(index, base, queries, 10) >= 0.89
    # What was predicted of memory is what it takes.
    for trial in tuning.trials[:3]:
        actual = kith.build(trial.spec, base).memory_bytes
        assert 0.8 < trial.memory_bytes / actual < 1.25, trial.spec


def test_tuning_keeps_to_limits(rng):
    base = clusters(rng, 8000)
    rows = base.nbytes
    small = kith.tune(base, target_recall=0.5, specs=["flat", "hnsw(m=8)", "flat over sq8"], sample=3000, max_memory=rows * 0.6)
    assert small.spec == "flat over sq8" and "distances are those of codes" in small.trials[2].verdict
    assert [t.verdict for t in small.trials[:2]] == ["too large", "too large"]
    patient = kith.tune(base, target_recall=0.9, specs=["flat", "hnsw(m=8)"], sample=3000, max_build_seconds=1e9)
    assert patient.spec in ("flat", "hnsw(m=8)")
    with pytest.raises(kith.InvalidArgumentError, match="takes too long to build"):
        kith.tune(base, target_recall=0.9, specs=["flat", "hnsw(m=8)"], sample=3000, max_build_seconds=1e-9)
    with pytest.raises(kith.InvalidArgumentError, match="keeps to the limits(.|\n)*too large"):
        kith.tune(base, specs=["flat"], max_memory=1000, sample=1000)


def test_tuning_of_other_rows_and_metrics(rng):
    bits = np.packbits(rng.random((3000, 128)) < 0.5, axis=1)
    tuning = kith.tune(bits, metric="hamming", target_recall=0.8, sample=2000)
    assert tuning.spec and tuning.metric == "hamming"
    halves = clusters(rng, 3000).astype(np.float16)
    assert kith.tune(halves, metric="cosine", sample=2000, queries=halves[:50]).spec
    seen = []
    kith.tune(halves, sample=1000, specs=["flat"], progress=lambda *at: seen.append(at))
    assert seen == [("trials", 0, 1), ("trials", 1, 1)]
    with pytest.raises(kith.CancelledError):
        kith.tune(halves, sample=1000, progress=lambda *at: False)
    for wrong, error in (
        ({"base": halves[0]}, kith.DimensionError),
        ({"base": halves, "queries": halves[:, :3]}, kith.DimensionError),
        ({"base": halves, "k": 0}, kith.InvalidArgumentError),
        ({"base": halves, "sample": 0}, kith.InvalidArgumentError),
        ({"base": halves, "queries": halves[:0]}, kith.DimensionError),
        ({"base": halves, "target_recall": 2}, kith.InvalidArgumentError),
    ):
        with pytest.raises(error):
            kith.tune(**wrong)


def test_the_command(rng, tmp_path):
    np.save(tmp_path / "base.npy", clusters(rng, 3000))
    run = [sys.executable, "-m", "kith.cli", "tune", "--base", str(tmp_path / "base.npy"), "--sample", "1500"]
    run += ["--spec", "flat", "--spec", "ivf", "--target-recall", "0.9"]
    shown = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "chosen" in shown and "kith build '" in shown
    facts = json.loads(subprocess.run([*run, "--json"], capture_output=True, text=True, check=True).stdout)
    assert facts["spec"] in ("flat", "ivf") and len(facts["trials"]) == 2
    build = [sys.executable, "-m", "kith.cli", "build", "hnsw(m=8)", str(tmp_path / "base.npy"), str(tmp_path / "i.kith")]
    subprocess.run([*build, "--target-recall", "0.9"], capture_output=True, check=True)
    assert kith.load(tmp_path / "i.kith").recall_curve["target_recall"] == 0.9
