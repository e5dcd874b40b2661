"""CSV as a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from pipeline_flow.errors import ConversionFailed, TargetUnwritable
from pipeline_flow.files import text
from pipeline_flow.files.target import FileTarget, TargetConfig
from pipeline_flow.plugins.base import IAtomicLoadPlugin
from pipeline_flow.sql.quote import literal, quote

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.parts import Writer


class CsvLoad(FileTarget, IAtomicLoadPlugin, plugin_name="csv"):
    r"""Writes CSV in UTF-8: one file, replaced as a whole (readers see the old or the new one), or a folder of files.

    A null is an empty field and an empty text is `""`, so that the `csv` extract reads both back. Numbers, dates,
    timestamps (with a zone: in UTC) are written in full; bytes as text with `\x00` escapes, lists, structs and maps
    as DuckDB writes them. Types are not in the file: declare them under `columns` of the `csv` extract to get them
    back exactly.

    A folder's files become visible together, with its manifest (`_pipeline_flow/manifests`).
    """

    class Config(TargetConfig):
        header: bool = Field(
            default=True, description="Whether the first line holds the names.", examples=[False]
        )
        delimiter: str = Field(default=",", description="One character between the fields.", examples=[";"])
        compression: text.Packing | None = Field(
            default=None,
            description="How the text is packed. By default as `path` ends: .gz is gzip, .zst is zstd, else not at all.",
            examples=["zstd"],
        )

        @field_validator("delimiter")
        @classmethod
        def _one_character(cls, value: str) -> str:
            if len(value) != 1 or value in '"\n\r':
                raise ValueError(f"{value!r} is not one character that can separate fields")
            return value

    config: Config

    format = "csv"

    @property
    def _packing(self) -> str:
        return text.packing_of(self.config.path, self.config.compression)

    @property
    def suffix(self) -> str:
        """The end of the name of a file in a folder."""
        return f".csv{text.SUFFIXES[self._packing]}"

    def rows(self, data: BatchStream) -> BatchStream:
        """The partition columns and the lines."""
        from pipeline_flow.sql import lines

        line = lines.csv_line(self.context, self.config.delimiter)
        return lines.stream(self.context, data, line, self.config.partition_by)

    def open_file(self, path: Path, schema: pa.Schema) -> Writer:
        """Opens a file for lines, with the header in it."""
        from pipeline_flow.sql import lines

        names = [name for name in schema.names if name not in self.config.partition_by]
        head = lines.csv_head(names, self.config.delimiter) if self.config.header else ""
        return text.LineWriter(path, self._packing, head)

    def write_file(self, data: BatchStream, path: Path) -> int:
        """Writes ``data`` as one file and gives the number of rows."""
        import duckdb as native

        from pipeline_flow.sql import duckdb, lines

        connection = duckdb.in_memory(self.context)
        take_back = self.context.on_cancel(connection.interrupt)
        feed = None
        try:
            feed = duckdb.register(connection, "data", data)
            columns = duckdb.columns_of(connection, "select * from data")
            listed = ", ".join(f"{lines.csv_text(name, type_)} as {quote(name)}" for name, type_ in columns)
            options = f"format csv, header {str(self.config.header).lower()}, delimiter {literal(self.config.delimiter)}, compression {self._packing}"
            connection.execute(
                f"copy (select {listed} from data) to {literal(str(path))} ({options}, use_tmp_file false)"
            )
        except native.Error as error:
            self.context.check()
            if feed is not None and feed.error is not None:
                raise feed.error from None
            if isinstance(error, native.IOException):
                raise TargetUnwritable(
                    f"{self.config.path} cannot be written: {duckdb.first_lines(str(error))}"
                ) from None
            raise ConversionFailed(
                f"the data cannot be written as CSV: {duckdb.first_lines(str(error))}"
            ) from None
        finally:
            take_back()
            data.close()
            connection.close()
        return data.rows
