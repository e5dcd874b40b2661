"""JSON documents over whole files as a source of records, read piece by piece."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from json import scanner
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import SourceMalformed
from pipeline_flow.files.json_records import LONGEST, PIECE_BYTES, Piece, utf8
from pipeline_flow.files.json_type import DEEPEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DIGITS, _IN_NUMBER = "-0123456789", "-+.eE0123456789"
_SPACE = " \t\n\r"
_NEAR_END = 16  # characters; a word, a number or an escape that the window cuts fails no further from its end
_PIECE_ROWS = 100_000
_WORDS = {"{": "an object", "[": "a list", '"': "a text", "t": "true", "f": "false", "n": "null"}

_scan: Callable[[str, int], tuple[Any, int]] = scanner.make_scanner(
    json.JSONDecoder(parse_int=str, parse_float=str)  # type: ignore[arg-type]
)


@dataclass(frozen=True, slots=True)
class Document:
    """A file with one JSON document, or several one after the other; gzip and zstd are unpacked.

    At the end of ``data_path`` (``response.items``; the document itself without one) stands a list of records, one
    record, or null.
    """

    path: Path
    encoding: str = "utf-8"
    data_path: str = ""

    def pieces(self) -> Iterator[Piece]:
        """The records in pieces; the longest record and a few MiB are in memory.

        Raises:
            SourceUnreadable: the file cannot be read.
            SourceMalformed: it is damaged, not JSON, or has no records at the end of the path.
        """
        window = _Window(self.path, self.encoding)
        gathered: list[str] = []
        lines: list[int] = []
        size = 0
        keys = tuple(self.data_path.split(".")) if self.data_path else ()
        while window.next() is not None:
            for text, line in window.records(keys, self.data_path):
                gathered.append(text)
                lines.append(line)
                size += len(text)
                if size >= PIECE_BYTES or len(lines) >= _PIECE_ROWS:
                    yield _piece(self.path, gathered, lines)
                    gathered, lines, size = [], [], 0
        if lines:
            yield _piece(self.path, gathered, lines)


def _piece(path: Path, texts: list[str], lines: list[int]) -> Piece:
    return Piece(path, "\n".join(texts).encode(), lines[0], lines)


class _Window:
    """A moving part of the file's text, which knows the line that it is at."""

    def __init__(self, path: Path, encoding: str) -> None:
        self._path = path
        self._bytes = utf8(path, encoding)
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._at = 0
        self._line = 1
        self._counted = 0  # the place in the text up to which lines are counted
        self._ended = False

    # ------------------------------------------------------------------------------------------ the window

    def _more(self) -> bool:
        """Takes more of the file in; false at its end."""
        if self._ended:
            return False
        self._count()
        self._text = self._text[self._at :]
        self._at = self._counted = 0
        wanted = len(self._text)  # a long value is looked at again each time, so the window doubles
        if wanted > LONGEST:
            self._fail(f"holds a value that is longer than {LONGEST >> 20} MiB")
        parts = [self._text]
        try:
            while not self._ended and wanted >= 0:
                data = next(self._bytes, b"")
                self._ended = not data
                parts.append(self._decoder.decode(data, final=self._ended))
                wanted -= len(data)
        except UnicodeDecodeError as error:
            self._line += sum(part.count("\n") for part in parts) + error.object[: error.start].count(b"\n")
            self._fail("is not UTF-8", "name its `encoding`, such as cp1252")
        self._text = "".join(parts)
        return True

    def _count(self) -> None:
        self._line += self._text.count("\n", self._counted, self._at)
        self._counted = self._at

    def next(self) -> str | None:
        """The next character that is no space, ``None`` at the end of the file."""
        while True:
            while self._at < len(self._text):
                char = self._text[self._at]
                if char not in _SPACE:
                    return char
                self._at += 1
            if not self._more():
                return None

    def _take(self, *expected: str) -> str:
        char = self.next()
        if char is None:
            self._fail("ends within the document", "the file was cut off")
        if char not in expected:
            wanted = " or ".join(f"`{item}`" for item in expected)
            self._fail(f"is not JSON: {wanted} was expected, and here is {char!r}")
        self._at += 1
        return char

    def _value(self, *, whole: bool) -> str | None:
        """The next value's text; ``None`` where the window does not hold it and ``whole`` is not asked for."""
        char = self.next()
        if char is None:
            self._fail("ends within the document", "the file was cut off")
        while True:
            try:
                end = _scan(self._text, self._at)[1]
                cut = self._may_go_on(end)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _NEAR_END
                self._refuse(error.pos, error.msg, fails=not cut or self._ended)
                end = -1
            except StopIteration as stop:
                cut = stop.value >= len(self._text) - _NEAR_END
                self._refuse(stop.value, "Expecting value", fails=not cut or self._ended)
                end = -1
            except RecursionError:
                self._fail(f"is nested deeper than {DEEPEST} levels")
            if not cut or (self._ended and end >= 0):
                text = self._text[self._at : end]
                self._at = end
                return text
            if not whole and self._text[self._at] in "[{":
                return None
            self._more()

    def _may_go_on(self, end: int) -> bool:
        """Whether the value that ends here is a number of which the window may hold only a part."""
        rest = self._text[end : end + _NEAR_END]
        return (
            self._text[self._at] in _DIGITS
            and end + len(rest) == len(self._text)
            and not rest.strip(_IN_NUMBER)
        )

    def _refuse(self, position: int, reason: str, *, fails: bool) -> None:
        if not fails:
            return
        if self._ended and (position >= len(self._text.rstrip()) or reason.startswith("Unterminated string")):
            self._at = len(self._text.rstrip())
            self._fail("ends within the document", "the file was cut off")
        self._at = position
        self._fail(f"is not JSON: {reason[0].lower()}{reason[1:].removesuffix(' at')}")

    def _fail(self, text: str, advice: str = "") -> NoReturn:
        self._count()
        raise SourceMalformed(f"{self._path}, line {self._line} {text}", hint=advice)

    # ------------------------------------------------------------------------------------------ the document

    def records(self, keys: tuple[str, ...], path: str) -> Iterator[tuple[str, int]]:
        """The records of one document, each on one line, with the line of the file where it begins."""
        if not keys:
            yield from self._here(path)
            return
        if self.next() != "{":
            self._fail(f"has {self._word()} where `data_path` {path} expects an object")
        seen, found = [], False
        for key in self._keys():
            seen.append(key)
            used = 0 if found else _matched(key, keys)
            if used:
                found = True
                yield from self.records(keys[used:], path)
            else:
                self._pass()
        if not found:
            missing = ".".join(keys)
            self._fail(
                f"ends an object without the key `{keys[0]}` of `data_path` {path}",
                hint(missing.partition(".")[0], seen, "it has"),
            )

    def _word(self) -> str:
        char = self.next() or ""
        return "a number" if char in _DIGITS else _WORDS.get(char, f"what is not JSON ({char!r})")

    def _here(self, path: str) -> Iterator[tuple[str, int]]:
        char = self.next()
        if char == "{":
            yield self._record()
        elif char == "[":
            for _ in self._items():
                if self.next() != "{":
                    self._fail(f"has {self._word()} in the list, and a record is an object")
                yield self._record()
        elif char == "n":
            self._value(whole=True)
        else:
            at = f"at `data_path` {path}" if path else "as its document"
            self._fail(f"has {self._word()} {at}, where a list of records was expected")

    def _record(self) -> tuple[str, int]:
        self._count()
        line = self._line
        text = self._value(whole=True) or ""
        if "\n" in text or "\r" in text:  # spaces between values: in a text they are escaped
            text = text.replace("\n", " ").replace("\r", " ")
        return text, line

    def _items(self) -> Iterator[None]:
        """One turn for each item of the list, which the caller takes."""
        self._take("[")
        if self.next() == "]":
            self._take("]")
            return
        while True:
            if self.next() == "]":
                self._fail("is not JSON: a comma before the end of a list")
            yield
            if self._take(",", "]") == "]":
                return

    def _keys(self) -> Iterator[str]:
        """Each key of the object; the caller takes its value."""
        self._take("{")
        if self.next() == "}":
            self._take("}")
            return
        while True:
            if self.next() != '"':
                self._take('"')
            key: str = json.loads(self._value(whole=True) or '""')
            self._take(":")
            yield key
            if self._take(",", "}") == "}":
                return

    def _pass(self) -> None:
        """Leaves a value out, however large it is."""
        if self._value(whole=False) is not None:
            return
        if self.next() == "{":
            for _ in self._keys():
                self._pass()
        else:
            for _ in self._items():
                self._pass()


def _matched(key: str, keys: tuple[str, ...]) -> int:
    """How many of ``keys`` are this key; a key may hold dots itself."""
    return next((count for count in range(len(keys), 0, -1) if ".".join(keys[:count]) == key), 0)
