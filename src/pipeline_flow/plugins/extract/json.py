"""JSON documents as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.files import local
from pipeline_flow.files.json_field import JsonConfig, read
from pipeline_flow.plugins.base import IExtractPlugin

if TYPE_CHECKING:
    from pipeline_flow.data import BatchStream


class JsonExtract(IExtractPlugin, plugin_name="json"):
    """Reads JSON documents, such as the answer of an API: a list of records, or one record, somewhere in a file.

    A file is read piece by piece, so a list may be larger than memory. Several documents in one file are read one
    after the other. Columns and types are those of `jsonl`, which is several times faster: prefer it where a file
    can be had in both forms.
    """

    class Config(JsonConfig):
        data_path: str = Field(
            default="",
            description="The path of keys to the list of records, or to the one record. By default it is the document itself.",
            examples=["response.items"],
        )

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The records of all files."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        from pipeline_flow.files.json_document import Document

        config = self.config
        sources = [Document(path, config.encoding, config.data_path) for path in local.find(config.path)]
        return read(self.context, config, sources)
