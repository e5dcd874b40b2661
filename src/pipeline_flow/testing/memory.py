"""A source and a destination in memory, for tests of the engine and of plugins."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from pipeline_flow.data import BatchStream, adapt
from pipeline_flow.plugins.base import IAtomicLoadPlugin, IExtractPlugin, PluginConfig, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator

_stores: dict[str, MemoryStore] = {}


class MemoryStore:
    """Named tables; ``history`` tells in order what was staged, committed and aborted."""

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.history: list[tuple[str, str]] = []
        self.fail_on: set[str] = set()

    def put(self, name: str, rows: Any) -> None:
        """Makes ``rows`` (anything tabular) the content of a table."""
        self.tables[name] = adapt.to_stream(rows).to_table()

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a table."""
        found: list[dict[str, Any]] = self.tables[name].to_pylist()
        return found


@contextlib.contextmanager
def memory_store(name: str = "main") -> Iterator[MemoryStore]:
    """A store that the plugins ``memory`` find under ``name`` while the block runs."""
    store = _stores[name] = MemoryStore()
    try:
        yield store
    finally:
        del _stores[name]


class _Config(PluginConfig):
    table: str = Field(description="The table's name.", examples=["orders"])
    store: str = Field("main", description="The store's name.", examples=["main"])


class MemoryExtract(IExtractPlugin, plugin_name="memory"):
    """Reads a table of a :class:`MemoryStore`."""

    Config = _Config
    config: _Config

    async def __call__(self) -> BatchStream:
        """The table's rows."""
        return adapt.to_stream(_stores[self.config.store].tables[self.config.table])


class _MemoryTransaction(Transaction):
    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.staged: dict[str, pa.Table] = {}

    async def commit(self) -> None:
        if "commit" in self.store.fail_on:
            raise OSError("the memory store was told to fail on commit")
        self.store.tables |= self.staged
        self.store.history += [("committed", name) for name in self.staged]
        self.staged = {}

    async def abort(self) -> None:
        if "abort" in self.store.fail_on:
            raise OSError("the memory store was told to fail on abort")
        self.store.history += [("aborted", name) for name in self.staged]
        self.staged = {}


class MemoryLoad(IAtomicLoadPlugin, plugin_name="memory"):
    """Replaces a table of a :class:`MemoryStore`, all of it at commit."""

    Config = _Config
    config: _Config

    @property
    def destination(self) -> str:
        """The store."""
        return f"memory://{self.config.store}"

    @property
    def target(self) -> str:
        """The table."""
        return f"{self.destination}/{self.config.table}"

    async def begin(self) -> Transaction:
        """A transaction on the store."""
        return _MemoryTransaction(_stores[self.config.store])

    async def stage(self, data: BatchStream, transaction: Transaction) -> int:
        """Reads ``data`` into the transaction."""
        assert isinstance(transaction, _MemoryTransaction)
        table = await data.read_table()
        if self.config.table in transaction.store.fail_on:
            raise OSError(f"the memory store was told to fail on {self.config.table}")
        transaction.staged[self.config.table] = table
        transaction.store.history.append(("staged", self.config.table))
        return int(table.num_rows)
