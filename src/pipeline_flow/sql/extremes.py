"""What becomes of the values at the edges, database by database: a table for people, of which each row is tried."""

from __future__ import annotations

from dataclasses import dataclass

KEPT = "kept"
REFUSED = "refused"
NONE = "-"
"""The database has no such value, or Arrow cannot bring it one."""
DATABASES = ("PostgreSQL", "MariaDB", "SQLite", "DuckDB")


@dataclass(frozen=True, slots=True)
class Extreme:
    """A value, and what the `sql` plugins do about it.

    Attributes:
        value: what it is, for people.
        read: by database, in the order of ``DATABASES``: what an extract does about it.
        written: the same of a load.
        note: what is to be known.
    """

    value: str
    read: tuple[str, str, str, str]
    written: tuple[str, str, str, str]
    note: str = ""


_ALL = (KEPT, KEPT, KEPT, KEPT)
EXTREMES = (
    Extreme("NaN", (KEPT, NONE, NONE, KEPT), (KEPT, REFUSED, REFUSED, KEPT)),
    Extreme("NaN of a decimal", (REFUSED, NONE, NONE, NONE), (NONE, NONE, NONE, NONE), "PostgreSQL's numeric(p, s); without digits it is text, and kept"),
    Extreme("infinity", (KEPT, NONE, KEPT, KEPT), (KEPT, REFUSED, KEPT, KEPT)),
    Extreme("-infinity", (KEPT, NONE, KEPT, KEPT), (KEPT, REFUSED, KEPT, KEPT)),
    Extreme("-0.0", (KEPT, NONE, NONE, KEPT), (KEPT, "0.0", "0.0", KEPT), "MariaDB and SQLite have one zero, which is equal to it"),
    Extreme("5e-324, the smallest double", _ALL, _ALL),
    Extreme("1.7976931348623157e308, the largest double", _ALL, _ALL),
    Extreme("-9223372036854775808, the smallest bigint", _ALL, _ALL),
    Extreme("18446744073709551615, the largest unsigned bigint", (NONE, KEPT, NONE, KEPT), ("as decimal", KEPT, "as decimal", KEPT)),
    Extreme("38 nines", _ALL, _ALL),
    Extreme("38 nines behind the point", _ALL, _ALL),
    Extreme("65 nines", (KEPT, KEPT, KEPT, NONE), (KEPT, KEPT, KEPT, REFUSED), "in DuckDB the type is refused, before a row"),
    Extreme("2^127 - 1, the largest hugeint", (NONE, NONE, NONE, REFUSED), (NONE, NONE, NONE, NONE), "up to 38 digits are kept"),
    Extreme("1e-16383, the smallest numeric", ("as text", NONE, NONE, NONE), (NONE, NONE, NONE, NONE), "`columns` can ask for a DECIMAL, which refuses it"),
    Extreme("0001-01-01", _ALL, _ALL),
    Extreme("9999-12-31", _ALL, _ALL),
    Extreme("0001-01-01 00:00:00", _ALL, _ALL),
    Extreme("9999-12-31 23:59:59.999999", _ALL, _ALL),
    Extreme("9999-12-31 23:59:59.999999 UTC", (KEPT, NONE, KEPT, KEPT), (KEPT, REFUSED, KEPT, KEPT), "MariaDB's TIMESTAMP ends in 2038, from 11.5 on in 2106; a DATETIME does not"),
    Extreme("0000-00-00", (NONE, REFUSED, REFUSED, NONE), (NONE, NONE, NONE, NONE), "the message says how to read it as null or as text"),
    Extreme("0044-03-15 BC", (REFUSED, NONE, REFUSED, KEPT), (REFUSED, REFUSED, REFUSED, KEPT)),
    Extreme("0044-03-15 12:00:00 BC", (REFUSED, NONE, REFUSED, KEPT), (REFUSED, REFUSED, REFUSED, KEPT)),
    Extreme("year 10000", (REFUSED, NONE, REFUSED, KEPT), ("kept, and refused when it is read", REFUSED, REFUSED, KEPT)),
    Extreme("infinity as a date", (REFUSED, NONE, REFUSED, KEPT), (REFUSED, REFUSED, REFUSED, KEPT)),
    Extreme("infinity as a timestamp", (REFUSED, NONE, REFUSED, KEPT), (REFUSED, REFUSED, REFUSED, KEPT)),
    Extreme("24:00:00", (REFUSED, REFUSED, REFUSED, KEPT), (REFUSED, REFUSED, REFUSED, KEPT)),
    Extreme("a nanosecond", (NONE, NONE, KEPT, KEPT), (REFUSED, REFUSED, KEPT, KEPT)),
    Extreme("an empty text, beside a null", _ALL, _ALL),
    Extreme("NUL in a text", (NONE, KEPT, KEPT, KEPT), (REFUSED, KEPT, KEPT, KEPT)),
    Extreme("half of a surrogate pair", (NONE, REFUSED, REFUSED, NONE), (REFUSED, REFUSED, REFUSED, REFUSED), "and any other bytes that are no UTF-8"),
    Extreme("U+10FFFF, the last character", _ALL, _ALL),
    Extreme("empty bytes, beside a null", _ALL, _ALL),
    Extreme("a mebibyte of zero bytes", _ALL, _ALL),
    Extreme("an empty list, beside a null", (KEPT, NONE, NONE, KEPT), (KEPT, "as JSON", "as JSON", KEPT)),
)  # fmt: skip
