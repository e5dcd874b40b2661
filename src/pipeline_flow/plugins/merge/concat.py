"""One below the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.plugins.base import IMergeExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class ConcatMerge(IMergeExtractPlugin, plugin_name="concat"):
    """Puts the rows of all extract steps one below the other, in the order of the steps.

    Columns are matched by name. A column that a step lacks is null in its rows. Types must agree, or there must be a
    type that holds every value of both (a small integer and a large one, decimals of different size); text and numbers
    never become one.
    """

    class Config(PluginConfig):
        source_column: str | None = Field(
            default=None,
            description="The name of a further column that holds the id of the step that each row comes from.",
            examples=["source"],
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            tables = list(given.tables.values())
            if None in tables:
                return None
            names = dict.fromkeys(name for names in tables for name in names or ())
            return (*names, self.source_column) if self.source_column is not None else tuple(names)

    config: Config

    def __call__(self, extracted_data: dict[str, Any]) -> BatchStream:
        """The rows of all steps."""
        from pipeline_flow.data import BatchStream, adapt

        streams = {step: adapt.to_stream(value) for step, value in extracted_data.items()}
        schema = _common({step: stream.schema for step, stream in streams.items()}, self.config.source_column)

        def close() -> None:
            for stream in streams.values():
                stream.close()

        return BatchStream(schema, self._batches(streams, schema), on_close=close)

    def _batches(self, streams: Mapping[str, BatchStream], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for step, stream in streams.items():
            with stream:
                for batch in stream:
                    self.context.check()
                    yield self._fitted(batch, schema, step)

    def _fitted(self, batch: pa.RecordBatch, schema: pa.Schema, step: str) -> pa.RecordBatch:
        import pyarrow as pa

        columns = []
        for field in schema:
            if field.name == self.config.source_column:
                columns.append(pa.repeat(pa.scalar(step, field.type), batch.num_rows))
            elif field.name in batch.schema.names:
                column = batch.column(field.name)
                columns.append(column if column.type.equals(field.type) else column.cast(field.type))
            else:
                columns.append(pa.nulls(batch.num_rows, field.type))
        return pa.RecordBatch.from_arrays(columns, schema=schema)


def _common(schemas: Mapping[str, pa.Schema], source_column: str | None) -> pa.Schema:
    import pyarrow as pa

    from pipeline_flow.data import widen

    types: dict[str, tuple[pa.DataType, str]] = {}
    for step, schema in schemas.items():
        for field in schema:
            if field.name == source_column:
                raise ConversionFailed(
                    f"`{step}` already has a column `{source_column}`", hint="choose another `source_column`"
                )
            known, first = types.get(field.name, (field.type, step))
            wide = widen.widest(known, field.type)
            if wide is None:
                raise ConversionFailed(
                    f"the column `{field.name}` is {known} in `{first}` and {field.type} in `{step}`",
                    hint="give it one type in both: a cast in the query, `columns` of a csv step",
                )
            types[field.name] = (wide, first)
    fields = [pa.field(name, type_) for name, (type_, _) in types.items()]
    return pa.schema([*fields, pa.field(source_column, pa.string())] if source_column else fields)
