"""Which step a run's time went into: the chain of steps, one after the other, that the run could not be shorter than."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline_flow import events
from pipeline_flow.events import Address
from pipeline_flow.plan.model import LOAD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_SAME_MOMENT = 0.001  # seconds; a commit's beginning comes from another clock than the other times


@dataclass(frozen=True, slots=True)
class _Span:
    start: float
    end: float
    what: Address
    waited: float = 0.0  # seconds, for steps that ran meanwhile


@dataclass(slots=True)
class _Pipeline:
    start: float
    end: float | None = None
    spans: list[_Span] = field(default_factory=list)


class CriticalPath:
    """Collects when everything began and ended, and finds the chain that the run's duration consisted of.

    It is followed backwards from the end of the run. What ended last before a moment is what that moment waited for:
    the slowest of several concurrent steps, the phase before, the pipeline that was needed or whose slot was. Steps through
    which rows flow ran at once: they share that time as they have worked in it. Of a
    pipeline whose start was not told, as where a summary is made from a result, nothing is known.
    """

    def __init__(self) -> None:
        self._pipelines: dict[str, _Pipeline] = {}
        self._began: dict[Address, float] = {}

    def handle(self, event: events.Event) -> None:
        """Takes in what has happened."""
        match event:
            case events.PipelineStarted():
                self._pipelines[event.pipeline] = _Pipeline(event.at)
            case events.PipelineFinished() if event.pipeline in self._pipelines:
                self._pipelines[event.pipeline].end = event.at
            case events.StepStarted() if event.address.pipeline in self._pipelines:
                self._began.setdefault(event.address, event.at)
            case events.StepFinished() if event.address in self._began:
                self._add(_Span(self._began[event.address], event.at, event.address, event.waited))
            case events.StepFailed() if event.address in self._began:
                self._add(_Span(self._began[event.address], event.at, event.address))
            case events.LoadCommitted() if event.pipeline in self._pipelines:
                load = Address(event.pipeline, LOAD, event.loads[0])
                self._add(_Span(event.at - event.seconds, event.at, load))
            case _:
                pass

    def _add(self, span: _Span) -> None:
        self._pipelines[span.what.pipeline].spans.append(span)

    def seconds(self) -> dict[Address, float]:
        """The steps of the chain, first ones first, and how long each held it up."""
        spent: list[tuple[Address, float]] = []
        ended = [
            (pipeline, _Span(pipeline.start, pipeline.end, Address(name, "", "")))
            for name, pipeline in self._pipelines.items()
            if pipeline.end is not None
        ]
        moment = max((span.end for _, span in ended), default=0.0)
        for link, until in _backwards([span for _, span in ended], moment):
            pipeline = self._pipelines[link.what.pipeline]
            spans = list(_one_after_the_other(pipeline.spans))
            spent += [(span.what, upto - span.start) for span, upto in _backwards(spans, until)]
        found: dict[Address, float] = {}
        for what, seconds in reversed(spent):
            found[what] = found.get(what, 0.0) + seconds
        return found


def _one_after_the_other(spans: Iterable[_Span]) -> Iterator[_Span]:
    """``spans``, where those of steps through which rows flowed share their time and no longer overlap."""
    together: list[_Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if not any(_flows(span, other) for other in together):
            yield from _shared(together)
            together = []
        together.append(span)
    yield from _shared(together)


def _flows(span: _Span, other: _Span) -> bool:
    """Whether the two are of phases that ran at once, as they do only where rows flow."""
    return span.what.phase != other.what.phase and span.start < other.end - _SAME_MOMENT


def _shared(spans: Sequence[_Span]) -> Iterator[_Span]:
    if len({span.what.phase for span in spans}) < 2:
        yield from spans
        return
    worked = [max(0.0, span.end - span.start - span.waited) for span in spans]
    moment, end = spans[0].start, max(span.end for span in spans)
    seconds = (end - moment) / (sum(worked) or 1.0)
    for span, part in zip(spans, worked, strict=True):
        yield replace(span, start=moment, end=moment + part * seconds)
        moment += part * seconds


def _backwards(spans: Iterable[_Span], moment: float) -> list[tuple[_Span, float]]:
    """The spans that led to ``moment``, the last one first, each with the moment up to which it counts."""
    left = sorted((span for span in spans if span.end > span.start), key=lambda span: (span.end, -span.start))
    chain = []
    while left:
        span = left.pop()
        if span.end <= moment + _SAME_MOMENT and span.start < moment:
            chain.append((span, min(span.end, moment)))
            moment = span.start
    return chain
