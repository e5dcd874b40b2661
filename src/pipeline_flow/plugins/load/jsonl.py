"""JSON lines as a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline_flow.errors import TargetUnwritable
from pipeline_flow.files import local, text
from pipeline_flow.files.target import FileTarget, TargetConfig
from pipeline_flow.plugins.base import IAtomicLoadPlugin

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.parts import Writer


class JsonlLoad(FileTarget, IAtomicLoadPlugin, plugin_name="jsonl"):
    """Writes one JSON object per row and line, in UTF-8: one file, replaced as a whole, or a folder of files.

    Every value is written exactly. Whole numbers and decimals are numbers with all their digits, also beyond 2^53,
    where some readers of JSON round; NaN and infinity are errors, for JSON has no such numbers. Dates, times and
    timestamps are ISO 8601 text (`2024-02-29T10:00:00`, with a zone in UTC and with `Z`), bytes are base64 text,
    intervals and UUIDs text as DuckDB writes them. Structs are objects, lists are arrays, maps are objects with the keys
    as text. A null is written as `null`. JSON text stays the JSON that it is.

    A folder's files become visible together, with its manifest (`_pipeline_flow/manifests`).
    """

    class Config(TargetConfig):
        compression: text.Packing | None = Field(
            default=None,
            description="How the text is packed. By default as `path` ends: .gz is gzip, .zst is zstd, else not at all.",
            examples=["zstd"],
        )

    config: Config
    format = "jsonl"

    @property
    def _packing(self) -> str:
        return text.packing_of(self.config.path, self.config.compression)

    @property
    def suffix(self) -> str:
        """The end of the name of a file in a folder."""
        return f".jsonl{text.SUFFIXES[self._packing]}"

    def rows(self, data: BatchStream) -> BatchStream:
        """The partition columns and the lines."""
        from pipeline_flow.sql import lines

        return lines.stream(self.context, data, lines.json_line, self.config.partition_by)

    def open_file(self, path: Path, schema: pa.Schema) -> Writer:  # noqa: ARG002 - a line has the names in it
        """Opens a file for lines."""
        return text.LineWriter(path, self._packing)

    def write_file(self, data: BatchStream, path: Path) -> int:
        """Writes ``data`` as one file and gives the number of rows."""
        count = 0
        with self.rows(data) as rows:
            try:
                writer = self.open_file(path, data.schema)
                try:
                    for batch in rows:
                        self.context.check()
                        writer.write([batch])
                        count += batch.num_rows
                        self.context.progress(count, data.bytes)
                finally:
                    writer.close()
            except OSError as error:
                if error in (rows.error, data.error):
                    raise
                raise TargetUnwritable(
                    f"{self.config.path} cannot be written: {local.reason(error)}"
                ) from None
        return count
