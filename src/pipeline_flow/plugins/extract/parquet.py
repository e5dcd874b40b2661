"""Parquet files as a source."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import SourceMalformed, SourceUnreadable
from pipeline_flow.files import local, partition, source
from pipeline_flow.files.field import FileColumn, FolderPaths
from pipeline_flow.plugins.base import IExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.source import File, Files

_BATCH_ROWS = 122_880
_OPEN_FILES = 500
_BUFFER_BYTES = (
    8 * 1024 * 1024
)  # read ahead per column chunk; without it a whole row group is in memory at once


class ParquetExtract(IExtractPlugin, plugin_name="parquet"):
    """Reads Parquet files, one after the other, types as they are in the files.

    All files must have the columns of the first one, with the same types; the order of the columns is the first
    file's. Partition columns of a folder follow, or stand where they stood when the folder was written.
    """

    class Config(PluginConfig):
        path: FolderPaths
        columns: list[str] | None = Field(
            default=None,
            description="The columns to read, in this order; all by default.",
            examples=[["id", "day"]],
        )
        file_column: FileColumn = None

        def follow_columns(self, _: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            if self.columns is None:
                return None
            return (*self.columns, self.file_column) if self.file_column is not None else tuple(self.columns)

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The rows of all files."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        import pyarrow as pa

        from pipeline_flow.data import BatchStream

        found = source.find(self.config.path, (".parquet",))
        whole = found.schema if not found.files else self._schema_of(found)
        assert whole is not None
        schema = _chosen(whole, self.config.columns, str(self.config.path))
        schema = pa.schema(list(schema))  # pandas' notes about an index mean nothing in another file
        source.check_file_column(self.config.file_column, schema.names)
        if self.config.file_column is not None:
            schema = schema.append(pa.field(self.config.file_column, pa.string(), nullable=False))
        opened = _Handles(found.files)
        return BatchStream(schema, self._batches(found.files, schema, opened), on_close=opened.close)

    def _schema_of(self, found: Files) -> pa.Schema:
        """The columns: those of the first file, then the partition columns; all in the manifest's order where it has one."""
        import pyarrow as pa

        first = found.files[0].path
        with _file(first, first) as file:
            fields = {field.name: field for field in file.schema_arrow}
        for name, type_ in found.partitions.items():
            fields.setdefault(name, pa.field(name, type_))
        if found.schema is not None and set(found.schema.names) == set(fields):
            return pa.schema([fields[name] for name in found.schema.names])
        return pa.schema(list(fields.values()))

    def _batches(self, files: list[File], schema: pa.Schema, opened: _Handles) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        added = {self.config.file_column}
        for item in files:
            with _file(opened.take(item.path), item.path) as file:
                inside = file.schema_arrow
                constant = {
                    name: value for name, value in item.partition.items() if name not in inside.names
                } | ({name: partition.text(str(item.path)) for name in added if name is not None})
                names = [name for name in schema.names if name not in constant]
                _check_same(schema, _chosen(inside, names, str(item.path)), item.path)
                try:
                    for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                        self.context.check()
                        columns = [
                            pa.repeat(constant[name], batch.num_rows)
                            if name in constant
                            else batch.column(name)
                            for name in schema.names
                        ]
                        yield pa.RecordBatch.from_arrays(columns, names=schema.names).cast(schema)
                except (pa.ArrowException, OSError) as error:
                    raise SourceMalformed(f"{item.path} is damaged: {error}") from None


class _Handles:
    """Files that are open from the start, so that a load that replaces them meanwhile takes nothing away. Close it."""

    def __init__(self, files: Sequence[File]) -> None:
        import pyarrow as pa

        self._open: dict[Path, Any] = {}
        for file in files[:_OPEN_FILES]:
            with contextlib.suppress(OSError):  # told when its turn has come
                self._open[file.path] = pa.OSFile(str(file.path))

    def take(self, path: Path) -> Any:
        """The open file, or its path; it belongs to the caller then."""
        return self._open.pop(path, path)

    def close(self) -> None:
        """Closes what nobody took."""
        while self._open:
            self._open.popitem()[1].close()


def _file(source_: Any, path: Path) -> Any:
    """``source_``, a path or an open file, as a Parquet file; closed with it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pa.OSFile(str(path)) if isinstance(source_, Path) else source_
        return contextlib.closing(pq.ParquetFile(opened, buffer_size=_BUFFER_BYTES, pre_buffer=False))
    except pa.ArrowException as error:
        raise SourceMalformed(f"{path} is not a Parquet file: {str(error).rstrip('.')}") from None
    except OSError as error:
        raise SourceUnreadable(f"{path} cannot be read: {local.reason(error)}") from None


def _chosen(schema: pa.Schema, columns: list[str] | None, path: str) -> pa.Schema:
    import pyarrow as pa

    if columns is None:
        return schema
    for name in columns:
        if name not in schema.names:
            raise SourceMalformed(f"{path} has no column `{name}`", hint=hint(name, schema.names, "it has"))
    return pa.schema([schema.field(name) for name in columns])


def _check_same(expected: pa.Schema, found: pa.Schema, path: Path) -> None:
    for other_field in found:
        field, other = expected.field(other_field.name), other_field.type
        if not other.equals(field.type):
            raise SourceMalformed(
                f"the column `{field.name}` is {other} in {path} and {field.type} in the first file",
                hint="read them in two steps and bring them together with `concat`",
            )
