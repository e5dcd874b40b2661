"""Casts that keep a value or refuse it: SQL that gives null for what a type would round, cut or misread."""

from __future__ import annotations

import re

from pipeline_flow.sql.quote import literal

TEXT = ("VARCHAR", "JSON")
_INTEGERS = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
)  # fmt: skip
_CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6}0*)?)?"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_MIDNIGHT = r"(?:[ T]00:00(?::00(?:[.]0+)?)?)?"
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.][0-9]{1,6}0*)?)?"
_MOMENT = rf"(?:{_CLOCK}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}})"
_DIGITS = {"DOUBLE": 15, "FLOAT": 6}  # significant ones, that survive the way into the type and back
_SMALLEST = {"DOUBLE": "2.3e-308", "FLOAT": "1.2e-38"}
_FINENESS = {"TIMESTAMP_S": 0, "TIMESTAMP_MS": 3, "TIMESTAMP_NS": 9}


def cast(key: str, source: str, target: str, form: str | None = None) -> str:
    """SQL for the value of column ``key`` as ``target``, null where that would not be exactly the value.

    Text has to be written as the type is: whole numbers with digits alone, dates and times in ISO form, or as ``form``
    says. Any other value has to come back the same when it is cast back.

    Args:
        key: the column in SQL.
        source: its type, as DuckDB calls it.
        target: the wanted type, as DuckDB calls it.
        form: how dates and times are written in text, as for DuckDB's ``strptime``.
    """
    if form is not None and source == "VARCHAR":
        moment = f"try_strptime({key}, {literal(form)})"
        value = f"try_cast({moment} as {target})"
        if target == "TIME":
            return value
        # What the target would cut off is missing when it is read back.
        same = f"cast({value} as timestamp) is not distinct from cast({moment} as timestamp)"
        return f"case when {same} then {value} end"
    if form is not None and target == "VARCHAR":
        return f"strftime({key}, {literal(form)})"
    value = f"try_cast({key} as {target})"
    if target in ("VARCHAR", source):
        return value
    if source == "VARCHAR":
        written = _written(key, target)
        return value if written is None else f"case when {written} then {value} end"
    return f"case when try_cast({value} as {source}) is not distinct from {key} then {value} end"


def _written(key: str, target: str) -> str | None:
    """What a text must be so that nothing is rounded or cut; ``None`` where the cast itself knows."""
    decimal = re.fullmatch(r"DECIMAL\(\d+,\s*(\d+)\)", target)
    if target in _INTEGERS:
        return _matches(key, "[+-]?[0-9]+")
    if decimal:
        scale = int(decimal[1])
        return _matches(key, rf"[+-]?(?:[0-9]+(?:[.][0-9]{{0,{scale}}}0*)?|[.][0-9]{{1,{max(scale, 1)}}}0*)")
    if target in _DIGITS:
        return floating(key, target)
    if target == "DATE":
        return _matches(key, "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}" + _MIDNIGHT)
    if target in _FINENESS:
        digits = _FINENESS[target]
        fraction = f"(?:[.][0-9]{{0,{digits}}}0*)?" if digits else "(?:[.]0+)?"
        return _matches(key, _MOMENT.replace("(?:[.][0-9]{1,6}0*)?", fraction))
    if target == "TIMESTAMP":
        return _matches(key, _MOMENT)
    if target == "TIMESTAMP WITH TIME ZONE":
        return _matches(key, _CLOCK + _ZONE)
    if target == "TIME":
        return _matches(key, _TIME)
    if target.endswith("]") or target.startswith(("STRUCT", "MAP", "UNION")):
        return f"try_cast({key} as {target})::varchar = {key}"
    return None


def floating(key: str, target: str) -> str:
    """What a text must be as a DOUBLE or FLOAT: no more digits than the type keeps, or the type's own shortest text."""
    mantissa = f"split_part(lower(trim({key})), 'e', 1)"
    trimmed = f"case when contains({mantissa}, '.') then rtrim({mantissa}, '0') else {mantissa} end"
    digits = f"strlen(ltrim(replace(replace(replace({trimmed}, '+', ''), '-', ''), '.', ''), '0'))"
    text = f"lower(trim({key}))"
    own = f"try_cast({key} as {target})::varchar in ({text}, {text} || '.0')"
    # Below that, a number has fewer digits, or becomes zero.
    large = f"({digits} = 0 or abs(try_cast({key} as {target})) >= {_SMALLEST[target]})"
    # `1_000` is a thousand to DuckDB, and `1e400` infinite.
    plain = f"not contains({key}, '_') and (isfinite(try_cast({key} as {target})) or not regexp_matches({key}, '[0-9]'))"
    return f"({plain} and (({digits} <= {_DIGITS[target]} and {large}) or {own}))"


def _matches(key: str, pattern: str) -> str:
    spaced = rf"\s*(?:{pattern})\s*"
    return f"regexp_full_match({key}, {literal(spaced)})"
