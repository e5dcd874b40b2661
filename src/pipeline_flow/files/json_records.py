"""JSON records in files as a stream: types found over the first records, and then held.

A record is an object. Text stays text; whole numbers are BIGINT, then UBIGINT, then DECIMAL(38,0); other numbers are
DOUBLE where a double keeps every one of them, else DECIMAL, else the numbers' own texts; objects are structs, arrays
are lists; values of several kinds are JSON text, as it is written in the file.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pyarrow as pa

from pipeline_flow.core.suggest import hint
from pipeline_flow.data import BatchStream
from pipeline_flow.errors import SourceMalformed, WrongArgument
from pipeline_flow.files import unpack
from pipeline_flow.files.declared import Misfit
from pipeline_flow.files.json_parse import BrokenLine, Parser, first_misfit
from pipeline_flow.files.json_type import (
    NUMBER,
    TEXT,
    Malformed,
    Shape,
    Type,
    kind_of,
    resolve,
    shown,
    value_of,
)
from pipeline_flow.files.parallel import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from pipeline_flow.core.context import Context

SAMPLE_ROWS = 20_480
_SAMPLE_FILES = 10
_SAMPLE_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 8 * 1024 * 1024
LONGEST = 256 * 1024 * 1024  # bytes of a record
_UTF8 = ("utf-8", "utf-8-sig", "ascii")


@dataclass(frozen=True, slots=True)
class Piece:
    """Some records of a file.

    Attributes:
        path: the file.
        data: UTF-8, one record a line; blank lines are none.
        first: the line in the file where ``data`` begins, counted from 1.
        lines: where each line of ``data`` stands in the file, where that is not one after the other.
    """

    path: Path
    data: bytes
    first: int
    lines: Sequence[int] = ()

    def line(self, number: int) -> int:
        """The line in the file of line ``number`` (from 0) of ``data``."""
        return self.lines[number] if self.lines else self.first + number


class Source(Protocol):
    """A file that holds records."""

    @property
    def path(self) -> Path:
        """The file."""

    def pieces(self) -> Iterator[Piece]:
        """The records, anew with each call, in pieces of a few MiB."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A file with one JSON object a line, plain or packed with gzip or zstd."""

    path: Path
    encoding: str = "utf-8"

    def pieces(self) -> Iterator[Piece]:
        """The lines in pieces.

        Raises:
            SourceUnreadable: the file cannot be read.
            SourceMalformed: it is damaged, not in its encoding, or a line is longer than 256 MiB.
        """
        first, rest = 1, list[bytes]()
        for data in utf8(self.path, self.encoding):
            end = data.rfind(b"\n") + 1
            if end == 0:
                rest.append(data)
                if sum(map(len, rest)) > LONGEST:
                    raise SourceMalformed(
                        f"{self.path}, line {first} is longer than {LONGEST >> 20} MiB",
                        hint="a JSON document over the whole file is read with `plugin: json`",
                    )
                continue
            whole = b"".join((*rest, data[:end]))
            yield Piece(self.path, whole, first)
            first += whole.count(b"\n")
            rest = [data[end:]]
        last = b"".join(rest)
        if last:
            yield Piece(self.path, last, first)


def utf8(path: Path, encoding: str = "utf-8") -> Iterator[bytes]:
    """The content of a file as UTF-8 without a byte order mark; what is said to be UTF-8 is not checked.

    Raises:
        SourceUnreadable: the file cannot be read.
        SourceMalformed: it is damaged or not in its encoding.
    """
    name = codecs.lookup(encoding).name
    if name in _UTF8:
        start: bytes | None = b""
        for data in unpack.pieces(path, PIECE_BYTES):
            if start is None:
                yield data
            elif len(start + data) < len(codecs.BOM_UTF8):
                start += data
            else:
                if data := (start + data).removeprefix(codecs.BOM_UTF8):
                    yield data
                start = None
        if start:
            yield start
        return
    decoder = codecs.getincrementaldecoder(name)()
    line = 1
    try:
        for data in unpack.pieces(path, PIECE_BYTES):
            text = decoder.decode(data)
            line += text.count("\n")
            if text:
                yield text.encode()
        text = decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise SourceMalformed(
            f"{path} is not {encoding}, from line {line} on: {error}",
            hint="name its `encoding`, such as cp1252",
        ) from None
    if text:
        yield text.encode()


def line_of(path: Path, line: int) -> str:
    """The usual words for a place: ``data.jsonl, line 3``."""
    return f"{path}, line {line}"


def stream(
    context: Context,
    sources: Sequence[Source],
    *,
    columns: Mapping[str, str] | None = None,
    on_type_error: str = "fail",
    as_text: Collection[str] = (),
    lists: Collection[str] = (),
    expected: Collection[str] = (),
    file_column: str | None = None,
    where: Callable[[Path, int], str] = line_of,
    on_close: Callable[[], object] | None = None,
) -> BatchStream:
    """The records of ``sources``, one source after the other. Blocks: call it off the event loop.

    Args:
        context: the step's.
        sources: where the records are; read once for the sample and once for the rows, and once or twice more where
            ``on_type_error`` is not ``fail``.
        columns: types by dotted path, as DuckDB writes them; ``JSON`` keeps a part as JSON text.
        on_type_error: ``fail``, ``widen`` or ``text``, for values after the sample.
        as_text: dotted paths that are kept as JSON text.
        lists: dotted paths that are lists, also where the sample shows none.
        expected: dotted paths that are there, also where the sample shows none.
        file_column: the name of a further column with the source's path.
        where: says in words where a line of a source is.
        on_close: called once when the stream is closed, and when this call fails.

    Raises:
        SourceUnreadable: a source cannot be read.
        SourceMalformed: a record is not JSON, or a value does not fit; also from the stream's reads.
        WrongArgument: a declared type is none, or its path leads nowhere.
    """
    try:
        reading = _Reading(context, sources, columns or {}, on_type_error, as_text, where)
        root = reading.types(lists, expected)
        return _rows(reading, root, file_column, on_close)
    except BaseException:
        if on_close is not None:
            on_close()
        raise


def _rows(
    reading: _Reading, root: Type, file_column: str | None, on_close: Callable[[], object] | None
) -> BatchStream:
    parser = Parser(root)
    schema = parser.schema
    if file_column is not None:
        if file_column in schema.names:
            raise WrongArgument(
                f"`file_column` is `{file_column}`, which the records have already",
                hint="give it another name",
            )
        schema = schema.append(pa.field(file_column, pa.string()))

    def batches() -> Iterator[pa.RecordBatch]:
        for piece, batch in reading.parsed(lambda: parser):
            if batch is None:
                reading.blame(piece, root)
            if file_column is None:
                yield batch
            else:
                path = pa.repeat(pa.scalar(str(piece.path)), batch.num_rows)
                yield pa.RecordBatch.from_arrays([*batch.columns, path], schema=schema)

    return BatchStream(schema, batches(), on_close=on_close)


class _Reading:
    """How the sources are read: the sample, the types, and what to say when a value does not fit."""

    def __init__(
        self,
        context: Context,
        sources: Sequence[Source],
        columns: Mapping[str, str],
        on_type_error: str,
        as_text: Collection[str],
        where: Callable[[Path, int], str],
    ) -> None:
        self._context = context
        self._sources = sources
        self._columns = {_dotted(name): type_ for name, type_ in columns.items()}
        self._on_type_error = on_type_error
        self._as_text = [_dotted(name) for name in as_text]
        self._where = where
        self._shape = Shape()
        self._shape.fields = {}
        self._sampled = 0

    # ------------------------------------------------------------------------------------------ types

    def types(self, lists: Collection[str] = (), expected: Collection[str] = ()) -> Type:
        """The type of a record, by the sample or, as ``on_type_error`` says, by all records."""
        self._sample()
        for path in dict.fromkeys((*self._columns, *self._as_text, *expected)):
            self._place(path)
        for path in lists:
            shape = self._place(path)
            if not shape.kinds:
                shape.item = Shape()
        root = self._resolved()
        if self._on_type_error != "fail":
            root = self._widened(root)
        if self._sampled and not root.fields:
            raise SourceMalformed(
                f"the records of {self._sources[0].path} have no keys, so there are no columns"
            )
        return root

    def _sample(self) -> None:
        sources = self._sources[:_SAMPLE_FILES]
        for source in sources:
            rows, size = 0, 0
            for piece in source.pieces():
                self._context.check()
                rows += self._observe(piece, SAMPLE_ROWS // len(sources) - rows)
                size += len(piece.data)
                if rows >= SAMPLE_ROWS // len(sources) or size >= _SAMPLE_BYTES // len(sources):
                    break
            self._sampled += rows

    def _observe(self, piece: Piece, limit: int | None = None) -> int:
        """Takes up to ``limit`` records into the shape; gives how many."""
        rows = 0
        for number, line in enumerate(piece.data.split(b"\n")):
            if rows == limit:
                break
            if not line or line.isspace():
                continue
            try:
                value = value_of(line)
                if not isinstance(value, dict):
                    raise Malformed(f"is {kind_of(value)}, and a record is an object", _several(value))
                self._shape.add(value)
            except Malformed as error:
                raise self._broken(piece, number, *error.args) from None
            rows += 1
        return rows

    def _place(self, path: str) -> Shape:
        """What was seen at a path that an argument names, and a place for it: a key may come late, or in some files."""
        known = self._shape.fields or {}
        if self._sampled and path.partition(".")[0] not in known and path not in known:
            self._context.notice(
                f"the arguments name `{path}`, and none of the first {self._sampled:,} records has it: it is null there; "
                + hint(path, known, "they have"),
                "warning",
            )
        shape = self._shape.place(path)
        if shape is None:
            raise WrongArgument(
                f"the arguments name `{path}`, and what is there in {self._sources[0].path} is no object with such a key",
                hint="name what it is in, or correct the path",
            )
        return shape

    def _resolved(self) -> Type:
        return resolve(self._shape, self._columns, self._as_text)

    def _widened(self, root: Type) -> Type:
        """The type that all records fit. Records that fit natively are not looked at one by one.

        A record that was read before the type grew may fit the new one no more (2^53 + 1 a DOUBLE), so all are read
        until nothing changes; types only grow.
        """
        before = root
        while True:
            current = Parser(root)
            grown = False
            for piece, batch in self.parsed(lambda: current):  # noqa: B023 - the newest is wanted
                if batch is not None or _holds(current, piece):
                    continue
                self._observe(piece)
                if self._on_type_error == "text":
                    _make_text(self._shape, before, self._resolved())
                if current.root == (root := self._resolved()):
                    self.blame(piece, root)
                current = Parser(root)
                grown = True
            if not grown:
                return root

    # ------------------------------------------------------------------------------------------ rows

    def pieces(self) -> Iterator[Piece]:
        """All records."""
        for source in self._sources:
            for piece in source.pieces():
                self._context.check()
                yield piece

    def parsed(self, parser: Callable[[], Parser]) -> Iterator[tuple[Piece, pa.RecordBatch | None]]:
        """Each piece with its batch, ``None`` where something does not fit. Several are parsed at once, in order."""
        calls = (partial(_attempt, parser(), piece) for piece in self.pieces())
        yield from in_order(calls, "pipeline-flow json")

    # ------------------------------------------------------------------------------------------ errors

    def blame(self, piece: Piece, root: Type) -> NoReturn:
        """Raises what is wrong with a piece that could not be parsed."""
        try:
            found = first_misfit(piece.data, root)
        except BrokenLine as error:
            raise self._broken(piece, *error.args) from None
        if found is None:
            found_line, reason = _refused_line(piece, root)
            raise self._broken(piece, found_line, f"cannot be read: {reason}", "")
        line, path, value, type_ = found
        place = self._where(piece.path, piece.line(line))
        name = _dotted(path)
        word = "JSON" if isinstance(value, dict | list) else "VARCHAR"
        if type_ is None:
            raise SourceMalformed(
                f"{place}: the key `{path}` is new ({shown(value)}); the first {self._sampled:,} records do not have it",
                hint=f"declare it: columns: {{{_key(name)}: {word}}}, or set on_type_error: widen",
            )
        if name in self._columns or type_.path in self._columns:
            raise SourceMalformed(
                f"{place}: `{path}` is declared {type_.word}, and here is {shown(value)}",
                hint=f"correct the file, or declare {name}: {word}",
            )
        raise SourceMalformed(
            f"{place}: `{path}` is {_seen(type_)} in the first {self._sampled:,} records, and here is {shown(value)}",
            hint=f"declare it: columns: {{{_key(name)}: {'JSON' if type_.native.num_fields else word}}}, "
            "or set on_type_error: widen",
        )

    def _broken(self, piece: Piece, number: int, text: str, advice: str) -> SourceMalformed:
        return SourceMalformed(f"{self._where(piece.path, piece.line(number))} {text}", hint=advice)


def _attempt(parser: Parser, piece: Piece) -> tuple[Piece, pa.RecordBatch | None]:
    try:
        return piece, parser.batch(piece.data)
    except Misfit:
        return piece, None


def _holds(parser: Parser, piece: Piece) -> bool:
    """Whether a piece that an earlier parser refused fits this one."""
    return _attempt(parser, piece)[1] is not None


def _refused_line(piece: Piece, root: Type) -> tuple[int, str]:
    parser = Parser(root)
    for number, line in enumerate(piece.data.split(b"\n")):
        try:
            parser.batch(line)
        except Misfit as error:
            return number, str(error)
    return 0, "the parser refuses it"


def _make_text(shape: Shape, before: Type, now: Type) -> None:
    """Marks as JSON text what has another type than before; new keys are no such thing."""
    if before.fields and now.fields:
        was = dict(before.fields)
        for name, field in now.fields:
            if name in was and shape.fields is not None:
                _make_text(shape.fields[name], was[name], field)
    elif before.item is not None and now.item is not None and shape.item is not None:
        _make_text(shape.item, before.item, now.item)
    elif before.kind != now.kind or before.arrow != now.arrow:
        shape.text = True


def _seen(type_: Type) -> str:
    if type_.kind == TEXT:
        return "VARCHAR (text or null)"
    if type_.kind == NUMBER:
        return "a number"
    return type_.word


def _several(value: Any) -> str:
    return (
        "a JSON document over the whole file is read with `plugin: json`" if isinstance(value, list) else ""
    )


def _dotted(path: str) -> str:
    """A path without the brackets of lists: ``items[2].sku`` → ``items.sku``."""
    return re.sub(r"\[\d*\]", "", path)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w.]+", name) else json.dumps(name, ensure_ascii=False)
