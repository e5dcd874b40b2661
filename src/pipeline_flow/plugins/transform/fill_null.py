"""Values in place of nulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    from typing import Self

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class FillNullTransform(ITransformPlugin, plugin_name="fill_null"):
    """Puts values in place of nulls; columns keep their type.

    Each column gets a value of its own, or, with `strategy`, the nearest value before it (`forward`) or behind it
    (`backward`) in the same column; nulls before the first value, or behind the last one, stay. A value that a column
    cannot hold is an error before any row flows. NaN is a number and no null.
    """

    class Config(PluginConfig):
        columns: dict[str, Any] | list[str] = Field(
            description="Values by column name, or, with `strategy`, the names of the columns.",
            examples=[{"quantity": 0, "country": "unknown"}, ["price"]],
            min_length=1,
        )
        strategy: Literal["forward", "backward"] | None = Field(
            default=None,
            description="Where the values come from, for a list of columns.",
            examples=["forward"],
        )

        @model_validator(mode="after")
        def _one_way(self) -> Self:
            if isinstance(self.columns, list) and self.strategy is None:
                raise ValueError(
                    "`columns` is a list, and nothing says what to fill in: add strategy: forward"
                )
            if isinstance(self.columns, dict) and self.strategy is not None:
                raise ValueError("`columns` gives values, and `strategy` others: write a list of columns")
            if isinstance(self.columns, dict) and None in self.columns.values():
                name = next(name for name, value in self.columns.items() if value is None)
                raise ValueError(f"`{name}` has no value to put in place of null")
            return self

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for number, name in enumerate(self.columns):
                by_name = isinstance(self.columns, dict)
                given.need(name, "columns", name if by_name else number, at_key=by_name)
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows with fewer nulls."""
        from pipeline_flow.data import adapt
        from pipeline_flow.sql import carrier

        stream = adapt.to_stream(data)
        columns = self.config.columns
        if isinstance(columns, dict):
            return self._with_values(stream, columns)
        indexes = verb.find_all(stream.schema, columns)
        if self.config.strategy == "forward":
            return self._forward(stream, indexes)
        # Backward is forward over the rows in reverse, which are sorted on disk where they are many.
        for _ in range(2):
            stream = carrier.whole(
                self.context,
                stream,
                lambda listed: f"select {listed} from data order by {carrier.PLACE} desc",
            )
            if indexes:
                stream, indexes = self._forward(stream, indexes), []
        return stream

    def _with_values(self, stream: BatchStream, values: dict[str, Any]) -> BatchStream:
        import pyarrow as pa

        from pipeline_flow.sql import value

        schema = stream.schema
        indexes = verb.find_all(schema, values)
        scalars = {
            index: value.scalar(given, schema.field(index), "columns")
            for index, given in zip(indexes, values.values(), strict=True)
        }
        fields = [
            field.with_type(scalars[index].type)
            if index in scalars and pa.types.is_null(field.type)
            else field
            for index, field in enumerate(schema)
        ]
        filled = pa.schema(fields, schema.metadata)

        def fill(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns = [
                _filled(column, scalars[index], filled.field(index).type) if index in scalars else column
                for index, column in enumerate(batch.columns)
            ]
            return pa.RecordBatch.from_arrays(columns, schema=filled)

        return stream.map(filled, fill)

    @staticmethod
    def _forward(stream: BatchStream, indexes: list[int]) -> BatchStream:
        import pyarrow as pa

        schema = stream.schema
        last: dict[int, pa.Array] = {}

        def fill(batch: pa.RecordBatch) -> pa.RecordBatch:
            columns = list(batch.columns)
            for index in indexes:
                before = last.get(index)
                if columns[index].null_count:
                    columns[index] = _forwarded(columns[index], before)
                end = columns[index].slice(len(columns[index]) - 1)
                last[index] = pa.concat_arrays([end])  # a copy, so that the batch can go
            return pa.RecordBatch.from_arrays(columns, schema=schema)

        return stream.map(schema, fill)


def _filled(column: pa.Array, value: pa.Scalar, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = pa.types
    if kinds.is_null(column.type):
        return pa.repeat(value, len(column))
    if kinds.is_run_end_encoded(type_):
        filled = _filled(pc.run_end_decode(column), value, type_.value_type)
        return pc.run_end_encode(filled, run_end_type=type_.run_end_type)
    if not column.null_count and not kinds.is_dictionary(type_):
        return column
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, _filled(column.storage, value.value, type_.storage_type))
    if kinds.is_dictionary(type_):
        filled = _filled(column.dictionary_decode(), value, type_.value_type).dictionary_encode()
        try:
            return pa.DictionaryArray.from_arrays(
                filled.indices.cast(type_.index_type), filled.dictionary, ordered=type_.ordered
            )
        except pa.ArrowInvalid:
            raise ConversionFailed(
                f"a column of {type_} cannot hold one more value", hint="cast it to VARCHAR before"
            ) from None
    missing = pc.is_null(column)
    indices = pc.if_else(missing, len(column), pa.array(range(len(column)), pa.int64()))
    return _taken(pa.concat_arrays([column, pa.repeat(value, 1)]), indices)


def _forwarded(column: pa.Array, before: pa.Array | None) -> pa.Array:
    """Each null replaced by the value before it, the first ones by ``before``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    start = 0 if before is None else len(before)
    joined = column if before is None else pa.concat_arrays([before, column])
    numbers = pa.array(range(len(joined)), pa.int64())
    places = pc.fill_null_forward(pc.if_else(pc.is_valid(joined), numbers, pa.scalar(None, pa.int64())))
    places = pc.coalesce(places, numbers)  # nulls before the first value stay
    return _taken(joined, places.slice(start))


def _taken(array: pa.Array, indices: pa.Array) -> pa.Array:
    import pyarrow as pa

    from pipeline_flow.data import pick

    return pick.take(pa.RecordBatch.from_arrays([array], names=["value"]), indices).column(0)
