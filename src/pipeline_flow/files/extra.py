"""Libraries that are installed with an extra."""

from __future__ import annotations

import importlib
from typing import Any

from pipeline_flow.errors import SourceUnreadable


def library(name: str, extra: str) -> Any:
    """The module ``name``.

    Raises:
        SourceUnreadable: it is not installed; the hint says how it is.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
    raise SourceUnreadable(
        f"the library {name} is not installed", hint=f'pip install "pipeline-flow[{extra}]"'
    )
