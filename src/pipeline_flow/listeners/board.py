"""Where a run stands: what its events add up to, as rows of a table that may have only so many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING

from pipeline_flow import events
from pipeline_flow.core import inventory
from pipeline_flow.events import Status
from pipeline_flow.listeners import text
from pipeline_flow.listeners.table import Column, Row
from pipeline_flow.plan.model import EXTRACT, LOAD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline_flow.events import Address
    from pipeline_flow.plan.model import PhasePlan, PipelinePlan, Plan, StepPlan

TITLE = "pipeline / step"
# Wide enough from the start that the table does not jump about while the numbers grow.
COLUMNS = (Column("rows", 1, 9), Column("rows/s", 2, 8), Column("bytes", 3, 9), Column("seconds", 0, 7))


class State(StrEnum):
    """Where a pipeline or a step stands."""

    WAITING = "waiting"
    RUNNING = "running"
    RETRYING = "retrying"
    STAGED = "staged"
    GOOD = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


_OF_STATUS = {
    Status.SUCCEEDED: State.GOOD,
    Status.FAILED: State.FAILED,
    Status.CANCELLED: State.CANCELLED,
    Status.SKIPPED: State.SKIPPED,
}
_MARKS = {
    State.WAITING: "○.",
    State.RUNNING: "●>",
    State.RETRYING: "↻~",
    State.STAGED: "◐=",
    State.GOOD: "✓+",
    State.FAILED: "✗x",
    State.CANCELLED: "✗x",
    State.SKIPPED: "·-",
}
_AT_WORK = (State.RUNNING, State.RETRYING)


@dataclass(slots=True)
class _Step:
    plan: StepPlan
    state: State = State.WAITING
    note: str = ""
    began: float = 0.0  # this attempt, for the rate; the seconds are those of all
    started: float | None = None
    seconds: float | None = None
    rows: int | None = None
    bytes: int | None = None
    again_at: float = 0.0
    attempt: int = 1


@dataclass(slots=True)
class _Pipeline:
    plan: PipelinePlan
    steps: dict[Address, _Step]
    state: State = State.WAITING
    started: float = 0.0
    seconds: float | None = None
    reason: str = ""
    phase: str = ""
    phases: set[str] = field(default_factory=set)


class Board:
    """Follows a run through its events. Not safe for several threads.

    Args:
        plan: what the run does.
        clean: makes foreign text fit for one line of the terminal.
        ascii_only: whether only ASCII can be shown.
    """

    def __init__(self, plan: Plan, clean: Callable[[str], str], *, ascii_only: bool = False) -> None:
        self._plan = plan
        self._clean = clean
        self._ascii = ascii_only
        self._started = 0.0
        self._seconds: float | None = None
        self._pipelines = {pipeline.name: _follow(pipeline) for pipeline in plan.pipelines}

    @property
    def ellipsis(self) -> str:
        """What stands for text that was cut."""
        return "..." if self._ascii else "…"

    def handle(self, event: events.Event) -> None:
        """Takes in what has happened."""
        match event:
            case events.RunStarted():
                self._started = event.at
            case events.RunFinished():
                self._seconds = event.seconds
            case events.PipelineStarted():
                pipeline = self._pipelines[event.pipeline]
                pipeline.state, pipeline.started = State.RUNNING, event.at
            case events.PipelineFinished():
                pipeline = self._pipelines[event.pipeline]
                pipeline.state, pipeline.seconds = _OF_STATUS[event.status], event.seconds
                pipeline.reason = event.reason
            case events.PipelineSkipped():
                pipeline = self._pipelines[event.pipeline]
                pipeline.state, pipeline.reason = State.SKIPPED, event.reason
            case events.PhaseStarted():
                self._pipelines[event.pipeline].phases.add(event.phase)
            case events.LoadCommitted():
                self._tell_loads(event.pipeline, event.loads, State.GOOD, "committed")
            case events.LoadAborted():
                self._tell_loads(event.pipeline, event.loads, State.CANCELLED, "rolled back")
            case _:
                self._handle_step(event)

    def _handle_step(self, event: events.Event) -> None:
        match event:
            case events.StepStarted():
                step = self._step(event.address)
                step.state, step.note, step.began, step.attempt = State.RUNNING, "", event.at, event.attempt
                step.rows = step.bytes = step.seconds = None
                step.started = event.at if step.started is None else step.started
            case events.StepProgress():
                step = self._step(event.address)
                step.rows, step.bytes = event.rows or event.rows_in, event.bytes
            case events.StepRetried():
                step = self._step(event.address)
                step.state, step.again_at = State.RETRYING, event.at + event.wait
            case events.StepFinished():
                step = self._step(event.address)
                step.state = State.STAGED if step.plan.atomic else State.GOOD
                step.note, step.seconds = str(step.state), event.seconds
                rows = event.rows_out if event.rows_out is not None else event.rows_in
                step.rows = step.rows if rows is None else rows
                step.bytes = step.bytes if event.bytes is None else event.bytes
            case events.StepFailed():
                step = self._step(event.address)
                step.state, step.seconds = _OF_STATUS[event.status], event.seconds
                failed = event.status is Status.FAILED
                step.note = f"failed: {event.failure.message}" if failed else str(step.state)
            case _:
                pass

    def _step(self, address: Address) -> _Step:
        return self._pipelines[address.pipeline].steps[address]

    def _tell_loads(self, pipeline: str, loads: tuple[str, ...], state: State, note: str) -> None:
        for step in self._pipelines[pipeline].steps.values():
            address = step.plan.address
            if address.phase == LOAD and address.step in loads and step.state is State.STAGED:
                step.state, step.note = state, note

    # ------------------------------------------------------------------------------------------ what is shown

    def title(self, now: float) -> str:
        """One line about the whole run."""
        states = Counter(pipeline.state for pipeline in self._pipelines.values())
        number = len(self._pipelines)
        told = [f"{states[State.GOOD]} of {number} pipeline{'' if number == 1 else 's'} done"]
        told += [
            f"{states[state]} {state}" for state in (*_AT_WORK, State.FAILED, State.SKIPPED) if states[state]
        ]
        name = f"{self._clean(self._plan.name)}: " if self._plan.name else ""
        seconds = now - self._started if self._seconds is None else self._seconds
        return f"{name}{', '.join(told)}, {_seconds(seconds)}"

    def rows(self, now: float, most: int) -> tuple[list[Row], str]:
        """The rows in the order of the configuration, and what was left out.

        Where there are more than ``most``, what has failed and what is running is kept first.
        """
        entries = list(self._entries())
        if len(entries) <= most:
            return [self._row(entry, now) for _, entry in entries], ""
        ranked = sorted(range(len(entries)), key=lambda index: (entries[index][0], index))
        chosen = sorted(ranked[: max(0, most)])
        left = [entries[index][1] for index in ranked[max(0, most) :]]
        return [self._row(entries[index][1], now) for index in chosen], self._left_out(left)

    def _left_out(self, left: list[_Pipeline | _Step]) -> str:
        pipelines = Counter(str(entry.state) for entry in left if isinstance(entry, _Pipeline))
        steps = sum(isinstance(entry, _Step) for entry in left)
        parts = []
        if pipelines:
            counts = ", ".join(f"{count} {state}" for state, count in pipelines.items())
            number = pipelines.total()
            parts.append(f"{number} more pipeline{'' if number == 1 else 's'} ({counts})")
        if steps:
            parts.append(f"{steps} {'' if pipelines else 'more '}step{'' if steps == 1 else 's'}")
        return f"{self.ellipsis} {', '.join(parts)}"

    def _entries(self) -> Iterator[tuple[int, _Pipeline | _Step]]:
        """Every row with its rank, the lower the more wanted; a pipeline is wanted as much as its steps are."""
        for pipeline in self._pipelines.values():
            steps = [
                (_rank(pipeline, step), step)
                for step in pipeline.steps.values()
                if pipeline.state is State.RUNNING or step.started is not None or step.state is State.FAILED
            ]
            own = {State.FAILED: 0, State.RUNNING: 1, State.WAITING: 4}.get(pipeline.state, 5)
            yield min([own, *(rank for rank, _ in steps)]), pipeline
            yield from steps

    def _row(self, entry: _Pipeline | _Step, now: float) -> Row:
        mark = _MARKS[entry.state][1 if self._ascii else 0]
        if isinstance(entry, _Pipeline):
            seconds = "" if entry.state in (State.WAITING, State.SKIPPED) else _seconds(_took(entry, now))
            note = self._clean(self._pipeline_note(entry))
            return Row(
                f"{mark} {self._clean(entry.plan.name)}", ("", "", "", seconds), note, str(entry.state)
            )
        address = entry.plan.address
        name = f"  {mark} {self._clean(f'{address.phase}.{address.step}')}"
        note = self._clean(self._step_note(entry, now))
        return Row(name, _figures(entry, now), note, str(entry.state))

    def _pipeline_note(self, pipeline: _Pipeline) -> str:
        if pipeline.state is not State.WAITING:
            return f"{pipeline.state}: {pipeline.reason}" if pipeline.reason else str(pipeline.state)
        unmet = [need for need in pipeline.plan.needs if self._pipelines[need].state is not State.GOOD]
        if unmet:
            return f"waits for {', '.join(unmet)}"
        return f"waits for a slot ({self._plan.concurrency} run at a time)"

    def _step_note(self, step: _Step, now: float) -> str:
        again = f", attempt {step.attempt}" if step.attempt > 1 else ""
        if step.state is State.RETRYING:
            return f"retrying in {max(0, ceil(step.again_at - now))} s"
        if step.state is State.RUNNING:
            return f"running{again}"
        if step.state is State.WAITING:
            return f"waits for {self._awaited(step)}"
        return step.note

    def _awaited(self, step: _Step) -> str:
        """What keeps a step of a running pipeline from starting."""
        pipeline = self._pipelines[step.plan.address.pipeline]
        name = step.plan.address.phase
        phases = pipeline.plan.phases
        index = next(index for index, phase in enumerate(phases) if phase.name == name)
        if name not in pipeline.phases:
            return phases[index - 1].name if index else "its plugins to be made"
        return _awaited_in_phase(step, phases[index], pipeline.steps)


def _awaited_in_phase(step: _Step, phase: PhasePlan, steps: dict[Address, _Step]) -> str:
    def unfinished(*plans: StepPlan) -> str:
        return ", ".join(
            plan.address.step for plan in plans if steps[plan.address].state not in (State.GOOD, State.STAGED)
        )

    kind = step.plan.kind
    before: tuple[StepPlan, ...] = ()
    if kind == inventory.MERGE:
        before = phase.steps
    elif kind == inventory.POST:
        before = (*phase.steps, *((phase.merge,) if phase.merge else ()))
        if phase.name == EXTRACT:  # there each gets what the one before it gives
            before += phase.post[: phase.post.index(step.plan)]
    elif kind != inventory.PRE and phase.name in (EXTRACT, LOAD):
        before = phase.pre
        if phase.name == LOAD and not unfinished(*before):
            atomic = tuple(other for other in phase.steps if other.atomic)
            before = atomic[: atomic.index(step.plan)] if step.plan.atomic else atomic
    elif kind != inventory.PRE:
        before = phase.steps[: phase.steps.index(step.plan)][-1:]
    return unfinished(*before) or "a slot of its pipeline"


def _follow(plan: PipelinePlan) -> _Pipeline:
    steps = [step for phase in plan.phases for step in phase.all_steps()]
    return _Pipeline(plan, {step.address: _Step(step) for step in steps})


def _rank(pipeline: _Pipeline, step: _Step) -> int:
    if step.state is State.FAILED:
        return 0
    if step.state in _AT_WORK:
        return 1
    if pipeline.state is not State.RUNNING:
        return 6
    return 2 if step.state is State.STAGED else 3


def _took(entry: _Pipeline | _Step, now: float) -> float:
    return max(0.0, now - (entry.started or 0.0)) if entry.seconds is None else entry.seconds


def _figures(step: _Step, now: float) -> tuple[str, str, str, str]:
    """Rows, rows per second, bytes, seconds."""
    if step.started is None:
        return ("", "", "", "")
    took = _took(step, now)
    at_it = now - step.began if step.seconds is None else took
    rate = "" if not step.rows or at_it <= 0 else f"{step.rows / at_it:,.0f}"
    rows = "" if step.rows is None else text.count(step.rows)
    return (rows, rate, "" if step.bytes is None else text.size(step.bytes), _seconds(took))


def _seconds(value: float) -> str:
    """As :func:`text.seconds`, without the hundredths that nobody can read while they change."""
    return f"{value:.1f}s" if value < 60 else text.seconds(value)
