# SPDX-License-Identifier: Apache-2.0
"""Adapters of other libraries: who takes part, and what those that are installed find."""

from __future__ import annotations

import numpy as np
import pytest

import kith
from kith._bench import measure, record
from kith._bench.peers import CLASSES, PEERS, available, graphs
from kith._bench.peers.base import Peer
from kith._bench.workload import open_workload


def test_every_library_has_an_adapter_that_is_called_alike():
    assert list(CLASSES) == list(PEERS)
    assert all(one.library == name for name, one in CLASSES.items())
    assert all(set(one.metrics) <= {"l2", "ip", "cosine"} for one in CLASSES.values())


def test_who_is_absent_says_why(monkeypatch):
    class Missing(Peer):
        library = package = "no_library_is_called_so"

    class Namesake(Peer):
        library, package, attribute = "json", "numpy", "Vamana"

    class Angular(Peer):
        library, package, metrics = "numpy", "numpy", ("cosine",)

    assert "no_library_is_called_so" in Missing.absent()
    assert Namesake.absent() == "the module json is not that of numpy"
    assert Angular.absent() is None and Angular.absent("cosine") is None
    assert Angular.absent("l2") == "measured for cosine only, not for l2"
    monkeypatch.setitem(CLASSES, "numpy", Angular)
    assert available("numpy", "ip") == "measured for cosine only, not for ip"


def test_a_library_that_fails_to_load_is_absent(tmp_path, monkeypatch):
    (tmp_path / "broken_library.py").write_text("raise RuntimeError('numba needs an older numpy')")
    monkeypatch.syspath_prepend(tmp_path)

    class Broken(Peer):
        library, package = "broken_library", "numpy"

    assert Broken.absent() == "numba needs an older numpy"


@pytest.mark.parametrize("vendor", ["AuthenticAMD", ""])
def test_lvq_is_for_one_make_of_processor(monkeypatch, vendor):
    monkeypatch.setattr(graphs, "_vendor", lambda: vendor)
    reason = available("svs-lvq")
    assert reason is not None
    if available("svs") is None:
        assert f"of {vendor or 'unknown make'}" in reason


def test_files_of_blocks_are_counted_by_what_they_hold(tmp_path):
    class Index:
        def save(self, path):
            with open(path, "wb") as file:
                file.write(bytes(10 * 4096) + b"\1" + bytes(4095) + bytes(10 * 4096) + b"tail")

    peer = object.__new__(graphs.Vsag)
    peer.index = Index()
    assert peer.size() == 4096 + 4


@pytest.mark.parametrize("library", sorted(PEERS))
@pytest.mark.parametrize("metric, threads", [("ip", 1), ("l2", 2), ("cosine", 2)])
def test_peers_find_their_neighbours(rng, library, metric, threads, tmp_path):
    reason = available(library, metric)
    if reason is not None:
        pytest.skip(reason)
    rows = rng.standard_normal((2000, 16), dtype=np.float32)
    kith.write_vectors(tmp_path / "a.npy", rows)
    kith.write_vectors(tmp_path / "q.npy", rows[:60] + np.float32(0.05))
    data = open_workload(str(tmp_path / "a.npy"), str(tmp_path / "q.npy"), None, metric, 10)
    for make in PEERS[library](*data.base.shape):
        contender = make()
        built = measure.build(contender, data, threads)
        measure.recalls(built, data, {}, threads, lambda: None)
        assert max(m.recall for m in built.measured) > 0.9, contender.name
        assert all(set(m.setting) <= contender.parameters() for m in built.measured)
        measure.rounds([built], data, 1, threads, 0.01, True, True, lambda: None)
        facts = record.contender_facts(built)
        assert 2000 * 16 < facts["index_bytes"] < 20_000_000 and facts["version"]
