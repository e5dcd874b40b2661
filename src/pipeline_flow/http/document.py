"""A page of JSON: its values, and its records as the text that the server wrote, to the last digit."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline_flow.errors import SourceMalformed

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]
ROOT: Path = ()
_SPACE = re.compile(r"[ \t\n\r]*")
_BREAKS = str.maketrans("\n\r", "  ")  # between two tokens; inside a text JSON has none
_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]+)", re.IGNORECASE)
_SHOWN_NAMES = 10


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


_decoder = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_number)
# Gives a value and where it ends; the numbers stay text, which is quicker to make and is thrown away.
_scan = json.JSONDecoder(parse_float=str, parse_int=str).raw_decode


class Document:
    """The JSON body of an answer.

    Args:
        content: the bytes of the body.
        content_type: the header of this name; its charset is used where it is there.

    Raises:
        ValueError: the bytes are not JSON; the text says why.
    """

    def __init__(self, content: bytes, content_type: str = "") -> None:
        charset = _CHARSET.search(content_type)
        encoding = charset[1] if charset else json.detect_encoding(content)
        if encoding.lower() in ("utf-8", "utf8"):
            encoding = "utf-8-sig"
        try:
            self.text = content.decode(encoding)
        except LookupError:
            raise ValueError(f"the charset {encoding} is not known") from None
        try:
            self.body: Any = _decoder.decode(self.text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None

    def plain(self) -> Any:
        """The body with floats, as Python's own reader gives it."""
        return json.loads(self.text)

    @cached_property
    def lists(self) -> tuple[str, ...]:
        """The paths of all lists that are reached through objects alone, outermost first."""
        found: list[str] = []
        level: list[tuple[str, Any]] = [("", self.body)] if isinstance(self.body, dict) else []
        while level:
            below: list[tuple[str, Any]] = []
            for prefix, value in level:
                for name, inner in value.items():
                    if isinstance(inner, list):
                        found.append(prefix + name)
                    elif isinstance(inner, dict):
                        below.append((f"{prefix}{name}.", inner))
            level = below
        return tuple(found)

    def find_records(self) -> str:
        """The path of the records where none is declared: the document if it is a list, or the only list in it.

        Raises:
            SourceMalformed: there is no list, or more than one.
        """
        if isinstance(self.body, list):
            return "$"
        if len(self.lists) == 1:
            return self.lists[0]
        if not self.lists:
            raise SourceMalformed(
                "the answer holds no list of records",
                hint="write data_path: $ where the whole answer is one record"
                + (f"; it has {_names(self.body)}" if isinstance(self.body, dict) else ""),
            )
        raise SourceMalformed(
            f"the answer holds several lists: {_listed(self.lists)}",
            hint=f"say which one are the records: data_path: {self.lists[0]}",
        )

    def records(self, path: str) -> list[Any]:
        """The records under ``path``: a list's elements, or one object. Null gives none.

        Raises:
            SourceMalformed: there is no such path, or what stands there are no objects.
        """
        value = lookup(self.body, keys(self.body, path, strict=True))
        if value is None:
            return []
        found = value if isinstance(value, list) else [value]
        for number, record in enumerate(found, 1):
            if not isinstance(record, dict):
                where = (
                    f"record {number} under `{path}`"
                    if isinstance(value, list)
                    else f"what `{path}` leads to"
                )
                raise SourceMalformed(f"{where} is {_kind(record)}, not an object", hint=_other(self.lists))
        return found

    def lines(self, path: str) -> Iterator[str]:
        """The text of each record under ``path``, on one line, as it stands in the body."""
        start = _start(self.text, keys(self.body, path, strict=True))
        if self.text[start] == "[":
            for record in _elements(self.text, start):
                yield record.translate(_BREAKS)
        elif self.text[start] == "{":
            yield self.text[start : _scan(self.text, start)[1]].translate(_BREAKS)


def keys(body: Any, path: str, *, strict: bool = False) -> Path | None:
    """The keys that a dotted path goes through in ``body``; ``None`` where there is no such path.

    ``$`` is the body itself. A key may hold dots itself: ``paging.@odata.nextLink``.

    Raises:
        SourceMalformed: with ``strict``, there is no such path.
    """
    if path == "$":
        return ROOT
    rest, value = path.removeprefix("$."), body
    found: list[str] = []
    while rest:
        if isinstance(value, dict) and rest in value:
            name, rest = rest, ""
        else:
            name, _, rest = rest.partition(".")
        if not isinstance(value, dict) or name not in value:
            if strict:
                below = f"`{'.'.join(found)}`" if found else "it"
                has = _names(value) if isinstance(value, dict) else f"{_kind(value)}"
                raise SourceMalformed(f"the answer has no `{path}`", hint=f"{below} has {has}")
            return None
        found.append(name)
        value = value[name]
    return tuple(found)


def lookup(body: Any, path: Path | None) -> Any:
    """What stands at the end of ``path``; ``None`` where there is no path."""
    if path is None:
        return None
    for name in path:
        body = body[name]
    return body


def value_at(body: Any, path: str) -> Any:
    """What a dotted path leads to, ``None`` where it leads nowhere."""
    return lookup(body, keys(body, path))


def _start(text: str, path: Path | None) -> int:
    index = _skip(text, 0)
    for name in path or ROOT:
        index = _member(text, index, name)
    return index


def _skip(text: str, index: int) -> int:
    found = _SPACE.match(text, index)
    return index if found is None else found.end()


def _member(text: str, index: int, name: str) -> int:
    """Where the value of a key begins in the object at ``index``; of a key that stands there twice the last one."""
    start = index
    index = _skip(text, index + 1)
    while text[index] != "}":
        key, index = _scan(text, index)
        index = _skip(text, _skip(text, index) + 1)
        if key == name:
            start = index
        index = _skip(text, _scan(text, index)[1])
        if text[index] == ",":
            index = _skip(text, index + 1)
    return start


def _elements(text: str, index: int) -> Iterator[str]:
    index = _skip(text, index + 1)
    while text[index] != "]":
        start = index
        index = _scan(text, index)[1]
        yield text[start:index]
        index = _skip(text, index)
        if text[index] == ",":
            index = _skip(text, index + 1)


def _names(value: dict[str, Any]) -> str:
    return f"the keys {_listed(tuple(value))}" if value else "no keys"


def _listed(names: tuple[str, ...]) -> str:
    from pipeline_flow.http.link import printable

    listed = ", ".join(f"`{printable(name, 60)}`" for name in names[:_SHOWN_NAMES])
    return listed + (f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else "")


def _other(lists: tuple[str, ...]) -> str:
    return f"lists in the answer: {_listed(lists)}" if lists else ""


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else "a number"
