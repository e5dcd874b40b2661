"""What JSON values are, and the types of the columns that hold them exactly."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from pipeline_flow.errors import WrongArgument
from pipeline_flow.files.declared import WIDEST, parsed, scalar
from pipeline_flow.files.number import SURE_DIGITS, WHOLE_DOUBLE, digits, is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

DEEPEST = 128  # levels of a record; Arrow's and DuckDB's own walks recurse


class Malformed(Exception):
    """A record that is not JSON, or not one that a table can hold; ``args`` are the message and a hint."""


# ---------------------------------------------------------------------------------------------- values


class Whole(str):
    """A number without point and exponent, as it is written."""

    __slots__ = ()


class Real(str):
    """Any other number, as it is written."""

    __slots__ = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise Malformed(f"the key `{name}` stands twice in one object", "correct the file")
            seen.add(name)
    return found


_decode = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=Whole, parse_float=Real, parse_constant=Real
).decode


def value_of(line: bytes) -> Any:
    """The JSON value in ``line``; numbers come as :class:`Whole` and :class:`Real`.

    Raises:
        Malformed: it is no JSON, holds a key twice, or a text that is not Unicode.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise Malformed(
            f"is not UTF-8 (byte {error.start + 1} is {error.object[error.start]:#04x})",
            "name its `encoding`, such as cp1252",
        ) from None
    try:
        value = _decode(text)
        if b"\\u" in line:
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            raise Malformed(
                "ends within a record", "the file was cut off, or a record goes over several lines"
            ) from None
        raise Malformed(f"is not JSON: {_plain(error)} at column {error.pos + 1}", "") from None
    except UnicodeEncodeError:
        raise Malformed(
            "holds half of a surrogate pair (\\ud800 to \\udfff), which is no character", ""
        ) from None
    except RecursionError:
        raise Malformed(f"is nested deeper than {DEEPEST} levels", "") from None
    if line.count(b"[") + line.count(b"{") > DEEPEST:
        _check_depth(value)
    return value


def _check_depth(value: Any) -> None:
    """Raises where ``value`` is nested too deep; some Pythons parse what they could not walk through by recursion."""
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [part for items in inner for part in items if isinstance(part, dict | list)]
        if not level:
            return
    raise Malformed(f"is nested deeper than {DEEPEST} levels", "")


def _plain(error: json.JSONDecodeError) -> str:
    return error.msg[0].lower() + error.msg[1:].removesuffix(" at")


def shown(value: Any, limit: int = 60) -> str:
    """``value`` as JSON, cut to ``limit`` characters."""
    text = _text(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _text(value: Any) -> str:
    if isinstance(value, Whole | Real):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(name)}: {_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return json.dumps(value, ensure_ascii=False)


def kind_of(value: Any) -> str:
    """What ``value`` is, in words: ``a list``."""
    if isinstance(value, Whole | Real):
        return "a number"
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names[type(value)]


# ---------------------------------------------------------------------------------------------- what was seen


class Shape:
    """What was seen at one place of the records."""

    __slots__ = (
        "bools",
        "exact",
        "fields",
        "fraction",
        "high",
        "item",
        "low",
        "reals",
        "text",
        "texts",
        "whole",
        "wholes",
    )

    def __init__(self) -> None:
        self.bools = self.wholes = self.reals = self.texts = False
        self.fields: dict[str, Shape] | None = None
        self.item: Shape | None = None
        self.low = self.high = 0
        self.exact = True  # every number is a double's
        self.whole, self.fraction = 1, 0  # the most digits before and after the point
        self.text = False  # JSON text, because somebody said so or a value broke the type

    def add(self, value: Any) -> None:
        """Takes ``value`` in, of :func:`value_of`."""
        kind = type(value)
        if value is None:
            return
        if kind is str:
            self.texts = True
        elif kind is Whole:
            self._add_whole(value)
        elif kind is Real:
            self.reals = True
            self._add_number(value)
        elif kind is bool:
            self.bools = True
        elif kind is list:
            if self.item is None:
                self.item = Shape()
            for item in value:
                self.item.add(item)
        else:
            if self.fields is None:
                self.fields = {}
            fields = self.fields
            for name, item in value.items():
                shape = fields.get(name)
                if shape is None:
                    shape = fields[name] = Shape()
                shape.add(item)

    def _add_whole(self, text: str) -> None:
        self.wholes = True
        if len(text) > WIDEST + 1:
            self._add_number(text)
            self.low = self.high = 2 ** (4 * WIDEST)
            return
        number = int(text)
        self.low, self.high = min(self.low, number), max(self.high, number)
        if not -WHOLE_DOUBLE <= number <= WHOLE_DOUBLE:
            self._add_number(text)
        elif len(text) > self.whole:
            self.whole = len(text.lstrip("-"))

    def _add_number(self, text: str) -> None:
        if self.exact and (len(text) > SURE_DIGITS or "e" in text or "E" in text):
            self.exact = is_exact(text)
        whole, fraction = digits(text)
        self.whole, self.fraction = max(self.whole, whole), max(self.fraction, fraction)

    @property
    def kinds(self) -> int:
        """How many kinds of values there were; null is none."""
        return sum(
            (
                self.bools,
                self.wholes or self.reals,
                self.texts,
                self.fields is not None,
                self.item is not None,
            )
        )

    def place(self, path: str) -> Shape | None:
        """The shape at a dotted path, made where nothing was seen; ``None`` where something else was.

        A key that holds dots itself goes before a path of keys. Lists are passed through.
        """
        shape = self
        while shape.item is not None and shape.kinds == 1:
            shape = shape.item
        if shape.kinds and shape.fields is None:
            return None
        if shape.fields is None:
            shape.fields = {}
        fields = shape.fields
        if path in fields:
            return fields[path]
        for name, inner in fields.items():
            if path.startswith(f"{name}."):
                return inner.place(path[len(name) + 1 :])
        name, _, rest = path.partition(".")
        made = fields[name] = Shape()
        return made.place(rest) if rest else made


# ---------------------------------------------------------------------------------------------- types

BOOL, WHOLE, DOUBLE, DECIMAL, TEXT, NUMBER, JSON, STRUCT, LIST, DECLARED = (
    "bool",
    "whole",
    "double",
    "decimal",
    "text",
    "number",
    "json",
    "struct",
    "list",
    "declared",
)


@dataclass(frozen=True, slots=True)
class Type:
    """The type of one place of the records.

    Attributes:
        kind: one of the words above. ``number`` is the text of numbers that no type holds, ``json`` is JSON text,
            ``declared`` is what a person wrote in ``columns``.
        path: the dotted path from the record.
        arrow: the type in the stream.
        native: the type that the parser is told; where it differs from ``arrow``, the column is converted afterwards.
        word: the type in DuckDB's words.
        rewritten: values are made JSON texts before they are parsed, as the parser refuses to do so.
        fields: of a struct, in order.
        item: of a list.
    """

    kind: str
    path: str
    arrow: pa.DataType
    native: pa.DataType
    word: str
    rewritten: bool = False
    fields: tuple[tuple[str, Type], ...] = ()
    item: Type | None = None

    def everywhere(self) -> Iterator[Type]:
        """This type and all those within it."""
        yield self
        for _, field in self.fields:
            yield from field.everywhere()
        if self.item is not None:
            yield from self.item.everywhere()

    def changed(self, change: Callable[[Type], Type]) -> Type:
        """The type with ``change`` made to every leaf, and the types around them to match."""
        if self.kind == STRUCT:
            return struct_of(
                self.path, [(name, field.changed(change)) for name, field in self.fields], self.kind
            )
        if self.kind == LIST and self.item is not None:
            return list_of(self.path, self.item.changed(change))
        return change(self)


def struct_of(path: str, fields: list[tuple[str, Type]], kind: str = STRUCT) -> Type:
    """The type of objects with these keys."""
    return Type(
        kind,
        path,
        pa.struct([pa.field(name, field.arrow) for name, field in fields]),
        pa.struct([pa.field(name, field.native) for name, field in fields]),
        "STRUCT",
        fields=tuple(fields),
    )


def list_of(path: str, item: Type) -> Type:
    """The type of lists of ``item``."""
    return Type(LIST, path, pa.list_(item.arrow), pa.list_(item.native), f"{item.word}[]", item=item)


def _leaf(kind: str, path: str, type_: pa.DataType, word: str, *, rewritten: bool = False) -> Type:
    return Type(kind, path, type_, type_, word, rewritten)


def resolve(
    shape: Shape, columns: Mapping[str, str], as_text: Collection[str], path: str = "", *, root: bool = True
) -> Type:
    """The narrowest type that holds everything that ``shape`` saw, exactly; declared ones go before."""
    if not root and path in columns:
        return declared(path, columns[path], shape)
    if shape.text or (not root and path in as_text) or shape.kinds > 1:
        return _leaf(JSON, path, pa.string(), "VARCHAR", rewritten=True)
    if shape.fields or (root and shape.fields is not None):
        inner = [
            (name, resolve(item, columns, as_text, f"{path}.{name}" if path else name, root=False))
            for name, item in shape.fields.items()
        ]
        return struct_of(path, inner)
    if shape.fields is not None:  # only {}: a struct without fields can be stored nowhere
        return _leaf(JSON, path, pa.string(), "VARCHAR", rewritten=True)
    if shape.item is not None:
        return list_of(path, _item(shape.item, columns, as_text, path))
    if shape.bools:
        return _leaf(BOOL, path, pa.bool_(), "BOOLEAN")
    if shape.wholes or shape.reals:
        return _number(shape, path)
    return _leaf(TEXT, path, pa.string(), "VARCHAR")


def _item(shape: Shape, columns: Mapping[str, str], as_text: Collection[str], path: str) -> Type:
    """The items of a list have their list's path, so what is said of that must not be taken twice."""
    others = {name: type_ for name, type_ in columns.items() if name != path}
    return resolve(shape, others, [name for name in as_text if name != path], path, root=False)


def _number(shape: Shape, path: str) -> Type:
    if not shape.reals:
        if shape.low >= -(2**63) and shape.high < 2**63:
            return _leaf(WHOLE, path, pa.int64(), "BIGINT")
        if shape.low >= 0 and shape.high < 2**64:
            return _leaf(WHOLE, path, pa.uint64(), "UBIGINT")
    elif shape.exact:
        return _leaf(DOUBLE, path, pa.float64(), "DOUBLE")
    if shape.whole + shape.fraction <= WIDEST:
        scale = shape.fraction
        return _leaf(DECIMAL, path, pa.decimal128(WIDEST, scale), f"DECIMAL({WIDEST},{scale})")
    return _leaf(NUMBER, path, pa.string(), "VARCHAR", rewritten=True)


def declared(path: str, word: str, shape: Shape | None = None) -> Type:
    """The type that ``columns`` declares for ``path``.

    Args:
        path: the dotted path.
        word: the type as DuckDB writes it, or JSON.
        shape: what was seen there, which says how the values are parsed fastest.

    Raises:
        WrongArgument: DuckDB has no such type, or a JSON column cannot be it.
    """
    if word.strip().upper() == "JSON":
        return _leaf(JSON, path, pa.string(), "JSON", rewritten=True)
    return _declared(path, parsed(path, word), word, shape)


def _declared(path: str, found: Any, word: str, shape: Shape | None) -> Type:
    if found.id == "struct":
        fields = dict(shape.fields or {}) if shape is not None else {}
        inner = [
            (name, _declared(f"{path}.{name}", type_, str(type_), fields.get(name)))
            for name, type_ in found.children
        ]
        return replace(struct_of(path, inner), word=word)
    if found.id in ("list", "array"):
        if found.id == "array":
            _refuse(path, word)
        item = found.children[0][1]
        if str(item).upper() == "JSON":
            return list_of(path, _leaf(JSON, path, pa.string(), "JSON", rewritten=True))
        return list_of(path, _declared(path, item, str(item), shape.item if shape is not None else None))
    if str(found).upper() == "JSON":
        return _leaf(JSON, path, pa.string(), "JSON", rewritten=True)
    type_ = scalar(found)
    if type_ is None:
        _refuse(path, word)
    seen_text = shape is not None and shape.texts
    direct = (
        pa.types.is_string(type_)
        or (not seen_text and (pa.types.is_integer(type_) or pa.types.is_decimal(type_)))
        or (not seen_text and type_ in (pa.bool_(), pa.float64()))
    )
    return Type(DECLARED, path, type_, type_ if direct else pa.string(), word)


def _refuse(path: str, word: str) -> NoReturn:
    raise WrongArgument(
        f"`columns` declares `{path}` as `{word}`, which is not read from JSON",
        hint="declare it JSON or VARCHAR and cast it in a transform",
    )


def loosened(type_: Type) -> Type:
    """The type under which a declared column takes numbers for texts and texts for numbers: all comes as text."""
    return type_.changed(
        lambda leaf: replace(leaf, native=pa.string(), rewritten=True) if leaf.kind == DECLARED else leaf
    )
