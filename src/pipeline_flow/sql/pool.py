"""Connections to a server, used again: a bounded number for each database and user, one pool for each in a run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.url import Database

C = TypeVar("C")

MOST = 8
"""How many connections of one pool are lent at once."""
_KEY = "sql.pools"


class Driver(Protocol[C]):
    """What a pool has to know of a database's connections. All of it blocks; what cannot be done raises."""

    def connect(self, database: Database) -> C:
        """A new connection, in the state in which every step finds it."""

    def clear(self, connection: C) -> None:
        """Leaves nothing in the session of what was done with it: no transaction, setting, lock or temporary table."""

    def prepare(self, connection: C, database: Database) -> None:
        """Brings a session that was cleared into the state in which every step finds it."""

    def close(self, connection: C) -> None:
        """Closes a connection, whatever its state."""


class Lease(Generic[C]):
    """A connection that is lent to one step. Give it back with :meth:`release`."""

    def __init__(self, pool: Pool[C], context: Context, connection: C, *, counts: bool) -> None:
        self.connection = connection
        self._pool = pool
        self._context = context
        self._lock = threading.Lock()
        self._counts = counts
        self._over = False
        # A thread that does not stop may keep the connection for ever; others need not wait for it.
        self._take_back = context.on_cancel(self._let_others)

    def release(self, *, fit: bool = True) -> None:
        """Gives the connection back. Safe to call more than once.

        Args:
            fit: it may be used again; it is closed otherwise, and where the step was cancelled: the cancellation may still
                be on its way, and must not meet the next step.
        """
        with self._lock:
            if self._over:
                return
            self._over = True
        self._take_back()
        try:
            self._pool.take_back(self.connection, fit=fit and not self._context.cancelled)
        finally:
            self._let_others()

    def _let_others(self) -> None:
        with self._lock:
            counts, self._counts = self._counts, False
        if counts:
            self._pool.one_less()


class Pool(Generic[C]):
    """The connections to one database for one user.

    Whoever holds one never waits for another, nor for anybody who does, so waiting always ends.
    """

    def __init__(self, database: Database, driver: Driver[C], most: int = MOST) -> None:
        self._database = database
        self._driver = driver
        self._most = most
        self._changed = threading.Condition()
        self._idle: list[C] = []
        self._lent = 0
        self._closed = False

    def lend(self, context: Context, *, beside: bool = False) -> Lease[C]:
        """A connection, an idle one or a new one; waits while all are lent.

        Args:
            context: the step's.
            beside: the step holds one already, and needs this one for a moment: it does not wait, and does not count.

        Raises:
            CancelledByRun: the run wants the step to stop.
            PipelineFlowError: what the driver says when it cannot connect.
        """
        if not beside:
            self._wait(context)
        try:
            connection = self._fresh()
            if connection is None:
                connection = self._driver.connect(self._database)
            return Lease(self, context, connection, counts=not beside)
        except BaseException:
            if not beside:
                self.one_less()
            raise

    def _wait(self, context: Context) -> None:
        take_back = context.on_cancel(self._wake)
        try:
            with self._changed:
                self._changed.wait_for(lambda: context.cancelled or self._lent < self._most)
                context.check()
                self._lent += 1
        finally:
            take_back()

    def _fresh(self) -> C | None:
        """An idle connection that still lives."""
        while True:
            with self._changed:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            try:
                self._driver.prepare(connection, self._database)
            except Exception:  # noqa: BLE001 - whatever it is: a new connection will say what is wrong, if anything is
                self._driver.close(connection)
            else:
                return connection

    def take_back(self, connection: C, *, fit: bool) -> None:
        """Keeps a connection for the next step, or closes it."""
        if fit:
            try:
                self._driver.clear(connection)
            except Exception:  # noqa: BLE001 - it is of no use then, and nobody waits for it
                fit = False
        if fit:
            with self._changed:
                if not self._closed and len(self._idle) < self._most:
                    self._idle.append(connection)
                    return
        self._driver.close(connection)

    def one_less(self) -> None:
        """Another step may have one."""
        with self._changed:
            self._lent -= 1
            self._changed.notify_all()  # one that was cancelled would take the only call for itself

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Closes what is idle; what is lent is closed when it comes back."""
        with self._changed:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            self._driver.close(connection)


class _Pools:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pools: dict[Hashable, Pool[object]] = {}

    def find(self, database: Database, driver: Driver[C]) -> Pool[C]:
        with self._lock:
            made: Pool[C] = Pool(database, driver)
            found: Pool[C] = self._pools.setdefault(database, made)  # type: ignore[assignment,arg-type] # one driver a database
            return found

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()


@contextlib.contextmanager
def _opened() -> Iterator[_Pools]:
    pools = _Pools()
    try:
        yield pools
    finally:
        pools.close()


def lend(context: Context, database: Database, driver: Driver[C], *, beside: bool = False) -> Lease[C]:
    """A connection to ``database`` from the run's pool for it: one for each server, database, user and options.

    See :meth:`Pool.lend`.

    Raises:
        CancelledByRun: the run wants the step to stop.
        PipelineFlowError: what the driver says when it cannot connect.
    """
    return context.resources.get(_KEY, _opened).find(database, driver).lend(context, beside=beside)
