from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ITransformLoadPlugin
from pipeline_flow.plugins.base import AsyncAdapterMixin

if TYPE_CHECKING:
    from only_for_the_type_checker import Ballots


class BallotBox(IExtractPlugin, AsyncAdapterMixin, plugin_name="ballots"):
    def __init__(self, plugin_id: str, count: int) -> None:
        super().__init__(plugin_id)
        self.count = count

    def _open(self, step: int) -> list[tuple[int, str]]:
        return [(number, "red" if number % step == 0 else "blue") for number in range(self.count)]

    async def __call__(self) -> Ballots:
        return await self.async_wrap(self._open, step=3)


class IntoSqlite(ILoadPlugin, AsyncAdapterMixin, plugin_name="into_sqlite"):
    def __init__(self, plugin_id: str, database: str, table: str) -> None:
        super().__init__(plugin_id)
        self.database, self.table = database, table

    def _insert(self, rows: Ballots) -> None:
        connection = sqlite3.connect(self.database)
        connection.execute(f"create table {self.table} (number integer, party text)")
        connection.executemany(f"insert into {self.table} values (?, ?)", rows)
        connection.commit()
        connection.close()

    async def __call__(self, data: Ballots) -> None:
        await self.async_wrap(self._insert, data)


class Statement(ITransformLoadPlugin, plugin_name="statement"):
    def __init__(self, plugin_id: str, **settings: Any) -> None:
        super().__init__(plugin_id)
        self.settings = settings

    def __call__(self) -> None:
        connection = sqlite3.connect(self.settings["database"])
        connection.execute(self.settings["sql"])
        connection.commit()
        connection.close()


class Dump(ITransformLoadPlugin, plugin_name="dump"):
    def __init__(self, plugin_id: str, database: str, table: str, path: str) -> None:
        super().__init__(plugin_id)
        self.database, self.table, self.path = database, table, path

    def __call__(self) -> None:
        connection = sqlite3.connect(self.database)
        rows = connection.execute(f"select * from {self.table} order by 1").fetchall()
        connection.close()
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump(rows, file)
