"""select, rename, drop, derive, filter, limit, flatten, explode, fill_null: what they keep, and what they refuse."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream
from pipeline_flow.errors import ConversionFailed, QueryFailed, UnknownColumn, WrongArgument
from pipeline_flow.sql import duckdb
from tests.connectors.suites import Broken, breaking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

TABLE = pa.table({"id": [1, 2, None], "Name": ["x", "y", "z"], "s": [{"f": 1}, None, {"f": 3}]})


def run(bench: Bench, verb: str, data: Any = TABLE, **args: Any) -> pa.Table:
    return bench.transform(verb, data, **args).to_table()


@pytest.mark.parametrize(
    ("verb", "args", "where"),
    [
        ("select", {"columns": ["idd"]}, "columns"),
        ("rename", {"columns": {"idd": "a"}}, "columns"),
        ("drop", {"columns": ["idd"]}, "columns"),
        ("cast", {"columns": {"idd": "int"}}, "columns"),
        ("sort", {"by": ["-idd"]}, "by"),
        ("deduplicate", {"by": ["idd"]}, "by"),
        ("deduplicate", {"order_by": "idd"}, "order_by"),
        ("flatten", {"columns": ["idd"]}, "columns"),
        ("explode", {"column": "idd"}, "column"),
        ("fill_null", {"columns": {"idd": 0}}, "columns"),
        ("mask", {"columns": {"idd": "redact"}}, "columns"),
        ("validate", {"checks": [{"unique": ["idd"]}]}, "unique"),
        ("select", {"columns": {"a": "idd + 1"}}, "`a` uses"),
        ("derive", {"columns": {"a": "idd + 1"}}, "`a` uses"),
        ("filter", {"where": "idd > 1"}, "`where` uses"),
        ("validate", {"checks": [{"sql": "idd > 1"}]}, "`idd > 1` uses"),
    ],
)
def test_an_unknown_column_is_named_with_the_nearest_before_any_row_flows(
    bench: Bench, verb: str, args: dict[str, Any], where: str
) -> None:
    touched: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        touched.append(1)
        yield from TABLE.to_batches()

    with pytest.raises(UnknownColumn, match="`idd`") as caught:
        bench.transform(verb, BatchStream(TABLE.schema, batches()), **args)
    assert where in str(caught.value)
    assert "did you mean `id`?" in caught.value.hint
    assert touched == []


def test_names_match_exactly_and_else_in_any_case_where_only_one_is_meant(bench: Bench) -> None:
    assert run(bench, "select", columns=["NAME"]).column_names == ["Name"]
    both = pa.table({"a": [1], "A": [2], "x": [3]})
    assert run(bench, "select", both, columns=["A"]).to_pydict() == {"A": [2]}
    with pytest.raises(UnknownColumn, match="`bb` and `BB`"):
        run(bench, "drop", pa.table({"bb": [1], "BB": [2]}), columns=["bB"])


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("select", {"columns": ["Name", "s"]}),
        ("select", {"columns": {"n": "Name", "t": "s"}}),
        ("rename", {"columns": {"id": "Name", "Name": "id"}}),
        ("drop", {"columns": ["id"]}),
        ("flatten", {}),
        ("limit", {"rows": 2}),
    ],
)
def test_verbs_without_expressions_open_no_database_and_copy_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: str, args: dict[str, Any]
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a database was opened")

    monkeypatch.setattr(duckdb, "sealed", refuse)
    found = run(bench, verb, **args)
    buffers = {
        b.address for c in TABLE.columns for chunk in c.chunks for b in chunk.buffers() if b is not None
    }
    texts = [column for column in found.columns if pa.types.is_string(column.type)]
    assert texts
    for column in texts:
        assert {b.address for chunk in column.chunks for b in chunk.buffers() if b is not None} <= buffers


@pytest.mark.parametrize(
    ("verb", "args", "text"),
    [
        ("rename", {"columns": {"id": "Name"}}, "2 columns would be called `Name`"),
        ("drop", {"columns": ["id", "Name", "s"]}, "no column would be left"),
        ("flatten", {"columns": ["id"]}, "has no fields"),
        ("explode", {"column": "id"}, "no list"),
        ("select", {"columns": ["id", "ID"]}, "names the column `id` twice"),
        ("filter", {"where": "id"}, "is to be true or false"),
        ("filter", {"where": "other.id > 1"}, 'table "other" not found'),
        ("derive", {"columns": {"a": "nofunction(id)"}}, "`a` cannot be computed: .*nofunction"),
        ("derive", {"columns": {"a": "geomean(id)"}}, "`a` does not give one value for each row"),
        ("derive", {"columns": {"a": 'cast("Name" as int)'}}, "row 1: .*Could not convert string 'x'"),
        ("derive", {"columns": {"a": "if(id = 2, error('no'), id)"}}, "row 2: .*no"),
        ("fill_null", {"columns": {"id": 1.5}}, "gives 1.5 for the column `id`, which is int64"),
        ("fill_null", {"columns": {"id": "0"}}, "gives '0' for the column `id`"),
        ("fill_null", {"columns": {"id": True}}, "gives True for the column `id`"),
        ("fill_null", {"columns": {"id": 2**63}}, "for the column `id`"),
    ],
)
def test_what_cannot_be_done_is_said(bench: Bench, verb: str, args: dict[str, Any], text: str) -> None:
    with pytest.raises((ConversionFailed, QueryFailed, UnknownColumn, WrongArgument), match=f"(?s){text}"):
        run(bench, verb, **args)


@pytest.mark.parametrize(
    ("verb", "args", "text"),
    [
        ("derive", {"columns": {"a": "sum(id)"}}, "looks at other rows (sum)"),
        ("derive", {"columns": {"a": "row_number() over ()"}}, "looks at other rows (OVER)"),
        ("derive", {"columns": {"a": "(select 1)"}}, "holds a SELECT of its own"),
        ("derive", {"columns": {"a": "1, (select 2)"}}, "is more than one expression"),
        ("derive", {"columns": {"a": "1 from x --"}}, "is not an expression"),
        ("derive", {"columns": {"a": "1) from x --"}}, "is not an expression"),
        ("derive", {"columns": {"a": "id; drop table data"}}, "is not an expression"),
        ("derive", {"columns": {"a": "id as b"}}, "is not an expression"),
        ("derive", {"columns": {"a": "*"}}, "stands for several columns"),
        ("derive", {"columns": {"a": "columns('i.*')"}}, "stands for several columns"),
        ("derive", {"columns": {"a": "unnest([1, 2])"}}, "`explode` does that"),
        ("derive", {"columns": {"a": "$1"}}, "holds a parameter"),
        ("derive", {"columns": {"a": "#1"}}, "by its place"),
        ("derive", {"columns": {"a": "id\0"}}, "null characters"),
        ("derive", {"columns": {"a": ""}}, "is not an expression"),
        ("filter", {"where": "id > 1 order by id"}, "is not an expression"),
        ("select", {"columns": {"a": "(id + 1"}}, "is not an expression"),
        ("select", {"columns": []}, "at least 1"),
        ("limit", {"rows": -1}, "greater than or equal to 0"),
        ("sort", {"by": [{"col": "id"}]}, "is no key"),
        ("fill_null", {"columns": ["id"]}, "add strategy"),
        ("fill_null", {"columns": {"id": 1}, "strategy": "forward"}, "write a list"),
        ("fill_null", {"columns": {"id": None}}, "no value to put in place of null"),
        ("cast", {"columns": {"id": "integr"}}, "no type of DuckDB's"),
        ("cast", {"columns": {"id": "INTEGER) , (select 1"}}, "no type of DuckDB's"),
        ("cast", {"columns": {"id": "INTEGER"}, "format": {"id": "%d"}}, "for dates and times"),
        ("cast", {"columns": {"id": "DATE"}, "format": {"day": "%d"}}, "gives it no type"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(
    bench: Bench, verb: str, args: dict[str, Any], text: str
) -> None:
    [fault] = bench.faults("transform", verb, **args)
    assert text in fault


def test_expressions_see_the_columns_as_they_come_in(bench: Bench) -> None:
    table = pa.table({"price": [2.0], "quantity": [3]})
    found = run(bench, "derive", table, columns={"price": "price * 10", "total": "price * quantity"})
    assert found.to_pydict() == {"price": [20.0], "quantity": [3], "total": [6.0]}


def test_a_column_of_another_case_is_replaced_in_its_place(bench: Bench) -> None:
    found = run(bench, "derive", columns={"ID": "id + 1", "n": "2::hugeint"})
    assert found.column_names == ["ID", "Name", "s", "n"]
    assert found["n"].to_pylist() == [Decimal(2)] * 3


def test_an_expression_reaches_nothing_outside(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hunter22")
    with pytest.raises(QueryFailed) as caught:
        run(bench, "derive", columns={"a": "getenv('SHOP_TOKEN')"})
    assert "hunter22" not in str(caught.value)


def test_filter_tells_how_many_rows_it_left_out(bench: Bench) -> None:
    assert run(bench, "filter", where="id > 1")["id"].to_pylist() == [2]
    assert bench.notices == ["2 of 3 rows left out"]


def test_deduplicate_tells_how_many_rows_it_left_out_and_a_null_order_never_wins(bench: Bench) -> None:
    table = pa.table({"id": [1, 1, 2, 1], "at": [5, None, None, 4], "w": ["a", "b", "c", "d"]})
    found = run(bench, "deduplicate", table, by=["id"], keep="last", order_by="at")
    assert found["w"].to_pylist() == ["a", "c"]
    assert bench.notices == ["2 of 4 rows left out as duplicates"]


def test_a_minus_is_descending_unless_a_column_is_called_so(bench: Bench) -> None:
    table = pa.table({"a": [1, 2], "-a": [9, 8]})
    assert run(bench, "sort", table, by=["-a"])["a"].to_pylist() == [2, 1]
    assert run(bench, "sort", table.drop_columns(["-a"]), by=["-a"])["a"].to_pylist() == [2, 1]


def test_limit_reads_no_further_and_closes_the_source(bench: Bench) -> None:
    read: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for number in range(100):
                read.append(number)
                yield pa.record_batch({"n": [number]})
        finally:
            read.append(-1)

    stream = BatchStream(pa.schema([("n", pa.int64())]), batches())
    assert run(bench, "limit", stream, rows=2, offset=1).to_pydict() == {"n": [1, 2]}
    assert read == [0, 1, 2, -1]


def test_flatten_goes_as_deep_as_it_is_told(bench: Bench) -> None:
    table = pa.table({"a": [{"x": 1, "b": {"y": [1]}}, None]})
    assert run(bench, "flatten", table).to_pydict() == {"a_x": [1, None], "a_b_y": [[1], None]}
    found = run(bench, "flatten", table, depth=1, separator=".")
    assert found.to_pydict() == {"a.x": [1, None], "a.b": [{"y": [1]}, None]}
    with pytest.raises(ConversionFailed, match="2 columns would be called `a_x`"):
        run(bench, "flatten", table.append_column("a_x", [[1, 2]]))


LISTS = pa.table(
    {
        "order": [1, 2, 3, 4],
        "items": [[{"sku": "a", "q": 1}, {"sku": "b", "q": 2}], [], None, [None, {"sku": "c", "q": 3}]],
        "note": ["n1", "n2", "n3", "n4"],
    }
)


def test_explode_makes_a_child_table(bench: Bench) -> None:
    found = run(
        bench, "explode", LISTS, column="items", keep=["order"], index="line", flatten=True, prefix=""
    )
    assert found.to_pydict() == {
        "order": [1, 1, 4, 4], "sku": ["a", "b", None, "c"], "q": [1, 2, None, 3], "line": [1, 2, 1, 2],
    }  # fmt: skip


def test_explode_keeps_rows_without_elements_on_request(bench: Bench) -> None:
    found = run(bench, "explode", LISTS.slice(1), column="items", outer=True, index="line")
    assert found["order"].to_pylist() == [2, 3, 4, 4]
    assert found["line"].to_pylist() == [None, None, 1, 2]
    assert found["items"].to_pylist() == [None, None, None, {"sku": "c", "q": 3}]


@pytest.mark.parametrize("kind", [pa.list_(pa.int8(), 2), pa.large_list(pa.int8()), pa.list_view(pa.int8())])
def test_every_kind_of_list_explodes(bench: Bench, kind: pa.DataType) -> None:
    table = pa.table({"l": pa.array([[1, 2], None, [3, 4]], kind)})
    assert run(bench, "explode", table.slice(1), column="l", outer=True)["l"].to_pylist() == [None, 3, 4]


def test_a_map_explodes_into_its_entries(bench: Bench) -> None:
    table = pa.table({"m": pa.array([[("a", 1), ("b", 2)], None], pa.map_(pa.string(), pa.int8()))})
    found = run(bench, "explode", table, column="m", flatten=True)
    assert found.to_pydict() == {"m_key": ["a", "b"], "m_value": [1, 2]}


def test_a_long_list_comes_in_pieces(bench: Bench) -> None:
    table = pa.table({"k": [1], "l": pa.array([list(range(200_000))])})
    stream = bench.transform("explode", table, column="l")
    sizes = [batch.num_rows for batch in stream]
    assert sum(sizes) == 200_000
    assert max(sizes) <= 65_536


def test_fill_null_keeps_the_type_of_the_column(bench: Bench) -> None:
    table = pa.table(
        {
            "d": pa.array([None, Decimal("1.50")], pa.decimal128(5, 2)),
            "c": pa.array([None, "p"]).dictionary_encode(),
            "f": pa.array([None, 1.0], pa.float32()),
            "day": pa.nulls(2, pa.date32()),
            "large": pa.array([None, "x"], pa.large_string()),
        }
    )
    values = {"d": 1.25, "c": "new", "f": 0.5, "day": "2024-02-29", "large": "y"}
    found = run(bench, "fill_null", table, columns=values)
    assert found.schema.equals(table.schema)
    assert found["d"].to_pylist() == [Decimal("1.25"), Decimal("1.50")]
    assert found["c"].to_pylist() == ["new", "p"]


@pytest.mark.parametrize(
    ("verb", "args"),
    [
        ("derive", {"columns": {"n": "whole"}}),
        ("filter", {"where": "whole is null"}),
        ("sort", {"by": ["whole"]}),
        ("deduplicate", {}),
        ("rename", {"columns": {"whole": "n"}}),
        ("cast", {"columns": {"whole": "VARCHAR"}}),
        ("validate", {"checks": [{"unique": ["real"]}]}),
    ],
)
def test_the_error_of_the_source_is_raised_as_it_is(bench: Bench, verb: str, args: dict[str, Any]) -> None:
    from tests.connectors.conftest import every_type

    with pytest.raises(Broken, match="half-way"):
        run(bench, verb, breaking(every_type()), **args)
    assert bench.leftovers() == []


def test_many_rows_keep_their_order_through_an_expression(bench: Bench) -> None:
    table = pa.table({"n": pa.array(range(400_000), pa.int64())})
    stream = BatchStream(table.schema, iter(table.to_batches(max_chunksize=7_777)))
    found = run(bench, "derive", stream, columns={"m": "n * 2"})
    assert found["n"].to_pylist() == list(range(400_000))
    assert found["m"].to_pylist() == list(range(0, 800_000, 2))
