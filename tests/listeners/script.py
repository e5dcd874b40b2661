"""Runs told by hand: a plan of pipelines that do nothing, and the events of what happened to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline_flow import events
from pipeline_flow.events import Address, Failure, Status
from pipeline_flow.plan.model import LOAD, PHASES, TRANSFORM, PhasePlan, PipelinePlan, Plan, StepPlan

if TYPE_CHECKING:
    from collections.abc import Callable

ASYNC, SYNC = "async", "sync"


def step(pipeline: str, phase: str, name: str, *, kind: str = "", atomic: bool = False) -> StepPlan:
    mode = SYNC if phase in (TRANSFORM, "transform_at_load") else ASYNC
    return StepPlan(Address(pipeline, phase, name), kind or phase, name, {}, mode, atomic=atomic)


def pipeline(name: str, needs: tuple[str, ...] = (), **phases: str) -> PipelinePlan:
    """``pipeline("p", extract="a b", load="x")``; a load whose name ends with ``!`` cannot roll back."""
    planned = []
    for phase in PHASES:
        if phase in phases:
            steps = tuple(
                step(name, phase, id_.rstrip("!"), atomic=phase == LOAD and not id_.endswith("!"))
                for id_ in phases[phase].split()
            )
            planned.append(PhasePlan(phase, steps))
    return PipelinePlan(name, "ETL", tuple(planned), needs)


def plan(*pipelines: PipelinePlan, name: str = "shop", concurrency: int = 2) -> Plan:
    return Plan(name, pipelines, concurrency=concurrency)


class Script:
    """Tells a run. ``at`` is the moment of the next event; each method is one thing that happens, seconds after the last."""

    def __init__(self, plan: Plan, *listeners: Any) -> None:
        self.plan = plan
        self.at = 1000.0
        self._listeners = listeners
        self._began: dict[Any, float] = {}

    def now(self) -> float:
        return self.at

    def tell(self, kind: Callable[..., events.Event], **fields: Any) -> None:
        event = kind(at=self.at, **fields)
        for listener in self._listeners:
            listener.handle(event)

    def after(self, seconds: float) -> Script:
        self.at += seconds
        return self

    def run(self) -> Script:
        self._began["run"] = self.at
        names = tuple(item.name for item in self.plan.pipelines)
        self.tell(events.RunStarted, run_id="id", name=self.plan.name, pipelines=names, concurrency=2)
        return self

    def end(self, status: Status = Status.SUCCEEDED, reason: str = "") -> Script:
        seconds = self.at - self._began["run"]
        self.tell(events.RunFinished, run_id="id", status=status, seconds=seconds, reason=reason)
        return self

    def start(self, *names: str) -> Script:
        for name in names:
            self._began[name] = self.at
            self.tell(events.PipelineStarted, pipeline=name)
        return self

    def phase(self, name: str, phase: str) -> Script:
        self.tell(events.PhaseStarted, pipeline=name, phase=phase)
        return self

    def finish(self, *names: str, status: Status = Status.SUCCEEDED, reason: str = "") -> Script:
        for name in names:
            seconds = self.at - self._began[name]
            self.tell(events.PipelineFinished, pipeline=name, status=status, seconds=seconds, reason=reason)
        return self

    def skip(self, name: str, reason: str) -> Script:
        self.tell(events.PipelineSkipped, pipeline=name, reason=reason)
        return self

    def begin(self, *addresses: str, attempt: int = 1) -> Script:
        for text in addresses:
            address = _address(text)
            self._began.setdefault(address, self.at)
            self.tell(events.StepStarted, address=address, plugin=address.step, attempt=attempt)
        return self

    def progress(self, text: str, rows: int, size: int, rows_in: int = 0) -> Script:
        self.tell(events.StepProgress, address=_address(text), rows=rows, bytes=size, rows_in=rows_in)
        return self

    def retry(self, text: str, wait: float, attempt: int = 1) -> Script:
        failure = Failure("step.raised", "gone")
        self.tell(events.StepRetried, address=_address(text), attempt=attempt, wait=wait, failure=failure)
        return self

    def done(
        self,
        text: str,
        rows_in: int | None = None,
        rows_out: int | None = None,
        size: int | None = None,
        waited: float = 0.0,
    ) -> Script:
        address = _address(text)
        seconds = self.at - self._began[address]
        self.tell(
            events.StepFinished,
            address=address,
            seconds=seconds,
            rows_in=rows_in,
            rows_out=rows_out,
            bytes=size,
            waited=waited,
        )
        return self

    def fail(self, text: str, message: str, status: Status = Status.FAILED) -> Script:
        address = _address(text)
        failure = Failure("step.raised", message)
        seconds = self.at - self._began[address]
        self.tell(events.StepFailed, address=address, status=status, seconds=seconds, failure=failure)
        return self

    def commit(self, pipeline: str, *loads: str, seconds: float = 0.0) -> Script:
        self.tell(
            events.LoadCommitted, pipeline=pipeline, destination="file:///x", loads=loads, seconds=seconds
        )
        return self


def _address(text: str) -> Address:
    return Address(*text.split(".", 2))
