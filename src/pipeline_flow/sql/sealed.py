"""One SELECT over streams, in a DuckDB instance that reaches nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import duckdb as native

from pipeline_flow.errors import ConversionFailed
from pipeline_flow.sql import duckdb
from pipeline_flow.sql.quote import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duckdb import DuckDBPyConnection

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream

_SCAN = "ARROW_SCAN_DUMB"
_STAGED = "_pipeline_flow_staged"


def run(context: Context, streams: Mapping[str, BatchStream], query: str) -> BatchStream:
    """What ``query`` makes of ``streams``, which it knows by their names.

    Args:
        context: the step's.
        streams: read once each; closed with the result.
        query: one SELECT.

    Raises:
        QueryFailed: DuckDB refuses the query.
        ConversionFailed: DuckDB cannot hold a column exactly.
    """
    connection = duckdb.sealed(context)
    feeds: list[duckdb.Feed] = []
    try:
        read = _named(connection, query, streams)
        feeds += [duckdb.register(connection, name, streams[name]) for name in read]
        for name in streams.keys() - read:
            streams[name].close()
        duckdb.lock(connection)
        if _reads_twice(connection, query, len(feeds)):
            _stage(context, connection, feeds)
    except BaseException:
        connection.close()
        for stream in streams.values():
            stream.close()
        raise
    return duckdb.stream(connection, query, context=context, feeds=feeds)


def _named(connection: DuckDBPyConnection, query: str, streams: Mapping[str, BatchStream]) -> list[str]:
    """The streams that ``query`` names: what it does not read need not be fit for DuckDB, nor be staged.

    All of them where it names others too: DuckDB then says which are near.

    Raises:
        ConversionFailed: two have one name for DuckDB.
    """
    known: dict[str, str] = {}
    for name in streams:
        other = known.setdefault(name.casefold(), name)
        if other != name:
            raise ConversionFailed(
                f"the tables `{other}` and `{name}` are one name in SQL",
                hint="leave one of them out, or give their steps other ids",
            )
    try:
        named = {name.casefold() for name in native.get_table_names(query, connection=connection)}
    except native.Error:
        return list(streams)
    if len(streams) == 1 or not named <= known.keys():
        return list(streams)
    return [name for folded, name in known.items() if folded in named]


def _reads_twice(connection: DuckDBPyConnection, query: str, tables: int) -> bool:
    """Whether DuckDB's plan scans any stream more than once; a stream cannot be read again.

    The plan does not name its scans, so more scans than tables, or a recursion (which scans in each round), will do.
    A plan with fewer scans may still read one of several tables twice; with one table that cannot be.
    """
    try:
        row = connection.execute(f"explain (format json) {query}").fetchone()
    except native.Error as error:
        raise duckdb.failed(error) from None
    counts: dict[str, int] = {}
    _count(json.loads(row[1]) if row else [], counts)
    scans = counts.get(_SCAN, 0)
    recursive = any("REC" in name and "CTE" in name for name in counts)
    return recursive or scans > (1 if tables == 1 else _distinct_at_most(connection, query, tables, scans))


def _distinct_at_most(connection: DuckDBPyConnection, query: str, tables: int, scans: int) -> int:
    """How many of the registered tables ``query`` names."""
    named = len(native.get_table_names(query, connection=connection)) if scans else 0
    return min(named, tables)


def _count(node: Any, counts: dict[str, int]) -> None:
    if isinstance(node, list):
        for item in node:
            _count(item, counts)
    elif isinstance(node, dict):
        name = str(node.get("name", "")).strip()
        counts[name] = counts.get(name, 0) + 1
        _count(node.get("children", []), counts)


def _stage(context: Context, connection: DuckDBPyConnection, feeds: Sequence[duckdb.Feed]) -> None:
    """Writes every stream into a table of its name, on disk where memory does not suffice."""
    take_back = context.on_cancel(connection.interrupt)
    try:
        for feed in feeds:
            connection.execute(f"create table {_STAGED} as select * from {quote(feed.name)}")
            connection.unregister(feed.name)
            connection.execute(f"alter table {_STAGED} rename to {quote(feed.name)}")
    except native.Error as error:
        context.check()
        raise next((feed.error for feed in feeds if feed.error is not None), None) or duckdb.failed(
            error
        ) from None
    finally:
        take_back()
