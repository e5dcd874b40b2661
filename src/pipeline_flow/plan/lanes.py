"""A graph of pipelines drawn with lines of text, one pipeline a line, as ``git log --graph`` draws commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

NODE = "●"
_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_LINES = {
    0: " ",
    _UP | _DOWN: "│",
    _LEFT | _RIGHT: "─",
    _DOWN | _RIGHT: "╭",
    _DOWN | _LEFT: "╮",
    _UP | _RIGHT: "╰",
    _UP | _LEFT: "╯",
    _UP | _DOWN | _RIGHT: "├",
    _UP | _DOWN | _LEFT: "┤",
    _DOWN | _LEFT | _RIGHT: "┬",
    _UP | _LEFT | _RIGHT: "┴",
    _UP | _DOWN | _LEFT | _RIGHT: "┼",
}
_ASCII = str.maketrans("●│─╭╮╰╯├┤┬┴┼", "*|-++++++++" + "+")


def in_ascii(drawn: str) -> str:
    """``drawn`` with lines that every terminal has."""
    return drawn.translate(_ASCII)


def draw(names: Sequence[str], needs: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str | None]]:
    """The lines of the graph, top down: the drawing, and the pipeline that stands on it, if one does.

    A level line belongs to the pipeline below it: it brings the lines of what that one needs together.

    Args:
        names: the pipelines, each after all that it needs.
        needs: what each needs; others than ``names`` are passed over.
    """
    known = set(names)
    parents = {name: [need for need in dict.fromkeys(needs[name]) if need in known] for name in names}
    waiting = dict.fromkeys(names, 0)  # how many lines still go down from a pipeline
    for name in names:
        for need in parents[name]:
            waiting[need] += 1
    lanes: list[str | None] = []  # which pipeline's line goes down in each column
    for name in names:
        joining = [lane for lane, source in enumerate(lanes) if source in parents[name]]
        for need in parents[name]:
            waiting[need] -= 1
        ending = [lane for lane in joining if not waiting[str(lanes[lane])]]
        own = ending[0] if ending else _free(lanes)
        if (
            joining
        ):  # without a line between, two that stand below each other have nothing to do with each other
            yield _joined(lanes, joining, ending, own), None
        for lane in ending:
            lanes[lane] = None
        lanes[own] = name
        yield (
            "".join(
                f"{NODE if lane == own else '│' if source else ' '} " for lane, source in enumerate(lanes)
            ),
            name,
        )
        if not waiting[name]:
            lanes[own] = None
        while lanes and lanes[-1] is None:
            lanes.pop()


def _free(lanes: list[str | None]) -> int:
    if None not in lanes:
        lanes.append(None)
    return lanes.index(None)


def _joined(lanes: list[str | None], joining: list[int], ending: list[int], own: int) -> str:
    """The line above a pipeline where the lines of what it needs come together in its column."""
    first, last = min(*joining, own), max(*joining, own)
    drawn = ""
    for lane, source in enumerate(lanes):
        within = first <= lane <= last
        ways = 0
        if lane in joining or lane == own:
            ways |= _UP if source else 0
            ways |= _DOWN if lane == own or lane not in ending else 0
            ways |= _LEFT if lane > first else 0
            ways |= _RIGHT if lane < last else 0
        elif source:
            ways = _UP | _DOWN  # it passes, and belongs to somebody else
        elif within:
            ways = _LEFT | _RIGHT
        drawn += _LINES[ways] + ("─" if within and lane < last else " ")
    return drawn.rstrip()
