"""A configuration under construction in Python: the tree that YAML text gives, its places the lines of the calls.

A value knows the place of the expression that it was written as, where the call's source can be read; else the place
of the call, or only its line.
"""

from __future__ import annotations

import ast
import functools
import inspect
import json
import linecache
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline_flow.config import schema, source
from pipeline_flow.config.source import (
    MAX_DEPTH,
    Map,
    Node,
    Scalar,
    Seq,
    Source,
    Sources,
    Template,
    Tree,
    span,
)
from pipeline_flow.core import inventory
from pipeline_flow.core.inventory import Declaration
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import (
    ConfigError,
    DuplicateKey,
    LimitExceeded,
    UnknownKey,
    UnknownPlugin,
    WrongType,
)
from pipeline_flow.plugins.base import class_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import CodeType, FrameType

STEP_OPTIONS = frozenset(schema.STEP) - {"plugin", "plugin_id"}
"""The keywords of a step's call that are keys of the step; all others are arguments of its plugin."""

_NO_PLACE = 0


@dataclass(frozen=True, slots=True)
class Call:
    """A call: its place, its file, and its expression where that was found."""

    place: int
    file: _File | None = None
    code: ast.Call | None = None

    def first(self) -> Spot:
        """The place of the first positional argument."""
        return self._spot(self.code.args[0] if self.code is not None and self.code.args else None)

    def keyword(self, name: str) -> tuple[int, Spot]:
        """The places of a keyword and of its value."""
        for item in self.code.keywords if self.code is not None else ():
            if item.arg == name and self.file is not None:
                start = self.file.offset(item.lineno, item.col_offset)
                return span(start, start + len(name)), self._spot(item.value)
        return self.place, self._spot(None)

    def _spot(self, code: ast.expr | None) -> Spot:
        if code is None or self.file is None:
            return Spot(self.place)
        return Spot(self.file.span(code), self.file, code)


@dataclass(frozen=True, slots=True)
class Spot:
    """The place of a value, and the expression that it was written as."""

    place: int
    file: _File | None = None
    code: ast.expr | None = None

    def items(self, keys: Iterable[Any]) -> dict[Any, tuple[int, Spot]]:
        """The places of keys and values, where the expression is a mapping written out."""
        if not isinstance(self.code, ast.Dict) or self.file is None:
            return {}
        written = {
            key.value: (self.file.span(key), Spot(self.file.span(value), self.file, value))
            for key, value in zip(self.code.keys, self.code.values, strict=True)
            if isinstance(key, ast.Constant)
        }
        return {key: written[key] for key in keys if key in written}

    def elements(self, number: int) -> list[Spot]:
        """The places of a list's elements."""
        code = self.code
        if isinstance(code, ast.List | ast.Tuple) and self.file is not None and len(code.elts) == number:
            return [Spot(self.file.span(item), self.file, item) for item in code.elts]
        return [Spot(self.place)] * number


class _File:
    """A file of Python in which calls stand; ``base`` is where its text begins among all texts of the draft."""

    def __init__(self, lines: list[str], base: int) -> None:
        self._lines = lines
        self._starts = [base, *accumulate((len(line) for line in lines), initial=base)][1:]
        self.text = "".join(lines)

    def offset(self, line: int, column: int) -> int:
        """The place of a column, which Python counts in bytes of UTF-8."""
        before = self._lines[line - 1].encode()[:column].decode(errors="replace")
        return self._starts[line - 1] + len(before)

    def span(self, code: ast.expr) -> int:
        """The place of an expression."""
        end = self.offset(code.end_lineno or code.lineno, code.end_col_offset or code.col_offset)
        return span(self.offset(code.lineno, code.col_offset), end)

    def call_that_ends(self, line: int, column: int) -> ast.Call | None:
        """The call whose closing bracket stands there: no two calls end at one place."""
        return _calls(self.text).get((line, column))

    def call_span(self, call: ast.Call) -> int:
        """The place of a call from its function's own name on."""
        named = call.func
        start = self.offset(named.end_lineno or call.lineno, named.end_col_offset or 0)
        name = named.attr if isinstance(named, ast.Attribute) else ast.unparse(named)
        return span(start - len(name), self.offset(call.end_lineno or call.lineno, call.end_col_offset or 0))

    def line_span(self, line: int) -> int:
        """The place of a line's text."""
        if line > len(self._lines):
            return self._starts[0] if self._starts else _NO_PLACE
        text = self._lines[line - 1].rstrip()
        start = self._starts[line - 1]
        return span(start + len(text) - len(text.lstrip()), start + len(text))


@functools.lru_cache(maxsize=32)
def _calls(text: str) -> dict[tuple[int, int], ast.Call]:
    """The calls of a file by where they end."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):  # a cell of a notebook with commands of its own
        return {}
    return {
        (node.end_lineno or 0, node.end_col_offset or 0): node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    }


@dataclass(slots=True)
class Draft:
    """The documents of a configuration under construction, and the plugins that it was given as such."""

    documents: list[Map] = field(default_factory=list)
    path: Path | None = None
    name: str = "<flow>"
    declarations: dict[tuple[str, str], Declaration] = field(default_factory=dict)
    _sources: Sources = field(default_factory=Sources)
    _texts: list[Source] = field(default_factory=list)
    _files: dict[str, _File] = field(default_factory=dict)
    _made: dict[tuple[str, Any], type[Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, stream: Any) -> Draft:
        """The configuration that a text, a file or a mapping holds.

        Raises:
            ConfigError: the text is no YAML of ours. What it says is checked with the rest, later.
            FileUnreadable: it cannot be read.
        """
        found = source.read(stream)
        draft = cls(path=found.path, name=found.name)
        draft._texts.append(found)
        tree = source.parse(found, draft._sources)
        if tree.problems:
            raise ConfigError(tree.problems)
        for document in tree.documents:
            if not isinstance(document, Map):
                problem = draft._sources.problem(
                    WrongType, "a configuration is a mapping", document, hint="begin with `pipelines:`"
                )
                raise WrongType([problem])
            draft.documents.append(document)
        return draft

    def source(self) -> Source:
        """The draft as what :func:`pipeline_flow.config.load` takes."""
        return Source("", self.name, self.path, tree=self._tree)

    def _tree(self, sources: Sources) -> Tree:
        for text in self._texts:  # in their order: the places of the nodes count from there
            if text.value is None:
                sources.add(text)
            else:
                source.parse(text, sources)  # draws the text that stands for a mapping
        return Tree(list(self.documents), complete=True)

    # ------------------------------------------------------------------------------------------ places

    def here(self, frame: FrameType | None) -> Call:
        """The call that ``frame`` is in the middle of."""
        if frame is None:  # a Python without frames
            return Call(_NO_PLACE)
        line, end_line, end_column = _position(frame.f_code, frame.f_lasti, frame.f_lineno)
        file = self._file(frame, line)
        code = file.call_that_ends(end_line, end_column) if file.text.strip() else None
        if code is None:
            return Call(file.line_span(line))
        return Call(file.call_span(code), file, code)

    def _file(self, frame: FrameType, line: int) -> _File:
        name = frame.f_code.co_filename
        if name not in self._files:
            lines = linecache.getlines(name, frame.f_globals)
            if not lines:  # no source: of the place only the line is known
                lines = ["\n"] * max(line, 1000)
            text = Source("".join(lines), _shown(name))
            self._texts.append(text)
            self._files[name] = _File(lines, self._sources.add(text))
        return self._files[name]

    def fail(self, error: type[ConfigError], text: str, place: int, advice: str = "") -> NoReturn:
        """Raises ``error`` with a problem at ``place``."""
        raise error([self._sources.problem(error, text, place, hint=advice)])

    # ------------------------------------------------------------------------------------------ growing

    def document(self, call: Call, values: Mapping[str, Any]) -> None:
        """Begins a document with ``values`` at its top level."""
        document = Map(call.place)
        known = [key for key in schema.TOP if key != "pipelines"]
        for key, value in values.items():
            place, spot = call.keyword(key)
            if key == "name" and spot.code is None:
                spot = call.first()
                place = spot.place
            if key not in known:
                self.fail(UnknownKey, f"a flow has no `{key}`", place, hint(key, known, "it has"))
            self._put(document, key, place, self.node(value, spot))
        self.documents.append(document)

    def pipeline(self, call: Call, name: str, values: Mapping[str, Any]) -> Map:
        """Adds a pipeline and gives its node.

        Raises:
            DuplicateKey: there is one of this name.
        """
        pipelines = self._pipelines(call)
        place = call.first().place
        if name in pipelines.items:
            first = self._sources.position(pipelines.keys[name])
            self.fail(
                DuplicateKey,
                f"there is a pipeline `{name}` already",
                place,
                f"the first one is in {first.file}, line {first.line}; give this one another name",
            )
        pipeline = Map(call.place)
        for key, value in values.items():
            where, spot = call.keyword(key)
            if key not in schema.PIPELINE or key == "phases":
                known = [item for item in schema.PIPELINE if item != "phases"]
                self.fail(UnknownKey, f"a pipeline has no `{key}`", where, hint(key, known, "it has"))
            self._put(pipeline, key, where, self.node(value, spot))
        self._put(pipeline, "phases", call.place, Map(call.place))
        self._put(pipelines, name, place, pipeline)
        return pipeline

    def _pipelines(self, call: Call) -> Map:
        for document in self.documents:
            found = document.items.get("pipelines")
            if isinstance(found, Map):
                return found
            if found is not None:
                self.fail(
                    WrongType, "`pipelines` is no mapping", found.span, "write name: {phases: …} below it"
                )
        if not self.documents:
            self.documents.append(Map(call.place))
        pipelines = Map(call.place)
        self._put(self.documents[-1], "pipelines", call.place, pipelines)
        return pipelines

    def step(
        self, call: Call, pipeline: Map, phase: str, key: str, plugin: Any, given: Mapping[str, Any]
    ) -> None:
        """Adds a step to a phase of ``pipeline``: to ``steps``, ``pre`` or ``post``, or as ``merge``."""
        kind = phase if key == "steps" else key
        step = Map(call.place)
        spot = call.first()
        self._put(step, "plugin", spot.place, self._plugin(plugin, kind, spot))
        for name in given:
            if name in STEP_OPTIONS and name != "args":
                where, value = call.keyword(name)
                self._put(step, name, where, self.node(given[name], value))
        args = self._args(call, given)
        if args is not None:
            self._put(step, "args", args.span, args)
        if "id" in step.items:  # as people write it: first
            step.items = {"id": step.items["id"], **step.items}
        phases = pipeline.items["phases"]
        assert isinstance(phases, Map)  # made by `pipeline`
        inside = phases.items.get(phase)
        if not isinstance(inside, Map):
            inside = Map(call.place)
            self._put(phases, phase, call.place, inside)
        if key == inventory.MERGE:
            if key in inside.items:
                self.fail(DuplicateKey, "the pipeline has a merge already", call.place, "keep one of them")
            self._put(inside, key, call.place, step)
            return
        steps = inside.items.get(key)
        if not isinstance(steps, Seq):
            steps = Seq(call.place)
            self._put(inside, key, call.place, steps)
        steps.items.append(step)

    def _args(self, call: Call, given: Mapping[str, Any]) -> Map | None:
        """The plugin's arguments: what stands in ``args={…}``, and every keyword that is no option of a step."""
        place, spot = call.keyword("args")
        args = Map(place)
        if "args" in given:
            node = self.node(given["args"], spot)
            if not isinstance(node, Map):
                self.fail(WrongType, "`args` takes a mapping", spot.place, 'write args={"name": value}')
            args = node
        for name, value in given.items():
            if name in STEP_OPTIONS:
                continue
            where, inner = call.keyword(name)
            if name in args.items:
                self.fail(DuplicateKey, f"`{name}` is given twice", where, "it stands in `args` too")
            self._put(args, name, where, self.node(value, inner))
        return args if args.items else None

    @staticmethod
    def _put(mapping: Map, key: Any, place: int, node: Node) -> None:
        mapping.items[key] = node
        mapping.keys[key] = place
        if isinstance(key, str) and "${{" in key:
            mapping.templated = True

    def node(self, value: Any, spot: Spot, depth: int = 0) -> Node:
        """``value`` as a tree: a copy, so that what the caller does to it later changes nothing.

        Mappings, lists and tuples become nodes, paths text; any other object stays what it is.
        """
        if depth > MAX_DEPTH:
            self.fail(LimitExceeded, f"nested more than {MAX_DEPTH} levels deep", spot.place)
        if isinstance(value, Mapping):
            mapping = Map(spot.place)
            written = spot.items(value)
            for key, item in value.items():
                place, inner = written.get(key, (spot.place, Spot(spot.place)))
                self._put(mapping, key, place, self.node(item, inner, depth + 1))
            return mapping
        if isinstance(value, list | tuple):
            items = Seq(spot.place)
            for item, inner in zip(value, spot.elements(len(value)), strict=True):
                items.items.append(self.node(item, inner, depth + 1))
            return items
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str):
            value = str.__str__(value)  # an enumeration's text is text
            return (Template if "${{" in value else Scalar)(value, value, spot.place)
        plain = value is None or isinstance(value, bool | int | float)
        return Scalar(json.dumps(value) if plain else f"<{type(value).__name__}>", value, spot.place)

    # ------------------------------------------------------------------------------------------ plugins

    def _plugin(self, plugin: Any, kind: str, spot: Spot) -> Node:
        if isinstance(plugin, str):
            return self.node(plugin, spot)
        cls = getattr(plugin, "plugin_class", plugin)
        if inspect.isroutine(cls):
            key = (kind, plugin)
            cls = self._made[key] = self._made.get(key) or class_of(plugin, kind)
        if not isinstance(cls, type) or not inventory.is_plugin_class(cls):
            self.fail(
                WrongType,
                f"a step takes the name of a plugin, a function or a plugin class, and this is {_a(plugin)}",
                spot.place,
                "derive the class from an interface of pipeline_flow.plugins"
                if isinstance(cls, type)
                else "",
            )
        kinds = inventory.kinds_of(cls)
        if kind not in kinds:
            self.fail(
                UnknownPlugin,
                f"`{cls.__name__}` is a plugin for {' and '.join(kinds)}, not for {kind}",
                spot.place,
                f"derive it from the interface of {kind}, or call it there where it belongs",
            )
        name = self._declared(cls, kind)
        return Scalar(name, name, spot.place)

    def _declared(self, cls: type[Any], kind: str) -> str:
        """The name that ``cls`` has in this configuration; two classes of one name get two."""
        own = inventory.name_of(cls) or cls.__name__.strip("<>")
        name, number = own, 1
        while (taken := self.declarations.get((kind, name))) is not None and taken.cls is not cls:
            number += 1
            name = f"{own}_{number}"
        self.declarations[kind, name] = Declaration(kind, name, cls, inventory.PROCESS, cls.__module__)
        return name

    # ------------------------------------------------------------------------------------------ as YAML

    def to_yaml(self) -> str:
        """The configuration as YAML text; see :func:`pipeline_flow.config.writer.text`.

        Raises:
            WrongType: it holds something that YAML cannot: a function, a class, any other object.
        """
        from pipeline_flow.config import writer

        for (kind, name), declaration in self.declarations.items():
            where = next(self._steps_with(kind, name), None)
            if where is not None:
                self.fail(
                    WrongType,
                    f"YAML cannot hold the {kind} plugin `{declaration.cls.__name__}`, which was given as an object",
                    where,
                    "name it by text, and its file under plugins: {custom: {files: […]}}",
                )
        documents = self.documents
        if self.path is not None and not any("name" in document.items for document in documents):
            named = Map(_NO_PLACE)  # the file's name is the configuration's, and the text has none
            self._put(named, "name", _NO_PLACE, Scalar(self.path.stem, self.path.stem, _NO_PLACE))
            for key, node in documents[0].items.items() if documents else ():
                self._put(named, key, documents[0].keys[key], node)
            documents = [named, *documents[1:]]
        return writer.text(documents, lambda text, node: self.fail(WrongType, text, node.span))

    def _steps_with(self, kind: str, name: str) -> Iterator[int]:
        for document in self.documents:
            for pipeline in _values(document.items.get("pipelines")):
                for phase, node in _pairs(_get(pipeline, "phases")):
                    for key, steps in _pairs(node):
                        for step in steps.items if isinstance(steps, Seq) else (steps,):
                            plugin = _get(step, "plugin")
                            if (phase if key == "steps" else key) == kind and getattr(
                                plugin, "value", None
                            ) == name:
                                assert plugin is not None  # it has a value
                                yield plugin.span


def _position(code: CodeType, instruction: int, line: int) -> tuple[int, int, int]:
    """Where a call begins and ends: its line, its last line, and the column there."""
    found = list(code.co_positions())[instruction // 2]
    return line, found[1] or line, found[3] or 0


def _shown(name: str) -> str:
    path = Path(name)
    try:
        return str(path.relative_to(Path.cwd())) if path.is_absolute() else name
    except ValueError:
        return name


def _a(value: Any) -> str:
    return (
        f"the class {value.__name__}" if isinstance(value, type) else f"an object of {type(value).__name__}"
    )


def _get(node: Node | None, key: str) -> Node | None:
    return node.items.get(key) if isinstance(node, Map) else None


def _pairs(node: Node | None) -> Iterable[tuple[Any, Node]]:
    return node.items.items() if isinstance(node, Map) else ()


def _values(node: Node | None) -> Iterable[Node]:
    return node.items.values() if isinstance(node, Map) else ()
