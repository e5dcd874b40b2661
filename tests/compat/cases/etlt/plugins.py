import json
import sqlite3

import pandas as pd

from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ITransformLoadPlugin, ITransformPlugin


class Readings(IExtractPlugin, plugin_name="readings"):
    async def __call__(self) -> pd.DataFrame:
        return pd.DataFrame({"fahrenheit": [50.0, 68.0]}, index=pd.Index(["oslo", "rome"], name="city"))


class Celsius(ITransformPlugin, plugin_name="celsius"):
    def __init__(self, plugin_id: str, column: str) -> None:
        super().__init__(plugin_id)
        self.column = column

    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        return data.assign(celsius=(data[self.column] - 32) / 1.8).drop(columns=self.column)


class FrameToSqlite(ILoadPlugin, plugin_name="frame_to_sqlite"):
    def __init__(self, plugin_id: str, database: str, table: str) -> None:
        super().__init__(plugin_id)
        self.database, self.table = database, table

    async def __call__(self, data: pd.DataFrame) -> None:
        connection = sqlite3.connect(self.database)
        data.to_sql(self.table, connection)
        connection.close()


class Shout(ITransformLoadPlugin, plugin_name="shout"):
    def __init__(self, plugin_id: str, database: str, table: str) -> None:
        super().__init__(plugin_id)
        self.database, self.table = database, table

    def __call__(self) -> None:
        connection = sqlite3.connect(self.database)
        connection.execute(f"update {self.table} set city = upper(city)")
        connection.commit()
        rows = connection.execute(f"select city, celsius from {self.table} order by city").fetchall()
        connection.close()
        with open("out.json", "w", encoding="utf-8") as file:
            json.dump(rows, file)
