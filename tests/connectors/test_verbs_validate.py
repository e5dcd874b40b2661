"""validate: what a check sees, what it says, and what becomes of rows that fail."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream
from pipeline_flow.errors import QualityGate, QueryFailed, WrongArgument

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

TABLE = pa.table(
    {
        "id": [1, 2, 2, None, 5],
        "amount": [10.0, -1.0, float("nan"), None, 1e6],
        "status": ["open", "paid", "x", None, "open"],
        "day": [dt.date(2024, 1, day) for day in range(1, 6)],
        "price": pa.array([Decimal("1.10")] * 5, pa.decimal128(5, 2)),
    }
)


def check(bench: Bench, *checks: dict[str, Any], data: Any = TABLE) -> pa.Table:
    return bench.transform("validate", data, checks=list(checks)).to_table()


# Which rows of TABLE, counted from 0, fail a check.
FAILING: list[tuple[dict[str, Any], list[int]]] = [
    ({"not_null": ["id", "status"]}, [3]),
    ({"unique": ["id"]}, [2]),
    ({"unique": ["status", "day"]}, []),
    ({"range": {"column": "amount", "min": 0}}, [1, 2]),
    ({"range": {"column": "amount", "max": 10.0}}, [2, 4]),
    ({"range": {"column": "id", "min": 1.5, "max": 2}}, [0, 4]),
    ({"range": {"column": "day", "min": "2024-01-02", "max": "2024-01-04"}}, [0, 4]),
    ({"range": {"column": "price", "max": 1.1}}, []),
    ({"range": {"column": "price", "min": 1.101}}, [0, 1, 2, 3, 4]),
    ({"range": {"column": "status", "max": "p"}}, [1, 2]),
    ({"set": {"column": "status", "values": ["open", "paid"]}}, [2]),
    ({"set": {"column": "id", "values": [1, 2]}}, [4]),
    ({"set": {"column": "day", "values": ["2024-01-01"]}}, [1, 2, 3, 4]),
    ({"pattern": {"column": "status", "regex": "[a-z]{4}"}}, [2]),
    ({"pattern": {"column": "status", "regex": "ope"}}, [0, 1, 2, 4]),
    ({"sql": "id > 1 or status = 'open'"}, [3]),
]


@pytest.mark.parametrize(("given", "failing"), FAILING, ids=[str(given) for given, _ in FAILING])
def test_which_rows_fail(bench: Bench, given: dict[str, Any], failing: list[int]) -> None:
    left = check(bench, {**given, "on_failure": "drop"})
    assert left["day"].to_pylist() == [dt.date(2024, 1, n + 1) for n in range(5) if n not in failing]
    if not failing:
        assert check(bench, given).num_rows == 5
        return
    with pytest.raises(QualityGate, match=rf"{len(failing)} of 5 rows"):
        check(bench, given)
    bench.notices.clear()
    assert check(bench, {**given, "on_failure": "warn"}).num_rows == 5
    [notice] = bench.notices
    assert f"{len(failing)} of 5 rows" in notice


def test_all_failed_checks_are_told_at_once_with_examples(bench: Bench) -> None:
    with pytest.raises(QualityGate) as caught:
        check(
            bench,
            {"unique": ["id"]},
            {"range": {"column": "amount", "min": 0}, "name": "no negative amounts"},
            {"not_null": ["day"]},
            {"row_count": {"min": 6}},
            {"query": "select * from data where amount < 0"},
            {"query": "select count(*) > 10 from data", "name": "enough"},
        )
    assert str(caught.value).splitlines() == [
        "5 of 6 checks failed:",
        "- unique `id`: 1 of 5 rows, such as {id: 2}",
        "- `no negative amounts`: 2 of 5 rows, such as {amount: -1.0, id: 2, status: 'paid', day: 2024-01-02, price: 1.10}; {amount: nan, id: 2, status: 'x', day: 2024-01-03, price: 1.10}",
        "- row_count: 5 rows, expected at least 6",
        "- query `select * from data where amount < 0`: the query gives 1 row, such as {id: 2, amount: -1.0, status: 'paid', day: 2024-01-02, price: 1.10}",
        "- `enough`: the query gives false",
    ]
    assert "nothing was loaded" in caught.value.hint


def test_an_example_shows_a_long_value_not_in_part(bench: Bench) -> None:
    token = "hunter2" * 20
    with pytest.raises(QualityGate) as caught:
        check(bench, {"sql": "false"}, data=pa.table({"token": [token] * 5}))
    assert str(caught.value).count("a value of 142 characters") == 3
    assert "hunter2" not in str(caught.value)


def test_a_check_sees_the_rows_that_those_before_it_left(bench: Bench) -> None:
    found = check(
        bench,
        {"pattern": {"column": "n", "regex": "[0-9]+"}, "on_failure": "drop"},
        {"sql": "cast(n as int) > 1", "on_failure": "drop"},
        {"unique": ["n"], "on_failure": "drop"},
        {"row_count": {"min": 1, "max": 1}},
        data=pa.table({"n": ["x", "1", "2", "2", ""]}),
    )
    assert found.to_pydict() == {"n": ["2"]}
    assert [notice.partition(": ")[2] for notice in bench.notices] == [
        "pattern of `n`: 2 of 5 rows, such as {n: 'x'}; {n: ''}",
        "sql `cast(n as int) > 1`: 1 of 3 rows, such as {n: '1'}",
        "unique `n`: 1 of 2 rows",
    ]


def test_rows_left_out_are_counted_as_rejected(bench: Bench) -> None:
    plugin = bench.plugin("transform", "validate", checks=[{"not_null": ["id"], "on_failure": "drop"}])
    plugin(TABLE).to_table()
    assert plugin.context.rejected == 1


def test_a_gate_falls_at_the_end_of_the_data(bench: Bench) -> None:
    stream = bench.transform("validate", TABLE, checks=[{"sql": "false"}])
    assert next(stream).num_rows == 5
    with pytest.raises(QualityGate):
        next(stream)


def test_many_batches_are_one_table_for_unique_and_query(bench: Bench) -> None:
    table = pa.table({"n": pa.array(range(300_000), pa.int64())})
    batches = [*table.to_batches(max_chunksize=10_000), *table.slice(0, 1).to_batches()]
    with pytest.raises(
        QualityGate, match=r"(?s)unique `n`: 1 of 300,001 rows, such as \{n: 0\}.*gives false"
    ):
        check(
            bench,
            {"unique": ["n"]},
            {"query": "select count(*) = 300000 from data"},
            data=BatchStream(table.schema, iter(batches)),
        )
    assert bench.leftovers() == []


def test_no_rows_pass_all_checks_of_rows(bench: Bench) -> None:
    empty = TABLE.slice(0, 0)
    assert check(bench, {"not_null": ["id"]}, {"unique": ["id"]}, {"sql": "false"}, data=empty).num_rows == 0
    with pytest.raises(QualityGate, match="0 rows, expected at least 1"):
        check(bench, {"row_count": {"min": 1}}, data=empty)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"not_nul": ["id"]}, "unknown key `not_nul`; did you mean `not_null`?"),
        ({}, "exactly one of"),
        ({"not_null": ["id"], "unique": ["id"]}, "found `not_null` and `unique`"),
        ({"row_count": {"min": 1}, "on_failure": "drop"}, "about all of them together"),
        ({"row_count": {}}, "write `min`, `max` or both"),
        ({"range": {"col": "id", "min": 1}}, "`range.column`: field required"),
        ({"set": {"column": "id", "values": []}}, "at least 1"),
        ({"sql": "sum(id) > 1"}, "looks at other rows"),
        ({"query": "drop table data"}, "must be a SELECT"),
        ({"sql": "true", "on_failure": "explode"}, "'fail', 'warn' or 'drop'"),
    ],
)
def test_a_wrong_check_is_found_before_anything_runs(bench: Bench, given: dict[str, Any], text: str) -> None:
    [fault] = bench.faults("transform", "validate", checks=[{"sql": "true"}, given])
    assert text in fault
    assert "check 2" in fault


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"range": {"column": "id", "min": "a"}}, "gives 'a' for the column `id`"),
        ({"range": {"column": "status", "min": 1}}, "gives 1 for the column `status`"),
        ({"range": {"column": "day", "min": "2024-13-01"}}, "2024-13-01"),
        ({"set": {"column": "id", "values": ["a"]}}, "gives 'a' for the column `id`"),
        ({"pattern": {"column": "id", "regex": "a"}}, "a pattern is for text"),
        ({"pattern": {"column": "status", "regex": "a("}}, "pattern of `status`.*missing"),
        ({"sql": "id"}, "gives int64 and is to be true or false"),
        ({"query": "select * from dat"}, "dat does not exist"),
        ({"query": "select * from read_csv('/etc/passwd')"}, "disabled by configuration"),
    ],
)
def test_a_check_that_does_not_fit_the_data_is_found_before_any_row_flows(
    bench: Bench, given: dict[str, Any], text: str
) -> None:
    with pytest.raises((WrongArgument, QueryFailed), match=text):
        bench.transform("validate", TABLE, checks=[given])
