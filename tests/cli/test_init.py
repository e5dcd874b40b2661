"""``pipeline-flow init``: what it writes validates and runs unedited, and it overwrites nothing."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from tests.cli.shell import Done, Shell

if TYPE_CHECKING:
    from collections.abc import Callable

TEMPLATES = {
    "csv": ("shop.duckdb", "select country, orders from sales_by_country order by 1", [("GB", 3), ("HU", 2), ("IT", 1)]),
    "python": ("weather.duckdb", "select count(*), count(*) filter (is_hot) from readings", [(4, 1)]),
    "files": (None, "select count(*), sum(total) from 'out/orders.parquet'", [(5, 247.75)]),
}  # fmt: skip


def _rows(folder: Path, database: str | None, query: str) -> list[Any]:
    with duckdb.connect(
        str(folder / database) if database else ":memory:", read_only=database is not None
    ) as connection:
        if database is None:
            query = query.replace("'out/", f"'{folder}/out/")
        return connection.sql(query).fetchall()


def _commands(done: Done) -> list[str]:
    """What the last message says to do next."""
    _, _, last = done.err.partition("next:\n")
    return [line.strip() for line in last.splitlines()]


def test_the_templates_are_listed(shared: Shell) -> None:
    done = shared("init", "--list")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == sorted(TEMPLATES)
    assert all(re.search(r"  \S.*\.$", line) for line in done.out.splitlines())


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_template_validates_runs_and_gives_the_same_twice(shell: Shell, template: str) -> None:
    database, query, expected = TEMPLATES[template]
    done = shell("init", template, "--dir", "project")
    assert done.code == 0
    assert done.out == ""
    inside = Shell(shell.folder / "project", shell._warm)
    assert {"pipelines.yaml", "README.md", ".gitignore", "data"} <= {
        item.name for item in inside.folder.iterdir()
    }
    inside("validate", "pipelines.yaml").assert_told(0, "fine")
    first, second = _commands(done)
    assert first.startswith("cd project && pipeline-flow run")
    for _ in range(2):
        assert inside(*first.split()[4:]).code == 0
        assert _rows(inside.folder, database, query) == expected
    assert inside(*second.split()[1:]).code == 0
    for line in re.findall(
        r"^# +pipeline-flow (.+?)(?:  .*)?$", (inside.folder / "pipelines.yaml").read_text(), re.MULTILINE
    ):
        assert inside(*line.split()).code == 0, line


def test_the_python_templates_own_test_passes(shell: Shell) -> None:
    shell("init", "python")
    done = shell.python("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert (done.code, "2 passed" in done.out) == (0, True), done.out


def test_what_is_in_the_way_is_listed_and_nothing_is_written(shell: Shell) -> None:
    shell.write("pipelines.yaml", "mine")
    (shell.folder / "README.md").symlink_to("nowhere")
    before = sorted(shell.folder.rglob("*"))
    done = shell("init")
    done.assert_told(2, "2 files are there already", "  pipelines.yaml\n", "  README.md\n")
    assert sorted(shell.folder.rglob("*")) == before
    assert (shell.folder / "pipelines.yaml").read_text() == "mine"
    shell("init", "--from", "in.csv", "--to", "x.duckdb").assert_told(2, "a file is there already")


def test_a_wrong_call_is_refused(shell: Shell) -> None:
    shell("init", "cvs").assert_told(2, "there is no template `cvs`", "did you mean `csv`?")
    shell("init", "--from", "in.csv").assert_told(2, "--from needs --to")
    shell("init", "--to", "x.duckdb").assert_told(2, "belong to --from")
    shell("init", "csv", "--from", "in.csv", "--to", "x.duckdb").assert_told(2, "--from writes one file")
    shell("init", "--dir", "in.csv").assert_told(2, "in.csv cannot be written")
    assert sorted(item.name for item in shell.folder.iterdir()) == ["in.csv"]


# ---------------------------------------------------------------------------------------------- from data


def _from(shell: Shell, source: str, target: str, *more: str) -> str:
    """Writes the configuration, checks and runs it unedited, and gives its text."""
    (shell.folder / "pipelines.yaml").unlink(missing_ok=True)
    done = shell("init", "--from", source, "--to", target, *more)
    assert done.code == 0, done.err
    shell("validate", "pipelines.yaml").assert_told(0, "fine")
    for command in _commands(done):
        assert shell(*command.replace("'", "").split()[1:]).code == 0, command
    return (shell.folder / "pipelines.yaml").read_text(encoding="utf-8")


@pytest.fixture
def data(shell: Shell) -> Shell:
    shell.write("Order Lines-2024.csv", "Order ID,zip,amount,day\n1,00123,2.5,2024-01-01\n2,,7,2024-02-01\n")
    for month in "12":
        shell.write(f"same/sales-{month}.csv", f"id,v\n{month},x\n")
    shell.write("mixed/aB.csv", "id,v\n1,x\n")
    shell.write("mixed/c.csv", "id;w\n1;y\n")
    with duckdb.connect() as connection:
        connection.sql("select 1 as n, [1, 2] as list").write_parquet(str(shell.folder / "mixed/p.parquet"))
    return shell


def test_a_csv_file_becomes_a_table_with_declared_types(data: Shell) -> None:
    text = _from(data, "Order Lines-2024.csv", "duckdb:///x.db")
    assert "table: order_lines_2024\n" in text
    declared = re.findall(r"^ {16}(.+): (\w+)$", text, re.MULTILINE)
    assert declared == [("Order ID", "BIGINT"), ("zip", "VARCHAR"), ("amount", "DOUBLE"), ("day", "DATE")]
    assert _rows(data.folder, "x.db", "select zip, amount from order_lines_2024") == [
        ("00123", 2.5),
        (None, 7.0),
    ]


def test_files_with_the_same_columns_are_one_table_and_others_one_each(data: Shell) -> None:
    text = _from(data, "same", "sqlite:///y.sqlite", "--name", "project")
    assert "name: project\n" in text
    assert "path: same/*.csv" in text
    with sqlite3.connect(data.folder / "y.sqlite") as connection:
        assert connection.execute("select count(*) from same").fetchone() == (2,)
    connection.close()
    assert "path: same/sales-*.csv" in _from(data, "same/sales-*.csv", "out/")
    assert (data.folder / "out/sales.parquet").exists()
    _from(data, "mixed", "m.duckdb")
    tables = _rows(
        data.folder,
        "m.duckdb",
        "select table_name from duckdb_tables() where table_name not like '\\_%' escape '\\' order by 1",
    )
    assert tables == [("a_b",), ("c",), ("p",)]


def test_a_folder_of_folders_is_one_table_with_the_columns_that_their_names_say(data: Shell) -> None:
    data.write("nested/region=eu/a.csv", "id,v\n1,x\n")
    data.write("nested/region=us/b.csv", "id,v\n2,y\n")
    assert "path: nested\n" in _from(data, "nested", "n.duckdb")
    expected = [(1, "eu"), (2, "us")]
    assert _rows(data.folder, "n.duckdb", "select id, region from nested order by id") == expected
    data.write("mixture/a/x.csv", "id\n1\n")
    data.write("mixture/b/y.jsonl", "{}\n")
    data("init", "--from", "mixture", "--to", "n.duckdb", "-o", "m.yaml").assert_told(
        2, "mixture has files of different kinds"
    )


def test_a_folder_that_loads_have_written_is_read_by_its_manifest(data: Shell) -> None:
    data.write(
        "lake.yaml",
        """
        pipelines:
          lake:
            phases:
              extract: { steps: [{ plugin: csv, args: { path: same/*.csv } }] }
              load:
                steps: [{ plugin: parquet, args: { path: lake/, mode: replace, max_rows_per_file: 1 } }]
        """,
    )
    for _ in "12":
        assert data("run", "-q", "lake.yaml").code == 0
    assert "path: lake/\n" in _from(data, "lake/", "l.duckdb")
    assert _rows(data.folder, "l.duckdb", "select count(*) from lake") == [(2,)]


def test_a_database_gives_its_tables(data: Shell) -> None:
    with duckdb.connect(str(data.folder / "shop.db")) as connection:
        connection.sql(
            'create table "Odd ""name" as select 1 as a; create schema s; create table s.t as select 2 as b'
        )
        connection.sql("create view v as select 3 as c")
    _from(data, "duckdb:///shop.db", "lake")
    assert {path.name for path in (data.folder / "lake").iterdir()} == {
        "odd_name.parquet",
        "s_t.parquet",
        "v.parquet",
    }
    _from(data, "shop.db", "sqlite:///copy.sqlite")
    _from(data, "copy.sqlite", "duckdb:///back.duckdb")
    assert _rows(data.folder, "back.duckdb", "select b from s_t") == [(2,)]
    done = data("init", "--from", "shop.db", "--to", "duckdb:///shop.db", "-o", "p.yaml")
    done.assert_told(2, "is the source and the target")


@pytest.mark.parametrize("rows", [30_000, 300_000])
def test_a_value_far_behind_that_breaks_its_columns_type_makes_it_text(shell: Shell, rows: int) -> None:
    shell.write("late.csv", "id,v\n" + "".join(f"{n},{n}\n" for n in range(rows)) + "x,1\n")
    text = _from(shell, "late.csv", "late.duckdb")
    assert "id: VARCHAR\n" in text
    assert "v: BIGINT\n" in text
    assert _rows(shell.folder, "late.duckdb", "select count(*), max(v) from late") == [(rows + 1, rows - 1)]


@pytest.mark.parametrize("target", ["out.parquet", "out/x.csv"])
def test_one_table_goes_into_one_file(data: Shell, target: str) -> None:
    _from(data, "in.csv", target)
    assert (data.folder / target).exists()
    data("init", "--from", "mixed", "--to", target, "-o", "p.yaml").assert_told(2, "has 3 tables: a_b, c, p")


@pytest.mark.parametrize(
    ("source", "target", "told"),
    [
        ("in.csv", "oracle://host/db", "init cannot write a configuration for oracle:// yet"),
        ("in.csv", "x.xml", "init does not know what x.xml shall be"),
        ("in.csv", "duckdb://host/x", "names a host where a file is expected"),
        ("missing.csv", "x.duckdb", "the file missing.csv does not exist"),
        ("*.none", "x.duckdb", "no file matches *.none"),
        ("notes.xml", "x.duckdb", "init does not know what notes.xml is"),
        ("empty", "x.duckdb", "empty has no files that init knows"),
        ("broken.csv", "x.duckdb", "broken.csv"),
        ("oracle://h/d", "x.duckdb", "init cannot look at oracle:// yet"),
    ],
)
def test_what_init_cannot_do_is_said(shell: Shell, source: str, target: str, told: str) -> None:
    shell.write("notes.xml", "<a/>")
    shell.write("broken.csv", b"a,b\n1,\xff\n")
    (shell.folder / "empty").mkdir()
    shell("init", "--from", source, "--to", target).assert_told(2, told)
    assert not (shell.folder / "pipelines.yaml").exists()


def test_the_configuration_goes_to_stdout(shell: Shell, golden: Callable[[str, str], None]) -> None:
    done = shell("init", "--from", "in.csv", "--to", "duckdb:///x.db", "--output", "-")
    assert (done.code, done.err) == (0, "")
    golden("init-from.txt", done.out)
    assert [item.name for item in shell.folder.iterdir()] == ["in.csv"]
