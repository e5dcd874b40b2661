"""Events as NDJSON: one JSON object per line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from pipeline_flow.secret import redacted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_flow.events import Event


class JsonLines:
    """Writes each event as one line of JSON; the key ``event`` names its class.

    Args:
        out: where the lines go; flushed after each.
        redact: masks secrets in every text.
    """

    def __init__(self, out: TextIO, redact: Callable[[str], str]) -> None:
        self._out = out
        self._redact = redact

    def handle(self, event: Event) -> None:
        """See :class:`~pipeline_flow.listeners.bus.Listener`."""
        self._out.write(json.dumps(redacted(event.as_dict(), self._redact), ensure_ascii=True) + "\n")
        self._out.flush()
