"""The files of one load into a folder, written side by side with bounded memory and a bounded number of open files."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pipeline_flow.files import partition
from pipeline_flow.files.manifest import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa

_PART_ROWS = 1_048_576
_PART_BYTES = 32 * 1024 * 1024  # of one partition that wait
_WAITING_BYTES = 64 * 1024 * 1024  # of all partitions that wait
_OPEN_FILES = 200


class Writer(Protocol):
    """One file under way."""

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Adds rows."""

    def close(self) -> None:
        """Ends the file."""


@dataclass(slots=True)
class _Part:
    """A partition: the rows that wait for it, and its file that is open."""

    folder: str
    waiting: list[pa.RecordBatch] = field(default_factory=list)
    waiting_rows: int = 0
    waiting_bytes: int = 0
    path: str = ""
    rows: int = 0


class Parts:
    """Writes batches into files under ``root``, one or more for each partition. Close it.

    Rows of one partition keep their order. A partition has several files where ``max_rows`` says so, and where more
    than 200 partitions come mixed: then the file that was written to longest ago is ended.

    Args:
        root: where the files go.
        load: the load's id, the beginning of each file's name.
        suffix: the end of each file's name.
        open_: opens a new file.
        names: the partition columns.
        max_rows: the most rows of a file; ``None`` for as many as come.
        before: how many files the load has written already, which the names go on from.
    """

    def __init__(
        self,
        root: Path,
        load: str,
        suffix: str,
        open_: Callable[[Path], Writer],
        names: Sequence[str] = (),
        max_rows: int | None = None,
        before: int = 0,
    ) -> None:
        self._root = root
        self._load = load
        self._suffix = suffix
        self._open_writer = open_
        self._names = names
        self._max_rows = max_rows
        self._parts: dict[str, _Part] = {}
        self._open: OrderedDict[str, Writer] = OrderedDict()
        self._waiting_bytes = 0
        self._number = before
        self._rows: dict[str, int] = {}

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of ``batch``.

        Raises:
            ConversionFailed: a value cannot be a folder's name.
        """
        for folder, rows in partition.split(batch, self._names):
            part = self._parts.setdefault(folder, _Part(folder))
            self._add(part, rows)
            if part.waiting_rows >= _PART_ROWS or part.waiting_bytes >= _PART_BYTES:
                self._flush(part)
            if self._waiting_bytes > _WAITING_BYTES:
                self._relieve()

    def _add(self, part: _Part, rows: pa.RecordBatch) -> None:
        while self._max_rows and part.rows + part.waiting_rows + rows.num_rows > self._max_rows:
            room = self._max_rows - part.rows - part.waiting_rows
            if room:
                self._wait(part, rows.slice(0, room))
                rows = rows.slice(room)
            self._flush(part)
            self._end(part.folder)
        if rows.num_rows:
            self._wait(part, rows)

    def _wait(self, part: _Part, rows: pa.RecordBatch) -> None:
        part.waiting.append(rows)
        part.waiting_rows += rows.num_rows
        part.waiting_bytes += rows.nbytes
        self._waiting_bytes += rows.nbytes

    def _relieve(self) -> None:
        """Writes the partitions with the most that waits, until half of the room is free."""
        for part in sorted(self._parts.values(), key=lambda part: -part.waiting_bytes):
            if self._waiting_bytes <= _WAITING_BYTES // 2:
                return
            self._flush(part)

    def _flush(self, part: _Part) -> None:
        if not part.waiting:
            return
        writer = self._writer(part)
        writer.write(part.waiting)
        part.rows += part.waiting_rows
        self._rows[part.path] = part.rows
        self._waiting_bytes -= part.waiting_bytes
        part.waiting, part.waiting_rows, part.waiting_bytes = [], 0, 0

    def _writer(self, part: _Part) -> Writer:
        if part.folder in self._open:
            self._open.move_to_end(part.folder)
            return self._open[part.folder]
        if len(self._open) >= _OPEN_FILES:
            self._end(next(iter(self._open)))
        self._number += 1
        name = f"{self._load}-{self._number:05d}{self._suffix}"
        part.path = f"{part.folder}/{name}" if part.folder else name
        part.rows = 0
        path = self._root / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rows[part.path] = 0
        writer = self._open[part.folder] = self._open_writer(path)
        return writer

    def _end(self, folder: str) -> None:
        writer = self._open.pop(folder, None)
        if writer is not None:
            writer.close()
        self._parts[folder].rows = 0

    def finish(self, *, with_empty: bool) -> list[Entry]:
        """Writes what waits and ends all files; gives them.

        Args:
            with_empty: without any row, one file without rows is written, unless there are partition columns.
        """
        for part in self._parts.values():
            self._flush(part)
        if with_empty and not self._rows and not self._names:
            self._writer(self._parts.setdefault("", _Part("")))
        self.close()
        return [
            Entry(path, self._load, rows, (self._root / path).stat().st_size)
            for path, rows in sorted(self._rows.items())
        ]

    def close(self) -> None:
        """Ends all files. Safe to call more than once."""
        while self._open:
            self._open.popitem()[1].close()
