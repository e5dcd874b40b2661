"""The source `rest_api`: real pages from a real server become rows."""

from __future__ import annotations

import asyncio
import json
import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.data import BatchStream
from pipeline_flow.errors import OriginRefused, RetryableError, SourceMalformed, SourceUnreadable
from tests.http.server import Reply

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench
    from tests.http.server import Asked, Server

ROWS = [{"id": number, "name": f"n{number}"} for number in range(7)]
TOKEN = "t0ken-of-home"


def read(bench: Bench, home: Server, **args: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = bench.extract("rest_api", base_url=home.url, **args).to_pylist()
    assert bench.leftovers() == []
    return rows


def numbered(asked: Asked) -> int:
    return int(asked.query.get("page", "1"))


def slices(asked: Asked, size: int = 3) -> list[dict[str, Any]]:
    first = (numbered(asked) - 1) * size
    return ROWS[first : first + size]


# ---------------------------------------------------------------------------------------------- pagination


def test_next_link_follows_links_in_the_body_relative_ones_too(bench: Bench, home: Server) -> None:
    home.route(
        "/v1/things",
        lambda asked: Reply(
            {
                "things": slices(asked),
                "paging": {
                    "next": [f"{home.url}/v1/things?page=2", "things?page=3", None][numbered(asked) - 1]
                },
            }
        ),
    )
    pagination = {"plugin": "next_link", "args": {"path": "paging.next"}}
    found = bench.extract("rest_api", base_url=f"{home.url}/v1/", endpoint="/things", pagination=pagination)
    assert found.to_pylist() == ROWS
    assert home.paths() == ["/v1/things"] * 3


def test_link_header_follows_rel_next_as_json_server_0_17_gives_it(bench: Bench, home: Server) -> None:
    """json-server 0.17: `_page`, `_limit`, a bare list, `Link` with first, prev, next and last."""

    def reply(asked: Asked) -> Reply:
        page, size = int(asked.query["_page"]), int(asked.query["_limit"])
        url = f"{home.url}/things?_page={{}}&_limit={size}"
        links = [f'<{url.format(1)}>; rel="first"', f'<{url.format(3)}>; rel="last"']
        if page < 3:
            links.insert(1, f'<{url.format(page + 1)}>; title="a, b; rel=x"; rel="next"')
        return Reply(ROWS[(page - 1) * size : page * size], headers={"Link": ", ".join(links)})

    home.route("/things", reply)
    params = {"_page": 1, "_limit": 3}
    assert read(bench, home, endpoint="things", params=params, pagination={"plugin": "link_header"}) == ROWS
    assert len(home.asked) == 3
    by_page = {"plugin": "page", "args": {"parameter": "_page", "size_parameter": "_limit", "size": 3}}
    assert read(bench, home, endpoint="things", pagination=by_page) == ROWS
    assert [asked.query["_page"] for asked in home.asked[3:]] == ["1", "2", "3", "4"]


@pytest.mark.parametrize(
    "pagination",
    [
        {
            "plugin": "page",
            "args": {"parameter": "_page", "size_parameter": "_per_page", "size": 3, "total_pages": "pages"},
        },
        {"plugin": "cursor", "args": {"path": "next", "parameter": "_page"}},
    ],
)
def test_pages_as_json_server_1_gives_them(bench: Bench, home: Server, pagination: Any) -> None:
    """json-server 1: `next` is a number, and a page past the end is the last one."""

    def reply(asked: Asked) -> Reply:
        page = min(3, int(asked.query.get("_page", "1")))
        following = page + 1 if page < 3 else None
        return Reply({"next": following, "pages": 3, "items": 7, "data": ROWS[(page - 1) * 3 : page * 3]})

    home.route("/things", reply)
    assert read(bench, home, endpoint="things", pagination=pagination) == ROWS
    assert len(home.asked) == 3


def test_page_stops_at_the_first_empty_page(bench: Bench, home: Server) -> None:
    home.route("/", lambda asked: Reply(slices(asked)))
    pagination = {"plugin": "page", "args": {"size_parameter": "size", "size": 3}}
    assert read(bench, home, params={"status": "open"}, pagination=pagination) == ROWS
    assert [asked.query for asked in home.asked] == [
        {"status": "open", "size": "3", "page": str(number)} for number in (1, 2, 3, 4)
    ]


def test_a_server_that_does_not_know_the_parameter_is_found_out(bench: Bench, home: Server) -> None:
    home.route("/", Reply(ROWS))
    with pytest.raises(SourceMalformed, match="page 2 is the same as the page before"):
        read(bench, home, pagination={"plugin": "page", "args": {"parameter": "pge"}})
    assert len(home.asked) == 2
    assert bench.leftovers() == []


def test_offset_goes_on_from_what_came_so_that_a_server_with_smaller_pages_loses_nothing(
    bench: Bench, home: Server
) -> None:
    def reply(asked: Asked) -> Reply:
        first = int(asked.query["skip"])
        return Reply({"total": len(ROWS), "items": ROWS[first : first + min(2, int(asked.query["limit"]))]})

    home.route("/", reply)
    args: dict[str, Any] = {"parameter": "skip", "limit": 500}
    assert read(bench, home, pagination={"plugin": "offset", "args": args}) == ROWS
    assert [asked.query["skip"] for asked in home.asked] == ["0", "2", "4", "6", "7"]
    assert read(bench, home, pagination={"plugin": "offset", "args": {**args, "total": "total"}}) == ROWS
    assert [asked.query["skip"] for asked in home.asked[5:]] == ["0", "2", "4", "6"]


def test_cursor_keeps_long_numbers_and_stops_where_there_is_no_more(bench: Bench, home: Server) -> None:
    pages = {
        None: (ROWS[:3], 12345678901234567890123, True),
        "12345678901234567890123": (ROWS[3:6], 0.1234567890123456789, True),
        "0.1234567890123456789": (ROWS[6:], "more", False),
    }

    def reply(asked: Asked) -> Reply:
        rows, cursor, more = pages[asked.query.get("after")]
        body = json.dumps({"data": rows, "meta": {"c": cursor, "more": more}})
        return Reply(body.replace("0.12345678901234568", "0.1234567890123456789").encode())

    home.route("/", reply)
    args = {"path": "meta.c", "parameter": "after", "has_more": "meta.more"}
    assert read(bench, home, pagination={"plugin": "cursor", "args": args}) == ROWS
    assert len(home.asked) == 3


def test_hateoas_and_the_page_based_pagination_of_1_0_8(bench: Bench, home: Server) -> None:
    home.route(
        "/hateoas",
        lambda asked: Reply(
            {
                "data": slices(asked),
                "_links": {} if numbered(asked) == 3 else {"next": {"href": f"?page={numbered(asked) + 1}"}},
            }
        ),
    )
    assert read(bench, home, endpoint="hateoas", pagination={"plugin": "hateoas_pagination"}) == ROWS
    home.route(
        "/old",
        lambda asked: Reply(
            {
                "data": slices(asked),
                "pagination": {
                    "has_more": numbered(asked) < 3,
                    "next_page": f"{home.url}/old?page={numbered(asked) + 1}",
                },
            }
        ),
    )
    assert read(bench, home, endpoint="old", pagination={"plugin": "page_based_pagination"}) == ROWS


def test_a_post_sends_its_body_and_pages_within_it(bench: Bench, home: Server) -> None:
    def reply(asked: Asked) -> Reply:
        body = json.loads(asked.body)
        page = body["paging"]["page"]
        return Reply({"results": ROWS[(page - 1) * 3 : page * 3]})

    home.route("/search", reply)
    found = read(
        bench,
        home,
        endpoint="search",
        method="POST",
        body={"filter": {"status": "open"}, "paging": {"order": "id"}},
        pagination={"plugin": "page", "args": {"parameter": "paging.page", "in": "body"}},
    )
    assert found == ROWS
    assert {asked.method for asked in home.asked} == {"POST"}
    assert json.loads(home.asked[1].body) == {
        "filter": {"status": "open"},
        "paging": {"order": "id", "page": 2},
    }
    assert home.asked[0].headers["content-type"] == "application/json"


def test_a_link_that_leads_back_is_an_error_and_no_endless_run(bench: Bench, home: Server) -> None:
    home.route("/a", Reply({"data": ROWS, "next": "/b"}))
    home.route("/b", Reply({"data": ROWS, "next": "/a"}))
    with pytest.raises(SourceMalformed, match="page 2 leads to a page that was read already: .*/a"):
        read(bench, home, endpoint="a", pagination={"plugin": "next_link"})
    home.route("/b", Reply({"data": ROWS, "next": "/b"}))
    with pytest.raises(SourceMalformed, match="page 1 leads to a page that was read already"):
        read(bench, home, endpoint="b", pagination={"plugin": "next_link"})
    assert bench.leftovers() == []


def test_max_pages_stops_and_says_that_there_was_more(bench: Bench, home: Server) -> None:
    home.route("/", lambda asked: Reply(slices(asked)))
    assert read(bench, home, max_pages=2, pagination={"plugin": "page"}) == ROWS[:6]
    assert bench.notices == ["there are more pages; 2 were read, as `max_pages` says"]


def test_a_single_page_that_seems_to_lead_on_is_told_of(bench: Bench, home: Server) -> None:
    home.route("/a", Reply(ROWS, headers={"Link": '</a?page=2>; rel="next"'}))
    home.route("/b", Reply({"data": ROWS, "links": {"next": "/b?page=2"}}))
    read(bench, home, endpoint="a")
    read(bench, home, endpoint="b")
    assert "pagination: {plugin: link_header}" in bench.notices[0]
    assert "`links.next` in the answer" in bench.notices[1]


# ---------------------------------------------------------------------------------------------- rows


def test_values_are_exactly_what_the_server_wrote(bench: Bench, home: Server) -> None:
    home.route(
        "/",
        Reply(
            b'{"data": [\n {"long": 0.1234567890123456789, "big": 1180591620717411303424,\n  "zip": "007", "t": null}, '
            b'{"long": 1.5, "big": 2, "zip": "", "t": "\xc3\xa4\\n", "deep": {"a": [1, 2]}}]}'
        ),
    )
    found = read(bench, home)
    assert found[0]["long"] == Decimal("0.1234567890123456789")
    assert found[0]["big"] == Decimal(2**70)
    assert (found[0]["zip"], found[0]["t"]) == ("007", None)
    assert (found[1]["zip"], found[1]["t"], found[1]["deep"]) == ("", "ä\n", {"a": [1, 2]})


def test_types_hold_over_all_pages_and_declared_ones_go_before(bench: Bench, home: Server) -> None:
    home.route("/", lambda asked: Reply([[{"v": 1}], [{"v": 1.5}], [{"v": "x"}], []][numbered(asked) - 1]))
    pagination = {"plugin": "page"}
    assert [str(row["v"]) for row in read(bench, home, pagination=pagination)] == ["1", "1.5", '"x"']
    with pytest.raises(SourceMalformed, match=r"http://127.0.0.1:\d+, page 3, record 1") as caught:
        bench.extract("rest_api", base_url=home.url, pagination=pagination, columns={"v": "DOUBLE"})
    assert "run-folder" not in str(caught.value) + caught.value.hint


def test_no_records_are_no_rows(bench: Bench, home: Server) -> None:
    home.route("/empty", Reply([]))
    home.route("/none", Reply(b"", status=204))
    home.route("/null", Reply({"data": None}))
    assert read(bench, home, endpoint="empty") == []
    assert read(bench, home, endpoint="none") == []
    assert read(bench, home, endpoint="null", data_path="data") == []
    table = bench.extract("rest_api", base_url=home.url, endpoint="empty", columns={"id": "BIGINT"})
    assert table.column_names == ["id"]


def test_the_path_found_on_the_first_page_holds_for_the_others(bench: Bench, home: Server) -> None:
    home.route(
        "/",
        lambda asked: Reply(
            [{"data": ROWS[:3]}, {"data": ROWS[3:], "warnings": [{"w": 1}]}, {"data": []}][
                numbered(asked) - 1
            ]
        ),
    )
    assert read(bench, home, pagination={"plugin": "page"}) == ROWS


def test_an_object_is_one_row_where_the_path_leads_to_one(bench: Bench, home: Server) -> None:
    home.route("/", Reply({"id": 1, "name": "x"}))
    assert read(bench, home, data_path="$") == [{"id": 1, "name": "x"}]
    with pytest.raises(SourceMalformed, match="no list of records"):
        read(bench, home)


# ---------------------------------------------------------------------------------------------- trouble


def test_one_busy_moment_does_not_start_the_pages_over(
    bench: Bench, home: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.route("/", lambda asked: Reply(slices(asked)))
    answered = home.routes["/"]
    hiccups = [True]

    def reply(asked: Asked) -> Reply:
        if numbered(asked) == 2 and hiccups:
            hiccups.clear()
            return Reply(status=429, headers={"Retry-After": "0"})
        return answered(asked)

    home.route("/", reply)
    assert read(bench, home, pagination={"plugin": "page"}) == ROWS
    assert [numbered(asked) for asked in home.asked] == [1, 2, 2, 3, 4]


def test_credentials_reach_no_other_origin_through_a_next_link(
    bench: Bench, home: Server, other: Server
) -> None:
    home.route("/", Reply({"data": ROWS[:3], "next": f"{other.url}/rest?appid={TOKEN}"}))
    other.route("/rest", Reply({"data": ROWS[3:], "next": None}))
    args: dict[str, Any] = {
        "auth": {"type": "api_key", "name": "appid", "value": TOKEN, "in": "query"},
        "headers": {"X-Tenant": "shop-of-home"},
        "pagination": {"plugin": "next_link"},
    }
    with pytest.raises(OriginRefused, match="next page leads from"):
        read(bench, home, **args)
    assert other.asked == []
    assert read(bench, home, **args, allow_origins=[other.url]) == ROWS
    (asked,) = other.asked
    assert TOKEN not in asked.everything()
    assert "shop-of-home" not in asked.everything()
    assert home.asked[-1].query == {"appid": TOKEN}
    assert home.asked[-1].headers["x-tenant"] == "shop-of-home"


def test_what_is_no_json_is_shown_by_its_beginning(bench: Bench, home: Server) -> None:
    page = f"<html>\x1b[2J please log in, {TOKEN}</html>"
    home.route("/", Reply(page.encode(), headers={"Content-Type": "text/html"}))
    auth = {"type": "bearer", "token": TOKEN}
    with pytest.raises(
        SourceMalformed, match=r"does not answer with JSON \(text/html\).*<html> \[2J please"
    ) as caught:
        read(bench, home, auth=auth)
    assert TOKEN not in str(caught.value)
    home.route("/", Reply(b""))
    with pytest.raises(SourceMalformed, match="it is empty"):
        read(bench, home)


def test_a_huge_page_is_refused(bench: Bench, home: Server) -> None:
    home.route("/", Reply([{"a": "x" * 5000}]))
    with pytest.raises(SourceMalformed, match="more than 4,096 bytes"):
        read(bench, home, max_page_bytes=4096)
    assert bench.leftovers() == []


def test_a_failed_run_leaves_no_file(bench: Bench, home: Server) -> None:
    home.route("/", lambda asked: Reply(slices(asked), status=200 if numbered(asked) < 3 else 404))
    with pytest.raises(SourceUnreadable, match="404"):
        read(bench, home, pagination={"plugin": "page"})
    assert bench.leftovers() == []
    home.route("/", Reply(status=503, headers={"Retry-After": "0"}))
    with pytest.raises(RetryableError, match="tried 2 times"):
        read(bench, home, attempts=2)


def test_a_cancelled_run_leaves_no_file(bench: Bench, home: Server) -> None:
    arrived = threading.Event()

    def reply(asked: Asked) -> Reply:
        if numbered(asked) == 2:
            arrived.set()
            home.stopped.wait()
        return Reply(slices(asked))

    home.route("/", reply)

    async def run() -> None:
        plugin = bench.plugin("extract", "rest_api", base_url=home.url, pagination={"plugin": "page"})
        task = asyncio.create_task(plugin())
        await asyncio.to_thread(arrived.wait)
        assert len(bench.leftovers()) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    home.stopped.set()
    assert bench.leftovers() == []


def test_a_stream_closed_half_way_leaves_no_file(bench: Bench, home: Server) -> None:
    home.route("/", Reply(ROWS))

    async def run() -> None:
        stream = await bench.plugin("extract", "rest_api", base_url=home.url)()
        assert isinstance(stream, BatchStream)
        await stream.aclose()

    asyncio.run(run())
    assert bench.leftovers() == []


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({}, "`base_url` is missing"),
        ({"base_url": "https://x", "endpoint": "https://y/z"}, "a path below `base_url`"),
        ({"base_url": "https://x", "body": {"a": 1}}, "`body` needs method: POST"),
        ({"base_url": "https://x", "headers": {"a b": "c"}}, "cannot be the name of a header"),
        ({"base_url": "https://x", "headers": {"a": "b\r\nc: d"}}, "characters that a header cannot hold"),
        ({"base_url": "https://x", "headers": {"Host": "y"}}, "set by the client itself"),
        ({"base_url": "https://x", "auth": {"type": "bearer"}}, "`token` is missing"),
        ({"base_url": "https://x", "auth": {"type": "oauth"}}, "{type: bearer, token} or {type: basic"),
        (
            {"base_url": "https://x", "auth": {"type": "bearer", "token": "x", "tokn": "y"}},
            "`tokn` is not one",
        ),
        ({"base_url": "https://x", "rate_limit": "10"}, "such as 10/s"),
        ({"base_url": "https://x", "rate_limit": "0/s"}, "such as 10/s"),
        ({"base_url": "https://x", "attempts": 0}, "greater than or equal to 1"),
        ({"base_url": "https://x", "pagination": {"plugin": "pge"}}, "no pagination plugin is called `pge`"),
        ({"base_url": "https://x", "pagination": {"plugin": "cursor"}}, "the argument `path` is missing"),
        (
            {"base_url": "https://x", "pagination": {"plugin": "page", "args": {"strt": 0}}},
            "unknown argument `strt`",
        ),
        ({"base_url": "https://x", "pagination": "page"}, "write {plugin: name, args: {…}}"),
    ],
)
def test_mistakes_are_found_before_anything_runs(bench: Bench, args: dict[str, Any], says: str) -> None:
    faults = bench.faults("extract", "rest_api", **args)
    assert any(says in fault for fault in faults), faults
    assert not any("b\\r\\nc" in fault for fault in faults)
