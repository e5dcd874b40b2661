"""Pagination: what is the next page, given an answer?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline_flow.errors import SourceMalformed
from pipeline_flow.http.document import value_at
from pipeline_flow.http.paging import IPagination, IPaginationHandler, Page, Request
from pipeline_flow.plugins.base import PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "CursorPagination",
    "HATEOASPagination",
    "HateoasPagination",
    "IPagination",
    "IPaginationHandler",
    "LinkHeaderPagination",
    "NextLinkPagination",
    "OffsetPagination",
    "Page",
    "PageBasedPagination",
    "PagePagination",
    "Request",
]


class PageBasedPagination(IPaginationHandler, plugin_name="page_based_pagination"):
    """Reads `pagination.next_page` while `pagination.has_more` is true."""

    def __call__(self, response: dict[str, Any]) -> str | None:
        """The URL under ``pagination.next_page``, or ``None`` where ``has_more`` is not true."""
        pagination = response.get("pagination") or {}
        return pagination.get("next_page") if pagination.get("has_more") else None


class HateoasPagination(IPaginationHandler, plugin_name="hateoas_pagination"):
    """Reads the `next` link under `_links` or `links`."""

    def __call__(self, response: dict[str, Any]) -> str | None:
        """The ``next`` link, or ``None`` without one; both ``next: url`` and ``next: {href: url}`` are read."""
        links = response.get("_links", response.get("links")) or {}
        link = links.get("next")
        return link.get("href") if isinstance(link, dict) else link


HATEOASPagination = HateoasPagination  # the class's name in 1.0.8


class NextLinkPagination(IPagination, plugin_name="next_link"):
    """Follows the URL of the next page that stands in the body, until there is none.

    The link may be relative. Null, an empty text or a missing key is the end.
    """

    class Config(PluginConfig):
        path: str = Field(
            "next",
            description="Where the link stands in the body: keys with dots between them.",
            examples=["paging.next"],
        )

    config: Config

    def next_request(self, page: Page) -> Request | None:
        """The request for the link."""
        found = value_at(page.body, self.config.path)
        if found is None or found in ("", False):
            return None
        if not isinstance(found, str):
            raise SourceMalformed(
                f"`{self.config.path}` holds no link: {str(found)[:60]!r}",
                hint="a number or token for the next page is what the pagination `cursor` reads",
            )
        return page.follow(found)


class LinkHeaderPagination(IPagination, plugin_name="link_header"):
    """Follows the link with `rel="next"` in the header `Link` (RFC 8288), until there is none."""

    class Config(PluginConfig):
        rel: str = Field("next", description="The relation of the link to follow.", examples=["next"])

    config: Config

    def next_request(self, page: Page) -> Request | None:
        """The request for the link."""
        wanted = self.config.rel.lower()
        for target, relations in links(page.headers.get("link", "")):
            if wanted in relations:
                return page.follow(target)
        return None


_Place = Literal["query", "body"]
_PLACE: Any = Field(
    "query",
    alias="in",
    description="Where the server expects it: in the query, or in the JSON `body`.",
    examples=["body"],
)


class PagePagination(IPagination, plugin_name="page"):
    """Counts pages in a parameter: until a page is empty, or up to the number of pages that the server names.

    A page that is not full does not end it: servers give less than they were asked for.
    """

    class Config(PluginConfig):
        parameter: str = Field(
            "page", description="The parameter with the page's number.", examples=["_page"]
        )
        start: int = Field(1, ge=0, description="The number of the first page.", examples=[0])
        size_parameter: str | None = Field(
            default=None,
            description="The parameter with the number of records on a page.",
            examples=["per_page"],
        )
        size: int | None = Field(
            default=None,
            ge=1,
            description="How many records to ask for; written into `size_parameter`.",
            examples=[100],
        )
        total_pages: str | None = Field(
            default=None,
            description="Where the body says how many pages there are: keys with dots between them. Then no empty page is asked for.",
            examples=["meta.total_pages"],
        )
        place: _Place = _PLACE

    config: Config

    def first_request(self, request: Request) -> Request:
        """The request for the first page."""
        config, in_body = self.config, self.config.place == "body"
        if config.size_parameter is not None and config.size is not None:
            request = request.with_param(config.size_parameter, config.size, in_body=in_body)
        return request.with_param(config.parameter, config.start, in_body=in_body)

    def next_request(self, page: Page) -> Request | None:
        """The request for the page with the next number."""
        config, in_body = self.config, self.config.place == "body"
        number = int(page.request.param(config.parameter, in_body=in_body)) + 1
        if config.total_pages is None:
            is_last = page.records == 0
        else:
            is_last = number - config.start >= _count(page, config.total_pages)
        return None if is_last else page.request.with_param(config.parameter, number, in_body=in_body)


class OffsetPagination(IPagination, plugin_name="offset"):
    """Counts records in a parameter: until a page is empty, or up to the number of records that the server names.

    The next offset is the number of records that came so far, so that a server that gives fewer than `limit` loses none.
    """

    class Config(PluginConfig):
        parameter: str = Field(
            "offset", description="The parameter with the number of records to leave out.", examples=["skip"]
        )
        start: int = Field(0, ge=0, description="The offset of the first record.", examples=[1])
        limit_parameter: str = Field(
            "limit", description="The parameter with the number of records on a page.", examples=["top"]
        )
        limit: int = Field(100, ge=1, description="How many records to ask for at a time.", examples=[500])
        total: str | None = Field(
            default=None,
            description="Where the body says how many records there are: keys with dots between them. Then no empty page is asked for.",
            examples=["meta.total"],
        )
        place: _Place = _PLACE

    config: Config

    def first_request(self, request: Request) -> Request:
        """The request for the first page."""
        config, in_body = self.config, self.config.place == "body"
        request = request.with_param(config.limit_parameter, config.limit, in_body=in_body)
        return request.with_param(config.parameter, config.start, in_body=in_body)

    def next_request(self, page: Page) -> Request | None:
        """The request for what follows the records of this page."""
        config, in_body = self.config, self.config.place == "body"
        if page.records == 0:
            return None
        offset = int(page.request.param(config.parameter, in_body=in_body)) + page.records
        if config.total is not None and offset - config.start >= _count(page, config.total):
            return None
        return page.request.with_param(config.parameter, offset, in_body=in_body)


class CursorPagination(IPagination, plugin_name="cursor"):
    """Hands a value from the body back in a parameter: a token, an id, or the next page's number.

    Null, an empty text, false or a missing key is the end.
    """

    class Config(PluginConfig):
        path: str = Field(
            description="Where the value stands in the body: keys with dots between them.",
            examples=["meta.next_cursor"],
        )
        parameter: str = Field(
            "cursor", description="The parameter that takes it.", examples=["starting_after"]
        )
        has_more: str | None = Field(
            default=None,
            description="Where the body says whether there is more; where it says no, that is the end whatever the cursor.",
            examples=["has_more"],
        )
        place: _Place = _PLACE

    config: Config

    def next_request(self, page: Page) -> Request | None:
        """The request with the value."""
        config = self.config
        if config.has_more is not None and not value_at(page.body, config.has_more):
            return None
        found = value_at(page.body, config.path)
        if found is None or found is False or found == "":
            return None
        if isinstance(found, Mapping | list):
            raise SourceMalformed(f"`{config.path}` holds no cursor: it is a list or an object")
        return page.request.with_param(config.parameter, found, in_body=config.place == "body")


def _count(page: Page, path: str) -> int:
    found = value_at(page.body, path)
    if isinstance(found, str) and found.isascii() and found.isdigit():
        return int(found)
    if isinstance(found, bool) or not isinstance(found, int):
        raise SourceMalformed(
            f"`{path}` holds no number on page {page.number}",
            hint="leave it out to read until a page is empty",
        )
    return found


_TARGET = re.compile(r"\s*<([^>]*)>\s*")
_PARAMETER = re.compile(r"""\s*;\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?\s*""")


def links(header: str) -> Iterator[tuple[str, frozenset[str]]]:
    """The links of a header ``Link`` with their relations, in lower case, as RFC 8288 writes them."""
    index = 0
    while (target := _TARGET.match(header, index)) is not None:
        index = target.end()
        relations: frozenset[str] | None = None
        while (parameter := _PARAMETER.match(header, index)) is not None:
            index = parameter.end()
            name, quoted, plain = parameter.groups()
            if name.lower() == "rel" and relations is None:  # the first one counts
                text = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain or ""
                relations = frozenset(text.lower().split())
        yield target[1], relations or frozenset()
        comma = header.find(",", index)
        if comma < 0:
            return
        index = comma + 1
