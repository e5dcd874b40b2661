"""Plugins as users write them, and a view that has only these."""

from __future__ import annotations

from typing import Any

from pipeline_flow.core import inventory
from pipeline_flow.core.inventory import CUSTOM, Catalog, Declaration, declared_in
from pipeline_flow.plugins import (
    IAtomicLoadPlugin,
    IExtractPlugin,
    ILoadPlugin,
    IMergeExtractPlugin,
    IPostProcessPlugin,
    IPreProcessPlugin,
    ISecretManager,
    ITransformLoadPlugin,
    ITransformPlugin,
)
from pipeline_flow.plugins.base import Transaction


class Reader(IExtractPlugin, plugin_name="reader"):
    def __init__(
        self, plugin_id: str, path: str, params: dict[str, Any] | None = None, rows: int = 10
    ) -> None:
        self.id, self.path, self.params, self.rows = plugin_id, path, params, rows

    async def __call__(self) -> Any:
        return [self.path]


class Generator(IExtractPlugin, plugin_name="generator"):
    async def __call__(self) -> Any:
        yield [{"a": 1}]


class SyncReader(IExtractPlugin, plugin_name="sync_reader"):
    def __call__(self) -> Any:
        return []


class Merger(IMergeExtractPlugin, plugin_name="merger"):
    def __call__(self, extracted_data: dict[str, Any]) -> Any:
        return extracted_data


class Changer(ITransformPlugin, plugin_name="changer"):
    def __init__(self, plugin_id: str, query: str = "") -> None:
        self.id, self.query = plugin_id, query

    def __call__(self, data):
        return data


class Trusting(ILoadPlugin, plugin_name="trusting"):
    """A load that believes its arguments to have been checked when it is asked about them."""

    def __init__(self, plugin_id: str, table: str) -> None:
        self.id, self.table = plugin_id, table

    @classmethod
    def takes_tables_by(cls, args: dict[str, Any]) -> bool:
        return str(args["table"]).endswith("*")

    async def __call__(self, data: list[dict[str, Any]]) -> None: ...


class StreamChanger(ITransformPlugin, plugin_name="stream_changer"):
    def __call__(self, data: list[dict[str, Any]]) -> Any:
        return data


class AsyncChanger(ITransformPlugin, plugin_name="async_changer"):
    async def __call__(self, data: Any) -> Any:
        return data


class Writer(ILoadPlugin, plugin_name="writer"):
    def __init__(self, plugin_id: str, url: str, token: str = "") -> None:
        self.id, self.url, self.token = plugin_id, url, token

    async def __call__(self, data: list[dict[str, Any]]) -> None:
        pass


class SyncWriter(ILoadPlugin, plugin_name="sync_writer"):
    def __call__(self, data: Any) -> None:  # type: ignore[override] # the mistake that is looked for
        pass


class TablesWriter(ILoadPlugin, plugin_name="tables_writer"):
    async def __call__(self, data: list[int] | dict[str, Any]) -> None:
        pass


class AtomicWriter(IAtomicLoadPlugin, plugin_name="atomic_writer"):
    @property
    def destination(self) -> str:
        return "memory://"

    async def begin(self) -> Transaction:
        raise NotImplementedError

    async def stage(self, data: Any, transaction: Transaction) -> int:
        raise NotImplementedError


class Finisher(ITransformLoadPlugin, plugin_name="finisher"):
    def __call__(self) -> None:
        pass


class AsyncFinisher(ITransformLoadPlugin, plugin_name="async_finisher"):
    async def __call__(self) -> None:
        pass


class Before(IPreProcessPlugin, plugin_name="before"):
    async def __call__(self) -> None:
        pass


class After(IPostProcessPlugin, plugin_name="after"):
    async def __call__(self, data: list[int]) -> Any:
        pass


class Env(ISecretManager, plugin_name="env"):
    def __init__(self, plugin_id: str, name: str) -> None:
        self.id, self.name = plugin_id, name

    def __call__(self) -> Any:
        return self.name


def catalog() -> Catalog:
    own = [
        Declaration(item.kind, item.name, item.cls, CUSTOM, "plugins.py") for item in declared_in(__name__)
    ]
    others = {
        item.cls.__module__ for item in inventory._declared
    }  # what other tests declared is not looked at
    return Catalog(own, hidden_modules=others)
