"""CSV as text: its dialect, its records with their lines, its header, and a tidy copy of what is too odd for DuckDB."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import SourceMalformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DELIMITERS = ",;\t|"
UTF8 = ("utf-8", "utf_8", "utf8", "utf-8-sig", "ascii")
_MARKS = {  # the longer ones first: the mark of UTF-32 begins like that of UTF-16
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_PIECE = 4 * 1024 * 1024
_LARGEST = 1 << 30  # characters of a field
_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # Excel's first line


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written. ``longest`` is the longest record in bytes; ``comment`` begins a line that is none."""

    delimiter: str
    quote: str
    escape: str | None
    header: bool
    skip: int
    comment: str | None
    longest: int


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file: the names of its columns, and how many lines come before the header or the first row."""

    names: list[str]
    skip: int


def encoding_of(path: Path, named: str) -> str:
    """The encoding of the file: what its byte order mark says, else ``named``."""
    if named.lower() not in UTF8:
        return named
    with _bytes(path) as stream:
        start = bytes(stream.read(4))
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), named)


def _bytes(path: Path) -> Any:
    import pyarrow as pa

    from pipeline_flow.files import unpack

    return pa.input_stream(str(path), compression=unpack.by_name(path))


def open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    """The text of the file, unpacked, line ends as they are."""
    name = "utf-8-sig" if encoding.lower() in UTF8 else encoding
    return io.TextIOWrapper(_bytes(path), encoding=name, newline="", errors="strict")


class _Lines:
    """The lines of a file as the parser asks for them, without comments between records."""

    def __init__(self, text: io.TextIOWrapper, comment: str | None) -> None:
        self._text = text
        self._comment = comment
        self.number = 0
        self.raw: list[str] = []
        self.first = 0  # the number of the record's first line

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.raw = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline()
        self.number += 1
        while self._comment and not self.raw and line.startswith(self._comment):
            line = self._text.readline()
            self.number += 1
        if not line:
            raise StopIteration
        if not self.raw:
            self.first = self.number
        self.raw.append(line)
        return line


class _Broken(Exception):
    """A record is not as the dialect says."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


def records(
    path: Path, encoding: str, dialect: Dialect, *, strict: bool = False
) -> Iterator[tuple[int, list[str], list[str]]]:
    """The records as Python's own parser reads them: the number of the first line, the fields, and the lines as they are.

    Blank lines are records without a field.

    Raises:
        SourceMalformed: the file is not in that encoding, or no CSV.
    """
    csv.field_size_limit(_LARGEST)
    line = 0
    quoting: dict[str, Any] = {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE}
    if dialect.escape and dialect.escape != dialect.quote:
        quoting |= {"escapechar": dialect.escape, "doublequote": False}
    try:
        with open_text(path, encoding) as text:
            lines = _Lines(text, dialect.comment)
            for _ in range(dialect.skip):
                text.readline()
                lines.number += 1
            reader = csv.reader(lines, delimiter=dialect.delimiter, strict=strict, **quoting)
            while True:
                lines.begin()
                try:
                    record = next(reader)
                except StopIteration:
                    return
                except csv.Error:
                    if strict:
                        raise _Broken(lines.first) from None
                    raise
                line = lines.first
                yield line, record, lines.raw
    except UnicodeError as error:
        raise not_encoded(path, encoding, error) from None
    except csv.Error as error:
        raise SourceMalformed(f"{path} is not CSV, after line {line}: {error}") from None


def not_encoded(path: Path, encoding: str, error: UnicodeError) -> SourceMalformed:
    """That the file is not in the encoding, with the line where that shows."""
    name = "UTF-8" if encoding.lower() in UTF8 else encoding
    reason = getattr(error, "reason", str(error))
    line = _broken_line(path) if name == "UTF-8" else 0
    where = f"{path}, line {line}," if line else str(path)
    return SourceMalformed(f"{where} is not {name}: {reason}", hint="name its `encoding`, such as cp1252")


def _broken_line(path: Path) -> int:
    """The first line that is no UTF-8; 0 where none is found."""
    with io.BufferedReader(_bytes(path)) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 0


def separator(path: Path, encoding: str, skip: int) -> str | None:
    """The delimiter that the first line names as Excel writes it: ``sep=;``."""
    try:
        with open_text(path, encoding) as text:
            for _ in range(skip):
                text.readline()
            found = _SEPARATOR.fullmatch(text.readline(16))
    except UnicodeError as error:
        raise not_encoded(path, encoding, error) from None
    return found[1] if found else None


def guess(path: Path, encoding: str, dialect: Dialect) -> str:
    """The delimiter that stands most often in the first record, outside of quotes; a comma where none does."""
    lines = (raw for _, record, raw in records(path, encoding, dialect) if record)
    text = "".join(next(lines, ()))
    if dialect.quote:
        quote = re.escape(dialect.quote)
        text = re.sub(f"{quote}.*?{quote}", "", text, flags=re.DOTALL)
    best = max(DELIMITERS, key=text.count)
    return best if best in text else ","


def head(path: Path, encoding: str, dialect: Dialect) -> Head:
    """The names of the columns, and where the header stands.

    Raises:
        SourceMalformed: there is no record, or two columns have one name.
    """
    found = next((item for item in records(path, encoding, dialect) if item[1]), None)
    if found is None:
        raise SourceMalformed(f"{path} is empty", hint="a CSV file has at least a line with the names")
    line, record, _ = found
    if not dialect.header:
        return Head([f"column_{number}" for number in range(1, len(record) + 1)], line - 1)
    names = [name.strip() or f"column_{number}" for number, name in enumerate(record, 1)]
    for name in names:
        if names.count(name) > 1:
            raise SourceMalformed(
                f"{path} has {names.count(name)} columns called `{name}`",
                hint=f"rename one in the file, or leave the names out: header: false, skip: {line}",
            )
        if "\0" in name:
            raise SourceMalformed(f"{path} is not CSV: its first line holds null characters")
    return Head(names, line - 1)


def is_misleading(path: Path, encoding: str, dialect: Dialect, skip: int) -> bool:
    """Whether DuckDB may see the header end elsewhere, and lose rows silently: quotes before it, or odd ones in it.

    It looks for quotes in the lines that are left out, but not behind a byte order mark; and the first line end that it
    meets, in quotes or not, is for it the one of all records.
    """
    if not dialect.quote:
        return False
    with open_text(path, encoding) as text:
        if any(dialect.quote in text.readline() for _ in range(skip)):
            return True
        line = text.readline()
    if not dialect.header or not (dialect.quote in line or (dialect.escape and dialect.escape in line)):
        return False
    try:
        first = next((raw for _, record, raw in records(path, encoding, dialect, strict=True) if record), [])
    except _Broken:
        return True
    return len(first) > 1


def copy(path: Path, encoding: str, target: Path, check: Any) -> None:
    """The text as UTF-8. ``check`` is called between the pieces.

    Raises:
        SourceMalformed: the file is not in that encoding.
    """
    try:
        with open_text(path, encoding) as text, target.open("w", encoding="utf-8", newline="") as out:
            while piece := text.read(_PIECE):
                check()
                out.write(piece)
    except UnicodeError as error:
        raise not_encoded(path, encoding, error) from None


def tidy_copy(path: Path, encoding: str, dialect: Dialect, target: Path, check: Any) -> None:
    """The records as UTF-8, each as it is written but ended by a line feed, without comments and skipped lines.

    The header has no names: nobody reads them in the copy.
    """
    with target.open("w", encoding="utf-8", newline="") as out:
        begun = False
        for number, (_, record, raw) in enumerate(records(path, encoding, dialect)):
            if number % 10_000 == 0:
                check()
            text = "".join(raw).rstrip("\r\n")
            if record and not begun:
                begun = True
                if dialect.header:
                    name = next(char for char in "xyz" if char not in (dialect.delimiter, dialect.quote))
                    text = dialect.delimiter.join([name] * len(record))
            if begun:
                out.write(text + "\n")


def ends_too_long(path: Path, longest: int) -> bool:
    """Whether the last line of an unpacked file is longer than ``longest`` bytes: DuckDB may lose such a row silently."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        if size <= longest:
            return False
        file.seek(size - longest)
        return not re.search(rb"[\r\n]", file.read().rstrip(b"\r\n"))


def long_line(path: Path, encoding: str, dialect: Dialect) -> int:
    """The first line of the first record that is longer than ``dialect.longest`` bytes; 0 where there is none."""
    for line, _, raw in records(path, encoding, dialect):
        size = sum(map(len, raw))
        if size > dialect.longest or size * 4 > dialect.longest < len("".join(raw).encode()):
            return line
    return 0


@dataclass(frozen=True, slots=True)
class Fault:
    """The first record that is not as the others: its first line, and its fields, or what the parser says."""

    line: int
    fields: int = 0
    broken: bool = False


def fault(path: Path, encoding: str, dialect: Dialect, width: int, *, short: bool) -> Fault | None:
    """The first record with another number of fields than ``width``, or with a quote that does not end.

    ``short`` says whether too few fields are a fault. An empty field too many at the end is none.
    """
    line = 0
    try:
        for line, record, _ in records(path, encoding, dialect, strict=True):
            fields = len(record)
            if fields > width and not (fields == width + 1 and record[-1] == ""):
                return Fault(line, fields)
            if 0 < fields < width and short:
                return Fault(line, fields)
    except _Broken as error:
        return Fault(error.line, broken=True)
    except SourceMalformed:
        return None
    return None
