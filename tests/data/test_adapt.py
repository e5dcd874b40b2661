"""What becomes a stream, with every value as it was; and what is refused, in words that say where."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_flow.data import BatchStream, Tables, is_iterator, is_tabular, to_stream
from pipeline_flow.errors import ConversionFailed, NotTabular
from tests.data import arrow

UTC = dt.UTC


def rows(value: Any, **options: Any) -> list[dict[str, Any]]:
    return to_stream(value, **options).to_table().to_pylist()


def kinds(value: Any, **options: Any) -> dict[str, str]:
    return {field.name: str(field.type) for field in to_stream(value, **options).schema}


class Capsule:
    """Knows nothing but the Arrow C stream."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class ArrayCapsule:
    """Knows nothing but the Arrow C array."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __arrow_c_array__(self, requested_schema: object = None) -> object:
        return self.batch.__arrow_c_array__(requested_schema)


# ---------------------------------------------------------------------------------------------- what is accepted


def forms() -> dict[str, Callable[[], Any]]:
    table = pa.table({"n": pa.array([1, 2], pa.int64()), "t": ["a", None]})
    (batch,) = table.to_batches()
    lines = [{"n": 1, "t": "a"}, {"n": 2, "t": None}]
    connection = duckdb.connect()

    async def pages() -> AsyncIterator[Any]:
        yield lines[:1]
        yield lines[1:]

    return {
        "stream": lambda: BatchStream(batch.schema, [batch]),
        "table": lambda: table,
        "batch": lambda: batch,
        "reader": table.to_reader,
        "struct array": batch.to_struct_array,
        "C stream": lambda: Capsule(table),
        "C array": lambda: ArrayCapsule(batch),
        "pandas": lambda: pd.DataFrame(lines),
        "polars": lambda: pl.DataFrame(lines),
        "polars lazy": lambda: pl.LazyFrame(lines),
        "duckdb": lambda: connection.sql("select unnest([1, 2]::bigint[]) as n, unnest(['a', null]) as t"),
        "list of dicts": lambda: lines,
        "tuple of dicts": lambda: tuple(lines),
        "list of tables": lambda: [table.slice(0, 1), table.slice(1)],
        "iterator of rows": lambda: iter(lines),
        "generator of frames": lambda: (
            pl.DataFrame([line], schema={"n": pl.Int64, "t": pl.String}) for line in lines
        ),
        "iterator of batches": lambda: iter([batch]),
        "iterator of streams": lambda: iter([BatchStream(batch.schema, [batch])]),
        "asynchronous generator": pages,
    }


@pytest.mark.parametrize("form", forms())
def test_every_tabular_form_gives_the_same_rows(form: str) -> None:
    async def main() -> list[dict[str, Any]]:
        value = forms()[form]()
        assert is_tabular(value) != is_iterator(value)
        table = await to_stream(value).read_table()
        assert table.schema.names == ["n", "t"]
        assert table.schema.field("n").type == pa.int64()
        result: list[dict[str, Any]] = table.to_pylist()
        return result

    assert asyncio.run(main()) == [{"n": 1, "t": "a"}, {"n": 2, "t": None}]


def test_a_stream_stays_the_same_object() -> None:
    stream = to_stream([{"n": 1}])
    assert to_stream(stream) is stream


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"nothing \(None\) has no rows"),
        (7, "a value of type int has no rows and columns"),
        ("text", "type str"),
        (b"bytes", "type bytes"),
        ([1, 2], "type list of int"),
        ({1, 2}, "type set"),
        (object(), "type object"),
        (pd.DataFrame, "type type"),
        ({"n": 1}, "one dict where rows are wanted"),
        ({"orders": [{"n": 1}], "customers": pd.DataFrame()}, "several tables .`orders`, `customers`."),
        (Tables({"orders": pa.table({"n": [1]})}), "several tables .`orders`. where one stream"),
        (pd.Series([1]), "type Series is one column"),
        (pl.Series([1]), "type Series is one column"),
        (pa.array([1]), "type Int64Array is one column"),
        (pa.chunked_array([[1]]), "type ChunkedArray is one column"),
    ],
)
def test_what_has_no_rows_and_columns_is_refused_at_once(value: Any, message: str) -> None:
    assert not is_tabular(value)
    assert not is_iterator(value)
    with pytest.raises(NotTabular, match=message) as info:
        to_stream(value)
    assert info.value.hint


def test_a_foreign_column_is_refused_by_the_first_read() -> None:
    class Column:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.chunked_array([[1]]).__arrow_c_stream__(requested_schema)

    with pytest.raises(NotTabular, match="a Column is one column"):
        to_stream(Column()).to_table()


def test_the_package_imports_no_data_frame_library() -> None:
    code = "import sys, pipeline_flow.data; print([m for m in ('pandas', 'polars', 'duckdb', 'numpy.testing') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )


def test_nothing_is_converted_before_the_first_read_and_then_in_the_readers_thread() -> None:
    class Watched(Capsule):
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            threads.append(threading.current_thread())
            return super().__arrow_c_stream__(requested_schema)

    threads: list[threading.Thread] = []
    stream = to_stream(Watched(pa.table({"n": [1]})))
    assert not threads
    asyncio.run(stream.read_table())
    assert len(threads) == 1
    assert threads != [threading.main_thread()]


# ---------------------------------------------------------------------------------------------- values


@settings(max_examples=80, deadline=None)
@given(batches=arrow.tables(), through=st.sampled_from(["reader", "table", "iterator", "capsule"]))
def test_arrow_passes_untouched(batches: list[pa.RecordBatch], through: str) -> None:
    schema = batches[0].schema
    value = {
        "reader": lambda: pa.RecordBatchReader.from_batches(schema, batches),
        "table": lambda: pa.Table.from_batches(batches, schema),
        "iterator": lambda: iter(batches),
        "capsule": lambda: ArrayCapsule(batches[0]),
    }[through]()
    if through == "capsule":
        batches = batches[:1]
        if any(_unregistered(field.type) for field in schema):
            return  # the C interface knows registered types only
    found = list(to_stream(value))
    if through == "table" and not schema.names:  # Arrow makes one batch of them
        assert sum(batch.num_rows for batch in found) == sum(batch.num_rows for batch in batches)
    else:
        arrow.same(found, batches)


def _unregistered(kind: pa.DataType) -> bool:
    return isinstance(kind, arrow.Unregistered) or any(
        _unregistered(kind.field(n).type) for n in range(kind.num_fields)
    )


def test_batches_are_cut_without_copying() -> None:
    whole = pa.table({"n": range(10)})
    for value in (
        whole,
        whole.to_batches()[0],
        whole.to_reader(),
        Capsule(whole),
        pl.DataFrame(whole),
        iter([whole]),
    ):
        batches = list(to_stream(value, batch_rows=4))
        assert [batch.num_rows for batch in batches] == [4, 4, 2]
    address = whole["n"].chunk(0).buffers()[1].address
    assert {batch["n"].buffers()[1].address for batch in to_stream(whole, batch_rows=4)} == {address}
    assert [b.num_rows for b in to_stream(duckdb.connect().sql("from range(5000)"), batch_rows=2048)] == [
        2048,
        2048,
        904,
    ]


def test_columns_of_one_name_are_refused() -> None:
    twice = duckdb.connect().sql("select 1 as id, 2 as id")
    for value in (
        twice,
        pd.DataFrame([[1, 2]], columns=["id", "id"]),
        pd.DataFrame([[1, 2]], columns=[1, "1"]),
    ):
        with pytest.raises(ConversionFailed, match="is more than once among 2 columns"):
            to_stream(value).to_table()


# ---------------------------------------------------------------------------------------------- lists of dicts


def test_rows_make_columns_in_the_order_of_appearance_and_missing_keys_are_null() -> None:
    value = [{"b": 1}, {}, {"a": "x", "b": None}]
    assert kinds(value) == {"b": "int64", "a": "string"}
    assert rows(value) == [{"b": 1, "a": None}, {"b": None, "a": None}, {"b": None, "a": "x"}]
    assert rows([]) == []
    assert to_stream([]).schema == pa.schema([])
    assert to_stream([{}, {}]).to_table().num_rows == 2


def test_the_type_is_found_over_all_rows() -> None:
    assert kinds([{"x": None}] * 1000 + [{"x": 1.5}]) == {"x": "double"}
    assert kinds([{"x": 1}] * 1000 + [{"x": 1.5}]) == {"x": "double"}
    assert kinds([{"x": []}, {"x": [{"a": 1}]}, {"x": [{"b": "t"}]}]) == {
        "x": "list<item: struct<a: int64, b: string>>"
    }
    assert kinds([{"x": None}]) == {"x": "null"}


VALUES = [
    True, 2**63 - 1, -(2**63), 1.5, "007", "", b"\xff", Decimal("12345678901234567890.123456789"), dt.date(2024, 2, 29),
    dt.datetime.fromisoformat("2024-02-29T12:30:00.000001"), dt.datetime(2024, 2, 29, tzinfo=UTC), dt.time(23, 59, 59, 999_999),
    dt.timedelta(days=-1, microseconds=1), [1, None], [], {"a": [{"b": None}], "c": "x"}, uuid.UUID(int=7),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_python_values_come_out_as_they_went_in(value: Any) -> None:
    assert rows([{"x": value}, {"x": None}]) == [{"x": value}, {"x": None}]


def test_decimals_have_room_for_tomorrows_numbers() -> None:
    assert kinds([{"x": Decimal("1.25")}]) == {"x": "decimal128(38, 2)"}
    assert kinds([{"x": Decimal(10) ** 50}]) == {"x": "decimal256(51, 0)"}


@pytest.mark.parametrize("nothing", [pd.NaT, pd.NA])
def test_pandas_marks_of_nothing_are_null(nothing: Any) -> None:
    assert rows([{"x": nothing, "y": nothing}, {"x": dt.date(2024, 1, 1), "y": 1}])[0] == {
        "x": None,
        "y": None,
    }


AWARE, NAIVE = (dt.datetime(2024, 1, 1, 12, tzinfo=zone) for zone in (UTC, None))


@pytest.mark.parametrize(
    ("before", "bad", "why"),
    [
        (1, "abc", r"'abc' \(str\) does not fit: int and text"),
        ("abc", 1, r"1 \(int\) does not fit: int and text"),
        (1, True, "bool and int"),
        (1.5, True, "bool and float"),
        ("abc", b"abc", "bytes and text"),
        (1.5, Decimal("1.5"), "decimal and float"),
        (dt.date(2024, 1, 1), NAIVE, "date and datetime"),
        (NAIVE, dt.date(2024, 1, 1), "date and datetime"),
        (NAIVE, AWARE, "with and without a time zone"),
        (AWARE, NAIVE, "with and without a time zone"),
        ([1], "abc", "list and text"),
        ([1], ["abc"], "int and text"),
        ({"a": {"b": 1}}, {"a": {"b": "x"}}, r"\.a\.b: int and text"),
        ({"a": NAIVE}, {"a": AWARE}, r"\.a: times with and without"),
        ({"a": 1}, [1], "dict and list"),
        (1, 2**70, "too large|overflow|out of"),
        (1.5, 2**53 + 1, "range"),
        (1, object(), "int and object"),
        ("abc", "\ud800", "surrogates"),
        (Decimal(1), Decimal("NaN"), "NaN"),
        (NAIVE, pd.Timestamp("2024-01-01 00:00:00.000000001"), "nanoseconds"),
    ],
)
@pytest.mark.parametrize("at", [2, 3, 700, 1000])
def test_values_without_a_common_type_are_an_error_that_names_column_and_row(
    before: Any, bad: Any, why: str, at: int
) -> None:
    value = [{"ok": 1, "x": None}] + [{"x": before}] * 999
    if at == 2:
        value[0]["x"] = before
    value[at - 1] = {"x": bad}
    with pytest.raises(ConversionFailed, match=f"column `x`, row {at}: .*({why})") as info:
        to_stream(value).to_table()
    assert len(str(info.value)) < 300
    assert info.value.hint


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(ConversionFailed, match="…") as info:
        to_stream([{"x": 1}, {"x": "y" * 10_000_000}]).to_table()
    assert len(str(info.value)) < 300


def test_rows_must_be_dicts_with_text_for_keys() -> None:
    with pytest.raises(NotTabular, match="row 2 is a list, expected a dict"):
        to_stream([{"x": 1}, [1]]).to_table()
    with pytest.raises(ConversionFailed, match=r"key 1 \(int\), expected text"):
        to_stream([{1: "x"}]).to_table()


def test_numpy_values_in_rows() -> None:
    assert kinds([{"x": np.int32(1), "y": np.float32(1), "z": np.array([1, 2])}]) == {
        "x": "int32",
        "y": "float",
        "z": "list<item: int64>",
    }


# ---------------------------------------------------------------------------------------------- pandas, polars


def test_pandas_keeps_the_labels_that_say_something() -> None:
    frame = pd.DataFrame({"n": [1, 2, 3]})
    assert kinds(frame) == {"n": "int64"}
    assert kinds(frame[frame.n > 1]) == {"n": "int64"}, "the numbers that a filter leaves say nothing"
    assert kinds(frame.set_axis(["a", "b", "c"])) == {"index": "large_string", "n": "int64"}
    assert kinds(frame.set_index(pd.Index([7, 8, 9], name="id"))) == {"id": "int64", "n": "int64"}
    grouped = pd.DataFrame({"a": [1, 1], "b": ["x", "y"], "n": [1, 2]}).groupby(["a", "b"]).sum()
    assert kinds(grouped) == {"a": "int64", "b": "large_string", "n": "int64"}
    assert kinds(pd.DataFrame(index=range(3))) == {}
    assert to_stream(pd.DataFrame(index=range(3))).to_table().num_rows == 3
    with pytest.raises(ConversionFailed, match="2 levels of names"):
        to_stream(pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))).to_table()
    assert to_stream(frame).schema.metadata is None, (
        "pandas' own metadata would set an index at the next reader"
    )
    assert list(frame.columns) == ["n"], "the caller's frame is left alone"


def test_pandas_values_come_out_as_they_were() -> None:
    frame = pd.DataFrame({
        "big": pd.array([2**63 - 1, None], dtype="Int64"),
        "decimal": [Decimal("1.5"), None],
        "text": ["007", None],
        "mixed_missing": pd.Series(["a", float("nan")], dtype=object),
        "date": [dt.date(2024, 1, 1), None],
        "nanos": pd.to_datetime(pd.Series(["2024-01-01 00:00:00.000000001", None])),
        "zone": pd.to_datetime(pd.Series(["2024-01-01", None])).dt.tz_localize("Europe/Zurich"),
        "category": pd.Categorical(["x", None]),
        "nan": [1.5, float("nan")],
        1: [[1], None],
    })  # fmt: skip
    table = to_stream(frame).to_table()
    assert {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)} == {
        "big": "int64", "decimal": "decimal128(38, 1)", "text": "large_string", "mixed_missing": "string",
        "date": "date32[day]", "nanos": str(pa.timestamp(frame["nanos"].dt.unit)),
        "zone": str(pa.timestamp(frame["zone"].dt.unit, "Europe/Zurich")),
        "category": "dictionary<values=large_string, indices=int8, ordered=0>", "nan": "double", "1": "list<item: int64>",
    }  # fmt: skip
    first, second = table.to_pylist()
    assert (first["big"], first["decimal"], first["text"], first["category"]) == (
        2**63 - 1,
        Decimal("1.5"),
        "007",
        "x",
    )
    assert set(second.values()) == {None}


def test_a_pandas_column_of_mixed_objects_names_column_and_row() -> None:
    frame = pd.DataFrame({"ok": [1, 2, 3], "x": pd.Series([1, None, "a"], dtype=object)})
    with pytest.raises(ConversionFailed, match="column `x`, row 3: 'a'"):
        to_stream(frame).to_table()
    with pytest.raises(ConversionFailed, match=r"column `x`, row 2: .*date and datetime"):
        to_stream(pd.DataFrame({"x": pd.Series([dt.date(2024, 1, 1), NAIVE], dtype=object)})).to_table()


def test_polars_values_come_out_as_they_were() -> None:
    frame = pl.DataFrame({
        "text": ["007", None],
        "decimal": pl.Series([Decimal("1.50"), None], dtype=pl.Decimal(10, 2)),
        "category": pl.Series(["x", None], dtype=pl.Categorical),
        "enum": pl.Series(["a", None], dtype=pl.Enum(["a", "b"])),
        "time": [dt.time(1, 2, 3), None],
        "zone": pl.Series([NAIVE, None]).dt.replace_time_zone("Europe/Zurich"),
        "list": [[{"a": 1}], None],
        "binary": [b"\xff", None],
        "nan": [float("nan"), None],
    })  # fmt: skip
    for value in (frame, frame.lazy()):
        batches = list(to_stream(value, batch_rows=1))
        assert [batch.num_rows for batch in batches] == [1, 1]
        table = pa.Table.from_batches(batches)
        first, second = table.to_pylist()
        assert (first["text"], first["decimal"], first["category"], first["enum"]) == (
            "007",
            Decimal("1.50"),
            "x",
            "a",
        )
        assert first["nan"] != first["nan"], "NaN is a number for polars, not null"
        assert set(second.values()) == {None}
        assert "view" not in str(table.schema)
        assert to_stream(frame.clear()).schema.equals(table.schema)
    assert list(to_stream(frame.clear())) == []
    with pytest.raises(ConversionFailed, match="column `x` holds Python objects"):
        to_stream(pl.DataFrame({"x": pl.Series([object()], dtype=pl.Object)})).to_table()


def test_a_slice_of_polars_text_does_not_drag_its_parent_along() -> None:
    frame = pl.DataFrame({"text": ["x" * 1000] * 1000})
    first = next(to_stream(frame, batch_rows=10))
    assert first.get_total_buffer_size() < 50_000


# ---------------------------------------------------------------------------------------------- iterators


def test_single_rows_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = csv.DictReader(["id,name", "007,Ann", "008,"])
    assert rows(lines) == [{"id": "007", "name": "Ann"}, {"id": "008", "name": ""}]
    batches = list(to_stream(({"n": n} for n in range(10)), batch_rows=4))
    assert [batch.num_rows for batch in batches] == [4, 4, 2]
    monkeypatch.setattr("pipeline_flow.data.adapt._GATHER_BYTES", 100)
    batches = list(to_stream({"cell": b"x" * 60} for _ in range(4)))
    assert [batch.num_rows for batch in batches] == [2, 2], (
        "rows with large cells are not gathered by the thousand"
    )


def test_pieces_of_different_kinds_mix() -> None:
    pieces = [[{"n": 1}], {"n": 2}, {"n": 3}, pa.table({"n": [4]}), [], pl.DataFrame({"n": [5]}), {"n": 6}]
    assert [row["n"] for row in rows(iter(pieces))] == [1, 2, 3, 4, 5, 6]


def test_an_iterator_without_pieces_is_empty() -> None:
    assert to_stream(iter([])).to_table().num_columns == 0
    assert to_stream(iter([[], []])).to_table().num_columns == 0
    assert to_stream(iter([[], [{"n": 1}]])).to_table().num_rows == 1, (
        "an empty page says nothing about columns"
    )
    assert to_stream(iter([pa.table({"n": pa.array([], pa.int8())})])).schema == pa.schema([("n", pa.int8())])


def test_later_pieces_take_the_order_and_types_of_the_first_where_nothing_changes() -> None:
    assert rows(iter([[{"a": 1, "b": "x"}], [{"b": "y", "a": 2}], [{"a": 3}]])) == [
        {"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": None},
    ]  # fmt: skip
    first = pa.table({"a": [1], "b": [[{"c": "x", "d": 1}]]})
    later = pa.table({"b": pa.array([None]), "a": pa.array([None], pa.int64())})
    assert rows(iter([first, later]))[1] == {"a": None, "b": None}
    assert rows(iter([[{"tags": ["a"]}], [{"tags": []}]]))[1] == {"tags": []}, (
        "an empty list has no type of its own"
    )
    nested = [[{"x": {"a": 1, "b": "t"}}], [{"x": {"a": None}}], [{"x": {}}], [{"x": None}]]
    assert [row["x"] for row in rows(iter(nested))] == [
        {"a": 1, "b": "t"},
        {"a": None, "b": None},
        {"a": None, "b": None},
        None,
    ]
    # Numbers of rows may be written in the first page's type, if every one survives.
    assert rows(iter([[{"p": 1.5}], [{"p": 2}]]))[1] == {"p": 2.0}
    assert rows(iter([[{"p": Decimal("1.25")}], [{"p": Decimal("100.5")}], [{"p": 7}]]))[2] == {
        "p": Decimal("7.00")
    }
    zones = [
        dt.datetime(2024, 1, 1, tzinfo=UTC),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
    ]
    assert [row["t"] for row in rows(iter([[{"t": zone}] for zone in zones]))] == zones


def page(**columns: Any) -> list[dict[str, Any]]:
    return [columns]


def frame(**columns: Any) -> pa.Table:
    return pa.table({name: pa.array(values) for name, values in columns.items()})


@pytest.mark.parametrize(
    ("first", "later", "message"),
    [
        (page(a=1), page(a=1, b=2), "piece 3 has the column `b`, which the first piece lacks"),
        (page(a=1), page(a="x"), "piece 3: column `a` is string, the first piece has int64"),
        (page(a=1), page(a=1.5), "column `a` is double, the first piece has int64"),
        (page(a=1.5), page(a=2**53 + 1), "column `a` is int64 and does not fit double .*9007199254740993"),
        (page(a=Decimal("1.5")), page(a=Decimal("1.25")), "column `a` is decimal.*does not fit decimal"),
        (page(a=Decimal("1.5")), page(a=1.5), "column `a` is double, the first"),
        (page(a=None), page(a=1), "column `a` is int64, the first piece has null"),
        (page(a={"b": 1}), page(a={"b": 1, "c": 2}), "column `a` is struct<b: int64, c: int64>, the first"),
        (page(a={"b": None}), page(a={"b": 1}), "column `a` is struct<b: int64>, the first"),
        (page(a=[{"b": 1}]), page(a=[{"c": 1}]), "column `a` is list<.*c: int64.*the first"),
        (page(a=NAIVE), page(a=AWARE), "column `a` is timestamp.*tz=UTC.*the first piece has timestamp"),
        (page(a=dt.date(2024, 1, 1)), page(a=NAIVE), "column `a` is timestamp"),
        (page(a=True), page(a=1), "column `a` is int64, the first piece has bool"),
        (page(a=1), page(a=True), "column `a` is bool, the first piece has int64"),
        (frame(a=[1], b=[1]), frame(a=[1]), "piece 3 lacks the column `b`"),
        (frame(a=[1.5]), frame(a=[1]), "column `a` is int64, the first piece has double"),
        (frame(a=[1]), frame(a=[1], b=[1], c=[1]), "piece 3 has the columns `b`, `c`"),
        (frame(a=[{"b": 1, "c": 1}]), frame(a=[{"b": 1}]), "column `a` is struct<b: int64>"),
        (
            pa.table([[1]], pa.schema([pa.field("a", pa.int64(), nullable=False)])),
            frame(a=[1, None]),
            "column `a` holds nulls, and the first piece allows none",
        ),
    ],
)
def test_a_piece_that_does_not_go_with_the_first_is_an_error_that_names_column_and_piece(
    first: Any, later: Any, message: str
) -> None:
    with pytest.raises(ConversionFailed, match=message) as info:
        to_stream(iter([first, first, later])).to_table()
    assert info.value.hint or "does not fit" in message or "nulls" in message

    async def pieces() -> AsyncIterator[Any]:
        for piece in (first, first, later):
            yield piece

    with pytest.raises(ConversionFailed, match=message):
        asyncio.run(to_stream(pieces()).read_table())


def test_a_piece_that_is_no_table_is_named() -> None:
    for bad, message in (
        (7, "piece 2: a value of type int"),
        (None, r"piece 2: nothing \(None\)"),
        (iter([]), "piece 2: "),
    ):
        with pytest.raises(NotTabular, match=message):
            to_stream(iter([[{"n": 1}], bad])).to_table()
    with pytest.raises(NotTabular, match="piece 1: row 2 is a int"):
        to_stream(iter([[{"n": 1}, 2]])).to_table()
    with pytest.raises(ConversionFailed, match="piece 2: column `n`, row 2: 'x'"):
        to_stream(iter([[{"n": 1}], [{"n": 1}, {"n": "x"}]])).to_table()
    with pytest.raises(ConversionFailed, match="column `n`, row 6: 'x'"):
        to_stream(({"n": "x" if n == 6 else n} for n in range(1, 9)), batch_rows=4).to_table()
    with pytest.raises(ConversionFailed, match="rows 5 to 8: column `n` is string"):
        to_stream(({"n": n if n < 5 else "x"} for n in range(1, 9)), batch_rows=4).to_table()


def test_the_users_generator_is_closed_and_its_error_is_raised() -> None:
    closed = []

    def pages() -> Iterator[Any]:
        try:
            yield [{"n": 1}]
            raise ZeroDivisionError
        finally:
            closed.append("sync")

    async def async_pages() -> AsyncIterator[Any]:
        task = asyncio.current_task()
        try:
            yield [{"n": 1}]
            raise ZeroDivisionError
        finally:
            await asyncio.sleep(0.001)
            assert asyncio.current_task() is task
            closed.append("async")

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await to_stream(async_pages()).read_table()
        source = async_pages()  # held on to: nothing is left to the garbage collector
        async with to_stream(source) as stream:
            assert (await anext(stream)).num_rows == 1
        assert closed[2:] == ["async", "async"]
        assert len(asyncio.all_tasks()) == 1

    with pytest.raises(ZeroDivisionError):
        to_stream(pages()).to_table()
    source = pages()
    with to_stream(source) as stream:
        next(stream)
    assert closed == ["sync", "sync"]
    asyncio.run(main())

    begun = pages()
    next(begun)
    with to_stream(begun):
        pass
    assert len(closed) == 5, "closed even where nothing was read"


def test_a_reader_is_closed_even_if_nothing_was_read() -> None:
    for read in (False, True):
        reader = pa.RecordBatchReader.from_stream(pa.table({"n": [1, 2]}).to_reader())
        with to_stream(reader) as stream:
            if read:
                next(stream)
        with pytest.raises(pa.ArrowInvalid, match="closed"):
            reader.read_next_batch()


def test_pieces_of_an_asynchronous_iterator_are_converted_off_the_loop_in_the_streams_threads() -> None:
    used = []

    async def run(function: Callable[..., Any], *args: Any) -> Any:
        used.append(function)
        return await asyncio.to_thread(function, *args)

    class Watched(Capsule):
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            assert threading.current_thread() is not threading.main_thread()
            return super().__arrow_c_stream__(requested_schema)

    async def pages() -> AsyncIterator[Any]:
        assert threading.current_thread() is threading.main_thread()
        yield Watched(pa.table({"n": [1]}))
        yield Watched(pa.table({"n": [2]}))

    async def main() -> None:
        stream = to_stream(pages())
        stream.run_in_thread = run
        assert (await stream.read_table()).num_rows == 2
        assert len(used) >= 4

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- a schema that is asked for


def test_a_given_schema_is_what_comes_out() -> None:
    schema = pa.schema([("b", pa.int32()), ("a", pa.string()), ("new", pa.date32())])
    assert kinds([{"a": "x", "b": 1}], schema=schema) == {"b": "int32", "a": "string", "new": "date32[day]"}
    assert rows(iter([[{"a": "x", "b": 1}]]), schema=schema) == [{"b": 1, "a": "x", "new": None}]

    async def pages() -> AsyncIterator[Any]:
        yield [{"a": "x", "b": 1}]

    assert asyncio.run(to_stream(pages(), schema=schema).read_table()).to_pylist() == [
        {"b": 1, "a": "x", "new": None}
    ]


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (
            [{"n": 1}, {"n": 2**40}],
            pa.int32(),
            "rows 1 to 2: column `n` is int64 and does not fit int32: .*1099511627776",
        ),
        ([{"n": 1.5}], pa.int64(), "does not fit int64"),
        ([{"n": "x"}], pa.int64(), "does not fit int64"),
        (
            [{"n": {"a": 1, "b": 2}}],
            pa.struct([("a", pa.int64())]),
            "column `n` is struct<a: int64, b: int64>, the given",
        ),
        ([{"n": [{"a": 1, "b": 2}]}], pa.list_(pa.struct([("a", pa.int64())])), "the given schema has list"),
        ([{"m": 1}], pa.int64(), "rows 1 to 1 has the column `m`, which the given schema lacks"),
    ],
)
def test_what_a_given_schema_cannot_hold_is_an_error(value: Any, kind: pa.DataType, message: str) -> None:
    with pytest.raises(ConversionFailed, match=message):
        to_stream(value, schema=pa.schema([("n", kind)])).to_table()


def test_a_given_schema_without_nulls_takes_none() -> None:
    schema = pa.schema([pa.field("n", pa.int64(), nullable=False)])
    assert rows([{"n": 1}], schema=schema) == [{"n": 1}]
    with pytest.raises(ConversionFailed, match="column `n` holds nulls"):
        to_stream([{"n": None}], schema=schema).to_table()


def test_tables_are_a_mapping() -> None:
    tables = Tables({"orders": 1, "customers": 2})
    assert (list(tables), len(tables), tables["orders"], dict(tables)) == (
        ["orders", "customers"],
        2,
        1,
        {"orders": 1, "customers": 2},
    )
    assert repr(tables) == "Tables(orders, customers)"
