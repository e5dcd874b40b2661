"""URLs: which origin they belong to, what may be followed, and how they are shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pipeline_flow.errors import OriginRefused, SourceMalformed, WrongArgument
from pipeline_flow.secret import MASK, mask_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import httpx2

SCHEMES = ("http", "https")
_CREDENTIAL = re.compile(r"key|token|secret|passw|pwd|sig|auth|cred|session|jwt", re.IGNORECASE)
_LONGEST_SHOWN = 300
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]+")


def printable(text: str, longest: int) -> str:
    """``text`` on one line, without control characters, at most ``longest`` characters of it."""
    cut = _UNPRINTABLE.sub(" ", text[: longest * 4])
    cut = "".join(char if char.isprintable() else "?" for char in cut).strip()
    return cut if len(cut) <= longest else f"{cut[: longest - 1]}…"


def is_credential(name: str) -> bool:
    """Whether a query key is called like one that holds a credential."""
    return _CREDENTIAL.search(name) is not None


def shown(url: str | httpx2.URL) -> str:
    """A URL for people: passwords and the values of query keys that may be credentials are masked."""
    text = str(url)
    parts = urlsplit(text)
    if parts.query and any(is_credential(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
        pairs = (item.partition("=") for item in parts.query.split("&"))
        query = "&".join(
            f"{name}={MASK}" if is_credential(name) else name + eq + value for name, eq, value in pairs
        )
        text = urlunsplit(parts._replace(query=query))
    return printable(mask_url(text), _LONGEST_SHOWN)


def parse(text: str, argument: str) -> httpx2.URL:
    """The absolute URL that an argument holds, without its fragment.

    Raises:
        WrongArgument: it is no URL of http or https with a host.
    """
    import httpx2

    try:
        url = httpx2.URL(text)
    except (httpx2.InvalidURL, ValueError):
        raise _no_url(text, argument) from None
    if url.scheme not in SCHEMES or not url.host:
        raise _no_url(text, argument)
    return url.copy_with(fragment=None)


def _no_url(text: str, argument: str) -> WrongArgument:
    return WrongArgument(
        f"`{argument}` is not the URL of a web server: {shown(text)}", hint="write https://host/path"
    )


def joined(base_url: str, endpoint: str) -> str:
    """``endpoint`` below ``base_url``, with one slash between them."""
    if not endpoint:
        return base_url
    if endpoint.startswith("?"):
        return base_url + endpoint
    return f"{base_url.rstrip('/')}/{endpoint.lstrip('/')}"


def with_params(url: httpx2.URL, params: Mapping[str, Any]) -> httpx2.URL:
    """``url`` with ``params`` in its query; ``None`` takes a key out. Without any, the URL stays byte for byte."""
    if not params:
        return url
    kept = [
        pair for pair in parse_qsl(url.query.decode("ascii"), keep_blank_values=True) if pair[0] not in params
    ]
    for name, value in params.items():
        values = value if isinstance(value, list | tuple) else [value]
        kept += [(name, query_text(item)) for item in values if item is not None]
    return url.copy_with(query=urlencode(kept).encode("ascii") or None)


def query_text(value: Any) -> str:
    """A value as it stands in a query: ``true`` and ``false`` as JSON writes them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def without(url: httpx2.URL, drop: Callable[[str, str], bool]) -> httpx2.URL:
    """``url`` without the query keys for which ``drop(name, value)`` is true."""
    pairs = parse_qsl(url.query.decode("ascii"), keep_blank_values=True)
    kept = [pair for pair in pairs if not drop(*pair)]
    if len(kept) == len(pairs):
        return url
    return url.copy_with(query=urlencode(kept).encode("ascii") or None)


def follow(
    base: httpx2.URL, link: str, *, home: httpx2.Origin, allowed: Collection[httpx2.Origin], what: str
) -> httpx2.URL:
    """Where a link that a server gave leads.

    Args:
        base: the URL of the answer that holds it; relative links start there.
        link: the link.
        home: the origin that the credentials belong to.
        allowed: further origins that may be asked, without credentials.
        what: ``next page`` or ``redirect``, for the message.

    Raises:
        SourceMalformed: it is no URL.
        OriginRefused: it leads to an origin that is neither ``home`` nor allowed, or from https to http.
    """
    import httpx2

    try:
        url = base.join(link)
    except (httpx2.InvalidURL, ValueError):
        raise SourceMalformed(f"{shown(base)} gives a {what} that is no URL: {shown(link)}") from None
    # What stands before an @ in a server's link is no credential of ours, and the library would send it.
    url = url.copy_with(fragment=None, userinfo=b"")
    if url.scheme not in SCHEMES or not url.host:
        raise OriginRefused(f"{shown(base)} gives a {what} that is no web address: {shown(link)}")
    found = url.origin
    if base.scheme == "https" and url.scheme == "http":
        raise OriginRefused(
            f"the {what} leads from https to http: {shown(url)}",
            hint="nothing would be encrypted from there on",
        )
    if found != home and found not in allowed:
        hint = (
            f"where that is right, write allow_origins: [{origin_text(found)}]; it is asked without the "
            "credentials and headers of this step"
        )
        if found.host == home.host and (home.scheme, found.scheme) == ("http", "https"):
            hint = f"write {origin_text(found)} in the URL of this step"
        raise OriginRefused(
            f"the {what} leads from {origin_text(home)} to another origin: {shown(url)}", hint=hint
        )
    return url


def origin_text(origin: httpx2.Origin) -> str:
    """An origin as people write it: the port only where it is not the scheme's own."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    usual = {"http": 80, "https": 443}.get(origin.scheme)
    return f"{origin.scheme}://{host}" + ("" if origin.port in (usual, None) else f":{origin.port}")
