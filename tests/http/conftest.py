"""Two servers, and a client that does not really wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.http.client import Client, Settings
from pipeline_flow.http.paging import Request
from pipeline_flow.secret import Secret
from tests.connectors.conftest import Bench
from tests.http.server import server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline_flow.http.client import Answer
    from tests.http.server import Server

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def home() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def other() -> Iterator[Server]:
    with server() as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.chdir(tmp_path)
    made = Bench(tmp_path / "run-folder")
    yield made
    made.close()


class Asking:
    """Asks with a client of its own each time; ``slept`` is how long it would have waited."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def client(self, base_url: str, **settings: Any) -> Client:
        headers = {name: Secret(value) for name, value in settings.pop("headers", {}).items()}
        return Client(
            self.bench.context(),
            Settings(base_url, headers=headers, **settings),
            sleep=self.sleep,
            now=lambda: NOW,
        )

    def fetch(
        self, url: str, *, base_url: str = "", request: Request | None = None, **settings: Any
    ) -> Answer:
        limit = settings.pop("limit", 1_000_000)

        async def run() -> Answer:
            async with self.client(base_url or url, **settings) as client:
                return await client.fetch(request or Request(url), limit=limit)

        return asyncio.run(run())


@pytest.fixture
def asking(bench: Bench) -> Asking:
    return Asking(bench)
