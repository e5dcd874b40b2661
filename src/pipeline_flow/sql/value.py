"""Values from the YAML as values of a column."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import WrongArgument

if TYPE_CHECKING:
    import pyarrow as pa


def scalar(value: Any, field: pa.Field, where: str) -> pa.Scalar:
    """``value`` as the type of ``field``, exactly. Text becomes whatever the column is; a number stays a number.

    Args:
        value: a text, number, truth value, list or mapping.
        field: the column.
        where: the argument that holds the value, for messages.

    Raises:
        WrongArgument: the column cannot hold it.
    """
    import pyarrow as pa

    try:
        found = _scalar(value, field.type)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, InvalidOperation):
        found = None
    if found is None:
        raise WrongArgument(
            f"`{where}` gives {value!r} for the column `{field.name}`, which is {field.type}",
            hint="write a value of that type, or cast the column before",
        )
    return found


def _scalar(value: Any, type_: pa.DataType) -> pa.Scalar | None:
    import pyarrow as pa

    kinds = pa.types
    if isinstance(type_, pa.BaseExtensionType):
        inner = _scalar(value, type_.storage_type)
        return None if inner is None else pa.ExtensionScalar.from_storage(type_, inner)
    if kinds.is_dictionary(type_) or kinds.is_run_end_encoded(type_):
        return _scalar(value, type_.value_type)
    if kinds.is_null(type_):
        return pa.scalar(value)
    if kinds.is_boolean(type_) or isinstance(value, bool):
        return pa.scalar(value, type_) if kinds.is_boolean(type_) and isinstance(value, bool) else None
    if isinstance(value, int | float):
        return _number(value, type_)
    if isinstance(value, str):
        text = kinds.is_string(type_) or kinds.is_large_string(type_) or kinds.is_string_view(type_)
        if text or kinds.is_binary(type_) or kinds.is_large_binary(type_):
            return pa.scalar(value.encode() if not text else value, type_)
        if kinds.is_integer(type_) or kinds.is_floating(type_):
            return None  # `"0"` for a number is a mistake more often than not
        if kinds.is_decimal(type_):
            return pa.scalar(Decimal(value), type_)
        return pa.scalar(value).cast(type_)
    return pa.scalar(value, type_)


def _number(value: float, type_: pa.DataType) -> pa.Scalar | None:
    import pyarrow as pa

    kinds = pa.types
    if kinds.is_integer(type_):
        return pa.scalar(int(value), type_) if int(value) == value else None
    if kinds.is_floating(type_):
        found = pa.scalar(float(value), type_)
        # A YAML's 0.1 is meant for a float, too, although it is not the same as a double.
        return found if math.isclose(found.as_py(), value, rel_tol=1e-6) and _whole(value, found) else None
    if kinds.is_decimal(type_):
        return pa.scalar(Decimal(str(value)), type_)
    return None


def _whole(value: float, found: pa.Scalar) -> bool:
    return not isinstance(value, int) or found.as_py() == value
