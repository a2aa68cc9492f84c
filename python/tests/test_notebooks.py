# SPDX-License-Identifier: Apache-2.0
"""The notebooks in examples/notebooks run from top to bottom, find what they say they find, and are
committed without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SECONDS_A_CELL = 120

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason=f"no {FOLDER}: a source distribution")

#: Run in the kernel when the last cell has: what a notebook says has to hold. Not how fast.
CHECKS = {
    "choosing_an_index": """
        assert [row[0] for row in table] == specs
        assert all(row[4] > 0.92 for row in table), table
        assert tuning.spec in str(tuning) and points
        assert recall(index.search(queries, k=10, target_recall=0.99)) > 0.95
    """,
    "filters": """
        for share, way, recall, _ in table:
            low, high = (share / 2, share * 2) if way.endswith("k = 10") else (0.95, 1)
            assert low <= recall <= high, (share, way, recall)
        assert few.counts == 2
    """,
    "neighbour_graph": """
        assert same > 0.9
        assert adjusted_rand_score(with_theirs, with_kith) > 0.9
        assert adjusted_rand_score(from_rows, from_kith) > 0.9
        assert places.shape == (len(rows), 2)
    """,
    "recall_sweep": """
        for found in points.values():
            recalls = [point[1] for point in found]
            assert recalls == sorted(recalls) and recalls[-1] > 0.99, recalls
    """,
    "semantic_search": """
        def found(query, **how):
            return index.search(embed([query])[0], **how).ids

        assert "3dchess" in [names[i] for i in found("play chess against the computer", k=10)]
        assert set(sections[found("editor", k=5, filter=sections == "sound")]) == {"sound"}
        assert names[found("similarity search", k=1)[0]] == "kith"
        assert pairs.groups
    """,
}

#: Fewer rows than the notebook's own default, where it would take long on a busy machine.
ROWS = {"choosing_an_index": {"KITH_NOTEBOOK_ROWS": "2000"}}


def execute(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str, **environment: str
) -> None:
    """Runs the notebook in a fresh kernel of this interpreter, with the checks behind its last cell."""
    nbclient = pytest.importorskip(
        "nbclient", reason="nbclient is not installed: it runs notebooks"
    )
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: it reads them")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: it runs their cells")
    for name in ("KITH_NOTEBOOK_ROWS", "KITH_NOTEBOOK_VECTORS", "MPLBACKEND"):
        monkeypatch.delenv(name, raising=False)
    # Settings of whoever runs this are not to matter.
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # on a busy machine many threads wait for each other
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(dedent(check).strip()))
    nbclient.NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    execute(path, tmp_path, monkeypatch, CHECKS[path.stem], **ROWS.get(path.stem, {}))


def test_more_packages_than_the_sample_has(tmp_path, monkeypatch):
    """Where there is apt-cache, its packages are added; elsewhere the sample has to do."""
    check = "assert len(names) == len(sections) == len(set(names)) >= 1501"
    execute(
        FOLDER / "semantic_search.ipynb", tmp_path, monkeypatch, check, KITH_NOTEBOOK_ROWS="2500"
    )


@pytest.mark.parametrize("name", ["recall_sweep", "filters"])
def test_without_the_repository(name, tmp_path, monkeypatch):
    """A notebook that was downloaded alone searches digits."""
    alone = tmp_path / "alone" / f"{name}.ipynb"
    alone.parent.mkdir()
    alone.write_bytes((FOLDER / alone.name).read_bytes())
    execute(alone, tmp_path, monkeypatch, "assert base.shape[1] == 64")


def test_every_notebook_is_checked_and_listed():
    assert {path.stem for path in NOTEBOOKS} == set(CHECKS)
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in listed for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        assert cell.get("outputs", []) == [] and cell.get("execution_count") is None, cell["id"]
    # And nothing about the machine that it was written on.
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
