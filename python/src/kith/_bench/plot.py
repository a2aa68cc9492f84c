# SPDX-License-Identifier: Apache-2.0
"""Pictures of a benchmark's document: recall against the rate, and what an index takes for it.

.png, .svg and .pdf by matplotlib; .html by plotly, one file that opens from disk without a network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import _core
from .report import front, rate_at
from .sweep import label

#: Told apart by those who do not see all colours (Okabe and Ito 2008), kith's first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of another number, so that pairs repeat late
LEAST_RECALL = 0.5
AT = 0.95


def draw(document: dict[str, Any], path: Path, rate: str = "single_qps") -> None:
    """Raises InvalidArgumentError for an ending that is not known, UnsupportedError where the library
    that draws it is not installed."""
    ending = path.suffix.lower()
    if ending == ".html":
        _html(document, path, rate)
    elif ending in (".png", ".svg", ".pdf"):
        _still(document, path, rate)
    else:
        raise _core.InvalidArgumentError(
            f"{path}: unknown ending '{ending}'; known: .png, .svg, .pdf, .html"
        )


def _missing(library: str, error: ImportError) -> _core.UnsupportedError:
    return _core.UnsupportedError(
        f"drawing needs {library}: pip install 'kith[plot]' brings it ({error})"
    )


def title(document: dict[str, Any], rate: str) -> str:
    data = document["data"]
    asked = "one query at a time" if rate == "single_qps" else "all queries in one call"
    threads = document["threads"]
    return (
        f"{data['name']}: {data['rows']:,} x {data['dim']}, {data['metric']}, {asked}, "
        f"{threads} thread{'s' if threads != 1 else ''}"
    )


def _lines(document: dict[str, Any], rate: str) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Contenders that have a front to show, kith's first."""
    found = []
    for contender in sorted(document["contenders"], key=lambda c: c["library"] != "kith"):
        runs = [run for run in front(contender["runs"], rate) if run["recall"] >= LEAST_RECALL]
        if runs:
            found.append((contender, runs))
    return found


def _costs(document: dict[str, Any], rate: str) -> list[tuple[str, float, float, float]]:
    """Name, MiB, seconds of building and rate at recall AT of those that reach it."""
    costs = []
    for contender, _ in _lines(document, rate):
        reached = rate_at(contender["runs"], AT, rate)
        if reached is not None:
            mib = contender["index_bytes"] / 2**20
            costs.append((contender["name"], mib, contender["build_seconds"], reached))
    return costs


def _still(document: dict[str, Any], path: Path, rate: str) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import NullFormatter, StrMethodFormatter
    except ImportError as error:
        raise _missing("matplotlib", error) from error
    figure = Figure(figsize=(13, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    curves, memory, build = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    for i, (contender, runs) in enumerate(_lines(document, rate)):
        curves.plot(
            [run["recall"] for run in runs],
            [run[rate] for run in runs],
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
            linewidth=2 if contender["library"] == "kith" else 1.2,
            label=contender["name"],
        )
    curves.set_yscale("log")
    curves.set_xlabel(f"recall@{document['k']} (to the right is better)")
    curves.set_ylabel("queries a second (up is better)")
    curves.grid(True, which="both", alpha=0.25)
    figure.legend(fontsize=7, loc="outside lower center", ncols=3)
    names = {c["name"]: i for i, (c, _) in enumerate(_lines(document, rate))}
    for axes, column, what in ((memory, 1, "index, MiB"), (build, 2, "build, seconds")):
        for cost in _costs(document, rate):
            i = names[cost[0]]
            axes.plot(
                cost[column],
                cost[3],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=8,
                linestyle="",
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(f"{what} (to the left is better)")
        axes.set_title(f"queries a second at recall {AT}", fontsize=9)
        axes.grid(True, which="both", alpha=0.25)
    figure.suptitle(f"{title(document, rate)}\n{_origin(document)}", fontsize=10)
    figure.savefig(path, dpi=150)


def _origin(document: dict[str, Any]) -> str:
    machine = document["machine"]
    return f"{machine['cpu']}, {machine['instruction_set']}, kith {machine['kith']}, {document['date']}"


def _html(document: dict[str, Any], path: Path, rate: str) -> None:
    try:
        import plotly.graph_objects as go
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise _missing("plotly", error) from error
    figure = make_subplots(
        rows=1,
        cols=3,
        column_widths=[0.5, 0.25, 0.25],
        subplot_titles=("", f"queries a second at recall {AT}", f"queries a second at recall {AT}"),
    )
    costs = {name: (mib, seconds, reached) for name, mib, seconds, reached in _costs(document, rate)}
    for i, (contender, runs) in enumerate(_lines(document, rate)):
        look = {"color": COLOURS[i % len(COLOURS)]}
        group = {"name": contender["name"], "legendgroup": contender["name"]}
        figure.add_trace(
            go.Scatter(
                x=[run["recall"] for run in runs],
                y=[run[rate] for run in runs],
                mode="lines+markers",
                line={**look, "width": 3 if contender["library"] == "kith" else 1.5},
                text=[label(run["setting"]) for run in runs],
                hovertemplate="%{text}<br>recall %{x:.4f}<br>%{y:,.0f} queries a second",
                **group,
            ),
            row=1,
            col=1,
        )
        if contender["name"] in costs:
            mib, seconds, reached = costs[contender["name"]]
            for column, value in ((2, mib), (3, seconds)):
                figure.add_trace(
                    go.Scatter(x=[value], y=[reached], mode="markers", marker={**look, "size": 10}, showlegend=False, **group),
                    row=1,
                    col=column,
                )
    figure.update_yaxes(type="log")
    figure.update_yaxes(title_text="queries a second (up is better)", row=1, col=1)
    figure.update_xaxes(title_text=f"recall@{document['k']} (to the right is better)", row=1, col=1)
    figure.update_xaxes(type="log", title_text="index, MiB (to the left is better)", row=1, col=2)
    figure.update_xaxes(type="log", title_text="build, seconds (to the left is better)", row=1, col=3)
    figure.update_layout(
        title=f"{title(document, rate)}<br><sub>{_origin(document)}</sub>",
        template="plotly_white",
        legend={"orientation": "h", "y": -0.2},
    )
    figure.write_html(str(path), include_plotlyjs=True, full_html=True)
