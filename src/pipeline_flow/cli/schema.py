"""``pipeline-flow schema``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pipeline_flow import entrypoint
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import streams
from pipeline_flow.cli.problems import show
from pipeline_flow.core import discovery
from pipeline_flow.errors import ConfigError
from pipeline_flow.plan import json_schema
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from pathlib import Path


def schema(file: Path | None, profile: str | None) -> int:
    """Prints the JSON Schema of the language and gives the exit code; with the plugins that ``file`` names."""
    out = streams.take_stdout()  # what files of plugins print goes to stderr
    try:
        catalog = discovery.catalog() if file is None else entrypoint.load(str(file), profile=profile)[1]
    except ConfigError as error:
        show(error, Redactor())
        return exits.WRONG_CONFIGURATION
    found = json_schema.of(catalog, closed=file is not None)
    out.write(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    out.flush()
    return exits.FINE
