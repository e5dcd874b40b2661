"""Parquet as a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline_flow.errors import ConversionFailed, TargetUnwritable
from pipeline_flow.files import local
from pipeline_flow.files.target import FileTarget, TargetConfig
from pipeline_flow.plugins.base import IAtomicLoadPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pyarrow as pa

    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.parts import Writer

_GROUP_ROWS = 1_048_576
_LEAST_ROWS = 131_072  # of a row group, unless it is as large as the next line says
_MOST_BYTES = 32 * 1024 * 1024
_MOST_DISTINCT = (
    0.1  # a dictionary of more than this share of the values only costs time: 2.65 s instead of 3.35 s
)


class ParquetLoad(FileTarget, IAtomicLoadPlugin, plugin_name="parquet"):
    """Writes Parquet: one file, replaced as a whole (readers see the old or the new one), or a folder of files.

    The types are kept, with their Arrow names stored beside them. Missing folders are made; the permissions of an
    existing file stay; a symbolic link stays, and what it points at is replaced.

    A folder's files become visible together, with its manifest (`_pipeline_flow/manifests`).
    """

    class Config(TargetConfig):
        compression: Literal["snappy", "zstd", "gzip", "lz4", "none"] = Field(
            default="snappy",
            description="How the columns are packed: zstd is smaller, snappy faster.",
            examples=["zstd"],
        )

    config: Config

    format = "parquet"
    suffix = ".parquet"

    def open_file(self, path: Path, schema: pa.Schema) -> Writer:
        """Opens a file of a folder."""
        import pyarrow as pa

        names = self.config.partition_by
        kept = pa.schema([field for field in schema if field.name not in names], schema.metadata)
        return _ParquetFile(path, kept, self.config.compression)

    def rows(self, data: BatchStream) -> BatchStream:
        """``data`` itself, its types looked at."""
        try:
            _check_types(data.schema)
        except BaseException:
            data.close()
            raise
        return data

    def write_file(self, data: BatchStream, path: Path) -> int:
        """Writes ``data`` as one file and gives the number of rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        _check_types(data.schema)
        with data:
            groups = _groups(data)
            group = next(groups, None)
            options = _options(self.config.compression, None if group is None else group[0])
            try:
                with pq.ParquetWriter(path, data.schema, **options) as writer:
                    while group is not None:
                        self.context.check()
                        writer.write_table(
                            pa.Table.from_batches(group, data.schema), row_group_size=_GROUP_ROWS
                        )
                        group = next(groups, None)
            except pa.ArrowNotImplementedError as error:
                raise ConversionFailed(f"Parquet cannot hold this data: {error}") from None
            except OSError as error:
                if data.error is error:
                    raise
                raise TargetUnwritable(
                    f"{self.config.path} cannot be written: {local.reason(error)}"
                ) from None
        return data.rows


class _ParquetFile:
    """A file of a folder: what is written together is a row group, so that an open file holds no rows in memory."""

    def __init__(self, path: Path, schema: pa.Schema, compression: str) -> None:
        self._path = path
        self._schema = schema
        self._compression = compression
        self._writer: Any = None

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Adds rows."""
        import pyarrow as pa

        self._opened(batches[0]).write_table(
            pa.Table.from_batches(batches).cast(self._schema), row_group_size=_GROUP_ROWS
        )

    def _opened(self, first: pa.RecordBatch | None) -> Any:
        if self._writer is None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            options = _options(self._compression, first)
            try:
                self._writer = pq.ParquetWriter(self._path, self._schema, **options)
            except pa.ArrowNotImplementedError as error:
                raise ConversionFailed(f"Parquet cannot hold this data: {error}") from None
        return self._writer

    def close(self) -> None:
        """Ends the file."""
        self._opened(None).close()


def _options(compression: str, first: pa.RecordBatch | None) -> dict[str, Any]:
    """How a file is written whose first rows are these."""
    return {"compression": compression, "use_dictionary": [] if first is None else _repeating(first)}


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Batches that are written together: row groups of a few thousand rows are larger and slower, to readers too."""
    group: list[pa.RecordBatch] = []
    rows, size = 0, 0
    for batch in batches:
        group.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _LEAST_ROWS or size >= _MOST_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def _check_types(schema: pa.Schema) -> None:
    import pyarrow as pa

    for field in schema:
        if isinstance(field.type, pa.OpaqueType):
            raise ConversionFailed(
                f"the column `{field.name}` is {field.type.type_name} of {field.type.vendor_name}, which Parquet does not have",
                hint="cast it in the query, for example to text",
            )
        if pa.types.is_interval(field.type):
            raise ConversionFailed(
                f"the column `{field.name}` is an interval, which Parquet does not have",
                hint="cast it to text in the query",
            )


def _repeating(batch: pa.RecordBatch) -> list[str] | bool:
    """The columns whose values repeat enough for a dictionary to pay, judged by the first batch."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chosen = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if pa.types.is_nested(field.type):
            return True  # their leaves go by other names; the default is good enough
        if pa.types.is_dictionary(field.type):
            chosen.append(field.name)
            continue
        try:
            distinct = pc.count_distinct(column).as_py()
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            continue
        if distinct <= max(1, batch.num_rows * _MOST_DISTINCT):
            chosen.append(field.name)
    return chosen
