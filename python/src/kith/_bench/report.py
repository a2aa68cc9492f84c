# SPDX-License-Identifier: Apache-2.0
"""What a document says: fronts, rates at equal recall, tables."""

from __future__ import annotations

import math
from typing import Any, Optional

from rich.table import Table

from .sweep import label

RECALLS = (0.90, 0.95, 0.99)


def front(runs: list[dict[str, Any]], rate: str = "single_qps") -> list[dict[str, Any]]:
    """The runs that no other run of the list beats in recall and rate, in rising order of recall."""
    best: list[dict[str, Any]] = []
    fastest = 0.0
    for run in sorted(
        (run for run in runs if run.get(rate)), key=lambda run: (-run["recall"], -run[rate])
    ):
        if run[rate] > fastest:
            best.append(run)
            fastest = run[rate]
    return best[::-1]


def rate_at(runs: list[dict[str, Any]], recall: float, rate: str = "single_qps") -> Optional[float]:
    """The rate at a recall: along the front, between its runs, the logarithm of the rate is taken to
    be linear in recall. None where no run reaches it; the rate of the first run where all exceed it."""
    along = front(runs, rate)
    if not along or along[-1]["recall"] < recall:
        return None
    above = next(i for i, run in enumerate(along) if run["recall"] >= recall)
    if above == 0:
        return float(along[0][rate])
    low, high = along[above - 1], along[above]
    share = (recall - low["recall"]) / (high["recall"] - low["recall"])
    return math.exp((1 - share) * math.log(low[rate]) + share * math.log(high[rate]))


def _number(value: Optional[float], digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def sweep_table(contender: dict[str, Any], k: int) -> Table:
    """Every setting of one index: what people expect of a sweep."""
    table = Table(title=contender["name"], title_justify="left", title_style="bold")
    table.add_column("setting", style="cyan")
    for name in (f"recall@{k}", "+-", "QPS", "mean ms", "p95 ms", "p99 ms", "batch QPS", "compared"):
        table.add_column(name, justify="right")
    for run in contender["runs"]:
        latency = run.get("latency") or {}
        table.add_row(
            label(run["setting"]),
            f"{run['recall']:.4f}",
            f"{run['recall_95']:.4f}",
            _number(run.get("single_qps")),
            *(_number(latency[p] * 1e3 if p in latency else None, 3) for p in ("mean", "p95", "p99")),
            _number(run.get("batch_qps")),
            _number(run.get("distances_per_query")),
        )
    return table


def comparison_table(document: dict[str, Any], rate: str) -> Table:
    """Rates at equal recall, and in parentheses how many times the best of the other libraries that is."""
    title = "one query at a time" if rate == "single_qps" else "all queries in one call"
    peers = [c["library"] != "kith" for c in document["contenders"]]
    if any(peers):
        title += " (times the best of the others)"
    table = Table(title=f"queries a second, {title}", title_justify="left", title_style="bold")
    table.add_column("contender", style="cyan", overflow="fold")
    for name in ("build s", "MiB"):
        table.add_column(name, justify="right")
    rates = {
        recall: [rate_at(c["runs"], recall, rate) for c in document["contenders"]]
        for recall in RECALLS
    }
    best: dict[float, Optional[float]] = {}
    for recall in RECALLS:
        best[recall] = max((r for r, peer in zip(rates[recall], peers) if peer and r), default=None)
        table.add_column(f"at recall {recall:.2f}", justify="right", no_wrap=True)
    for i, contender in enumerate(document["contenders"]):
        cells = [
            contender["name"],
            _number(contender["build_seconds"], 1),
            _number(contender["index_bytes"] / 2**20, 1),
        ]
        for recall in RECALLS:
            value, peer = rates[recall][i], best[recall]
            cells.append(_number(value) + (f" ({value / peer:.2f})" if value and peer else ""))
        table.add_row(*cells)
    return table
