"""Data pipelines as one YAML file and one command.

>>> import asyncio
>>> from pipeline_flow import start_orchestration
>>> asyncio.run(start_orchestration("pipelines.yaml"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "2.0.0.dev0"

_HOME = {
    "extract": "pipeline_flow.plugins.base",
    "transform": "pipeline_flow.plugins.base",
    "load": "pipeline_flow.plugins.base",
    "transform_at_load": "pipeline_flow.plugins.base",
    "Context": "pipeline_flow.core.context",
    "BatchStream": "pipeline_flow.data",
    "Flow": "pipeline_flow.flow",
    "RetryableError": "pipeline_flow.errors",
    "start_orchestration": "pipeline_flow.entrypoint",
    "run": "pipeline_flow.entrypoint",
}

__all__ = [
    "BatchStream",
    "Context",
    "Flow",
    "RetryableError",
    "__version__",
    "extract",
    "load",
    "run",
    "start_orchestration",
    "transform",
    "transform_at_load",
]

if TYPE_CHECKING:
    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.entrypoint import run, start_orchestration
    from pipeline_flow.errors import RetryableError
    from pipeline_flow.flow import Flow
    from pipeline_flow.plugins.base import extract, load, transform, transform_at_load


def __getattr__(name: str) -> Any:
    # Names are imported when first used, so that `pipeline-flow --help` loads nothing heavy.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
