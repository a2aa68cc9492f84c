# SPDX-License-Identifier: Apache-2.0
"""kith.kmeans: centroids, what is said about them, and rows assigned to them."""

from __future__ import annotations

import copy
import pickle
import signal
import threading
import time

import numpy as np
import pytest

import kith


def groups(rng: np.random.Generator, n: int, d: int, k: int) -> np.ndarray:
    centres = rng.standard_normal((k, d)) * 10
    return (centres[np.arange(n) % k] + rng.standard_normal((n, d))).astype(np.float32)


def squared(rows: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    x, c = rows.astype(np.float64), centroids.astype(np.float64)
    return ((x[:, None] - c[None]) ** 2).sum(2)


def test_groups_are_found(rng):
    rows = groups(rng, 3000, 12, 20)
    made = kith.kmeans(rows, 20, tolerance=0.0, rows_per_cluster=0, seed=3)
    assert isinstance(made, kith.KMeans) and len(made) == 20
    assert made.centroids.shape == (20, 12) and made.centroids.dtype == np.float32
    assert made.converged and made.training_rows == 3000
    assert made.objective.dtype == np.float64 and len(made.objective) == made.iterations
    assert (np.diff(made.objective) <= 1e-6 * made.objective[0]).all()
    assert made.sizes.dtype == np.uint32 and made.sizes.sum() == 3000
    assert made.imbalance == pytest.approx(20 * (made.sizes.astype(float) ** 2).sum() / 3000**2)
    table = squared(rows, made.centroids)
    assert table.min(1).mean() == pytest.approx(made.objective[-1], rel=1e-5)
    np.testing.assert_array_equal(np.bincount(table.argmin(1), minlength=20), made.sizes)
    for c in range(20):  # means of their rows
        np.testing.assert_allclose(
            made.centroids[c], rows[table.argmin(1) == c].mean(0), rtol=1e-4, atol=1e-4
        )
    assert repr(made).startswith("<kith.KMeans 20 centroids of 12 dimensions, objective ")
    assert repr(kith.kmeans(rows, 5, iterations=0)) == "<kith.KMeans 5 centroids of 12 dimensions>"
    assert "after 1 iteration>" in repr(kith.kmeans(rows, 5, iterations=1))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8", "uint8"])
def test_every_dtype_and_layout(rng, dtype):
    kind = pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    rows = rng.integers(0, 100, (600, 9)).astype(kind)
    wanted = kith.kmeans(rows.astype(np.float32), 13)
    wide = np.zeros((600, 20), kind)
    wide[:, 4:13] = rows
    for given in (rows, wide[:, 4:13], np.asfortranarray(rows), rows[::1]):
        made = kith.kmeans(given, 13)
        np.testing.assert_array_equal(made.centroids, wanted.centroids)
        np.testing.assert_array_equal(made.objective, wanted.objective)
        nearest, distances = made.assign(given)
        table = squared(rows.astype(np.float32), made.centroids)
        assert nearest.dtype == np.uint32 and distances.dtype == np.float32
        np.testing.assert_array_equal(nearest, table.argmin(1))
        np.testing.assert_allclose(distances, table.min(1), rtol=1e-5)


def test_one_row_none_and_lists(rng):
    rows = groups(rng, 300, 4, 5)
    made = kith.kmeans(rows, 5)
    nearest, distances = made.assign(rows[7])
    assert nearest.shape == distances.shape == ()
    assert int(nearest) == made.assign(rows)[0][7]
    assert made.assign(rows[:0])[0].shape == (0,)
    assert made.assign([[1.0, 2.0, 3.0, 4.0]])[0].shape == (1,)
    assert len(kith.kmeans([[0, 0], [0, 1], [5, 5], [5, 6]], 2)) == 2


def test_equal_rows_and_ties():
    made = kith.kmeans(np.ones((50, 3), np.float32), 7)
    assert (made.centroids == 1).all() and made.objective[-1] == 0
    nearest, distances = made.assign(np.ones((100, 3), np.float32))
    assert (nearest == 0).all() and (distances == 0).all()


def test_threads_and_seeds(rng):
    rows = groups(rng, 4000, 16, 30)
    for options in ({}, {"spherical": True}, {"hierarchical_from": 10}, {"plus_plus": False}):
        one = kith.kmeans(rows, 40, seed=5, threads=1, **options)
        for threads in (2, 3, None):
            other = kith.kmeans(rows, 40, seed=5, threads=threads, **options)
            np.testing.assert_array_equal(other.centroids, one.centroids)
            np.testing.assert_array_equal(other.objective, one.objective)
        assert (kith.kmeans(rows, 40, seed=6, **options).centroids != one.centroids).any()
        for mine, theirs in zip(one.assign(rows, threads=1), one.assign(rows, threads=3)):
            np.testing.assert_array_equal(mine, theirs)


def test_spherical(rng):
    rows = groups(rng, 2000, 8, 10) * rng.uniform(0.1, 9, (2000, 1)).astype(np.float32)
    made = kith.kmeans(rows, 10, spherical=np.True_, tolerance=0)
    assert made.spherical
    np.testing.assert_allclose(np.linalg.norm(made.centroids, axis=1), 1, rtol=1e-6)
    nearest, distances = made.assign(rows)
    cosine = (rows @ made.centroids.T) / np.linalg.norm(rows, axis=1)[:, None]
    np.testing.assert_array_equal(nearest, cosine.argmax(1))
    np.testing.assert_allclose(distances, 2 - 2 * cosine.max(1), atol=1e-5)


def test_real_data_in_a_file(photos):
    flat = kith.kmeans(photos / "base.u8bin", 200, rows_per_cluster=0)
    split = kith.kmeans(str(photos / "base.u8bin"), 200, rows_per_cluster=0, hierarchical_from=2)
    assert split.objective[-1] < 1.03 * flat.objective[-1]
    sampled = kith.kmeans(photos / "base.u8bin", 50, rows_per_cluster=40)
    assert sampled.training_rows == 2000


def test_not_finite(rng):
    rows = groups(rng, 500, 4, 5)
    rows[17, 2] = np.nan
    with pytest.raises(kith.NotFiniteError, match="row 17"):
        kith.kmeans(rows, 5)
    made = kith.kmeans(rows, 5, not_finite="allow")
    assert made.training_rows == 499 and np.isfinite(made.centroids).all()
    with pytest.raises(kith.NotFiniteError, match="row 17"):
        made.assign(rows)


@pytest.mark.parametrize(
    "arguments, keywords, error, words",
    [
        ((np.zeros((9, 2), np.float32), 10), {}, kith.InvalidArgumentError, "10 rows .* got 9"),
        ((np.zeros((9, 2), np.float32), 0), {}, kith.InvalidArgumentError, "clusters.*0"),
        ((np.zeros((9, 2), np.float32), 2.5), {}, kith.InvalidArgumentError, "clusters.*int"),
        ((np.zeros((9, 2), np.float32), None), {}, kith.TypeMismatchError, "clusters"),
        ((np.zeros((9, 2)), 2), {}, kith.TypeMismatchError, "rows must be .* not float64"),
        ((np.zeros(9, np.float32), 2), {}, kith.DimensionError, r"\(n, d\)"),
        ((np.zeros((9, 0), np.float32), 2), {}, kith.DimensionError, "at least 1 element"),
        (
            (np.zeros((9, 2), np.float32), 2),
            {"tolerance": -1},
            kith.InvalidArgumentError,
            "tolerance",
        ),
        (
            (np.zeros((9, 2), np.float32), 2),
            {"spherical": 3},
            kith.InvalidArgumentError,
            "spherical.*bool",
        ),
        (
            (np.zeros((9, 2), np.float32), 2),
            {"iterations": -1},
            kith.InvalidArgumentError,
            "iterations",
        ),
        ((np.zeros((9, 2), np.float32), 2), {"seed": -1}, kith.InvalidArgumentError, "seed"),
        ((np.zeros((9, 2), np.float32), 2), {"threads": 0}, kith.InvalidArgumentError, "threads"),
        (
            (np.zeros((9, 2), np.float32), 2),
            {"not_finite": 1},
            kith.InvalidArgumentError,
            "not_finite",
        ),
        ((np.zeros((9, 2), np.float32), 2), {"progress": 1}, kith.TypeMismatchError, "progress"),
        (("nowhere.fvecs", 2), {}, kith.FileMissingError, "nowhere"),
    ],
)
def test_refusals(arguments, keywords, error, words):
    with pytest.raises(error, match=words):
        kith.kmeans(*arguments, **keywords)


def test_refused_assignments(rng):
    made = kith.kmeans(groups(rng, 100, 4, 3), 3)
    with pytest.raises(kith.DimensionError, match="4 elements .* got 5"):
        made.assign(np.zeros((3, 5), np.float32))
    with pytest.raises(kith.TypeMismatchError, match="float64"):
        made.assign(np.zeros((3, 4)))
    with pytest.raises(TypeError):
        kith.kmeans(np.zeros((9, 2), np.float32), 2, 20)  # options by name only


def test_copies_and_pickles(rng):
    made = kith.kmeans(groups(rng, 200, 4, 3), 3)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(other.centroids, made.centroids)
        np.testing.assert_array_equal(other.objective, made.objective)
        assert other.converged == made.converged and repr(other) == repr(made)


def test_progress_and_cancelling(rng):
    rows = groups(rng, 3000, 8, 10)
    calls: list[tuple[str, int, int]] = []
    kith.kmeans(rows, 10, progress=lambda *call: calls.append(call))
    assert calls and all(phase == "train" and 0 <= done <= total for phase, done, total in calls)
    assert calls[-1][1] == calls[-1][2]
    with pytest.raises(kith.CancelledError):
        kith.kmeans(rows, 10, progress=lambda *call: False)

    def explode(*call):
        raise RuntimeError("from the callback")

    with pytest.raises(RuntimeError, match="from the callback"):
        kith.kmeans(rows, 10, progress=explode)


def test_ctrl_c_stops_a_training(rng):
    rows = rng.standard_normal((100_000, 64), dtype=np.float32)  # minutes of work
    timer = threading.Timer(0.3, signal.raise_signal, [signal.SIGINT])
    timer.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        kith.kmeans(rows, 4000, iterations=1000, tolerance=0, rows_per_cluster=0, threads=2)
    assert time.monotonic() - start < 10
    timer.join()


def test_the_gil_is_released(rng):
    rows = rng.standard_normal((50_000, 64), dtype=np.float32)
    ticks = 0
    done = threading.Event()

    def train() -> None:
        kith.kmeans(rows, 256, iterations=5, tolerance=0, rows_per_cluster=0, threads=1)
        done.set()

    thread = threading.Thread(target=train)
    thread.start()
    while not done.is_set():
        ticks += 1
        time.sleep(0.0005)
    thread.join()
    assert ticks > 3
