"""`indexes` and `comments` of a load into a table, on every database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from pipeline_flow.errors import DestinationFailed, RetryableError
from pipeline_flow.sql.index import name_of
from pipeline_flow.sql.quote import quote
from tests.connectors.databases import Database

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

DATA = pa.table({"id": [1, 2, 3], "name": ["x", "y", "y"], "odd 'n\" a, b": [1, 1, 1]})
ODD = DATA.column_names[2]


def load(bench: Bench, db: Database, data: Any = DATA, mode: str = "append", **more: Any) -> None:
    try:
        bench.load("sql", data, url=db.url, table=more.pop("table", "t"), mode=mode, **more)
    finally:
        bench.close()  # lets go of the file


def indexes(db: Database, table: str = "t") -> dict[str, tuple[bool, list[str]]]:
    """Whether each index is unique, and its columns."""
    found: dict[str, tuple[bool, list[str]]] = {}
    if db.engine == "sqlite":
        for _, name, unique, *_ in db.rows(f"pragma index_list({table})"):
            found[name] = bool(unique), [row[2] for row in db.rows(f"pragma index_info({quote(name)})")]
    elif db.engine == "duckdb":
        rows = db.rows(
            f"select index_name, is_unique, sql from duckdb_indexes() where table_name = '{table}'"
        )
        for name, unique, sql in rows:
            listed = sql.partition(" ON t(")[2].replace('""', '"')
            found[name] = unique, [column for column in DATA.column_names if column in listed]
    elif db.engine == "postgresql":
        rows = db.rows(
            "select c.relname, i.indisunique, array(select a.attname from unnest(i.indkey::int2[]) with ordinality k(n, p) "
            "join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.n order by p) "
            f"from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = '{table}'::regclass"
        )
        found = {name: (unique, columns) for name, unique, columns in rows}
    else:
        for row in db.rows(f"show index from {table}"):
            found.setdefault(row[2], (not row[1], []))[1].append(row[4])
    return found


def comments(db: Database) -> dict[str, str | None]:
    """The comments of the table `t`, its own under an empty name."""
    if db.engine == "duckdb":
        return dict(
            db.rows(
                "select '', comment from duckdb_tables() union all select column_name, comment from duckdb_columns() where table_name = 't'"
            )
        )
    if db.engine == "postgresql":
        return dict(
            db.rows(
                "select '', obj_description('t'::regclass, 'pg_class') union all select attname, col_description(attrelid, attnum) "
                "from pg_attribute where attrelid = 't'::regclass and attnum > 0"
            )
        )
    return dict(
        db.rows(
            "select '', table_comment from information_schema.tables where table_schema = database() and table_name = 't' "
            "union all select column_name, column_comment from information_schema.columns "
            "where table_schema = database() and table_name = 't'"
        )
    )


WANTED: list[Any] = [["name", "id"], {"columns": ["id"], "unique": True, "name": "By Id"}, [ODD]]
MADE = {"t_name_id_idx": (False, ["id", "name"]), "By Id": (True, ["id"]), f"t_{ODD}_idx": (False, [ODD])}


def as_made(db: Database) -> dict[str, tuple[bool, list[str]]]:
    return {name: (unique, sorted(columns)) for name, (unique, columns) in indexes(db).items()}


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_made_table_has_its_indexes_and_a_second_load_leaves_them(
    bench: Bench, db: Database, mode: str
) -> None:
    load(bench, db, mode=mode, indexes=WANTED)
    assert as_made(db) == MADE
    more = DATA if mode == "replace" else DATA.set_column(0, "id", [[4, 5, 6]])
    load(bench, db, more, mode=mode, indexes=WANTED)
    assert as_made(db) == MADE
    assert db.count() == (3 if mode == "replace" else 6)


def test_a_table_that_is_there_gets_the_indexes_that_it_lacks(bench: Bench, db: Database) -> None:
    load(bench, db)
    load(bench, db, indexes=[["name"]])
    assert as_made(db) == {"t_name_idx": (False, ["name"])}
    assert db.count() == 6


def test_rows_that_a_unique_index_refuses_are_not_loaded(bench: Bench, db: Database) -> None:
    unique = [{"columns": ["name"], "unique": True}]
    with pytest.raises(DestinationFailed, match="(?i)unique|duplicate"):
        load(bench, db, indexes=unique)
    with pytest.raises(Exception, match="(?i)t"):
        db.count()
    load(bench, db, DATA.slice(0, 2), indexes=unique)
    with pytest.raises(DestinationFailed, match="(?i)unique|duplicate"):
        load(bench, db, DATA.slice(2), indexes=unique)
    assert db.count() == 2


def test_another_index_under_the_name_is_an_error(bench: Bench, db: Database) -> None:
    load(bench, db, indexes=[{"columns": ["id"], "name": "mine"}])
    with pytest.raises(
        DestinationFailed, match=r"the index `mine` of `t` is \(id\), and `indexes` says \(name\)"
    ):
        load(bench, db, indexes=[{"columns": ["name"], "name": "mine"}])
    with pytest.raises(DestinationFailed, match=r"is \(id\), and `indexes` says unique \(id\)"):
        load(bench, db, indexes=[{"columns": ["id"], "name": "mine", "unique": True}])
    if db.engine != "mariadb":  # there each table has names of its own
        with pytest.raises(DestinationFailed, match="the index `mine` is on the table `t`"):
            load(bench, db, table="u", indexes=[{"columns": ["id"], "name": "mine"}])
    assert (db.count(), as_made(db)) == (3, {"mine": (False, ["id"])})


def test_replace_takes_new_columns_of_a_table_whose_indexes_are_the_loads_own(
    bench: Bench, db: Database
) -> None:
    if db.engine not in ("duckdb", "sqlite"):
        pytest.skip("at a server a table stays what it is")
    load(bench, db, mode="replace", indexes=[["name"]])
    load(bench, db, pa.table({"name": ["z"], "more": [1]}), mode="replace", indexes=[["name"]])
    assert db.rows("select name, more from t") == [("z", 1)]
    with pytest.raises(DestinationFailed, match="no column `again`"):
        load(bench, db, pa.table({"name": ["z"], "again": [1]}), mode="replace")


def test_comments_are_kept_and_follow_the_file(bench: Bench, db: Database) -> None:
    if db.engine == "sqlite":
        pytest.skip("SQLite has none, and its own test")
    text = 'it\'s \\ "all" ünïcode: %s'
    told = {"table": text, "columns": {"id": "the 'id'", ODD: "odd"}}
    load(bench, db, comments=told)
    assert comments(db) in (
        {"": text, "id": "the 'id'", "name": nothing, ODD: "odd"} for nothing in (None, "")
    )
    load(bench, db, comments=told | {"table": "new"})
    # MariaDB would commit the rows with it.
    assert comments(db)[""] == (text if db.engine == "mariadb" else "new")
    load(bench, db)
    assert comments(db)["id"] == "the 'id'"


def test_comments_of_sqlite_are_refused_beforehand(bench: Bench) -> None:
    told = {"table": "orders"}
    (fault,) = bench.faults("load", "sql", url="sqlite:///x.db", table="t", mode="append", comments=told)
    assert "QLite keeps no comments" in fault


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"indexes": [["id"], ["id"]]}, "stands there twice"),
        ({"indexes": [["id", "id"]]}, "names a column twice"),
        ({"indexes": [[]]}, "without columns"),
        ({"indexes": [{"columns": ["id"], "uniqe": True}]}, "uniqe"),
        ({"comments": {"colums": {}}}, "colums"),
    ],
)
def test_wrong_arguments_are_found_beforehand(bench: Bench, arguments: dict[str, Any], said: str) -> None:
    faults = bench.faults("load", "sql", url="duckdb:///x", table="t", mode="append", **arguments)
    assert said in " ".join(faults)


@pytest.mark.parametrize("arguments", [{"indexes": [["nmae"]]}, {"comments": {"columns": {"nmae": "x"}}}])
def test_a_column_that_the_data_lacks_is_named(bench: Bench, arguments: dict[str, Any]) -> None:
    with pytest.raises(DestinationFailed, match="names the column `nmae`") as caught:
        bench.load("sql", DATA, url="duckdb:///x", table="t", mode="append", **arguments)
    assert "did you mean `name`?" in caught.value.hint


def test_names_are_the_same_every_time_and_never_too_long(bench: Bench, db: Database) -> None:
    assert name_of("t", ["a", "b"], unique=True) == "t_a_b_key"
    long = [letter * 40 for letter in "xyz"] + ["ä" * 30]
    first, second = (name_of("t", long[1:count], unique=False) for count in (3, 4))
    assert first != second
    assert max(len(first.encode()), len(second.encode())) <= 63
    table = pa.table({name: [1] for name in long[1:]})
    for _ in range(2):
        load(bench, db, table, indexes=[long[1:3], long[1:]])
    assert set(indexes(db)) == {first, second}


def test_an_index_of_a_table_that_the_load_itself_holds_is_no_deadlock(
    bench: Bench, mariadb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MariaDB makes it on a second connection, and the first one has written the table."""
    monkeypatch.setattr("pipeline_flow.sql.mariadb_target._LOCK_SECONDS", 1)
    import asyncio

    from pipeline_flow.data import to_stream

    db = Database("mariadb", mariadb)
    load(bench, db)

    async def run() -> None:
        plugins = [
            bench.plugin("load", "sql", url=mariadb, table="t", mode="append", indexes=wanted)
            for wanted in ([], [["name"]])
        ]
        transaction = await plugins[0].begin()
        try:
            for plugin in plugins:
                await plugin.stage(to_stream(DATA), transaction)
        finally:
            await transaction.abort()

    with pytest.raises(RetryableError, match="cannot be made while a transaction works on the table"):
        asyncio.run(run())
    assert (db.count(), indexes(db)) == (3, {})
