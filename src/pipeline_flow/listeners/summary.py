"""The closing summary: rows, bytes and seconds of every step, the bottleneck, and what to do after a failure."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from pipeline_flow import events
from pipeline_flow.events import Status
from pipeline_flow.listeners import text
from pipeline_flow.listeners.critical import CriticalPath
from pipeline_flow.listeners.table import Column, Row, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline_flow.engine import RunResult
    from pipeline_flow.listeners.table import Line

_COLUMNS = (Column("rows in", 2), Column("rows out", 1), Column("bytes", 3), Column("seconds"))
_BOLD = "1"
_COLOURS = {
    Status.SUCCEEDED: "32",
    Status.FAILED: "1;31",
    Status.CANCELLED: "33",
    Status.SKIPPED: "33",
}


@dataclass(slots=True)
class _Step:
    address: events.Address
    status: Status
    seconds: float
    rows_in: int | None = None
    rows_out: int | None = None
    bytes: int | None = None
    attempts: int = 1
    failure: events.Failure | None = None


@dataclass(slots=True)
class _Pipeline:
    name: str
    status: Status | None = None
    seconds: float = 0.0
    reason: str = ""
    failure: events.Failure | None = None
    steps: dict[events.Address, _Step] = field(default_factory=dict)
    attempts: dict[events.Address, int] = field(default_factory=dict)

    def in_order(self) -> list[_Step]:
        """The steps in the order in which they first started."""
        order = {address: index for index, address in enumerate(self.attempts)}
        return sorted(self.steps.values(), key=lambda step: order[step.address])


class Summary:
    """Collects a run's events and writes its summary when the run ends.

    On a terminal it is as wide as that and has colours, unless ``NO_COLOR`` is set.

    Args:
        out: where the summary goes.
        redact: masks secrets.
        rerun: the command that runs the named pipelines again, for the advice after a failure; it gets their names.
        only_failures: write nothing after a run that succeeded.
    """

    def __init__(
        self,
        out: TextIO,
        redact: Callable[[str], str],
        rerun: Callable[[tuple[str, ...]], str] | None = None,
        *,
        only_failures: bool = False,
    ) -> None:
        self._out = out
        self._redact = redact
        self._rerun = rerun
        self._only_failures = only_failures
        self._pipelines: dict[str, _Pipeline] = {}
        self._path = CriticalPath()
        terminal = out.isatty()
        self._width = _width_of(out) if terminal else None
        self._colours = (
            terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
        )
        self._ellipsis = (
            "…" if (getattr(out, "encoding", None) or "utf-8").lower().startswith("utf") else "..."
        )

    def handle(self, event: events.Event) -> None:
        """See :class:`~pipeline_flow.listeners.bus.Listener`."""
        self._path.handle(event)
        match event:
            case events.RunStarted():
                self._pipelines = {name: _Pipeline(name) for name in event.pipelines}
            case events.StepStarted():
                self._pipelines[event.address.pipeline].attempts[event.address] = event.attempt
            case events.StepFinished():
                rows = event.rows_in, event.rows_out
                self._keep(_Step(event.address, Status.SUCCEEDED, event.seconds, *rows, event.bytes))
            case events.StepFailed():
                self._keep(_Step(event.address, event.status, event.seconds, failure=event.failure))
            case events.PipelineFinished():
                pipeline = self._pipelines[event.pipeline]
                pipeline.status, pipeline.seconds = event.status, event.seconds
                pipeline.reason, pipeline.failure = event.reason, event.failure
            case events.PipelineSkipped():
                pipeline = self._pipelines[event.pipeline]
                pipeline.status, pipeline.reason = Status.SKIPPED, event.reason
            case events.RunFinished():
                if not (self._only_failures and event.status is Status.SUCCEEDED):
                    self._out.write(self.render(event))
                    self._out.flush()

    def _keep(self, step: _Step) -> None:
        pipeline = self._pipelines[step.address.pipeline]
        # A step whose constructor failed has not started.
        step.attempts = pipeline.attempts.setdefault(step.address, 1)
        pipeline.steps[step.address] = step

    def render(self, event: events.RunFinished) -> str:
        """The summary as text."""
        status = event.status
        lines = ["", *self._table(), "", self._painted(self._clean(self._verdict(event)), _COLOURS[status])]
        lines += self._bottleneck(event.seconds)
        lines += self._failures()
        return "\n".join(lines) + "\n"

    def _clean(self, foreign: str) -> str:
        return text.printable(self._redact(foreign))

    def _painted(self, words: str, colour: str) -> str:
        return f"\x1b[{colour}m{words}\x1b[0m" if self._colours and colour and words else words

    def _table(self) -> list[str]:
        rows = []
        for pipeline in self._pipelines.values():
            status = pipeline.status or Status.CANCELLED
            why = f"{status}: {pipeline.reason}" if pipeline.reason else str(status)
            seconds = "" if pipeline.status is Status.SKIPPED else f"{pipeline.seconds:.2f}"
            rows.append(self._row(pipeline.name, ("", "", "", seconds), why, status))
            rows += [self._step_row(step) for step in pipeline.in_order()]
        head, *body = lay_out("pipeline / step", _COLUMNS, rows, self._width, self._ellipsis)
        return [str(head), *(self._line(line) for line in body)]

    def _row(self, name: str, cells: tuple[str, ...], note: str, status: Status) -> Row:
        return Row(text.one_line(self._redact(name)), cells, text.one_line(self._redact(note)), str(status))

    def _step_row(self, step: _Step) -> Row:
        note = "" if step.status is Status.SUCCEEDED else str(step.status)
        if step.attempts > 1:
            note = f"{note}, {step.attempts} attempts".removeprefix(", ")
        size = "" if step.bytes is None else text.size(step.bytes)
        cells = text.count(step.rows_in), text.count(step.rows_out), size, f"{step.seconds:.2f}"
        return self._row(f"  {step.address.phase}.{step.address.step}", cells, note, step.status)

    def _line(self, line: Line) -> str:
        if not self._colours:
            return str(line)
        name = line.name if line.name.startswith(" ") else self._painted(line.name, _BOLD)
        return f"{name}{line.cells}  {self._painted(line.note, _COLOURS[Status(line.look)])}".rstrip()

    def _verdict(self, event: events.RunFinished) -> str:
        counts = [
            f"{number} {status}"
            for status in Status
            if (number := sum(pipeline.status is status for pipeline in self._pipelines.values()))
        ]
        number = len(self._pipelines)
        reason = f" ({event.reason})" if event.reason else ""
        return f"{number} pipeline{'' if number == 1 else 's'}: {', '.join(counts)}, in {text.seconds(event.seconds)}{reason}"

    def _bottleneck(self, seconds: float) -> list[str]:
        """A sentence about the step that had the largest share of the run's time."""
        spent = self._path.seconds()
        if not spent or not seconds:
            return []
        step = max(spent, key=lambda address: spent[address])
        share = min(100.0, 100 * spent[step] / seconds)
        place = f"{step.phase} `{text.one_line(self._redact(step.step))}` of {text.one_line(self._redact(step.pipeline))}"
        return [f"{share:.0f} % of the time in {place} ({text.seconds(spent[step])})"]

    def _failures(self) -> list[str]:
        lines: list[str] = []
        for pipeline in self._pipelines.values():
            if pipeline.status is not Status.FAILED:
                continue
            failed = next((step for step in pipeline.steps.values() if step.status is Status.FAILED), None)
            failure = (failed.failure if failed is not None else None) or pipeline.failure
            if failure is None:
                continue
            where = self._clean(str(failed.address) if failed is not None else pipeline.name)
            code = self._painted(f"{where} failed", _COLOURS[Status.FAILED])
            lines += ["", f"{code} [{failure.code}]: {_indented(self._clean(failure.message))}"]
            if failure.line:
                lines.append(f"  at {self._clean(failure.line)}")
            if failure.hint:
                lines.append(f"  {_indented(self._clean(failure.hint))}")
        again = tuple(p.name for p in self._pipelines.values() if p.status is not Status.SUCCEEDED)
        if again and self._rerun is not None:
            lines += ["", self._clean(f"next: {self._rerun(again)}")]
        return lines


def text_of(result: RunResult) -> str:
    """The summary of a run that has ended, as the command line shows it."""
    summary = Summary(io.StringIO(), str)
    for event in _told(result):
        summary.handle(event)
    status, reason = result.status, result.reason
    end = events.RunFinished(
        at=0.0, run_id=result.run_id, status=status, seconds=result.seconds, reason=reason
    )
    return text.printable(summary.render(end)).strip("\n")


def _told(result: RunResult) -> Iterator[events.Event]:
    """The events that a summary is drawn from."""
    names = tuple(result.pipelines)
    yield events.RunStarted(at=0.0, run_id=result.run_id, name=result.name, pipelines=names, concurrency=1)
    for name, pipeline in result.pipelines.items():
        if pipeline.status is Status.SKIPPED:
            yield events.PipelineSkipped(at=0.0, pipeline=name, reason=pipeline.reason)
            continue
        yield events.PipelineStarted(at=0.0, pipeline=name)
        for step in pipeline.steps:
            yield events.StepStarted(
                at=0.0, address=step.address, plugin=step.plugin, attempt=max(1, step.attempts)
            )
            if step.failure is None:
                yield events.StepFinished(
                    at=0.0,
                    address=step.address,
                    seconds=step.seconds,
                    rows_in=step.rows_in,
                    rows_out=step.rows_out,
                    bytes=step.bytes,
                    rejected=step.rejected,
                )
            else:
                yield events.StepFailed(
                    at=0.0,
                    address=step.address,
                    status=step.status,
                    seconds=step.seconds,
                    failure=step.failure,
                )
        yield events.PipelineFinished(
            at=0.0,
            pipeline=name,
            status=pipeline.status,
            seconds=pipeline.seconds,
            failure=pipeline.failure,
            reason=pipeline.reason,
        )


def _indented(message: str) -> str:
    return message.replace("\n", "\n  ")


def _width_of(out: TextIO) -> int | None:
    try:
        return os.get_terminal_size(out.fileno()).columns or None
    except (OSError, ValueError):
        return None
