"""``pipeline-flow preview``."""

from __future__ import annotations

import asyncio
import json as json_text
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from pipeline_flow import entrypoint
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import logs, streams
from pipeline_flow.cli.problems import show
from pipeline_flow.cli.run import Interruption
from pipeline_flow.data import grid
from pipeline_flow.engine import WorkerThreads
from pipeline_flow.errors import ConfigError
from pipeline_flow.listeners.lines import QUIET, Lines
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline_flow.engine import RunResult
    from pipeline_flow.engine.preview import Preview, Sample
    from pipeline_flow.entrypoint import Prepared

_BETWEEN = 3  # columns of the terminal between two of the table


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a preview. ``limit_rows`` is for each extract step, ``None`` for all."""

    rows: int = 20
    limit_rows: int | None = 1000
    variables: dict[str, str] | None = None
    profile: str | None = None
    json: bool = False


def preview(file: Path, step: str, options: Options) -> int:
    """Shows the first rows that leave ``step`` and gives the exit code."""
    redact = Redactor()
    threads = WorkerThreads()
    logs.set_up(QUIET, redact)
    out = streams.take_stdout()  # what plugins print goes to stderr
    try:
        whole = entrypoint.prepare(str(file), variables=options.variables, profile=options.profile)
        prepared, collected = entrypoint.for_preview(
            whole, step, rows=options.rows, limit_rows=options.limit_rows
        )
        with logs.bugs_masked(redact), Interruption() as interruption:
            result = asyncio.run(_run(prepared, redact, threads, interruption))
    except ConfigError as error:
        show(error, redact)
        return exits.WRONG_CONFIGURATION
    code = exits.of(result, interruption.code)
    if code == exits.FINE:
        _write(collected.preview(result), options, out, redact)
    out.flush()
    if threads.abandoned:  # see cli/run.py
        sys.stderr.flush()
        os._exit(code)
    return code


async def _run(
    prepared: Prepared, redact: Redactor, threads: WorkerThreads, interruption: Interruption
) -> RunResult:
    lines = Lines(sys.stderr, QUIET, redact)
    return await entrypoint.execute(
        prepared, [lines], redact=redact, threads=threads, started=interruption.watch
    )


def _write(found: Preview, options: Options, out: TextIO, redact: Callable[[str], str]) -> None:
    if options.json:
        out.write(redact(json_text.dumps(_as_data(found), ensure_ascii=False)) + "\n")
        return
    for name, sample in found.samples.items():
        if len(found.samples) > 1:
            out.write(f"{grid.cell(name)}:\n")
        if sample.table is None:
            out.write(f"{redact(sample.caption)}\n")
            continue
        if out.isatty():
            _draw(sample, out, redact)
        else:
            out.writelines(f"{redact(line)}\n" for line in grid.lines(sample.table, sample.types))
        if len(found.samples) > 1:
            out.write("\n")
        out.flush()
        sys.stderr.write(
            f"{sample.caption} of {found.address if len(found.samples) == 1 else grid.cell(name)}\n"
        )
    for note in found.notes():
        sys.stderr.write(f"{note}\n")


def _draw(sample: Sample, out: TextIO, redact: Callable[[str], str]) -> None:
    """The table for a terminal; what is wider stands in parts, one below the other."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    assert sample.table is not None  # the caller has looked
    console = Console(file=out)
    heads = [
        Text.assemble(grid.cell(name), "\n", (grid.cell(kind), "dim not bold"))
        for name, kind in zip(sample.table.column_names, sample.types, strict=True)
    ]
    rows = [
        [
            Text(redact(grid.cell(value)), style="dim italic" if value is None else "")
            for value in row.values()
        ]
        for row in grid.values(sample.table)
    ]
    widths = [
        max([*(grid.width(part) for part in head.plain.split("\n")), *(row[index].cell_len for row in rows)])
        for index, head in enumerate(heads)
    ]
    for columns in _parts(widths, console.width):
        drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for index in columns:
            side = "right" if grid.is_number(sample.table.schema.field(index).type) else "left"
            drawn.add_column(heads[index], justify=side, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type] # two of its words
        for row in rows:
            drawn.add_row(*(row[index] for index in columns))
        console.print(drawn)


def _parts(widths: list[int], most: int) -> list[list[int]]:
    """The columns by number, in groups that are no wider than ``most``."""
    parts: list[list[int]] = [[]]
    left = most - 1
    for index, width in enumerate(widths):
        if parts[-1] and width + _BETWEEN > left:
            parts.append([])
            left = most - 1
        parts[-1].append(index)
        left -= width + _BETWEEN
    return parts


def _as_data(found: Preview) -> dict[str, Any]:
    """Plain data: the step, and for each table its columns and rows."""
    tables: dict[str, Any] = {}
    for name, sample in found.samples.items():
        if sample.table is None:
            tables[name] = {
                "object": type(sample.value).__name__,
                "text": grid.cell(repr(sample.value), 2000),
            }
            continue
        tables[name] = {
            "columns": [
                {"name": column, "type": kind}
                for column, kind in zip(sample.table.column_names, sample.types, strict=True)
            ],
            "rows": [
                {column: grid.plain(value) for column, value in row.items()}
                for row in grid.values(sample.table)
            ],
            "more": sample.more,
        }
    return {
        "step": str(found.address),
        "tables": tables,
        "limit_rows": found.limit_rows,
        "limited": list(found.limited),
    }
