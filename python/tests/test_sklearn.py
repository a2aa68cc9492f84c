# SPDX-License-Identifier: Apache-2.0
"""The transformer is what scikit-learn takes for one, and finds what scikit-learn's own finds."""

from __future__ import annotations

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn")
from sklearn.cluster import DBSCAN  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.neighbors import KNeighborsTransformer as Theirs  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

from kith.sklearn import METRICS, KNeighborsTransformer  # noqa: E402


@pytest.fixture
def rows(rng):
    return rng.standard_normal((400, 6))


@pytest.mark.parametrize("spec", ["flat", "hnsw(m=8)"])
def test_what_scikit_learn_checks(spec):
    check_estimator(KNeighborsTransformer(spec=spec))


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("mode", ["distance", "connectivity"])
def test_graphs_are_those_of_scikit_learn(rows, metric, mode):
    mine = KNeighborsTransformer(8, mode=mode, metric=metric, spec="flat").fit(rows)
    theirs = Theirs(n_neighbors=8, mode=mode, metric=metric).fit(rows)
    for asked in (rows, rows[:30] + 0.1):
        a, b = mine.transform(asked), theirs.transform(asked)
        assert a.shape == b.shape and a.nnz == b.nnz
        assert abs(a - b).max() < 2e-3  # of float32; a row's distance from itself is a rounding
    own = mine.kneighbors()
    other = theirs.kneighbors()
    np.testing.assert_allclose(own[0], other[0], atol=1e-4)
    assert (own[1] == other[1]).mean() > 0.99
    assert (own[1] != np.arange(400)[:, None]).all()
    graph = mine.kneighbors_graph(n_neighbors=3)
    assert graph.shape == (400, 400) and graph.nnz == 1200 and set(graph.data) == {1.0}


def test_pipelines(rows):
    labels = (rows[:, 0] > 0).astype(int)
    mine = make_pipeline(
        KNeighborsTransformer(10, spec="flat"), KNeighborsClassifier(10, metric="precomputed")
    ).fit(rows, labels)
    theirs = KNeighborsClassifier(10).fit(rows, labels)
    assert (mine.predict(rows[:100] + 0.05) == theirs.predict(rows[:100] + 0.05)).mean() > 0.98
    clusters = make_pipeline(
        KNeighborsTransformer(30, spec="hnsw", search_params={"ef": 100}),
        DBSCAN(eps=0.9, metric="precomputed"),
    ).fit_predict(rows)
    assert len(clusters) == 400


def test_training_rows_are_copied(rows):
    given = np.ascontiguousarray(rows, np.float32)
    fitted = KNeighborsTransformer(spec="flat").fit(given)
    before = fitted.kneighbors(rows[:5])[1]
    given[:] = 0
    np.testing.assert_array_equal(fitted.kneighbors(rows[:5])[1], before)


def test_refusals(rows):
    with pytest.raises(ValueError, match="metric must be one of"):
        KNeighborsTransformer(metric="haversine").fit(rows)
    with pytest.raises(ValueError, match="mode"):
        KNeighborsTransformer(mode="both").fit(rows)
    with pytest.raises(ValueError, match="n_neighbors > 0"):
        KNeighborsTransformer(0).fit(rows)
    with pytest.raises(TypeError, match="integer"):
        KNeighborsTransformer(2.5).fit(rows)
    with pytest.raises(ValueError, match="n_jobs"):
        KNeighborsTransformer(n_jobs=0).fit(rows)
    fitted = KNeighborsTransformer(5, spec="flat", n_jobs=-1).fit(rows)
    with pytest.raises(ValueError, match="n_samples_fit = 399"):
        fitted.kneighbors(n_neighbors=400)
    with pytest.raises(ValueError, match="expecting 6 features"):
        fitted.kneighbors(rows[:, :3])
