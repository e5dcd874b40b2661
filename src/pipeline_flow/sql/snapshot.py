"""Several tables out of one state of a database, each a stream that is read when its turn comes."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from pipeline_flow.data import BatchStream, Tables
from pipeline_flow.errors import DataError, RunError
from pipeline_flow.sql import pattern

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from pipeline_flow.sql.engine import Snapshot
    from pipeline_flow.sql.pattern import Pattern, Relation


def tables(snapshot: Snapshot, patterns: Sequence[Pattern]) -> Tables:
    """The tables that the patterns mean, as streams. The snapshot ends with the last of them.

    The streams share one connection, so each is read to its end, or closed, before the next is begun.

    Raises:
        SourceUnreadable: a pattern means nothing, or two tables have one name.
        RetryableError: the connection was lost.
    """
    try:
        every_schema = any(entry.schema for entry in patterns)
        chosen = pattern.select(patterns, snapshot.catalogue(every_schema=every_schema))
        snapshot.begin(tuple(chosen.values()))
    except BaseException:
        snapshot.close()
        raise
    shared = _Shared(snapshot, len(chosen))
    return Tables({name: _Table(shared, relation).stream() for name, relation in chosen.items()})


class _Shared:
    """A snapshot that several streams read, one after the other, and that ends with the last of them."""

    def __init__(self, snapshot: Snapshot, streams: int) -> None:
        self._snapshot = snapshot
        self._open = streams
        self._reading = ""
        self._lock = threading.Lock()

    def read(self, relation: Relation) -> BatchStream:
        with self._lock:
            if self._reading:
                raise DataError(
                    f"the table `{relation.name}` was begun while `{self._reading}` is still being read",
                    hint="the tables of one step share a connection: read one to its end, or close it, first",
                )
            self._reading = relation.name
        return self._snapshot.read(relation)

    def done(self, relation: Relation) -> None:
        with self._lock:
            if self._reading == relation.name:
                self._reading = ""
            self._open -= 1
            last = not self._open
        if last:
            self._snapshot.close()


class _Table:
    """One table of a snapshot. Nothing is asked of the database before its stream is."""

    def __init__(self, shared: _Shared, relation: Relation) -> None:
        self._shared = shared
        self._relation = relation
        self._rows: BatchStream | None = None

    def stream(self) -> BatchStream:
        return BatchStream(self._schema, self._batches(), on_close=self._close)

    def _schema(self) -> pa.Schema:
        with self._named():
            self._rows = self._shared.read(self._relation)
            return self._rows.schema

    def _batches(self) -> Iterator[pa.RecordBatch]:
        assert self._rows is not None  # the schema is asked for first
        with self._named():
            yield from self._rows

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Puts the table into the words of an error."""
        try:
            yield
        except RunError as error:
            error.message = f"table `{self._relation.name}`: {error.message}"
            raise

    def _close(self) -> None:
        try:
            if self._rows is not None:
                self._rows.close()
        finally:
            self._shared.done(self._relation)
