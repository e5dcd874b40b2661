"""Exit codes, one table. Where outcomes mix, the first of :data:`ORDER` that applies wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline_flow.events import Status

if TYPE_CHECKING:
    from pipeline_flow.engine import RunResult

FINE = 0
PIPELINE_FAILED = 1
WRONG_CONFIGURATION = 2
QUALITY_GATE = 3
LOCKED = 4
BUG = 5
INTERRUPTED = 130
TERMINATED = 143

ORDER = (WRONG_CONFIGURATION, INTERRUPTED, TERMINATED, BUG, PIPELINE_FAILED, QUALITY_GATE, LOCKED, FINE)
_BY_FAILURE = {"internal.bug": BUG, "data.quality": QUALITY_GATE}


def worst(codes: set[int]) -> int:
    """The code that the process ends with, where several apply."""
    return next(code for code in ORDER if code in codes or code == FINE)


def of(result: RunResult, signal_code: int | None = None) -> int:
    """The exit code of a run; ``signal_code`` is set where a signal ended it."""
    codes = {FINE}
    if signal_code is not None:
        codes.add(signal_code)
    failed = result.with_status(Status.FAILED)
    for pipeline in failed:
        codes.add(_BY_FAILURE.get(pipeline.failure.code if pipeline.failure else "", PIPELINE_FAILED))
    # What was skipped or cancelled because something failed adds no reason of its own.
    if not failed and not result.succeeded:
        codes.add(PIPELINE_FAILED)
    return worst(codes)
