# SPDX-License-Identifier: Apache-2.0
"""The files for ann-benchmarks and big-ann-benchmarks, called as their runners call them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import kith

ADAPTERS = Path(__file__).resolve().parents[2] / "bench" / "adapters"
yaml = pytest.importorskip("yaml")
pytestmark = pytest.mark.skipif(not ADAPTERS.exists(), reason="not in a source distribution")


def module(monkeypatch, name: str, **attributes) -> types.ModuleType:
    """A module, and the packages it is in, that the benchmark would have."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        at = ".".join(parts[:end])
        if at not in sys.modules:
            made = types.ModuleType(at)
            made.__path__ = []
            monkeypatch.setitem(sys.modules, at, made)
    sys.modules[name].__dict__.update(attributes)
    return sys.modules[name]


def loaded(monkeypatch, name: str, path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    made = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, made)
    spec.loader.exec_module(made)
    return made


class BaseANN:
    def done(self):
        pass

    def get_memory_usage(self):
        return 1.0

    def get_additional(self):
        return {}

    def get_results(self):
        return self.res

    def __str__(self):
        return self.name


@pytest.fixture
def ann(monkeypatch):
    module(monkeypatch, "ann_benchmarks.algorithms.base.module", BaseANN=BaseANN)
    module(monkeypatch, "ann_benchmarks.algorithms.kith")
    name = "ann_benchmarks.algorithms.kith.module"
    return loaded(monkeypatch, name, ADAPTERS / "ann_benchmarks" / "module.py")


def groups(kind: str, metric: str):
    config = yaml.safe_load((ADAPTERS / "ann_benchmarks" / "config.yml").read_text())
    (entry,) = config[kind][metric]
    assert entry["module"] == "ann_benchmarks.algorithms.kith"
    return entry["constructor"], entry["base_args"], entry["run_groups"]


def product(args: list) -> list[tuple]:
    """As the runner does it: lists are alternatives, everything else is what it is."""
    return list(itertools.product(*[arg if isinstance(arg, list) else [arg] for arg in args]))


@pytest.mark.parametrize("metric", ["euclidean", "angular"])
def test_every_configuration_of_ann_benchmarks(ann, rng, metric):
    constructor, base_args, run_groups = groups("float", "any")
    assert base_args == ["@metric"]
    rows = rng.standard_normal((600, 12))  # doubles, as its files may hold
    queries = rows[:5] + 0.001
    for group in run_groups.values():
        for args in product(group["args"]):
            algorithm = getattr(ann, constructor)(metric, *args)
            algorithm.fit(rows)
            assert algorithm.get_memory_usage() > 0
            settings = product(group.get("query_args", []))
            for values in (settings[0], settings[-1]):
                algorithm.set_query_arguments(*values)
                assert str(algorithm).startswith(f"kith {args[0]}")
                for i, query in enumerate(queries):
                    found = algorithm.query(query, 10)
                    assert len(found) == 10 == len(set(found))
                    assert int(found[0]) == i or values[:1] == (1,)
                algorithm.batch_query(queries, 10)
                assert [len(set(ids)) for ids in algorithm.get_batch_results()] == [10] * 5
            algorithm.done()


def test_bits_of_ann_benchmarks(ann, rng):
    constructor, _, run_groups = groups("bit", "hamming")
    rows = rng.integers(0, 2, (400, 64)).astype(np.bool_)
    for group in run_groups.values():
        for args in product(group["args"]):
            algorithm = getattr(ann, constructor)("hamming", *args)
            algorithm.fit(rows)
            algorithm.set_query_arguments(80)
            assert [int(algorithm.query(row, 3)[0]) for row in rows[:4]] == [0, 1, 2, 3]
    with pytest.raises(NotImplementedError, match="chebyshev"):
        ann.Kith("chebyshev", "flat")


@pytest.fixture
def big(monkeypatch, rng, tmp_path):
    monkeypatch.chdir(tmp_path)
    sparse = pytest.importorskip("scipy.sparse")
    rows = rng.standard_normal((800, 16), dtype=np.float32)
    tags = sparse.csr_matrix(rng.random((800, 6)) < 0.4)

    class Data:
        def get_dataset(self):
            return rows

        def get_dataset_metadata(self):
            return tags

        def short_name(self):
            return "small"

    module(monkeypatch, "benchmark.algorithms.base", BaseANN=BaseANN)
    module(monkeypatch, "benchmark.datasets", DATASETS={"text2image-10M": Data, "yfcc-10M": Data})
    return loaded(monkeypatch, "kith_index", ADAPTERS / "big_ann_benchmarks" / "kith_index.py"), rows, tags


def test_every_configuration_of_big_ann_benchmarks(big):
    adapter, rows, tags = big
    config = yaml.safe_load((ADAPTERS / "big_ann_benchmarks" / "config.yaml").read_text())
    for dataset, metric in (("text2image-10M", "ip"), ("yfcc-10M", "euclidean")):
        entry = config[dataset]["kith"]
        for group in entry["run-groups"].values():
            for arguments in json.loads(group["args"]):
                algorithm = getattr(adapter, entry["constructor"])(metric, arguments)
                assert algorithm.load_index(dataset) is False
                algorithm.fit(dataset)
                again = getattr(adapter, entry["constructor"])(metric, arguments)
                assert again.load_index(dataset) is True
                folder, prefix, files = algorithm.index_files_to_store(dataset)
                assert (Path(folder) / (prefix + files[0])).exists()
                for setting in json.loads(group["query-args"]):
                    again.set_query_arguments(setting)
                    again.query(rows[:6], 5)
                    assert again.get_results().shape == (6, 5)
                    assert again.get_additional()["dist_comps"] > 0
                    if entry["constructor"] == "KithFilter":
                        again.filtered_query(rows[:6], tags[:6], 5)
                        for query, ids in enumerate(again.get_results()):
                            asked = tags[query].indices
                            for found in ids[ids >= 0]:
                                assert set(asked) <= set(tags[found].indices)
                            assert query in ids  # it has its own tags, and is nearest to itself
                        assert again.track() == "filter"
    index = adapter.Kith("euclidean", {"spec": "flat"})
    index.fit("text2image-10M")
    index.range_query(rows[:3], 4.0)
    lims, distances, ids = index.get_results()
    assert len(lims) == 4 and len(distances) == len(ids) == lims[-1] >= 3
    assert kith.__version__
