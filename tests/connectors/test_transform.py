"""The transforms, the merges and the secret managers."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream, Tables
from pipeline_flow.errors import (
    ConversionFailed,
    PluginNotImported,
    QueryFailed,
    SecretUnavailable,
    WrongArgument,
)
from tests.connectors.conftest import every_type
from tests.connectors.suites import Broken, breaking

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench


def sql(bench: Bench, data: Any, query: str) -> pa.Table:
    stream = bench.transform("sql", data, query=query)
    assert isinstance(stream, BatchStream)
    return stream.to_table()


def test_every_type_passes_a_query_unchanged(bench: Bench) -> None:
    assert sql(bench, every_type(), "select * from data").equals(every_type())


def test_an_empty_input_gives_the_columns(bench: Bench) -> None:
    found = sql(bench, every_type().slice(0, 0), "select whole, word from data")
    assert found.schema.equals(every_type().select(["whole", "word"]).schema)
    assert found.num_rows == 0


def test_tables_go_by_the_ids_of_their_steps(bench: Bench) -> None:
    tables = Tables(
        {"orders": pa.table({"id": [1, 2], "c": ["a", "b"]}), "order-lines": pa.table({"c": ["a"], "n": [5]})}
    )
    assert sql(
        bench, tables, 'select id, n from orders left join "order-lines" using (c) order by id'
    ).to_pydict() == {"id": [1, 2], "n": [5, None]}


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) as n from data a, data b",
        "with x as (from data) select count(*) as n from x a join x b on true",
        "select count(*) as n from (select * from data union all select * from data union all select * from data)",
        "with recursive r as (select 0 as i union all select i + 1 from r, data where i < 3 and a = 1) select 9 as n from r where i = 3",
        "select 9 as n from data where a in (select max(a) from data)",
    ],
)
def test_data_that_is_read_twice_is_all_there(bench: Bench, query: str) -> None:
    stream = BatchStream(
        pa.schema([("a", pa.int64())]), iter(pa.table({"a": [1, 2, 3]}).to_batches(max_chunksize=1))
    )
    assert sql(bench, stream, query)["n"].to_pylist() == [9]


def test_one_of_two_tables_read_twice_is_all_there(bench: Bench) -> None:
    tables = Tables({"a": pa.table({"x": [1, 2]}), "b": pa.table({"y": [1]})})
    assert sql(bench, tables, "select count(*) as n from a, a as c").to_pydict() == {"n": [4]}
    tables = Tables({"a": pa.table({"x": [1, 2]}), "b": pa.table({"y": [1]})})
    assert sql(bench, tables, "select count(*) as n from a, a as c, b").to_pydict() == {"n": [4]}


SECRET = "it_is_here"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("from read_csv('{path}')", "disabled by configuration"),
        ("from '{path}'", "does not exist|disabled by configuration"),
        ("select content from read_text('{path}')", "disabled by configuration"),
        ("from SECRET", "does not exist"),
        ("select getenv('HOME')", "does not exist"),
        ("select * from glob('*')", "disabled by configuration"),
        ("from read_parquet('https://example.com/x.parquet')", "disabled by configuration"),
    ],
)
def test_a_query_reaches_nothing_outside(bench: Bench, query: str, text: str) -> None:
    path = Path("secret.csv")
    path.write_text("a\n1\n")
    with pytest.raises(QueryFailed, match=text):
        sql(bench, every_type(), query.format(path=path.absolute()))


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("create table x as from data", "must be a SELECT, and this is CREATE"),
        ("copy data to 'x.csv'", "this is COPY"),
        ("install httpfs", "this is LOAD"),
        ("attach 'x.db'", "this is ATTACH"),
        ("set memory_limit = '1TB'", "this is"),
        ("select 1; select 2", "exactly one SELECT, and here are 2"),
        ("select 1; drop table data", "exactly one SELECT"),
        ("  ", "empty"),
        ("select fro data where", "(?i)syntax error"),
        ("pivot data on word", "has to know its columns"),
    ],
)
def test_anything_but_one_select_is_found_beforehand(bench: Bench, query: str, text: str) -> None:
    [fault] = bench.faults("transform", "sql", query=query)
    import re

    assert re.search(text, fault)


def test_a_comment_and_a_semicolon_at_the_end_do_no_harm(bench: Bench) -> None:
    assert sql(bench, pa.table({"a": [1]}), "select sum(a) as s from data; -- done").to_pydict() == {"s": [1]}
    assert sql(bench, pa.table({"a": [1]}), "select sum(a)::hugeint as s from data -- done").to_pydict() == {
        "s": [1]
    }


def test_the_error_of_the_source_is_raised_as_it_is(bench: Bench) -> None:
    with pytest.raises(Broken, match="half-way"):
        sql(bench, breaking(every_type(), after=5), "select * from data")
    with pytest.raises(Broken, match="half-way"):
        sql(bench, breaking(every_type(), after=5), "select count(*) from data a, data b")


def test_a_mistake_in_the_query_shows_the_place(bench: Bench) -> None:
    with pytest.raises(QueryFailed, match=r'(?s)"wrd" not found.*LINE 1'):
        sql(bench, every_type(), "select wrd from data")


def test_closing_early_leaves_nothing(bench: Bench) -> None:
    stream = bench.transform("sql", pa.table({"a": range(1_000_000)}), query="select * from data")
    next(iter(stream))
    stream.close()
    assert bench.leftovers() == []


# ---------------------------------------------------------------------------------------------- python

FUNCTIONS = """
import pandas as pd
import pyarrow as pa
from pipeline_flow.core.context import Context

def frame(data: pd.DataFrame, factor: int = 2):
    return data.assign(whole=data["whole"] * factor)

def rows(data: "list[dict]", context: Context):
    context.notice(f"{len(data)} rows")
    return [{"n": len(data)}]

def anything(data):
    return data

def fails(data: pa.Table):
    raise ValueError("my own mistake")

async def later(data):
    return data
"""


@pytest.fixture
def functions(tmp_path: Path) -> str:
    Path("clean.py").write_text(FUNCTIONS)
    return "clean.py"


def test_a_function_gets_what_it_asks_for(bench: Bench, functions: str) -> None:
    found = bench.transform(
        "python", pa.table({"whole": [1, 2]}), function=f"{functions}:frame", args={"factor": 3}
    )
    assert isinstance(found, pd.DataFrame)
    assert found["whole"].tolist() == [3, 6]
    assert bench.transform("python", pa.table({"whole": [1, 2]}), function=f"{functions}:rows") == [{"n": 2}]
    assert bench.notices == ["2 rows"]
    thing = object()
    assert bench.transform("python", thing, function=f"{functions}:anything") is thing


def test_a_function_of_a_module(bench: Bench) -> None:
    assert bench.transform("python", [3, 1, 2], function="builtins:sorted", args={"reverse": True}) == [
        3,
        2,
        1,
    ]


def test_a_changed_file_is_imported_anew(bench: Bench, functions: str) -> None:
    import os

    assert bench.transform("python", 1, function=f"{functions}:anything") == 1
    Path(functions).write_text("def anything(data):\n    return data + 1\n")
    os.utime(functions, ns=(1, 1))
    assert bench.transform("python", 1, function=f"{functions}:anything") == 2


def test_mistakes_around_a_function_are_named(bench: Bench, functions: str) -> None:
    with pytest.raises(PluginNotImported, match="has no function `fram`"):
        bench.transform("python", 1, function=f"{functions}:fram")
    with pytest.raises(PluginNotImported, match="missing.py does not exist"):
        bench.transform("python", 1, function="missing.py:frame")
    with pytest.raises(PluginNotImported, match="no module `not_there`"):
        bench.transform("python", 1, function="not_there:frame")
    with pytest.raises(WrongArgument, match="unexpected keyword argument 'facto'"):
        bench.transform("python", 1, function=f"{functions}:frame", args={"facto": 1})
    with pytest.raises(WrongArgument, match="asynchronous"):
        bench.transform("python", 1, function=f"{functions}:later")
    with pytest.raises(ValueError, match="my own mistake"):
        bench.transform("python", pa.table({"a": [1]}), function=f"{functions}:fails")
    assert "is not module:name" in bench.faults("transform", "python", function="clean.py")[0]


# ---------------------------------------------------------------------------------------------- concat


def test_rows_follow_in_the_order_of_the_steps(bench: Bench) -> None:
    found = bench.merge(
        "concat",
        {"b": pa.table({"x": [1], "y": ["a"]}), "a": pa.table({"z": [True], "x": [2]})},
        source_column="from",
    )
    assert found.to_pylist() == [
        {"x": 1, "y": "a", "z": None, "from": "b"},
        {"x": 2, "y": None, "z": True, "from": "a"},
    ]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.uint32(), pa.int32(), pa.int64()),
        (pa.int32(), pa.float64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.decimal128(5, 2), pa.decimal128(8, 4), pa.decimal128(8, 4)),
        (pa.decimal128(5, 2), pa.int32(), pa.decimal128(12, 2)),
        (pa.timestamp("s"), pa.timestamp("us"), pa.timestamp("us")),
        (pa.null(), pa.date32(), pa.date32()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.int64(), pa.float64(), None),
        (pa.uint64(), pa.int64(), None),
        (pa.string(), pa.int64(), None),
        (pa.timestamp("us"), pa.timestamp("us", "UTC"), None),
        (pa.date32(), pa.string(), None),
    ],
)
def test_types_agree_or_widen_without_loss(
    bench: Bench, first: pa.DataType, second: pa.DataType, both: pa.DataType | None
) -> None:
    data = {"a": pa.table({"x": pa.nulls(1, first)}), "b": pa.table({"x": pa.nulls(1, second)})}
    if both is None:
        with pytest.raises(ConversionFailed, match="the column `x` is .* in `a` and .* in `b`"):
            bench.merge("concat", data)
    else:
        assert bench.merge("concat", data).schema.field("x").type == both


def test_concat_of_a_broken_step_raises_its_error(bench: Bench) -> None:
    with pytest.raises(Broken):
        bench.merge("concat", {"a": every_type(), "b": breaking(every_type())})


# ---------------------------------------------------------------------------------------------- join

LEFT = {"id": [1, 2, None], "name": ["a", "b", "c"]}
RIGHT = {"id": [2, 3, None], "amount": [20, 30, 40]}


@pytest.mark.parametrize(
    ("how", "ids"),
    [("inner", [2]), ("left", [1, 2, None]), ("right", [2, 3, None]), ("full", [1, 2, 3, None, None])],
)
def test_how_rows_are_joined(bench: Bench, how: str, ids: list[int | None]) -> None:
    found = bench.merge("join", {"l": pa.table(LEFT), "r": pa.table(RIGHT)}, on=["id"], how=how)
    assert sorted(found["id"].to_pylist(), key=lambda item: (item is None, item)) == ids
    assert found.column_names == ["id", "name", "amount"]


def test_three_steps_join_in_their_order(bench: Bench) -> None:
    third = pa.table({"id": [2], "day": [dt.date(2024, 1, 1)]})
    found = bench.merge("join", {"l": pa.table(LEFT), "r": pa.table(RIGHT), "t": third}, on=["id"])
    assert found.to_pylist() == [{"id": 2, "name": "b", "amount": 20, "day": dt.date(2024, 1, 1)}]


def test_columns_of_one_name_are_an_error_or_renamed(bench: Bench) -> None:
    data = {"l": pa.table(LEFT), "r": pa.table({"id": [2], "name": ["x"]})}
    with pytest.raises(ConversionFailed, match="`r` has a column `name`") as caught:
        bench.merge("join", data, on=["id"])
    assert "rename_duplicates" in caught.value.hint
    assert bench.merge("join", data, on=["id"], rename_duplicates=True).column_names == [
        "id",
        "name",
        "name_r",
    ]


def test_keys_are_checked(bench: Bench) -> None:
    with pytest.raises(ConversionFailed, match="`r` has no column `key`"):
        bench.merge("join", {"l": pa.table({"key": [1]}), "r": pa.table({"ky": [1]})}, on=["key"])
    with pytest.raises(ConversionFailed, match="the key `id` is int64 .* string"):
        bench.merge("join", {"l": pa.table({"id": [7]}), "r": pa.table({"id": ["007"]})}, on=["id"])


# ---------------------------------------------------------------------------------------------- secrets


def test_secrets_of_the_environment(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "hunter22")
    plugin = bench.plugin("secret_manager", "env", variable="SHOP_TOKEN")
    assert plugin() == "hunter22"
    assert plugin.resource_id == "SHOP_TOKEN"
    with pytest.raises(SecretUnavailable, match="`SHOP_TOKN` is not set") as caught:
        bench.plugin("secret_manager", "env", variable="SHOP_TOKN")()
    assert "hunter22" not in str(caught.value)


def test_secrets_in_files(bench: Bench) -> None:
    Path("token").write_text("hunter22\n")
    assert bench.plugin("secret_manager", "file", path="token")() == "hunter22"
    Path("map.json").write_text('{"user": "me", "password": "x"}')
    assert bench.plugin("secret_manager", "file", path="map.json")() == {"user": "me", "password": "x"}
    Path("brace").write_text("{not json")
    assert bench.plugin("secret_manager", "file", path="brace")() == "{not json"
    with pytest.raises(SecretUnavailable, match="nowhere does not exist"):
        bench.plugin("secret_manager", "file", path="nowhere")()


# ------------------------------------------------------------------------------------------------ tables through `post`


@pytest.mark.parametrize(
    "body", ["return data", "return None", "return {'orders': data['orders'], 'more': iter([[{'n': 7}]])}"]
)
def test_a_post_that_gives_back_its_tables_hands_them_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    """1.0.8's plugins return what they were handed."""
    import pipeline_flow
    from pipeline_flow.testing import memory_store

    monkeypatch.chdir(tmp_path)
    Path("look.py").write_text(
        "from pipeline_flow.plugins import IPostProcessPlugin\n\n\n"
        "class Look(IPostProcessPlugin, plugin_name='look'):\n"
        f"    async def __call__(self, data):\n        {body}\n"
    )
    Path("orders.csv").write_text("n\n1\n2\n")
    names = "more" if "more" in body else "lines"
    steps = [{"id": name, "plugin": "csv", "args": {"path": "orders.csv"}} for name in ("orders", "lines")]
    with memory_store("post") as store:
        pipeline_flow.run(
            {
                "plugins": {"custom": {"files": ["look.py"]}},
                "pipelines": {
                    "p": {
                        "phases": {
                            "extract": {"steps": steps, "post": [{"plugin": "look"}]},
                            "transform": {
                                "steps": [
                                    {
                                        "plugin": "sql",
                                        "args": {
                                            "query": f"select sum(n) as n from (from orders union all from {names})"
                                        },
                                    }
                                ]
                            },
                            "load": {
                                "steps": [{"plugin": "memory", "args": {"table": "t", "store": "post"}}]
                            },
                        }
                    }
                },
            }
        )
        assert store.rows("t")[0]["n"] == (10 if names == "more" else 6)


def test_each_instance_of_duckdb_spills_into_a_folder_of_its_own(bench: Bench) -> None:
    """Two that write into one folder use the same names for their files, and read each other's rows, or crash."""
    from pipeline_flow.sql import duckdb

    folders = set()
    for _ in range(2):
        connection = duckdb.sealed(bench.context())
        row = connection.execute("select current_setting('temp_directory')").fetchone()
        assert row is not None
        folders.add(row[0])
        connection.close()
    assert len(folders) == 2
    assert all(Path(folder).is_relative_to(bench.folder) for folder in folders)


def test_a_stream_sorted_on_disk_can_be_sorted_on_disk_again(bench: Bench) -> None:
    bench.resources.memory_bytes = 64 * 1024 * 1024
    count = 600_000
    table = pa.table({"n": pa.array(range(count), pa.int64()), "text": [f"{n:0100}" for n in range(count)]})
    once = bench.transform("sort", table, by=["-text"])
    twice = bench.transform("sort", once, by=["text"]).to_table()
    assert twice.equals(table)
    assert bench.leftovers() == []
