"""Names that a file adds to the environment: ``--env-file``."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from pipeline_flow.config.source import read
from pipeline_flow.errors import FileUnreadable, Position

if TYPE_CHECKING:
    from pathlib import Path


def add(file: Path) -> None:
    """Puts the lines ``NAME=value`` of ``file`` into the environment; what is set there already stays.

    Values may stand in quotes; ``$NAME`` in a value is not replaced. A line that is only a name adds nothing.

    Raises:
        FileUnreadable: there is no such file, it may not be read, or a line of it cannot be.
    """
    from dotenv.parser import parse_stream

    text = read(file).text
    for line in parse_stream(io.StringIO(text)):
        if line.error:
            number = line.original.line + _empty(line.original.string)
            shown = text.splitlines()[number - 1]
            raise FileUnreadable(
                [
                    FileUnreadable.problem(
                        "this line is not NAME=value",
                        Position(str(file), number, 1, max(1, len(shown))),
                        hint="a value with spaces or a # in it stands in quotes",
                        source_line=shown,
                    )
                ]
            )
        if line.key is not None and line.value is not None:
            os.environ.setdefault(line.key, line.value)


def _empty(text: str) -> int:
    """How many empty lines ``text`` begins with."""
    return text[: len(text) - len(text.lstrip())].count("\n")
