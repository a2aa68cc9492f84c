# SPDX-License-Identifier: Apache-2.0
"""bench, sweep and plot: what they count and compute, against what can be said without them."""

from __future__ import annotations

import json
import math
import shutil
import subprocess

import numpy as np
import pytest

import kith
from kith import _evaluate
from kith._bench import measure, plot, record, report, sweep
from kith._bench.contenders import Contender, Kith
from kith._bench.peers import PEERS, available
from kith._bench.workload import open_workload

from test_cli import run


@pytest.fixture
def files(rng, tmp_path):
    base = rng.standard_normal((300, 8), dtype=np.float32)
    base[50:60] = base[40:50]  # ties
    kith.write_vectors(tmp_path / "base.fvecs", base)
    kith.write_vectors(tmp_path / "query.fvecs", base[:40] + np.float32(0.01))
    truth = kith.build("flat", base).search(base[:40] + np.float32(0.01), k=10).ids
    kith.write_vectors(tmp_path / "truth.ivecs", truth)
    return tmp_path


def workload(files, **more):
    arguments = {"truth": None, "metric": None, "k": 10, **more}
    return open_workload(str(files / "base.fvecs"), str(files / "query.fvecs"), **arguments)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine", "l1"])
def test_distances_are_those_of_an_exact_search(rng, metric):
    rows = rng.standard_normal((50, 7)).astype(np.float32)
    rows[3] = 0
    query = rng.standard_normal(7).astype(np.float32)
    found = kith.build("flat", rows, metric=metric).search(query, k=50)
    mine = _evaluate.distances(metric, query, rows)[found.ids]
    sign = -1 if metric == "ip" else 1
    np.testing.assert_allclose(sign * found.distances, mine, rtol=1e-5, atol=1e-6)
    for row in range(5):
        assert _evaluate.distance(metric, query, rows[row]) == pytest.approx(
            _evaluate.distances(metric, query, rows)[row]
        )


@pytest.mark.parametrize("metric", ["hamming", "jaccard"])
def test_distances_of_bits(rng, metric):
    rows = rng.integers(0, 256, (40, 3), dtype=np.uint8)
    rows[2] = 0
    query = rows[5] ^ np.uint8(9)
    found = kith.build("flat", rows, metric=metric).search(query, k=40)
    mine = _evaluate.distances(metric, query, rows)[found.ids]
    np.testing.assert_allclose(found.distances, mine, rtol=1e-6)
    nothing = np.zeros(3, np.uint8)
    assert _evaluate.distance("jaccard", nothing, nothing) == 0.0


def test_recall_counts_rows_that_are_as_near(files):
    computed = workload(files)
    given = workload(files, truth=str(files / "truth.ivecs"))
    np.testing.assert_allclose(computed.within, given.within)
    assert computed.truth_from == "exact search" and given.truth_from.endswith("truth.ivecs")
    ids = kith.read_vectors(files / "truth.ivecs").astype(np.int64)
    assert computed.recall(ids) == (1.0, 0.0)
    twin = np.where((ids >= 40) & (ids < 50), ids + 10, np.where((ids >= 50) & (ids < 60), ids - 10, ids))
    assert computed.recall(twin)[0] == 1.0
    assert computed.recall(ids[:, ::-1])[0] == 1.0
    half = ids.copy()
    half[:, 5:] = -1
    assert computed.recall(half)[0] == pytest.approx(0.5)
    half[:, 5:] = half[:, :1]  # the same row again is not found again
    assert computed.recall(half)[0] == pytest.approx(0.5)
    mixed = ids.copy()
    mixed[::2] = -1
    mean, interval = computed.recall(mixed)
    assert mean == pytest.approx(0.5)
    assert interval == pytest.approx(1.96 * np.std([0, 1] * 20, ddof=1) / math.sqrt(40))
    assert computed.recall(np.full((40, 10), 299))[0] < 0.2


def test_more_neighbours_than_rows(tmp_path, rng):
    rows = rng.standard_normal((4, 3), dtype=np.float32)
    kith.write_vectors(tmp_path / "a.npy", rows)
    small = open_workload(str(tmp_path / "a.npy"), str(tmp_path / "a.npy"), None, None, 10)
    assert small.recall(kith.build("flat", rows).search(rows, k=10).ids)[0] == 1.0


def test_a_file_of_ann_benchmarks_needs_no_other(tmp_path, rng):
    h5py = pytest.importorskip("h5py")
    rows = rng.standard_normal((60, 5), dtype=np.float32)
    near = kith.build("flat", rows, metric="cosine").search(rows[:7], k=10).ids
    with h5py.File(tmp_path / "some-angular.hdf5", "w") as file:
        file["train"], file["test"], file["neighbors"] = rows, rows[:7], near.astype(np.int32)
        file.attrs["distance"] = "angular"
    opened = open_workload(str(tmp_path / "some-angular.hdf5"), None, None, None, 10)
    assert (opened.metric, opened.name) == ("cosine", "some-angular")
    assert opened.truth_from.endswith(":neighbors")
    assert opened.recall(near)[0] == 1.0
    some = open_workload(str(tmp_path / "some-angular.hdf5"), None, None, None, 10, limit=30)
    assert some.truth_from == "exact search" and len(some.base) == 30


def test_rows_are_held_out_where_there_are_no_queries(files):
    base = kith.read_vectors(files / "base.fvecs")
    held = open_workload(str(files / "base.fvecs"), None, None, None, 10)
    assert len(held.queries) == 30 and len(held.base) == 270
    np.testing.assert_array_equal(held.queries, base[::10])
    together = np.concatenate([held.base, held.queries])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(base, axis=0))
    assert len(open_workload(str(files / "base.fvecs"), None, None, None, 10, query_limit=7).queries) == 7
    kith.write_vectors(files / "one.npy", base[:1])
    with pytest.raises(kith.InvalidArgumentError, match="at least 2"):
        open_workload(str(files / "one.npy"), None, None, None, 10)


def test_sweeps(files):
    assert sweep.parse(["ef=10,20", "refine=1.5"]) == {"ef": (10, 20), "refine": (1.5,)}
    assert sweep.parse(None) == {}
    combined = sweep.settings(["ef", "refine", "x"], {"ef": (1, 2), "refine": (3, 4)}, {})
    assert combined == [
        {"ef": 1, "refine": 3}, {"ef": 1, "refine": 4}, {"ef": 2, "refine": 3}, {"ef": 2, "refine": 4},
    ]  # fmt: skip
    assert sweep.settings(["nprobe"], {"nprobe": (1, 4, 100)}, {"nprobe": 16}) == [{"nprobe": 1}, {"nprobe": 4}]
    assert sweep.settings(["nprobe"], {"nprobe": (100,)}, {"nprobe": 16}) == [{"nprobe": 16}]
    assert sweep.settings([], {}, {}) == [{}]
    for bad in ("ef", "ef=", "=3", "ef=1,,2"):
        with pytest.raises(kith.InvalidArgumentError, match="NAME=VALUE"):
            sweep.parse([bad])
    with pytest.raises(kith.InvalidArgumentError, match="twice"):
        sweep.parse(["ef=1", "ef=2"])


def runs(*points):
    return [{"recall": recall, "single_qps": rate, "setting": {"ef": i}} for i, (recall, rate) in enumerate(points)]


def test_fronts_and_rates_between_runs():
    some = runs((0.8, 1000), (0.9, 100), (0.85, 50), (0.99, 10), (0.99, 9), (0.7, 900))
    assert [(run["recall"], run["single_qps"]) for run in report.front(some)] == [(0.8, 1000), (0.9, 100), (0.99, 10)]
    assert report.rate_at(some, 0.9) == pytest.approx(100)
    assert report.rate_at(some, 0.85) == pytest.approx(math.sqrt(1000 * 100))
    assert report.rate_at(some, 0.945) == pytest.approx(math.sqrt(100 * 10))
    assert report.rate_at(some, 0.995) is None
    assert report.rate_at(some, 0.5) == 1000  # nothing is made up beyond what was measured
    assert report.rate_at([], 0.5) is None and report.front([]) == []


class Slow(Contender):
    """Finds what it is told to, and counts what is asked of it."""

    library, version, spec = "slow", "1", "x"

    def __init__(self):
        self.singles = self.batches = 0

    def build(self, base, metric, threads, progress):
        self.rows = bytearray(64 << 20)

    def settings(self, sweeps):
        return [{"ef": 1}, {"ef": 2}]

    def set(self, setting, k, threads):
        self.setting = setting

    def prepare(self, queries):
        return list(range(len(queries)))

    def one(self, prepared):
        self.singles += 1

    def batch(self, queries):
        self.batches += 1
        return np.zeros((len(queries), 10), np.int64)

    def size(self):
        return 123


def test_the_loop_times_what_it_says(files):
    data = workload(files)
    contender = Slow()
    built = measure.build(contender, data, 1)
    assert built.peak_bytes is None or built.peak_bytes > 32 << 20
    advanced = []
    measure.recalls(built, data, {}, 1, lambda: advanced.append(1))
    assert len(advanced) == 2 and [m.setting for m in built.measured] == [{"ef": 1}, {"ef": 2}]
    measure.rounds([built], data, 3, 1, 10, True, True, lambda: None)
    assert contender.singles == 3 * 2 * (measure.WARM_UP + 40)
    assert contender.batches == 2 + 3 * 2
    for measured in built.measured:
        facts = measured.facts()
        assert len(facts["single_rounds"]) == len(facts["batch_rounds"]) == 3
        assert facts["single_qps"] == max(facts["single_rounds"])
        assert len(measured.latencies) == 3 * 40
        assert facts["latency"]["p50"] <= facts["latency"]["p95"] <= facts["latency"]["p99"]
        assert sum(measured.latencies) == pytest.approx(sum(40 / qps for qps in measured.single), rel=1e-6)
    only = Slow()
    built = measure.build(only, data, 1)
    measure.recalls(built, data, {}, 1, lambda: None)
    measure.rounds([built], data, 1, 1, 10, False, True, lambda: None)
    assert only.singles == 0 and built.measured[0].facts()["single_qps"] is None


def bench(files, *more):
    return run(
        "bench", "--base", files / "base.fvecs", "--query", files / "query.fvecs", "--rounds", 1, "--seconds", 0.05, *more
    )  # fmt: skip


def test_bench_writes_what_it_measured_and_goes_on(files):
    path = files / "out.json"
    first = bench(files, "-s", "flat", "-s", "hnsw(m=4)", "--sweep", "ef=10,40", "--json", path)
    assert first.code == 0
    document = json.loads(path.read_text())
    flat, graph = document["contenders"]
    assert flat["name"] == "kith flat" and [r["setting"] for r in graph["runs"]] == [{"ef": 10}, {"ef": 40}]
    assert flat["runs"][0]["recall"] == 1.0 and flat["runs"][0]["distances_per_query"] == 300
    assert graph["runs"][0]["distances_per_query"] < 300
    assert flat["index_bytes"] > 0 and flat["version"] == kith.__version__
    assert document["data"]["rows"] == 300 and document["machine"]["cpu"]
    assert all(run["single_qps"] > 0 and run["batch_qps"] > 0 for run in graph["runs"])
    assert "hnsw(m=4)" in first.out and "at recall 0.95" in first.out
    second = bench(files, "-s", "flat", "-s", "ivf(nlist=4)", "--sweep", "ef=10,40", "--json", path)
    assert second.code == 0
    again = json.loads(path.read_text())
    assert [c["name"] for c in again["contenders"]] == ["kith flat", "kith hnsw(m=4)", "kith ivf(nlist=4)"]
    assert again["contenders"][:2] == document["contenders"]
    other = bench(files, "-s", "flat", "-k", 5, "--sweep", "ef=10,40", "--json", path)
    assert other.code == 2 and "has other results" in other.err
    assert json.loads(path.read_text()) == again


def test_a_document_knows_the_commit_in_kiths_repository_alone(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    monkeypatch.chdir(tmp_path)
    assert record.commit() is None
    git("init")
    (tmp_path / "README").write_text("a")
    git("add", "-A")
    git("commit", "-m", "a")
    assert record.commit() is None  # some other repository
    header = tmp_path / "include" / "kith" / "kith.hpp"
    header.parent.mkdir(parents=True)
    header.write_text("a")
    git("add", "-A")
    git("commit", "-m", "b")
    short = git("rev-parse", "--short", "HEAD")
    assert record.commit() == short
    (tmp_path / "README").write_text("b")
    monkeypatch.chdir(tmp_path / "include")
    assert record.commit() == short
    header.write_text("b")
    assert record.commit() == short + "-dirty"


def test_a_document_notes_who_went_on_with_it(files, monkeypatch):
    path = files / "out.json"
    commits = iter(["aaa", "aaa", "bbb", "bbb", None])
    monkeypatch.setattr(record, "commit", lambda: next(commits))
    ask = ["-s", "flat", "--json", path]
    assert bench(files, *ask).code == 0
    first = json.loads(path.read_text())
    assert first["commit"] == "aaa" and first["command"][0] == "kith" and "continued" not in first
    assert bench(files, *ask).code == 0
    assert json.loads(path.read_text()) == first
    for _ in range(2):
        assert bench(files, *ask).code == 0
    again = json.loads(path.read_text())
    assert again["commit"] == "aaa" and [run["commit"] for run in again["continued"]] == ["bbb"]
    assert bench(files, *ask).code == 0
    last = json.loads(path.read_text())
    assert [run.get("commit") for run in last["continued"]] == ["bbb", None]
    assert last["contenders"] == first["contenders"]


def test_apart_measures_the_same(files):
    path = files / "apart.json"
    sweeps = ["--sweep", "ef=10,40", "--sweep", "nprobe=2"]  # each of another kind
    assert bench(files, "-s", "hnsw(m=4)", "-s", "ivf(nlist=4)", *sweeps, "--apart", "--json", path).code == 0
    graph, lists = json.loads(path.read_text())["contenders"]
    assert [len(graph["runs"]), len(lists["runs"])] == [2, 1]


def test_rows_of_another_type_are_named_as_such(files, rng):
    kith.write_vectors(files / "bytes.u8bin", rng.integers(0, 256, (200, 8), dtype=np.uint8))
    for dtype, name in (("float32", "kith flat"), (None, "kith flat on uint8")):
        path = files / f"{dtype}.json"
        more = ["--dtype", dtype] if dtype else []
        ran = run("bench", "--base", files / "bytes.u8bin", "-s", "flat", "--rounds", 1, "--seconds", 0.05, "--json", path, *more)
        assert ran.code == 0
        assert [c["name"] for c in json.loads(path.read_text())["contenders"]] == [name]
    assert "--dtype must be float32" in bench(files, "--dtype", "complex64").err


def test_bench_refuses(files):
    assert "none of the indexes has that parameter" in bench(files, "-s", "flat", "--sweep", "eff=3").err
    assert "leave nothing to time" in bench(files, "--no-single", "--no-batch").err
    assert "unknown; known: faiss" in bench(files, "--peer", "nobody").err
    assert "k must be at least 1" in bench(files, "-k", 0).err
    missing = run("bench", "--base", files / "base.fvecs", "--truth", files / "truth.ivecs")
    assert missing.code == 2 and "--query" in missing.err
    kith.write_vectors(files / "narrow.fvecs", np.zeros((3, 5), np.float32))
    narrow = run("bench", "--base", files / "base.fvecs", "--query", files / "narrow.fvecs")
    assert narrow.code == 2 and "5 columns, expected 8" in narrow.err
    bad = np.full((40, 10), 300, np.int32)
    kith.write_vectors(files / "bad.ivecs", bad)
    assert "expected rows of 0 .. 299" in bench(files, "--truth", files / "bad.ivecs").err


def test_bench_measures_what_can_be_built(files):
    path = files / "made" / "out.json"
    found = bench(files, "-s", "nothing(m=3)", "-s", "flat", "--json", path)
    assert found.code == 2 and "unknown kind of index 'nothing'" in found.err
    assert [c["spec"] for c in json.loads(path.read_text())["contenders"]] == ["flat"]


def test_sweep_of_a_file(files):
    kith.build("hnsw(m=4)", files / "base.fvecs").save(files / "i.kith")
    swept = run(
        "sweep", files / "i.kith", "--base", files / "base.fvecs", "--query", files / "query.fvecs",
        "--sweep", "ef=10,80", "--rounds", 1, "--seconds", 0.05, "--json",
    )  # fmt: skip
    assert swept.code == 0
    few, many = swept.json["runs"]
    assert few["recall"] <= many["recall"] and few["distances_per_query"] < many["distances_per_query"]
    shown = run(
        "sweep", files / "i.kith", "--base", files / "base.fvecs", "--query", files / "query.fvecs",
        "--sweep", "ef=10", "--rounds", 1, "--seconds", 0.05,
    )  # fmt: skip
    assert "recall@10" in shown.out and "ef=10" in shown.out and "compared" in shown.out


@pytest.mark.parametrize("ending, needs, begins", [
    ("png", "matplotlib", b"\x89PNG"), ("svg", "matplotlib", b"<?xml"), ("html", "plotly", b"<"),
])  # fmt: skip
def test_plots(files, ending, needs, begins):
    pytest.importorskip(needs)
    path = files / "out.json"
    assert bench(files, "-s", "hnsw(m=4)", "-s", "flat", "--json", path).code == 0
    picture = files / f"picture.{ending}"
    assert run("plot", path, "-o", picture).code == 0
    content = picture.read_bytes()
    assert content.lstrip().startswith(begins)
    if ending in ("svg", "html"):
        assert b"hnsw(m=4)" in content and b"recall" in content
    assert run("plot", path, "-o", files / f"batch.{ending}", "--batch").code == 0


def test_plot_refuses(files):
    path = files / "out.json"
    bench(files, "-s", "flat", "--json", path)
    assert "known: .png" in run("plot", path, "-o", files / "a.xyz").err
    (files / "b.json").write_text("{")
    assert run("plot", files / "b.json", "-o", files / "a.png").code == 1
    (files / "c.json").write_text('{"format": 99, "contenders": []}')
    assert "format 1, got 99" in run("plot", files / "c.json", "-o", files / "a.png").err


@pytest.mark.parametrize("library", sorted(PEERS))
@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_peers_find_their_neighbours(rng, library, metric, tmp_path):
    if available(library) is not None:
        pytest.skip(f"{library} is not installed")
    rows = rng.standard_normal((2000, 16), dtype=np.float32)
    kith.write_vectors(tmp_path / "a.npy", rows)
    kith.write_vectors(tmp_path / "q.npy", rows[:60] + np.float32(0.05))
    data = open_workload(str(tmp_path / "a.npy"), str(tmp_path / "q.npy"), None, metric, 10)
    for make in PEERS[library](*data.base.shape):
        contender = make()
        built = measure.build(contender, data, 1)
        measure.recalls(built, data, {}, 1, lambda: None)
        assert max(m.recall for m in built.measured) > 0.9, contender.name
        measure.rounds([built], data, 1, 1, 0.01, True, True, lambda: None)
        facts = record.contender_facts(built)
        assert facts["index_bytes"] > 1000 and facts["version"]
        assert all(run["single_qps"] > 0 for run in facts["runs"])


def test_kith_knows_its_own_parameters(files):
    contender = Kith("ivf(nlist=8)")
    contender.build(kith.read_vectors(files / "base.fvecs"), "l2", 1, None)
    assert "nprobe" in contender.parameters()
    assert [s["nprobe"] for s in contender.settings({})] == [1, 2, 4, 6, 8]
    assert plot.COLOURS and len(set(plot.COLOURS)) == len(plot.COLOURS)
