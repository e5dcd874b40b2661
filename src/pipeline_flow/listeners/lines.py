"""One plain line per event."""

from __future__ import annotations

from functools import singledispatchmethod
from typing import TYPE_CHECKING, TextIO

from pipeline_flow import events
from pipeline_flow.listeners import text

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET, NORMAL, VERBOSE = -1, 0, 1


class Lines:
    """Writes a line for each event that ``level`` lets through.

    ``QUIET`` shows failures and warnings, ``NORMAL`` adds what starts and ends, ``VERBOSE`` everything.

    Args:
        out: where the lines go; flushed after each.
        level: how much is shown.
        redact: masks secrets in every line.
        always: events that are shown whatever the level.
    """

    def __init__(
        self,
        out: TextIO,
        level: int,
        redact: Callable[[str], str],
        *,
        always: tuple[type[events.Event], ...] = (),
    ) -> None:
        self._out = out
        self._always = always
        self._level = level
        self._redact = redact
        self._started = 0.0

    def handle(self, event: events.Event) -> None:
        """See :class:`~pipeline_flow.listeners.bus.Listener`."""
        if isinstance(event, events.RunStarted):
            self._started = event.at
        line = self._line(event)
        if line is None:
            return
        level, body = line
        if level <= self._level or isinstance(event, self._always):
            shown = text.printable(self._redact(body)).replace("\n", "\n           ")
            self._out.write(f"{event.at - self._started:9.2f}s {shown}\n")
            self._out.flush()

    @singledispatchmethod
    def _line(self, event: events.Event) -> tuple[int, str] | None:  # noqa: ARG002 - an event that has no line
        return None

    @_line.register
    def _(self, event: events.RunStarted) -> tuple[int, str]:
        number = len(event.pipelines)
        plural = "" if number == 1 else "s"
        name = f"{event.name}: " if event.name else ""
        return (
            NORMAL,
            f"{name}run {event.run_id}, {number} pipeline{plural}, at most {event.concurrency} at a time",
        )

    @_line.register
    def _(self, event: events.RunFinished) -> tuple[int, str]:
        reason = f": {event.reason}" if event.reason else ""
        return NORMAL, f"run {event.status} in {text.seconds(event.seconds)}{reason}"

    @_line.register
    def _(self, event: events.PipelineStarted) -> tuple[int, str]:
        return NORMAL, f"{event.pipeline}: started"

    @_line.register
    def _(self, event: events.PipelineFinished) -> tuple[int, str]:
        level = QUIET if event.status is events.Status.FAILED else NORMAL
        return level, f"{event.pipeline}: {event.status} in {text.seconds(event.seconds)}"

    @_line.register
    def _(self, event: events.PipelineSkipped) -> tuple[int, str]:
        return QUIET, f"{event.pipeline}: skipped, {event.reason}"

    @_line.register
    def _(self, event: events.PhaseStarted) -> tuple[int, str]:
        return VERBOSE, f"{event.pipeline}.{event.phase}: started"

    @_line.register
    def _(self, event: events.PhaseFinished) -> tuple[int, str]:
        return VERBOSE, f"{event.pipeline}.{event.phase}: {event.status} in {text.seconds(event.seconds)}"

    @_line.register
    def _(self, event: events.StepStarted) -> tuple[int, str]:
        again = f", attempt {event.attempt}" if event.attempt > 1 else ""
        return VERBOSE, f"{event.address}: {event.plugin} started{again}"

    @_line.register
    def _(self, event: events.StepProgress) -> tuple[int, str]:
        return VERBOSE, f"{event.address}: {text.rows(event.rows)} so far, {text.size(event.bytes)}"

    @_line.register
    def _(self, event: events.StepRetried) -> tuple[int, str]:
        return QUIET, (
            f"{event.address}: attempt {event.attempt} failed: {event.failure.message}; "
            f"trying again in {text.seconds(event.wait)}"
        )

    @_line.register
    def _(self, event: events.StepFinished) -> tuple[int, str]:
        what = ""
        if event.rows_out is not None:
            what = f"{text.rows(event.rows_out)} "
        elif event.rows_in is not None:
            what = f"{text.rows(event.rows_in)} read "
        rejected = f", {text.rows(event.rejected)} rejected" if event.rejected else ""
        return NORMAL, f"{event.address}: {what or 'done '}in {text.seconds(event.seconds)}{rejected}"

    @_line.register
    def _(self, event: events.StepFailed) -> tuple[int, str]:
        if event.status is events.Status.CANCELLED:
            return NORMAL, f"{event.address}: cancelled after {text.seconds(event.seconds)}"
        where = f" ({event.failure.line})" if event.failure.line else ""
        hint = f"\n{event.failure.hint}" if event.failure.hint else ""
        return QUIET, f"{event.address}: FAILED: {event.failure.message}{where}{hint}"

    @_line.register
    def _(self, event: events.DataStaged) -> tuple[int, str]:
        memory, disk = text.size(event.memory_bytes), text.size(event.disk_bytes)
        return (
            VERBOSE,
            f"{event.pipeline}: {text.rows(event.rows)} of `{event.name}` wait, {memory} in memory, {disk} on disk",
        )

    @_line.register
    def _(self, event: events.LoadCommitted) -> tuple[int, str]:
        return (
            NORMAL,
            f"{event.pipeline}: committed {', '.join(event.loads)} to {text.place(event.destination)}",
        )

    @_line.register
    def _(self, event: events.LoadAborted) -> tuple[int, str]:
        return (
            NORMAL,
            f"{event.pipeline}: rolled back {', '.join(event.loads)} in {text.place(event.destination)}",
        )

    @_line.register
    def _(self, event: events.Notice) -> tuple[int, str]:
        level = QUIET if event.level == "warning" else NORMAL
        where = event.step or event.pipeline
        mark = "warning: " if event.level == "warning" else ""
        return level, f"{where}: {mark}{event.text}" if where else f"{mark}{event.text}"
