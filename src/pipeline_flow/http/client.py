"""The client: its credentials belong to the origin of the base URL, and nothing else is asked unless it is listed.

There is one connection pool with a cookie jar of its own for each origin, so that what belongs to one cannot reach
another: the home origin's has the headers and the credentials, the others have none. Redirects are followed here,
under the same rule as links.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import logging
import random
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import unquote

from pipeline_flow.errors import (
    OriginRefused,
    PipelineFlowError,
    RetryableError,
    RunError,
    SourceMalformed,
    SourceUnreadable,
    WrongArgument,
)
from pipeline_flow.http import link
from pipeline_flow.http.auth import Basic
from pipeline_flow.http.rate import pace
from pipeline_flow.secret import Redactor, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import httpx2

    from pipeline_flow.core.context import Context
    from pipeline_flow.http.auth import ApiKey, Bearer
    from pipeline_flow.http.paging import Request

T = TypeVar("T")

TIMEOUT = 30.0
"""Seconds to wait for a connection, and for each further piece of an answer."""
ATTEMPTS = 5
PAGE_BYTES = 64 * 1024 * 1024
"""How large one page may be, unpacked."""
_REDIRECTS = 10
_MOVED = (301, 302, 303, 307, 308)
_FIRST_WAIT = 0.5  # seconds; doubled after each attempt
_LONGEST_BACKOFF = 30.0
_LONGEST_RETRY_AFTER = 300.0
_EXCERPT = 200  # characters of an answer that a message shows
_EXCERPT_BYTES = 4096
_PIECE = 1024 * 1024
_QUIET_HEADERS = ("accept", "accept-language", "content-type", "user-agent", "prefer", "cache-control")


_asking: ContextVar[bool] = ContextVar("pipeline_flow_http_asking", default=False)


class _Quiet(logging.Filter):
    """The library logs each URL as it is, keys in the query and all. For our requests it stays silent."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - what logging hands over
        return not _asking.get()


_QUIET = _Quiet()


def backoff(attempt: int) -> float:
    """Seconds to wait after the attempt of this number, from 1: doubled each time, spread over a quarter."""
    wait = min(_LONGEST_BACKOFF, _FIRST_WAIT * 2.0 ** (attempt - 1))
    return wait + random.uniform(0.0, wait / 4)


@dataclass(frozen=True, slots=True)
class Retrying:
    """Which requests are sent again, and when.

    Args:
        attempts: how often one request is sent at most.
        post: whether a POST is sent again although the server may have had it.
        any_status: whether every status that is no success is tried again, not only those of a busy server.
        wait: seconds to wait after the attempt of this number, from 1, where the server does not say it.
    """

    attempts: int = ATTEMPTS
    post: bool = False
    any_status: bool = False
    wait: Callable[[int], float] = backoff


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client is told.

    Args:
        base_url: names the origin that everything else belongs to. A user name in it counts as ``auth``.
        headers: sent to that origin only.
        auth: the same.
        params: query keys of the step; those that look like credentials are taken out of links to other origins.
        timeout: seconds, for the connection and for each further piece of an answer.
        retrying: what is tried again.
        rate: requests per second, all steps of the run together.
        allow_origins: other origins that links may lead to, asked without headers, cookies and credentials.
        accept: the header of this name, where ``headers`` has none.
        argument: the name of the argument that holds ``base_url``, for messages.
    """

    base_url: str
    headers: Mapping[str, Secret] = field(default_factory=dict)
    auth: Bearer | Basic | ApiKey | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = TIMEOUT
    retrying: Retrying = Retrying()
    rate: float | None = None
    allow_origins: Sequence[str] = ()
    accept: str = "application/json"
    argument: str = "base_url"


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer with its body. ``headers`` are by lower-case name."""

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    def excerpt(self, redact: Callable[[str], str]) -> str:
        """The beginning of the body for a message: printable, redacted."""
        return _excerpt(self.content, redact)


class Client:
    """Asks one origin, and others only as far as ``settings`` allows.

    Args:
        context: the step's; its threads do what blocks, its run's resources hold the rate.
        settings: see there.
        sleep: waits; seconds.
        now: seconds since the epoch, for a ``Retry-After`` that is a date.
    """

    def __init__(
        self,
        context: Context,
        settings: Settings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._context = context
        self._settings = settings
        self._sleep = sleep
        self._now = now
        self._clients: dict[httpx2.Origin, httpx2.AsyncClient] = {}
        self.redact = Redactor()
        self._home: httpx2.Origin
        self._base: httpx2.URL
        self._auth = settings.auth
        self._allowed: frozenset[httpx2.Origin] = frozenset()
        self._secret_values: set[str] = set()

    # ------------------------------------------------------------------------------------------ open and close

    async def __aenter__(self) -> Self:
        await self._context.to_thread(
            self._open
        )  # the library takes 0.3 s to import, and the certificates as long
        return self

    def _open(self) -> None:
        settings = self._settings
        base = link.parse(settings.base_url, settings.argument)
        if base.userinfo:
            if self._auth is not None:
                raise WrongArgument(f"`{settings.argument}` holds a user name, and `auth` is there too")
            username, _, password = base.userinfo.decode("ascii").partition(":")
            self._auth = Basic(
                type="basic", username=Secret(unquote(username)), password=Secret(unquote(password))
            )
        self._base = base.copy_with(userinfo=b"")
        self._home = self._base.origin
        self._allowed = frozenset(link.parse(text, "allow_origins").origin for text in settings.allow_origins)
        self._learn_secrets()
        self._client(self._home)
        logging.getLogger("httpx2").addFilter(_QUIET)  # the same object once more is none more

    def _learn_secrets(self) -> None:
        """What no message may show and no other origin may get."""
        values = list(self._auth.secrets()) if self._auth is not None else []
        for name, secret in self._settings.headers.items():
            value = secret.reveal()
            if name.lower() == "cookie":
                values += [value, *(item.partition("=")[2].strip() for item in value.split(";"))]
            elif name.lower() not in _QUIET_HEADERS:
                values += [value, value.rpartition(" ")[2]]
        values += [
            link.query_text(value)
            for name, value in self._settings.params.items()
            if link.is_credential(name) and value is not None
        ]
        self.redact.add(values)
        self._secret_values = {value for value in values if value}

    def _client(self, origin: httpx2.Origin) -> httpx2.AsyncClient:
        import httpx2

        if origin not in self._clients:
            headers = httpx2.Headers({"Accept": self._settings.accept})
            if origin == self._home:
                headers.update({name: value.reveal() for name, value in self._settings.headers.items()})
                headers.update(self._auth.headers() if self._auth is not None else {})
            self._clients[origin] = httpx2.AsyncClient(
                headers=headers, timeout=self._settings.timeout, follow_redirects=False
            )
        return self._clients[origin]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    # ------------------------------------------------------------------------------------------ asking

    def resolve(self, request: Request, page_url: str | None = None) -> httpx2.URL:
        """The URL that a request asks for: relative ones start from ``page_url``, or from the base URL.

        Raises:
            OriginRefused: it leads where the client may not go.
        """
        base = self._base if page_url is None else link.parse(page_url, "url")
        with self._masked():
            url = link.follow(base, request.url, home=self._home, allowed=self._allowed, what="next page")
        return link.with_params(url, request.params)

    async def fetch(
        self, request: Request, *, page_url: str | None = None, limit: int = PAGE_BYTES
    ) -> Answer:
        """The answer to a request, its body in memory.

        Args:
            request: what to ask.
            page_url: the URL of the page that gave the request, where it is a link.
            limit: bytes that the body may have, unpacked.

        Raises:
            RetryableError: every attempt failed and another one later may not.
            SourceUnreadable: the server refuses, is not known, or answers with an error.
            SourceMalformed: the body is larger than ``limit``.
            OriginRefused: a link or redirect leads where the client may not go.
        """

        async def read(response: httpx2.Response) -> bytes:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > limit:
                    raise SourceMalformed(
                        f"{link.shown(response.url)} gives more than {limit:,} bytes in one answer",
                        hint="ask for smaller pages, or raise the limit",
                    )
            return bytes(body)

        url = self.resolve(request, page_url)
        response, content = await self._ask(request.method, url, request.body, {}, read)
        return self._answer(response, content)

    async def download(self, url: str, target: Path, *, limit: int) -> Answer:
        """Writes what ``url`` gives into ``target``, as it came over the wire; the answer's content is empty.

        Args:
            url: what to ask.
            target: a file that is made, or written anew.
            limit: bytes that may come.

        Raises:
            SourceMalformed: more than ``limit`` bytes came, or fewer than the server announced.
        """
        run = self._context.to_thread

        async def read(response: httpx2.Response) -> bytes:
            announced = response.headers.get("content-length", "")
            too_large = SourceMalformed(
                f"{link.shown(response.url)} is larger than {limit:,} bytes", hint="raise `max_bytes`"
            )
            if announced.isdigit() and int(announced) > limit:
                raise too_large
            file = await run(target.open, "wb")
            try:
                size, waiting = 0, bytearray()
                async for piece in response.aiter_raw():
                    size += len(piece)
                    if size > limit:
                        raise too_large
                    waiting += piece
                    if len(waiting) >= _PIECE:
                        await run(file.write, bytes(waiting))
                        waiting.clear()
                await run(file.write, bytes(waiting))
            finally:
                await run(file.close)
            return b""

        asked = link.parse(url, self._settings.argument).copy_with(userinfo=b"")
        response, _ = await self._ask("GET", asked, None, {"Accept-Encoding": "identity"}, read)
        return self._answer(response, b"")

    async def _ask(
        self,
        method: str,
        url: httpx2.URL,
        body: Any,
        headers: Mapping[str, str],
        read: Callable[[httpx2.Response], Awaitable[T]],
    ) -> tuple[httpx2.Response, T]:
        """Sends one request as often as it takes; the answer's body has been read."""
        import httpx2

        from pipeline_flow.http import failure

        retrying = self._settings.retrying
        attempt = 1
        while True:
            surely_not_sent = False
            try:
                with self._masked():
                    return await self._once(method, url, body, headers, read)
            except httpx2.HTTPError as error:
                surely_not_sent = failure.was_not_sent(error)
                raised: RunError = failure.of_transport(error, url, self._settings.timeout)
            except (RetryableError, SourceUnreadable) as error:
                raised = error
            self._mask(raised)
            again = isinstance(raised, RetryableError) or retrying.any_status
            repeatable = method in ("GET", "HEAD") or retrying.post or surely_not_sent
            if again and not repeatable:
                # As another class: the engine's own retry would send it again.
                hint = "a POST is not sent again by itself; where it may be, write retry_post: true"
                raise SourceUnreadable(str(raised), hint=hint) from None
            wait = self._wait(raised, attempt) if again and attempt < retrying.attempts else None
            if wait is None:
                raise self._last(raised, attempt) from None
            self._context.notice(f"{raised}; asking again in {wait:.3g} s")
            await self._sleep(wait)
            attempt += 1

    def _wait(self, raised: RunError, attempt: int) -> float | None:
        """Seconds until the next attempt; ``None`` where the server asks for longer than we wait inside a step."""
        asked = raised.retry_after if isinstance(raised, RetryableError) else None
        if asked is None:
            return self._settings.retrying.wait(attempt)
        return asked if asked <= _LONGEST_RETRY_AFTER else None

    @staticmethod
    def _last(raised: RunError, attempt: int) -> RunError:
        if not isinstance(raised, RetryableError):
            return raised
        tried = f" (tried {attempt} times)" if attempt > 1 else ""
        hint = raised.hint
        if raised.retry_after is not None and raised.retry_after > _LONGEST_RETRY_AFTER:
            hint = f"the server asks to wait {raised.retry_after:,.0f} s; a `retry` of the step waits so long"
        return RetryableError(f"{raised}{tried}", retry_after=raised.retry_after, hint=hint)

    async def _once(
        self,
        method: str,
        url: httpx2.URL,
        body: Any,
        headers: Mapping[str, str],
        read: Callable[[httpx2.Response], Awaitable[T]],
    ) -> tuple[httpx2.Response, T]:
        """One attempt: the request and the redirects that follow."""
        from pipeline_flow.http import failure

        for _ in range(_REDIRECTS + 1):
            async with self._send(method, url, body, headers) as response:
                status = response.status_code
                if status in _MOVED and "location" in response.headers:
                    target = link.follow(
                        response.url,
                        response.headers["location"],
                        home=self._home,
                        allowed=self._allowed,
                        what="redirect",
                    )
                    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
                        method, body = "GET", None
                    url = target
                    continue
                if not 200 <= status < 300:
                    own = response.url.origin == self._home
                    raise failure.of_status(
                        status,
                        response.url,
                        auth=self._credentials(),
                        own=own,
                        text=await self._beginning(response),
                        retry_after=self._retry_after(response),
                    )
                return response, await read(response)
        raise SourceUnreadable(f"{link.shown(url)}: more than {_REDIRECTS} redirects")

    @contextlib.asynccontextmanager
    async def _send(
        self, method: str, url: httpx2.URL, body: Any, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        own = url.origin == self._home
        if own:
            url = link.with_params(url, self._auth.query() if self._auth is not None else {})
        else:
            if body is not None:
                raise OriginRefused(
                    f"a request with a body is sent to no other origin than {link.origin_text(self._home)}: "
                    f"{link.shown(url)}",
                    hint="the body may hold credentials; ask that server with a step of its own",
                )
            url = link.without(url, self._is_secret)
        await self._pace(url)
        sent: dict[str, Any] = {"headers": dict(headers)}
        if body is not None:
            sent["content"] = json.dumps(body).encode()
            sent["headers"] |= {"Content-Type": "application/json"}
        token = _asking.set(True)
        try:
            async with self._client(url.origin).stream(method, url, **sent) as response:
                shown = self.shown(url)
                self._context.logger.debug("%s %s: %d", method, shown, response.status_code)
                yield response
        finally:
            _asking.reset(token)

    def _is_secret(self, name: str, value: str) -> bool:
        """Whether a query key of a link to another origin holds what belongs to the home origin."""
        own = {*(self._auth.query() if self._auth is not None else ())}
        own |= {key for key in self._settings.params if link.is_credential(key)}
        return name in own or value in self._secret_values

    async def _pace(self, url: httpx2.URL) -> None:
        if self._settings.rate is None:
            return
        key = f"http-rate:{link.origin_text(url.origin)}"
        shared = await self._context.to_thread(self._context.resources.get, key, pace)
        await shared.wait(1.0 / self._settings.rate, self._sleep)

    # ------------------------------------------------------------------------------------------ what was answered

    def shown(self, url: str | httpx2.URL) -> str:
        """A URL for messages, without anything that is secret."""
        return self.redact(link.shown(url))

    @contextlib.contextmanager
    def _masked(self) -> Iterator[None]:
        try:
            yield
        except PipelineFlowError as error:
            self._mask(error)
            raise

    def _mask(self, error: PipelineFlowError) -> None:
        """Takes our credentials out of a message: a server may have sent them back, in a link or a body."""
        error.message, error.hint = self.redact(error.message), self.redact(error.hint)
        error.args = (error.message,)

    def _answer(self, response: httpx2.Response, content: bytes) -> Answer:
        own = self._auth.query() if self._auth is not None else {}
        url = link.without(response.url, lambda name, _: name in own)
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(str(url), response.status_code, headers, content)

    def _credentials(self) -> str:
        if self._auth is not None:
            return self._auth.words
        named = next((name for name in self._settings.headers if link.is_credential(name)), None)
        if named is not None:
            return f"the header {named}"
        key = next((name for name in self._settings.params if link.is_credential(name)), None)
        return "" if key is None else f"the query key `{key}`"

    async def _beginning(self, response: httpx2.Response) -> str:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) >= _EXCERPT_BYTES:
                break
        return _excerpt(bytes(body), self.redact)

    def _retry_after(self, response: httpx2.Response) -> float | None:
        """Seconds to wait by the header ``Retry-After``: a number of seconds, or a date."""
        text = response.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit() and len(text) < 10:
            return float(text)
        with contextlib.suppress(ValueError, OverflowError):
            return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - self._now())
        return None


def _excerpt(content: bytes, redact: Callable[[str], str]) -> str:
    # Redacted before it is cut: half a secret is not recognised.
    text = redact(content[:_EXCERPT_BYTES].decode("utf-8", "replace"))
    return link.printable(text, _EXCERPT)
