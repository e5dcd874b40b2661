"""A plugin gets the type that it asks for, with every value in it; and its own object where that already fits."""

from __future__ import annotations

import asyncio
import datetime as dt
import typing
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, Optional

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings

from pipeline_flow.data import BatchStream, Tables, convert, to_stream
from pipeline_flow.errors import ConversionFailed, NotTabular
from tests.data import arrow

ROWS = [{"n": 1, "t": "a"}, {"n": 2, "t": None}]


class Boom(Exception):
    pass


def stream() -> BatchStream:
    return to_stream(ROWS)


def as_rows(value: Any) -> list[dict[str, Any]]:
    return to_stream(value).to_table().to_pylist()


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (pd.DataFrame, pd.DataFrame),
        (pl.DataFrame, pl.DataFrame),
        (pl.LazyFrame, pl.LazyFrame),
        (pa.Table, pa.Table),
        (pa.RecordBatchReader, pa.RecordBatchReader),
        (list, list),
        (list[dict], list),
        (list[dict[str, Any]], list),
        (list[Mapping[str, Any]], list),
        (typing.List[typing.Dict[str, Any]], list),  # noqa: UP006 - plugins may be written so
        (BatchStream, BatchStream),
        (Iterator[pa.RecordBatch], BatchStream),
        (Iterable[pa.RecordBatch], BatchStream),
        (AsyncIterator[pa.RecordBatch], BatchStream),
        (Optional[pl.DataFrame], pl.DataFrame),  # noqa: UP045 - plugins may be written so
        (pl.DataFrame | None, pl.DataFrame),
        (None | str | pa.Table, pa.Table),
        (Annotated[pa.Table, "the data"], pa.Table),
    ],
)
@pytest.mark.parametrize(
    "source", [stream, lambda: pd.DataFrame(ROWS), lambda: pl.DataFrame(ROWS), lambda: iter([ROWS])]
)
def test_a_plugin_gets_what_its_annotation_asks_for(source: Any, annotation: Any, kind: type) -> None:
    found = convert(source(), annotation)
    assert isinstance(found, kind)
    assert as_rows(found) == ROWS


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (pd.DataFrame({"n": [1]}, index=["x"]), pd.DataFrame),
        (pl.DataFrame({"n": [1]}), pl.DataFrame),
        (pa.table({"n": [1]}), pa.Table),
        (pd.DataFrame({"n": [1]}), pl.DataFrame | pd.DataFrame),
        (ROWS, list[dict[str, Any]]),
        ([1, 2], list),
        (["not", "rows"], list[dict]),
        ({"a": 1}, dict),
        (None, pd.DataFrame | None),
        ("text", str),
        ("text", "pd.DataFrame"),
        (7, Any),
        (object(), object),
        (pd.DataFrame({"n": [1]}), list[int]),
        (pd.DataFrame({"n": [1]}), int),
        (7, typing.TypeVar("T")),
        (Tables({"a": 1}), Tables),
        (Tables({"a": 1}), Mapping),
    ],
)
def test_what_fits_and_what_nobody_asked_to_change_is_left_alone(value: Any, annotation: Any) -> None:
    found = convert(value, annotation)
    assert found is value or found == value
    if not isinstance(value, dict):
        assert found is value


def test_a_stream_stays_a_stream_where_the_annotation_says_nothing() -> None:
    for annotation in (Any, object, "unresolved", int, BatchStream):
        value = stream()
        assert convert(value, annotation) is value


def test_tables_become_a_dict_of_what_is_asked_for() -> None:
    found = convert(Tables({"a": stream(), "b": stream()}), dict[str, pd.DataFrame])
    assert type(found) is dict
    assert {name: type(frame) for name, frame in found.items()} == {"a": pd.DataFrame, "b": pd.DataFrame}
    first = stream()
    for annotation in (dict, dict[str, Any], Mapping[str, BatchStream]):
        found = convert(Tables({"a": first}), annotation)
        assert found["a"] is first
    assert convert({"a": first}, dict[str, list[dict]]) == {"a": ROWS}


def test_what_has_no_rows_is_refused_with_what_was_found() -> None:
    for annotation in (pd.DataFrame, pl.DataFrame, pa.Table, list[dict], BatchStream, pa.RecordBatchReader):
        with pytest.raises(NotTabular, match="type str"):
            convert("text", annotation)
    with pytest.raises(NotTabular, match="several tables"):
        convert(Tables({"a": stream()}), pd.DataFrame)


def test_the_producers_error_is_raised_and_the_stream_closed() -> None:
    closed = []

    def produce() -> Iterator[pa.RecordBatch]:
        yield from pa.table({"n": [1]}).to_batches()
        raise Boom

    for annotation in (pd.DataFrame, pl.DataFrame, pl.LazyFrame, pa.Table, list[dict]):
        with pytest.raises(Boom):
            convert(
                BatchStream(pa.schema([("n", pa.int64())]), produce(), on_close=lambda: closed.append(1)),
                annotation,
            )
    assert len(closed) == 5


def test_an_asynchronous_stream_is_converted_in_a_thread() -> None:
    async def pages() -> AsyncIterator[Any]:
        yield ROWS

    async def main() -> None:
        found = await asyncio.to_thread(convert, to_stream(pages()), pd.DataFrame)
        assert as_rows(found) == ROWS

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- exactly


def column(kind: pa.DataType, *values: Any) -> pa.Table:
    return pa.table({"x": pa.array([*values, None], kind)})


@pytest.mark.parametrize(
    ("table", "dtype"),
    [
        (column(pa.int64(), 2**63 - 1, -(2**63)), "Int64"),
        (column(pa.uint64(), 2**64 - 1), "UInt64"),
        (column(pa.int8(), 1), "Int8"),
        (column(pa.bool_(), True, False), "boolean"),
        (pa.table({"x": pa.array([1, 2])}), "int64"),
        (pa.table({"x": pa.array([True])}), "bool"),
        (column(pa.decimal128(38, 10), Decimal("1234567890123456789012345678.0123456789")), "object"),
        (column(pa.string(), "007", ""), "str"),
        (column(pa.binary(), b"\xff"), "object"),
        (column(pa.date32(), dt.date(1, 1, 1), dt.date(9999, 12, 31)), "object"),
        (column(pa.time64("us"), dt.time(23, 59, 59, 999_999)), "object"),
        (column(pa.time64("ns"), 1), "time64[ns][pyarrow]"),
        (column(pa.timestamp("ns"), 1), "datetime64[ns]"),
        (column(pa.timestamp("us"), -62_135_596_800_000_000), "datetime64[us]"),
        (column(pa.timestamp("us", "Europe/Zurich"), 0), "datetime64[us, Europe/Zurich]"),
        (column(pa.duration("ns"), 1), "timedelta64[ns]"),
        (column(pa.list_(pa.int64()), [2**63 - 1, None]), "list<item: int64>[pyarrow]"),
        (column(pa.struct([("a", pa.int64())]), {"a": 2**63 - 1}, {"a": None}), "struct<a: int64>[pyarrow]"),
        (column(pa.map_(pa.string(), pa.int64()), [("k", 1)]), "map<string, int64>[pyarrow]"),
        (column(pa.dictionary(pa.int8(), pa.string()), "x", "y"), "category"),
        (column(pa.float64(), 0.1), "float64"),
        (column(pa.null()), "object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pandas_holds_every_value_and_gives_it_back(table: pa.Table, dtype: str) -> None:
    frame = convert(table, pd.DataFrame)
    assert str(frame["x"].dtype) == dtype
    back = to_stream(frame).to_table()
    assert repr(back.to_pylist()) == repr(table.to_pylist())


@settings(max_examples=80, deadline=None)
@given(
    batches=arrow.tables(
        arrow.types([kind for kind in arrow.FLAT if not isinstance(kind, arrow.Unregistered)])
    )
)
def test_pandas_holds_every_type_and_gives_the_values_back(batches: list[pa.RecordBatch]) -> None:
    table = pa.Table.from_batches(batches)
    frame = convert(table, pd.DataFrame)
    assert list(frame.columns) == table.schema.names
    back = to_stream(frame).to_table()
    for name in table.schema.names:
        # pandas knows one mark for "not a number" and "nothing".
        expected = [None if value != value else value for value in table[name].to_pylist()]  # noqa: PLR0124 - NaN
        assert repr(back[name].to_pylist()) == repr(expected), table.schema.field(name)


def test_polars_holds_every_value_and_gives_it_back() -> None:
    table = pa.table({
        "int": pa.array([2**63 - 1, None]), "decimal": pa.array([Decimal("1.50"), None]), "text": ["007", None],
        "date": [dt.date(1, 1, 1), None], "zone": pa.array([0, None], pa.timestamp("us", "Europe/Zurich")),
        "list": [[{"a": 1}], None], "binary": [b"\xff", None],
    })  # fmt: skip
    frame = convert(table, pl.DataFrame)
    assert as_rows(frame) == table.to_pylist()


def test_polars_says_what_it_cannot_hold() -> None:
    with pytest.raises(ConversionFailed, match="polars cannot hold these columns"):
        convert(pa.table({"x": pa.array([Decimal(1)], pa.decimal256(76, 0))}), pl.DataFrame)


def test_frames_without_rows_keep_their_columns_and_rows_without_columns_are_counted() -> None:
    empty = pa.table({"n": pa.array([], pa.int64()), "t": pa.array([], pa.string())})
    assert list(convert(to_stream(empty), pd.DataFrame).dtypes.astype(str)) == ["int64", "str"]
    assert convert(to_stream(empty), pl.DataFrame).schema == {"n": pl.Int64, "t": pl.String}
    assert convert(to_stream(empty), list[dict]) == []
    assert len(convert(to_stream([{}, {}]), pd.DataFrame)) == 2
