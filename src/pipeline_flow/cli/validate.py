"""``pipeline-flow validate``."""

from __future__ import annotations

import json as json_text
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_flow import entrypoint
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import streams
from pipeline_flow.cli.problems import show
from pipeline_flow.core.text import printable
from pipeline_flow.errors import ConfigError, TargetUnwritable
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from typing import TextIO

    from pipeline_flow.config.fix import Fix
    from pipeline_flow.errors import Problem


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a check. ``fix`` writes into the files."""

    select: tuple[str, ...] = ()
    variables: dict[str, str] | None = None
    profile: str | None = None
    json: bool = False
    fix: bool = False


def validate(file: Path, options: Options) -> int:
    """Checks ``file`` and gives the exit code."""
    redact = Redactor()
    out = streams.take_stdout() if options.json else None  # what files of plugins print goes to stderr
    fixed: list[Fix] = []
    try:
        if options.fix:
            fixed = _fix(file, options, redact)
        prepared = entrypoint.prepare(
            str(file),
            variables=options.variables,
            profile=options.profile,
            select=options.select,
            thorough=False,
        )
    except ConfigError as error:
        if out is None:
            show(error, redact)
        else:
            _write(out, error.problems, fixed if options.fix else None, redact)
        return exits.WRONG_CONFIGURATION
    if out is not None:
        _write(out, prepared.warnings, fixed if options.fix else None, redact)
        return exits.FINE
    for problem in prepared.warnings:
        sys.stderr.write(f"warning: {printable(redact(problem.render()))}\n\n")
    pipelines = prepared.plan.pipelines
    steps = sum(len(phase.all_steps()) for pipeline in pipelines for phase in pipeline.phases)
    sys.stderr.write(
        f"{file}: fine: {len(pipelines)} pipeline{'' if len(pipelines) == 1 else 's'}, "
        f"{steps} step{'' if steps == 1 else 's'}\n"
    )
    return exits.FINE


def _fix(file: Path, options: Options, redact: Callable[[str], str]) -> list[Fix]:
    from pipeline_flow.cli.fixing import Fixing

    try:
        done = Fixing(file, variables=options.variables, profile=options.profile, select=options.select).run()
    except TargetUnwritable as error:
        raise ConfigError(str(error), hint=error.hint) from None
    for item in done:
        sys.stderr.write(printable(redact(f"{item.position}  {item.wrong} → {item.right}\n")))
    return done


def _write(
    out: TextIO, problems: Iterable[Problem], fixed: list[Fix] | None, redact: Callable[[str], str]
) -> None:
    """The problems as one JSON object."""
    listed = [problem.as_dict() for problem in problems]
    found: dict[str, Any] = {
        "ok": all(item["warning"] for item in listed),
        "problems": [item for item in listed if not item["warning"]],
        "warnings": [item for item in listed if item["warning"]],
    }
    if fixed is not None:
        found["fixed"] = [
            {
                "file": item.position.file,
                "line": item.position.line,
                "column": item.position.column,
                "wrong": item.wrong,
                "right": item.right,
            }
            for item in fixed
        ]
    out.write(redact(json_text.dumps(found, indent=2, ensure_ascii=False)) + "\n")
    out.flush()
