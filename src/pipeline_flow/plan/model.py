"""What will be done, as plain data: the result of checking a configuration, and all that the engine is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline_flow.config.models import NO_RETRY, Retry
from pipeline_flow.constructor import quick
from pipeline_flow.core.inventory import EXTRACT, LOAD, TRANSFORM, TRANSFORM_AT_LOAD
from pipeline_flow.events import Address

__all__ = [
    "EXTRACT",
    "LOAD",
    "PHASES",
    "TRANSFORM",
    "TRANSFORM_AT_LOAD",
    "PhasePlan",
    "PipelinePlan",
    "Plan",
    "Retry",
    "SecretPlan",
    "StepPlan",
]

PHASES = (EXTRACT, TRANSFORM, LOAD, TRANSFORM_AT_LOAD)


@quick
@dataclass(frozen=True, slots=True)
class StepPlan:
    """One plugin call. ``kind`` and ``plugin`` name the plugin; ``args`` hold references where secrets will stand.

    ``input`` is the table that a step gets, where several travel on: the id of the extract step that gives it, or its name.
    ``gives_tables`` is whether an extract step gives several tables under names of their own. ``timeout`` is
    seconds for one attempt. ``plugin_id`` is what the plugin is given: the step's id as the configuration has it, without
    the ``pre.``, ``post.`` or ``merge`` of its address. ``limit_rows`` ends a step's stream after so many rows; only a
    preview sets it.
    """

    address: Address
    kind: str
    plugin: str
    args: dict[str, Any] = field(repr=False)  # a password may stand there in clear
    mode: str
    atomic: bool = False
    retry: Retry = NO_RETRY
    timeout: float | None = None
    input: str | None = None
    on_bad_row: str = "fail"
    description: str = ""
    plugin_id: str = ""
    limit_rows: int | None = None
    gives_tables: bool = False


@quick
@dataclass(frozen=True, slots=True)
class PhasePlan:
    """A phase: its steps, and what runs around them.

    ``streams`` is whether the next phase may begin while this one still runs; ``why_staged`` says why not.
    """

    name: str
    steps: tuple[StepPlan, ...]
    pre: tuple[StepPlan, ...] = ()
    post: tuple[StepPlan, ...] = ()
    merge: StepPlan | None = None
    streams: bool = False
    why_staged: str = ""

    def all_steps(self) -> tuple[StepPlan, ...]:
        """Every plugin call of the phase, in the order of its execution."""
        return (*self.pre, *self.steps, *((self.merge,) if self.merge else ()), *self.post)


@quick
@dataclass(frozen=True, slots=True)
class PipelinePlan:
    """A pipeline: its phases in their order, and the names of the pipelines that it needs."""

    name: str
    type: str
    phases: tuple[PhasePlan, ...]
    needs: tuple[str, ...] = ()
    description: str = ""

    def phase(self, name: str) -> PhasePlan | None:
        """The phase of this name, if the pipeline has it."""
        return next((phase for phase in self.phases if phase.name == name), None)


@quick
@dataclass(frozen=True, slots=True)
class SecretPlan:
    """Where one secret comes from: the secret manager, by name, its arguments, and the id that it is given."""

    name: str
    plugin: str
    args: dict[str, Any] = field(repr=False)
    plugin_id: str


@quick
@dataclass(frozen=True, slots=True)
class Plan:
    """All that a run will do.

    ``memory_limit`` is bytes for all handoffs and database engines of the run together; ``spill_limit`` is bytes on
    disk for data that waits; ``None`` means as much as the disk holds. ``timezone`` is an IANA name. ``confidential`` are
    the texts in the configuration that are secret by nature although they stand there in clear; a run masks them.
    """

    name: str
    pipelines: tuple[PipelinePlan, ...]
    secrets: dict[str, SecretPlan] = field(default_factory=dict)
    concurrency: int = 2
    parallelism: int = 32
    fail_fast: bool = False
    memory_limit: int = 512 * 1024 * 1024
    spill_limit: int | None = None
    timezone: str = "UTC"
    confidential: tuple[str, ...] = field(default=(), repr=False)

    def pipeline(self, name: str) -> PipelinePlan:
        """The pipeline of this name.

        Raises:
            KeyError: there is none.
        """
        for pipeline in self.pipelines:
            if pipeline.name == name:
                return pipeline
        raise KeyError(name)
