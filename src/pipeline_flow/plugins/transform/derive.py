"""Columns computed from others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.core.columns import folded
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql.expression import Expression

if TYPE_CHECKING:
    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class DeriveTransform(ITransformPlugin, plugin_name="derive"):
    """Adds columns that are computed from others of the same row, or replaces some.

    All expressions see the columns as they come in, not each other's results; for a result of a result, write two
    steps. A name that the data has already, also in other upper and lower case, is replaced in its place; new columns
    come last. All other columns stay as they are.
    """

    class Config(PluginConfig):
        columns: dict[str, Expression] = Field(
            description="Expressions in DuckDB's SQL over one row, by the name of the column that they make. Names with "
            'spaces or other signs stand in double quotes: `"unit price" * 2`.',
            examples=[{"total": "price * quantity", "day": "ordered_at::date"}],
            min_length=1,
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            from pipeline_flow.sql import follow

            follow.expressions({("columns", name): text for name, text in self.columns.items()}, given)
            if given.names is None:
                return None
            there = {folded(name) for name in given.names}
            return (*given.names, *(name for name in self.columns if folded(name) not in there))

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows with the computed columns."""
        import pyarrow as pa

        from pipeline_flow.data import adapt
        from pipeline_flow.sql import rowwise, verb

        stream = adapt.to_stream(data)
        schema = stream.schema
        values = rowwise.Rowwise(self.context, schema, self.config.columns)
        places: dict[int, str] = {}
        for name in self.config.columns:
            if name.casefold() in {item.casefold() for item in schema.names}:
                places[verb.find(schema, name)] = name
        added = [name for name in self.config.columns if name not in places.values()]
        fields = [
            values.schema.field(places[index]) if index in places else field
            for index, field in enumerate(schema)
        ]
        result = pa.schema([*fields, *(values.schema.field(name) for name in added)], schema.metadata)

        def combine(table: pa.Table, results: pa.Table) -> pa.Table:
            found = [
                results.column(places[index]) if index in places else column
                for index, column in enumerate(table.columns)
            ]
            return pa.table([*found, *(results.column(name) for name in added)], schema=result)

        return rowwise.mapped(self.context, stream, values, result, combine)
