"""Page after page: each asked for by what the one before says, none twice."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import SourceMalformed
from pipeline_flow.http import client as client_
from pipeline_flow.http import link
from pipeline_flow.http.document import Document
from pipeline_flow.http.paging import Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pipeline_flow.core.context import Context
    from pipeline_flow.http.client import Answer, Client
    from pipeline_flow.http.paging import IPagination, Request


async def read(
    context: Context,
    client: Client,
    request: Request,
    pagination: IPagination | None,
    *,
    records: Callable[[Document], int],
    limit: int = client_.PAGE_BYTES,
    max_pages: int | None = None,
) -> AsyncIterator[tuple[Page, Document]]:
    """Every page from ``request`` on, each with its document.

    Args:
        context: the step's.
        client: who asks.
        request: what the first page is asked with.
        pagination: finds the next page; ``None`` for a single one.
        records: how many records a document holds; it raises where it holds none that it should.
        limit: bytes of one page.
        max_pages: how many pages are read at most; a notice tells that there would have been more.

    Raises:
        SourceMalformed: a page is not JSON, or leads to one that was read already.
    """
    wanted: Request | None = request if pagination is None else pagination.first_request(request)
    asked: set[bytes] = set()
    page_url: str | None = None
    number = 0
    previous = b""
    while wanted is not None:
        number += 1
        context.check()
        url = client.resolve(wanted, page_url)
        if not _is_new(asked, wanted, str(url)):
            raise SourceMalformed(
                f"page {number - 1} leads to a page that was read already: {client.shown(url)}",
                hint="the pagination would go on for ever; is it the right one for this server?",
            )
        answer = await client.fetch(wanted, page_url=page_url, limit=limit)
        document, count = await context.to_thread(_parsed, answer, client, records)
        digest = hashlib.sha256(answer.content).digest()
        if count and page_url is None and digest == previous:
            raise SourceMalformed(
                f"page {number} is the same as the page before: {client.shown(url)}",
                hint="the server may not know the pagination's parameter, or gives its last page for ever: "
                "say where the number of pages or records stands, or follow its links",
            )
        previous = digest
        # The request as it was really made: the pagination goes on from its URL, not from where redirects led.
        made = replace(wanted, url=_as_asked(str(url), wanted))
        page = Page(made, answer.url, answer.status, answer.headers, document.body, count, number)
        yield page, document
        following = pagination.next_request(page) if pagination is not None else None
        if following is not None and max_pages is not None and number >= max_pages:
            context.notice(f"there are more pages; {max_pages} were read, as `max_pages` says", "warning")
            return
        # A request by parameters starts from where the last one did, a link from where the answer came from.
        page_url = answer.url if following is not None and following.url != made.url else None
        wanted = following


def _as_asked(url: str, wanted: Request) -> str:
    """The URL without what ``params`` put into its query, so that the next request can set them anew."""
    import httpx2

    return str(link.without(httpx2.URL(url), lambda name, _: name in wanted.params))


def _is_new(asked: set[bytes], wanted: Request, url: str) -> bool:
    body = json.dumps(wanted.body, sort_keys=True, default=str)
    digest = hashlib.sha256(f"{wanted.method} {url}\n{body}".encode()).digest()[:16]
    found = digest in asked
    asked.add(digest)
    return not found


def _parsed(answer: Answer, client: Client, records: Callable[[Document], int]) -> tuple[Document, int]:
    if answer.status == HTTPStatus.NO_CONTENT:
        return Document(b"null"), 0
    document = parse(answer, client)
    return document, records(document)


def parse(answer: Answer, client: Client) -> Document:
    """The JSON of an answer.

    Raises:
        SourceMalformed: it is not JSON; the message shows its beginning.
    """
    content_type = answer.headers.get("content-type", "")
    try:
        return Document(answer.content, content_type)
    except ValueError as error:
        kind = client.redact(link.printable(content_type, 60)) or "no content type"
        begins = answer.excerpt(client.redact)
        what = f"begins with: {begins}" if begins else "is empty"
        raise SourceMalformed(
            f"{client.shown(answer.url)} does not answer with JSON ({kind}): it {what}",
            hint=f"{_reason(error)}" if answer.content else "",
        ) from None


def _reason(error: Any) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"its text is not {error.encoding}: {error.reason}"
    return str(error)
