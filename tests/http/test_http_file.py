"""The source `http_file`: what lies on a server is read by any reader of files."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import threading
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_flow.errors import ConfigError, OriginRefused, SourceMalformed, SourceUnreadable
from tests.http.server import Reply

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench
    from tests.http.server import Asked, Server

CSV = b"id,name\n1,a\n2,b\n"
ROWS = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
READER = {"plugin": "csv"}
GZ = {"Content-Encoding": "gzip"}


def read(bench: Bench, url: Any, **args: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = bench.extract("http_file", url=url, **{"reader": READER, **args}).to_pylist()
    assert bench.leftovers() == []
    assert list(bench.folder.glob("http-*")) == []
    return rows


def test_a_file_is_read_by_the_named_plugin_with_its_arguments(bench: Bench, home: Server) -> None:
    home.route("/orders.csv", Reply(CSV.replace(b",", b"~")))
    reader = {"plugin": "csv", "args": {"delimiter": "~", "columns": {"id": "VARCHAR"}}}
    assert read(bench, f"{home.url}/orders.csv", reader=reader)[0] == {"id": "1", "name": "a"}
    assert home.asked[0].headers["accept"] == "*/*"
    assert home.asked[0].headers["accept-encoding"] == "identity"


def test_parquet_and_json_lines_too(bench: Bench, home: Server) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    home.route("/a.parquet", Reply(sink.getvalue().to_pybytes()))
    home.route("/a.jsonl", Reply(b'{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}\n'))
    assert read(bench, f"{home.url}/a.parquet", reader={"plugin": "parquet"}) == ROWS
    assert read(bench, f"{home.url}/a.jsonl", reader={"plugin": "jsonl"}) == ROWS


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/a.csv", CSV, {}),
        ("/a.csv", gzip.compress(CSV), GZ),
        ("/a.csv.gz", gzip.compress(CSV), {}),
        ("/a.csv.gz", gzip.compress(CSV), GZ),  # servers say so of files that are packed themselves
        ("/a.csv.gz", gzip.compress(gzip.compress(CSV)), GZ),
        ("/a.csv", pa.compress(CSV, "zstd", asbytes=True), {"Content-Encoding": "zstd"}),
    ],
)
def test_packing_of_the_file_stays_and_packing_of_the_way_is_undone(
    path: str, body: bytes, headers: dict[str, str], bench: Bench, home: Server
) -> None:
    home.route(path, Reply(body, headers=headers))
    original = gzip.compress(CSV, mtime=0) if path.endswith(".gz") else CSV
    assert read(bench, home.url + path) == ROWS
    home.route(path, Reply(original, headers={}))
    checksum = f"sha256:{hashlib.sha256(original).hexdigest()}"
    assert read(bench, home.url + path, checksum=checksum) == ROWS


def test_packing_that_is_not_what_the_server_says_is_named(bench: Bench, home: Server) -> None:
    home.route("/a.csv", Reply(CSV, headers=GZ))
    with pytest.raises(SourceMalformed, match="/a.csv is not packed as its server says"):
        read(bench, f"{home.url}/a.csv")
    home.route("/a.csv", Reply(CSV, headers={"Content-Encoding": "secret-sauce"}))
    with pytest.raises(SourceMalformed, match="packed as 'secret-sauce'"):
        read(bench, f"{home.url}/a.csv")
    assert bench.leftovers() == []


def test_several_files_are_read_in_their_order_and_named_by_their_urls(bench: Bench, home: Server) -> None:
    home.route("/one/data.jsonl", Reply(b'{"id": 1}\n'))
    home.route("/two/data.jsonl", Reply(b'{"id": 2}\n'))
    urls = [f"{home.url}/two/data.jsonl?token=abcdefgh", f"{home.url}/one/data.jsonl"]
    found = read(bench, urls, reader={"plugin": "jsonl", "args": {"file_column": "file"}})
    assert found == [
        {"id": 2, "file": f"{home.url}/two/data.jsonl?token=***"},
        {"id": 1, "file": f"{home.url}/one/data.jsonl"},
    ]


def test_errors_speak_of_the_url_and_the_line(bench: Bench, home: Server) -> None:
    rows = b"".join(b'{"id": %d}\n' % number for number in range(30_000))
    home.route("/a.jsonl", Reply(rows + b'{"id": "x"}\n'))
    with pytest.raises(SourceMalformed, match=r"http://127.0.0.1:\d+/a.jsonl, line 30001") as caught:
        read(bench, f"{home.url}/a.jsonl", reader={"plugin": "jsonl"})
    assert "run-folder" not in str(caught.value)
    home.route("/a.csv", Reply(b""))
    with pytest.raises(SourceMalformed, match=r"http://127.0.0.1:\d+/a.csv is empty"):
        read(bench, f"{home.url}/a.csv")
    assert bench.leftovers() == []


def test_a_file_that_is_not_the_expected_one_is_refused(bench: Bench, home: Server) -> None:
    home.route("/a.csv", Reply(CSV))
    good = f"sha256:{hashlib.sha256(CSV).hexdigest()}"
    assert read(bench, f"{home.url}/a.csv", checksum=good.replace("a", "A").replace("shA", "sha")) == ROWS
    with pytest.raises(SourceMalformed, match=f"it has {good}"):
        read(bench, f"{home.url}/a.csv", checksum=f"sha256:{'0' * 64}")
    with pytest.raises(ConfigError, match="`checksum` names 1 files, and `url` 2"):
        read(bench, [f"{home.url}/a.csv"] * 2, checksum=good)
    assert bench.leftovers() == []


def test_a_file_that_is_too_large_is_refused_packed_or_not(bench: Bench, home: Server) -> None:
    home.route("/a.csv", Reply(CSV))
    home.route("/c.csv", Reply(gzip.compress(CSV + b" " * 100_000), headers=GZ))
    for path, limit in (("/a.csv", 15), ("/c.csv", 90_000)):
        with pytest.raises(SourceMalformed, match=f"larger than {limit:,} bytes"):
            read(bench, home.url + path, max_bytes=limit)
    assert bench.leftovers() == []


def test_a_busy_server_is_asked_again(bench: Bench, home: Server) -> None:
    home.route("/a.csv", Reply(status=503, headers={"Retry-After": "0"}), Reply(CSV))
    assert read(bench, f"{home.url}/a.csv") == ROWS


def test_credentials_reach_no_other_origin(bench: Bench, home: Server, other: Server) -> None:
    home.route("/a.csv", Reply(status=302, headers={"Location": f"{other.url}/signed.csv"}))
    other.route("/signed.csv", Reply(CSV))
    args: dict[str, Any] = {"auth": {"type": "bearer", "token": "t0ken-of-home"}}
    with pytest.raises(OriginRefused):
        read(bench, f"{home.url}/a.csv", **args)
    assert other.asked == []
    assert read(bench, f"{home.url}/a.csv", **args, allow_origins=[other.url]) == ROWS
    assert "t0ken" in home.asked[0].everything()
    assert "t0ken" not in other.asked[0].everything()
    with pytest.raises(ConfigError, match="belong to one origin"):
        read(bench, [f"{home.url}/a.csv", f"{other.url}/signed.csv"], **args)


def test_files_of_several_servers_need_no_list_where_nothing_is_secret(
    bench: Bench, home: Server, other: Server
) -> None:
    home.route("/a.csv", Reply(CSV))
    other.route("/b.csv", Reply(CSV))
    assert read(bench, [f"{home.url}/a.csv", f"{other.url}/b.csv"]) == ROWS + ROWS


def test_a_cancelled_download_leaves_no_file(bench: Bench, home: Server) -> None:
    arrived = threading.Event()

    def reply(asked: Asked) -> Reply:
        if asked.path == "/b.csv":
            arrived.set()
            home.stopped.wait()
        return Reply(CSV)

    home.route("*", reply)

    async def run() -> None:
        urls = [f"{home.url}/a.csv", f"{home.url}/b.csv"]
        task = asyncio.create_task(bench.plugin("extract", "http_file", url=urls, reader=READER)())
        await asyncio.to_thread(arrived.wait)
        assert bench.leftovers() == ["1-a.csv"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    home.stopped.set()
    assert bench.leftovers() == []


def test_a_missing_file_is_named(bench: Bench, home: Server) -> None:
    with pytest.raises(SourceUnreadable, match="/nowhere.csv does not exist: 404"):
        read(bench, f"{home.url}/nowhere.csv")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"url": "https://x/a.csv"}, "the argument `reader` is missing (an extract plugin)"),
        ({"url": "https://x/a.csv", "reader": {"plugin": "cvs"}}, "no extract plugin is called `cvs`"),
        (
            {"url": "https://x/a.csv", "reader": {"plugin": "csv", "args": {"path": "b"}}},
            "`path` is filled in here",
        ),
        (
            {"url": "https://x/a.csv", "reader": {"plugin": "csv", "args": {"skp": 1}}},
            "unknown argument `skp`",
        ),
        ({"url": "https://x/a.csv", "reader": {"plugin": "csv", "args": {"skip": -1}}}, "`skip`"),
        ({"url": "https://x/a.csv", "reader": {"plugin": "sql"}}, "`sql` cannot stand here"),
        ({"url": "https://x/a.csv", "reader": "csv"}, "write {plugin: name, args: {…}}"),
        ({"url": [], "reader": READER}, "at least one file"),
        ({"url": "https://x/a.csv", "reader": READER, "checksum": "md5:x"}, "64 hexadecimal digits"),
    ],
)
def test_mistakes_are_found_before_anything_runs(bench: Bench, args: dict[str, Any], says: str) -> None:
    faults = bench.faults("extract", "http_file", **args)
    assert any(says in fault for fault in faults), faults


def test_a_right_configuration_has_no_faults(bench: Bench) -> None:
    assert bench.faults("extract", "http_file", url="https://x/a.csv", reader=READER) == []
