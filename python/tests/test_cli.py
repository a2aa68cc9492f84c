# SPDX-License-Identifier: Apache-2.0
"""The command line, in this process and once in its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kith
from kith.cli import app

typer_testing = pytest.importorskip("typer.testing")


class Ran:
    def __init__(self, result) -> None:
        self.code, self.out, self.err = (
            result.exit_code,
            result.stdout,
            getattr(result, "stderr", ""),
        )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception

    @property
    def json(self) -> dict:
        return json.loads(self.out)


def run(*arguments: object) -> Ran:
    try:
        runner = typer_testing.CliRunner(mix_stderr=False)
    except TypeError:  # newer: always apart
        runner = typer_testing.CliRunner()
    return Ran(
        runner.invoke(
            app,
            [str(a) for a in arguments],
            env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"},
        )
    )


@pytest.fixture
def files(rng, tmp_path) -> Path:
    base = rng.standard_normal((400, 12), dtype=np.float32)
    base[50:60] = base[40:50]  # ties
    queries = base[:20] + np.float32(0.01)
    kith.write_vectors(tmp_path / "base.fvecs", base)
    kith.write_vectors(tmp_path / "queries.fbin", queries)
    truth = kith.build("flat", base).search(queries, k=10).ids
    kith.write_vectors(tmp_path / "truth.ivecs", truth)
    return tmp_path


def test_build_says_what_training_did_and_can_keep_nothing_else(files):
    built = run("build", "ivf_pq(nlist=8,m=4)", files / "base.fvecs", files / "t.kith", "--train-only")
    assert built.code == 0
    for word in ("codec_iterations", "codec_converged", "compression", "codebook_bytes", "train_iterations", "code_bytes"):
        assert word.replace("_", " ") in built.out or word in built.out, built.out
    assert len(kith.load(files / "t.kith")) == 0


def test_build_search_info_verify(files):
    index = files / "x.kith"
    built = run(
        "build", "flat", files / "base.fvecs", index, "--metric", "l2", "--threads", 2, "--seed", 7
    )
    assert built.code == 0 and "flat over l2/f32" in built.out and "400" in built.out
    found = run(
        "search",
        index,
        files / "queries.fbin",
        "-k",
        10,
        "--gt",
        files / "truth.ivecs",
        "--out",
        files / "ids.ivecs",
        "--out-distances",
        files / "d.npy",
        "--threads",
        1,
    )
    assert (
        found.code == 0
        and re.search(r"recall@10\W+1", found.out)
        and "rank" in found.out
        and "nearest" in found.out
    )
    truth = kith.read_vectors(files / "truth.ivecs")
    np.testing.assert_array_equal(kith.read_vectors(files / "ids.ivecs"), truth)
    assert kith.read_vectors(files / "d.npy").shape == (20, 10)
    shown = run("info", index)
    assert shown.code == 0 and "l2" in shown.out and "400" in shown.out
    checked = run("verify", index)
    assert checked.code == 0 and "intact" in checked.out


def test_compact(files):
    index = files / "x.kith"
    made = kith.build("flat", kith.read_vectors(files / "base.fvecs"))
    made.remove(np.arange(100, 200))
    made.save(index)
    wanted = made.search(made.row(5), k=300)
    ran = run("compact", index, "--threads", 1)
    assert ran.code == 0 and "compacted" in ran.out and "300" in ran.out
    facts = run("compact", index, "--out", files / "y.kith", "--json").json
    assert facts["rows"] == 300 and facts["file_bytes"] <= facts["file_bytes_before"]
    for path in (index, files / "y.kith"):
        kith.verify(path)
        assert kith.load(path).search(made.row(5), k=300).ids.tolist() == wanted.ids.tolist()
    assert run("compact", files / "none.kith").code == 2


def test_facts_of_any_shape_are_shown():
    from kith._terminal import fact_text

    assert fact_text(1234567) == "1,234,567" and fact_text(True) == "True"
    assert fact_text(0.123456789) == "0.123457" and fact_text([]) == "none"
    assert fact_text({"layer": 1, "degree": 2.5}) == "layer: 1, degree: 2.5"
    assert fact_text([{"name": "ef", "type": "int"}, "x"]) == "ef, x"
    long = fact_text(list(range(100_000)))
    assert len(long) < 300 and long.startswith("0, 1, 2") and "100,000 in all" in long


def test_json_is_one_object(files):
    index = files / "x.kith"
    built = run("build", "flat", files / "base.fvecs", index, "--json").json
    assert (
        built["rows"] == 400 and built["dim"] == 12 and built["file_bytes"] == index.stat().st_size
    )
    found = run(
        "search",
        index,
        files / "queries.fbin",
        "-k",
        5,
        "--gt",
        files / "truth.ivecs",
        "--json",
        "--limit",
        7,
        "--batch",
        2,
    ).json
    assert found["recall"] == 1.0 and found["queries"] == 7 and found["distances_per_query"] == 400
    assert found["stats"]["distances"] == 2800 and found["queries_per_second"] > 0
    assert run("info", index, "--json").json["metric"] == "l2"
    assert run("verify", index, "--json").json["intact"] is True
    version = run("version", "--json").json
    assert (
        version["version"] == kith.__version__
        and version["instruction_set"] in version["instruction_sets"]
    )
    failed = run("info", files / "none.kith", "--json")
    assert failed.code == 2 and failed.json["error"]["code"] == "not_found"


def test_hdf5_input(files, rng):
    h5py = pytest.importorskip("h5py")
    train, test = rng.random((60, 5), dtype=np.float32), rng.random((6, 5), dtype=np.float32)
    with h5py.File(files / "set.hdf5", "w") as root:
        root["train"], root["test"] = train, test
        root["neighbors"] = (
            kith.build("flat", train, metric="cosine").search(test, 4).ids.astype(np.int32)
        )
    index = files / "h.kith"
    assert run("build", "flat", files / "set.hdf5", index, "-m", "cosine").code == 0
    found = run("search", index, files / "set.hdf5", "-k", 4, "--gt", files / "set.hdf5", "--json")
    assert found.json["recall"] == 1.0 and found.json["queries"] == 6
    assert (
        run("search", index, f"{files / 'set.hdf5'}:train", "-k", 1, "--json").json["queries"] == 60
    )


def test_bits_and_doubles_of_hdf5(files, rng):
    h5py = pytest.importorskip("h5py")
    bits = rng.random((50, 40)) < 0.5
    with h5py.File(files / "bits.hdf5", "w") as root:
        root["train"], root["test"] = bits, bits[:5]
    with h5py.File(files / "doubles.hdf5", "w") as root:
        root["train"] = root["test"] = rng.random((9, 3))
    assert run("build", "flat", files / "bits.hdf5", files / "b.kith", "-m", "hamming").code == 0
    assert (
        run("search", files / "b.kith", files / "bits.hdf5", "--out", files / "b.npy", "-k", 1).code
        == 0
    )
    np.testing.assert_array_equal(kith.read_vectors(files / "b.npy").ravel(), np.arange(5))
    assert run("build", "flat", files / "doubles.hdf5", files / "d.kith").code == 2
    assert (
        run("build", "flat", files / "doubles.hdf5", files / "d.kith", "--dtype", "float32").code
        == 0
    )
    assert run("search", files / "d.kith", files / "doubles.hdf5", "--dtype", "float32").code == 0
    assert (
        run("build", "flat", files / "doubles.hdf5", files / "d.kith", "--dtype", "float8").code
        == 2
    )


@pytest.mark.parametrize("metric", ["l2", "euclidean", "ip", "cosine", "l1", "hamming", "jaccard"])
def test_every_metric_and_the_tie_rule(files, rng, metric):
    base = rng.integers(0, 4, (200, 6), dtype=np.uint8)
    kith.write_vectors(files / "b.u8bin", base)
    index = files / "m.kith"
    assert run("build", "flat", files / "b.u8bin", index, "--metric", metric).code == 0
    result = kith.load(index).search(base[:10], k=200)
    truth = result.ids.copy()
    for i in range(10):  # another order among equals is as good
        for value in np.unique(result.distances[i]):
            same = np.flatnonzero(result.distances[i] == value)
            truth[i, same] = truth[i, same[::-1]]
    kith.write_vectors(files / "t.ibin", truth[:, :10])
    kith.write_vectors(files / "q.bvecs", base[:10])
    found = run("search", index, files / "q.bvecs", "--gt", files / "t.ibin", "--json").json
    assert found["recall"] == 1.0


def test_recall_counts_what_is_missing(files):
    index = files / "x.kith"
    run("build", "flat", files / "base.fvecs", index)
    truth = np.array(kith.read_vectors(files / "truth.ivecs"))
    truth[:5, 0] = (
        truth[:5, 0] + 100
    )  # the nearest row is another one there: what was first is now missed, unless it ties
    kith.write_vectors(files / "w.ivecs", truth)
    got = run(
        "search", index, files / "queries.fbin", "-k", 1, "--gt", files / "w.ivecs", "--json"
    ).json["recall"]
    assert got == 1.0  # the first found is nearer than the claimed one
    truth = np.array(kith.read_vectors(files / "truth.ivecs"))
    mask = np.ones(400, bool)
    mask[truth[:, 0]] = False
    loaded = kith.load(index)
    queries = kith.read_vectors(files / "queries.fbin")
    from kith._evaluate import recall

    assert recall(loaded, queries, loaded.search(queries, 1, filter=mask).ids, truth, 1) == 0.0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["search", "none.kith", "queries.fbin"], 2, "none.kith"),
        (["search", "base.fvecs", "queries.fbin"], 1, "base.fvecs"),
        (["search", "x.kith", "none.fbin"], 2, "none.fbin"),
        (["search", "x.kith", "queries.fbin", "-k", "0"], 2, "k must be at least 1"),
        (["search", "x.kith", "queries.fbin", "--param", "ef=3"], 2, "unknown parameter 'ef'"),
        (["search", "x.kith", "queries.fbin", "--param", "ef"], 2, "NAME=VALUE"),
        (["search", "x.kith", "queries.fbin", "--threads", "0"], 2, "threads"),
        (["search", "x.kith", "narrow.npy"], 2, "expected queries of 12"),
        (["search", "x.kith", "queries.fbin", "--out", "ids.txt"], 2, "cannot write '.txt'"),
        (["search", "x.kith", "queries.fbin", "--gt", "short.npy"], 2, "expected 20"),
        (["build", "flat", "doubles.npy", "y.kith"], 2, "float64"),
        (["build", "flut", "base.fvecs", "y.kith"], 2, "flut"),
        (["build", "flat", "base.fvecs", "y.kith", "--metric", "l9"], 2, "l9"),
        (["build", "flat", "base.fvecs", "no/y.kith"], 2, "no/y.kith"),
        (["build", "flat", "base.fvecs", "folder"], 2, "folder"),
        (["build", "flat", "cut.fvecs", "y.kith"], 1, "cut.fvecs"),
        (["build", "flat", "nan.npy", "y.kith"], 2, "row 1"),
        (["verify", "damaged.kith"], 1, "damaged.kith"),
        (["info", "folder"], 2, "folder"),
        (["frobnicate"], 2, "frobnicate"),
        (["build", "flat"], 2, "Missing argument"),
    ],
)
def test_bad_input_is_one_line(files, monkeypatch, arguments, code, words):
    monkeypatch.chdir(files)
    assert run("build", "flat", "base.fvecs", "x.kith").code == 0
    np.save("doubles.npy", np.zeros((3, 4)))
    np.save("narrow.npy", np.zeros((3, 4), np.float32))
    np.save("short.npy", np.zeros((3, 4), np.int32))
    np.save("nan.npy", np.array([[1, 2], [np.nan, 1]], np.float32))
    Path("folder").mkdir()
    Path("cut.fvecs").write_bytes(Path("base.fvecs").read_bytes()[:-3])
    damaged = bytearray(Path("x.kith").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path("damaged.kith").write_bytes(damaged)
    ran = run(*arguments)
    assert ran.code == code and words in ran.err.replace("\n", " ")
    assert "Traceback" not in ran.err + ran.out
    assert not Path("y.kith").exists()


def test_version_and_help():
    assert run("--version").out.startswith(f"kith {kith.__version__} (")
    assert kith.instruction_set() in run("version").out
    for command in (
        [],
        ["build"],
        ["search"],
        ["info"],
        ["verify"],
        ["compact"],
        ["datasets"],
        ["datasets", "get"],
        ["version"],
    ):
        ran = run(*command, "--help")
        assert ran.code == 0 and "Usage" in ran.out


def test_datasets_refuses_unknown_names(tmp_path):
    ran = run("datasets", "get", "no-such-set", "--dir", tmp_path)
    assert ran.code == 2 and "sift1m" in ran.err.replace("\n", " ")
    listed = run("datasets", "list", "--json").json
    assert {"sift1m", "gist1m", "glove-100", "fashion-mnist"} <= set(listed)


def test_in_its_own_process(files):
    environment = {**os.environ, "COLUMNS": "120"}
    command = [sys.executable, "-m", "kith.cli"]
    subprocess.run(
        [*command, "build", "flat", "base.fvecs", "p.kith"],
        cwd=files,
        env=environment,
        check=True,
        capture_output=True,
    )
    done = subprocess.run(
        [*command, "search", "p.kith", "queries.fbin", "-k", "3", "--json"],
        cwd=files,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout)["queries"] == 20 and done.stderr == ""
    failed = subprocess.run(
        [*command, "verify", "base.fvecs"],
        cwd=files,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert failed.returncode == 1 and failed.stdout == "" and failed.stderr.count("\n") == 1
    assert failed.stderr.startswith("error: ")
