"""A JSON API as a source."""

from __future__ import annotations

import secrets
from bisect import bisect_left
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_flow.errors import PipelineFlowError
from pipeline_flow.files.field import Columns, OnTypeError
from pipeline_flow.http import client as http
from pipeline_flow.http import field
from pipeline_flow.http.auth import Auth
from pipeline_flow.http.paging import IPagination, Page, Request
from pipeline_flow.plugins.base import NESTED, IExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO, Self

    from pipeline_flow.data import BatchStream
    from pipeline_flow.http.document import Document

_NEXT = ("next", "links.next", "_links.next", "paging.next", "pagination.next", "next_cursor")


class RestApiExtract(IExtractPlugin, plugin_name="rest_api"):
    """Reads the records of a JSON API, page after page, without changing a value.

    Each record is a row. Records are kept as the text that the server wrote, so that numbers stay exact; types are
    found over all of them, or declared with `columns`. Memory does not grow with the number of pages.

    Credentials (`auth`, `headers`, cookies, query keys) belong to the origin of `base_url`: its scheme, host and port. A
    next page or a redirect elsewhere is refused unless `allow_origins` lists it, and then asked without them.

    A busy server (429, 502, 503, 504), a lost connection and a timeout are tried again, page by page. A page that leads
    to one that was read already is an error, not an endless run.
    """

    class Config(PluginConfig):
        base_url: str = Field(
            description="Where the API is.", examples=["https://api.example.com/v1"], min_length=1
        )
        endpoint: str = Field("", description="What to read, below `base_url`.", examples=["/customers"])
        method: Literal["GET", "POST"] = Field("GET", description="How to ask.", examples=["POST"])
        params: dict[str, Any] = Field(
            default_factory=dict,
            description="The query. A list becomes several keys of one name, null leaves a key out.",
            examples=[{"status": "open", "since": "2024-01-01"}],
        )
        headers: field.Headers = Field(default_factory=dict)
        body: Any = Field(
            None, description="The JSON to send with POST.", examples=[{"filter": {"status": "open"}}]
        )
        data_path: str | None = Field(
            default=None,
            description="Where the records stand in the answer: keys with dots between them, `$` for the answer itself. An object "
            "there is one record. By default the answer if it is a list, else the only list in it.",
            examples=["data.items"],
        )
        auth: Auth = None
        pagination: Annotated[
            IPagination | None,
            NESTED,
            Field(
                description="How the next page is found: next_link, link_header, page, offset, cursor, hateoas_pagination, or a "
                "plugin of your own. Without it one page is read.",
                examples=[{"plugin": "cursor", "args": {"path": "next_cursor"}}],
            ),
        ] = None
        max_pages: int | None = Field(
            default=None, ge=1, description="How many pages to read at most; all by default.", examples=[10]
        )
        columns: Columns = Field(default_factory=dict)
        on_type_error: OnTypeError = "widen"
        as_json: list[str] = Field(
            default_factory=list,
            description="Dotted paths of what is kept as JSON text, as the server wrote it.",
            examples=[["payload", "address.geo"]],
        )
        timeout: field.Timeout = http.TIMEOUT
        attempts: field.Attempts = http.ATTEMPTS
        retry_post: bool = Field(
            default=False,
            description="Whether a POST is tried again as well: right where it only asks and changes nothing.",
            examples=[True],
        )
        rate_limit: field.RateLimit = None
        max_page_bytes: int = Field(
            http.PAGE_BYTES,
            ge=1024,
            description="How many bytes one answer may have, unpacked; a larger one is an error.",
            examples=[268_435_456],
        )
        allow_origins: field.AllowOrigins = Field(default_factory=list)

        @field_validator("endpoint")
        @classmethod
        def _below(cls, value: str) -> str:
            if "://" in value.partition("?")[0] or value.startswith("//"):
                raise ValueError("it is a path below `base_url`; put the address there")
            return value

        @model_validator(mode="after")
        def _body_with_post(self) -> Self:
            if self.body is not None and self.method != "POST":
                raise ValueError("`body` needs method: POST")
            return self

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The records of all pages."""
        context = self.context
        folder = await context.to_thread(context.resources.folder)
        path = folder / f"rest-{secrets.token_hex(6)}.jsonl"
        try:
            starts = await self._collect(path)
            return await context.to_thread(self._open, path, starts)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def _settings(self) -> http.Settings:
        config = self.config
        return http.Settings(
            base_url=config.base_url,
            headers=config.headers,
            auth=config.auth,
            params=config.params,
            timeout=config.timeout,
            retrying=http.Retrying(attempts=config.attempts, post=config.retry_post),
            rate=config.rate_limit,
            allow_origins=config.allow_origins,
        )

    async def _collect(self, path: Path) -> list[int]:
        """Writes each record of each page into ``path``, one a line; gives the line before each page, from 0."""
        from pipeline_flow.http import link, pages

        config, context = self.config, self.context
        chosen = _Chosen(config.data_path)
        request = Request(
            link.joined(config.base_url, config.endpoint), config.method, config.params, config.body
        )
        file: BinaryIO = await context.to_thread(path.open, "wb")
        try:
            async with http.Client(context, self._settings()) as client:
                rows = size = 0
                starts: list[int] = []
                last: Page | None = None
                async for page, document in pages.read(
                    context,
                    client,
                    request,
                    config.pagination,
                    records=chosen.count,
                    limit=config.max_page_bytes,
                    max_pages=config.max_pages,
                ):
                    size += await context.to_thread(_append, file, document, chosen.path)
                    starts.append(rows)
                    rows += page.records
                    context.progress(rows, size)
                    last = page
                self._tell_of_more(last)
                return starts
        finally:
            await context.to_thread(file.close)

    def _tell_of_more(self, page: Page | None) -> None:
        """Without a pagination, says so where the only page seems to lead to another."""
        if page is None or self.config.pagination is not None:
            return
        from pipeline_flow.http.document import value_at

        found = next((name for name in _NEXT if value_at(page.body, name)), None)
        if "next" in page.headers.get("link", "").lower():
            advice = "pagination: {plugin: link_header}"
        elif found is not None:
            advice = f"`{found}` in the answer, and the paginations next_link and cursor"
        else:
            return
        self.context.notice(f"one page was read, and the server seems to have more: see {advice}", "warning")

    def _open(self, path: Path, starts: list[int]) -> BatchStream:
        from pipeline_flow.files import json_records
        from pipeline_flow.http import link

        config = self.config
        source = link.shown(link.joined(config.base_url, config.endpoint))

        def where(_: Path, line: int) -> str:
            page = bisect_left(starts, line)
            return f"{source}, page {page}, record {line - starts[page - 1]}"

        try:
            return json_records.stream(
                self.context,
                [json_records.Lines(path)],
                columns=config.columns,
                on_type_error=config.on_type_error,
                as_text=config.as_json,
                where=where,
                on_close=lambda: path.unlink(missing_ok=True),
            )
        except PipelineFlowError as error:
            error.message = error.message.replace(str(path), source)
            raise


class _Chosen:
    """Where the records stand: declared, or found in the first page and kept for the others."""

    def __init__(self, path: str | None) -> None:
        self._declared = path
        self.path: str | None = path

    def count(self, document: Document) -> int:
        """How many records a page has."""
        if self.path is None:
            self.path = document.find_records()
        return len(document.records(self.path))


def _append(file: BinaryIO, document: Document, path: str | None) -> int:
    """Writes the records of a page as lines; gives their bytes."""
    if path is None or document.body is None:
        return 0
    return sum(file.write(f"{line}\n".encode("utf-8", "surrogatepass")) for line in document.lines(path))
