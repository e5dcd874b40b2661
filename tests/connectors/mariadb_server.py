"""MariaDB for tests: a database of this test run's own at the server that runs, or a server that a test may destroy."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.connectors import own_server
from tests.connectors.postgres_server import unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipeline_flow.testing import Bench

HOST, PORT = "127.0.0.1", 3306
NAME = f"pipeline_flow_{secrets.token_hex(6)}"
URL = f"mariadb://root@{HOST}:{PORT}/{NAME}"
STRANGER = f"{NAME}_stranger"  # a user belongs to the whole server


def connect(database: str | None = NAME) -> Any:
    """A connection of root's, straight from the driver; it commits by itself."""
    import pymysql  # type: ignore[import-untyped] # it has no annotations

    return pymysql.connect(host=HOST, port=PORT, user="root", database=database, autocommit=True)


def root(statement: str, database: str | None = None) -> list[tuple[Any, ...]]:
    """What the server's root gets for a statement."""
    connection = connect(database)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def mariadb_database() -> Iterator[str]:
    """The name of a new database; dropped at the end."""
    pymysql = pytest.importorskip("pymysql", reason="the extra `mariadb` is not installed")
    try:
        root(f"create database `{NAME}`")
    except pymysql.Error as error:
        reason = f"no MariaDB for user root without a password at {HOST}:{PORT}: {error}"
        if os.environ.get("CI") or error.args[0] not in (2003, 1045, 1698):
            pytest.fail(reason)
        pytest.skip(reason)
    yield NAME
    root(f"drop database if exists `{NAME}`")


@pytest.fixture
def mariadb(mariadb_database: str) -> Iterator[str]:
    """The URL of a database without tables."""
    yield URL
    for name, kind in root(
        f"select table_name, table_type from information_schema.tables where table_schema = '{mariadb_database}'"
    ):
        word = "view" if kind == "VIEW" else "table"
        quoted = name.replace("`", "``")
        root(f"drop {word} if exists `{quoted}`", mariadb_database)


def execute(*statements: str) -> None:
    """Runs statements as root in the database."""
    for statement in statements:
        root(statement, NAME)


def load(bench: Bench, data: Any, mode: str = "append", table: str = "t", **more: Any) -> int:
    rows: int = bench.load("sql", data, **{"url": URL, "table": table, "mode": mode, **more})
    return rows


def read(bench: Bench, query: str = "select * from t", **more: Any) -> pa.Table:
    return bench.extract("sql", **{"url": URL, "query": query, **more})


# ---------------------------------------------------------------------------------------------- a server of one's own

_USER = "mysql"  # whom the server becomes where root starts it
_SETTINGS = {
    "bind-address": "127.0.0.1",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    "innodb-flush-log-at-trx-commit": "2",  # what a killed process has written stays
    "performance-schema": "off",
}


class Server:
    """A server of a test's own. Its root has no password."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._program = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")
        installer = shutil.which("mariadb-install-db")
        if self._program is None or installer is None:
            unavailable("no mariadbd and mariadb-install-db")
        self._as_user = [f"--user={_USER}"] if os.geteuid() == 0 else []
        # A server that starts removes what looks like temporary tables from this folder, those of other servers too,
        # which crash without them.
        self._temporary = folder / "temporary"
        self._temporary.mkdir()
        if self._as_user:
            shutil.chown(folder, _USER)
            shutil.chown(self._temporary, _USER)
        subprocess.run(
            [str(installer), "--no-defaults", f"--datadir={self.data}", f"--tmpdir={self._temporary}", "--auth-root-authentication-method=normal",
             "--skip-test-db", "--skip-name-resolve", *self._as_user],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"mariadb://root@127.0.0.1:{self.port}/shop"
        self._settings: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **settings: str) -> None:
        """Starts it, with settings of its configuration file, and waits until it answers."""
        import pymysql

        self._settings = settings or self._settings
        given = {**_SETTINGS, **{name.replace("_", "-"): value for name, value in self._settings.items()}}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._program), "--no-defaults", f"--datadir={self.data}", f"--tmpdir={self._temporary}", f"--port={self.port}",
                 f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid", *self._as_user,
                 *(f"--{name}={value}" for name, value in given.items())],
                stdout=log, stderr=log,
            )  # fmt: skip
        while True:
            try:
                self.run("create database if not exists shop", database=None)
            except pymysql.err.OperationalError:
                if self._process.poll() is not None:
                    pytest.fail((self.folder / "log").read_text(errors="replace"))
            else:
                return

    def connect(self, database: str | None = "shop", user: str = "root") -> Any:
        """A connection straight from the driver; it commits by itself."""
        import pymysql

        return pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, database=database, autocommit=True
        )

    def run(self, *statements: str, database: str | None = "shop") -> list[tuple[Any, ...]]:
        """Runs statements as root and gives the last one's rows."""
        rows: list[tuple[Any, ...]] = []
        with self.connect(database) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall())
        return rows

    def sessions(self) -> list[tuple[Any, ...]]:
        """Who is connected, but for who asks: user, command, statement."""
        return self.run(
            "select user, command, info from information_schema.processlist "
            "where id <> connection_id() and command <> 'Daemon' and user <> 'system user'"
        )

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()


def server(**settings: str) -> contextlib.AbstractContextManager[Server]:
    """A server of one's own that runs, with settings of its configuration file."""
    return own_server.running(Server, "pipeline-flow-mariadb-", settings)
