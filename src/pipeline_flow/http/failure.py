"""What went wrong on the way to a server, in plain words, and whether asking again may help."""

from __future__ import annotations

import socket
import ssl
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2

from pipeline_flow.errors import RetryableError, RunError, SourceMalformed, SourceUnreadable
from pipeline_flow.http.link import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY = frozenset({429, 502, 503, 504})
"""The statuses after which the same request may succeed later."""
# Of these errors the request has not left this machine, so that repeating it repeats nothing.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


def of_transport(error: httpx2.HTTPError, url: httpx2.URL, timeout: float) -> RunError:
    """An error of the connection as ours; retryable where another attempt may succeed."""
    host = server(url)
    if isinstance(error, httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return RetryableError(f"no connection to {host} within {timeout:g} s", hint="raise `timeout`")
    if isinstance(error, httpx2.TimeoutException):
        return RetryableError(
            f"{host} did not answer within {timeout:g} s: {shown(url)}", hint="raise `timeout`"
        )
    if isinstance(error, httpx2.DecodingError):
        return SourceMalformed(f"the answer of {shown(url)} is not packed as it says: {error}")
    if isinstance(error, httpx2.LocalProtocolError):
        return SourceUnreadable(f"the request to {host} cannot be sent: a header is not allowed in HTTP")
    if isinstance(error, httpx2.ProxyError):
        return SourceUnreadable(
            f"the proxy on the way to {host} refuses", hint="HTTPS_PROXY, HTTP_PROXY and NO_PROXY name it"
        )
    if isinstance(error, httpx2.ConnectError):
        return _of_connection(error, url)
    return RetryableError(f"{host} broke the connection off: {shown(url)}")


def _of_connection(error: httpx2.ConnectError, url: httpx2.URL) -> RunError:
    host = server(url)
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return SourceUnreadable(
                f"the certificate of {host} is not trusted: {cause.verify_message}",
                hint="an authority of your own is named by SSL_CERT_FILE; verification cannot be turned off",
            )
        if isinstance(cause, ssl.SSLError):
            return SourceUnreadable(f"no TLS with {host}: {cause.reason or 'the handshake failed'}")
        if isinstance(cause, socket.gaierror):
            if cause.errno == getattr(socket, "EAI_AGAIN", None):
                return RetryableError(f"the name {url.host} cannot be looked up now")
            return SourceUnreadable(f"no server is called {url.host}", hint="is the name spelled right?")
        if isinstance(cause, ConnectionRefusedError):
            return RetryableError(f"{host} refuses connections", hint="does the server run, on this port?")
    return RetryableError(f"no connection to {host}: {str(error) or 'the network does not say why'}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: list[BaseException] = [error]
    seen: set[int] = set()
    while found:
        current = found.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        found += [item for item in (current.__cause__, current.__context__) if item is not None]
        if isinstance(current, BaseExceptionGroup):
            found += current.exceptions


def of_status(
    status: int, url: httpx2.URL, *, auth: str, own: bool, text: str, retry_after: float | None
) -> RunError:
    """A status that is no success as an error.

    Args:
        status: such as 404.
        url: what was asked.
        auth: what was sent as credentials, in words; empty for none.
        own: whether it is the origin that the credentials belong to.
        text: the beginning of the answer, printable and redacted.
        retry_after: seconds that the server asks to wait.
    """
    named = f"{status} {_phrase(status)}".strip()
    said = f": {text}" if text else ""
    if status in (401, 403):
        if not own:
            used = "another origin than that of `base_url` is asked without credentials"
        else:
            used = f"{auth} was sent" if auth else "no `auth` was sent"
        return SourceUnreadable(f"{shown(url)} refuses: {named} ({used}){said}")
    if status in (404, 410):
        return SourceUnreadable(f"{shown(url)} does not exist: {named}{said}")
    text = f"{shown(url)} answers {named}{said}"
    if status in BUSY:
        return RetryableError(text, retry_after=retry_after)
    return SourceUnreadable(text)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def was_not_sent(error: BaseException) -> bool:
    """Whether the request surely did not reach the server."""
    return isinstance(error, _NOT_SENT)


def server(url: httpx2.URL) -> str:
    """Host and port, the port only where the URL names one."""
    return url.host if url.port is None else f"{url.host}:{url.port}"
