"""Tasks for newcomers: each folder holds one (`task.md`) and what a newcomer writes from the documentation alone.

The files are run as they are, by the command line, in a folder of their own; what comes out is compared.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline_flow.core import discovery
from pipeline_flow.errors import UnknownPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture
def task(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the task's folder, which is the working folder."""
    folder = tmp_path / "task"
    shutil.copytree(HERE / request.param, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(folder)
    return folder


def _task(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("task", [name], indirect=True)


def _python(*args: str) -> str:
    done = subprocess.run(
        [sys.executable, *args],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _run(*options: str) -> None:
    _python("-W", "error", "-m", "pipeline_flow", "run", "-q", "solution.yaml", *options)


def _rows(database: str, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(database, read_only=True) as connection:
        return connection.execute(query).fetchall()


def _needs(kind: str, name: str) -> None:
    try:
        discovery.catalog().find(kind, name)
    except UnknownPlugin as error:
        pytest.skip(f"{error}: the documentation says nothing of it yet")


@_task("csv_folder")
def test_a_folder_of_csv_files_into_duckdb_with_a_summary(task: Path) -> None:
    for _ in range(2):
        _run()
        assert _rows("weather.duckdb", "select count(*), min(station) from readings") == [(5, "007")]
        assert _rows("weather.duckdb", "from summary") == [
            ("007", 3, 0, -1.5, 2.0, 4.5),
            ("012", 2, 1, 2.25, 2.3, 2.25),
        ]


@_task("own_plugin")
def test_a_plugin_of_ones_own_with_a_test(task: Path) -> None:
    assert "2 passed" in _python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_rounded.py")
    _run()
    assert (task / "rounded.csv").read_text() == "article,price\ntea,0.12\ncake,0.38\n"


@_task("nested_orders")
def test_json_lines_with_nested_orders_into_two_tables(task: Path) -> None:
    _needs("extract", "jsonl")
    for _ in range(2):
        _run()
        orders = _rows("shop.duckdb", "select order_id, customer_id, customer_city from orders order by all")
        assert orders == [(1, "007", "Turku"), (2, "012", None), (3, "007", "Turku")]
        items = _rows("shop.duckdb", "select order_id, sku, price from order_items order by all")
        assert items == [(1, "jam", 9.0), (1, "tea", 5.5), (2, "tea", 5.25)]


MEASUREMENTS = [{"id": number, "station": f"{number % 7:03}", "value": number / 4} for number in range(1, 54)]
JSON_SERVER = "json-server@0.17.4"


@pytest.fixture(scope="session")
def json_server() -> Path:
    """The npm package, installed once into a folder of its own under build/."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("npm and node are not on this machine")
    folder = ROOT / "build" / "npm" / JSON_SERVER
    program = folder / "node_modules" / "json-server" / "lib" / "cli" / "bin.js"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        options = [
            "--prefix",
            str(folder),
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
            "--loglevel",
            "error",
        ]
        done = subprocess.run(
            [npm, "install", *options, JSON_SERVER], capture_output=True, text=True, check=False, timeout=240
        )
        if done.returncode != 0:
            pytest.skip(f"{JSON_SERVER} cannot be had: {done.stderr.strip().splitlines()[:1]}")
    return program


@pytest.fixture
def api(json_server: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server with the measurements."""
    (tmp_path / "db.json").write_text(json.dumps({"measurements": MEASUREMENTS}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [
            "node",
            json_server,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--read-only",
            tmp_path / "db.json",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if "Home" in line:
                break
        else:
            pytest.fail(f"json-server did not start: {''.join(said)}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
@_task("paged_api")
def test_a_paged_api_into_parquet(task: Path, request: pytest.FixtureRequest) -> None:
    _needs("extract", "rest_api")
    address = request.getfixturevalue("api")
    for _ in range(2):
        _run("--var", f"api={address}")
        assert pq.read_table(task / "measurements.parquet").to_pylist() == MEASUREMENTS
