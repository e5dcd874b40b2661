"""Avro files as a source."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastavro
import pyarrow as pa
import pytest

from pipeline_flow.errors import SourceMalformed, SourceUnreadable
from tests.connectors.suites import SourceSuite

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

UTC = dt.UTC


def logical(name: str, kind: str = "long", **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


TYPES: dict[str, Any] = {
    "whole": "long",
    "real": "double",
    "truth": "boolean",
    "word": "string",
    "odd": "string",
    "price": logical("decimal", "bytes", precision=10, scale=2),
    "huge": logical("decimal", "bytes", precision=38, scale=10),
    "day": logical("date", "int"),
    "clock": logical("time-micros"),
    "moment": logical("local-timestamp-micros"),
    "instant": logical("timestamp-micros"),
    "bytes": "bytes",
}


def write(rows: list[Any], fields: dict[str, Any], path: str = "data.avro", **options: Any) -> Path:
    record = {"type": "record", "name": "Row", "fields": [{"name": n, "type": t} for n, t in fields.items()]}
    with Path(path).open("wb") as file:
        fastavro.writer(file, fastavro.parse_schema(record), rows, **options)
    return Path(path)


class TestSource(SourceSuite):
    plugin = "avro"

    def args(self) -> dict[str, Any]:
        return {"path": "data.avro"}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        return write(table.to_pylist(), {name: ["null", TYPES[name]] for name in table.column_names})


def column(bench: Bench, type_: Any, *values: Any, **options: Any) -> pa.ChunkedArray:
    write([{"a": value} for value in values], {"a": type_}, **options)
    return bench.extract("avro", path="data.avro")["a"]


@pytest.mark.parametrize(
    ("type_", "value", "arrow", "expected"),
    [
        ("int", 5, pa.int32(), 5),
        ("float", 0.5, pa.float32(), 0.5),
        ({"type": "fixed", "name": "F", "size": 2}, b"ab", pa.binary(), b"ab"),
        ({"type": "enum", "name": "E", "symbols": ["A", "B"]}, "B", pa.string(), "B"),
        (logical("time-millis", "int"), dt.time(1, 2, 3, 4000), pa.time32("ms"), dt.time(1, 2, 3, 4000)),
        (logical("timestamp-millis"), dt.datetime(1900, 1, 1, tzinfo=UTC), pa.timestamp("ms", "UTC"), dt.datetime(1900, 1, 1, tzinfo=UTC)),
        (logical("local-timestamp-millis"), dt.datetime(2024, 1, 1), pa.timestamp("ms"), dt.datetime(2024, 1, 1)),
        (logical("uuid", "string"), uuid.UUID(int=5), pa.string(), str(uuid.UUID(int=5))),
        (logical("decimal", "bytes", precision=60, scale=3), Decimal("-1" * 1 + "0" * 50 + ".125"), pa.decimal256(60, 3), Decimal("-1" + "0" * 50 + ".125")),
        ({**logical("decimal", "fixed", precision=5, scale=1), "name": "D", "size": 4}, Decimal("-1.5"), pa.decimal128(5, 1), Decimal("-1.5")),
        ({"type": "array", "items": ["null", "long"]}, [1, None], pa.list_(pa.int64()), [1, None]),
        ({"type": "array", "items": logical("decimal", "bytes", precision=5, scale=1)}, [Decimal("1.5")], pa.list_(pa.decimal128(5, 1)), [Decimal("1.5")]),
        ({"type": "map", "values": logical("date", "int")}, {"k": dt.date(2024, 1, 1)}, pa.map_(pa.string(), pa.date32()), [("k", dt.date(2024, 1, 1))]),
        ({"type": "record", "name": "In", "fields": [{"name": "x", "type": ["null", logical("date", "int")]}]}, {"x": dt.date(1, 1, 1)}, pa.struct([("x", pa.date32())]), {"x": dt.date(1, 1, 1)}),
        (["int", "long"], 2**40, pa.int64(), 2**40),
        (["null", "int", "double"], 5, pa.float64(), 5.0),
        (["long", "string"], "x", pa.string(), '"x"'),
        (["null", "string", {"type": "array", "items": "long"}], [1], pa.string(), "[1]"),
        ("null", None, pa.string(), None),
    ],
)  # fmt: skip
def test_types(bench: Bench, type_: Any, value: Any, arrow: pa.DataType, expected: Any) -> None:
    found = column(bench, type_, value)
    assert found.type == arrow
    assert found.to_pylist() == [expected]


def test_nanoseconds_are_kept(bench: Bench) -> None:
    found = column(bench, logical("timestamp-nanos"), 1_700_000_000_123_456_789)
    assert found.cast(pa.int64()).to_pylist() == [1_700_000_000_123_456_789]


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_codecs(bench: Bench, codec: str) -> None:
    assert column(bench, "string", "x", "y", codec=codec).to_pylist() == ["x", "y"]


def test_a_codec_that_is_not_installed_is_named(bench: Bench) -> None:
    raw = write([{"a": "x"}], {"a": "string"}).read_bytes()
    Path("data.avro").write_bytes(raw.replace(b"avro.codec\x08null", b"avro.codec\x0csnappy"))
    with pytest.raises(SourceUnreadable, match="snappy"):
        bench.extract("avro", path="data.avro")


def test_names_are_found_wherever_they_are_defined(bench: Bench) -> None:
    enum = {"type": "enum", "name": "x.E", "symbols": ["A"]}
    write([{"a": "A", "b": ["A"]}], {"a": enum, "b": {"type": "array", "items": "x.E"}})
    assert bench.extract("avro", path="data.avro", columns=["b"]).to_pylist() == [{"b": ["A"]}]


def test_what_no_column_holds_is_refused_or_left_out(bench: Bench) -> None:
    fields: dict[str, Any] = {"u": ["bytes", "string"], "self": ["null", "Row"], "n": "int"}
    write([{"u": b"x", "self": None, "n": 1}], fields)
    with pytest.raises(SourceMalformed, match="`u` of data.avro is a union with bytes"):
        bench.extract("avro", path="data.avro")
    with pytest.raises(SourceMalformed, match="`self` of data.avro holds records that hold themselves"):
        bench.extract("avro", path="data.avro", columns=["self"])
    found = bench.extract("avro", path="data.avro", columns=["n"], file_column="f")
    assert found.to_pylist() == [{"n": 1, "f": "data.avro"}]
    with pytest.raises(SourceMalformed, match="no column `m`"):
        bench.extract("avro", path="data.avro", columns=["m"])


def test_several_files_must_have_the_same_types(bench: Bench) -> None:
    write([{"a": 1}], {"a": "int"}, "1.avro")
    write([{"a": 2, "b": "x"}], {"b": "string", "a": "int"}, "2.avro")
    assert bench.extract("avro", path="?.avro").to_pydict() == {"a": [1, 2]}
    write([{"a": 2}], {"a": "long"}, "3.avro")
    with pytest.raises(SourceMalformed, match=r"`a` is int64 in 3\.avro and int32 in the first file"):
        bench.extract("avro", path="?.avro")


def test_damaged_files_are_named(bench: Bench) -> None:
    raw = write([{"a": "x" * 50}] * 10, {"a": "string"}, codec="null").read_bytes()
    for cut, message in (
        (raw[:3], "is not an Avro file"),
        (raw[:-40], "ends within a record|damaged"),
        (raw[:-3], "damaged|ends within"),
        (raw[:-16] + b"x" * 16, "damaged"),
        (raw.replace(b'"string"', b'"strinx"'), "schema"),
        (raw.replace(b"xxxx", b"\xff\xff\xff\xff", 1), "not UTF-8"),
    ):
        Path("data.avro").write_bytes(cut)
        with pytest.raises(SourceMalformed, match=rf"data\.avro.*({message})"):
            bench.extract("avro", path="data.avro")
