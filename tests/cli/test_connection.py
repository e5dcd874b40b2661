"""`pipeline-flow connection test`: what is told of a database, and the exit code."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.cli import exit as exits
from pipeline_flow.cli.connection import Options, run
from tests.connectors.postgres_server import database

if TYPE_CHECKING:
    from tests.cli.shell import Shell


def try_connection(target: str) -> int:
    return run(target, Options())


def make_sqlite(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("vacuum")


def test_a_file_is_told_with_what_may_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert try_connection("sqlite:///x.db") == exits.PIPELINE_FAILED
    assert "does not exist" in capsys.readouterr().err
    assert not Path("x.db").exists()
    sqlite3.connect("x.db").close()
    assert try_connection("sqlite:///x.db") == exits.FINE
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith(f"the SQLite file {tmp_path}/x.db: SQLite 3.")
    assert told[1:] == ["  read tables           yes", "  make and fill tables  yes"]


def test_a_server_is_told_and_a_wrong_name_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with database() as url:
        assert try_connection(url) == exits.FINE
        assert ": PostgreSQL " in capsys.readouterr().out
        assert try_connection(f"{url}_not") == exits.PIPELINE_FAILED
        told = capsys.readouterr()
        assert told.out == ""
        assert "there is no database" in told.err


def test_a_wrong_url_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert try_connection("postgresql://me:hunter22@h/x?sslmod=require") == exits.WRONG_CONFIGURATION
    told = capsys.readouterr()
    assert "did you mean `sslmode`" in told.err
    assert "hunter22" not in told.err + told.out


# ---------------------------------------------------------------------------------------------- by name


def _configure(shell: Shell, connections: dict[str, Any], name: str = "pipelines.yaml", **more: Any) -> None:
    steps = {
        "extract": {"steps": [{"plugin": "csv", "args": {"path": "in.csv"}}]},
        "load": {"steps": [{"plugin": "csv", "args": {"path": "out.csv"}}]},
    }
    whole = {"connections": connections, "pipelines": {"p": {"phases": steps}}, **more}
    shell.write(name, json.dumps(whole))  # JSON is YAML


def test_every_connection_of_the_file_has_a_line(shell: Shell) -> None:
    make_sqlite(shell.folder / "x.db")
    _configure(
        shell,
        {
            "there": "sqlite:///x.db",
            "gone": {"url": "sqlite:///gone.db"},
            "alchemy": "sqlite+pysqlite:///x.db",
        },
    )
    done = shell("connection", "test")
    assert done.code == exits.PIPELINE_FAILED
    lines = done.out.splitlines()
    assert [line.split()[:2] for line in lines] == [["there", "ok"], ["gone", "FAILED"], ["alchemy", "ok"]]
    assert lines[0].endswith("; may read and write")
    assert "does not exist" in lines[1]
    assert not (shell.folder / "gone.db").exists()


def test_a_name_is_looked_up_as_a_run_does(shell: Shell) -> None:
    """Variables, profile, --env-file and secrets are those of a run; what is fetched shows nowhere."""
    make_sqlite(shell.folder / "hunter22.db")
    shell.write("prod.env", "PLACE=hunter22\n")
    _configure(
        shell,
        {"shop": "sqlite:///${{ secrets.file }}.db", "other": "sqlite:///${{ variables.name }}.db"},
        "shop.yaml",
        variables={"name": "hunter"},
        profiles={"prod": {"variables": {"name": "hunter22"}}},
        secrets={
            "file": {"plugin": "env", "args": {"variable": "PLACE"}},
            "never": {"plugin": "env", "args": {"variable": "NOT_SET_ANYWHERE"}},
        },
    )
    done = shell("connection", "test", "shop", "-f", "shop.yaml", "--env-file", "prod.env")
    assert done.code == exits.FINE, done.err
    assert "SQLite 3." in done.out
    assert "hunter22" not in done.out + done.err
    assert "read tables           yes" in done.out
    for arguments in (("--profile", "prod"), ("--var", "name=hunter22")):
        assert shell("connection", "test", "other", "-f", "shop.yaml", *arguments).code == exits.FINE
    assert shell("connection", "test", "other", "-f", "shop.yaml").code == exits.PIPELINE_FAILED


def test_a_secret_that_cannot_be_fetched_stops_only_its_own_connection(shell: Shell) -> None:
    make_sqlite(shell.folder / "x.db")
    secrets = {"url": {"plugin": "env", "args": {"variable": "NOT_SET_ANYWHERE"}}}
    _configure(shell, {"a": "${{ secrets.url }}", "b": "sqlite:///x.db"}, secrets=secrets)
    done = shell("connection", "test")
    assert done.code == exits.WRONG_CONFIGURATION
    assert done.out.splitlines()[0].startswith("a  FAILED  the secret `url` could not be fetched")
    assert done.out.splitlines()[1].startswith("b  ok")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("shp",), "did you mean `shop`?"),
        (("shop", "--file", "nope.yaml"), "there is no file nope.yaml"),
        (("shop", "--file", "none.yaml"), "none.yaml has no `connections`"),
        (("wrong",), "did you mean `postgresql`?"),
        (("sqlite:///x.db", "--file", "pipelines.yaml"), "a URL needs no --file"),
    ],
)
def test_a_wrong_call_is_explained(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    _configure(shell, {"shop": "sqlite:///x.db", "wrong": "postgressql://me:hunter22@h/x"})
    _configure(shell, {}, "none.yaml")
    done = shell("connection", "test", *arguments)
    assert done.code == exits.WRONG_CONFIGURATION
    assert said in " ".join(done.err.replace("\u2502", " ").split())
    assert done.out == ""
    assert "hunter22" not in done.err


def test_without_a_file_it_is_said_which_is_missing(shell: Shell) -> None:
    done = shell("connection", "test", "shop")
    assert done.code == exits.WRONG_CONFIGURATION
    assert "there is no pipelines.yaml here, and `shop` is no URL" in done.err


def test_json_tells_all_of_it(shell: Shell) -> None:
    make_sqlite(shell.folder / "x.db")
    _configure(shell, {"a": "sqlite:///x.db", "b": "oracle+oracledb://me:hunter22@h/?service_name=x"})
    done = shell("connection", "test", "--json")
    assert done.code == exits.WRONG_CONFIGURATION
    first, second = json.loads(done.out)["connections"]
    assert (first["name"], first["reached"], first["error"]) == ("a", True, None)
    assert first["rights"]["write"] == {"allowed": True, "reason": ""}
    assert (second["reached"], second["error"]["hint"]) == (False, "pip install oracledb")
    assert second["error"]["code"] == "plugin.wrong_argument"
    assert "hunter22" not in done.out


def test_connections_are_tried_at_the_same_time(shell: Shell) -> None:
    """Three servers that say nothing before all three have been asked: one after the other, none would be done."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(16)
        port, asked = server.getsockname()[1], list[socket.socket]()

        def accept() -> None:
            while len(asked) < 3:
                asked.append(server.accept()[0])
            for each in asked:
                each.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        _configure(shell, {str(number): f"mariadb://root@127.0.0.1:{port}/x" for number in range(3)})
        done = shell("connection", "test")
        thread.join(timeout=60)
    assert len(asked) == 3
    assert done.code == exits.PIPELINE_FAILED
    assert "does not answer" not in done.out  # which is what a time that is over says
