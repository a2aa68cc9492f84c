# SPDX-License-Identifier: Apache-2.0
"""docs/benchmarks.md: what its generator says of documents whose figures are known; that it is up to date."""

from __future__ import annotations

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "bench" / "make_benchmarks_page.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not in a source distribution")

Points = list[tuple[float, float, float]]


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_benchmarks_page", SCRIPT)
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    yield made
    del sys.modules[spec.name]


@pytest.fixture
def docs(tmp_path) -> Path:
    (tmp_path / "benchmarks").mkdir()
    return tmp_path


def contender(library: str, spec: str, points: Points, build: float, mib: float) -> dict[str, Any]:
    """points: recall, and queries a second of single queries and of batches."""
    runs = [
        {
            "setting": {"ef": i},
            "recall": recall,
            "single_qps": single,
            "batch_qps": batch,
            "single_rounds": [single * 0.9, single],
            "batch_rounds": [batch],
        }
        for i, (recall, single, batch) in enumerate(points)
    ]
    return {
        "name": f"{library} {spec}",
        "library": library,
        "version": "0.1.0" if library == "kith" else "9.8.7",
        "spec": spec,
        "build_seconds": build,
        "index_bytes": int(mib * 2**20),
        "runs": runs,
    }


def three(rate: float, batch: float) -> Points:
    """A front that halves from recall to recall."""
    return [(0.90, 2 * rate, 2 * batch), (0.95, rate, batch), (0.99, rate / 2, batch / 2)]


def document(contenders: list[dict[str, Any]], name: str = "points", **more: Any) -> dict[str, Any]:
    return {
        "format": 1,
        "date": "2025-03-04T05:06:07+00:00",
        "command": ["kith", "bench", "--base", f"{name}.npy", "--spec", "hnsw(m=16)"],
        "commit": "abc1234",
        "machine": {
            "cpu": "Some CPU",
            "cores": 4,
            "usable_cores": 2,
            "system": "Linux 6",
            "python": "3.11.2",
            "numpy": "2.0.0",
            "kith": "0.1.0",
            "instruction_set": "avx2",
        },
        "data": {
            "name": name,
            "metric": "l2",
            "sha256": "0123456789abcdef" * 4,
            "truth": "exact search",
            "rows": 1_000_000,
            "dim": 128,
            "dtype": "float32",
            "queries": 10_000,
        },
        "k": 10,
        "threads": 1,
        "method": {"rounds": 3, "seconds": 1.0, "single": True, "batch": True, "sweeps": {}},
        "contenders": contenders,
        **more,
    }


def win() -> dict[str, Any]:
    return document([
        contender("faiss", "HNSW16", three(1000, 1000), 60, 300),
        contender("kith", "hnsw(m=16)", three(2500, 3000), 30, 150),
        contender("kith", "ivf(nlist=9)", three(400, 500), 3, 140),
        contender("kith", "flat", [(1.0, 10, 20)], 0, 100),
        contender("faiss", "IVF,Flat", three(300, 400), 4, 200),
    ])  # fmt: skip


def loss() -> dict[str, Any]:
    return document([
        contender("kith", "hnsw(m=16)", three(2000, 1500), 30, 400),
        contender("hnswlib", "M=16", three(4000, 6000), 20, 100),
    ], "lost")  # fmt: skip


def short() -> dict[str, Any]:
    """kith never reaches 0.99."""
    return document([
        contender("kith", "pq(m=8)", [(0.90, 800, 900), (0.96, 400, 500)], 5, 10),
        contender("annoy", "100 trees", [(0.90, 400, 900), (0.99, 100, 90)], 5, 10),
    ], "short")  # fmt: skip


def shorter() -> dict[str, Any]:
    """Nobody reaches 0.99, and kith alone 0.95."""
    return document([
        contender("kith", "pq(m=8)", [(0.90, 800, 900), (0.96, 400, 500)], 5, 10),
        contender("annoy", "100 trees", [(0.90, 400, 900), (0.93, 100, 90)], 5, 10),
    ], "shorter")  # fmt: skip


def put(docs: Path, **documents: dict[str, Any]) -> None:
    for stem, each in documents.items():
        (docs / "benchmarks" / f"{stem}.json").write_text(json.dumps(each))


def page(maker, docs: Path, **documents: dict[str, Any]) -> str:
    put(docs, **documents)
    return maker.page(maker.cases_of(docs / "benchmarks"))


def part(text: str, heading: str, after: str = "") -> list[str]:
    """The lines under a heading, of the section that begins at `after`."""
    text = text[text.index(after) :]
    lines = text[text.index(f"{heading}\n") :].splitlines()[1:]
    end = next((i for i, line in enumerate(lines) if line.startswith(("#", "<a"))), len(lines))
    return [line for line in lines[:end] if line]


AHEAD, BEHIND, REST = (
    "### Where kith is ahead",
    "### Where kith is behind",
    "### No difference, or nothing to compare",
)


def test_tables_are_sorted_and_compare_with_the_best_of_the_others(maker, docs):
    text = page(maker, docs, points=win())
    single = [line for line in part(text, "### One query at a time") if line.startswith("| `")]
    assert single == [
        "| `kith hnsw(m=16)` | 5,000 (2.50) | 2,500 (2.50) | 1,250 (2.50) | 30.0 | 150 |",
        "| `faiss HNSW16` | 2,000 (1.00) | 1,000 (1.00) | 500 (1.00) | 60.0 | 300 |",
        "| `kith ivf(nlist=9)` | 800 (0.40) | 400 (0.40) | 200 (0.40) | 3.00 | 140 |",
        "| `faiss IVF,Flat` | 600 (0.30) | 300 (0.30) | 150 (0.30) | 4.00 | 200 |",
        "| `kith flat` | 10 (0.005) | 10 (0.01) | 10 (0.02) | 0.00 | 100 |",
    ]
    batch = [line for line in part(text, "### Batches") if line.startswith("| `")]
    assert batch[0] == "| `kith hnsw(m=16)` | 6,000 (3.00) | 3,000 (3.00) | 1,500 (3.00) | 30.0 | 150 |"


def test_facts_of_the_measurement(maker, docs):
    text = page(maker, docs, points=win())
    for fact in (
        "| rows | 1,000,000 x 128 dimensions, float32, metric l2 |",
        "| queries | 10,000, k = 10; true neighbours: exact search |",
        "| measured | 2025-03-04 |",
        "| kith | 0.1.0, commit abc1234, kernels for avx2 |",
        "| CPU | Some CPU, 2 of 4 cores usable |",
        "| threads used | 1 to build and in batches, 1 for single queries |",
        "| other libraries | faiss 9.8.7 |",
        "| contenders | 3 of kith, 2 of other libraries |",
        "| rounds differ by | one query at a time 10.0% or more in half of the settings, 10.0% in a tenth |",
        "Measured on 2025-03-04; CPU: Some CPU; commit: abc1234.",
        "kith bench --base points.npy --spec 'hnsw(m=16)'",
        "![points: recall against queries a second, one query at a time](benchmarks/points.svg)",
    ):
        assert fact in text, fact
    assert "hnswlib" in next(line for line in text.splitlines() if line.startswith("| not measured |"))


def test_a_win(maker, docs):
    text = page(maker, docs, points=win())
    rate = "`kith hnsw(m=16)` answers {} queries a second, {} times the {} of `faiss HNSW16`."
    assert part(text, AHEAD) == [
        "- One query at a time, recall 0.90: " + rate.format("5,000", "2.50", "2,000"),
        "- One query at a time, recall 0.95: " + rate.format("2,500", "2.50", "1,000"),
        "- One query at a time, recall 0.99: " + rate.format("1,250", "2.50", "500"),
        "- In batches, recall 0.90: " + rate.format("6,000", "3.00", "2,000"),
        "- In batches, recall 0.95: " + rate.format("3,000", "3.00", "1,000"),
        "- In batches, recall 0.99: " + rate.format("1,500", "3.00", "500"),
        "- Shortest build that reaches recall 0.95: `kith ivf(nlist=9)` 3.00 s, 0.75 times the 4.00 s of "
        "`faiss IVF,Flat`; at that recall they answer 400 and 300 queries a second one query at a time.",
        "- Smallest index that reaches recall 0.95: `kith ivf(nlist=9)` 140 MiB, 0.70 times the 200 MiB of "
        "`faiss IVF,Flat`; at that recall they answer 400 and 300 queries a second one query at a time.",
        "- Build time of the fastest one query at a time at recall 0.95: `kith hnsw(m=16)` 30.0 s, 0.50 "
        "times the 60.0 s of `faiss HNSW16`.",
        "- Memory of the fastest one query at a time at recall 0.95: `kith hnsw(m=16)` 150 MiB, 0.50 times "
        "the 300 MiB of `faiss HNSW16`.",
    ]
    assert part(text, BEHIND) == ["Nowhere in these figures."]
    assert REST not in text
    row = next(line for line in text.splitlines() if line.startswith("| [points]"))
    assert row == (
        "| [points](#data-points) | 1,000,000 x 128, float32, l2 | `hnsw(m=16)` 2,500 | **2.50** "
        "| `hnsw(m=16)` 3,000 | **3.00** | 10 / 0 / 0 |"
    )
    assert '<a id="data-points"></a>' in text


def test_a_loss_is_said_as_plainly(maker, docs):
    text = page(maker, docs, a_win=win(), lost=loss())
    assert part(text, AHEAD, "## lost") == ["Nowhere in these figures."]
    behind = part(text, BEHIND, "## lost")
    assert len(behind) == 10
    assert behind[1] == (
        "- One query at a time, recall 0.95: `kith hnsw(m=16)` answers 2,000 queries a second, 0.50 times "
        "the 4,000 of `hnswlib M=16`."
    )
    assert "0.25 times the 6,000" in behind[4]
    assert "30.0 s, 1.50 times the 20.0 s" in behind[6] and "400 MiB, 4.00 times the 100 MiB" in behind[7]
    row = next(line for line in text.splitlines() if line.startswith("| [lost]"))
    assert "`hnsw(m=16)` 2,000 | **0.50** | `hnsw(m=16)` 1,500 | **0.25** | 0 / 0 / 10 |" in row


def test_what_is_not_reached_and_what_is_equal(maker, docs):
    text = page(maker, docs, short=short())
    assert "| `kith pq(m=8)` | 800 (2.00) | 449 (" in text and " | - | 5.00 | 10.0 |" in text
    assert "Recall 0.99 is not reached by `kith pq(m=8)` (0.960 at most)." in text
    answers = "kith does not reach it (0.960 at most); `annoy 100 trees` answers {} queries a second."
    behind = part(text, BEHIND)
    assert "- One query at a time, recall 0.99: " + answers.format(100) in behind
    assert "- In batches, recall 0.99: " + answers.format(90) in behind
    rest = part(text, REST)
    assert [line.partition(":")[0] for line in rest] == [
        "- In batches, recall 0.90",
        "- Shortest build that reaches recall 0.95",
        "- Smallest index that reaches recall 0.95",
        "- Build time of the fastest one query at a time at recall 0.95",
        "- Memory of the fastest one query at a time at recall 0.95",
    ]
    assert "1.00 times the 900" in rest[0] and "5.00 s, 1.00 times the 5.00 s" in rest[1]
    listed = sum(len(part(text, heading)) for heading in (AHEAD, BEHIND, REST))
    assert listed == 10  # nothing is left out


def test_what_kith_alone_reaches_and_what_nobody_does(maker, docs):
    text = page(maker, docs, shorter=shorter())
    ahead = part(text, AHEAD)
    assert (
        "- One query at a time, recall 0.95: `kith pq(m=8)` answers 449 queries a second; no other library "
        "reaches it (0.930 at most)."
    ) in ahead
    assert (
        "- Smallest index that reaches recall 0.95: `kith pq(m=8)`, 10.0 MiB; no other library has one."
    ) in ahead
    nobody = "{}, recall 0.99: neither kith nor another library reaches it."
    assert [nobody.format("- One query at a time"), nobody.format("- In batches")] == [
        line for line in part(text, REST) if "0.99" in line
    ]
    assert "| `pq(m=8)` 449 | no other | " in text


def test_documents_without_peers_or_a_mode(maker, docs):
    alone = document([contender("kith", "flat", [(1.0, 10, 10)], 0, 1)], commit="abc1234-dirty")
    alone["method"]["batch"] = False
    text = page(maker, docs, alone=alone)
    assert "No other library was measured: there is nothing to compare with." in text
    assert "### Batches" not in text and "-batch.svg" not in text and AHEAD not in text
    assert "| `flat` 10 | no other | not measured |  |  |" in text
    assert "abc1234-dirty (dirty: the sources had changes that are not in the commit)" in text
    only_scan = document([
        contender("kith", "flat", [(1.0, 10, 10)], 0, 1), contender("annoy", "x", three(5, 5), 1, 1),
    ])  # fmt: skip
    text = page(maker, docs, alone=only_scan)
    assert (
        "- Shortest build that reaches recall 0.95: kith has none besides exact scans; `annoy x`, 1.00 s."
    ) in part(text, BEHIND)


def test_documents_that_were_continued_or_are_of_the_same_data(maker, docs):
    more = {"date": "2025-04-01T00:00:00+00:00", "command": ["kith", "bench", "--apart"], "commit": "fff0000"}
    old = document(win()["contenders"], continued=[more])
    del old["commit"]
    text = page(maker, docs, one=old, points=win())
    assert "## points (one)\n" in text and "## points\n" in text
    assert "Continued on 2025-04-01 at commit fff0000:\n\n```sh\nkith bench --apart\n```" in text
    assert "commit not recorded and fff0000, kernels" in text
    assert "| measured | 2025-03-04, 2025-04-01 |" in text
    assert "Measured from 2025-03-04 to 2025-04-01; " in text and "before the next is built" in text


def test_a_long_command_stays_one_command(maker):
    specs = [word for m in range(20) for word in ("--spec", f"hnsw(m={m})")]
    words = ["kith", "bench", "--base", "a b.npy", *specs, "-k", "5"]
    lines = maker.command(words)
    assert lines[:2] == ["kith bench \\", "    --base 'a b.npy' \\"] and lines[-1] == "    -k 5"
    assert shlex.split("\n".join(lines).replace("\\\n", "")) == words


def test_check(maker, docs, capsys):
    check = ["--check", "--docs", str(docs)]
    put(docs, points=win(), lost=loss(), short=short())
    assert maker.main(check) == 1 and not (docs / "benchmarks.md").exists()
    assert "not up to date" in capsys.readouterr().err
    (docs / "benchmarks.md").write_text(maker.page(maker.cases_of(docs / "benchmarks")))
    assert maker.main(check) == 0  # pictures are not looked at
    before = (docs / "benchmarks.md").read_text()
    (docs / "benchmarks.md").write_text(before.replace("2.50", "9.50"))
    assert maker.main(check) == 1
    (docs / "benchmarks.md").write_text(before)
    changed = win()
    changed["contenders"][0]["runs"][1]["single_qps"] *= 2
    put(docs, points=changed)
    assert maker.main(check) == 1
    (docs / "benchmarks" / "points.json").write_text("{")
    assert maker.main(check) == 2
    assert (docs / "benchmarks.md").read_text() == before


def test_one_command_writes_the_page_and_its_pictures(maker, docs):
    pytest.importorskip("matplotlib")
    put(docs, points=win())
    assert maker.main(["--docs", str(docs)]) == 0
    assert maker.main(["--docs", str(docs), "--check"]) == 0
    drawn = {path.name: path.read_bytes() for path in (docs / "benchmarks").glob("*.svg")}
    assert sorted(drawn) == ["points-batch.svg", "points.svg"]
    assert all(b"hnsw(m=16)" in picture for picture in drawn.values())
    assert maker.main(["--docs", str(docs)]) == 0
    assert drawn == {path.name: path.read_bytes() for path in (docs / "benchmarks").glob("*.svg")}


def test_nothing_measured_yet(maker, docs):
    assert maker.main(["--docs", str(docs)]) == 0
    assert maker.main(["--docs", str(docs), "--check"]) == 0
    text = (docs / "benchmarks.md").read_text()
    assert "kith bench" in text and len(text.splitlines()) == 4


def test_the_committed_page_is_up_to_date(maker):
    if not (REPOSITORY / "docs" / "benchmarks.md").exists():
        pytest.skip("no docs/benchmarks.md")
    assert maker.main(["--check"]) == 0, "run python bench/make_benchmarks_page.py"
