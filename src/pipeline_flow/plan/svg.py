"""A plan as a picture: a card for each pipeline, a column for each level, and curves from what is needed to what needs it.

The layout is the usual one for graphs with a direction: levels, then a few sweeps that put each card near the middle of
its neighbours. A curve over several levels has a place of its own in those between, so that it runs beside the cards.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from math import ceil, sqrt
from typing import TYPE_CHECKING

from pipeline_flow.core import text as words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_flow.plan.view import PhaseView, PipelineView, PlanView

_COLUMN = 7.25  # pixels that a character takes at most in a monospaced font of 12 pixels
_NARROWEST, _WIDEST = 16, 34  # characters in a card
_LINE, _PAD, _HEAD = 17, 10, 20
_GAP_X, _GAP_Y, _MARGIN = 72, 22, 24
_PASSING = 14  # height of the place where a curve passes a level
_MOST_DETAILED = 60  # pipelines; with more, a card holds a name and nothing else
_SWEEPS = 6
_SHORT = {"transform_at_load": "at load"}

_STYLE = """
  .back { fill: #ffffff } .card { fill: #f6f8fa; stroke: #8c959f } .name { fill: #1f2328; font-weight: 600 }
  .type, .phase { fill: #59636e } .step { fill: #1f2328 } .edge { fill: none; stroke: #8c959f; stroke-width: 1.5 }
  .tip { fill: #8c959f } .bar { fill: #0969da }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } .card { fill: #161b22; stroke: #545d68 } .name, .step { fill: #e6edf3 }
    .type, .phase { fill: #9198a1 } .edge { stroke: #6e7681 } .tip { fill: #6e7681 } .bar { fill: #4493f8 }
  }
  text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 12px; white-space: pre }
"""

_TIP = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>'
)


@dataclass(slots=True, eq=False)
class _Place:
    """A card, or with no pipeline the place where a curve passes a level."""

    height: float
    pipeline: PipelineView | None = None
    lines: list[tuple[str, str]] = field(default_factory=list)
    before: list[_Place] = field(default_factory=list)
    after: list[_Place] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    width: float = 0.0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def draw(view: PlanView) -> str:
    """The picture, a whole SVG file. It has no script, no font and no address in it."""
    levels, alone = _levels(view)
    _order(levels)
    width = _across(levels)
    height = _down(levels)
    width, height = _beside(alone, width, height)
    title = words.one_line(view.name) or "pipelines"
    size = f'width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width:.0f} {height:.0f}" role="img">',
        f"<title>{_escaped(title)}</title>",
        f"<style>{_STYLE}</style>",
        _TIP,
        f'<rect class="back" {size}/>',
    ]
    cards = [place for level in (*levels, alone) for place in level if place.pipeline is not None]
    parts += [curve for card in cards for curve in _curves(card)]
    parts += [line for card in cards for line in _card(card)]
    return "\n".join([*parts, "</svg>"]) + "\n"


# ---------------------------------------------------------------------------------------------- layout


def _levels(view: PlanView) -> tuple[list[list[_Place]], list[_Place]]:
    """The levels of the graph, and the pipelines that neither need another nor are needed."""
    detailed = len(view.pipelines) <= _MOST_DETAILED
    places: dict[str, _Place] = {}
    levels: list[list[_Place]] = [[] for _ in view.levels]
    for pipeline in view.pipelines:
        lines = [_phase_line(phase) for phase in pipeline.phases] if detailed else []
        height = _HEAD + (_LINE * (1 + len(lines)) + _PAD if detailed else 6)
        places[pipeline.name] = place = _Place(height, pipeline, lines)
        levels[pipeline.level].append(place)
    for pipeline in view.pipelines:
        target = places[pipeline.name]
        for need in pipeline.needs:
            source = places[need]
            for level in range(_level(source) + 1, pipeline.level):
                passing = _Place(_PASSING)
                levels[level].append(passing)
                _join(source, passing)
                source = passing
            _join(source, target)
    alone = [place for place in places.values() if not place.before and not place.after]
    return [[place for place in level if place not in alone] for level in levels], alone


def _level(place: _Place) -> int:
    return 0 if place.pipeline is None else place.pipeline.level


def _join(source: _Place, target: _Place) -> None:
    source.after.append(target)
    target.before.append(source)


def _phase_line(phase: PhaseView) -> tuple[str, str]:
    steps = [words.one_line(step.id) for step in phase.steps if step.role == "step"]
    return _SHORT.get(phase.name, phase.name), ", ".join(steps)


def _order(levels: list[list[_Place]]) -> None:
    """Sorts every level by the middle of its neighbours, forwards and backwards in turn."""
    for sweep in range(_SWEEPS):
        forwards = sweep % 2 == 0
        for level in levels[1:] if forwards else levels[-2::-1]:
            rank = {place: index for other in levels for index, place in enumerate(other)}

            def middle(place: _Place, rank: dict[_Place, int] = rank, forwards: bool = forwards) -> float:
                near = place.before if forwards else place.after
                return sum(rank[other] for other in near) / len(near) if near else rank[place]

            level.sort(key=middle)


def _across(levels: list[list[_Place]]) -> float:
    x = float(_MARGIN)
    for level in levels:
        if level:
            width = _widest(level)
            for place in level:
                place.x, place.width = x, width
            x += width + _GAP_X
    return max(0.0, x - _GAP_X + _MARGIN)


def _widest(places: list[_Place]) -> float:
    return 2 * _PAD + _COLUMN * max(_NARROWEST, *(_characters(place) for place in places))


def _characters(place: _Place) -> int:
    if place.pipeline is None:
        return 0
    texts = [words.one_line(place.pipeline.name), *(f"{name:<10}{steps}" for name, steps in place.lines)]
    return min(_WIDEST, max(_NARROWEST, *(words.width(item) for item in texts)))


def _down(levels: list[list[_Place]]) -> float:
    tallest = max((_height(level) for level in levels), default=0.0)
    if not tallest:
        return 0.0
    for level in levels:
        _stack(level, [(tallest - _height(level)) / 2] * len(level), tallest)
    for sweep in range(_SWEEPS):
        for level in levels[1:] if sweep % 2 == 0 else levels[-2::-1]:
            wanted = []
            for place in level:
                near = (place.before if sweep % 2 == 0 else place.after) or [place]
                wanted.append(sum(other.middle for other in near) / len(near) - place.height / 2)
            _stack(level, wanted, tallest)
    for level in levels:
        for place in level:
            place.y += _MARGIN
    return tallest + 2 * _MARGIN


def _height(level: list[_Place]) -> float:
    return sum(place.height + _GAP_Y for place in level) - _GAP_Y


def _stack(level: list[_Place], wanted: list[float], tallest: float) -> None:
    """Puts the places of a level below each other, within ``tallest``, with the least squares of what each is off.

    Pushed together without gaps the places have an order but no overlap: what is left is to find offsets that never
    fall, which is isotonic regression; neighbours that want to change places share the mean of what they want.
    """
    blocks: list[tuple[float, int]] = []  # the sum of what its members want, and how many they are
    starts = []
    y = 0.0
    for place, want in zip(level, wanted, strict=True):
        starts.append(y)
        total, count = want - y, 1
        y += place.height + _GAP_Y
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    room = tallest - _height(level)
    offsets = [min(max(total / count, 0.0), room) for total, count in blocks for _ in range(count)]
    for place, start, offset in zip(level, starts, offsets, strict=True):
        place.y = start + offset


def _beside(alone: list[_Place], width: float, height: float) -> tuple[float, float]:
    """Puts pipelines without neighbours below the graph, in rows about as wide as they are many; the size of both."""
    if not alone:
        return width, height
    card = _widest(alone)
    across = max(ceil(sqrt(len(alone) / 2)), int((width - 2 * _MARGIN + _GAP_Y) / (card + _GAP_Y)))
    y = height or float(_MARGIN)
    for start in range(0, len(alone), across):
        row = alone[start : start + across]
        for number, place in enumerate(row):
            place.x, place.y, place.width = _MARGIN + number * (card + _GAP_Y), y, card
            width = max(width, place.x + card + _MARGIN)
        y += max(place.height for place in row) + _GAP_Y
    return width, y - _GAP_Y + _MARGIN


# ---------------------------------------------------------------------------------------------- drawing


def _curves(card: _Place) -> Iterator[str]:
    """The curves that end at a card, each followed back to the card where it begins."""
    for before in card.before:
        points = [(card.x - 2, card.middle)]
        place = before
        while place.pipeline is None:
            points += [(place.x + place.width, place.middle), (place.x, place.middle)]
            place = place.before[0]
        points.append((place.x + place.width, place.middle))
        points.reverse()
        drawn = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for number, (x, y) in enumerate(points[1:], 1):
            left, above = points[number - 1]
            if number % 2 == 0:  # past a level, where nothing is in the way
                drawn += f" L{x:.1f} {y:.1f}"
            else:
                half = (x - left) / 2
                drawn += f" C{left + half:.1f} {above:.1f} {x - half:.1f} {y:.1f} {x:.1f} {y:.1f}"
        yield f'<path class="edge" marker-end="url(#tip)" d="{drawn}"/>'


def _card(card: _Place) -> Iterator[str]:
    pipeline = card.pipeline
    if pipeline is None:
        return
    room = int((card.width - 2 * _PAD) / _COLUMN)
    name = words.one_line(pipeline.name)
    hint = words.printable(f"{name}: {pipeline.description}" if pipeline.description else name)
    yield f"<g><title>{_escaped(hint)}</title>"
    yield (
        f'<rect class="card" x="{card.x:.1f}" y="{card.y:.1f}" width="{card.width:.1f}" height="{card.height:.1f}" rx="6"/>'
    )
    yield f'<rect class="bar" x="{card.x:.1f}" y="{card.y + 6:.1f}" width="3" height="{card.height - 12:.1f}"/>'
    x, y = card.x + _PAD, card.y + _HEAD - 2
    yield _text("name", x, y, words.shortened(name, room))
    if card.lines:
        yield _text("type", x, y + _LINE, pipeline.type)
        for number, (phase, steps) in enumerate(card.lines, 2):
            yield _text("phase", x, y + _LINE * number, phase)
            yield _text(
                "step", x + 10 * _COLUMN, y + _LINE * number, words.shortened(steps, room - 10, middle=False)
            )
    yield "</g>"


def _text(kind: str, x: float, y: float, shown: str) -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{_escaped(shown)}</text>'


def _escaped(shown: str) -> str:
    return escape(shown, quote=True)
