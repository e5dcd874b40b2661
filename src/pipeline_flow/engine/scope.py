"""What every part of one run is handed: one object instead of a dozen parameters, and no global state."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_flow.core.context import Run
    from pipeline_flow.core.inventory import Catalog
    from pipeline_flow.data.handoff import Budget, Spill
    from pipeline_flow.engine.clock import Clock
    from pipeline_flow.engine.resources import RunResources
    from pipeline_flow.engine.threads import Threads
    from pipeline_flow.events import Event
    from pipeline_flow.secret import SecretReference


@dataclass(slots=True)
class RunScope:
    """The run as its parts see it.

    ``emit`` never waits; it is ``None`` where nobody listens, and then no event is made. ``secrets`` gives the value of
    a reference; it is filled before the first step.
    ``random`` is where the jitter of retries comes from. Once ``stopping``, the
    reason why the run ends early, is set nothing may start any more.
    """

    run: Run
    catalog: Catalog
    clock: Clock
    threads: Threads
    emit: Callable[[Event], None] | None
    budget: Budget
    spill: Spill
    resources: RunResources
    secrets: Callable[[SecretReference], Any]
    redact: Redactor = field(default_factory=Redactor)
    random: Random = field(default_factory=Random)
    stopping: str = ""

    @property
    def why_cancelled(self) -> str:
        """Why something was cancelled; whoever cancels the caller's own task gives no reason."""
        return self.stopping or "the run was cancelled"

    def tell(self, kind: type[Event], **fields: Any) -> None:
        """Emits an event of class ``kind`` that happens now."""
        if self.emit is not None:
            self.emit(kind(at=self.clock.time(), **fields))
