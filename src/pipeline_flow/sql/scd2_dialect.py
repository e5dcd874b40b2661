"""What the SQL of a Type 2 history has of each database's own."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pipeline_flow.sql import dialect
from pipeline_flow.sql.quote import literal, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOCK_SECONDS = 86_400  # how long a run waits for another one over the same history


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, its type in the database's own words. ``optional``: it may be left out of an INSERT."""

    name: str
    type: str
    optional: bool = False


class Dialect:
    """The common ground; databases differ from it in a few methods each."""

    words: ClassVar[dialect.Dialect] = dialect.DUCKDB
    moment_type = "timestamp with time zone"
    boolean_type = "boolean"
    text_type = "text"  # in a cast
    drops_temporary = False  # DROP TEMPORARY TABLE, which ends no transaction

    def quote(self, *parts: str) -> str:
        """An identifier."""
        return quote(*parts, dialect=self.words)

    def exact(self, expression: str, type_: str) -> str:  # noqa: ARG002 - a database may need the type
        """``expression`` in a form that tells every two values apart and can be sorted."""
        return expression

    def same(self, left: str, right: str, type_: str) -> str:
        """A condition: both values are the same, or both null. Never unknown."""
        return f"{self.exact(left, type_)} is not distinct from {self.exact(right, type_)}"

    def equal(self, left: str, right: str, type_: str) -> str:
        """A condition for keys, which are not null: one that an index may serve."""
        return f"{self.exact(left, type_)} = {self.exact(right, type_)}"

    def temporary(self, name: str, columns: Sequence[Column], keys: Sequence[Column]) -> list[str]:
        """Statements that make a temporary table; it will be joined by ``keys``."""
        del keys
        listed = ", ".join(f"{self.quote(column.name)} {column.type}" for column in columns)
        return [f"create temporary table {name} ({listed})"]

    def create(self, table: Sequence[str], columns: Sequence[Column], keys: Sequence[Column]) -> list[str]:
        """Statements that make the table of a history. ``keys`` and validity's begin tell its rows apart."""
        listed = ", ".join(f"{self.quote(column.name)} {column.type}" for column in columns)
        unique = ", ".join(self.quote(column.name) for column in keys)
        return [f"create table {self.quote(*table)} ({listed}, unique ({unique}))"]

    def update(self, table: str, values: Sequence[tuple[str, str]], source: str, where: str) -> str:
        """A statement that writes columns of ``source`` (a table, called ``p``) into those of ``table``."""
        listed = ", ".join(f"{name} = {value}" for name, value in values)
        return f"update {table} set {listed} from {source} p where {where}"

    def moment(self, at: dt.datetime, type_: str) -> str | None:
        """SQL for a moment as a value of ``type_``: a zone's loss means UTC. ``None``: the type is no time."""
        text = self._moment_text(at.astimezone(dt.UTC), type_)
        return None if text is None else f"cast({literal(text)} as {type_})"

    def _moment_text(self, at: dt.datetime, type_: str) -> str | None:
        word = type_.lower()
        clock = at.replace(tzinfo=None).isoformat(" ", "microseconds")
        if word == "date":
            return clock[:10]
        if "with time zone" in word or word.startswith("timestamptz"):
            return f"{clock}+00:00"
        return clock if word.startswith(("timestamp", "datetime")) else None

    def unordered(self, expression: str, type_: str) -> str | None:  # noqa: ARG002 - a database may need both
        """A condition for values whose order is not that of time; ``None`` where the type itself sees to it."""
        return None

    def reserve(self, table: Sequence[str]) -> str | None:  # noqa: ARG002 - a database may need it
        """The statement after which no other run makes the table, until the transaction ends."""
        return None

    def lock(self, table: Sequence[str]) -> str | None:  # noqa: ARG002 - a database may need it
        """A statement that makes other runs over this history wait; ``None`` where a transaction that writes does."""
        return None

    def fits(self, source: str, target: str) -> bool:
        """Whether a column of type ``target`` takes the values of a ``source`` unchanged, or refuses them."""
        return _fits(source, target)


_RANKS = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "integer": 4, "bigint": 5}
_CHARACTERS = ("char", "character", "varchar", "character varying")


def _fits(source: str, target: str) -> bool:
    """The same type, or an obviously wider one: an integer of more bytes, a text with more room."""
    (source, room), (target, theirs) = _sized(source), _sized(target)
    if (source, room) == (target, theirs):
        return True
    if source in _RANKS and target in _RANKS:
        return _RANKS[source] <= _RANKS[target]
    if source not in _CHARACTERS:
        return False
    if target in ("text", "longtext"):
        return True
    return target in ("varchar", "character varying") and (not theirs or 0 < room <= theirs)


def _sized(type_: str) -> tuple[str, int]:
    """``varchar(9) character set latin1`` → ``("varchar", 9)``; a type with two figures stays as it is, 0."""
    word = re.split(r" character set | collate ", type_.lower(), maxsplit=1)[0]
    match = re.fullmatch(r"([a-z ]+)\((\d+)\)", word)
    if match is None:
        return word, 0
    return match[1], 0 if match[1] in _RANKS else int(match[2])  # an integer's figure is for display


class DuckDB(Dialect):
    """DuckDB."""

    def create(self, table: Sequence[str], columns: Sequence[Column], keys: Sequence[Column]) -> list[str]:
        """No index: it would only slow DuckDB's joins, which are hash joins anyway."""
        del keys
        listed = ", ".join(f"{self.quote(column.name)} {column.type}" for column in columns)
        schema = [f"create schema if not exists {self.quote(*table[:-1])}"] if len(table) > 1 else []
        return [*schema, f"create table {self.quote(*table)} ({listed})"]

    def fits(self, source: str, target: str) -> bool:
        """As for a load."""
        from pipeline_flow.sql import duckdb_target

        return duckdb_target.fits(source, target)


class SQLite(Dialect):
    """SQLite, whose times are texts, sorted as such."""

    words = dialect.SQLITE
    moment_type = "TIMESTAMPTZ"
    boolean_type = "BOOLEAN"

    def exact(self, expression: str, type_: str) -> str:
        """Texts by their bytes, whatever the column says."""
        del type_
        return f"{expression} collate binary"

    def temporary(self, name: str, columns: Sequence[Column], keys: Sequence[Column]) -> list[str]:
        """With an index: the subqueries of a DELETE get none of SQLite's own."""
        listed = ", ".join(self.quote(column.name) for column in keys)
        index = f"create index temp.{name}_by_key on {name} ({listed})"
        return [*super().temporary(name, columns, keys), index]

    def same(self, left: str, right: str, type_: str) -> str:
        """SQLite's IS."""
        return f"{self.exact(left, type_)} is {self.exact(right, type_)}"

    def moment(self, at: dt.datetime, type_: str) -> str | None:
        """A text in the form that a load gives such a column."""
        word = type_.upper()
        if word == "TIMESTAMP_NS":
            text = self._moment_text(at.astimezone(dt.UTC), "timestamp")
            return literal(f"{text}000")
        text = self._moment_text(at.astimezone(dt.UTC), word)
        return None if text is None else literal(text)

    def unordered(self, expression: str, type_: str) -> str | None:
        """Texts sort by time only where all are written alike."""
        day = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
        word = type_.upper()
        if word == "DATE":
            return f"{expression} not glob '{day}'"
        clock = f"{day} [0-9][0-9]:[0-9][0-9]:[0-9][0-9]"
        if word in ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"):
            return f"{expression} not glob '{clock}.[0-9][0-9][0-9][0-9][0-9][0-9]+00:00'"
        if word.startswith(("TIMESTAMP", "DATETIME")):
            return f"({expression} not glob '{clock}' and {expression} not glob '{clock}.*')"
        return None

    def fits(self, source: str, target: str) -> bool:
        """As for a load."""
        from pipeline_flow.sql import sqlite_target

        return sqlite_target.fits(source, target)


class Postgres(Dialect):
    """PostgreSQL. Some of its types have no equality; their texts do."""

    words = dialect.POSTGRESQL

    def reserve(self, table: Sequence[str]) -> str | None:
        """A lock on the name: of a table that is not there yet nothing else can be locked."""
        name = "'" + ".".join(table[-1:]).replace("'", "''") + "'"
        schema = "'" + table[-2].replace("'", "''") + "'" if len(table) > 1 else "current_schema()"
        return f"select pg_advisory_xact_lock(hashtextextended(concat('pipeline-flow ', {schema}, '.', {name}), 0))"

    def lock(self, table: Sequence[str]) -> str | None:
        """Readers go on."""
        return f"lock table {self.quote(*table)} in share row exclusive mode"

    _TEXT_ONLY = ("json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "citext")

    def exact(self, expression: str, type_: str) -> str:
        """Texts by their bytes, whatever the collation; what has no equality as text."""
        word = re.split(r"[(\[ ]", type_, maxsplit=1)[0]
        if word in self._TEXT_ONLY:
            return f'cast({expression} as text) collate "C"'
        if word in ("text", "character", "varchar") and not type_.endswith("[]"):
            return f'{expression} collate "C"'
        return expression

    def equal(self, left: str, right: str, type_: str) -> str:
        """Plain, so that an index serves it: the common collations take texts for equal by their bytes alone."""
        return super().equal(left, right, type_) if type_ in self._TEXT_ONLY else f"{left} = {right}"


class MariaDB(Dialect):
    """MariaDB, whose collations take different texts for the same."""

    words = dialect.MARIADB
    moment_type = "datetime(6)"
    drops_temporary = True
    text_type = "char"
    _TEXT = ("char", "varchar", "text", "tinytext", "mediumtext", "longtext", "enum", "set", "json")
    _LONG = (
        "text",
        "tinytext",
        "mediumtext",
        "longtext",
        "blob",
        "tinyblob",
        "mediumblob",
        "longblob",
        "json",
    )
    _PREFIX = 64  # characters or bytes of a long value in an index

    def exact(self, expression: str, type_: str) -> str:
        """Texts by their bytes."""
        return f"cast({expression} as binary)" if self._word(type_) in self._TEXT else expression

    def _word(self, type_: str) -> str:
        return re.split(r"[( ]", type_.lower(), maxsplit=1)[0]

    def same(self, left: str, right: str, type_: str) -> str:
        """MariaDB's `<=>`."""
        return f"{self.exact(left, type_)} <=> {self.exact(right, type_)}"

    def equal(self, left: str, right: str, type_: str) -> str:
        """Twice for texts: an index serves the first, the second is exact."""
        plain = f"{left} = {right}"
        return (
            plain
            if self._word(type_) not in self._TEXT
            else f"{plain} and {super().equal(left, right, type_)}"
        )

    def _index(self, columns: Sequence[Column]) -> str:
        return ", ".join(
            self.quote(column.name) + (f"({self._PREFIX})" if self._word(column.type) in self._LONG else "")
            for column in columns
        )

    def temporary(self, name: str, columns: Sequence[Column], keys: Sequence[Column]) -> list[str]:
        """With an index in it: a join without one compares every two rows."""
        listed = ", ".join(f"{self.quote(column.name)} {column.type} null" for column in columns)
        return [f"create temporary table {name} ({listed}, index ({self._index(keys)}))"]

    def create(self, table: Sequence[str], columns: Sequence[Column], keys: Sequence[Column]) -> list[str]:
        """With a plain index: a collation may take two keys for one. It ends the transaction, so another begins."""
        listed = ", ".join(f"{self.quote(column.name)} {column.type} null" for column in columns)
        made = f"create table {self.quote(*table)} ({listed}, index ({self._index(keys)}))"
        return [made, "start transaction"]

    def lock(self, table: Sequence[str]) -> str | None:
        """A lock of the session's, before the transaction has looked at anything; a lock on the table would end it."""
        from pipeline_flow.sql.mariadb import literal

        schema = literal(table[-2]) if len(table) > 1 else "database()"
        name = f"concat('pipeline-flow ', sha1(concat({schema}, '.', {literal(table[-1])})))"
        return f"do get_lock({name}, {_LOCK_SECONDS})"

    def reserve(self, table: Sequence[str]) -> str | None:
        """The same lock: that of a session does not end with a transaction."""
        return self.lock(table)

    def update(self, table: str, values: Sequence[tuple[str, str]], source: str, where: str) -> str:
        """MariaDB's form of UPDATE with a second table."""
        listed = ", ".join(f"{name} = {value}" for name, value in values)
        return f"update {table}, {source} p set {listed} where {where}"

    def moment(self, at: dt.datetime, type_: str) -> str | None:
        """MariaDB casts to ``datetime`` alone, and its times have no zone."""
        word = self._word(type_)
        if word not in ("date", "datetime", "timestamp"):
            return None
        clock = at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        return (
            f"cast({literal(clock[:10])} as date)"
            if word == "date"
            else f"cast({literal(clock)} as datetime(6))"
        )
