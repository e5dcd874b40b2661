"""1.0.8's extractor for JSON APIs."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipeline_flow.core.registry import PluginRegistry
from pipeline_flow.errors import WrongArgument
from pipeline_flow.http import client as http
from pipeline_flow.http.paging import IPagination, Request
from pipeline_flow.plugins.base import IExtractPlugin
from pipeline_flow.secret import Secret

if TYPE_CHECKING:
    from pipeline_flow.http.document import Document

_ATTEMPTS = 3
_LEAST_WAIT, _LONGEST_WAIT = 1.0, 4.0  # seconds between two attempts


class RestApiAsyncExtractor(IExtractPlugin, plugin_name="rest_api_extractor"):
    """Reads a JSON API as 1.0.8 did: gives a list of dicts. New configurations take `rest_api`.

    The URL is `base_url`, a slash, `endpoint`. Of an object the records are what stands under `data`, or else the object
    itself; of a list its elements. A status that is no success is tried three times, one to four seconds apart.

    Headers belong to the origin of `base_url`; a next page elsewhere is refused unless `allow_origins` lists it, and then
    asked without them.
    """

    def __init__(
        self,
        plugin_id: str,
        base_url: Annotated[
            str, Field(description="Where the API is.", examples=["https://api.example.com/v1"])
        ],
        endpoint: Annotated[str, Field(description="What to read.", examples=["users"])],
        headers: Annotated[
            dict[str, str],
            Field(
                min_length=1,
                description="Headers of every request, such as a token; at least one.",
                examples=[{"Authorization": "Bearer ${{ secrets.api }}"}],
            ),
        ],
        pagination: Annotated[
            IPagination | None,
            Field(
                description="How the next page is found; page_based_pagination by default.",
                examples=[{"plugin": "hateoas_pagination"}],
            ),
        ] = None,
        allow_origins: Annotated[
            list[str] | None,
            Field(
                description="Other origins (scheme, host, port) that a next page may be at; they are asked without the headers.",
                examples=[["https://cdn.example.com"]],
            ),
        ] = None,
    ) -> None:
        super().__init__(plugin_id)
        if not headers:
            raise WrongArgument("`headers` must hold at least one header")
        self.base_url = base_url
        self.endpoint = endpoint
        self.headers = headers
        self.pagination_handler: IPagination = PluginRegistry.instantiate_plugin(
            pagination or {"plugin": "page_based_pagination", "id": f"{plugin_id}_pagination"}
        )
        self._allow_origins = tuple(allow_origins or ())

    async def __call__(self) -> list[dict[str, Any]]:
        """The records of all pages."""
        from pipeline_flow.http import pages

        headers = {"Content-Type": "application/json", **self.headers}
        settings = http.Settings(
            base_url=self.base_url,
            headers={name: Secret(str(value)) for name, value in headers.items()},
            retrying=http.Retrying(
                attempts=_ATTEMPTS,
                any_status=True,
                wait=lambda _: random.uniform(_LEAST_WAIT, _LONGEST_WAIT),
            ),
            allow_origins=self._allow_origins,
        )
        found: list[dict[str, Any]] = []
        async with http.Client(self.context, settings) as client:
            async for _, document in pages.read(
                self.context,
                client,
                Request(f"{self.base_url}/{self.endpoint}"),
                self.pagination_handler,
                records=lambda document: len(_records(document.body)),
            ):
                found += await self.context.to_thread(_plain_records, document)
        return found


def _records(body: Any) -> list[Any]:
    if isinstance(body, list):
        return body
    if not isinstance(body, dict):
        return []
    if "data" not in body:
        return [body]
    data = body["data"]
    if isinstance(data, list):
        return data
    return [] if data is None else [data]


def _plain_records(document: Document) -> list[Any]:
    """The records with Python's own numbers, as 1.0.8 gave them."""
    return _records(document.plain())
