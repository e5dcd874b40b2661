from __future__ import annotations

from typing import Any

import pytest

from tests.engine import plugins
from tests.engine.plugins import Journal


@pytest.fixture
def journal() -> type[Journal]:
    """What the waiting plugins did in this test."""
    Journal.clear()
    plugins._Waits.calls.clear()
    return Journal


def step(plugin: str = "wait", id: str | None = None, **keys: Any) -> dict[str, Any]:  # noqa: A002 - the key's name
    """A step; keys that are not the language's are arguments."""
    policies: dict[str, Any] = {
        name: keys.pop(name) for name in ("retry", "timeout", "input", "on_bad_row") if name in keys
    }
    return {"plugin": plugin, **({"id": id} if id else {}), **({"args": keys} if keys else {}), **policies}


def etl(*, extract: Any = None, transform: Any = None, load: Any = None, **keys: Any) -> dict[str, Any]:
    """An ETL pipeline; each phase is a list of steps, or a whole phase."""
    return _pipeline("ETL", extract=extract or [step()], transform=transform, load=load or [step()], **keys)


def elt(*, extract: Any = None, load: Any = None, at_load: Any = None, **keys: Any) -> dict[str, Any]:
    """An ELT pipeline."""
    return _pipeline(
        "ELT",
        extract=extract or [step()],
        load=load or [step()],
        transform_at_load=at_load or [step()],
        **keys,
    )


def _pipeline(type_: str, *, needs: Any = None, **phases: Any) -> dict[str, Any]:
    built = {
        name: phase if isinstance(phase, dict) else {"steps": phase}
        for name, phase in phases.items()
        if phase is not None
    }
    return {"type": type_, "phases": built, **({"needs": needs} if needs else {})}
