# SPDX-License-Identifier: Apache-2.0
"""What documents of `kith bench` say of kith beside the others: for make_benchmarks_page.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Optional

from kith._bench import plot
from kith._bench.report import RECALLS, rate_at

AT = plot.AT
AHEAD, LEVEL, BEHIND, OPEN = "ahead", "level", "behind", "open"

Contender = dict[str, Any]


@dataclass(frozen=True)
class Mode:
    rate: str
    called: str
    heading: str


SINGLE = Mode("single_qps", "one query at a time", "One query at a time")
BATCH = Mode("batch_qps", "in batches", "Batches")


@dataclass(frozen=True)
class Cost:
    key: str
    unit: str
    per: float
    least: str
    of: str


BUILD = Cost("build_seconds", "s", 1, "Shortest build", "Build time")
MEMORY = Cost("index_bytes", "MiB", 2**20, "Smallest index", "Memory")


@dataclass(frozen=True)
class Finding:
    side: str
    text: str


@dataclass(frozen=True)
class Case:
    """One document, and what it is called on the page."""

    stem: str
    document: dict[str, Any]
    title: str

    @property
    def contenders(self) -> list[Contender]:
        return self.document["contenders"]

    @property
    def kith(self) -> list[Contender]:
        return [c for c in self.contenders if c["library"] == "kith"]

    @property
    def others(self) -> list[Contender]:
        return [c for c in self.contenders if c["library"] != "kith"]

    @property
    def modes(self) -> list[Mode]:
        method = self.document["method"]
        return [mode for mode, part in ((SINGLE, "single"), (BATCH, "batch")) if method.get(part, True)]

    def mode_called(self, mode: Mode) -> str:
        queries = self.document["data"]["queries"]
        return mode.called if mode is SINGLE else f"all {queries:,} queries in one call, {self.threads}"

    @property
    def threads(self) -> str:
        return counted(self.document["threads"], "thread")


# Numbers and words


def counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def amount(value: float) -> str:
    """Three digits, or all before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 or value == 0 else f"{value:.2g}"


def code(text: str) -> str:
    """A name as it is, in a cell of a table too."""
    return f"`{text.replace('|', chr(92) + '|')}`"


def listed(texts: list[str]) -> str:
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def side_of(ratio: str, high_is_good: bool) -> str:
    """By the ratio as it is shown: 1.00 is neither ahead nor behind."""
    value = float(ratio.replace(",", ""))
    return LEVEL if value == 1 else AHEAD if (value > 1) == high_is_good else BEHIND


def table(head: list[str], rows: list[list[str]], left: int = 1) -> list[str]:
    bar = ["---" if i < left else "---:" for i in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, bar, *rows)]


# What a document says


def highest(contender: Contender) -> float:
    return max((run["recall"] for run in contender["runs"]), default=0.0)


def is_scan(contender: Contender) -> bool:
    """An exact scan, which builds nothing."""
    return re.fullmatch(r"flat(\(\s*\))?", contender["spec"].strip().lower()) is not None


def fastest(contenders: list[Contender], recall: float, mode: Mode) -> Optional[tuple[Contender, float]]:
    reached = [(c, rate_at(c["runs"], recall, mode.rate)) for c in contenders]
    return max(((c, rate) for c, rate in reached if rate), key=lambda pair: pair[1], default=None)


def compare_rates(case: Case, mode: Mode, recall: float) -> Finding:
    """kith's fastest beside the fastest of the others."""
    mine, other = (fastest(c, recall, mode) for c in (case.kith, case.others))
    at = f"{mode.heading.replace('Batches', 'In batches')}, recall {recall:.2f}"
    if other is None:
        if mine is None:
            return Finding(OPEN, f"{at}: neither kith nor another library reaches it.")
        best = max(map(highest, case.others))
        return Finding(
            AHEAD,
            f"{at}: {code(mine[0]['name'])} answers {mine[1]:,.0f} queries a second; "
            f"no other library reaches it ({best:.3f} at most).",
        )
    if mine is None:
        best = max(map(highest, case.kith), default=0.0)
        return Finding(
            BEHIND,
            f"{at}: kith does not reach it ({best:.3f} at most); {code(other[0]['name'])} answers "
            f"{other[1]:,.0f} queries a second.",
        )
    ratio = amount(mine[1] / other[1])
    return Finding(
        side_of(ratio, True),
        f"{at}: {code(mine[0]['name'])} answers {mine[1]:,.0f} queries a second, {ratio} times the "
        f"{other[1]:,.0f} of {code(other[0]['name'])}.",
    )


def compare_costs(
    cost: Cost, mine: Contender, other: Contender, what: str, more: str = ""
) -> Finding:
    here, there = (c[cost.key] / cost.per for c in (mine, other))
    ratio = amount(here / there) if there > 0 else None
    side = side_of(ratio, False) if ratio else LEVEL if here == 0 else BEHIND
    beside = f", {ratio} times" if ratio else " beside"
    return Finding(
        side,
        f"{what}: {code(mine['name'])} {amount(here)} {cost.unit}{beside} the {amount(there)} {cost.unit} "
        f"of {code(other['name'])}{more}.",
    )


def compare_least(case: Case, cost: Cost) -> Finding:
    """What is built soonest, or is smallest, of all that find enough; exact scans aside."""
    what = f"{cost.least} that reaches recall {AT:.2f}"

    def least(group: list[Contender]) -> Optional[Contender]:
        enough = [c for c in group if highest(c) >= AT and not is_scan(c)]
        return min(enough, key=lambda c: c[cost.key], default=None)

    mine, other = least(case.kith), least(case.others)
    if other is None:
        if mine is None:
            return Finding(OPEN, f"{what}: neither kith nor another library has one besides exact scans.")
        spent = f"{amount(mine[cost.key] / cost.per)} {cost.unit}"
        return Finding(AHEAD, f"{what}: {code(mine['name'])}, {spent}; no other library has one.")
    if mine is None:
        spent = f"{amount(other[cost.key] / cost.per)} {cost.unit}"
        return Finding(
            BEHIND, f"{what}: kith has none besides exact scans; {code(other['name'])}, {spent}."
        )
    mode = case.modes[0]
    rates = [rate_at(c["runs"], AT, mode.rate) for c in (mine, other)]
    more = ""
    if all(rates):
        answered = f"{rates[0]:,.0f} and {rates[1]:,.0f} queries a second {mode.called}"
        more = f"; at that recall they answer {answered}"
    return compare_costs(cost, mine, other, what, more)


def compare_fastest(case: Case) -> Iterator[Finding]:
    """What those cost that answer fastest."""
    seen = []
    for mode in case.modes:
        mine, other = (fastest(c, AT, mode) for c in (case.kith, case.others))
        pair = (mine and mine[0]["name"], other and other[0]["name"])
        if mine is None or other is None or pair in seen:
            continue
        seen.append(pair)
        for cost in (BUILD, MEMORY):
            what = f"{cost.of} of the fastest {mode.called} at recall {AT:.2f}"
            yield compare_costs(cost, mine[0], other[0], what)


def findings(case: Case) -> list[Finding]:
    if not case.others:
        return []
    return [
        *(compare_rates(case, mode, recall) for mode in case.modes for recall in RECALLS),
        *(compare_least(case, cost) for cost in (BUILD, MEMORY)),
        *compare_fastest(case),
    ]


# The page
