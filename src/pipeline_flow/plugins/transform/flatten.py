"""Nested columns side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class FlattenTransform(ITransformPlugin, plugin_name="flatten"):
    """Makes columns of the fields of structs, in their place; `{address: {city: …}}` becomes `address_city`.

    Where a struct is null, so are its fields. Lists stay as they are (`explode` makes rows of them). Two columns of
    one name are an error: choose another separator, or rename one before.
    """

    class Config(PluginConfig):
        columns: list[str] | None = Field(
            default=None,
            description="The columns to flatten; every struct by default.",
            examples=[["address"]],
            min_length=1,
        )
        separator: str = Field(
            default="_",
            description="What stands between the name of the column and that of the field.",
            examples=["."],
        )
        depth: int | None = Field(
            default=None, ge=1, description="How many levels to flatten; all by default.", examples=[1]
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for number, name in enumerate(self.columns or ()):
                given.need(name, "columns", number)
            return None  # the fields of structs are in the data alone

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows with flat columns."""
        import pyarrow as pa

        from pipeline_flow.data import adapt

        stream = adapt.to_stream(data)
        schema = stream.schema
        wanted = list(range(len(schema)))
        if self.config.columns is not None:
            wanted = verb.find_all(schema, self.config.columns)
            for index in wanted:
                if not pa.types.is_struct(schema.field(index).type):
                    raise ConversionFailed(
                        f"the column `{schema.names[index]}` is {schema.field(index).type} and has no fields",
                        hint="flatten takes structs; `explode` makes rows of lists",
                    )
        depth = self.config.depth
        fields = [
            flat
            for index, field in enumerate(schema)
            for flat in (self._fields(field, depth) if index in wanted else [field])
        ]
        names = [field.name for field in fields]
        verb.distinct(names, "choose another `separator`, or rename a column before")
        flattened = pa.schema(fields, schema.metadata)

        def flatten(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns = [
                flat
                for index, column in enumerate(batch.columns)
                for flat in (_columns(column, depth) if index in wanted else [column])
            ]
            return pa.RecordBatch.from_arrays(columns, schema=flattened)

        return stream.map(flattened, flatten)

    def _fields(self, field: pa.Field, depth: int | None) -> list[pa.Field]:
        if not _is_open(field.type, depth):
            return [field]
        inner = [field.type.field(index) for index in range(field.type.num_fields)]
        return [
            flat
            for child in inner
            for flat in self._fields(
                child.with_name(f"{field.name}{self.config.separator}{child.name}").with_nullable(
                    child.nullable or field.nullable
                ),
                None if depth is None else depth - 1,
            )
        ]


def _columns(column: pa.Array, depth: int | None) -> list[pa.Array]:
    if not _is_open(column.type, depth):
        return [column]
    inner = None if depth is None else depth - 1
    return [flat for child in column.flatten() for flat in _columns(child, inner)]


def _is_open(type_: pa.DataType, depth: int | None) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_struct(type_) and type_.num_fields and depth != 0)
