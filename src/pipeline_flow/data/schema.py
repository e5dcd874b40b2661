"""What streams, adapters and handoffs ask of a schema, in one place and in one wording."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

from pipeline_flow.errors import ConversionFailed


def check_names(schema: pa.Schema) -> pa.Schema:
    """Gives ``schema`` back when its column names are distinct.

    Raises:
        ConversionFailed: a name stands twice, as after ``select a.*, b.*``; no destination could hold both.
    """
    twice = [name for name, count in Counter(schema.names).items() if count > 1]
    if twice:
        raise ConversionFailed(
            f"{_columns(twice)} more than once among {len(schema.names)} columns",
            hint="give each column a name of its own (in SQL: `select a.id as a_id, …`)",
        )
    return schema


def difference(expected: pa.Schema, found: pa.Schema) -> str:
    """The first way in which ``found`` is not ``expected``, in words that name the column; empty without one.

    Metadata does not count.
    """
    missing = [name for name in expected.names if name not in found.names]
    if missing:
        return f"{_columns(missing)} missing"
    extra = [name for name in found.names if name not in expected.names]
    if extra:
        return f"{_columns(extra)} new"
    for want, have in zip(expected, found, strict=True):
        if want.name != have.name:
            return f"column `{have.name}` stands where `{want.name}` was expected"
        if want.type != have.type:
            return f"column `{want.name}` is {have.type}, expected {want.type}"
        if want.nullable != have.nullable:
            return f"column `{want.name}` is {_nullable(have)}, expected {_nullable(want)}"
    return ""


def conform(batch: pa.RecordBatch, schema: pa.Schema, where: str, *, rows: bool = False) -> pa.RecordBatch:
    """``batch`` with the columns of ``schema``, where that changes no value.

    Columns are put in order by name, and a type that came from nothing but nulls becomes the schema's, at any depth.

    Args:
        batch: what a piece of data brought.
        schema: what was promised.
        where: names the piece in messages, such as ``piece 3``.
        rows: the batch comes from Python rows, whose types were found by looking at them. A missing column is then
            null, and numbers, times with a zone and decimals take the schema's type when every value survives.

    Raises:
        ConversionFailed: a column is new, missing, or of another type; the message names the column and ``where``.
    """
    if batch.schema.equals(schema):
        return batch
    extra = [name for name in batch.schema.names if name not in schema.names]
    if extra:
        raise ConversionFailed(
            f"{where} has {_new(extra)}, which the first piece lacks",
            hint="every piece must have the columns of the first",
        )
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            if not rows:
                raise ConversionFailed(
                    f"{where} lacks the column `{field.name}`",
                    hint="every piece must have the columns of the first",
                )
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        columns.append(_column(batch.column(index), field, where, rows=rows))
    if not columns:
        return batch
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """``batch`` with the columns and types of ``schema``, which somebody asked for; a value that would change is an error.

    Raises:
        ConversionFailed: a column is new, or has a value that its type cannot hold.
    """
    extra = [name for name in batch.schema.names if name not in schema.names]
    if extra:
        raise ConversionFailed(f"{where} has {_new(extra)}, which the given schema lacks")
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        found = pa.nulls(batch.num_rows, field.type) if index < 0 else batch.column(index)
        if found.type != field.type:
            if _loses_fields(found.type, field.type):
                raise ConversionFailed(
                    f"{where}: column `{field.name}` is {found.type}, the given schema has {field.type}"
                )
            try:
                found = found.cast(field.type, safe=True)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
                raise ConversionFailed(
                    f"{where}: column `{field.name}` is {found.type} and does not fit {field.type}: {error}"
                ) from error
        if not field.nullable and found.null_count:
            raise ConversionFailed(
                f"{where}: column `{field.name}` holds nulls, and the given schema allows none"
            )
        columns.append(found)
    return pa.RecordBatch.from_arrays(columns, schema=schema) if columns else batch


def _column(found: pa.Array, field: pa.Field, where: str, *, rows: bool) -> pa.Array:
    if not field.nullable and found.null_count:
        raise ConversionFailed(f"{where}: column `{field.name}` holds nulls, and the first piece allows none")
    if found.type == field.type:
        return found
    if not _fits(found.type, field.type, rows=rows):
        hint = "convert the column before you yield it"
        if pa.types.is_null(field.type):
            hint = (
                "the first piece holds only nulls in it; give a schema, or a first piece that shows its type"
            )
        raise ConversionFailed(
            f"{where}: column `{field.name}` is {found.type}, the first piece has {field.type}", hint=hint
        )
    try:
        return found.cast(field.type, safe=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConversionFailed(
            f"{where}: column `{field.name}` is {found.type} and does not fit {field.type} of the first piece: {error}"
        ) from error


def _fits(found: pa.DataType, wanted: pa.DataType, *, rows: bool) -> bool:
    """Whether a safe cast keeps every value, or raises: only then may it be done without being asked for."""
    types = pa.types
    if found == wanted or types.is_null(found):
        return True
    if types.is_struct(found) and types.is_struct(wanted):
        have, want = _fields(found), _fields(wanted)
        if not have.keys() <= want.keys() or not (rows or have.keys() == want.keys()):
            return False
        return all(_fits(have[name], want[name], rows=rows) for name in have)
    if (types.is_list(found) and types.is_list(wanted)) or (
        types.is_large_list(found) and types.is_large_list(wanted)
    ):
        return _fits(found.value_type, wanted.value_type, rows=rows)
    if not rows:
        return False
    return bool(
        (types.is_integer(found) and types.is_floating(wanted))
        or (types.is_integer(found) and types.is_integer(wanted))
        or (types.is_decimal(found) and types.is_decimal(wanted))
        or (types.is_integer(found) and types.is_decimal(wanted))
        or (
            types.is_timestamp(found)
            and types.is_timestamp(wanted)
            and (found.tz is None) == (wanted.tz is None)
        )
    )


def _loses_fields(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a cast would drop a field of a struct: Arrow does so without a word."""
    types = pa.types
    if types.is_struct(found) and types.is_struct(wanted):
        have, want = _fields(found), _fields(wanted)
        return not have.keys() <= want.keys() or any(_loses_fields(have[name], want[name]) for name in have)
    if types.is_nested(found) and types.is_nested(wanted) and found.num_fields == wanted.num_fields:
        return any(_loses_fields(found.field(i).type, wanted.field(i).type) for i in range(found.num_fields))
    return False


def _fields(struct: pa.StructType) -> dict[str, pa.DataType]:
    return {struct.field(i).name: struct.field(i).type for i in range(struct.num_fields)}


def _columns(names: list[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    return f"column {listed} is" if len(names) == 1 else f"columns {listed} are"


def _new(names: list[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in names)
    return f"the column {listed}" if len(names) == 1 else f"the columns {listed}"


def _nullable(field: pa.Field) -> str:
    return "nullable" if field.nullable else "not null"


def is_binary(type_: pa.DataType) -> bool:
    """Whether a column holds bytes, in any of Arrow's ways to store them."""
    kinds = pa.types
    return bool(
        kinds.is_binary(type_)
        or kinds.is_large_binary(type_)
        or kinds.is_fixed_size_binary(type_)
        or kinds.is_binary_view(type_)
    )
