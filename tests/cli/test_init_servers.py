"""`init --from` and `--to` with servers: what it writes runs unedited, and holds no password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from pipeline_flow.cli.reference import References
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.shell import Shell


PASSWORD = "p@ss/w:ö"
IN_URL = "p%40ss%2Fw%3A%C3%B6"


@pytest.fixture
def postgres() -> Iterator[str]:
    """A database; its server takes any password."""
    with postgres_server.database() as url:
        yield url.replace("postgres@", f"postgres:{IN_URL}@")


@pytest.fixture
def shop(mariadb: str) -> Iterator[str]:
    """A database with two tables and a view, for a user with a password."""
    mariadb_server.execute(
        "create table orders (id bigint primary key, amount decimal(15,2), day date)",
        "insert into orders values (1, 2.50, '2024-01-01'), (2, null, '2024-02-01')",
        "create table `Odd ``name` (a int)", "create view v as select 1 as c",
        f"create or replace user init_test@'%' identified by '{PASSWORD}'",
        f"grant all on `{mariadb_server.NAME}`.* to init_test@'%'",
    )  # fmt: skip
    yield mariadb.replace("root@", f"init_test:{IN_URL}@")
    mariadb_server.execute("drop user init_test@'%'")


def variables(text: str) -> dict[str, str]:
    """The environment that a configuration asks for, by what it says must be set."""
    asked = [line.split()[5] for line in text.splitlines() if line.startswith("# Before it runs, set ")]
    found = yaml.safe_load(text)["secrets"]
    assert sorted(asked) == sorted(item["args"]["variable"] for item in found.values())
    return dict.fromkeys(asked, IN_URL)


def test_a_server_into_another_runs_unedited_and_holds_no_password(
    shell: Shell, shop: str, postgres: str
) -> None:
    done = shell("init", "--from", shop, "--to", postgres)
    assert done.code == 0, done.err
    text = (shell.folder / "pipelines.yaml").read_text(encoding="utf-8")
    for secret in (PASSWORD, IN_URL):
        assert secret not in f"{text}{done.out}{done.err}"
    wanted = variables(text)
    assert all(f"set {name} to the password of" in done.err for name in wanted)
    assert len(wanted) == 2
    shell("validate", "pipelines.yaml").assert_told(0, "fine: 3 pipelines")
    for name in wanted:
        others = {other: value for other, value in wanted.items() if other != name}
        shell("run", "-q", "pipelines.yaml", env=others).assert_told(2, f"`{name}` is not set")
    ran = shell("run", "-q", "pipelines.yaml", env=wanted)
    assert ran.code == 0, ran.err
    assert postgres_server.run(postgres, "select id, amount::text, day::text from orders order by 1") == [
        (1, "2.50", "2024-01-01"),
        (2, None, "2024-02-01"),
    ]
    assert postgres_server.run(postgres, "select count(*) from odd_name") == [(0,)]
    assert postgres_server.run(postgres, "select count(*) from v") == [(1,)]


def test_postgresql_gives_its_tables_with_their_schemas(shell: Shell, postgres: str, mariadb: str) -> None:
    postgres_server.run(
        postgres, "create table a (n int)", "insert into a values (7)", "create schema s",
        "create table s.b (n int)", "create table parts (n int) partition by range (n)",
        "create table parts_1 partition of parts for values from (0) to (10)", "create table _pipeline_flow_x (n int)",
    )  # fmt: skip
    done = shell("init", "--from", postgres, "--to", mariadb, "--name", "copy")
    assert done.code == 0, done.err
    text = (shell.folder / "pipelines.yaml").read_text(encoding="utf-8")
    assert list(yaml.safe_load(text)["pipelines"]) == ["a", "parts", "s_b"]
    ran = shell("run", "-q", "pipelines.yaml", env=variables(text))
    assert ran.code == 0, ran.err
    assert mariadb_server.root("select n from a", mariadb_server.NAME) == [(7,)]


def test_a_file_into_a_server(shell: Shell, postgres: str) -> None:
    assert shell("init", "--from", "in.csv", "--to", postgres).code == 0
    text = (shell.folder / "pipelines.yaml").read_text(encoding="utf-8")
    ran = shell("run", "-q", "pipelines.yaml", env=variables(text))
    assert ran.code == 0, ran.err
    assert postgres_server.run(postgres, 'select * from "in" order by id') == [(1, "x"), (2, "y")]


def test_a_url_without_a_password_needs_nothing(shell: Shell, mariadb: str) -> None:
    mariadb_server.execute("create table orders (id bigint)")
    done = shell("init", "--from", mariadb, "--to", "x.duckdb", "-o", "-")
    assert done.code == 0, done.err
    assert "secrets" not in done.out
    assert mariadb in done.out


def test_tables_are_chosen_by_name_and_many_are_listed(shell: Shell, postgres: str) -> None:
    names = [f"t{number:02}" for number in range(21)]
    postgres_server.run(
        postgres, "create schema s", "create table s.one (n int)", *(f"create table {name} (n int)" for name in names)
    )  # fmt: skip
    call = ("init", "--from", postgres, "--to", "x.duckdb", "-o", "-")
    shell(*call).assert_told(2, "has 22 tables: ", "t02, ", "--table ")

    def pipelines(*tables: str) -> list[str]:
        done = shell(*call, *(word for table in tables for word in ("--table", table)))
        assert done.code == 0, done.err
        return list(yaml.safe_load(done.out)["pipelines"])

    assert pipelines("t03", "s.one", "t03") == ["t03", "s_one"]
    assert pipelines("one") == ["s_one"]
    assert len(pipelines("*")) == 22
    shell(*call, "--table", "t033").assert_told(2, "has no table `t033`", "did you mean `t03`?")


def test_a_table_of_a_file_is_chosen_too(shell: Shell) -> None:
    import duckdb

    with duckdb.connect(str(shell.folder / "x.duckdb")) as connection:
        connection.sql("create table a as select 1 as n; create table b as select 2 as n")
    done = shell("init", "--from", "x.duckdb", "--table", "b", "--to", "b.csv", "-o", "-")
    assert list(yaml.safe_load(done.out)["pipelines"]) == ["b"]
    shell("init", "--from", "in.csv", "--table", "b", "--to", "b.csv").assert_told(
        2, "--table goes with a database"
    )
    shell("init", "--table", "b").assert_told(2, "belong to --from")


def test_what_is_in_the_way_at_a_server_is_said(shell: Shell, postgres: str, shop: str) -> None:
    for source, target, told in (
        (postgres, postgres, "is the source and the target"),
        (postgres, "x.duckdb", "has no tables"),
        ("in.csv", "postgresql://postgres@127.0.0.1:1/x", "nothing listens at 127.0.0.1:1"),
        (shop.replace(IN_URL, "wr0ng"), "x.duckdb", "refused the password of `init_test`"),
        (shop, shop.replace(mariadb_server.NAME, "mysql"), "may not use"),
    ):
        done = shell("init", "--from", source, "--to", target)
        done.assert_told(2, told)
        assert IN_URL not in done.err
        assert "wr0ng" not in done.err
    assert not (shell.folder / "pipelines.yaml").exists()


def test_two_passwords_of_databases_with_one_name_are_two_secrets() -> None:
    references = References()
    assert references.url("postgresql://a:x%40@h/2-shop?sslmode=require") == (
        "postgresql://a:${{ secrets.db_2_shop_password }}@h/2-shop?sslmode=require"
    )
    assert "db_2_shop_password_2" in references.url("mariadb://b:y@h/2-shop")
    assert "db_2_shop_password }" in references.url("mariadb://b:x%40@other/2-shop")
    assert references.url("mariadb://b@h/shop") == "mariadb://b@h/shop"
    assert sorted(references.secrets) == ["db_2_shop_password", "db_2_shop_password_2"]
