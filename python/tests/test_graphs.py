# SPDX-License-Identifier: Apache-2.0
"""Graph indexes: hnsw and vamana over rows, packed neighbourhoods and codes."""

from __future__ import annotations

import numpy as np
import pytest

import kith

N, D, K = 2000, 32, 10

# spec, metric, dtype, least recall@10 with ef=200 of 2000 rows without structure
CASES = [
    ("hnsw(m=12,ef_construction=100)", "l2", np.float32, 0.95),
    ("hnsw(m=12,ef_construction=100)", "l2", np.uint8, 0.95),
    ("hnsw(m=12,ef_construction=100)", "ip", np.float32, 0.9),
    ("hnsw(m=12,ef_construction=100)", "cosine", np.float16, 0.95),
    ("hnsw(m=16,packed=true)", "l2", np.float32, 0.9),
    ("vamana(r=24,l=80)", "l2", np.float32, 0.95),
    ("vamana(r=32,l=80,packed=true)", "cosine", np.float32, 0.9),
    ("vamana(r=32,l=80,packed=true)", "l2", np.uint8, 0.9),
    ("hnsw(m=12) over l2/sq8", None, np.float32, 0.8),
    ("hnsw(m=12) over l2/sq8, refine f32", None, np.float32, 0.95),
    ("vamana(r=24) over cosine/sq8, refine f16", None, np.float16, 0.95),
]
HNSW = "hnsw(m=6,ef_construction=60)"
GRAPHS = [HNSW, "vamana(r=32,l=40,packed=true)", f"{HNSW} over l2/sq8, refine f32"]


def rows_of(rng: np.random.Generator, n: int, dtype: type) -> np.ndarray:
    if dtype is np.uint8:
        return rng.integers(0, 200, (n, D), dtype=np.uint8)
    return rng.standard_normal((n, D)).astype(dtype)


def distances_of(metric: str, base: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Brute force in double precision: smaller is nearer."""
    a, b = queries.astype(np.float64), base.astype(np.float64)
    if metric == "ip":
        return -(a @ b.T)
    if metric == "cosine":
        a /= np.linalg.norm(a, axis=1, keepdims=True)
        b /= np.linalg.norm(b, axis=1, keepdims=True)
        return 1 - a @ b.T
    return ((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2)


def recall(ids: np.ndarray, exact: np.ndarray) -> float:
    """What is as near as the k-th nearest counts."""
    bound = np.sort(exact, axis=1)[:, ids.shape[1] - 1 : ids.shape[1]]
    return float((np.take_along_axis(exact, ids, axis=1) <= bound + 1e-6 * np.abs(bound)).mean())


@pytest.mark.parametrize(("spec", "metric", "dtype", "least"), CASES)
def test_recall(rng, spec, metric, dtype, least):
    base, queries = rows_of(rng, N, dtype), rows_of(rng, 40, dtype)
    index = kith.build(spec, base, metric=metric)
    assert index.kind == spec[: len(index.kind)] and index.dtype == dtype
    exact = distances_of(index.metric, base, queries)
    found = index.search(queries, k=K, ef=200)
    assert found.ids.shape == (40, K) and (found.counts == K).all()
    assert all(len(set(row)) == K for row in found.ids.tolist())
    assert recall(found.ids, exact) >= least
    wide = index.search(queries, k=K, ef=N)
    assert wide.stats.distances > found.stats.distances > 0
    assert recall(wide.ids, exact) >= least
    order = np.diff(found.distances, axis=1) * (-1 if index.metric == "ip" else 1)
    assert (order >= 0).all()
    if "sq8" not in spec or "refine" in spec:
        numbers = np.take_along_axis(exact, found.ids, axis=1) * (-1 if index.metric == "ip" else 1)
        np.testing.assert_allclose(found.distances, numbers, rtol=2e-3, atol=2e-3)
    assert kith.build(index.spec, base).to_bytes() == index.to_bytes()


def test_parameters_of_a_build(rng):
    base = rows_of(rng, 300, np.float32)
    index = kith.build("hnsw", base, m=6, ef_construction=50, keep_pruned=False)
    assert index.spec.startswith("hnsw(m=6,ef_construction=50,")
    assert "keep_pruned=false" in index.spec
    assert index.to_bytes() == kith.build(index.spec, base).to_bytes()
    assert {"m", "ef_construction", "packed"} <= {field["name"] for field in index.build_params()}
    assert {"r", "l", "alpha"} <= {f["name"] for f in kith.build("vamana", base).build_params()}
    with pytest.raises(kith.InvalidArgumentError, match="ef_construction"):
        kith.build("hnsw", base, mm=3)
    with pytest.raises(kith.InvalidArgumentError, match=r"\bm\b"):
        kith.build("hnsw", base, m=1)
    with pytest.raises(kith.InvalidArgumentError, match="32"):
        kith.build("hnsw(m=12,packed=true)", base)
    with pytest.raises(kith.UnsupportedError, match="packed"):
        kith.build("hnsw(m=16,packed=true)", rows_of(rng, 300, np.uint8), metric="hamming")
    assert {"hnsw", "vamana"} <= set(kith.kinds())


def test_parameters_of_a_search(rng):
    base = rows_of(rng, 500, np.float32)
    index = kith.build(HNSW, base)
    assert [field["name"] for field in index.search_params()] == ["ef"]
    assert (index.search(base[:5], k=K, ef=1).counts == K).all()  # at least k are kept
    few, many = index.search(base[0], k=1, ef=10), index.search(base[0], k=1, ef=300)
    assert few.stats.distances < many.stats.distances and few.stats.hops > 0
    with pytest.raises(kith.InvalidArgumentError, match=r"'eff'.*\bef\b"):
        index.search(base[0], k=1, eff=10)
    for wrong in (0, -1, 2**31):
        with pytest.raises(kith.InvalidArgumentError, match="ef"):
            index.search(base[0], k=1, ef=wrong)
    with pytest.raises(kith.Error):
        index.search(base[0], k=1, ef="many")
    refined = kith.build("hnsw over l2/sq8, refine f32", base)
    assert [field["name"] for field in refined.search_params()] == ["ef", "refine"]
    assert refined.search(base[7], k=1, ef=64, refine=3).ids.tolist() == [7]


def test_facts(rng):
    base = rows_of(rng, 1000, np.float32)
    index = kith.build(HNSW, base)
    facts = index.describe()
    layers = facts["layers"]
    assert layers >= 2 and facts["layer_0_nodes"] == 1000
    nodes = [facts[f"layer_{i}_nodes"] for i in range(layers)]
    assert nodes == sorted(nodes, reverse=True) and nodes[-1] >= 1
    assert 1 < facts["layer_0_mean_degree"] <= 12
    assert all(facts[f"layer_{i}_mean_degree"] <= 6 for i in range(1, layers))
    assert facts["reachable"] == 1.0 and facts["vacant_slots"] == 0
    assert index.memory_bytes >= base.nbytes + 1000 * 12 * 4
    index.remove(np.arange(100))
    facts = index.describe()
    assert facts["layer_0_nodes"] == 900 and facts["vacant_slots"] == 100
    assert facts["reachable"] == 1.0
    flat = kith.build("vamana(r=16,l=40)", base).describe()
    assert flat["reachable"] == 1.0 and 1 < flat["mean_degree"] <= 16


@pytest.mark.parametrize("spec", GRAPHS)
def test_the_life_of_a_graph(rng, spec):
    base = rows_of(rng, 600, np.float32)
    original = base.copy()
    index = kith.build(spec, base, ids=np.arange(600) * 2)
    extra = rows_of(rng, 30, np.float32)
    index.add(extra[:20], ids=np.arange(20) * 2 + 1, threads=2)
    index.add(extra[20:])
    assert len(index) == 630 and 1198 + 10 in index
    index.remove(np.arange(100, 200) * 2, threads=2)
    index.remove(0)
    assert len(index) == 529 and 0 not in index
    rows = {2 * i: original[i] for i in range(1, 600) if not 100 <= i < 200}
    rows.update({2 * i + 1: extra[i] for i in range(20)})
    rows.update({1199 + i: extra[20 + i] for i in range(10)})
    assert sorted(index.ids().tolist()) == sorted(rows)
    replaced = rows_of(rng, 2, np.float32)
    index.add(replaced, ids=[4, 5000])
    rows.update({4: replaced[0], 5000: replaced[1]})
    np.testing.assert_array_equal(base, original)  # the caller's array is never written
    for compacted in (False, True):
        if compacted:
            index.compact(threads=2)
            assert index.describe()["vacant_slots"] == 0
        assert len(index) == len(rows)
        for id in (2, 4, 5000, 39, 1208, 1198):
            np.testing.assert_array_equal(index.row(id), rows[id])
            assert index.search(rows[id], k=1, ef=100).ids.tolist() == [id]
        assert index.describe()["reachable"] == 1.0
        given = list(index.iterate(original[0]))
        assert sorted(id for id, _ in given) == sorted(rows)
        assert set(index.search(base[0], k=len(rows)).ids.tolist()) == set(rows)
    with pytest.raises(kith.AlreadyExistsError, match="7000"):
        index.add(replaced, ids=[7000, 7000])
    with pytest.raises(kith.NotFoundError, match="12345"):
        index.remove([4, 12345])
    assert 4 in index
    index.remove(index.ids())
    assert len(index) == 0 and index.search(base[0], k=3).ids.tolist() == []
    index.add(extra[:5])
    assert len(index.search(extra[0], k=10).ids) == 5


@pytest.mark.parametrize("spec", GRAPHS)
def test_filters(rng, spec):
    base, queries = rows_of(rng, N, np.float32), rows_of(rng, 20, np.float32)
    index = kith.build(spec, base)
    exact = distances_of("l2", base, queries)
    for share in (0.5, 0.1, 0.004):
        mask = rng.random(N) < share
        mask[17] = True
        found = index.search(queries, k=K, filter=mask, ef=200)
        eligible = int(mask.sum())
        assert (found.counts == min(K, eligible)).all()
        got = found.ids[:, : min(K, eligible)]
        assert mask[got].all()
        assert recall(got, np.where(mask, exact, np.inf)) >= 0.9
    found = index.search(queries, k=K, filter=[3, 1999, 99999])
    assert (found.counts == 2).all() and set(found.ids[:, :2].ravel().tolist()) == {3, 1999}
    assert (index.search(queries, k=K, filter=np.array([], np.int64)).counts == 0).all()
    index.remove(np.arange(0, N, 2))
    found = index.search(queries, k=K, filter=range(10, 20))
    assert (found.counts == 5).all() and set(found.ids[0, :5].tolist()) == {11, 13, 15, 17, 19}
    assert {id for id, _ in index.iterate(queries[0], filter=[10, 11, 12, 13])} == {11, 13}


def test_ranges(rng):
    base = rows_of(rng, N, np.float32)
    exact = distances_of("l2", base, base[:10])
    radius = float(np.sort(exact, axis=1)[:, 30].max())
    for spec in (HNSW, "vamana(r=32,packed=true)"):
        result = kith.build(spec, base).range_search(base[:10], radius, ef=400)
        wanted = found = 0
        for i in range(10):
            ids, distances = result[i]
            inside = set(np.flatnonzero(exact[i] <= radius).tolist())
            assert (distances <= radius * (1 + 1e-5)).all()
            wanted += len(inside)
            found += len(inside & set(ids.tolist()))
        assert found >= 0.9 * wanted > 0


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("spec", [*GRAPHS, "hnsw over l2/sq8"])
def test_files(rng, tmp_path, spec, mmap):
    base = rows_of(rng, 500, np.float32)
    index = kith.build(spec, base, ids=np.arange(500) + 10)
    index.remove([10, 20, 30])
    path = tmp_path / "a graph.kith"
    index.save(path)
    kith.verify(path)
    loaded = kith.load(path, mmap=mmap, verify=True)
    assert loaded.spec == index.spec and len(loaded) == 497
    assert loaded.to_bytes() == index.to_bytes()
    wanted, got = index.search(base[:20], k=5), loaded.search(base[:20], k=5)
    np.testing.assert_array_equal(got.ids, wanted.ids)
    np.testing.assert_array_equal(got.distances, wanted.distances)
    before = path.read_bytes()
    loaded.add(base[:1], ids=[20])
    loaded.remove(11)
    assert loaded.search(base[0], k=1, ef=100).ids.tolist() == [20] and 11 not in loaded
    loaded.compact()
    assert len(loaded) == 497 and path.read_bytes() == before
    good = bytearray(before)
    for at in range(0, len(good), 4999):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        with pytest.raises(kith.Error):
            kith.verify(path)


def test_same_bytes_for_any_number_of_threads(rng):
    base = rows_of(rng, 1500, np.float32)
    for spec in (HNSW, "vamana(r=32,l=40,packed=true)"):
        one, two, five = (kith.build(spec, base, seed=9, threads=t).to_bytes() for t in (1, 2, 5))
        assert one == two == five
        assert one != kith.build(spec, base, seed=10).to_bytes()


def test_a_build_can_be_watched_and_stopped(rng):
    base = rows_of(rng, N, np.float32)
    calls = []
    kith.build(HNSW, base, progress=lambda *call: calls.append(call))
    linked = [done for phase, done, _ in calls if phase == "link"]
    assert linked == sorted(linked) and linked[-1] == N and len(linked) >= 2
    for spec in (HNSW, "vamana(r=32,packed=true)", "hnsw over l2/sq8, refine f32"):
        with pytest.raises(kith.CancelledError) as caught:
            kith.build(spec, base, progress=lambda phase, done, total: done < total // 4)
        assert caught.value.code == "cancelled"
    index = kith.build(HNSW, base[:1000])
    before = index.search(base[:20], k=5, ef=1000)
    with pytest.raises(kith.CancelledError):
        index.add(base[1000:], progress=lambda *_: False)
    assert len(index) == 1000 and 1000 not in index
    after = index.search(base[:20], k=5, ef=1000)
    np.testing.assert_array_equal(after.ids, before.ids)
    index.add(base[1000:])
    assert index.search(base[1500], k=1, ef=100).ids.tolist() == [1500]


def test_the_command_line(rng, tmp_path):
    pytest.importorskip("typer.testing")
    from test_cli import run

    base = rows_of(rng, 800, np.float32)
    kith.write_vectors(tmp_path / "base.fvecs", base)
    kith.write_vectors(tmp_path / "queries.fvecs", base[:30])
    truth = kith.build("flat", base).search(base[:30], k=5).ids
    kith.write_vectors(tmp_path / "truth.ivecs", truth)
    path = tmp_path / "x.kith"
    base_file = tmp_path / "base.fvecs"
    built = run("build", "hnsw(m=8)", base_file, path, "-p", "ef_construction=50", "--json")
    assert built.code == 0 and built.json["rows"] == 800
    assert built.json["spec"].startswith("hnsw(m=8,ef_construction=50,")
    facts = run("info", path, "--json").json
    assert facts["kind"] == "hnsw" and facts["layer_0_nodes"] == 800 and facts["reachable"] == 1.0
    assert [field["name"] for field in facts["search_params"]] == ["ef"]
    shown = run("info", path)
    assert shown.code == 0 and "layer 0 nodes" in shown.out and "reachable" in shown.out
    search = ("search", path, tmp_path / "queries.fvecs", "-k", 5, "--gt", tmp_path / "truth.ivecs")
    found = run(*search, "-p", "ef=300", "--json").json
    assert found["recall"] >= 0.95 and 0 < found["distances_per_query"] < 800
    failed = run(*search, "-p", "eff=300")
    assert failed.code == 2 and "ef" in failed.err
    assert run("verify", path).code == 0
    index = kith.load(path)
    index.remove(np.arange(300))
    index.save(path)
    before = path.stat().st_size
    compacted = run("compact", path, "--json").json
    assert compacted["rows"] == 500 and path.stat().st_size < before
    assert kith.load(path).describe()["vacant_slots"] == 0
