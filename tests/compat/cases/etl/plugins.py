import asyncio
import json

from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, IMergeExtractPlugin, ITransformPlugin


class Rows(IExtractPlugin, plugin_name="rows"):
    def __init__(self, plugin_id: str, rows: list[dict]) -> None:
        super().__init__(plugin_id)
        self.rows = rows

    async def __call__(self) -> list[dict]:
        await asyncio.sleep(0)
        return self.rows


class Match(IMergeExtractPlugin, plugin_name="match"):
    def __init__(self, plugin_id: str, key: str) -> None:
        super().__init__(plugin_id)
        self.key = key

    def __call__(self, extracted_data: dict[str, list[dict]]) -> list[dict]:
        guests = {row[self.key]: row for row in extracted_data["guests"]}
        return [{**row, **guests[row[self.key]]} for row in extracted_data["bookings"]]


class AtLeast(ITransformPlugin, plugin_name="at_least"):
    def __init__(self, plugin_id: str, column: str, limit: float) -> None:
        super().__init__(plugin_id)
        self.column, self.limit = column, limit

    def __call__(self, data: list[dict]) -> list[dict]:
        return [row for row in data if row[self.column] >= self.limit]


class Without(ITransformPlugin, plugin_name="without"):
    def __init__(self, plugin_id: str, columns: list[str]) -> None:
        super().__init__(plugin_id)
        self.columns = columns

    def __call__(self, data: list[dict]) -> list[dict]:
        return [{name: value for name, value in row.items() if name not in self.columns} for row in data]


class Write(ILoadPlugin, plugin_name="write"):
    def __init__(self, plugin_id: str, path: str) -> None:
        super().__init__(plugin_id)
        self.path = path

    async def __call__(self, data: list[dict]) -> None:
        with open(self.path, "w", encoding="utf-8") as file:
            json.dump({"by": self.id, "rows": data}, file)
