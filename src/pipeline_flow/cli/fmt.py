"""``pipeline-flow fmt``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline_flow.cli import exit as exits
from pipeline_flow.cli.fixing import write
from pipeline_flow.cli.problems import show
from pipeline_flow.config import read
from pipeline_flow.config.format import formatted
from pipeline_flow.core.text import printable
from pipeline_flow.errors import ConfigError, TargetUnwritable
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def fmt(files: Iterable[Path], *, check: bool) -> int:
    """Formats ``files``, or with ``check`` names those that would change, and gives the exit code."""
    code = exits.FINE
    for file in files:
        try:
            source = read(file)
            text = formatted(source)
            if text == source.text:
                continue
            if not check:
                write(file, text)
        except ConfigError as error:
            show(error, Redactor(), f"; {file} is as it was")
            code = exits.WRONG_CONFIGURATION
            continue
        except TargetUnwritable as error:
            sys.stderr.write(printable(f"{error}\n"))
            code = exits.WRONG_CONFIGURATION
            continue
        sys.stderr.write(printable(f"{file}: {'would change' if check else 'formatted'}\n"))
        if check and code == exits.FINE:
            code = exits.PIPELINE_FAILED
    return code
