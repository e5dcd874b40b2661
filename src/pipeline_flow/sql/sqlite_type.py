"""SQLite's declared types as Arrow's and back: a table for people, of which each row is tried."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table of types.

    Attributes:
        names: what a column is declared as, in any case; empty text for no type.
        arrow: the Arrow type that the extract gives.
        back: what a load into SQLite declares for that.
        note: what is to be known.
    """

    names: tuple[str, ...]
    arrow: str
    back: str
    note: str = ""


_ISO = "ISO text, from year 1 to 9999"
_VALUES = "by the first 16,384 values"
RULES = (
    Rule(("BOOLEAN", "BOOL"), "bool", "BOOLEAN", "0 and 1"),
    Rule(("INTEGER", "INT", "BIGINT", "UNSIGNED BIG INT"), "int64", "INTEGER", "any type with INT in its name"),
    Rule(("REAL", "DOUBLE", "FLOAT", "DOUBLE PRECISION"), "double", "REAL", "with infinities; -0 is 0 in SQLite"),
    Rule(("DECIMAL(15,2)", "NUMERIC(15,2)"), "decimal128(15, 2)", "DECIMAL(15,2)", "up to 15 digits as numbers, up to 18 without any behind the point"),
    Rule(("DECIMAL_TEXT(38,10)",), "decimal128(38, 10)", "DECIMAL_TEXT(38,10)", "longer ones as text, up to 76 digits"),
    Rule(("TEXT", "VARCHAR(5)", "CLOB", "STRING", "JSON_TEXT"), "string", "TEXT", "any type with CHAR, CLOB, TEXT or STRING in its name; null characters are kept, bytes that are no UTF-8 are an error"),
    Rule(("BLOB",), "binary", "BLOB"),
    Rule(("DATE",), "date32[day]", "DATE", _ISO),
    Rule(("TIME",), "time64[us]", "TIME", "ISO text"),
    Rule(("TIMESTAMP", "DATETIME"), "timestamp[us]", "TIMESTAMP", _ISO),
    Rule(("TIMESTAMP_NS",), "timestamp[ns]", "TIMESTAMP_NS", "ISO text, from 1677 to 2262"),
    Rule(("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"), "timestamp[us, tz=UTC]", "TIMESTAMPTZ", f"{_ISO}, with its offset; in UTC"),
    Rule(("UUID",), "extension<arrow.uuid>", "UUID", "text"),
    Rule(("", "NUMERIC", "JSON", "MONEY"), "string", "TEXT", f"no type, or any other, and values of several kinds {_VALUES}: numbers as text, bytes are an error"),
    Rule(("",), "int64", "INTEGER", f"{_VALUES}: integers alone. A later value of another kind is an error"),
    Rule(("",), "double", "REAL", f"{_VALUES}: floats alone"),
    Rule(("",), "string", "TEXT", f"{_VALUES}: texts, or nothing but nulls"),
    Rule(("",), "binary", "BLOB", f"{_VALUES}: bytes alone"),
)  # fmt: skip
"""What the `sql` extract makes of a declared type, and what a load makes of that."""

WRITTEN = (
    ("int8", "INTEGER", "integers of all sizes but uint64"),
    ("uint64", "DECIMAL_TEXT(20,0)", ""),
    ("float", "REAL", "`halffloat` too; NaN is an error, SQLite would make null of it"),
    ("decimal128(15, 2)", "DECIMAL(15,2)", "as a number, which SQLite can add"),
    ("decimal128(16, 2)", "DECIMAL_TEXT(16,2)", "as text, exactly"),
    ("decimal128(18, 0)", "DECIMAL(18,0)", ""),
    ("decimal128(19, 0)", "DECIMAL_TEXT(19,0)", ""),
    ("large_string", "TEXT", "dictionaries and `string_view` too"),
    ("large_binary", "BLOB", ""),
    ("date64[ms]", "DATE", ""),
    ("time32[ms]", "TIME", "nanoseconds that are not whole microseconds are an error"),
    ("timestamp[ns, tz=UTC]", "TIMESTAMPTZ", "the same"),
    ("extension<arrow.json>", "JSON_TEXT", "the text as it is"),
    ("list<item: int64>", "JSON_TEXT", "JSON; NaN and infinities in it are an error"),
    ("struct<a: int64>", "JSON_TEXT", "JSON; decimals and dates in it are texts"),
    ("map<string, int64>", "JSON_TEXT", "JSON: pairs"),
    ("null", "TEXT", ""),
    ("duration[us]", "", "refused: cast it to a number or to text"),
)
"""Other types of Arrow, what a load declares for them, and what is to be known."""
