# SPDX-License-Identifier: Apache-2.0
"""What the commands print: tables, progress bars, one-line errors, JSON."""

from __future__ import annotations

import contextlib
import functools
import json
from typing import Any, Callable, Iterator, Optional

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ._core import CorruptError, Error, VersionError

DAMAGE = (CorruptError, VersionError)
LONGEST_LIST = 32


def out() -> Console:
    return Console(highlight=False)


def err() -> Console:
    return Console(stderr=True, highlight=False)


def emit(as_json: bool, facts: dict[str, Any], table: Callable[[], Table]) -> None:
    if as_json:
        print(json.dumps(facts))
    else:
        out().print(table())


def reported(command: Callable[..., None]) -> Callable[..., None]:
    """Errors become one line and an exit code."""

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
            return
        except Error as error:
            message, code, status = str(error), error.code, 1 if isinstance(error, DAMAGE) else 2
        except OSError as error:
            message, code, status = str(error), "io", 2
        except KeyboardInterrupt:
            message, code, status = "interrupted", "cancelled", 130
        if kwargs.get("as_json"):
            print(json.dumps({"error": {"code": code, "message": message}}))
        err().print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
        raise typer.Exit(status)

    return wrapper


@contextlib.contextmanager
def progress_bar() -> Iterator[Callable[[str, int, Optional[int]], None]]:
    """A callback for kith's progress reports, drawn on the standard error; one bar a phase."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = err()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        tasks: dict[str, Any] = {}

        def report(phase: str, done: int, total: Optional[int]) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase, total=total)
            progress.update(tasks[phase], completed=done, total=total)

        yield report


def size_text(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"


def fact_text(value: Any) -> str:
    """A fact in one line; lists and dicts of facts are joined, long ones cut."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, dict):
        if "name" in value:
            return str(value["name"])
        value = [f"{name}: {fact_text(inner)}" for name, inner in value.items()]
    if isinstance(value, (list, tuple)):
        shown = [fact_text(item) for item in value[:LONGEST_LIST]]
        if len(value) > LONGEST_LIST:
            shown.append(f"... ({len(value):,} in all)")
        return ", ".join(shown) or "none"
    return str(value)


def fact_table(title: str, facts: dict[str, Any]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False, title_style="bold")
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), escape(fact_text(value)))
    return table
