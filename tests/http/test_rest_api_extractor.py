"""1.0.8's name for reading a JSON API: its arguments, its results."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.core.registry import PluginRegistry
from pipeline_flow.errors import OriginRefused, SourceUnreadable, WrongArgument
from pipeline_flow.plugins.utility.pagination import IPaginationHandler
from tests.http.server import Reply

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench
    from tests.http.server import Asked, Server

HEADERS = {"X-Key": "k3y-of-home"}


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Between which seconds it would have waited each time."""
    found: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        found.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    return found


def read(bench: Bench, home: Server, **args: Any) -> Any:
    given = {"base_url": home.url, "endpoint": "users", "headers": HEADERS, **args}
    return asyncio.run(bench.plugin("extract", "rest_api_extractor", **given)())


@pytest.mark.parametrize(
    ("body", "rows"),
    [
        ({"data": [{"a": 1.5}, {"a": "x"}]}, [{"a": 1.5}, {"a": "x"}]),
        ({"a": 1}, [{"a": 1}]),
        ([{"a": 1}, {"a": 2}], [{"a": 1}, {"a": 2}]),
        ({"data": []}, []),
        ([], []),
        ("text", []),
    ],
)
def test_the_records_are_those_of_1_0_8_as_python_objects(
    body: Any, rows: Any, bench: Bench, home: Server
) -> None:
    home.route("/users", Reply(body))
    found = read(bench, home)
    assert found == rows
    assert all(
        type(value) is float for row in found if isinstance(row.get("a"), float) for value in row.values()
    )
    assert home.asked[0].headers["content-type"] == "application/json"
    assert home.asked[0].headers["accept"] == "application/json"
    assert home.asked[0].headers["x-key"] == "k3y-of-home"


def test_pages_follow_its_own_pagination_by_default(bench: Bench, home: Server) -> None:
    def reply(asked: Asked) -> Reply:
        page = int(asked.query.get("page", "1"))
        following = {"has_more": page < 3, "next_page": f"{home.url}/users?page={page + 1}"}
        return Reply({"data": [{"page": page}], "pagination": following})

    home.route("/users", reply)
    assert read(bench, home) == [{"page": 1}, {"page": 2}, {"page": 3}]


def test_a_handler_of_ones_own_is_called_with_the_parsed_body(bench: Bench, home: Server) -> None:
    class Own(IPaginationHandler, plugin_name="own_pages"):
        def __init__(self, plugin_id: str, last: int) -> None:
            super().__init__(plugin_id)
            self.last = last

        def __call__(self, response: dict[str, Any]) -> str | None:
            page: int = response["page"]
            return f"{home.url}/users?page={page + 1}" if page < self.last else None

    bench.catalog = type(bench)(bench.folder / "again").catalog
    home.route("/users", lambda asked: Reply({"page": int(asked.query.get("page", "1"))}))
    pagination = {"plugin": "own_pages", "id": "mine", "args": {"last": 2}}
    assert read(bench, home, pagination=pagination) == [{"page": 1}, {"page": 2}]


def test_any_status_is_tried_three_times(
    bench: Bench, home: Server, waits: list[tuple[float, float]]
) -> None:
    home.route("/users", Reply(status=404), Reply(status=500), Reply([{"a": 1}]))
    assert read(bench, home) == [{"a": 1}]
    assert waits == [(1.0, 4.0), (1.0, 4.0)]
    home.route("/users", Reply(status=404))
    with pytest.raises(SourceUnreadable, match="404"):
        read(bench, home)
    assert len(home.asked) == 6


def test_its_headers_belong_to_the_origin(bench: Bench, home: Server, other: Server) -> None:
    body = {"data": [{"a": 1}], "pagination": {"has_more": True, "next_page": f"{other.url}/users"}}
    home.route("/users", Reply(body))
    other.route("/users", Reply([{"a": 2}]))
    with pytest.raises(OriginRefused):
        read(bench, home)
    assert other.asked == []
    assert read(bench, home, allow_origins=[other.url]) == [{"a": 1}, {"a": 2}]
    assert "k3y-of-home" not in other.asked[0].everything()


def test_headers_must_be_there(bench: Bench, home: Server) -> None:
    assert (
        "at least 1 item"
        in bench.faults("extract", "rest_api_extractor", base_url="https://x", endpoint="y", headers={})[0]
    )
    from pipeline_flow.plugins.extract.rest_api_extractor import RestApiAsyncExtractor

    with pytest.raises(WrongArgument):
        RestApiAsyncExtractor("x", base_url=home.url, endpoint="y", headers={})
    made = RestApiAsyncExtractor("x", home.url, "y", HEADERS)
    default = PluginRegistry.get("page_based_pagination")
    assert type(made.pagination_handler) is default
