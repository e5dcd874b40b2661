"""What a text must be so that a type holds it unchanged, as SQL over the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipeline_flow.sql import exact
from pipeline_flow.sql.quote import literal

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNED = (
    "TINYINT",
    "INT1",
    "SMALLINT",
    "INT2",
    "INT16",
    "SHORT",
    "INTEGER",
    "INT",
    "INT4",
    "INT32",
    "SIGNED",
    "BIGINT",
)
_INTEGERS = {
    *_SIGNED,
    *("INT8", "INT64", "LONG", "HUGEINT", "INT128", "UHUGEINT", "UINT128", "UTINYINT", "UINT8", "USMALLINT"),
    *("UINT16", "UINTEGER", "UINT32", "UBIGINT", "UINT64"),
}
_FLOATS = {"DOUBLE": "DOUBLE", "FLOAT8": "DOUBLE", "FLOAT": "FLOAT", "FLOAT4": "FLOAT", "REAL": "FLOAT"}
_SURE = {"DOUBLE": 15, "FLOAT": 6}  # characters
_FLOAT = r"-?(?:0|[1-9][0-9]*)?(?:[.][0-9]*)?(?:[eE][+-]?[0-9]+)?"
_CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_SPACED = r"\s*{}\s*"


def _matches(key: str, pattern: str) -> str:
    return f"regexp_full_match({key}, {literal(pattern)})"


def _float_check(key: str) -> str:
    """At most 15 significant digits, which a double keeps, or a double's own shortest text."""
    mantissa = f"split_part(lower({key}), 'e', 1)"
    trimmed = f"case when contains({mantissa}, '.') then rtrim({mantissa}, '0') else {mantissa} end"
    digits = f"strlen(ltrim(replace(replace({trimmed}, '-', ''), '.', ''), '0'))"
    long = f"strlen({key}) <= 16 or {digits} <= 15 or try_cast({key} as double)::varchar = {key}"
    cast = f"try_cast({key} as double)"
    in_range = f"{cast} is not null and not {_out_of_range(key, cast)}"
    return f"({_matches(key, _FLOAT)} and {in_range} and ({long}))"


def _out_of_range(key: str, cast: str) -> str:
    """Whether a double is infinity, zero or short of digits only because it cannot be as large or as small as the text."""
    is_zero = f"ltrim(split_part(lower({key}), 'e', 1), '-0.') = ''"
    return f"(isinf({cast}) or (abs({cast}) < 2.3e-308 and not {is_zero} and {cast}::varchar <> {key}))"


# In the order in which a column's type is looked for: what a value must be, as SQL over its text.
INFERRED: dict[str, Callable[[str], str]] = {
    "BIGINT": lambda key: (
        f"coalesce(strlen({key}) <= 18 and try_cast({key} as bigint)::varchar = {key}, false)"
    ),
    "DOUBLE": _float_check,
    "BOOLEAN": lambda key: f"(lower({key}) in ('true', 'false'))",
    "DATE": lambda key: (
        f"({_matches(key, '[0-9]{4}-[0-9]{2}-[0-9]{2}')} and try_cast({key} as date) is not null)"
    ),
    "TIMESTAMP": lambda key: f"({_matches(key, _CLOCK)} and try_cast({key} as timestamp) is not null)",
    "TIMESTAMPTZ": lambda key: (
        f"({_matches(key, _CLOCK + _ZONE)} and try_cast({key} as timestamptz) is not null)"
    ),
}


# With all rows at hand, wide integers are looked for too: the sample alone would say too little of them.
INFERRED_BY_ALL = {
    "BIGINT": INFERRED["BIGINT"],
    "DECIMAL(38,0)": lambda key: f"({_matches(key, '-?[1-9][0-9]{0,37}|0')})",
    **INFERRED,
}


def _float_misfit(key: str) -> str:
    """What a double's text must not be. Comparisons of texts cost 3 ns each, the full check 90 ns a value."""
    leading_zero = f"({key} >= '00' and {key} < '0:') or ({key} < '.' and ({key} >= '-:' or ({key} >= '-00' and {key} < '-0:')))"
    return (
        f"({key} >= ':' or {key} < '-' or {leading_zero} or contains({key}, '_') "
        f"or (strlen({key}) > 16 and not {_float_check(key)}))"
    )


# After the sample, what a value must not be although the cast would take it: '007', '1.5' and '1e2' are integers to it.
# `cast` is the cast as it stands in the rest of the query, which DuckDB then computes once.
GUARDS: dict[str, Callable[[str, str], str]] = {
    "BIGINT": lambda key, cast: f"{cast}::varchar <> {key}",
    "DOUBLE": lambda key, cast: f"({_float_misfit(key)} or {_out_of_range(key, cast)})",
    "BOOLEAN": lambda key, _: f"lower({key}) not in ('true', 'false')",
    "DATE": lambda key, cast: f"{cast}::varchar <> {key}",
    "TIMESTAMP": lambda key, _: f"not {_matches(key, _CLOCK)}",
    "TIMESTAMPTZ": lambda key, _: f"not {_matches(key, _CLOCK + _ZONE)}",
}


def declared_check(key: str, type_: str) -> str | None:
    """What a value of a declared type must be so that nothing is rounded or cut; ``None`` where the cast itself knows."""
    word = " ".join(type_.upper().split())
    if word in _INTEGERS:
        return _matches(key, _SPACED.format("[+-]?[0-9]+"))
    if word in _FLOATS:
        target = _FLOATS[word]
        short = f"strlen({key}) <= {_SURE[target]} and not contains(lower({key}), 'e') and not contains({key}, '_')"
        return f"({short} or {exact.floating(key, target)})"
    decimal = re.fullmatch(r"(?:DECIMAL|NUMERIC|DEC)\s*(\(\s*\d+\s*(?:,\s*(\d+)\s*)?\))?", word)
    if decimal:
        scale = (decimal[2] or 0) if decimal[1] else 3  # DuckDB's own default
        return _matches(key, _SPACED.format(rf"[+-]?[0-9]*(?:[.][0-9]{{0,{scale}}}0*)?"))
    if word == "DATE":
        return _matches(key, _SPACED.format("[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"))
    if word in ("TIMESTAMP_S", "TIMESTAMP_MS"):
        fraction = "0*" if word == "TIMESTAMP_S" else "[0-9]{1,3}0*"
        return _matches(key, _SPACED.format(_CLOCK.replace("[0-9]{1,6}", fraction)))
    if word in ("TIMESTAMP", "DATETIME", "TIMESTAMP_US", "TIMESTAMP WITHOUT TIME ZONE"):
        return _matches(key, _SPACED.format(f"(?:{_CLOCK}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})"))
    if word == "TIMESTAMP_NS":
        return _matches(key, _SPACED.format(_CLOCK.replace("{1,6}", "{1,9}")))
    if word in ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"):
        return _matches(key, _SPACED.format(_CLOCK + _ZONE))
    if word in ("TIME", "TIME WITHOUT TIME ZONE"):
        return _matches(key, _SPACED.format("[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6})?)?"))
    return None
