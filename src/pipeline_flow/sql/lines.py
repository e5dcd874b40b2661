"""Rows as lines of text, CSV or JSON, made by DuckDB without a changed value."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_flow.data.schema import is_binary
from pipeline_flow.errors import ConversionFailed
from pipeline_flow.sql import duckdb
from pipeline_flow.sql.quote import literal, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream

_DATA = "data"
_LINE = "_pipeline_flow_line"
_MISFIT = "pipeline-flow:"


def stream(
    context: Context, data: BatchStream, line: Callable[[pa.Schema], str], keep: Sequence[str] = ()
) -> BatchStream:
    """The rows of ``data`` as lines, each with its line break: the columns ``keep``, then one column of text.

    Args:
        context: the step's.
        data: closed with the result.
        line: makes the SQL of a line from the schema of the columns that are not kept.
        keep: columns that stay what they are.

    Raises:
        ConversionFailed: the format has no form for a column, or, while reading, for a value.
    """
    connection = duckdb.in_memory(context)
    try:
        rest = pa.schema([field for field in data.schema if field.name not in keep])
        feed = duckdb.register(connection, _DATA, data)
        text = f"concat({line(rest)}, chr(10)) as {_LINE}"
        query = f"select {', '.join([*map(quote, keep), text])} from {_DATA}"
    except BaseException:
        data.close()
        connection.close()
        raise
    return duckdb.stream(connection, query, context=context, feeds=[feed], translate=_explained)


def _explained(error: Exception) -> Exception | None:
    _, found, rest = str(error).partition(_MISFIT)
    if not found:
        return None
    what, _, hint = rest.splitlines()[0].partition("|")
    return ConversionFailed(what, hint=hint)


# ---------------------------------------------------------------------------------------------- CSV


def csv_text(name: str, type_: str) -> str:
    """A column as CSV writes it, before it is put into quotes. ``type_`` is DuckDB's."""
    if type_ == "TIMESTAMP WITH TIME ZONE":
        # DuckDB itself writes +00, which fewer programs read.
        return f"cast({quote(name)} at time zone 'UTC' as varchar) || '+00:00'"
    return quote(name)


def csv_line(context: Context, delimiter: str) -> Callable[[pa.Schema], str]:
    """The SQL of a line of CSV; a null is nothing, an empty text is ``""``."""

    def line(schema: pa.Schema) -> str:
        connection = duckdb.in_memory(context)
        try:
            columns = duckdb.types_of(connection, duckdb.accepted(schema))
        finally:
            connection.close()
        return f", {literal(delimiter)}, ".join(_csv_field(name, type_, delimiter) for name, type_ in columns)

    return line


_PLAIN = (
    "BOOLEAN",
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
)


def _csv_field(name: str, type_: str, delimiter: str) -> str:
    text = f"cast({csv_text(name, type_)} as varchar)"
    if type_ in (*_PLAIN, "DATE", "FLOAT", "DOUBLE") and not (delimiter.isalnum() or delimiter in "-.+ ("):
        quoted = text
    else:
        parts = [f"contains({text}, {char})" for char in (literal(delimiter), "'\"'", "chr(10)", "chr(13)")]
        special = " or ".join([*parts, f"starts_with({text}, '#')"])  # some readers take it for a comment
        doubled = f"""'"' || replace({text}, '"', '""') || '"'"""
        quoted = f"case when {text} = '' or {special} then {doubled} else {text} end"
    return f"coalesce({quoted}, '')"


def csv_head(names: Sequence[str], delimiter: str) -> str:
    """The first line of a CSV file."""
    return delimiter.join(_csv_name(name, delimiter) for name in names) + "\n"


def _csv_name(name: str, delimiter: str) -> str:
    special = not name or any(char in name for char in (delimiter, '"', "\n", "\r"))
    return '"' + name.replace('"', '""') + '"' if special else name


# ---------------------------------------------------------------------------------------------- JSON


def json_line(schema: pa.Schema) -> str:
    """The SQL of a JSON object with the columns as its members, every value exact."""
    parts = ["'{'"]
    for number, field in enumerate(schema):
        parts.append(literal(("," if number else "") + _member(field.name)))
        parts.append(_json(quote(field.name), duckdb.accepted_field(field).type, field.name, 0))
    return ", ".join([*parts, "'}'"])


def _member(name: str) -> str:
    return json.dumps(name, ensure_ascii=False) + ":"


def _json(value: str, type_: pa.DataType, column: str, depth: int) -> str:
    """The SQL of a value as JSON, ``null`` for null."""
    return f"coalesce({_not_null(value, type_, column, depth)}, 'null')"


def _not_null(value: str, type_: pa.DataType, column: str, depth: int) -> str:
    is_ = pa.types
    text = f"cast({value} as varchar)"
    if isinstance(type_, pa.BaseExtensionType):
        # A line break in JSON text can only stand between its tokens.
        is_json = type_.extension_name == "arrow.json"
        return (
            f"replace(replace({text}, chr(10), ' '), chr(13), ' ')"
            if is_json
            else _number_or_text(value, type_)
        )
    if is_.is_decimal(type_) and type_.scale == type_.precision:  # DuckDB writes .5, which is no JSON
        return f"case when {value} < 0 then '-0' || substr({text}, 2) else '0' || {text} end"
    if is_.is_boolean(type_) or is_.is_integer(type_) or is_.is_decimal(type_):
        return text
    if is_.is_floating(type_):
        wrong = _misfit(
            column,
            "NaN or infinity, which JSON does not have",
            "make it null: nullif, or case when isfinite(…)",
        )
        return f"case when {value} is null then null when isfinite({value}) then cast(to_json(cast({value} as double)) as varchar) else {wrong} end"
    if is_binary(type_):
        return f"""'"' || to_base64({value}) || '"'"""
    if is_.is_date(type_) or is_.is_timestamp(type_):
        return _moment(value, type_, column)
    if is_.is_time(type_):
        return f"""'"' || {text} || '"'"""
    if is_.is_struct(type_):
        return _struct(value, type_, column, depth)
    if is_.is_map(type_):
        return _map(value, type_, column, depth)
    if (
        is_.is_list(type_)
        or is_.is_large_list(type_)
        or is_.is_fixed_size_list(type_)
        or is_.is_list_view(type_)
    ):
        item = f"x{depth}"
        inner = _json(item, type_.value_type, column, depth + 1)
        return f"'[' || array_to_string(list_transform({value}, lambda {item}: {inner}), ',') || ']'"
    if is_.is_union(type_):
        raise ConversionFailed(
            f"the column `{column}` is a union, which JSON does not have", hint="cast it in a transform"
        )
    return f"cast(to_json({text}) as varchar)"  # text, categories, intervals


def _number_or_text(value: str, type_: pa.DataType) -> str:
    text = f"cast({value} as varchar)"
    if isinstance(type_, pa.Bool8Type) or getattr(type_, "type_name", "") in (
        "hugeint",
        "uhugeint",
        "bignum",
    ):
        return text
    return f"cast(to_json({text}) as varchar)"


def _moment(value: str, type_: pa.DataType, column: str) -> str:
    wrong = _misfit(
        column,
        "a date outside of the years 1 to 9999, which ISO 8601 cannot say",
        "cast it to text in a transform",
    )
    text = f"cast({value} as varchar)"
    plain = value
    if pa.types.is_timestamp(type_):
        if type_.tz is not None:
            plain = f"({value} at time zone 'UTC')"
        zone = "" if type_.tz is None else " || 'Z'"
        text = f"replace(cast({plain} as varchar), ' ', 'T'){zone}"
    fits = f"isfinite({plain}) and year({plain}) between 1 and 9999"
    return f"""case when {value} is null then null when {fits} then '"' || {text} || '"' else {wrong} end"""


def _struct(value: str, type_: pa.DataType, column: str, depth: int) -> str:
    parts = []
    for index in range(type_.num_fields):
        field = type_.field(index)
        inner = _json(
            f"struct_extract({value}, {literal(field.name)})", field.type, f"{column}.{field.name}", depth
        )
        parts.append(f"{literal((',' if index else '') + _member(field.name))}, {inner}")
    return f"case when {value} is null then null else concat('{{', {', '.join(parts)}, '}}') end"


def _map(value: str, type_: pa.DataType, column: str, depth: int) -> str:
    item = f"x{depth}"
    key = f"cast(to_json(cast({item}.key as varchar)) as varchar)"
    inner = _json(f"{item}.value", type_.item_type, column, depth + 1)
    pairs = f"list_transform(map_entries({value}), lambda {item}: {key} || ':' || {inner})"
    return f"'{{' || array_to_string({pairs}, ',') || '}}'"


def _misfit(column: str, what: str, hint: str) -> str:
    return f"error({literal(f'{_MISFIT}the column `{column}` holds {what}|{hint}')})"
