"""``pipeline-flow config``."""

from __future__ import annotations

import json as json_text
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline_flow import entrypoint
from pipeline_flow import plan as planning
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import logs, streams
from pipeline_flow.cli.problems import show
from pipeline_flow.config import writer
from pipeline_flow.config.source import Map, graft
from pipeline_flow.config.trace import trace
from pipeline_flow.core import spec
from pipeline_flow.core.text import printable
from pipeline_flow.errors import ConfigError, InternalError
from pipeline_flow.plan.resolved import Resolved
from pipeline_flow.secret import MASK, Redactor, is_secret_name

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TextIO

    from pipeline_flow.config import Config
    from pipeline_flow.core.inventory import Catalog


def config(file: Path, *, variables: dict[str, str], profile: str | None, json: bool) -> int:
    """Prints the whole configuration, resolved, and gives the exit code."""
    out = streams.take_stdout()  # what files of plugins print goes to stderr
    try:
        found, catalog = entrypoint.load(str(file), variables=variables, profile=profile)
        with spec.quickly():
            warnings = planning.build(found, catalog).warnings
    except ConfigError as error:
        show(error, Redactor())
        return exits.WRONG_CONFIGURATION
    for problem in warnings:
        sys.stderr.write(f"warning: {printable(problem.render())}\n\n")
    resolved = Resolved(found, catalog)
    with logs.bugs_masked(_redactor(found, catalog)):
        data = resolved.data()
    out.write(json_text.dumps(data, indent=2, ensure_ascii=False) + "\n" if json else _yaml(data))
    out.flush()
    if resolved.masked:
        one = resolved.masked == 1
        sys.stderr.write(f"{resolved.masked} value{' is' if one else 's are'} masked\n")
    return exits.FINE


def _redactor(found: Config, catalog: Catalog) -> Redactor:
    redact = Redactor()
    redact.add_confidential(planning.confidential_in(found, catalog))
    return redact


def _yaml(data: dict[str, Any]) -> str:
    tree = graft(data, 0)
    assert isinstance(tree, Map)  # the data is a mapping
    return writer.text([tree], _refuse)


def _refuse(text: str, _: Any) -> NoReturn:
    raise InternalError(f"a resolved configuration cannot be written: {text}")


def explain(file: Path, path: str, *, variables: dict[str, str], profile: str | None) -> int:
    """Prints where the value at ``path`` comes from, and gives the exit code."""
    out = streams.take_stdout()
    try:
        found, catalog = entrypoint.load(str(file), variables=variables, profile=profile)
        with logs.bugs_masked(_redactor(found, catalog)):
            links = trace(found, path, os.environ)
    except ConfigError as error:
        show(error, Redactor())
        return exits.WRONG_CONFIGURATION
    resolved = Resolved(found, catalog)
    resolved.data()  # so that it knows what is secret
    hidden = any(is_secret_name(part) for part in path.split("."))
    texts = [
        "  " * link.depth
        + (MASK if hidden and link.depth == 0 and "${{" not in link.text else resolved.redact(link.text))
        for link in links
    ]
    _write(out, texts, [str(link.position or "") for link in links])
    wrong = sum(not problem.warning for problem in found.problems)
    if wrong:
        sys.stderr.write(
            f"{wrong} problem{'' if wrong == 1 else 's'} in the configuration: pipeline-flow validate\n"
        )
    return exits.FINE


def _write(out: TextIO, texts: list[str], places: list[str]) -> None:
    lines = [printable(text).replace("\n", "\\n") for text in texts]
    width = min(max(map(len, lines)), 76)
    out.writelines(
        f"{line:<{width}}  {printable(place)}".rstrip() + "\n"
        for line, place in zip(lines, places, strict=True)
    )
    out.flush()
