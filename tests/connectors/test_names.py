"""Any name of a table or a column arrives as it is at every database, or is refused before anything is written."""

from __future__ import annotations

import datetime as dt
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import ConfigError, DataError, DestinationFailed, PipelineFlowError
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

EXAMPLES = int(os.environ.get("PIPELINE_FLOW_TEST_EXAMPLES", "10"))
HOSTILE = [
    'a"b', '"', '""', "a'b", "a`b", "`", "[a]", "a.b", ".", "a;b", "; drop table t; --", "--", "/*", "*/", "a b", " a", "a ", " ",
    "%s", "%", "%(a)s", ":name", ":a", "$1", "$$", "?", "\\", "a\\'b", "\\\"", "a\nb", "\r\n", "\t", "select", "table", "SELECT", "null",
    "order", "user", "rowid", "oid", "ctid", "xmin", "tableoid", "ä", "e\u0301", "\u00e9", "שלום", "\u202eabc", "😀", "名前", "\ufeff", "\u0130", "\u0131", "ß", "SS",
    "a" * 63, "a" * 64, "a" * 65, "ä" * 32, "ä" * 64, "😀" * 16, "a" * 300, "", "a\0b", "{}", "{0}", "#", "@a", "&", "a,b", "(", ")",
    "_pipeline_flow_stream", "data", "_pipeline_flow_rows", "main", "public", "sqlite_a", "1", "-1", "NaN", "true",
]  # fmt: skip
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.text("aA\"'`.;\\%:$\n é", min_size=1, max_size=5),
)
DATABASES = ("postgres", "mariadb", "sqlite", "duckdb")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


@pytest.fixture(params=DATABASES)
def place(request: pytest.FixtureRequest) -> tuple[str, str]:
    name = request.param
    url = request.getfixturevalue(name) if name in ("postgres", "mariadb") else f"{name}:///x.{name}"
    return name, url


def quoted(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def tables(bench: Bench, name: str, url: str) -> set[str]:
    """The tables that are there."""
    if name == "postgres":
        return {
            row[0]
            for row in postgres_server.run(
                url,
                "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
            )
        }
    if name == "mariadb":
        return {
            row[0]
            for row in mariadb_server.root(
                "select table_name from information_schema.tables where table_schema = database()",
                mariadb_server.NAME,
            )
        }
    query = {
        "sqlite": "select name from sqlite_master where type = 'table'",
        "duckdb": "select table_name as name from duckdb_tables()",
    }[name]
    try:
        return set(bench.extract("sql", url=url, query=query)["name"].to_pylist())
    except PipelineFlowError:  # there is no file yet
        return set()


def drop(bench: Bench, name: str, url: str, table: str) -> None:
    if name == "mariadb":
        mariadb_server.execute("drop table `" + table.replace("`", "``") + "`")
    elif name == "postgres":
        postgres_server.run(url, f"drop table {quoted(table)}")
    else:
        bench.at_load("sql", url=url, query=f"drop table {quoted(table)}")


PROPERTY = settings(
    max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_any_name_arrives_or_is_refused(bench: Bench, place: tuple[str, str]) -> None:
    name, url = place

    def check(table: str, columns: list[str]) -> None:
        before = tables(bench, name, url)
        data = pa.table({column: pa.array([index, None], pa.int64()) for index, column in enumerate(columns)})
        written = quoted(table)
        refusal: PipelineFlowError | None = None
        found = pa.table({})
        try:
            for mode, rows in (("append", 2), ("append", 4), ("replace", 2), ("replace", 2)):
                bench.load("sql", data, url=url, table=written, mode=mode)
                found = bench.extract("sql", url=url, table=written, columns=columns)
                assert found.num_rows == rows
        except (ConfigError, DestinationFailed, DataError) as error:
            refusal = error
        if refusal is not None:
            assert tables(bench, name, url) == before, f"refused, and yet written: {refusal}"
            twice = name == "mariadb" and "specified twice" in str(refusal)  # it folds more than cases
            assert twice or is_odd(name, table, columns), (
                f"{name} refuses {table!r} with {columns!r}: {refusal}"
            )
            return
        assert found.column_names == columns
        assert sorted(found.to_pylist(), key=str) == sorted(data.to_pylist(), key=str)
        whole = bench.extract("sql", url=url, table=written)
        assert whole.column_names == columns
        assert tables(bench, name, url) == before | {table}
        drop(bench, name, url, table)
        assert tables(bench, name, url) == before

    @PROPERTY
    @given(NAMES, st.lists(NAMES, min_size=1, max_size=4, unique=True))
    def any_names(table: str, columns: list[str]) -> None:
        check(table, columns)

    if EXAMPLES > 50:
        for hostile in HOSTILE:
            check(hostile, [hostile])
    good = {
        item.casefold(): item
        for item in HOSTILE
        if item not in ("\u0130", "\u0131") and not is_odd(name, "t", [item])
    }
    check("every column", list(good.values()))
    any_names()


def is_odd(name: str, table: str, columns: list[str]) -> bool:
    """Whether a database has a reason to refuse one of the names, or two of them together."""
    names = [table, *columns]
    if any(not item.strip() or "\0" in item for item in names):
        return True
    if name == "postgres":
        return any(len(item.encode()) > 63 for item in names) or any(
            item in ("oid", "ctid", "xmin", "xmax", "cmin", "cmax", "tableoid") for item in columns
        )
    folded = [item.casefold() for item in columns]
    if len(set(folded)) < len(folded):
        return True
    if name == "mariadb":
        return any(
            len(item) > 64 or item[-1] in " \t\n\v\f\r" or any(char > "\uffff" for char in item)
            for item in names
        )
    if name == "sqlite":
        return table.casefold().startswith("sqlite_")
    return False


IN_PLACES = ["a\"b'c`d", "%s :name $1 {} ?", "\\ a\nb; -- /*", "select", "é\u202e名"]
"""Hostile names, several of them in one."""


@pytest.mark.parametrize("column", IN_PLACES)
def test_any_name_may_be_a_key(bench: Bench, place: tuple[str, str], column: str) -> None:
    _, url = place
    table = quoted(f"keys of {column}")
    data = pa.table({column: pa.array([1, 2], pa.int64()), "other": ["x", "y"]})
    bench.load("sql", data, url=url, table=table, mode="append", key=[column])
    with pytest.raises(DestinationFailed, match=r"(?i)unique|duplicate"):
        bench.load("sql", data, url=url, table=table, mode="append", key=[column])
    assert bench.extract("sql", url=url, table=table, columns=[column])[column].to_pylist() == [1, 2]


@pytest.mark.parametrize("column", IN_PLACES)
def test_any_name_may_be_in_a_history(bench: Bench, place: tuple[str, str], column: str) -> None:
    _, url = place
    source, target = quoted(f"source {column}"), quoted(f"history {column}")
    other = f"{column} other"
    names = {"valid_from": f"{column} from", "valid_to": f"{column} to", "is_current": f"{column} now"}
    at = f"{column} at"
    for value, day in (("x", 1), ("y", 2), ("y", 3)):
        data = pa.table({column: pa.array([1], pa.int64()), other: [value], at: [dt.datetime(2024, 1, day)]})
        bench.load("sql", data, url=url, table=source, mode="replace")
        bench.at_load("scd2", url=url, source=source, target=target, key=[column], effective=at, **names)
    found = bench.extract("sql", url=url, table=target, columns=[column, other])
    assert sorted(found.to_pylist(), key=str) == [{column: 1, other: "x"}, {column: 1, other: "y"}]
    assert set(names.values()) <= set(bench.extract("sql", url=url, table=target).column_names)
