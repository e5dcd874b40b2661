"""Columns of other types."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline_flow.core.spec import is_quick
from pipeline_flow.errors import ConversionFailed
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import exact, expression, verb
from pipeline_flow.sql.expression import TypeName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream

_WITH_FORM = ("DATE", "TIME", "VARCHAR")


class CastTransform(ITransformPlugin, plugin_name="cast"):
    """Gives columns other types. A value that the type would round, cut or misread is an error, or null on request.

    `1.5` does not become the INTEGER 2, nor a TIMESTAMP with hours a DATE. A number fits when it is the same number
    after the way back: the DOUBLE 0.1 is the DECIMAL(10,2) 0.10, and 0.125 is an error. Text has to be written as its
    type is: whole numbers with digits alone (`007` is 7, `7.0` an error), decimals with no more places than the type
    has, a DOUBLE with no more than 15 digits (or a double's own shortest text), dates and times in ISO form unless
    `format` says how. Instants with a zone become TIMESTAMP and text in UTC.

    Nulls stay null, all other columns stay as they are. Types are DuckDB's; integers wider than 64 bits become
    decimal(38, 0).
    """

    class Config(PluginConfig):
        columns: dict[str, TypeName] = Field(
            description="Types by column name, as DuckDB writes them.",
            examples=[{"price": "DECIMAL(10,2)", "ordered_on": "DATE", "zip": "VARCHAR"}],
            min_length=1,
        )
        on_error: Literal["fail", "null"] = Field(
            default="fail",
            description="What happens to a value that does not fit: an error that names column, row and value, or null, and the log "
            "tells how many.",
            examples=["null"],
        )
        format: dict[str, str] = Field(
            default_factory=dict,
            description="How dates and times are written, by column name, with the signs of strftime: for text that becomes a "
            "DATE, TIME or TIMESTAMP, and for those that become text.",
            examples=[{"ordered_on": "%d.%m.%Y"}],
        )

        @model_validator(mode="after")
        def _formats_are_used(self) -> Self:
            for name in self.format:
                if name not in self.columns:
                    raise ValueError(f"`format` names `{name}`, and `columns` gives it no type")
                if is_quick():
                    continue
                type_ = expression.duckdb_type(self.columns[name])
                if type_ not in _WITH_FORM and not type_.startswith("TIMESTAMP"):
                    raise ValueError(
                        f"`format` is for dates and times, and `{name}` becomes {self.columns[name]}"
                    )
            return self

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for name in self.columns:
                given.need(name, "columns", name, at_key=True)
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows with the new types."""
        import pyarrow as pa

        from pipeline_flow.data import adapt
        from pipeline_flow.sql import duckdb, rowwise

        stream = adapt.to_stream(data)
        schema = stream.schema
        indexes = verb.find_all(schema, self.config.columns)
        keys = {verb.key(index): index for index in indexes}
        connection = duckdb.sealed(self.context)
        try:
            given = pa.schema([schema.field(index).with_name(key) for key, index in keys.items()])
            sources = dict(duckdb.types_of(connection, duckdb.accepted(given)))
        finally:
            connection.close()
        expressions = {}
        for index, (name, wanted) in zip(indexes, self.config.columns.items(), strict=True):
            key = verb.key(index)
            target = expression.duckdb_type(wanted)
            form = self.config.format.get(name)
            expressions[schema.names[index]] = exact.cast(key, sources[key], target, form)
        values = rowwise.Rowwise(self.context, schema, expressions, keys=keys)
        types = {index: values.schema.field(schema.names[index]).type for index in indexes}
        fields = [
            field.with_type(types[index]).with_nullable(True) if index in types else field
            for index, field in enumerate(schema)
        ]
        result = pa.schema(fields, schema.metadata)
        misfits = dict.fromkeys(schema.names, 0)
        seen = 0

        def combine(table: pa.Table, found: pa.Table) -> pa.Table:
            nonlocal seen
            for index in indexes:
                name = schema.names[index]
                misfits[name] += self._misfits(table.column(index), found.column(name), name, seen)
            seen += table.num_rows
            columns = [
                found.column(schema.names[index]) if index in types else column
                for index, column in enumerate(table.columns)
            ]
            return pa.table(columns, schema=result)

        return rowwise.mapped(
            self.context, stream, values, result, combine, at_end=lambda: self._tell(misfits, seen)
        )

    def _misfits(self, before: pa.ChunkedArray, after: pa.ChunkedArray, name: str, seen: int) -> int:
        """How many values have become null; the first one is an error where that is wanted."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_null(before.type):
            return 0
        lost = pc.and_(pc.is_valid(before), pc.is_null(after))
        number: int = pc.sum(lost).as_py() or 0
        if number and self.config.on_error == "fail":
            row = pc.index(lost, True).as_py()
            wanted = next(
                type_ for column, type_ in self.config.columns.items() if column.casefold() == name.casefold()
            )
            raise ConversionFailed(
                f"row {seen + row + 1:,}: the column `{name}` holds {_shown(before[row].as_py())}, which does not fit {wanted} exactly",
                hint="`on_error: null` makes such values null; to round or cut on purpose, use `derive` with "
                f"an expression: cast({name} as {wanted})",
            )
        return number

    def _tell(self, misfits: Mapping[str, int], seen: int) -> None:
        for name, number in misfits.items():
            if number:
                self.context.notice(
                    f"{number:,} of {verb.rows(seen)} have null in `{name}` now, where the value did not fit",
                    level="warning",
                )


def _shown(value: object) -> str:
    # Whole or not at all: the redactor does not know a secret by its beginning.
    text = repr(value)
    return text if len(text) <= 60 else f"a value of {len(text)} characters"
