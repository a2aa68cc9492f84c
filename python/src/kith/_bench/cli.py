# SPDX-License-Identifier: Apache-2.0
"""The commands bench, sweep, tune and plot."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, Callable, Optional

import typer
from rich.markup import escape

import kith

from .. import _core
from .._terminal import emit, err, out, progress_bar, reported
from .._tune import SAMPLE
from ..io import read_rows
from . import measure, record, report
from .contenders import Contender, Kith
from .measure import Built
from .peers import PEERS, available
from .plot import draw
from .sweep import DEFAULTS, check
from .sweep import parse as parse_sweeps
from .workload import Workload, open_workload

#: What a spec may be refused with that these rows or this build have nothing for.
UNBUILDABLE = (_core.InvalidArgumentError, _core.TypeMismatchError, _core.UnsupportedError)

BaseOption = typer.Option(
    ..., "--base", help="The vectors: a file that build reads; .hdf5 of ann-benchmarks has all."
)
QueryOption = typer.Option(
    None,
    "--query",
    help="The queries; of .hdf5 the data set test. Without: up to 1000 rows are held out.",
)
TruthOption = typer.Option(
    None, "--truth", help="True neighbours (row numbers); computed where there are none."
)
MetricOption = typer.Option(None, "--metric", "-m", help="l2 unless the data says otherwise.")
SweepOption = typer.Option(
    None,
    "--sweep",
    metavar="NAME=V,V,...",
    help="Values of a search parameter; may be repeated. Has sensible ones.",
)
KOption = typer.Option(10, "-k", help="How many neighbours.")
RoundsOption = typer.Option(3, "--rounds", min=1, help="How often everything is timed.")
SecondsOption = typer.Option(
    1.0, "--seconds", min=0.01, help="Longest time for the single queries of one setting and round."
)
LimitOption = typer.Option(None, "--limit", min=1, help="Take the first so many rows only.")
QueryLimitOption = typer.Option(
    None, "--query-limit", min=1, help="Take the first so many queries only."
)


def _contenders(
    specs: list[str], peers: list[str], workload: Workload
) -> tuple[list[Callable[[], Contender]], list[str]]:
    """How to make each, and what takes no part, with the reason."""
    makers: list[Callable[[], Contender]] = [lambda s=spec: Kith(s, workload.base.dtype) for spec in specs]
    absent = []
    for name in peers:
        if name not in PEERS:
            raise _core.InvalidArgumentError(
                f"--peer {name}: unknown; known: {', '.join(PEERS)}"
            )
        reason = available(name)
        if reason is None and workload.metric not in ("l2", "ip", "cosine"):
            reason = f"measured for l2, ip and cosine only, not for {workload.metric}"
        if reason is not None:
            absent.append(f"{name}: {reason}")
            continue
        makers += PEERS[name](*workload.base.shape)
    return makers, absent


def _counted(
    bar: Callable[[str, int, Optional[int]], None], phase: str, total: Optional[int]
) -> Callable[[], None]:
    """Each call is a step of the phase."""
    steps = itertools.count(1)
    return lambda: bar(phase, next(steps), total)


def _run(
    makers: list[Callable[[], Contender]],
    workload: Workload,
    document: dict[str, Any],
    sweeps: dict[str, tuple[Any, ...]],
    threads: int,
    rounds: int,
    seconds: float,
    single: bool,
    batch: bool,
) -> list[str]:
    """Adds to the document what it does not have yet. Returns what could not be built, with the reason."""
    refused: list[str] = []
    done = {contender["name"] for contender in document["contenders"]}
    built: list[Built] = []
    with progress_bar() as bar:
        for maker in makers:
            contender = maker()
            if contender.name in done:
                continue
            err().print(f"building {contender.name}", style="dim")
            try:
                built.append(
                    measure.build(contender, workload, threads, bar if contender.library == "kith" else None)
                )
            except UNBUILDABLE as error:  # the others are measured, and the command fails at the end
                refused.append(f"{contender.name}: {error}")
                err().print(f"takes no part: {escape(refused[-1])}", style="yellow", soft_wrap=True)
        if built and not done:
            check(set(DEFAULTS) | {name for one in built for name in one.contender.parameters()}, sweeps)
        for one in built:
            found = _counted(bar, f"recall of {one.contender.name}", None)
            measure.recalls(one, workload, sweeps, threads, found)
        if built:
            timed = _counted(bar, "timing", rounds * len(built))
            measure.rounds(built, workload, rounds, threads, seconds, single, batch, timed)
    document["contenders"] += [record.contender_facts(one) for one in built]
    return refused


@reported
def bench(
    base: str = BaseOption,
    query: Optional[str] = QueryOption,
    truth: Optional[str] = TruthOption,
    metric: Optional[str] = MetricOption,
    spec: Optional[list[str]] = typer.Option(
        None, "--spec", "-s", help="An index of kith; may be repeated. hnsw and flat if none is given."
    ),
    sweep: Optional[list[str]] = SweepOption,
    k: int = KOption,
    threads: int = typer.Option(1, "--threads", "-t", min=1, help="For building and for batches."),
    single: bool = typer.Option(True, "--single/--no-single", help="Time one query at a time."),
    batch: bool = typer.Option(True, "--batch/--no-batch", help="Time all queries in one call."),
    peers: bool = typer.Option(False, "--peers", help="Beside every library that is installed."),
    peer: Optional[list[str]] = typer.Option(
        None, "--peer", help=f"Beside this one ({', '.join(PEERS)}); may be repeated."
    ),
    rounds: int = RoundsOption,
    seconds: float = SecondsOption,
    limit: Optional[int] = LimitOption,
    query_limit: Optional[int] = QueryLimitOption,
    dtype: Optional[str] = typer.Option(
        None, "--dtype", help="Convert the vectors; other libraries are given float32 anyway."
    ),
    json_path: Optional[Path] = typer.Option(
        None, "--json", help="Write the document there; goes on with one that was begun."
    ),
    apart: bool = typer.Option(
        False,
        "--apart",
        help="One contender after the other instead of in turns: takes less memory, and what was "
        "measured is kept when the run is stopped.",
    ),
) -> None:
    """Measure indexes on your own vectors: recall, queries a second, latency, memory, build time."""
    sweeps = parse_sweeps(sweep)
    if not single and not batch:
        raise _core.InvalidArgumentError("--no-single and --no-batch leave nothing to time")
    with progress_bar() as bar:
        workload = open_workload(
            base, query, truth, metric, k, limit, query_limit, dtype, progress=bar
        )
    method = {
        "rounds": rounds,
        "seconds": seconds,
        "single": single,
        "batch": batch,
        "sweeps": {name: list(values) for name, values in sweeps.items()},
    }
    document = record.document(workload, threads, method)
    if json_path is not None:
        json_path.parent.mkdir(parents=True, exist_ok=True)  # before hours are spent
        document = record.resumed(json_path, document) or document
    names = list(dict.fromkeys([*(PEERS if peers else ()), *(peer or ())]))
    refused: list[str] = []
    makers, absent = _contenders(spec or ["flat", "hnsw"], names, workload)
    for reason in absent:
        err().print(f"takes no part: {reason}", style="yellow")
    for group in [[maker] for maker in makers] if apart else [makers]:
        refused += _run(group, workload, document, sweeps, threads, rounds, seconds, single, batch)
        if json_path is not None:
            record.write(json_path, document)
    for contender in document["contenders"]:
        out().print(report.sweep_table(contender, k))
    for wanted, rate in ((single, "single_qps"), (batch, "batch_qps")):
        if wanted:
            out().print(report.comparison_table(document, rate))
    if refused:
        raise _core.InvalidArgumentError("; ".join(refused))


@reported
def sweep_command(
    index: str = typer.Argument(..., help="An index file."),
    query: str = typer.Option(..., "--query", help="The queries."),
    base: str = BaseOption,
    truth: Optional[str] = TruthOption,
    sweep: Optional[list[str]] = SweepOption,
    k: int = KOption,
    threads: int = typer.Option(1, "--threads", "-t", min=1),
    rounds: int = RoundsOption,
    seconds: float = SecondsOption,
    query_limit: Optional[int] = QueryLimitOption,
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """What each setting of one index finds, and how fast."""
    sweeps = parse_sweeps(sweep)
    opened = kith.load(index)
    with progress_bar() as bar:
        workload = open_workload(base, query, truth, opened.metric, k, None, query_limit, progress=bar)
    contender = Kith(opened.spec, workload.base.dtype)
    contender.index = opened
    check(contender.parameters(), sweeps)
    built = Built(contender, 0.0, None)
    with progress_bar() as bar:
        found = _counted(bar, "recall", len(contender.settings(sweeps)))
        measure.recalls(built, workload, sweeps, threads, found)
        timed = _counted(bar, "timing", rounds)
        measure.rounds([built], workload, rounds, threads, seconds, True, True, timed)
    facts = record.contender_facts(built)
    emit(as_json, facts, lambda: report.sweep_table(facts, k))


@reported
def tune_command(
    base: str = BaseOption,
    query: Optional[str] = typer.Option(
        None, "--query", help="Queries such as will be asked; without, rows are held out."
    ),
    metric: str = typer.Option("l2", "--metric", "-m"),
    k: int = KOption,
    target_recall: float = typer.Option(0.95, "--target-recall", "-r", help="recall@k to aim at."),
    max_memory: Optional[float] = typer.Option(
        None, "--max-memory", help="MiB that the index may hold, rows too."
    ),
    max_build_seconds: Optional[float] = typer.Option(None, "--max-build-seconds"),
    spec: Optional[list[str]] = typer.Option(
        None, "--spec", "-s", help="Try this instead; may be repeated."
    ),
    sample: int = typer.Option(SAMPLE, "--sample", min=100, help="Rows to try it on."),
    threads: Optional[int] = typer.Option(None, "--threads", "-t", min=1, help="For building."),
    limit: Optional[int] = LimitOption,
    dtype: Optional[str] = typer.Option(None, "--dtype", help="Convert the vectors."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object."),
) -> None:
    """Find the index for your vectors: fastest at a recall, within limits of memory and time."""
    rows = read_rows(base, "train", limit, dtype)
    asked = read_rows(query, "test", None, dtype) if query else None
    with progress_bar() as bar:
        tuning = kith.tune(
            rows,
            k,
            target_recall,
            metric,
            queries=asked,
            max_memory=max_memory * 2**20 if max_memory else None,
            max_build_seconds=max_build_seconds,
            specs=spec,
            sample=sample,
            threads=threads,
            progress=bar,
        )
    if as_json:
        facts = dataclasses.asdict(tuning)
        for trial in facts["trials"]:  # not tried: infinite, which JSON has no number for
            trial.update({name: None for name, value in trial.items() if value == float("inf")})
        print(json.dumps(facts))
        return
    out().print(escape(str(tuning)), soft_wrap=True)
    settings = " ".join(f"{name}={value}" for name, value in tuning.params.items())
    out().print(
        escape(
            f"kith build '{tuning.spec}' {base} index.kith --metric {metric} "
            f"--target-recall {target_recall}"
            + (f"    (in the sample that is {settings})" if settings else "")
        ),
        soft_wrap=True,
    )


@reported
def plot(
    documents: list[Path] = typer.Argument(..., help="What kith bench --json wrote."),
    output: Path = typer.Option(..., "--out", "-o", help="A .png, .svg, .pdf or .html file."),
    batch: bool = typer.Option(False, "--batch", help="Of all queries in one call."),
) -> None:
    """Draw recall against queries a second, and memory and build time at recall 0.95."""
    whole = record.read(documents[0])
    for path in documents[1:]:
        more = record.read(path)
        if more["data"] != whole["data"] or more["k"] != whole["k"]:
            raise _core.InvalidArgumentError(
                f"{path} is of {more['data']['name']} with k = {more['k']}, expected the data of {documents[0]}"
            )
        whole["contenders"] += more["contenders"]
    draw(whole, output, "batch_qps" if batch else "single_qps")
    err().print(f"wrote {output}", style="dim")


def add_to(app: typer.Typer) -> None:
    app.command("bench")(bench)
    app.command("sweep")(sweep_command)
    app.command("tune")(tune_command)
    app.command("plot")(plot)
