"""Choosing columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import expression, verb

if TYPE_CHECKING:
    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class SelectTransform(ITransformPlugin, plugin_name="select"):
    """Keeps the named columns, in the given order, or makes new ones.

    A list of names keeps these columns as they are. A mapping gives each column its name and an expression in
    DuckDB's SQL over one row; an expression that is only a column's name keeps that column as it is. A name is
    matched exactly, or else without regard to upper and lower case where only one column is meant.
    """

    class Config(PluginConfig):
        columns: list[str] | dict[str, str] = Field(
            description="The columns to keep, or a mapping from names to expressions. In expressions, names with spaces "
            'or other signs stand in double quotes: `"unit price" * 2`.',
            examples=[["order_id", "amount"], {"id": "order_id", "total": "price * quantity"}],
            min_length=1,
        )

        @field_validator("columns")
        @classmethod
        def _are_expressions(cls, columns: list[str] | dict[str, str]) -> list[str] | dict[str, str]:
            for text in columns.values() if isinstance(columns, dict) else ():
                expression.check(text)
            return columns

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            from pipeline_flow.sql import follow

            if isinstance(self.columns, list):
                for number, name in enumerate(self.columns):
                    given.need(name, "columns", number)
            else:
                follow.expressions({("columns", name): text for name, text in self.columns.items()}, given)
            return tuple(self.columns)

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The chosen columns."""
        import pyarrow as pa

        from pipeline_flow.data import adapt

        stream = adapt.to_stream(data)
        schema = stream.schema
        columns = self.config.columns
        if isinstance(columns, list):
            indexes = verb.find_all(schema, columns)
            chosen = pa.schema([schema.field(index) for index in indexes], schema.metadata)
            return stream.map(chosen, lambda batch: batch.select(indexes))
        kept = {
            name: verb.find(schema, column)
            for name, text in columns.items()
            if (column := expression.only_column(text)) is not None and _is_there(schema, column)
        }
        computed = {name: text for name, text in columns.items() if name not in kept}
        if not computed:
            fields = [schema.field(index).with_name(name) for name, index in kept.items()]
            renamed = pa.schema(fields, schema.metadata)
            chosen_indexes = list(kept.values())
            return stream.map(
                renamed,
                lambda batch: pa.RecordBatch.from_arrays(
                    [batch.column(i) for i in chosen_indexes], schema=renamed
                ),
            )
        from pipeline_flow.sql import rowwise

        values = rowwise.Rowwise(self.context, schema, computed)
        result = pa.schema(
            [
                schema.field(kept[name]).with_name(name) if name in kept else values.schema.field(name)
                for name in columns
            ],
            schema.metadata,
        )

        def combine(table: pa.Table, results: pa.Table) -> pa.Table:
            found = [table.column(kept[name]) if name in kept else results.column(name) for name in columns]
            return pa.table(found, schema=result)

        return rowwise.mapped(self.context, stream, values, result, combine)


def _is_there(schema: object, column: str) -> bool:
    # `current_date` and its like look like columns too.
    return column.casefold() in {name.casefold() for name in getattr(schema, "names", ())}
