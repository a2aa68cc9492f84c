# SPDX-License-Identifier: Apache-2.0
"""The command line: kith build, search, info, verify, compact, bench, sweep, tune, plot, datasets, version.

Tables go to the standard output, progress and errors to the standard error; with --json the standard
output is one JSON object.
Exit codes: 0 done, 1 a damaged file, 2 bad usage or input, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Optional

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

import kith

from . import _core
from ._api import usable_threads
from ._bench import cli as bench_cli
from ._evaluate import recall
from ._terminal import emit, fact_table, out, progress_bar, reported, size_text
from .io import read_rows

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Nearest-neighbour search over vectors.",
)
datasets_app = typer.Typer(no_args_is_help=True, help="Public data sets.")
app.add_typer(datasets_app, name="datasets")
bench_cli.add_to(app)

JsonOption = typer.Option(
    False, "--json", help="Print one JSON object and nothing else to the standard output."
)
ThreadsOption = typer.Option(
    None, "--threads", "-t", min=1, help="How many threads; all by default.", show_default=False
)
DtypeOption = typer.Option(
    None,
    "--dtype",
    help="Convert the vectors to float32, float16, int8 or uint8.",
    show_default=False,
)
ParamOption = typer.Option(
    None, "--param", "-p", metavar="NAME=VALUE", help="A parameter; may be repeated."
)


def parse_params(params: Optional[list[str]]) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for text in params or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise kith.InvalidArgumentError(f"--param expects NAME=VALUE, not '{text}'")
        if name in parsed:
            raise kith.InvalidArgumentError(f"--param {name} is given twice")
        parsed[name] = _core._convert_param(value)
    return parsed


@app.command()
@reported
def build(
    spec: str = typer.Argument(..., help="Which index, e.g. flat."),
    base: str = typer.Argument(
        ...,
        help="The vectors: .npy, .fvecs, .bvecs, .fbin, .f16bin, .u8bin, .i8bin, .hdf5[:train].",
    ),
    output: Path = typer.Argument(..., help="The index file to write."),
    metric: Optional[str] = typer.Option(
        None,
        "--metric",
        "-m",
        help="l2 (the default), euclidean, ip, cosine, l1, hamming or jaccard.",
    ),
    threads: Optional[int] = ThreadsOption,
    seed: int = typer.Option(0, "--seed", min=0),
    param: Optional[list[str]] = ParamOption,
    limit: Optional[int] = typer.Option(
        None, "--limit", min=0, help="Take the first so many rows only."
    ),
    dtype: Optional[str] = DtypeOption,
    target_recall: Optional[float] = typer.Option(
        None,
        "--target-recall",
        help="Measure recall and aim at this one where a search says nothing else.",
        show_default=False,
    ),
    train_only: bool = typer.Option(
        False,
        "--train-only",
        help="Keep what is learnt from the vectors, not the vectors: a file to fill shards from.",
    ),
    as_json: bool = JsonOption,
) -> None:
    """Build an index over the vectors of a file, save it, and say what the training did."""
    rows = read_rows(base, "train", limit, dtype)
    params = parse_params(param)
    if target_recall is not None:
        params["target_recall"] = target_recall
    with progress_bar() as report:
        start = time.perf_counter()
        index = (kith.train if train_only else kith.build)(
            spec,
            rows,
            metric=metric,
            threads=threads,
            seed=seed,
            progress=report,
            **params,
        )
        built = time.perf_counter()
        index.save(output, progress=report)
        saved = time.perf_counter()
    facts: dict[str, Any] = {
        "spec": index.spec,
        "rows": index.size,
        "dim": index.dim,
        "threads": threads or usable_threads(),
        "build_seconds": built - start,
        "save_seconds": saved - built,
        "file": str(output),
        "file_bytes": output.stat().st_size,
    }
    known = facts.keys() | {"dimensions", "element", "metric"}
    facts.update({name: value for name, value in index.describe().items() if name not in known})
    emit(as_json, facts, lambda: fact_table("built", facts))


def run_search(
    index: kith.Index,
    queries: np.ndarray,
    k: int,
    threads: Optional[int],
    batch: int,
    params: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int], float]:
    """Ids, distances, counts, summed statistics, and the seconds spent in search."""
    columns = min(k, index.size)
    ids = np.empty((len(queries), columns), np.int64)
    distances = np.empty((len(queries), columns), np.float32)
    counts = np.empty(len(queries), np.uint32)
    stats = dict.fromkeys(("distances", "hops", "lists", "reads", "bytes"), 0)
    seconds = 0.0
    with progress_bar() as report:
        for first in range(0, max(len(queries), 1), batch):
            block = slice(first, first + batch)
            start = time.perf_counter()
            found = index.search(queries[block], k=k, threads=threads, **params)
            seconds += time.perf_counter() - start
            ids[block], distances[block], counts[block] = found.ids, found.distances, found.counts
            for name in stats:
                stats[name] += getattr(found.stats, name)
            report("searching", min(first + batch, len(queries)), len(queries))
    return ids, distances, counts, stats, seconds


def neighbour_table(ids: np.ndarray, distances: np.ndarray, counts: np.ndarray, show: int) -> Table:
    table = Table(title="nearest neighbours", title_justify="left", title_style="bold")
    for name in ("query", "rank", "id", "distance"):
        table.add_column(name, justify="right")
    for query in range(min(show, len(ids))):
        for rank in range(int(counts[query])):
            table.add_row(
                str(query) if rank == 0 else "",
                str(rank + 1),
                str(ids[query, rank]),
                f"{distances[query, rank]:.6g}",
            )
        table.add_section()
    return table


@app.command()
@reported
def search(
    index: str = typer.Argument(..., help="An index file."),
    queries: str = typer.Argument(
        ..., help="The queries, in any format that build reads; of .hdf5 the data set test."
    ),
    k: int = typer.Option(10, "-k", help="How many neighbours."),
    threads: Optional[int] = ThreadsOption,
    ground_truth: Optional[str] = typer.Option(
        None,
        "--gt",
        help="True neighbours (.ivecs, .ibin, .npy, or neighbors of .hdf5): prints recall@k; "
        "rows as near as the k-th count.",
    ),
    output: Optional[str] = typer.Option(
        None, "--out", "-o", help="Write the ids: .npy, .ivecs or .ibin."
    ),
    distances_output: Optional[str] = typer.Option(
        None, "--out-distances", help="Write the distances: .npy, .fvecs or .fbin."
    ),
    param: Optional[list[str]] = ParamOption,
    limit: Optional[int] = typer.Option(
        None, "--limit", min=0, help="Take the first so many queries only."
    ),
    dtype: Optional[str] = DtypeOption,
    batch: int = typer.Option(1000, "--batch", min=1, help="Queries searched at once."),
    show: int = typer.Option(
        1, "--show", min=0, help="Print the neighbours of the first so many queries."
    ),
    mmap: bool = typer.Option(
        True, "--mmap/--no-mmap", help="Map the index file, or read it all first."
    ),
    as_json: bool = JsonOption,
) -> None:
    """Search an index file for the nearest neighbours of every query of a file."""
    rows = read_rows(queries, "test", limit, dtype)
    truth = kith.read_vectors(ground_truth, dataset="neighbors") if ground_truth else None
    opened = kith.load(index, mmap=mmap)
    ids, distances, counts, stats, seconds = run_search(
        opened, rows, k, threads, batch, parse_params(param)
    )
    facts: dict[str, Any] = {
        "spec": opened.spec,
        "rows": opened.size,
        "queries": len(rows),
        "k": k,
        "threads": threads or usable_threads(),
        "instruction_set": kith.instruction_set(),
        "seconds": seconds,
        "queries_per_second": len(rows) / seconds if seconds else 0.0,
        "distances_per_query": stats["distances"] / max(len(rows), 1),
        "stats": stats,
    }
    if truth is not None:
        facts["recall"] = recall(opened, rows, ids, truth, k)
    if output:
        kith.write_vectors(output, ids)
        facts["out"] = output
    if distances_output:
        kith.write_vectors(distances_output, distances)
        facts["out_distances"] = distances_output
    if as_json:
        print(json.dumps(facts))
        return
    if show and len(rows):
        out().print(neighbour_table(ids, distances, counts, show))
    shown = {
        f"recall@{k}" if name == "recall" else name: value
        for name, value in facts.items()
        if name != "stats"
    }
    out().print(fact_table("search", shown))


@app.command()
@reported
def info(
    index: str = typer.Argument(..., help="An index file."), as_json: bool = JsonOption
) -> None:
    """Say what an index file holds."""
    opened = kith.load(index)
    facts: dict[str, Any] = {
        "file": index,
        "file_bytes": os.path.getsize(index),
        "spec": opened.spec,
        "kind": opened.kind,
        "metric": opened.metric,
        "element_type": opened.element_type,
        "rows": opened.size,
        "dim": opened.dim,
        "memory_bytes": opened.memory_bytes,
        "search_params": opened.search_params(),
    }
    facts.update({name: value for name, value in opened.describe().items() if name not in facts})
    emit(as_json, facts, lambda: fact_table("index", facts))


@app.command()
@reported
def verify(
    index: str = typer.Argument(..., help="An index file."), as_json: bool = JsonOption
) -> None:
    """Read a whole index file and check every checksum and what it means. Exit code 1: damaged."""
    with progress_bar() as report:
        start = time.perf_counter()
        kith.verify(index, progress=report)
        seconds = time.perf_counter() - start
    facts: dict[str, Any] = {
        "file": index,
        "file_bytes": os.path.getsize(index),
        "intact": True,
        "seconds": seconds,
    }
    if as_json:
        print(json.dumps(facts))
    else:
        out().print(
            f"[green]intact[/]: {escape(index)} ({size_text(facts['file_bytes'])}, {seconds:.3f} s)",
            soft_wrap=True,
        )


@app.command()
@reported
def compact(
    index: str = typer.Argument(..., help="An index file."),
    output: Optional[str] = typer.Option(
        None, "--out", "-o", help="Where to write it; by default in the place of the old one."
    ),
    threads: Optional[int] = ThreadsOption,
    as_json: bool = JsonOption,
) -> None:
    """Give back what removed rows still occupy in an index file."""
    opened = kith.load(index)
    before = os.path.getsize(index)
    with progress_bar() as report:
        opened.compact(threads=threads, progress=report)
        opened.save(output or index, progress=report)
    facts: dict[str, Any] = {
        "file": output or index,
        "rows": opened.size,
        "file_bytes_before": before,
        "file_bytes": os.path.getsize(output or index),
    }
    emit(as_json, facts, lambda: fact_table("compacted", facts))


@datasets_app.command("get")
@reported
def datasets_get(
    name: str = typer.Argument(..., help="Which set; kith datasets list names them."),
    directory: Path = typer.Option(
        Path("datasets"),
        "--out",
        "--dir",
        "-d",
        help="Where to put it; the set gets a folder of its own.",
    ),
    url: Optional[str] = typer.Option(
        None, "--url", help="A mirror with the publisher's file names."
    ),
    as_json: bool = JsonOption,
) -> None:
    """Download a public data set and check it."""
    from . import datasets

    with progress_bar() as report:
        found = datasets.get(name, directory, base_url=url, progress=report)
    facts: dict[str, Any] = {
        "name": found.name,
        "metric": found.metric,
        "downloaded": found.downloaded,
        "sha256": found.sha256,
        "files": {role: str(path) for role, path in found.files.items()},
    }
    shown = {**facts, **facts["files"]}
    del shown["files"]
    emit(as_json, facts, lambda: fact_table("data set", shown))


@datasets_app.command("list")
@reported
def datasets_list(as_json: bool = JsonOption) -> None:
    """Name the public data sets that get can download."""
    from . import datasets

    facts: dict[str, Any] = {
        spec.name: {
            "metric": spec.metric,
            "rows": spec.base[0],
            "dim": spec.base[1],
            "queries": spec.query[0],
            "url": spec.url,
        }
        for spec in datasets.DATASETS.values()
    }

    def table() -> Table:
        made = Table(title="public data sets", title_justify="left", title_style="bold")
        for column in ("name", "metric", "rows", "dim", "queries", "url"):
            made.add_column(
                column,
                justify="right" if column in ("rows", "dim", "queries") else "left",
                overflow="fold",
            )
        for name, spec in facts.items():
            made.add_row(
                name,
                spec["metric"],
                f"{spec['rows']:,}",
                str(spec["dim"]),
                f"{spec['queries']:,}",
                spec["url"],
            )
        return made

    emit(as_json, facts, table)


def version_facts() -> dict[str, Any]:
    return {
        "version": kith.__version__,
        "instruction_set": kith.instruction_set(),
        "instruction_sets": kith.instruction_sets(),
        "indexes": kith.kinds(),
        "metrics": kith.metrics(),
    }


@app.command()
@reported
def version(as_json: bool = JsonOption) -> None:
    """Print the version and the instruction sets."""
    facts = version_facts()
    emit(as_json, facts, lambda: fact_table("kith", facts))


def print_version(wanted: bool) -> None:
    if wanted:
        facts = version_facts()
        available = ", ".join(facts["instruction_sets"])
        print(f"kith {facts['version']} ({facts['instruction_set']}; available: {available})")
        raise typer.Exit


@app.callback()
def root(
    show_version: bool = typer.Option(
        False,
        "--version",
        callback=print_version,
        is_eager=True,
        help="Print the version and exit.",
    ),
) -> None:
    pass


def main() -> None:
    app()


if __name__ == "__main__":
    main()
