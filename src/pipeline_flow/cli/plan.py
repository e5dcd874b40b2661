"""``pipeline-flow plan``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_flow import entrypoint
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import logs
from pipeline_flow.cli.problems import show
from pipeline_flow.errors import ConfigError
from pipeline_flow.listeners.text import printable
from pipeline_flow.plan import render, view
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_flow.entrypoint import Prepared


@dataclass(frozen=True, slots=True)
class Form:
    """How a plan is shown: as text, unless one of these is set."""

    json: bool = False
    mermaid: bool = False
    svg: Path | None = None


def plan(
    file: Path,
    form: Form,
    *,
    select: tuple[str, ...],
    variables: dict[str, str],
    profile: str | None = None,
) -> int:
    """Shows what a run of ``file`` would do and gives the exit code; nothing is run, and nobody is asked."""
    redact = Redactor()
    try:
        prepared = entrypoint.prepare(str(file), variables=variables, profile=profile, select=select)
    except ConfigError as error:
        show(error, redact)
        return exits.WRONG_CONFIGURATION
    redact.add_confidential(prepared.plan.confidential)
    for problem in prepared.warnings:
        sys.stderr.write(f"warning: {printable(redact(problem.render()))}\n\n")
    with logs.bugs_masked(redact):
        return _show(prepared, form)


def _show(prepared: Prepared, form: Form) -> int:
    found = view.of(prepared.plan, prepared.catalog)
    if form.json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
    elif form.mermaid:
        sys.stdout.write(render.mermaid(found))
    elif form.svg is not None:
        return _write_svg(found, form.svg)
    else:
        ascii_only = not sys.stdout.encoding.lower().startswith("utf")
        sys.stdout.write(render.text(found, width=_width(), ascii_only=ascii_only))
    return exits.FINE


def _write_svg(found: view.PlanView, file: Path) -> int:
    from pipeline_flow.plan import svg

    try:
        file.write_text(svg.draw(found), encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        sys.stderr.write(printable(f"{file} cannot be written: {reason}\n"))
        return exits.WRONG_CONFIGURATION
    sys.stderr.write(printable(f"{file}: written\n"))
    return exits.FINE


def _width() -> int | None:
    """The terminal's; text that goes elsewhere is not cut."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None
