"""Lists as rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream

_PIECE_ROWS = 65_536


class ExplodeTransform(ITransformPlugin, plugin_name="explode"):
    """Makes a row of each element of a list, in the order of the lists and the elements.

    The other columns, or those that `keep` names, are repeated for each element. With `flatten`, the fields of a list
    of structs become columns. Rows whose list is empty or null make no row, or one with nulls where `outer` says so.
    """

    class Config(PluginConfig):
        column: str = Field(description="The column that holds the lists.", examples=["items"])
        keep: list[str] | Literal["all"] = Field(
            default="all",
            description="The other columns to keep: names, or `all`. Name the keys alone to make a child table.",
            examples=[["order_id"]],
        )
        index: str | None = Field(
            default=None,
            description="The name of a further column with the element's place in its list, counted from 1.",
            examples=["line_number"],
        )
        outer: bool = Field(
            default=False,
            description="Whether a row whose list is empty or null stays, with nulls in place of the element.",
            examples=[True],
        )
        flatten: bool = Field(
            default=False,
            description="Whether the fields of a list of structs become columns of their own.",
            examples=[True],
        )
        prefix: str | None = Field(
            default=None,
            description="With `flatten`, what stands before the names of the fields; by default the column's name and `_`. "
            'Empty (`""`) leaves the names as they are.',
            examples=["item_"],
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            given.need(self.column, "column")
            kept = given.names
            if self.keep != "all":
                for number, name in enumerate(self.keep):
                    given.need(name, "keep", number)
                kept = (*self.keep, self.column)
            if self.flatten or kept is None:  # the fields are in the data alone
                return None
            return (*kept, self.index) if self.index is not None else kept

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """A row for each element."""
        import pyarrow as pa

        from pipeline_flow.data import BatchStream, adapt

        config = self.config
        stream = adapt.to_stream(data)
        schema = stream.schema
        at = verb.find(schema, config.column, "column")
        element = _element(schema.field(at))
        kept = [index for index in range(len(schema)) if index != at]
        if config.keep != "all":
            kept = verb.find_all(schema, config.keep, "keep")
            if at in kept:
                raise ConversionFailed("`keep` names the exploded column", hint="it is there anyway")
        place = at if config.keep == "all" else len(kept)  # where the element's columns stand
        fields = self._fields(schema.field(at), element)
        if config.index is not None:
            fields.append(pa.field(config.index, pa.int64()))
        kept_fields = [schema.field(index) for index in kept]
        result = pa.schema([*kept_fields[:place], *fields, *kept_fields[place:]], schema.metadata)
        verb.distinct(result.names, "set `prefix` or `index`, or rename a column before")

        def batches() -> Iterator[pa.RecordBatch]:
            with stream:
                for batch in stream:
                    yield from self._exploded(batch, at, kept, place, result)

        return BatchStream(result, batches(), on_close=stream.close)

    def _fields(self, column: pa.Field, element: pa.Field) -> list[pa.Field]:
        import pyarrow as pa

        config = self.config
        if not config.flatten:
            return [element.with_name(column.name).with_nullable(element.nullable or config.outer)]
        if not pa.types.is_struct(element.type) or not element.type.num_fields:
            raise ConversionFailed(
                f"the column `{column.name}` is {column.type}, and `flatten` takes a list of structs",
                hint="leave `flatten` out",
            )
        prefix = f"{column.name}_" if config.prefix is None else config.prefix
        children = [element.type.field(index) for index in range(element.type.num_fields)]
        return [
            child.with_name(prefix + child.name).with_nullable(
                child.nullable or element.nullable or config.outer
            )
            for child in children
        ]

    def _exploded(
        self, batch: pa.RecordBatch, at: int, kept: list[int], place: int, result: pa.Schema
    ) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.compute as pc

        from pipeline_flow.data import pick

        lists = _plain(batch.column(at))
        lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())
        counts = pc.max_element_wise(lengths, 1) if self.config.outer else lengths
        ends = pc.cumulative_sum(counts)
        total = ends[-1].as_py()
        values, starts = _values(lists)
        if self.config.outer:  # one more, null, for the rows without an element
            values = pa.concat_arrays([values, pa.nulls(1, values.type)])
        others = batch.select(kept)
        parents = _repeated(ends, total)
        for first in range(0, total, _PIECE_ROWS):
            self.context.check()
            rows = parents.slice(first, _PIECE_ROWS)
            numbers = pa.array(range(first, first + len(rows)), pa.int64())
            within = pc.subtract(numbers, pc.subtract(ends, counts).take(rows))
            there = pc.less(within, lengths.take(rows))
            elements = pc.if_else(there, pc.add(starts.take(rows), within), len(values) - 1)
            found = pick.take(pa.RecordBatch.from_arrays([values], names=["value"]), elements).column(0)
            columns = found.flatten() if self.config.flatten else [found]
            if self.config.index is not None:
                columns.append(pc.if_else(there, pc.add(within, 1), pa.scalar(None, pa.int64())))
            repeated = pick.take(others, rows).columns if kept else []
            yield pa.RecordBatch.from_arrays([*repeated[:place], *columns, *repeated[place:]], schema=result)


def _element(field: pa.Field) -> pa.Field:
    """The field of a list's elements."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_map(field.type):
        return pa.field("entry", pa.struct([field.type.key_field, field.type.item_field]), nullable=False)
    listed = (
        kinds.is_list,
        kinds.is_large_list,
        kinds.is_fixed_size_list,
        kinds.is_list_view,
        kinds.is_large_list_view,
    )
    if not any(is_kind(field.type) for is_kind in listed):
        raise ConversionFailed(
            f"the column `{field.name}` is {field.type} and no list",
            hint="explode takes a column of lists; `flatten` makes columns of structs",
        )
    return field.type.value_field


def _plain(column: pa.Array) -> pa.Array:
    """A map as a list of its entries: Arrow ends the process over the length of a map's."""
    import pyarrow as pa

    if not pa.types.is_map(column.type):
        return column
    if column.offset:
        column = pa.concat_arrays([column])
    fields = [column.type.key_field, column.type.item_field]
    entries = pa.StructArray.from_arrays([column.keys, column.items], fields=fields)
    kind = pa.list_(pa.field("entry", entries.type, nullable=False))
    return pa.Array.from_buffers(kind, len(column), column.buffers()[:2], column.null_count, 0, [entries])


def _values(lists: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The elements of all lists, and for each list where among them its own begin."""
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_fixed_size_list(lists.type):
        size = lists.type.list_size
        first = lists.offset * size
        starts = range(first, first + len(lists) * size, size) if size else [0] * len(lists)
        return lists.values, pa.array(starts, pa.int64())
    starts = lists.offsets.slice(0, len(lists)).cast(pa.int64())
    return lists.values, starts


def _repeated(ends: pa.Array, total: int) -> pa.Array:
    """The index of each row as often as it stands in the result; ``ends`` is where its part of the result ends."""
    import pyarrow as pa
    import pyarrow.compute as pc

    offsets = pa.concat_arrays([pa.array([0], pa.int64()), ends])
    return pc.list_parent_indices(pa.LargeListArray.from_arrays(offsets, pa.nulls(total, pa.int8())))
