"""What a pagination plugin is: given a page, which request gets the next one?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline_flow.http.document import value_at
from pipeline_flow.plugins.base import IPlugin

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``url`` may be relative to the page before; ``params`` are set in its query, ``None`` takes one out."""

    url: str
    method: str = "GET"
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None

    def with_param(self, name: str, value: Any, *, in_body: bool = False) -> Request:
        """This request with one value set in the query, or in the JSON body under a dotted path."""
        if not in_body:
            return replace(self, params={**self.params, name: value})
        return replace(self, body=_set(self.body, name.split("."), value))

    def param(self, name: str, *, in_body: bool = False) -> Any:
        """The value in the query or in the body, ``None`` where it is not set."""
        return value_at(self.body, name) if in_body else self.params.get(name)


def _set(body: Any, path: list[str], value: Any) -> Any:
    rest = dict(body) if isinstance(body, dict) else {}
    rest[path[0]] = value if len(path) == 1 else _set(rest.get(path[0]), path[1:], value)
    return rest


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Args:
        request: what was asked.
        url: where the answer came from, after redirects; relative links start there.
        status: the HTTP status, such as 200.
        headers: by lower-case name; several headers of one name are joined with a comma.
        body: the parsed JSON; numbers with a point are decimals.
        records: how many records the page holds.
        number: the page's number, from 1.
    """

    request: Request
    url: str
    status: int
    headers: Mapping[str, str]
    body: Any
    records: int
    number: int

    def follow(self, link: str) -> Request:
        """The request for a link that this page gave: same method and body, the link's own query."""
        return replace(self.request, url=link, params={})


class IPagination(ABC, IPlugin, interface=True, kind="pagination"):
    """Finds the next page from the whole answer: status, headers, body, what was asked."""

    def first_request(self, request: Request) -> Request:
        """The request for the first page; a pagination by parameters sets their first values."""
        return request

    @abstractmethod
    def next_request(self, page: Page) -> Request | None:
        """The request for the page after ``page``, ``None`` after the last one."""


class IPaginationHandler(IPagination, interface=True, kind="pagination"):
    """Reads the next page's URL from a response body: the interface of 1.0.8."""

    @abstractmethod
    def __call__(self, response: dict[str, Any]) -> str | None:
        """The URL of the next page, or ``None`` after the last one. ``response`` is the parsed JSON body."""

    def next_request(self, page: Page) -> Request | None:
        """The URL that the call gives; a body that is no object has none."""
        link = self(page.body) if isinstance(page.body, dict) else None
        return page.follow(str(link)) if link else None
