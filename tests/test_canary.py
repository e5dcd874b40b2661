"""A secret in clear nowhere; the whole as a command: ``python -m tests.canary``."""

from __future__ import annotations

import pytest

from pipeline_flow import events
from pipeline_flow.secret import Redactor
from tests import canary


@pytest.mark.slow
def test_no_secret_comes_out_of_any_sink() -> None:
    found = canary.search()
    assert not found.hits, "\n".join(found.hits)
    assert len(found.sinks) > 70
    assert found.characters > 1_000_000, "the plugins have said what they had to say"
    assert found.masks > 10_000, "and it was masked"


def test_every_command_and_every_listener_is_driven() -> None:
    """A new one fails here until it has its place in ``tests/canary.py``."""
    commands = set(canary.commands())
    assert commands <= {*canary.COMMANDS, *canary.WITHOUT_SECRETS}
    assert {"run", "validate", "plugins show"} <= commands
    listeners = {cls.__name__ for cls in canary.listener_classes()}
    assert listeners <= {*canary.LISTENERS, *canary.SILENT}
    assert {"Lines", "JsonLines", "Log", "Summary"} <= listeners


def test_every_kind_of_event_can_carry_a_secret() -> None:
    for kind in canary.event_classes():
        assert isinstance(canary.of_secrets(kind, "a secret"), events.Event)


@pytest.mark.parametrize("origin", canary.ORIGINS)
def test_what_is_looked_for_is_found_where_nothing_masks_it(origin: str) -> None:
    secret = canary.ORIGINS[origin]
    marks = canary.traces(secret)
    for notation in canary.notations(secret):
        shown = any(mark in notation for mark in marks)
        redact = Redactor()
        redact.add(secret)
        assert not any(mark in redact(f"before {notation} behind") for mark in marks), notation
        assert shown or "\n" in notation or "%" in notation or "\\" in notation, notation
