"""PostgreSQL for tests: the server that runs, or one of a test's own that it may destroy."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.connectors import own_server

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = os.environ.get("PIPELINE_FLOW_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
_BINARIES = "/usr/lib/postgresql/*/bin"
USER = "postgres"
# A role belongs to the whole server, so two test runs at once, or one that was killed, must not share a name.
STRANGER = f"pipeline_flow_stranger_{secrets.token_hex(6)}"


def unavailable(reason: str) -> None:
    """Skips the test; where the tests have to be complete, fails it."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The URL of a database of one's own at the server, gone at the end."""
    name = f"pipeline_flow_{secrets.token_hex(6)}"
    try:
        with psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=5) as connection:
            connection.execute(f"create database {name} encoding 'UTF8' template template0")
    except psycopg.OperationalError as error:
        unavailable(f"no PostgreSQL at {SERVER} ({str(error).splitlines()[0]})")
    try:
        yield f"{SERVER}/{name}"
    finally:
        with psycopg.connect(f"{SERVER}/postgres", autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements, each in a transaction of its own, and gives the last one's rows."""
    rows: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Server:
    """A server of a test's own. The program does not run as root, so root becomes the user `postgres`."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/").glob(f"{_BINARIES.lstrip('/')}/initdb"))
        if not found:
            unavailable(f"no initdb in {_BINARIES}")
        self._binaries = found[-1].parent
        self._as_user = (
            ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
        )
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"
        if self._as_user:
            shutil.chown(folder, USER)
        self.call(
            "initdb", "-D", str(self.data), "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync", "--locale=C"
        )

    def call(self, program: str, *arguments: str) -> None:
        """Runs one of the server's programs."""
        subprocess.run(
            [*self._as_user, str(self._binaries / program), *arguments],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
        )

    def start(self, **settings: str) -> None:
        """Starts it and waits until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "fsync": "off",
            "unix_socket_directories": "",
            **settings,
        }
        text = " ".join(f"-c {name}={value}" for name, value in options.items())
        self.call("pg_ctl", "-D", str(self.data), "-w", "-l", str(self.folder / "log"), "-o", text, "start")

    def give(self, file: Path) -> None:
        """Makes a file the server's own, and nobody else's."""
        file.chmod(0o600)
        if self._as_user:
            shutil.chown(file, USER, USER)

    def give_folder(self, folder: Path) -> None:
        """Makes a folder the server's own."""
        folder.chmod(0o700)
        if self._as_user:
            shutil.chown(folder, USER, USER)

    def kill(self) -> None:
        """Ends it as a power cut would: all its processes at once."""
        parent = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False
        )
        processes = (parent, *map(int, listed.stdout.split()))
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while any(_is_alive(process) for process in processes):
            pass

    def restart(self) -> None:
        """Starts it again after :meth:`kill`."""
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self.start()

    def stop(self) -> None:
        """Ends it, if it still runs."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self.call("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")


def server(**settings: str) -> contextlib.AbstractContextManager[Server]:
    """A server of one's own that runs, with settings of its configuration file."""
    return own_server.running(Server, "pipeline-flow-postgres-", settings)
