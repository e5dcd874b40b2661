"""The packets of MariaDB's rows, cut anywhere on their way, come out as the values that went in."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pymysql = pytest.importorskip("pymysql", reason="the extra `mariadb` is not installed")

from pipeline_flow.sql.mariadb_packets import Packets  # noqa: E402 - after the driver was found

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

Row = tuple[bytes | None, ...]
FULL = 0xFFFFFF
END = b"\xfe\x00\x00\x22\x00"
REFUSAL = b"\xff\x25\x05#70100Query execution was interrupted"


def field(value: bytes | None) -> bytes:
    """A value as the protocol has it."""
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    mark, width = (252, 2) if size < 1 << 16 else (253, 3) if size < 1 << 24 else (254, 8)
    return bytes([mark]) + size.to_bytes(width, "little") + value


def wire(contents: Sequence[bytes], number: int) -> bytes:
    """Contents as packets, counted from ``number`` on."""
    sent = bytearray()
    for content in contents:
        rest = content
        while True:
            part, rest = rest[:FULL], rest[FULL:]
            sent += len(part).to_bytes(3, "little") + bytes([number % 256]) + part
            number += 1
            if len(part) < FULL:
                break
    return bytes(sent)


class Pieces(io.RawIOBase):
    """Bytes that arrive in pieces of given sizes, the sizes over and over."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        self._data, self._sizes, self._at, self._turn = data, sizes, 0, 0
        self._whole = data.endswith((END, REFUSAL))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # nobody gives another buffer
        assert not self._whole or self._at < len(self._data), "waits for more, and everything is there"
        size = min(self._sizes[self._turn % len(self._sizes)], len(buffer), len(self._data) - self._at)
        buffer[:size] = self._data[self._at : self._at + size]
        self._at, self._turn = self._at + size, self._turn + 1
        return size


class Connection:
    """What the driver's connection knows when the columns have been read."""

    encoding = "utf8"
    _read_timeout = _current_timeout = None

    def __init__(self, data: bytes, sizes: Sequence[int], number: int) -> None:
        self._rfile, self._next_seq_id = io.BufferedReader(Pieces(b"columns" + data, sizes)), number
        self._rfile.read(len(b"columns"))
        self.is_open = True

    def _force_close(self) -> None:
        self.is_open = False


def packets(data: bytes, columns: int, number: int = 0, sizes: Sequence[int] = (1 << 20,)) -> Packets:
    connection = Connection(data, sizes, number)
    result = SimpleNamespace(fields=[None] * columns, unbuffered_active=True, connection=connection)
    return Packets(connection, result)


def rows(pieces: list[list[pa.Array]]) -> list[Row]:
    return [row for piece in pieces for row in zip(*(column.to_pylist() for column in piece), strict=True)]


def read(source: Packets, goal: int) -> list[list[pa.Array]]:
    pieces = []
    while (piece := source.read(goal)) is not None:
        pieces.append(piece)
    assert source.read(goal) is None
    return pieces


value = st.one_of(
    st.none(),
    st.binary(max_size=6),
    st.sampled_from([b"", b"\0" * 300, b"\xfb" * 251, b"\1\0\0\1" * 70, b"x" * 65_536, b"\0" * 70_000]),
)


@settings(deadline=None)
@given(
    st.data(),
    st.integers(1, 4),
    st.integers(0, 255),
    st.lists(st.integers(1, 400), min_size=1),
    st.integers(1, 5_000),
)
def test_rows_cut_anywhere_come_out_whole(
    data: st.DataObject, columns: int, number: int, sizes: list[int], goal: int
) -> None:
    sent: list[Row] = data.draw(st.lists(st.tuples(*[value] * columns), max_size=40))
    if sum(len(item or b"") for row in sent for item in row) > 100_000:
        sizes = [size * 1_000 for size in sizes]
    contents = [b"".join(map(field, row)) for row in sent]
    source = packets(wire([*contents, END], number), columns, number, sizes)
    assert rows(read(source, goal)) == sent


@given(st.lists(st.binary(max_size=5), max_size=600), st.integers(1, 2_000))
@example([b"\0\0\1"] * 600, 100)
def test_bytes_that_look_like_packets_mislead_nobody(values: list[bytes], goal: int) -> None:
    sent: list[Row] = [(value * 3,) for value in values]
    source = packets(wire([*(field(value) for (value,) in sent), END], 3), 1, 3)
    assert rows(read(source, goal)) == sent


@pytest.mark.parametrize("size", [FULL - 4, FULL - 3, FULL, 2 * FULL - 9, 2 * FULL])
def test_a_row_of_more_than_a_packet(size: int) -> None:
    sent: list[Row] = [(b"before",), (b"y" * size,), (b"after",)]
    source = packets(wire([*(field(value) for (value,) in sent), END], 250), 1, 250)
    assert rows(read(source, 1_000)) == sent


def test_rows_arrive_before_the_end_is_there() -> None:
    source = packets(wire([field(b"first"), field(b"second"), END], 0), 1, sizes=[17, 1_000])
    first = source.read(1)
    assert first is not None
    assert first[0].to_pylist() == [b"first"]


@pytest.mark.parametrize("sent", [0, 1, 500])
def test_an_error_after_some_rows_is_the_servers(sent: int) -> None:
    source = packets(wire([*[field(b"row")] * sent, REFUSAL], 1), 1, 1, sizes=[7])
    with pytest.raises(pymysql.err.OperationalError, match="interrupted") as caught:
        read(source, 1_000)
    assert caught.value.args[0] == 1317


def test_a_server_that_shuts_down_is_a_lost_connection() -> None:
    """It sends an error that is counted from 0 again."""
    data = wire([field(b"row")] * 5, 1) + wire([REFUSAL], 0)
    source = packets(data, 1, 1)
    with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
        read(source, 1_000)


@pytest.mark.parametrize("kept", [0, 2, 5, 40])
def test_bytes_that_end_too_early_are_a_lost_connection(kept: int) -> None:
    source = packets(wire([field(b"a row")] * 5, 1)[:kept], 1, 1, sizes=[3])
    with pytest.raises(pymysql.err.OperationalError, match="Lost connection"):
        read(source, 1_000)
