"""What happens in a run, told as plain data.

Events are the only way out of the engine: progress lines, logs, the summary and the run's history are listeners. The
set is closed: every event is one of the classes below. ``at`` is seconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from pipeline_flow.constructor import quick


class Status(StrEnum):
    """How a run, a pipeline or a step ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


@quick
@dataclass(frozen=True, slots=True)
class Address:
    """Where a step stands: ``pipeline.phase.step``."""

    pipeline: str
    phase: str
    step: str

    def __str__(self) -> str:
        return f"{self.pipeline}.{self.phase}.{self.step}"


@quick
@dataclass(frozen=True, slots=True)
class Failure:
    """An error as plain data: its code, what it says, what to do, and the line of the plugin that raised it."""

    code: str
    message: str
    hint: str = ""
    line: str = ""
    error_type: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The root of all events."""

    at: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``: the event's name and its fields, addresses as text."""
        return {"event": type(self).__name__, **{f.name: _plain(getattr(self, f.name)) for f in fields(self)}}


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run has begun; ``pipelines`` are the selected ones, in the order of the configuration."""

    run_id: str
    name: str
    pipelines: tuple[str, ...]
    concurrency: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run has ended. ``seconds`` is its whole duration."""

    run_id: str
    status: Status
    seconds: float
    reason: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStarted(Event):
    """A pipeline has a slot and begins."""

    pipeline: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFinished(Event):
    """A pipeline has ended; ``failure`` is set when it failed, ``reason`` when it was cancelled."""

    pipeline: str
    status: Status
    seconds: float
    failure: Failure | None = None
    reason: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSkipped(Event):
    """A pipeline will not run; ``because`` names the pipelines that keep it from running."""

    pipeline: str
    reason: str
    because: tuple[str, ...] = ()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseStarted(Event):
    """A phase begins."""

    pipeline: str
    phase: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseFinished(Event):
    """A phase has ended, whether all its steps succeeded or not."""

    pipeline: str
    phase: str
    status: Status
    seconds: float


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted(Event):
    """A step's plugin is called. ``attempt`` counts from 1."""

    address: Address
    plugin: str
    attempt: int = 1


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgress(Event):
    """How far a step has got in this attempt. May be dropped.

    ``rows`` and ``bytes`` (of Arrow memory) are what it has given; for a load, and for any step that gives nothing,
    what it has taken. ``rows_in`` is how many rows it has taken.
    """

    address: Address
    rows: int
    bytes: int
    rows_in: int = 0


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StepRetried(Event):
    """A step failed and will be tried again after ``wait`` seconds."""

    address: Address
    attempt: int
    wait: float
    failure: Failure


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished(Event):
    """A step has ended well.

    Rows are ``None`` where they cannot be counted, as for objects between two custom plugins. ``bytes`` (of Arrow
    memory) are those of the rows that it gave, or that a load took. For an atomic load this is the end of staging: its
    rows become visible with :class:`LoadCommitted`. ``waited`` are those of the ``seconds`` in which a step through which rows
    flow waited for others: for their rows, or for them to take its own.
    """

    address: Address
    seconds: float
    rows_in: int | None = None
    rows_out: int | None = None
    bytes: int | None = None
    rejected: int = 0
    waited: float = 0.0


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed(Event):
    """A step has failed for good, or was cancelled (``status``)."""

    address: Address
    status: Status
    seconds: float
    failure: Failure


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class DataStaged(Event):
    """The data between two phases waits for the next one: how much of it in memory and how much on disk, in bytes."""

    pipeline: str
    name: str
    rows: int
    memory_bytes: int
    disk_bytes: int


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCommitted(Event):
    """The rows of these loads are visible in ``destination``."""

    pipeline: str
    destination: str
    loads: tuple[str, ...]
    seconds: float


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LoadAborted(Event):
    """These loads were rolled back; ``destination`` is as it was."""

    pipeline: str
    destination: str
    loads: tuple[str, ...]


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Notice(Event):
    """Something worth telling a person that fails nothing: an abandoned thread, a shadowed built-in, affected rows."""

    text: str
    pipeline: str = ""
    step: str = ""
    level: str = field(default="info")


def _plain(value: Any) -> Any:
    if isinstance(value, Address | StrEnum):
        return str(value)
    if isinstance(value, Failure):
        return {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value
