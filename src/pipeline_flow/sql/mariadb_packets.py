"""The rows of a query as MariaDB sends them, taken apart for all rows of a piece at once: no loop over rows.

A row is a packet: its length in three bytes, a number that counts packets from 0 to 255 and over again, then of each
column the length of its text and the text. A length is one byte; or 252, 253 or 254 with two, three or eight bytes behind
it; 251 alone is a null. numpy finds where packets and texts begin, and Arrow copies the texts into columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pymysql  # type: ignore[import-untyped] # it has no annotations
from pymysql.constants import CR  # type: ignore[import-untyped] # the same
from pymysql.protocol import EOFPacketWrapper, MysqlPacket  # type: ignore[import-untyped] # the same

_HEAD = 4  # bytes before a packet's content
_FULL = 0xFFFFFF  # the content of a packet with this length goes on in the next one
_NULL = 251
_WIDER = ((252, 2), (253, 3), (254, 8))  # what a length begins with, and how many bytes of it follow
_END, _ERROR = 0xFE, 0xFF  # what a packet begins with that is no row
_END_BYTES = 9  # fewer than these follow on an end; a row that begins with 0xFE is longer
_FREE = 65_536  # bytes that there is always room to receive

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Places = np.ndarray[Any, np.dtype[np.int64]]


class Packets:
    """The rows that are on their way.

    Args:
        connection: pymysql's; nobody else reads from it before the last row.
        result: pymysql's, of an unbuffered query whose columns have been read and whose rows have not.
    """

    def __init__(self, connection: Any, result: Any) -> None:
        self._connection = connection
        self._result = result
        self._columns = len(result.fields)
        self._number = int(connection._next_seq_id)  # noqa: SLF001 - the driver has no way to hand its bytes over
        self._data: Bytes = np.empty(4 * _FREE, np.uint8)  # larger than the driver's buffer
        self._used = 0
        self._alone = False  # nothing more is in the driver's buffer

    def read(self, goal: int) -> list[pa.Array] | None:
        """The next rows as an array of bytes for each column; ``None`` after the last row.

        Args:
            goal: how many bytes to wait for, unless the rows end before; a row is never cut.

        Raises:
            pymysql.Error: the server ended the query with an error, or the connection is lost.
        """
        parts: list[Places] = []
        end = 0
        while self._result.unbuffered_active and end < goal and not self._is_long(end):
            found, end = self._follow(end)
            parts.extend(found)
            if found and self._is_last(int(parts[-1][-1]), end):
                parts[-1] = parts[-1][:-1]
            elif end < goal and not self._is_long(end):
                self._receive()
        if self._result.unbuffered_active and end == 0:
            return self._long()
        starts = np.concatenate(parts) if parts else np.empty(0, np.int64)
        columns = _columns(self._data[:end], starts + _HEAD, self._columns) if len(starts) else None
        self._forget(end)
        return columns

    def _follow(self, start: int) -> tuple[list[Places], int]:
        """Where packets begin that are there as a whole, from ``start`` on, and where the first one begins that is not."""
        data = self._data[: self._used]
        found: list[Places] = []
        chain = _Chain(data, start)
        while start + _HEAD <= len(data):
            if data[start + 3] != self._number:  # the server counts from 0 again where it shuts down
                raise self._lost()
            starts, start = chain.follow(start)
            if len(starts):
                found.append(starts)
                self._number = (self._number + len(starts)) % 256
                continue
            length = _length(data, start)
            if length == _FULL or start + _HEAD + length > len(data):
                break
            found.append(np.array([start]))
            start += _HEAD + length
            self._number = (self._number + 1) % 256
        return found, start

    def _is_last(self, start: int, end: int) -> bool:
        """Whether the packet is the last one of the rows, which is no row itself."""
        first = self._data[start + _HEAD]
        if first == _ERROR:
            self._result.unbuffered_active = False
            MysqlPacket(
                self._data[start + _HEAD : end].tobytes(), self._connection.encoding
            ).raise_for_error()
        if first != _END or end - start - _HEAD >= _END_BYTES:
            return False
        ending = EOFPacketWrapper(
            MysqlPacket(self._data[start + _HEAD : end].tobytes(), self._connection.encoding)
        )
        self._result.warning_count, self._result.has_next = ending.warning_count, ending.has_next
        self._result.unbuffered_active, self._result.connection = False, None
        return True

    def _is_long(self, start: int) -> bool:
        return start + _HEAD <= self._used and _length(self._data, start) == _FULL

    def _long(self) -> list[pa.Array]:
        """The row at the beginning, whose content fills more than one packet."""
        contents: list[Bytes] = []
        start, length = 0, _FULL
        while length == _FULL:
            self._await(start + _HEAD)
            if self._data[start + 3] != self._number:
                raise self._lost()
            length = _length(self._data, start)
            self._await(start + _HEAD + length)
            contents.append(self._data[start + _HEAD : start + _HEAD + length])
            start += _HEAD + length
            self._number = (self._number + 1) % 256
        columns = _columns(np.concatenate(contents), np.zeros(1, np.int64), self._columns)
        contents.clear()
        self._forget(start)
        return columns

    def _await(self, size: int) -> None:
        while self._used < size:
            self._receive()

    def _receive(self) -> None:
        """Waits for more bytes."""
        if len(self._data) - self._used < _FREE:
            wider = np.empty(2 * len(self._data), np.uint8)
            wider[: self._used] = self._data[: self._used]
            self._data = wider
        connection = self._connection
        try:
            if connection._current_timeout != connection._read_timeout:  # noqa: SLF001 - as the driver does
                connection._sock.settimeout(connection._read_timeout)  # noqa: SLF001
                connection._current_timeout = connection._read_timeout  # noqa: SLF001
            file, free = connection._rfile, self._data[self._used :].data  # noqa: SLF001
            if not self._alone:  # behind what it has, the driver's buffer would wait for more
                free, self._alone = free[: len(file.peek())], True
            got = file.readinto1(free)
        except OSError as error:
            raise self._lost(f" ({error})") from None
        except BaseException:
            connection._force_close()  # noqa: SLF001
            raise
        if not got:
            raise self._lost()
        self._used += got

    def _lost(self, why: str = "") -> pymysql.Error:
        self._result.unbuffered_active = False
        self._connection._force_close()  # noqa: SLF001
        return pymysql.err.OperationalError(
            CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query{why}"
        )

    def _forget(self, end: int) -> None:
        """Moves what is behind ``end`` to the beginning."""
        rest = self._data[end : self._used].copy()
        self._data[: len(rest)] = rest
        self._used = len(rest)


class _Chain:
    """Where packets begin, each found from the one before: all at once, by steps that double.

    A place is looked at only if a packet can begin there: its length is below 65,536, so that its third byte is 0, it is
    there as a whole, and the next packet's number is the following one. That leaves hardly more places than packets.
    """

    def __init__(self, data: Bytes, start: int) -> None:
        places = (
            np.flatnonzero(data[start + 2 : -1] == 0) + start
            if len(data) > start + 3
            else np.empty(0, np.int64)
        )
        ends = places + _HEAD + data[places] + (data[places + 1].astype(np.int64) << 8)
        whole = ends <= len(data)
        places, ends = places[whole], ends[whole]
        numbered = ends + 3 < len(data)
        beyond = data[np.where(numbered, ends + 3, 0)]
        follows = ~numbered | (beyond == data[places + 3] + np.uint8(1))
        self._places, self._ends = places[follows], ends[follows]
        count = len(self._places)
        nexts = np.searchsorted(self._places, self._ends)
        is_next = np.append(self._places, -1)[nexts] == self._ends
        self._nexts = np.append(np.where(is_next, nexts, count), count)  # the last one stands for none

    def follow(self, start: int) -> tuple[Places, int]:
        """The places from ``start`` on, and where the last packet ends; none where ``start`` is no such place."""
        first = int(np.searchsorted(self._places, start))
        none = len(self._places)
        if first == none or self._places[first] != start:
            return self._places[:0], start
        reached, jump = np.array([first]), self._nexts
        while reached[-1] != none:
            reached = np.concatenate([reached, jump[reached]])
            if reached[-1] != none:
                jump = jump[jump]
        reached = reached[reached != none]
        return self._places[reached], int(self._ends[reached[-1]])


def _length(data: Bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 3].tobytes(), "little")


def _columns(data: Bytes, places: Places, count: int) -> list[pa.Array]:
    """The columns of rows whose contents begin at ``places``."""
    values = pa.py_buffer(data)
    rows = len(places)
    every_second = pa.array(np.arange(0, 2 * rows, 2, dtype=np.int32))
    columns = []
    for _ in range(count):
        first = data[places]
        sizes, begins = first.astype(np.int64), places + 1
        is_null = first == _NULL
        if first.max() >= _NULL:
            sizes[is_null] = 0
            for mark, width in _WIDER:
                rows_of_it = np.flatnonzero(first == mark)
                if len(rows_of_it):
                    sizes[rows_of_it] = _numbers(data, begins[rows_of_it], width)
                    begins[rows_of_it] += width
        places = begins + sizes
        # Between two texts stands what does not belong to the column: every second one is taken.
        bounds = np.column_stack([begins, places]).ravel().astype(np.int32)
        spread = pa.Array.from_buffers(
            pa.binary(), 2 * rows - 1, [None, pa.py_buffer(bounds), values], null_count=0
        )
        chosen = every_second
        if is_null.any():
            chosen = pa.array(np.arange(0, 2 * rows, 2, dtype=np.int32), mask=is_null)
        columns.append(spread.take(chosen))
    return columns


def _numbers(data: Bytes, places: Places, width: int) -> Places:
    """The numbers of so many bytes that stand at ``places``, the lowest byte first."""
    found = np.zeros(len(places), np.int64)
    for index in range(width):
        found += data[places + index].astype(np.int64) << (8 * index)
    return found
