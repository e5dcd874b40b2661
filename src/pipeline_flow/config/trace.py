"""Where a value comes from: the whole way from a place in the file to what was looked up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline_flow.config.interpolate import Literal, Reference, split
from pipeline_flow.config.source import Map, Node, Scalar, Seq, Template
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import UnresolvedReference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pipeline_flow.config.models import Config
    from pipeline_flow.errors import Position

_MOST_LINKS = 200
_PHASES = ("extract", "transform", "load", "transform_at_load")


@dataclass(frozen=True, slots=True)
class Link:
    """One step of the way: how deep it is, what it says, and where that stands, if in a file."""

    depth: int
    text: str
    position: Position | None = None


def trace(config: Config, path: str, environ: Mapping[str, str]) -> list[Link]:
    """The way of the value at ``path``.

    Args:
        config: what was read.
        path: keys and indexes with dots between them, as in the file (``pipelines.orders.phases.load.steps.0.args.url``);
            a step may go by its id, and an address stands for its path (``orders.load.warehouse.args.url``).
        environ: the environment that the configuration was read with; only whether a name is set is told.

    Raises:
        UnresolvedReference: nothing stands at the path; the message says how far it leads.
    """
    found = _Finder(config).find(path)
    if found is None:
        return [Link(0, f"{path} is not set")]
    node, place = found
    return list(_links(config, node, place, environ, 0, ()))[:_MOST_LINKS]


def _links(
    config: Config,
    node: Node,
    place: Node | int,
    environ: Mapping[str, str],
    depth: int,
    seen: tuple[str, ...],
) -> Iterator[Link]:
    position = config.sources.position(place)
    if isinstance(node, Map | Seq):
        count = len(node.items)
        what = "a mapping" if isinstance(node, Map) else "a list"
        yield Link(depth, f"{what} of {count}", position)
        return
    raw = config.sources.raw(node) or (node.text if isinstance(node, Scalar) else "")
    yield Link(depth, raw, position)
    if not isinstance(node, Template):
        return
    for part in split(node.text):
        if isinstance(part, Reference):
            yield from _of_reference(config, part, environ, depth + 1, seen)


def _of_reference(
    config: Config, part: Reference, environ: Mapping[str, str], depth: int, seen: tuple[str, ...]
) -> Iterator[Link]:
    name = part.name.split(".")[0]
    if part.root == "env":
        is_set = part.name in environ
        yield Link(depth, f"env.{part.name}: {'set in the environment' if is_set else 'not set'}")
    elif part.root == "secrets":
        manager = config.secrets.get(name)
        text = "not there" if manager is None else f"fetched by `{manager.plugin}` when a run starts"
        yield Link(depth, f"secrets.{part.name}: {text}", _position(config, ("secrets", name)))
    elif part.root == "matrix":
        yield Link(depth, f"matrix.{part.name}: a value of the pipeline's matrix")
    elif part.root == "run":
        yield Link(depth, f"run.{part.name}: known when a run starts")
    elif part.root == "variables":
        origin = config.origins.get(name)
        if origin is None:
            yield Link(depth, f"variables.{part.name}: not there")
        else:
            yield Link(depth, f"variables.{part.name}: {origin.how}", config.sources.position(origin.place))
            if origin.node is not None and name not in seen:
                yield from _links(config, origin.node, origin.node, environ, depth + 1, (*seen, name))
    if isinstance(part.otherwise, Reference):
        yield from _of_reference(config, part.otherwise, environ, depth, seen)
    elif isinstance(part.otherwise, Literal):
        yield Link(depth, f"otherwise {part.otherwise.value!r}")


def _position(config: Config, path: tuple[str, ...]) -> Position | None:
    try:
        return config.position(path, key=True)
    except LookupError:
        return None


class _Finder:
    def __init__(self, config: Config) -> None:
        self._config = config

    def find(self, path: str) -> tuple[Node, Node | int] | None:
        root = self._config.root
        parts = [part for part in path.split(".") if part]
        if root is None or not parts:
            raise UnresolvedReference(f"`{path}` is no path", hint="write pipelines.name.…")
        names = [str(key) for key in root.items]
        if parts[0] not in names and parts[0] in self._config.pipelines:
            parts = self._from_address(parts)
        node: Node = root
        place: Node | int = root
        for index, part in enumerate(parts):
            walked = ".".join(parts[:index]) or "the top level"
            found = self._step(node, part, parts[:index])
            if found is None:
                known = self._known(node)
                if index == len(parts) - 1 and isinstance(node, Map) and not known:
                    return None
                raise UnresolvedReference(
                    f"`{walked}` has no `{part}`", hint=hint(part, known, "it has") if known else ""
                )
            node, place = found
        return node, place

    def _from_address(self, parts: list[str]) -> list[str]:
        """``orders.load.warehouse.args.url`` as the path that it stands for."""
        name, *rest = parts
        group = self._config.pipelines[name].group or name
        below = ["pipelines", group, "phases"] if rest and rest[0] in _PHASES else ["pipelines", group]
        if len(below) == 3 and len(rest) > 1 and rest[1] not in ("steps", "pre", "post", "merge"):
            rest = [rest[0], "steps", *rest[1:]]
        return [*below, *rest]

    def _step(self, node: Node, part: str, path: list[str]) -> tuple[Node, Node | int] | None:
        if isinstance(node, Map):
            for key, item in node.items.items():
                if str(key) == part:
                    return item, item if not isinstance(item, Map | Seq) else node.keys[key]
            return None
        if isinstance(node, Seq):
            if part.isdigit() and int(part) < len(node.items):
                return node.items[int(part)], node.items[int(part)]
            for item, step_id in zip(node.items, self._ids(node, path), strict=False):
                if step_id == part:
                    return item, item
        return None

    def _ids(self, node: Seq, path: list[str]) -> list[str]:
        """The ids of the steps of a list, in its order."""
        if len(path) < 5 or path[0] != "pipelines" or path[4] != "steps":
            return []
        pipelines = self._config.pipelines
        pipeline = pipelines.get(path[1]) or next(
            (each for each in pipelines.values() if each.group == path[1]), None
        )
        phase = None if pipeline is None else pipeline.phases.get(path[3])
        return (
            [] if phase is None or len(phase.steps) != len(node.items) else [step.id for step in phase.steps]
        )

    def _known(self, node: Node) -> list[str]:
        if isinstance(node, Map):
            return [str(key) for key in node.items]
        return [str(number) for number in range(len(node.items))] if isinstance(node, Seq) else []
