"""JSON lines as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pipeline_flow.errors import WrongArgument
from pipeline_flow.files import source
from pipeline_flow.files.json_field import JsonConfig, read
from pipeline_flow.plugins.base import IExtractPlugin

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.source import Files

_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".ndjson", ".ndjson.gz", ".ndjson.zst")
_FILE = "_pipeline_flow_file"


class JsonlExtract(IExtractPlugin, plugin_name="jsonl"):
    """Reads files with one JSON object a line, one file after the other, without changing a value.

    The columns are the keys, in the order of their first appearance; a key that a record does not have is null.
    Types come from `columns`, and for the others from the first 20,480 records: text stays text (`"007"`,
    `"2024-01-01"`); whole numbers are BIGINT, beyond that UBIGINT or DECIMAL(38,0); other numbers are DOUBLE where each
    of them is a double's own text, else DECIMAL, else text; objects are structs and arrays are lists, at any depth;
    values of several kinds are JSON text as it is written. A value or a key after them that does not fit is an error
    with file, line, path and value, unless `on_type_error` says otherwise.

    An orders file gives two tables with two steps: one as it is, one with `explode: items` and `keys: [order_id]`.

    A folder that the `jsonl` load has written is read by its manifest, any other with all `.jsonl` and `.ndjson` files below
    it; folders called `name=value` are columns, the last ones.

    Blank lines are left out. A column kept as JSON text makes reading slower.
    """

    class Config(JsonConfig):
        pass

    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: Config

    async def __call__(self) -> BatchStream:
        """The records of all files."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        from pipeline_flow.data import BatchStream
        from pipeline_flow.files import json_records

        config = self.config
        found = source.find(config.path, _SUFFIXES)
        if not found.files and found.schema is not None:
            return BatchStream(found.schema, iter(()))
        lines = [json_records.Lines(file.path, config.encoding) for file in found.files]
        if not found.partitions:
            return read(self.context, config, lines)
        # The name of the file tells the partition of each row, whatever became of the rows on the way.
        named = config if config.file_column is not None else config.model_copy(update={"file_column": _FILE})
        return _with_partitions(read(self.context, named, lines), named.file_column or _FILE, found)


def _with_partitions(stream: BatchStream, file_column: str, found: Files) -> BatchStream:
    """``stream`` with the partition columns of its files behind its own; our own column of file names goes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [name for name in stream.schema.names if name != _FILE]
    for name in found.partitions:
        if name in names:
            stream.close()
            raise WrongArgument(f"the records have a key `{name}`, and folders are called `{name}=…` too")
    paths = pa.concat_arrays([_repeated(str(file.path), pa.string()) for file in found.files])
    values = {
        name: pa.concat_arrays([_repeated(file.partition[name], type_) for file in found.files])
        for name, type_ in found.partitions.items()
    }
    schema = pa.schema([stream.schema.field(name) for name in names])
    for name, type_ in found.partitions.items():
        schema = schema.append(pa.field(name, type_))

    def with_values(batch: pa.RecordBatch) -> pa.RecordBatch:
        numbers = pc.index_in(batch.column(file_column), value_set=paths)
        columns = [batch.column(name) for name in names]
        return pa.RecordBatch.from_arrays(
            [*columns, *(array.take(numbers) for array in values.values())], schema=schema
        )

    return stream.map(schema, with_values)


def _repeated(value: object, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa

    scalar = value if isinstance(value, pa.Scalar) else pa.scalar(value, type_)
    return pa.repeat(scalar, 1).cast(type_)
