"""Credentials belong to one origin. What the second server received is the proof."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import OriginRefused, WrongArgument
from pipeline_flow.http import link
from pipeline_flow.http.auth import ApiKey, Basic, Bearer
from pipeline_flow.http.paging import Request
from pipeline_flow.secret import Secret
from tests.http.server import Reply

if TYPE_CHECKING:
    from tests.http.conftest import Asking
    from tests.http.server import Server

TOKEN = "t0ken-of-home"
KINDS: dict[str, dict[str, Any]] = {
    "bearer": {"auth": Bearer(type="bearer", token=Secret(TOKEN))},
    "basic": {"auth": Basic(type="basic", username=Secret("me"), password=Secret(TOKEN))},
    "key in a header": {"auth": ApiKey.model_validate({"type": "api_key", "name": "X-Key", "value": TOKEN})},
    "key in the query": {
        "auth": ApiKey.model_validate({"type": "api_key", "name": "appid", "value": TOKEN, "in": "query"})
    },
    "header": {"headers": {"X-Session": TOKEN, "Authorization": f"Token {TOKEN}"}},
    "cookie header": {"headers": {"Cookie": f"session={TOKEN}"}},
    "user in the URL": {},
}
SENT = {
    "bearer": ("authorization", f"Bearer {TOKEN}"),
    "basic": ("authorization", "Basic bWU6dDBrZW4tb2YtaG9tZQ=="),
    "key in a header": ("x-key", TOKEN),
    "header": ("authorization", f"Token {TOKEN}"),
    "cookie header": ("cookie", f"session={TOKEN}"),
    "user in the URL": ("authorization", "Basic bWU6dDBrZW4tb2YtaG9tZQ=="),
}


def with_user(url: str, kind: str) -> str:
    return url.replace("http://", f"http://me:{TOKEN}@") if kind == "user in the URL" else url


@pytest.mark.parametrize("kind", KINDS)
def test_the_own_origin_gets_the_credentials_also_behind_a_redirect_and_a_link(
    kind: str, asking: Asking, home: Server
) -> None:
    home.route("/a", Reply(status=302, headers={"Location": "/b"}))
    home.route("/b", Reply([1]))

    async def run() -> None:
        async with asking.client(with_user(f"{home.url}/a", kind), **KINDS[kind]) as client:
            answer = await client.fetch(Request("/a"))
            assert TOKEN not in answer.url
            await client.fetch(Request(f"{home.url}/b?page=2"), page_url=answer.url)

    asyncio.run(run())
    assert home.paths() == ["/a", "/b", "/b"]
    for asked in home.asked:
        if kind == "key in the query":
            assert asked.query["appid"] == TOKEN
        else:
            name, value = SENT[kind]
            assert asked.headers[name] == value


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_origin_is_refused(
    kind: str, status: int, asking: Asking, home: Server, other: Server
) -> None:
    home.route("*", Reply(status=status, headers={"Location": f"{other.url}/b?appid={TOKEN}"}))
    with pytest.raises(OriginRefused, match="redirect leads from .* to another origin") as caught:
        asking.fetch("/a", base_url=with_user(home.url, kind), **KINDS[kind])
    assert other.asked == []
    assert f"allow_origins: [{other.url}]" in caught.value.hint
    assert TOKEN not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["redirect", "link"])
def test_an_allowed_origin_is_asked_without_credentials(
    kind: str, way: str, asking: Asking, home: Server, other: Server
) -> None:
    target = f"{other.url}/b?page=2&appid={TOKEN}"
    home.route("/a", Reply(status=307, headers={"Location": target}))
    other.route("/b", Reply([1]))

    async def run() -> None:
        client = asking.client(with_user(home.url, kind), allow_origins=[other.url], **KINDS[kind])
        async with client:
            request = Request("/a") if way == "redirect" else Request(target)
            await client.fetch(request, page_url=home.url)

    asyncio.run(run())
    (asked,) = other.asked
    assert asked.query["page"] == "2"
    assert "authorization" not in asked.headers
    assert "cookie" not in asked.headers
    assert TOKEN not in asked.everything()


def test_cookies_stay_with_the_server_that_set_them(asking: Asking, home: Server, other: Server) -> None:
    """Both are 127.0.0.1: to a cookie jar, which does not look at ports, they are one."""
    home.route("/a", Reply([1], headers={"Set-Cookie": "session=of-home; Path=/"}))
    other.route("*", Reply([1], headers={"Set-Cookie": "session=of-other; Path=/"}))

    async def run() -> None:
        async with asking.client(home.url, allow_origins=[other.url]) as client:
            await client.fetch(Request("/a"))
            await client.fetch(Request(f"{other.url}/b"))
            await client.fetch(Request("/a"))
            await client.fetch(Request(f"{other.url}/b"))

    asyncio.run(run())
    assert [asked.headers.get("cookie") for asked in home.asked] == [None, "session=of-home"]
    assert [asked.headers.get("cookie") for asked in other.asked] == [None, "session=of-other"]


def test_credentials_among_the_params_do_not_leave_in_a_link_that_repeats_them(
    asking: Asking, home: Server, other: Server
) -> None:
    other.route("/b", Reply([1]))

    async def run() -> None:
        params = {"access_token": TOKEN, "size": 5}
        async with asking.client(home.url, allow_origins=[other.url], params=params) as client:
            await client.fetch(Request(f"{other.url}/b?access_token={TOKEN}&size=5&again={TOKEN}"))

    asyncio.run(run())
    assert other.asked[0].query == {"size": "5"}


def test_a_body_goes_to_no_other_origin(asking: Asking, home: Server, other: Server) -> None:
    home.route("/a", Reply(status=307, headers={"Location": f"{other.url}/b"}))
    request = Request("/a", "POST", body={"password": "x"})
    with pytest.raises(OriginRefused, match="a request with a body"):
        asking.fetch("", base_url=home.url, request=request, allow_origins=[other.url])
    assert other.asked == []


def test_a_user_name_in_a_link_is_not_sent(asking: Asking, home: Server) -> None:
    home.route("/a", Reply(status=302, headers={"Location": home.url.replace("//", "//evil:evil@") + "/b"}))
    home.route("/b", Reply([1]))
    asking.fetch("/a", base_url=home.url)
    assert "authorization" not in home.asked[1].headers


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirected_post_becomes_a_get_without_its_body(status: int, asking: Asking, home: Server) -> None:
    home.route("/a", Reply(status=status, headers={"Location": "/b"}))
    home.route("/b", Reply([1]))
    asking.fetch("", base_url=home.url, request=Request("/a", "POST", body={"x": 1}))
    assert [(asked.method, asked.body) for asked in home.asked] == [("POST", b'{"x": 1}'), ("GET", b"")]


def test_redirects_in_a_circle_end(asking: Asking, home: Server) -> None:
    home.route("*", Reply(status=302, headers={"Location": "/a"}))
    with pytest.raises(Exception, match="more than 10 redirects"):
        asking.fetch("/a", base_url=home.url)
    assert len(home.asked) == 11


@pytest.mark.parametrize(
    ("base", "target", "refused"),
    [
        ("https://a.example/x", "/y", None),
        ("https://a.example/x", "https://A.EXAMPLE:443/y", None),
        ("https://a.example/x", "//a.example/y", None),
        ("https://a.example/x", "?page=2", None),
        ("https://a.example/x", "http://a.example/y", "from https to http"),
        ("https://a.example/x", "http://allowed.example/y", "from https to http"),
        ("https://a.example/x", "https://a.example:8443/y", "to another origin"),
        ("https://a.example/x", "https://sub.a.example/y", "to another origin"),
        ("https://a.example/x", "//b.example/y", "to another origin"),
        ("https://a.example/x", "https://a.example@b.example/y", "to another origin"),
        ("https://a.example/x", "https://b.example\\@a.example/y", None),
        ("https://a.example/x", "file:///etc/passwd", "no web address"),
        ("https://a.example/x", "ftp://a.example/y", "no web address"),
        ("https://a.example/x", "https:///y", None),
        ("http://a.example/x", "https://a.example/y", "to another origin"),
        ("https://a.example/x", "https://allowed.example/y", None),
        ("https://a.example/x", "https://allowed.example:444/y", "to another origin"),
    ],
)
def test_where_a_link_may_lead(base: str, target: str, refused: str | None) -> None:
    import httpx2

    url = httpx2.URL(base)
    allowed = [httpx2.URL(text).origin for text in ("https://allowed.example", "http://allowed.example")]
    if refused is None:
        found = link.follow(url, target, home=url.origin, allowed=allowed, what="next page")
        assert found.host in ("a.example", "allowed.example")
        assert not found.userinfo
        return
    with pytest.raises(OriginRefused, match=refused):
        link.follow(url, target, home=url.origin, allowed=allowed, what="next page")


@pytest.mark.parametrize("text", ["api.example.com", "ftp://x/y", "/path", "", "http://", "http://a:b:c"])
def test_a_base_url_that_is_none_is_named(text: str, asking: Asking) -> None:
    with pytest.raises(WrongArgument, match="`base_url` is not the URL of a web server"):
        asking.fetch("/a", base_url=text or "")


def test_urls_are_shown_without_their_secrets() -> None:
    assert link.shown("https://u:pw@h/p?a=1&api_key=k&X-Amz-Signature=s&empty=") == (
        "https://u:***@h/p?a=1&api_key=***&X-Amz-Signature=***&empty="
    )
    assert link.shown("https://h/\x1b[31m\n?q=\x00") == "https://h/ [31m ?q="
    assert len(link.shown("https://h/" + "x" * 9999)) == 300


def test_a_query_keeps_its_bytes_unless_something_is_set() -> None:
    import httpx2

    signed = httpx2.URL("https://h/p?sig=a%2Fb+c&x=%7e")
    assert str(link.with_params(signed, {})) == str(signed)
    assert str(link.with_params(signed, {"x": None, "on": True, "id": [1, 2]})) == (
        "https://h/p?sig=a%2Fb+c&on=true&id=1&id=2"
    )
