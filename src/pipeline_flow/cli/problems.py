"""How problems of a configuration are shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline_flow.listeners.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_flow.errors import ConfigError


def show(error: ConfigError, redact: Callable[[str], str], then: str = "; nothing has run") -> None:
    """Writes every problem to stderr, with its place, how many there are, and what that means."""
    number = sum(not problem.warning for problem in error.problems)
    for problem in error.problems:
        mark = "warning: " if problem.warning else ""
        sys.stderr.write(f"{mark}{printable(redact(problem.render()))}\n\n")
    sys.stderr.write(f"{number} problem{'' if number == 1 else 's'}{then}\n")
