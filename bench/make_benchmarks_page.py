#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/benchmarks.md and its pictures from what `kith bench --json` left in docs/benchmarks/.

    pip install './python[plot]'
    python bench/make_benchmarks_page.py            # the page, and NAME.svg, NAME-batch.svg of each NAME.json
    python bench/make_benchmarks_page.py --check    # writes nothing; exits with 1 if the page would change

The page depends on the documents, and on the names of the libraries that kith bench knows. Pictures are not
compared: another version of matplotlib draws other bytes.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Optional
from urllib.parse import quote

import kith
from kith._bench import plot, record
from kith._bench.peers import PEERS
from kith._bench.report import RECALLS, rate_at

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where this is loaded by its path
from benchmark_findings import (  # noqa: E402
    AHEAD,
    AT,
    BATCH,
    BEHIND,
    BUILD,
    LEVEL,
    MEMORY,
    OPEN,
    SINGLE,
    Case,
    Contender,
    Mode,
    amount,
    code,
    counted,
    fastest,
    findings,
    highest,
    listed,
    table,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, FOLDER = "benchmarks.md", "benchmarks"


def origins(document: dict[str, Any]) -> list[dict[str, Any]]:
    """When, by which command and at which commit: the first run, and those that went on with it."""
    return [document, *document.get("continued", [])]


def day(origin: dict[str, Any]) -> str:
    return origin["date"][:10]


def command(words: list[str]) -> list[str]:
    """As it was given, an option a line where it is long."""
    parts = [shlex.quote(word) for word in words]
    whole = " ".join(parts)
    if len(whole) <= 110:
        return [whole]
    lines: list[str] = []
    for word, part in zip(words, parts):
        if not lines or re.match("--?[a-z]", word):
            lines.append(part)
        else:
            lines[-1] += f" {part}"
    return " \\\n    ".join(lines).split("\n")


def spread(case: Case) -> Optional[str]:
    """How far the rounds of one setting are apart: what a ratio near 1 is worth."""
    texts = []
    runs = [run for contender in case.contenders for run in contender["runs"]]
    for mode in case.modes:
        rounds = [run.get(mode.rate.replace("qps", "rounds")) or [] for run in runs]
        apart = sorted((max(each) - min(each)) / max(each) for each in rounds if len(each) > 1)
        if apart:
            half, tenth = statistics.median(apart), apart[len(apart) * 9 // 10]
            texts.append(f"{mode.called} {half:.1%} or more in half of the settings, {tenth:.1%} in a tenth")
    return "; ".join(texts) or None


def method(case: Case) -> str:
    """Two sentences."""
    document = case.document
    given, rounds = document["method"], document["method"]["rounds"]
    apart = any("--apart" in origin["command"] for origin in origins(document))
    timed = {
        SINGLE: f"one query after the other from one thread for at most {given['seconds']:g} s",
        BATCH: f"all queries in one call with {case.threads}",
    }
    what = listed([timed[mode] for mode in case.modes])
    order = (
        f"Each contender is built and then timed for {counted(rounds, 'round')} before the next is built"
        if apart
        else f"All contenders of a command are built, then take turns for {counted(rounds, 'round')}"
    )
    k = document["k"]
    return (
        f"{order}; a round times every setting, {what}, and the best round counts. "
        f"Recall@{k} is the share of the {k} nearest that is found, counted from distances computed anew; "
        "the rate at a recall is read between the two settings next to it on the front of recall and rate, "
        "the logarithm of the rate taken to be linear in recall."
    )


def facts(case: Case) -> list[list[str]]:
    document = case.document
    data, machine, begun = document["data"], document["machine"], origins(document)
    peers = sorted({f"{c['library']} {c['version']}" for c in case.others})
    absent = sorted(set(PEERS) - {c["library"] for c in case.others})
    commits = list(dict.fromkeys(origin.get("commit", "not recorded") for origin in begun))
    truth = data["truth"] if data["truth"] == "exact search" else code(data["truth"])
    rows = [
        ["rows", f"{data['rows']:,} x {data['dim']} dimensions, {data['dtype']}, metric {data['metric']}"],
        ["queries", f"{data['queries']:,}, k = {document['k']}; true neighbours: {truth}"],
        ["measured", ", ".join(dict.fromkeys(map(day, begun)))],
        ["kith", f"{machine['kith']}, commit {listed(commits)}, kernels for {machine['instruction_set']}"],
        ["CPU", f"{machine['cpu']}, {machine['usable_cores']} of {counted(machine['cores'], 'core')} usable"],
        ["threads used", f"{document['threads']} to build and in batches, 1 for single queries"],
        ["software", f"{machine['system']}, Python {machine['python']}, NumPy {machine['numpy']}"],
        ["other libraries", ", ".join(peers) or "none"],
        ["not measured", ", ".join(absent) or "none of those that kith bench knows"],
        ["contenders", f"{len(case.kith)} of kith, {len(case.others)} of other libraries"],
    ]
    apart = spread(case)
    if apart:
        rows.append(["rounds differ by", apart])
    link = f"[{case.stem}.json]({FOLDER}/{quote(case.stem)}.json)"
    rows.append(["document", f"{link}; sha256 of rows and queries: {data['sha256'][:16]}..."])
    return rows


def rates_table(case: Case, mode: Mode) -> list[str]:
    def order(row: tuple[Contender, list[Optional[float]]]) -> tuple[float, float, str]:
        contender, rates = row
        return -(rates[RECALLS.index(AT)] or 0.0), -highest(contender), contender["name"]

    rows = [(c, [rate_at(c["runs"], recall, mode.rate) for recall in RECALLS]) for c in case.contenders]
    best = [fastest(case.others, recall, mode) for recall in RECALLS]
    cells = []
    for contender, rates in sorted(rows, key=order):
        shown = []
        for rate, other in zip(rates, best):
            ratio = f" ({amount(rate / other[1])})" if rate and other else ""
            shown.append("-" if rate is None else f"{rate:,.0f}{ratio}")
        costs = [amount(contender[cost.key] / cost.per) for cost in (BUILD, MEMORY)]
        cells.append([code(contender["name"]), *shown, *costs])
    return table(["contender", *(f"at {recall:.2f}" for recall in RECALLS), "build, s", "MiB"], cells)


def unreached(case: Case) -> list[str]:
    """Who is missing from the tables, and how far they got."""
    lines = []
    for recall in RECALLS:
        short = [c for c in case.contenders if highest(c) < recall]
        names = [f"{code(c['name'])} ({highest(c):.3f} at most)" for c in short]
        if names:
            lines.append(f"Recall {recall:.2f} is not reached by {listed(names)}.")
    return lines


def section(case: Case) -> Iterator[str]:
    document = case.document
    yield from (f'<a id="{anchor(case)}"></a>', "", f"## {case.title}", "")
    yield from (*table(["", ""], facts(case), left=2), "")
    for i, origin in enumerate(origins(document)):
        if i:
            at = f" at commit {origin['commit']}" if "commit" in origin else ""
            yield from (f"Continued on {day(origin)}{at}:", "")
        yield from ("```sh", *command(origin["command"]), "```", "")
    yield from (method(case), "")
    for mode in case.modes:
        yield from (f"### {mode.heading}", "")
        times = "; in parentheses, times the best of the other libraries" if case.others else ""
        yield from (f"Queries a second at recall@{document['k']}, {case.mode_called(mode)}{times}.", "")
        yield from (*rates_table(case, mode), "")
    missing = unreached(case)
    if missing:
        yield from (" ".join(missing), "")
    for mode in case.modes:
        alt = f"{case.title}: recall against queries a second, {mode.called}"
        yield from (f"![{alt}]({FOLDER}/{quote(picture(case, mode))})", "")
    found = findings(case)
    if not found:
        yield from ("No other library was measured: there is nothing to compare with.", "")
        return
    for side, heading in ((AHEAD, "Where kith is ahead"), (BEHIND, "Where kith is behind")):
        yield from (f"### {heading}", "")
        lines = [f"- {each.text}" for each in found if each.side == side]
        yield from (*(lines or ["Nowhere in these figures."]), "")
    rest = [f"- {each.text}" for each in found if each.side in (LEVEL, OPEN)]
    if rest:
        yield from ("### No difference, or nothing to compare", "", *rest, "")


def anchor(case: Case) -> str:
    return "data-" + re.sub(r"[^a-z0-9]+", "-", case.stem.lower()).strip("-")


def picture(case: Case, mode: Mode) -> str:
    return f"{case.stem}.svg" if mode is case.modes[0] else f"{case.stem}-batch.svg"


def summary(cases: list[Case]) -> list[str]:
    rows = []
    for case in cases:
        data = case.document["data"]
        size = f"{data['rows']:,} x {data['dim']}, {data['dtype']}, {data['metric']}"
        row = [f"[{case.title}](#{anchor(case)})", size]
        for mode in (SINGLE, BATCH):
            mine, other = (fastest(c, AT, mode) for c in (case.kith, case.others))
            if mode not in case.modes:
                row += ["not measured", ""]
            elif mine is None:
                row += [f"kith does not reach {AT}", ""]
            else:
                row.append(f"{code(mine[0]['name'].removeprefix('kith '))} {mine[1]:,.0f}")
                row.append(f"**{amount(mine[1] / other[1])}**" if other else "no other")
        sides = [each.side for each in findings(case)]
        row.append(" / ".join(str(sides.count(side)) for side in (AHEAD, LEVEL, BEHIND)) if sides else "")
        rows.append(row)
    times = "times the best other"
    head = ["data set", "rows", "one query at a time", times, "batches", times, "ahead / level / behind"]
    return table(head, rows, left=2)


def where_and_when(cases: list[Case]) -> str:
    """One sentence over all documents."""

    def all_of(get: Callable[[Case, dict[str, Any]], str]) -> list[str]:
        return sorted({get(case, origin) for case in cases for origin in origins(case.document)})

    days = all_of(lambda case, origin: day(origin))
    cpus = all_of(lambda case, origin: case.document["machine"]["cpu"])
    commits = all_of(lambda case, origin: origin.get("commit", "not recorded"))
    when = days[0] if len(days) == 1 else f"from {days[0]} to {days[-1]}"
    dirty = any(at.endswith("-dirty") for at in commits)
    return (
        f"Measured {'on ' if len(days) == 1 else ''}{when}; CPU: {listed(cpus)}; "
        f"commit{'' if len(commits) == 1 else 's'}: {listed(commits)}"
        f"{' (dirty: the sources had changes that are not in the commit)' if dirty else ''}."
    )


def page(cases: list[Case]) -> str:
    lines = ["<!-- Written by bench/make_benchmarks_page.py. Do not edit. -->", "# Benchmarks", ""]
    if not cases:
        lines.append(
            "Nothing is measured yet: make documents with `kith bench --base FILE --spec SPEC --peers --json "
            "docs/benchmarks/NAME.json`, then this page with `python bench/make_benchmarks_page.py`."
        )
        return "\n".join(lines) + "\n"
    lines += [
        f"Written by `python bench/make_benchmarks_page.py` from the documents in [{FOLDER}/]({FOLDER}), "
        "which `kith bench --json` made; [how it measures](PYTHON.md#measuring).",
        where_and_when(cases),
        "",
        f"The fastest of kith at recall {AT:.2f}, its queries a second, and how many times the rate of the "
        "fastest of the other libraries that is: below 1, kith is slower. The last column counts the "
        "comparisons that are listed under each data set: rates at three recalls, build time and memory.",
        "",
        *summary(cases),
        "",
        "How to read the tables. An index whose settings all exceed a recall has there the rate of its "
        "fastest setting; `-` is a recall that no setting reaches. MiB are those of the index, rows among "
        "them. kith is given the rows as they are, which its name then says (`on uint8`), other libraries "
        "float32. Each line of the lists compares the best of each side, and kith may take part with more "
        "indexes than the others. Exact scans are not among the shortest builds and smallest indexes: they "
        "build nothing. A ratio of times or of memory below 1 is less than the others', and better. A ratio "
        "that is shown as 1.00 is neither ahead nor behind.",
        "",
    ]
    for case in cases:
        lines += section(case)
    return "\n".join(lines).rstrip("\n") + "\n"


def cases_of(folder: Path) -> list[Case]:
    """In the order of their files' names."""
    read = {path.stem: record.read(path) for path in sorted(folder.glob("*.json"))}
    names = [document["data"]["name"] for document in read.values()]
    return [
        Case(stem, document, name if names.count(name) == 1 or name == stem else f"{name} ({stem})")
        for (stem, document), name in zip(read.items(), names)
    ]


def draw(cases: list[Case], folder: Path) -> None:
    """The same bytes for the same document and matplotlib: nothing of them depends on the hour."""
    try:
        import matplotlib
    except ImportError as error:
        wanted = f"drawing needs matplotlib: pip install './python[plot]' brings it ({error})"
        raise kith.UnsupportedError(wanted) from error
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    for case in cases:
        for mode in case.modes:
            with matplotlib.rc_context({"svg.hashsalt": case.stem}):
                plot.draw(case.document, folder / picture(case, mode), mode.rate)


def main(arguments: Optional[list[str]] = None) -> int:
    parser = argparse.ArgumentParser(description="Writes docs/benchmarks.md from docs/benchmarks/*.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if it would change")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where benchmarks.md and benchmarks/ are")
    options = parser.parse_args(arguments)
    target, folder = options.docs / PAGE, options.docs / FOLDER
    try:
        cases = cases_of(folder)
        text = page(cases)
        if options.check:
            if target.exists() and target.read_text(encoding="utf-8") == text:
                return 0
            print(f"{target} is not up to date: run bench/make_benchmarks_page.py", file=sys.stderr)
            return 1
        folder.mkdir(exist_ok=True)  # kith bench --json makes no folders
        draw(cases, folder)
        target.write_text(text, encoding="utf-8")
    except (kith.Error, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"wrote {target}: {counted(len(cases), 'document')}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
