"""Nested columns laid out: a list as rows of its own, structs as columns."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import WrongArgument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline_flow.data import BatchStream

INDEX = "_index"


def explode(
    stream: BatchStream, path: str, keys: Mapping[str, str], always: Sequence[str] = ()
) -> BatchStream:
    """A row for each item of a list: the keys, the place in the list from 0 (``_index``), and the item.

    The fields of an item that is an object become columns; another item is one column, called as the list is. A row
    whose list is empty or null gives none.

    Args:
        stream: the rows; taken over.
        path: the dotted path of the list, through structs.
        keys: columns of the outer row that are kept: new name → dotted path.
        always: columns of the outer row that stand last, under their names.

    Raises:
        WrongArgument: a path leads nowhere, there is no list, or two columns would have one name.
    """
    steps = _steps(stream.schema, path, "explode")
    list_type = _type_at(stream.schema, steps)
    if not (pa.types.is_list(list_type) or pa.types.is_large_list(list_type)):
        raise WrongArgument(
            f"`explode` names `{path}`, which is no list but {list_type}",
            hint="`explode` makes a row of each item of a list; objects become columns with `flatten`",
        )
    kept = {name: _steps(stream.schema, key, "keys") for name, key in keys.items()}
    outer = [pa.field(name, _type_at(stream.schema, at)) for name, at in kept.items()]
    item = list_type.value_type
    inner = list(item) if pa.types.is_struct(item) else [pa.field(steps[-1], item)]
    last = [stream.schema.field(name) for name in always]
    fields = [*outer, pa.field(INDEX, pa.int64()), *inner, *last]
    for name, count in Counter(field.name for field in fields).items():
        if count > 1:
            raise WrongArgument(
                f"exploding `{path}` gives {count} columns called `{name}`",
                hint=f"give the key another name: keys: {{parent_{name}: {keys.get(name, name)}}}",
            )
    schema = pa.schema(fields)

    def rows(batch: pa.RecordBatch) -> pa.RecordBatch:
        lists = _at(batch, steps)
        parents = pc.list_parent_indices(lists)
        items = pc.list_flatten(lists)
        columns = [_at(batch, at).take(parents) for at in kept.values()]
        columns.append(_places(lists, parents))
        columns += items.flatten() if pa.types.is_struct(item) else [items]
        columns += [batch.column(name).take(parents) for name in always]
        return pa.RecordBatch.from_arrays(columns, schema=schema)

    return stream.map(schema, rows)


def _places(lists: pa.Array, parents: pa.Array) -> pa.Array:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).cast(pa.int64())
    starts = pc.subtract(pc.cumulative_sum(lengths), lengths)
    count = pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), len(parents)))
    return pc.subtract(pc.subtract(count, 1), starts.take(parents))


def flatten(stream: BatchStream, separator: str) -> BatchStream:
    """Structs as columns, at any depth: ``address`` with ``zip`` is ``address_zip``. Lists stay.

    Args:
        stream: the rows; taken over.
        separator: stands between the names.

    Raises:
        WrongArgument: two columns would have one name.
    """
    fields = [inner for field in stream.schema for inner in _flat_fields(field, separator)]
    for name, count in Counter(field.name for field in fields).items():
        if count > 1:
            raise WrongArgument(
                f"flattening gives {count} columns called `{name}`",
                hint='use another separator, such as flatten: "__"',
            )
    schema = pa.schema(fields)

    def flat(batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [inner for column in batch.columns for inner in _flat_arrays(column)]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return stream.map(schema, flat)


def _flat_fields(field: pa.Field, separator: str) -> list[pa.Field]:
    if not pa.types.is_struct(field.type):
        return [field]
    return [
        inner
        for child in field.type
        for inner in _flat_fields(child.with_name(f"{field.name}{separator}{child.name}"), separator)
    ]


def _flat_arrays(array: pa.Array) -> list[pa.Array]:
    if not pa.types.is_struct(array.type):
        return [array]
    return [inner for child in array.flatten() for inner in _flat_arrays(child)]


# ---------------------------------------------------------------------------------------------- paths


def _steps(schema: pa.Schema, path: str, argument: str) -> list[str]:
    """The names that ``path`` means; a name that holds dots itself goes before a path of names."""
    names, steps, rest = schema.names, [], path
    fields = {field.name: field.type for field in schema}
    while True:
        name = (
            rest
            if rest in fields
            else next((known for known in fields if rest.startswith(f"{known}.")), None)
        )
        if name is None:
            raise WrongArgument(
                f"`{argument}` names `{path}`, and there is no `{rest}`",
                hint=hint(rest, list(names), "there are"),
            )
        steps.append(name)
        if name == rest:
            return steps
        rest = rest[len(name) + 1 :]
        inner = fields[name]
        if not pa.types.is_struct(inner):
            raise WrongArgument(
                f"`{argument}` names `{path}`, and `{'.'.join(steps)}` is no object but {inner}",
                hint="through a list: explode the outer one here and the inner one in a transform",
            )
        fields = {field.name: field.type for field in inner}
        names = list(fields)


def _type_at(schema: pa.Schema, steps: Sequence[str]) -> pa.DataType:
    type_ = schema.field(steps[0]).type
    for name in steps[1:]:
        type_ = type_.field(name).type
    return type_


def _at(batch: pa.RecordBatch, steps: Sequence[str]) -> pa.Array:
    array = batch.column(steps[0])
    for name in steps[1:]:
        array = array.flatten()[array.type.get_field_index(name)]
    return array
