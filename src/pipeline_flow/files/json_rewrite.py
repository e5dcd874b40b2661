"""Parts of JSON records made JSON texts of themselves, so that a strict parser takes them as they are written."""

from __future__ import annotations

import json
from json import decoder, scanner
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, TypeAlias

from pipeline_flow.files.json_type import DECLARED, JSON, LIST, NUMBER, STRUCT, Malformed, Type

if TYPE_CHECKING:
    from collections.abc import Callable

Plan: TypeAlias = "str | dict[str, Plan] | tuple[Plan] | None"
"""Per place: the kind of its type, a mapping for an object, a tuple of one for a list; ``None`` where nothing is done."""

_SPACE = " \t\n\r"


def plan_of(type_: Type) -> Plan:
    """What has to be rewritten so that the records can be parsed as ``type_.native``."""
    if type_.rewritten:
        return type_.kind
    if type_.kind == STRUCT:
        inner: dict[str, Plan] = {
            name: plan for name, field in type_.fields if (plan := plan_of(field)) is not None
        }
        return inner or None
    if type_.kind == LIST and type_.item is not None:
        item = plan_of(type_.item)
        return None if item is None else (item,)
    return None


def rewrite(line: str, plan: Plan) -> str:
    """``line``, one record, with what ``plan`` names made texts.

    Raises:
        Malformed: the line is not JSON, or a number was expected.
        json.JSONDecodeError: the same.
        RecursionError: the same.
        StopIteration: the same.
    """
    edits: list[tuple[int, int]] = []
    _walk(line, _skip(line, 0), plan, edits)
    parts: list[str] = []
    last = 0
    for start, end in edits:
        parts += (line[last:start], encode_basestring(line[start:end]))
        last = end
    parts.append(line[last:])
    return "".join(parts)


def _no_constant(word: str) -> Any:
    raise Malformed(f"holds {word}, which is not JSON", "write null, or a text")


_string: Any = decoder.scanstring  # type: ignore[attr-defined] # json's own, in C; typeshed leaves it out
_scan: Callable[[str, int], tuple[Any, int]] = scanner.make_scanner(
    json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_no_constant)  # type: ignore[arg-type]
)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _walk(text: str, position: int, plan: Plan, edits: list[tuple[int, int]]) -> int:
    """Where the value at ``position`` ends; adds to ``edits`` what is to become text."""
    first = text[position : position + 1]
    if isinstance(plan, dict) and first == "{":
        return _object(text, position, plan, edits)
    if isinstance(plan, tuple) and first == "[":
        return _list(text, position, plan[0], edits)
    end = _scan(text, position)[1]
    if not isinstance(plan, str) or first == "n":
        return end
    if plan == JSON or (plan == DECLARED and first != '"'):
        edits.append((position, end))
    elif plan == NUMBER:
        if first not in "-0123456789":
            raise Malformed("a number was expected", "")
        edits.append((position, end))
    return end


def _object(text: str, position: int, plan: dict[str, Plan], edits: list[tuple[int, int]]) -> int:
    position = _skip(text, position + 1)
    if text[position : position + 1] == "}":
        return position + 1
    while True:
        if text[position : position + 1] != '"':
            raise json.JSONDecodeError("Expecting property name", text, position)
        name, position = _string(text, position + 1, True)
        position = _skip(text, position)
        if text[position : position + 1] != ":":
            raise json.JSONDecodeError("Expecting ':' delimiter", text, position)
        position = _skip(text, _walk(text, _skip(text, position + 1), plan.get(name), edits))
        follows = text[position : position + 1]
        if follows == "}":
            return position + 1
        if follows != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
        position = _skip(text, position + 1)


def _list(text: str, position: int, plan: Plan, edits: list[tuple[int, int]]) -> int:
    position = _skip(text, position + 1)
    if text[position : position + 1] == "]":
        return position + 1
    while True:
        position = _skip(text, _walk(text, position, plan, edits))
        follows = text[position : position + 1]
        if follows == "]":
            return position + 1
        if follows != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, position)
        position = _skip(text, position + 1)
