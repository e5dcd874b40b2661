"""Each verb on random batches, however they are split, gives what the same SQL gives on the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connectors.verbs import CORE, HOSTILE, a_bench, plain, rows, same, stream, tables

if TYPE_CHECKING:
    from pipeline_flow.data import BatchStream

PROPERTY = settings(deadline=None, max_examples=10)

EXPRESSIONS = {
    "i": ["i % 7", "coalesce(i, 0) // 3", "i is null", "i::hugeint % 5"],
    "f": ["f * 2", "isnan(f)", "f > 1"],
    "t": ["upper(t)", "t || '!'", "length(t)", "t like '%a%'", "[t, t]"],
    "d": ["d + 1", "round(d)"],
    "day": ["day + interval 1 day", "strftime(day, '%Y')"],
    "ts": ["ts::date", "extract(year from ts)"],
    "b": ["not b", "b or i = 1"],
    "l": ["len(l)", "list_transform(l, lambda x: x % 2)", "l[1]"],
    "s": ["s.x", "s.y || t", "{'z': s.x, 'w': b}"],
}
SQL = st.sampled_from([sql for group in EXPRESSIONS.values() for sql in group])
CONDITION = st.sampled_from(
    [
        "i > 0",
        "f >= 1",
        "t >= 'a' and b",
        "b",
        "s.x is not null",
        "len(l) = 1 or i is null",
        "true",
        "null::bool",
    ]
)


def run(verb: str, data: BatchStream, **args: Any) -> pa.Table:
    with a_bench() as bench:
        return bench.transform(verb, data, **args).to_table()


@PROPERTY
@given(tables(), st.dictionaries(st.sampled_from(["t", "new", "other one"]), SQL, min_size=1))
def test_derive(batches: list[pa.RecordBatch], columns: dict[str, str]) -> None:
    found = run("derive", stream(batches), columns=columns)
    whole = pa.Table.from_batches(batches)
    names = [*whole.column_names, *(name for name in columns if name not in whole.column_names)]
    assert found.column_names == names
    kept = [name for name in whole.column_names if name not in columns]
    same(found.select(kept), whole.select(kept))
    for name, sql in columns.items():
        expected = plain(batches, f"select ({sql}) as v from data order by n")
        assert repr(found[name].to_pylist()) == repr(expected["v"].to_pylist()), sql


@PROPERTY
@given(tables(), st.lists(SQL, min_size=1, max_size=3))
def test_select_of_expressions(batches: list[pa.RecordBatch], expressions: list[str]) -> None:
    columns = {**{f"v{n}": sql for n, sql in enumerate(expressions)}, "kept": "t"}
    found = run("select", stream(batches), columns=columns)
    listed = ", ".join(f"({sql}) as v{n}" for n, sql in enumerate(expressions))
    expected = plain(batches, f"select {listed}, t as kept from data order by n")
    assert found.column_names == expected.column_names
    for name in found.column_names:
        assert repr(found[name].to_pylist()) == repr(expected[name].to_pylist())


@PROPERTY
@given(tables(), CONDITION)
def test_filter(batches: list[pa.RecordBatch], where: str) -> None:
    numbers = plain(batches, f"select n from data where {where} order by n")["n"].to_pylist()
    same(run("filter", stream(batches), where=where), rows(batches, numbers))


KEYS = ["i", "f", "t", "d", "day", "ts", "b", "l", "s"]


def comparable(batches: list[pa.RecordBatch]) -> bool:
    """Whether every column can be carried through DuckDB."""
    return not any(word in str(batches[0].schema) for word in ("interval", "union", "map<"))


@PROPERTY
@given(
    tables().filter(comparable),
    st.lists(
        st.fixed_dictionaries(
            {
                "column": st.sampled_from(KEYS),
                "descending": st.booleans(),
                "nulls": st.sampled_from(["first", "last"]),
            }
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_sort(batches: list[pa.RecordBatch], by: list[dict[str, Any]]) -> None:
    order = ", ".join(
        f"{key['column']} {'desc' if key['descending'] else 'asc'} nulls {key['nulls']}" for key in by
    )
    numbers = plain(batches, f"select n from data order by {order}, n")["n"].to_pylist()
    same(run("sort", stream(batches), by=by), rows(batches, numbers))


@PROPERTY
@given(
    tables().filter(comparable),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True),
    st.sampled_from(["first", "last"]),
    st.sampled_from([None, "i", "-ts", ["f", "-i"]]),
)
def test_deduplicate(batches: list[pa.RecordBatch], by: list[str], keep: str, order_by: Any) -> None:
    turned = keep == "last"
    listed = [] if order_by is None else [order_by] if isinstance(order_by, str) else order_by
    order = [
        f"{key.lstrip('-')} {'desc' if key.startswith('-') != turned else 'asc'} nulls last" for key in listed
    ]
    order.append("n desc" if turned else "n")
    numbers = plain(
        batches,
        f"select n from (select n, row_number() over (partition by {', '.join(by)} order by {', '.join(order)}) as r from data) "
        "where r = 1 order by n",
    )["n"].to_pylist()
    found = run("deduplicate", stream(batches), by=by, keep=keep, order_by=order_by)
    same(found, rows(batches, numbers))


@PROPERTY
@given(tables(), st.integers(0, 12), st.integers(0, 12))
def test_limit(batches: list[pa.RecordBatch], count: int, offset: int) -> None:
    numbers = plain(batches, f"select n from data order by n limit {count} offset {offset}")["n"].to_pylist()
    same(run("limit", stream(batches), rows=count, offset=offset), rows(batches, numbers))


@PROPERTY
@given(tables())
def test_flatten(batches: list[pa.RecordBatch]) -> None:
    found = run("flatten", stream(batches), columns=["s"])
    expected = plain(batches, "select s.x as s_x, s.y as s_y from data order by n")
    for name in expected.column_names:
        assert found[name].to_pylist() == expected[name].to_pylist()
    others = [name for name in batches[0].schema.names if name != "s"]
    same(found.select(others), pa.Table.from_batches(batches).select(others))


@PROPERTY
@given(tables(), st.booleans())
def test_explode(batches: list[pa.RecordBatch], outer: bool) -> None:
    found = run("explode", stream(batches), column="l", outer=outer, index="place")
    join = "left join" if outer else "join"
    expected = plain(
        batches,
        f"select d.n, u.v, u.p from data d {join} (select n, unnest(l) as v, unnest(range(1, len(l) + 1)) as p from data) u "
        "using (n) order by d.n, u.p",
    )
    assert found["l"].to_pylist() == expected["v"].to_pylist()
    assert found["place"].to_pylist() == expected["p"].to_pylist()
    others = [name for name in batches[0].schema.names if name != "l"]
    same(found.select(others), rows(batches, expected["n"].to_pylist()).select(others))


@PROPERTY
@given(tables())
def test_fill_null_with_values(batches: list[pa.RecordBatch]) -> None:
    values = {"i": 7, "f": 0.5, "t": "?", "d": 1.125, "day": "2024-02-29", "b": False}
    found = run("fill_null", stream(batches), columns=values)
    listed = ", ".join(f"coalesce({name}, '{value}') as {name}" for name, value in values.items())
    expected = plain(batches, f"select {listed} from data order by n")
    same(found.select(list(values)), expected.cast(found.select(list(values)).schema))
    others = [name for name in batches[0].schema.names if name not in values]
    same(found.select(others), pa.Table.from_batches(batches).select(others))


@PROPERTY
@given(tables().filter(comparable), st.sampled_from(["forward", "backward"]))
def test_fill_null_from_the_neighbours(batches: list[pa.RecordBatch], strategy: str) -> None:
    function, frame = {
        "forward": ("last_value", "unbounded preceding and current row"),
        "backward": ("first_value", "current row and unbounded following"),
    }[strategy]
    listed = ", ".join(
        f"{function}({name} ignore nulls) over (order by n rows between {frame}) as {name}" for name in CORE
    )
    expected = plain(batches, f"select {listed} from data order by n")
    found = run("fill_null", stream(batches), columns=list(CORE), strategy=strategy)
    for name in CORE:
        assert repr(found[name].to_pylist()) == repr(expected[name].to_pylist()), name
    others = [name for name in batches[0].schema.names if name not in CORE]
    same(found.select(others), pa.Table.from_batches(batches).select(others))


@PROPERTY
@given(tables())
def test_mask(batches: list[pa.RecordBatch]) -> None:
    found = run(
        "mask", stream(batches), columns={"t": {"keep_last": 1}, "i": "redact", "day": {"keep_last": 4}}
    )
    expected = plain(
        batches,
        "select case when length_grapheme(t) >= 2 then repeat('*', length_grapheme(t) - 1) || right_grapheme(t, 1) "
        "else repeat('*', length_grapheme(t)) end as t, "
        "repeat('*', length(day::varchar) - 4) || right(day::varchar, 4) as day from data order by n",
    )
    assert found["t"].to_pylist() == expected["t"].to_pylist()
    assert found["day"].to_pylist() == expected["day"].to_pylist()
    assert found["i"].null_count == found.num_rows
    others = [name for name in batches[0].schema.names if name not in ("t", "i", "day")]
    same(found.select(others), pa.Table.from_batches(batches).select(others))


@PROPERTY
@given(tables(), CONDITION)
def test_validate_drops_what_the_sql_does_not_keep(batches: list[pa.RecordBatch], where: str) -> None:
    found = run(
        "validate",
        stream(batches),
        checks=[{"not_null": ["i"], "on_failure": "drop"}, {"sql": where, "on_failure": "drop"}],
    )
    numbers = plain(batches, f"select n from data where i is not null and ({where}) order by n")[
        "n"
    ].to_pylist()
    same(found, rows(batches, numbers))


@PROPERTY
@given(tables().filter(comparable), st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True))
def test_validate_drops_rows_that_come_again(batches: list[pa.RecordBatch], by: list[str]) -> None:
    found = run("validate", stream(batches), checks=[{"unique": by, "on_failure": "drop"}])
    complete = " and ".join(f"{name} is not null" for name in by)
    numbers = plain(
        batches,
        f"select n from (select n, ({complete}) as c, row_number() over (partition by {', '.join(by)} order by n) as r from data) "
        "where r = 1 or not c order by n",
    )["n"].to_pylist()
    same(found, rows(batches, numbers))


# ---------------------------------------------------------------------------------------------- names and no rows

ON_A_COLUMN: dict[str, Any] = {
    "select": lambda name: {"columns": [name]},
    "rename": lambda name: {"columns": {name: "new"}},
    "drop": lambda name: {"columns": [name]},
    "cast": lambda name: {"columns": {name: "VARCHAR"}},
    "sort": lambda name: {"by": [name]},
    "deduplicate": lambda name: {"by": [name], "order_by": name},
    "fill_null": lambda name: {"columns": {name: 7}},
    "mask": lambda name: {"columns": {name: {"hash": {"key": "k" * 16}}}},
    "validate": lambda name: {
        "checks": [
            {"not_null": [name]}, {"unique": [name]}, {"range": {"column": name, "min": 0}},
            {"set": {"column": name, "values": [1, 2, 3]}},
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("verb", ON_A_COLUMN)
def test_a_column_may_have_any_name(verb: str, name: str) -> None:
    table = pa.table({name: [3, 1, 2], "other": ["x", "y", "z"]})
    found = run(verb, stream(table.to_batches()), **ON_A_COLUMN[verb](name))
    assert found.num_rows == 3
    assert "other" in found.column_names or verb == "select"
    kept = {"rename": "new", "drop": None}.get(verb, name)
    assert kept is None or kept in found.column_names


@pytest.mark.parametrize("name", [name for name in HOSTILE if name])
@pytest.mark.parametrize("verb", ["derive", "filter", "select", "explode", "flatten"])
def test_a_name_in_an_expression_stands_in_double_quotes(verb: str, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    table = pa.table({name: [3, 1, 2]})
    nested = pa.table({name: pa.array([[{"v": 3}], [{"v": 1}, {"v": 2}]])})
    if verb == "derive":
        assert run(verb, stream(table.to_batches()), columns={name: f"{quoted} + 1"})[name].to_pylist() == [
            4,
            2,
            3,
        ]
    elif verb == "filter":
        assert run(verb, stream(table.to_batches()), where=f"{quoted} > 1")[name].to_pylist() == [3, 2]
    elif verb == "select":
        assert run(verb, stream(table.to_batches()), columns={"v": quoted})["v"].to_pylist() == [3, 1, 2]
    elif verb == "explode":
        found = run(verb, stream(nested.to_batches()), column=name, flatten=True, index="place")
        assert found.to_pydict() == {f"{name}_v": [3, 1, 2], "place": [1, 1, 2]}
    else:
        struct = pa.table({name: pa.array([{"v": 1}, None])})
        assert run(verb, stream(struct.to_batches())).to_pydict() == {f"{name}_v": [1, None]}


NO_ROWS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "select": ({"columns": {"a": "i + 1", "b": "t"}}, ["a", "b"]),
    "rename": ({"columns": {"i": "j"}}, ["j", *list(CORE)[1:]]),
    "drop": ({"columns": ["i"]}, list(CORE)[1:]),
    "cast": ({"columns": {"i": "VARCHAR"}}, list(CORE)),
    "filter": ({"where": "i > 0"}, list(CORE)),
    "derive": ({"columns": {"new": "i + f"}}, [*CORE, "new"]),
    "deduplicate": ({}, list(CORE)),
    "sort": ({"by": ["i"]}, list(CORE)),
    "limit": ({"rows": 1}, list(CORE)),
    "flatten": ({}, [*list(CORE)[:-1], "s_x", "s_y"]),
    "explode": ({"column": "l"}, list(CORE)),
    "fill_null": ({"columns": ["i"], "strategy": "backward"}, list(CORE)),
    "mask": ({"columns": {"t": "redact"}}, list(CORE)),
    "validate": ({"checks": [{"unique": ["i"]}, {"sql": "i > 0"}]}, list(CORE)),
}


@pytest.mark.parametrize("verb", NO_ROWS)
def test_no_rows_have_the_columns_of_some(verb: str) -> None:
    args, names = NO_ROWS[verb]
    empty = pa.schema(CORE.items()).empty_table()
    some = pa.table({name: pa.array([None], kind) for name, kind in CORE.items()})
    checked = (
        {"checks": [{**check, "on_failure": "warn"} for check in args["checks"]]}
        if "checks" in args
        else args
    )
    found = run(verb, stream(empty.to_batches() or [pa.RecordBatch.from_pylist([], empty.schema)]), **args)
    assert found.num_rows == 0
    assert found.column_names == names
    assert found.schema.equals(run(verb, stream(some.to_batches()), **checked).schema)
