"""What a server may do to us, and what we say then."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import RetryableError, SourceMalformed, SourceUnreadable
from pipeline_flow.http.auth import ApiKey, Bearer
from pipeline_flow.http.client import Retrying, backoff
from pipeline_flow.http.paging import Request
from pipeline_flow.secret import Secret
from tests.http.server import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.http.conftest import Asking
    from tests.http.server import Asked, Server

BEARER = Bearer(type="bearer", token=Secret("s3cret-token"))


# ---------------------------------------------------------------------------------------------- trying again


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again_after_growing_pauses(status: int, asking: Asking, home: Server) -> None:
    home.route("/a", Reply(status=status), Reply(status=status), Reply(status=status), Reply([1]))
    assert asking.fetch("/a", base_url=home.url).content == b"[1]"
    first, second, third = asking.slept
    assert 0.5 <= first < 1 <= second < 2 <= third < 4
    assert any(str(status) in text for text in asking.bench.notices)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 418, 500, 501, 599])
def test_other_statuses_are_not_tried_again(status: int, asking: Asking, home: Server) -> None:
    home.route("/a", Reply(status=status))
    with pytest.raises(SourceUnreadable, match=str(status)):
        asking.fetch("/a", base_url=home.url)
    assert len(home.asked) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0),
    ],
)
def test_retry_after_in_seconds_or_as_a_date_is_kept_to(
    header: str, seconds: float, asking: Asking, home: Server
) -> None:
    home.route("/a", Reply(status=429, headers={"Retry-After": header}), Reply([1]))
    asking.fetch("/a", base_url=home.url)
    assert asking.slept == [seconds]


@pytest.mark.parametrize("header", ["soon", "-1", "1e3", "\u0661", "", "Tue, 99 Nov 2023"])
def test_a_retry_after_that_is_nonsense_is_no_reason_to_fail(
    header: str, asking: Asking, home: Server
) -> None:
    def reply(_: Asked) -> Reply:
        return Reply(status=503, headers={"Retry-After": header.encode().decode("latin-1")})

    home.route("/a", reply, Reply([1]))
    asking.fetch("/a", base_url=home.url)
    assert len(asking.slept) == 1
    assert 0.5 <= asking.slept[0] < 1


def test_a_server_that_wants_hours_gets_them_from_the_step_and_not_from_the_client(
    asking: Asking, home: Server
) -> None:
    home.route("/a", Reply(status=429, headers={"Retry-After": "7200"}))
    with pytest.raises(RetryableError, match="429 Too Many Requests") as caught:
        asking.fetch("/a", base_url=home.url)
    assert caught.value.retry_after == 7200
    assert "7,200 s" in caught.value.hint
    assert asking.slept == []


def test_attempts_are_bounded_and_the_last_error_may_be_retried_by_the_step(
    asking: Asking, home: Server
) -> None:
    home.route("/a", Reply(status=503, headers={"Retry-After": "9"}))
    with pytest.raises(RetryableError, match=r"503 Service Unavailable.*\(tried 3 times\)") as caught:
        asking.fetch("/a", base_url=home.url, retrying=Retrying(attempts=3))
    assert caught.value.retry_after == 9
    assert len(home.asked) == 3


def test_pauses_grow_up_to_half_a_minute() -> None:
    assert 30 <= backoff(50) <= 37.5


def test_a_post_is_tried_again_only_where_that_is_said(asking: Asking, home: Server) -> None:
    home.route("/a", Reply(status=503), Reply([1]))
    request = Request("/a", "POST", body={"q": 1})
    with pytest.raises(SourceUnreadable, match="503") as caught:
        asking.fetch("", base_url=home.url, request=request)
    assert "retry_post: true" in caught.value.hint
    assert len(home.asked) == 1
    home.route("/a", Reply(status=503), Reply([1]))
    asking.fetch("", base_url=home.url, request=request, retrying=Retrying(post=True))
    assert len(home.asked) == 3


@contextlib.contextmanager
def raw_server(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answers each connection with bytes and closes it; what it was asked stands in the list."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked: list[bytes] = []

    def work() -> None:
        for answer in answers:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", asked
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]"


@pytest.mark.parametrize(
    "broken", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1", b"\x00\xff\r\n\r\n"]
)
def test_a_connection_that_breaks_before_or_within_an_answer_is_tried_again(
    broken: bytes, asking: Asking
) -> None:
    with raw_server(broken, GOOD) as (url, asked):
        assert asking.fetch("/a", base_url=url).content == b"[1]"
        assert len(asked) == 2
    assert len(asking.slept) == 1


def test_a_download_that_breaks_off_begins_anew(asking: Asking) -> None:
    broken = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[1, 2, "
    target = asking.bench.folder / "file"

    async def run(url: str, limit: int) -> None:
        async with asking.client(url) as client:
            await client.download(f"{url}/file", target, limit=limit)

    with raw_server(broken, GOOD) as (url, _):
        asyncio.run(run(url, 10))
    assert target.read_bytes() == b"[1]"
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100
    with raw_server(endless) as (url, _), pytest.raises(SourceMalformed, match="larger than 99 bytes"):
        asyncio.run(run(url, 99))


def test_a_connection_that_always_breaks_is_named(asking: Asking) -> None:
    with (
        raw_server(b"", b"") as (url, _),
        pytest.raises(RetryableError, match=r"broke the connection off.*tried 2"),
    ):
        asking.fetch("/a", base_url=url, retrying=Retrying(attempts=2))


def test_nobody_there_is_named_and_a_post_may_be_sent_again(asking: Asking) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(RetryableError, match=rf"127.0.0.1:{port} refuses connections \(tried 2 times\)"):
        asking.fetch(
            "",
            base_url=f"http://127.0.0.1:{port}",
            request=Request("/a", "POST"),
            retrying=Retrying(attempts=2),
        )


def test_a_silent_server_is_left_after_the_timeout(asking: Asking, home: Server) -> None:
    def never(_: Asked) -> Reply:
        home.stopped.wait()
        return Reply([1])

    home.route("/a", never)
    with pytest.raises(RetryableError, match=r"did not answer within 0.05 s"):
        asking.fetch("/a", base_url=home.url, timeout=0.05, retrying=Retrying(attempts=2))
    home.stopped.set()


def test_a_host_that_does_not_exist_is_named_at_once(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SourceUnreadable, match="no server is called api.exmaple.invalid"):
        asking.fetch("/a", base_url="https://api.exmaple.invalid")
    assert asking.slept == []


def test_plain_text_where_tls_is_expected_is_named(asking: Asking) -> None:
    with raw_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (url, _):
        with pytest.raises(SourceUnreadable, match="no TLS with"):
            asking.fetch("/a", base_url=url.replace("http:", "https:"))
        assert asking.slept == []


# ---------------------------------------------------------------------------------------------- what is said


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_what_was_used_and_never_the_secret(
    status: int, asking: Asking, home: Server
) -> None:
    home.route("/a", lambda asked: Reply({"you sent": asked.headers["authorization"]}, status))
    with pytest.raises(
        SourceUnreadable, match=rf"refuses: {status} .*\(the bearer token was sent\)"
    ) as caught:
        asking.fetch("/a", base_url=home.url, auth=BEARER)
    assert "s3cret" not in str(caught.value)
    assert "Bearer ***" in str(caught.value)
    home.route("/a", Reply(status=status))
    with pytest.raises(SourceUnreadable, match=r"\(no `auth` was sent\)"):
        asking.fetch("/a", base_url=home.url)
    with pytest.raises(SourceUnreadable, match=r"\(the header X-Token was sent\)"):
        asking.fetch("/a", base_url=home.url, headers={"X-Token": "abcdefgh"})


def test_nothing_of_an_answer_reaches_a_terminal_as_control_characters(asking: Asking, home: Server) -> None:
    body = "\x1b]0;title\x07\x1b[31mred\r\n\u202eright to left\u0085 ä €".encode()
    home.route("/a", Reply(body + b"\xff" * 9999, 500))
    with pytest.raises(SourceUnreadable) as caught:
        asking.fetch("/a", base_url=home.url)
    text = str(caught.value)
    assert text.isprintable()
    assert "ä €" in text
    assert len(text) < 350


def test_a_secret_that_is_cut_in_the_excerpt_is_masked_before(asking: Asking, home: Server) -> None:
    home.route("/a", Reply(b"x" * 195 + b"s3cret-token", 500))
    with pytest.raises(SourceUnreadable) as caught:
        asking.fetch("/a", base_url=home.url, auth=BEARER)
    assert "s3c" not in str(caught.value)


def test_the_log_has_no_key_of_a_query(
    asking: Asking, home: Server, caplog: pytest.LogCaptureFixture
) -> None:
    home.route("/a", Reply([1]))
    caplog.set_level("DEBUG")
    key = ApiKey.model_validate({"type": "api_key", "name": "appid", "value": "s3cret-token", "in": "query"})
    asking.fetch("/a", base_url=home.url, auth=key)
    assert home.asked[0].query == {"appid": "s3cret-token"}
    assert f"GET {home.url}/a?appid=***: 200" in caplog.text
    assert "s3cret" not in caplog.text


# ---------------------------------------------------------------------------------------------- sizes


def test_a_page_that_is_too_large_is_refused(asking: Asking, home: Server) -> None:
    home.route("/a", Reply(b"[" + b" " * 5000 + b"]"))
    assert len(asking.fetch("/a", base_url=home.url, limit=5002).content) == 5002
    with pytest.raises(SourceMalformed, match="more than 5,001 bytes"):
        asking.fetch("/a", base_url=home.url, limit=5001)
    assert len(home.asked) == 2


def test_a_small_answer_that_unpacks_to_a_huge_one_is_refused(asking: Asking, home: Server) -> None:
    packed = gzip.compress(b" " * 100_000_000)
    home.route("/a", Reply(packed, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(SourceMalformed, match="more than 1,000,000 bytes"):
        asking.fetch("/a", base_url=home.url)


def test_a_packed_answer_is_unpacked_and_a_broken_one_named(asking: Asking, home: Server) -> None:
    home.route("/a", Reply(gzip.compress(b"[1]"), headers={"Content-Encoding": "gzip"}))
    assert asking.fetch("/a", base_url=home.url).content == b"[1]"
    home.route("/a", Reply(b"no gzip", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(SourceMalformed, match="not packed as it says"):
        asking.fetch("/a", base_url=home.url)
    assert asking.slept == []


# ---------------------------------------------------------------------------------------------- the rate


def test_clients_of_a_run_share_the_rate_of_a_server(asking: Asking, home: Server) -> None:
    home.route("*", Reply([1]))

    async def many(path: str) -> None:
        async with asking.client(home.url, rate=0.1) as client:
            for _ in range(3):
                await client.fetch(Request(path))

    async def both() -> None:
        await asyncio.gather(many("/a"), many("/b"))

    asyncio.run(both())
    # Nothing really waited, so the waits add up: the sixth request is 50 s after the first.
    assert [round(seconds) for seconds in sorted(asking.slept)] == [10, 20, 30, 40, 50]


def test_a_cancelled_client_leaves_no_connection(asking: Asking, home: Server) -> None:
    asked = threading.Event()

    def never(_: Asked) -> Reply:
        asked.set()
        home.stopped.wait()
        return Reply([1])

    home.route("/a", never)

    async def run() -> None:
        async with asking.client(home.url) as client:
            task = asyncio.create_task(client.fetch(Request("/a")))
            await asyncio.to_thread(asked.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    home.stopped.set()
