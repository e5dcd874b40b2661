"""The types that people declare, as DuckDB writes them: ``DECIMAL(10,2)``, ``STRUCT(a INTEGER, b VARCHAR[])``.

A declared type becomes part of a query, so it is read here first and must be one type and nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline_flow.core.suggest import hint

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOKEN = re.compile(
    r"""\s*(?:(?P<word>[A-Za-z_]\w*)|(?P<number>\d+)|(?P<quoted>"(?:[^"\0]|"")+")|(?P<text>'(?:[^'\0]|'')*')|(?P<sign>[(),\[\]]))"""
)
_SIMPLE = (
    "BIGINT", "BIGNUM", "BINARY", "BIT", "BITSTRING", "BLOB", "BOOL", "BOOLEAN", "BYTEA", "DATE", "DATETIME", "DOUBLE",
    "FLOAT", "FLOAT4", "FLOAT8", "HUGEINT", "INT", "INT1", "INT128", "INT16", "INT2", "INT32", "INT4", "INT64", "INT8",
    "INTEGER", "INTERVAL", "JSON", "LOGICAL", "LONG", "REAL", "SHORT", "SIGNED", "SMALLINT", "STRING", "TEXT", "TIME",
    "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP_S", "TIMESTAMP_US", "TIMETZ", "TINYINT",
    "UBIGINT", "UHUGEINT", "UINT128", "UINT16", "UINT32", "UINT64", "UINT8", "UINTEGER", "USMALLINT", "UTINYINT",
    "UUID", "VARBINARY",
)  # fmt: skip
_TEXTS = ("VARCHAR", "CHAR", "BPCHAR", "NVARCHAR")
_DECIMALS = ("DECIMAL", "NUMERIC", "DEC")
_NESTED = ("STRUCT", "ROW", "UNION", "MAP", "ENUM")
_LONG = (
    ("DOUBLE", "PRECISION"),
    ("TIME", "WITH", "TIME", "ZONE"),
    ("TIME", "WITHOUT", "TIME", "ZONE"),
    ("TIMESTAMP", "WITH", "TIME", "ZONE"),
    ("TIMESTAMP", "WITHOUT", "TIME", "ZONE"),
)
_MOST_DIGITS = 38


def check(text: str) -> str:
    """``text`` itself, once it is known to be exactly one type.

    Raises:
        ValueError: it is not; the message says what is wrong with it.
    """
    reader = _Reader(text)
    reader.type()
    reader.end()
    return text


class _Reader:
    """Reads a type word by word."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(_tokens(text))
        self._at = 0

    def _wrong(self, why: str) -> ValueError:
        return ValueError(f"{self._text!r} is no type: {why}")

    def _peek(self, ahead: int = 0) -> tuple[str, str]:
        at = self._at + ahead
        return self._tokens[at] if at < len(self._tokens) else ("end", "its end")

    def _is(self, sign: str) -> bool:
        if self._peek() == ("sign", sign):
            self._at += 1
            return True
        return False

    def _need(self, kind: str, what: str) -> str:
        found, value = self._peek()
        if found != kind:
            raise self._wrong(f"{what} was expected, and here is {value}")
        self._at += 1
        return value

    def _need_sign(self, sign: str) -> None:
        if not self._is(sign):
            raise self._wrong(f"`{sign}` was expected, and here is {self._peek()[1]}")

    def end(self) -> None:
        if self._peek()[0] != "end":
            raise self._wrong(f"{self._peek()[1]} follows behind it")

    def type(self) -> None:
        word = self._need("word", "a type's name").upper()
        if word in _NESTED:
            self._nested(word)
        elif word in _DECIMALS:
            self._decimal()
        elif word in _TEXTS:
            if self._is("("):
                self._need("number", "a length")
                self._need_sign(")")
        elif word in _SIMPLE:
            self._long(word)
        else:
            known = (*_SIMPLE, *_TEXTS, *_DECIMALS, *_NESTED)
            raise self._wrong(f"there is no type {word} ({hint(word, known, 'such as')})")
        while self._is("["):
            if self._peek()[0] == "number":
                self._at += 1
            self._need_sign("]")

    def _long(self, word: str) -> None:
        for words in _LONG:
            rest = [self._peek(ahead)[1].upper() for ahead in range(len(words) - 1)]
            if words == (word, *rest):
                self._at += len(rest)
                return

    def _decimal(self) -> None:
        if not self._is("("):
            return
        digits, scale = int(self._need("number", "the number of digits")), 0
        if self._is(","):
            scale = int(self._need("number", "the number of decimals"))
        self._need_sign(")")
        if not 1 <= digits <= _MOST_DIGITS or scale > digits:
            raise self._wrong(f"a decimal has 1 to {_MOST_DIGITS} digits, and no more decimals than digits")

    def _nested(self, word: str) -> None:
        self._need_sign("(")
        if word == "MAP":
            self.type()
            self._need_sign(",")
            self.type()
        else:
            self._item(word)
            while self._is(","):
                self._item(word)
        self._need_sign(")")

    def _item(self, word: str) -> None:
        if word == "ENUM":
            self._need("text", "a text in single quotes")
            return
        if self._peek()[0] not in ("word", "quoted"):
            raise self._wrong(f"a field's name was expected, and here is {self._peek()[1]}")
        self._at += 1
        self.type()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, text = 0, text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"{text!r} is no type: {text[at:].strip()[:20]!r} has no place in one")
        yield str(found.lastgroup), found[str(found.lastgroup)]
        at = found.end()
