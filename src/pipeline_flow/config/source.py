"""Text → a tree of our own in which every value knows its place.

The tree is built from the events of PyYAML's C parser, not by its loader: the loader resolves YAML 1.1, follows tags,
lets a repeated key win silently and forgets where things stood. Here scalars are those of YAML 1.2's core schema,
tags and merge keys are problems, a repeated key is a problem with both places, an anchor may be given again, and
size, depth and what aliases expand to are limited. Nothing is raised for a mistake in the text: problems are
collected, and what can be read is read.

A configuration that is a Python mapping gets the same tree; its places are lines of a rendering that only messages show.
"""

from __future__ import annotations

import bisect
import codecs
import difflib
import functools
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from pipeline_flow.errors import (
    ConfigError,
    DuplicateKey,
    FileUnreadable,
    LimitExceeded,
    Position,
    Problem,
    TagNotAllowed,
    WrongType,
    YamlSyntax,
)
from pipeline_flow.secret import blot_line

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    from yaml._yaml import CParser as _Parser
except ImportError:  # pragma: no cover - a PyYAML built without libyaml; ten times slower, the same events
    from yaml import SafeLoader as _Parser  # type: ignore[assignment]

MAX_BYTES = 32 * 1024 * 1024
MAX_DEPTH = 100
MAX_ALIASED = 250_000  # values that aliases may add to those that stand in the text
MAX_PROBLEMS = 500

_PLACEHOLDER = "${{"


# ------------------------------------------------------------------------------------------------------- places


_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # what libyaml counts as the end of a line

_HALF = 32
_LOW = (1 << _HALF) - 1


def span(start: int, end: int) -> int:
    """A place as one number: where it begins and ends, in characters of all texts of a :class:`Sources` together.

    A number, because a tree of a thousand pipelines has forty thousand places, and numbers cost the garbage collector
    nothing: with libyaml's own marks it took twice as long to read.
    """
    return start << _HALF | end


@dataclass(frozen=True, slots=True)
class Source:
    """A text with the name that messages call it by.

    ``value`` is set, and ``text`` empty, where the configuration is a Python mapping. ``path`` is the file, if it was
    one. ``tree`` is set where there is no text to parse: it gives the tree, and adds the texts that its places count in.
    ``instead`` holds, by absolute path, texts that included files are taken to have instead of their own.
    """

    text: str
    name: str
    path: Path | None = None
    value: Mapping[Any, Any] | None = None
    tree: Callable[[Sources], Tree] | None = None
    instead: Mapping[Path, str] = field(default_factory=dict)


class Sources:
    """The texts of one configuration, laid end to end; turns places into positions and positions into lines."""

    def __init__(self) -> None:
        self._sources: list[Source] = []
        self._bases: list[int] = []
        self._end = 0
        self._starts: dict[int, list[int]] = {}  # a text's number → where its lines begin

    def add(self, source: Source) -> int:
        """Adds a text and gives the number at which its places begin."""
        base = self._end
        self._sources.append(source)
        self._bases.append(base)
        self._end += len(source.text) + 1
        return base

    def raw(self, place: Place) -> str:
        """What stands at ``place``, as it is written."""
        number, start, end = self._locate(place)
        return self._sources[number].text[start:end] if number >= 0 else ""

    def position(self, place: Place) -> Position:
        """Where ``place`` begins, and how much of its first line it covers; a place without an end covers the line."""
        number, start, end = self._locate(place)
        if number < 0:
            return Position("<unknown>", 1, 1)
        text, starts = self._sources[number].text, self._line_starts(number)
        line = bisect.bisect_right(starts, start) - 1
        stop = starts[line + 1] if line + 1 < len(starts) else len(text)
        if start < end <= stop:
            length = len(text[start:end].rstrip())
        else:
            length = len(re.sub(r"(^|\s)#.*$", "", text[start:stop].rstrip()).rstrip())
        return Position(self._sources[number].name, line + 1, start - starts[line] + 1, max(1, length))

    def line(self, position: Position) -> str:
        """The line that ``position`` points into, without its end and without control characters."""
        for number, source in enumerate(self._sources):
            if source.name == position.file:
                starts = [*self._line_starts(number), len(source.text)]
                if position.line < len(starts):
                    line = _BREAK.sub("", source.text[starts[position.line - 1] : starts[position.line]])
                    return _UNPRINTABLE.sub("\ufffd", line)  # an escape sequence would reach the terminal
        return ""

    def problem(
        self,
        error: type[ConfigError],
        text: str,
        place: Place | None,
        *,
        hint: str = "",
        warning: bool = False,
    ) -> Problem:
        """A :class:`Problem` at ``place`` with the code of ``error``."""
        if place is None:
            return error.problem(text, hint=hint, warning=warning)
        position = self.position(place)
        line = blot_line(self.line(position))
        return error.problem(text, position, hint=hint, source_line=line, warning=warning)

    def _locate(self, place: Place) -> tuple[int, int, int]:
        found = place if isinstance(place, int) else place.span
        start, end = found >> _HALF, found & _LOW
        number = bisect.bisect_right(self._bases, start) - 1
        base = self._bases[number] if number >= 0 else 0
        return number, start - base, end - base

    def _line_starts(self, number: int) -> list[int]:
        starts = self._starts.get(number)
        if starts is None:
            starts = self._starts[number] = [
                0,
                *(found.end() for found in _BREAK.finditer(self._sources[number].text)),
            ]
        return starts


# -------------------------------------------------------------------------------------------------------- nodes


class Node:
    """A value of the tree and its place."""

    __slots__ = ("span",)

    span: int


class Scalar(Node):
    """Text, a number, true or false, or null. ``text`` is what stands in the file, ``value`` what it means."""

    __slots__ = ("text", "value")

    def __init__(self, text: str, value: Any, span: int) -> None:
        self.text = text
        self.value = value
        self.span = span


class Template(Scalar):
    """Text with at least one ``${{`` in it."""

    __slots__ = ()


class Seq(Node):
    """A list."""

    __slots__ = ("items",)

    def __init__(self, span: int) -> None:
        self.items: list[Node] = []
        self.span = span


class Map(Node):
    """A mapping; ``keys`` gives the place of each key. ``templated`` tells that a key holds a ``${{``."""

    __slots__ = ("items", "keys", "templated")

    def __init__(self, span: int) -> None:
        self.items: dict[Any, Node] = {}
        self.keys: dict[Any, int] = {}
        self.templated = False
        self.span = span


Place = Node | int  # where something stands: a node, or a place as `span` writes it


def graft(value: Any, place: int) -> Node:
    """Plain data as a tree that stands at ``place``: what a placeholder gave, where the language expects structure."""
    if isinstance(value, Mapping):
        result = Map(place)
        for key, item in value.items():
            result.items[key] = graft(item, place)
            result.keys[key] = place
        return result
    if isinstance(value, list | tuple):
        items = Seq(place)
        items.items = [graft(item, place) for item in value]
        return items
    return Scalar(value if isinstance(value, str) else str(value), value, place)


# ------------------------------------------------------------------------------------------------------ reading


def read(stream: Any) -> Source:
    """What a caller gave as a configuration, as text with a name.

    Args:
        stream: a path (a ``Path``, or a string without a newline), YAML as a string or as bytes, an open file (read
            to its end and closed), or a mapping. A string without a newline is YAML if no such file exists and it
            could not be meant as a path: ``"{pipelines: …}"``.

    Raises:
        FileUnreadable: there is no such file, it may not be read, it is not text.
        LimitExceeded: it is larger than 32 MiB.
    """
    if isinstance(stream, Source):
        return stream
    if isinstance(stream, Mapping):
        return Source("", "<mapping>", value=stream)
    if isinstance(stream, bytes | bytearray | memoryview):
        return _from_bytes(bytes(stream), "<bytes>")
    if isinstance(stream, os.PathLike):
        return _from_path(os.fspath(stream))
    if isinstance(stream, str):
        return _from_path(stream) if _is_path(stream) else _from_text(stream, "<string>")
    if hasattr(stream, "read") and not isinstance(stream, type):
        return _from_file(stream)
    raise FileUnreadable(
        f"a configuration cannot be read from {type(stream).__name__}",
        hint="give a path, YAML as text or bytes, an open file, or a mapping",
    )


def _is_path(text: str) -> bool:
    if "\n" in text or not text.strip():
        return False
    try:
        if Path(text).exists():
            return True
    except (OSError, ValueError):  # longer than a path may be; a NUL
        pass
    return not (text.lstrip()[0] in "{[#" or re.search(r":(\s|$)", text))


def _from_path(name: str | bytes) -> Source:
    shown = os.fsdecode(name)
    path = Path(shown)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        near = _similar(path)
        raise FileUnreadable(
            f"there is no file {shown}",
            hint=f"did you mean `{near}`?" if near else f"paths start from {Path.cwd()}",
        ) from None
    except IsADirectoryError:
        raise FileUnreadable(f"{shown} is a folder, not a file", hint="name the YAML file in it") from None
    except PermissionError:
        if path.is_dir():  # Windows calls a folder a matter of permission
            raise FileUnreadable(
                f"{shown} is a folder, not a file", hint="name the YAML file in it"
            ) from None
        raise FileUnreadable(f"no permission to read {shown}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileUnreadable(f"{shown} cannot be read: {reason}") from None
    return _from_bytes(content, shown, path)


def _similar(path: Path) -> str | None:
    try:
        names = [item.name for item in path.parent.iterdir() if item.suffix in (".yaml", ".yml")]
    except OSError:
        return None
    found = difflib.get_close_matches(path.name, names, n=1)
    return str(path.parent / found[0]) if found else None


def _from_file(stream: Any) -> Source:
    name = getattr(stream, "name", None)
    shown = name if isinstance(name, str) else "<stream>"
    try:
        content = stream.read()
    except UnicodeDecodeError as error:
        raise FileUnreadable(
            f"{shown} is not {error.encoding} text: byte {error.start} fits no character"
        ) from None
    except (OSError, ValueError) as error:
        raise FileUnreadable(f"{shown} cannot be read: {error}") from None
    finally:
        # 1.0.8 closes what it is given, and its documentation shows callers that leave it to it.
        if hasattr(stream, "close") and stream not in (sys.stdin, getattr(sys.stdin, "buffer", None)):
            stream.close()
    path = Path(shown) if isinstance(name, str) and not shown.startswith("<") else None
    if isinstance(content, str):
        return _from_text(content, shown, path)
    if isinstance(content, bytes | bytearray):
        return _from_bytes(bytes(content), shown, path)
    raise FileUnreadable(f"reading {shown} gave {type(content).__name__}, not text")


_ENCODINGS = (  # the order matters: the mark of UTF-16 begins that of UTF-32
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def _from_bytes(content: bytes, name: str, path: Path | None = None) -> Source:
    _limit_size(len(content), name)
    encoding = "utf-8"
    for mark, marked in _ENCODINGS:
        if content.startswith(mark):
            content, encoding = content[len(mark) :], marked
            break
    try:
        return _from_text(content.decode(encoding), name, path)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace")
        lines = _BREAK.split(before)
        bad = content[error.start : error.start + 1].hex()
        raise FileUnreadable(
            [
                FileUnreadable.problem(
                    f"not {encoding.upper()} text: the byte 0x{bad} fits no character here",
                    Position(name, len(lines), len(lines[-1]) + 1),
                    hint="save the file as UTF-8",
                )
            ]
        ) from None


def encoded(text: str, before: bytes) -> bytes:
    """``text`` as the bytes of a file that held ``before``: in its encoding, behind its mark."""
    for mark, encoding in _ENCODINGS:
        if before.startswith(mark):
            return mark + text.encode(encoding)
    return text.encode()


def _from_text(text: str, name: str, path: Path | None = None) -> Source:
    _limit_size(len(text), name)
    return Source(text.removeprefix("\ufeff"), name, path)


def _limit_size(size: int, name: str) -> None:
    if size > MAX_BYTES:
        raise LimitExceeded(
            f"{name} is larger than {MAX_BYTES // 1024**2} MiB, the most that a configuration may be"
        )


# -------------------------------------------------------------------------------------------- YAML 1.2 core types


class _Special:
    """A plain scalar that is not a value yet: a placeholder, or a merge key."""

    __slots__ = ()


_TEMPLATE = _Special()
_MERGE = _Special()

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_DIGITS_AT_MOST = 4000  # Python refuses to read longer integers


def scalar(text: str) -> Any:
    """What a plain scalar means in YAML 1.2's core schema: null, true or false, an integer, a float, or text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS or len(text) > _DIGITS_AT_MOST:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if text.startswith("0o") and re.fullmatch("0o[0-7]+", text):
        return int(text, 0)
    if text.startswith("0x") and re.fullmatch("0x[0-9a-fA-F]+", text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def _resolve(text: str) -> Any:
    if _PLACEHOLDER in text:
        return _TEMPLATE
    return _MERGE if text == "<<" else scalar(text)


# -------------------------------------------------------------------------------------------------------- parsing


@dataclass(slots=True)
class Tree:
    """The documents of a source (a document without content is left out) and the problems of its text.

    ``complete`` tells that it was read to its end.
    """

    documents: list[Node] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    complete: bool = False


@dataclass(slots=True)
class _Anchored:
    """What an anchor names: the node, how many values and levels it has. ``size`` is 0 while it is still open."""

    node: Node
    size: int
    height: int = 0


class _Stop(Exception):  # a limit was reached, and what follows is not looked at
    pass


class _Bytes(io.RawIOBase):
    """Hands the text to libyaml with the name that its marks shall carry."""

    def __init__(self, content: bytes, name: str) -> None:
        self._content = content
        self.name = name

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - the parser keeps what it did not ask for
        content, self._content = self._content, b""
        return content


def parse(source: Source, sources: Sources) -> Tree:
    """The tree of ``source``; its text is added to ``sources``, which the tree's places count in."""
    if source.tree is not None:
        return source.tree(sources)
    if source.value is not None:
        return _from_mapping(source, source.value, sources)
    base = sources.add(source)
    tree = Tree()
    try:
        content = source.text.encode()
    except UnicodeEncodeError as error:
        place = span(base + error.start, base + error.start + 1)
        tree.problems.append(sources.problem(YamlSyntax, "half of a character (a lone surrogate)", place))
        return tree
    try:
        _compose(_Parser(_Bytes(content, source.name)).get_event, tree, sources, base)
    except yaml.reader.ReaderError:
        tree.problems.append(_control_character(source, sources, base))
    except yaml.MarkedYAMLError as error:
        tree.problems.append(_syntax(error, source, sources, base))
    except _Stop:
        pass
    return tree


def _compose(next_event: Callable[[], Any], tree: Tree, sources: Sources, base: int) -> None:
    """Builds the tree. One loop over the events, because this is where a large file spends its time."""
    problems = tree.problems
    meanings: dict[str, Any] = {}
    missing, dropped = object(), object()
    shift = span(base, base)

    def report(error: type[ConfigError], text: str, place: Any, hint: str = "") -> None:
        if not isinstance(place, Node | int):
            place = span(base + place.start_mark.index, base + place.end_mark.index)
        problems.append(sources.problem(error, text, place, hint=hint))
        if len(problems) >= MAX_PROBLEMS:
            raise _Stop

    anchors: dict[str, _Anchored] = {}
    braces: set[int] = set()  # mappings that were meant as `{{ … }}`, and have been reported
    growing: list[tuple[int, int, int, _Anchored]] = []  # anchored containers that are still open
    aliased = deepest = values = 0
    stack: list[tuple[Node | None, Any, Any]] = []
    current: Node | None = None  # the open container
    in_map = False
    key: Any = missing  # the key that waits for its value
    key_place = 0
    root: Node | None = None

    while True:
        event = next_event()
        kind = event.__class__
        if kind is ScalarEvent:
            text = event.value
            tag = event.tag
            if tag is not None:
                report(
                    TagNotAllowed,
                    f"the tag {_tag_text(tag)} is not allowed: YAML is data here",
                    event,
                    "write the value without a tag; put it in quotes where it must stay text",
                )
            if event.style:
                value = _TEMPLATE if _PLACEHOLDER in text else text
            else:
                value = meanings.get(text, missing)
                if value is missing:
                    value = meanings[text] = _resolve(text)
            place = (event.start_mark.index << _HALF) + event.end_mark.index + shift
            if in_map and key is missing:
                key_place = place
                if value.__class__ is _Special:
                    if value is _MERGE:
                        report(
                            TagNotAllowed,
                            "merge keys (`<<`) are not part of the language",
                            event,
                            "name the keys here; an alias (`*name`) repeats a whole value",
                        )
                        key = dropped
                        continue
                    current.templated = True  # type: ignore[union-attr] # in_map: it is a Map
                    value = text
                key = value
                if event.anchor is not None:
                    kind = Template if current.templated and _PLACEHOLDER in text else Scalar  # type: ignore[union-attr]
                    anchors[event.anchor] = _Anchored(kind(text, value, key_place), 1)
                continue
            if value.__class__ is _Special:
                if value is _TEMPLATE:
                    node: Node = Template(text, text, place)
                else:
                    node = Scalar(text, text, place)
            else:
                node = Scalar(text, value, place)
            if event.anchor is not None:
                anchors[event.anchor] = _Anchored(node, 1)
        elif kind is MappingStartEvent or kind is SequenceStartEvent:
            if event.tag is not None:
                report(
                    TagNotAllowed, f"the tag {_tag_text(event.tag)} is not allowed: YAML is data here", event
                )
            stack.append((current, key, key_place))
            depth = len(stack)
            if depth > deepest:
                if depth > MAX_DEPTH:
                    report(LimitExceeded, f"nested more than {MAX_DEPTH} levels deep", event)
                    raise _Stop
                deepest = depth
            if kind is MappingStartEvent:
                current = Map((event.start_mark.index << _HALF) + shift)
                in_map = True
                key = missing
            else:
                current = Seq((event.start_mark.index << _HALF) + shift)
                in_map = False
            if event.anchor is not None:
                anchored = anchors[event.anchor] = _Anchored(current, 0)
                growing.append((depth, deepest, values, anchored))
                deepest = depth
            continue
        elif kind is MappingEndEvent or kind is SequenceEndEvent:
            node = current  # type: ignore[assignment] # a container ends that had begun
            if growing and growing[-1][3].node is node:
                depth, outer_deepest, before, anchored = growing.pop()
                anchored.size, anchored.height = values - before + 1, deepest - depth + 1
                deepest = max(deepest, outer_deepest)
            current, key, key_place = stack.pop()
            in_map = current.__class__ is Map
        elif kind is AliasEvent:
            found = anchors.get(event.anchor)
            place = (event.start_mark.index << _HALF) + event.end_mark.index + shift
            node = Scalar("", None, place)
            if found is None:
                report(
                    YamlSyntax,
                    f"the alias *{event.anchor} has no anchor before it",
                    event,
                    f"write &{event.anchor} before the value that it shall repeat, or put text that begins with * in quotes",
                )
            elif not found.size:
                report(
                    YamlSyntax, f"the alias *{event.anchor} stands inside the value that it repeats", event
                )
            else:
                node = found.node
                aliased += found.size
                values += found.size
                depth = len(stack) + found.height
                deepest = max(deepest, depth)
                if aliased > MAX_ALIASED:
                    report(LimitExceeded, f"aliases expand to more than {MAX_ALIASED:,} values", event)
                    raise _Stop
                if depth > MAX_DEPTH:
                    report(LimitExceeded, f"with its aliases nested more than {MAX_DEPTH} levels deep", event)
                    raise _Stop
            if in_map and key is missing:
                key_place = place
                if isinstance(node, Scalar):
                    key = node.value
                    if node.__class__ is Template:
                        current.templated = True  # type: ignore[union-attr] # in_map: it is a Map
                else:
                    report(WrongType, "a key must be text, and the alias repeats a list or a mapping", event)
                    key = dropped
                continue
        elif kind is DocumentStartEvent:
            anchors = {}
            root = None
            continue
        elif kind is DocumentEndEvent:
            if root is not None and not (root.__class__ is Scalar and root.value is None):
                tree.documents.append(root)
            continue
        elif event is None:
            tree.complete = True
            return
        else:
            continue

        values += 1
        if in_map:
            if key is missing:  # a list or a mapping stands where a key should
                if node.span not in braces:
                    start = node.span >> _HALF
                    if start > base and sources.raw(span(start - 1, start + 1)) == "{{":
                        braces.add(current.span)  # type: ignore[union-attr] # in_map: it is a Map
                        advice = 'put text with {{ }} in quotes; a placeholder is written "${{ … }}"'
                        report(WrongType, "`{{` begins a mapping in YAML", span(start - 1, start + 1), advice)
                    else:
                        report(WrongType, "a key must be text, not a list or a mapping", node)
                key, key_place = dropped, node.span
                continue
            if key is dropped:
                key = missing
                continue
            items = current.items  # type: ignore[union-attr] # in_map: it is a Map
            if key in items:
                _report_duplicate(report, sources, current, key, key_place)
            else:
                items[key] = node
                current.keys[key] = key_place  # type: ignore[union-attr]
            key = missing
        elif current is not None:
            current.items.append(node)  # type: ignore[attr-defined] # not a Map: it is a Seq
        else:
            root = node


def _report_duplicate(
    report: Callable[..., None], sources: Sources, mapping: Any, key: Any, place: int
) -> None:
    first = sources.position(mapping.keys[key])
    report(
        DuplicateKey,
        f"the key `{key}` stands twice in this mapping",
        place,
        f"the first one is in line {first.line}, column {first.column}; keep one of them",
    )


def _tag_text(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!") if tag.startswith("tag:yaml.org,2002:") else tag


# ------------------------------------------------------------------------------------------------ what libyaml says

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")


def _control_character(source: Source, sources: Sources, base: int) -> Problem:
    found = _UNPRINTABLE.search(source.text)
    if found is None:
        return sources.problem(YamlSyntax, "a character that YAML does not allow", span(base, base + 1))
    return sources.problem(
        YamlSyntax,
        f"the character U+{ord(found.group()):04X} is not allowed in YAML",
        span(base + found.start(), base + found.end()),
        hint=f'remove it, or write it in double quotes as "\\u{ord(found.group()):04x}"',
    )


_SAYINGS = (
    (
        "mapping values are not allowed",
        "a second `: ` in one line",
        "put a value that holds `: ` in quotes, or check the indentation",
    ),
    (
        "did not find expected key",
        "no key where one was expected",
        "check the indentation of this line and of those before it",
    ),
    ("did not find expected '-'", "no `- ` where a list goes on", "indent all items of a list alike"),
    (
        "could not find expected ':'",
        "a `:` is missing",
        "write `key: value`, or put text of several lines in quotes",
    ),
    (
        "did not find expected ',' or '}'",
        "no `,` or `}` where one was expected",
        "close the { … }, and put values that hold { } [ ] or , in quotes",
    ),
    (
        "did not find expected ',' or ']'",
        "no `,` or `]` where one was expected",
        "close the [ … ], and put values that hold { } [ ] or , in quotes",
    ),
    ("found a tab character", "a tab in the indentation", "indent with spaces"),
    ("found unexpected end of stream", "a quote is opened and never closed", "close the quote"),
    (
        "block sequence entries are not allowed",
        "a list cannot begin here",
        "begin the list on a line of its own",
    ),
    ("found undefined tag handle", "tags are not allowed", "put a value that begins with ! in quotes"),
)


def _syntax(error: yaml.MarkedYAMLError, source: Source, sources: Sources, base: int) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = " ".join(str(part) for part in (error.context, error.problem) if part)
    text, hint = f"this is not YAML: {said}", ""
    for part, ours, advice in _SAYINGS:
        if part in said:
            text, hint = ours, advice
            break
    if error.context_mark is not None and "end of stream" in said:
        mark = error.context_mark  # where the quote was opened
    index = min(mark.index, len(source.text)) if mark is not None else 0
    if index == len(source.text):  # the end of the text: the last line that holds something
        index = max(0, len(source.text.rstrip()) - 1)
    character = source.text[index : index + 1]
    if "cannot start any token" in said:
        text = f"a value cannot begin with {'a tab' if character == chr(9) else f'`{character}`'}"
        hint = "indent with spaces" if character == "\t" else "put the value in quotes"
    place = span(base + index, base + index + 1)
    line = sources.line(sources.position(place))
    if _PLACEHOLDER in line and "{" in line.replace(_PLACEHOLDER, ""):
        hint = 'inside { } and [ ] a placeholder needs quotes: "${{ … }}"'
    return sources.problem(YamlSyntax, text, place, hint=hint)


# ------------------------------------------------------------------------------------------------ Python mappings


def _from_mapping(source: Source, value: Mapping[Any, Any], sources: Sources) -> Tree:
    """The tree of Python data. Its text looks like YAML, for messages only: nothing is parsed from it."""
    tree = Tree()
    drawn = _Drawing()
    with suppress(_Stop):
        tree.documents.append(drawn.node(value, 0))
    base = sources.add(Source("".join(drawn.text), source.name))
    assert base == 0  # a mapping is never the second text, so its places need no shift
    tree.complete = bool(tree.documents)
    if not tree.complete:
        text = f"nested more than {MAX_DEPTH} levels deep, or more than {MAX_ALIASED:,} values"
        tree.problems.append(sources.problem(LimitExceeded, text, span(drawn.size, drawn.size)))
    return tree


class _Drawing:
    """Writes Python data as lines and remembers where each value came to stand."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.size = 0
        self._count = 0

    def _write(self, text: str) -> int:
        self.text.append(text)
        start, self.size = self.size, self.size + len(text)
        return span(start, self.size)

    def node(self, value: Any, depth: int) -> Node:
        """The node of ``value``, which is written at the present end of the text."""
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_ALIASED:
            raise _Stop
        indent = "\n" + "  " * depth if depth else ""
        if isinstance(value, Mapping) and value:
            mapping = Map(span(self.size + len(indent), 0))
            for key, item in value.items():
                self._write(indent)
                mapping.keys[key] = self._write(" ".join(str(key).split()))
                mapping.templated = mapping.templated or (isinstance(key, str) and _PLACEHOLDER in key)
                self._write(":")
                mapping.items[key] = self.node(item, depth + 1)
                indent = indent or "\n"
            return mapping
        if isinstance(value, list | tuple) and value:
            seq = Seq(span(self.size + len(indent), 0))
            for item in value:
                self._write(indent + "-")
                seq.items.append(self.node(item, depth + 1))
                indent = indent or "\n"
            return seq
        self._write(" ")
        if isinstance(value, Mapping):
            return Map(self._write("{}"))
        if isinstance(value, list | tuple):
            return Seq(self._write("[]"))
        kind = Template if isinstance(value, str) and _PLACEHOLDER in value else Scalar
        return kind(value if isinstance(value, str) else str(value), value, self._write(_shown(value)))


@functools.singledispatch
def _shown(value: Any) -> str:
    return f"<{type(value).__name__}>"


@_shown.register(str)
@_shown.register(int)
@_shown.register(float)
@_shown.register(bool)
@_shown.register(type(None))
def _(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
