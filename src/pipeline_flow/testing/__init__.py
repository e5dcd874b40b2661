"""What tests of pipelines and plugins use.

A plugin called without a run (:func:`call`, :class:`Bench`), the suites that every connector must pass, a source and a
destination in memory, a recording listener, the real engine under virtual time. Names are imported when first used;
only the suites and the fixture need pytest.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

_HOME = {
    "Bench": "pipeline_flow.testing.bench",
    "Deadlock": "pipeline_flow.testing.simulation",
    "DestinationSuite": "pipeline_flow.testing.suites",
    "MemoryStore": "pipeline_flow.testing.memory",
    "Recorder": "pipeline_flow.testing.recorder",
    "Simulation": "pipeline_flow.testing.simulation",
    "SourceSuite": "pipeline_flow.testing.suites",
    "block": "pipeline_flow.testing.simulation",
    "breaking": "pipeline_flow.testing.samples",
    "call": "pipeline_flow.testing.bench",
    "every_type": "pipeline_flow.testing.samples",
    "memory_store": "pipeline_flow.testing.memory",
    "nested": "pipeline_flow.testing.samples",
    "not_applicable": "pipeline_flow.testing.suites",
}

__all__ = [
    "Bench",
    "Deadlock",
    "DestinationSuite",
    "MemoryStore",
    "Recorder",
    "Simulation",
    "SourceSuite",
    "block",
    "breaking",
    "call",
    "every_type",
    "memory_store",
    "nested",
    "not_applicable",
]

if TYPE_CHECKING:
    from pipeline_flow.testing.bench import Bench, call
    from pipeline_flow.testing.memory import MemoryStore, memory_store
    from pipeline_flow.testing.recorder import Recorder
    from pipeline_flow.testing.samples import breaking, every_type, nested
    from pipeline_flow.testing.simulation import Deadlock, Simulation, block
    from pipeline_flow.testing.suites import DestinationSuite, SourceSuite, not_applicable

if (_pytest := sys.modules.get("pytest")) is not None:
    # A failed assertion of a suite shows its values, as one in a test file does.
    _pytest.register_assert_rewrite("pipeline_flow.testing.suites")


def __getattr__(name: str) -> Any:
    # Imported when first used: pytest need not be installed for the other names.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
