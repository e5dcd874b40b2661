"""Events as records of the standard ``logging`` module, for programs that run pipelines from Python."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

from pipeline_flow import events
from pipeline_flow.listeners.lines import VERBOSE, Lines
from pipeline_flow.secret import redacted

if TYPE_CHECKING:
    from collections.abc import Callable

_LEVELS = {
    events.StepProgress: logging.DEBUG,
    events.PhaseStarted: logging.DEBUG,
    events.PhaseFinished: logging.DEBUG,
    events.StepStarted: logging.DEBUG,
    events.DataStaged: logging.DEBUG,
    events.StepRetried: logging.WARNING,
    events.StepFailed: logging.ERROR,
    events.PipelineSkipped: logging.WARNING,
    events.LoadAborted: logging.WARNING,
}


class Log:
    """Writes each event to the logger ``pipeline_flow``; the event's fields are in the record's ``event``.

    Handlers and levels are the program's own business; nothing is set up here.
    """

    def __init__(self, redact: Callable[[str], str], logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("pipeline_flow")
        self._buffer = io.StringIO()
        self._redact = redact
        self._lines = Lines(self._buffer, VERBOSE, redact)

    def handle(self, event: events.Event) -> None:
        """See :class:`~pipeline_flow.listeners.bus.Listener`."""
        level = _LEVELS.get(type(event), logging.INFO)
        if isinstance(event, events.Notice) and event.level == "warning":
            level = logging.WARNING
        if isinstance(event, events.StepFailed) and event.status is events.Status.CANCELLED:
            level = logging.WARNING
        if not self._logger.isEnabledFor(level):
            return
        self._lines.handle(event)
        line = self._buffer.getvalue().strip()
        self._buffer.seek(0)
        self._buffer.truncate()
        if line:
            _, _, message = line.partition(" ")
            self._logger.log(
                level, "%s", message.strip(), extra={"event": redacted(event.as_dict(), self._redact)}
            )
