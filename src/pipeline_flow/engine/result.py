"""What a run was: the result that Python callers get and the summary is drawn from."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline_flow.constructor import quick
from pipeline_flow.events import Status

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from pipeline_flow.events import Address, Failure


@quick
@dataclass(frozen=True, slots=True)
class StepResult:
    """How one step went. Rows and bytes are ``None`` where they cannot be counted; ``seconds`` covers all attempts."""

    address: Address
    plugin: str
    status: Status
    seconds: float
    rows_in: int | None = None
    rows_out: int | None = None
    bytes: int | None = None
    attempts: int = 1
    rejected: int = 0
    failure: Failure | None = None


@quick
@dataclass(frozen=True, slots=True)
class PipelineResult:
    """How one pipeline went. ``reason`` says why it was skipped or cancelled; ``error`` is what a failed one raised."""

    name: str
    status: Status
    seconds: float = 0.0
    reason: str = ""
    failure: Failure | None = None
    steps: tuple[StepResult, ...] = ()
    committed: tuple[str, ...] = ()
    error: Exception | None = field(default=None, compare=False, repr=False)


@quick
@dataclass(frozen=True, slots=True, repr=False)
class RunResult:
    """How a run went: each selected pipeline's result by name, in the order of the configuration.

    ``result["orders"]`` is a pipeline's result, ``result.step("orders.load.warehouse")`` a step's; ``print(result)``
    shows the summary that the command line shows. ``show`` draws it.
    """

    run_id: str
    name: str
    status: Status
    started_at: datetime
    seconds: float
    pipelines: dict[str, PipelineResult]
    reason: str = ""
    show: Callable[[RunResult], str] = field(default=repr, compare=False)

    def __str__(self) -> str:
        return self.show(self)

    def _repr_html_(self) -> str:
        """The summary, for notebooks."""
        return f"<pre>{html.escape(str(self))}</pre>"

    def __getitem__(self, name: str) -> PipelineResult:
        return self.pipelines[name]

    def step(self, address: str) -> StepResult:
        """The result of the step at ``pipeline.phase.step``.

        Raises:
            KeyError: there is none, or it has not run.
        """
        for pipeline in self.pipelines.values():
            for step in pipeline.steps:
                if str(step.address) == address:
                    return step
        raise KeyError(address)

    def __repr__(self) -> str:
        # Short on purpose: asyncio.run takes the repr of its task, and so of its result.
        return f"<RunResult {self.run_id} {self.status}: {len(self.pipelines)} pipelines in {self.seconds:.2f} s>"

    @property
    def succeeded(self) -> bool:
        """Whether every pipeline succeeded."""
        return self.status is Status.SUCCEEDED

    def with_status(self, status: Status) -> tuple[PipelineResult, ...]:
        """The pipelines that ended with ``status``."""
        return tuple(pipeline for pipeline in self.pipelines.values() if pipeline.status is status)
