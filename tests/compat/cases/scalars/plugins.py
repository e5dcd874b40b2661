import json
from typing import Any

from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin


class ShowArgs(IExtractPlugin, plugin_name="show_args"):
    def __init__(self, plugin_id: str, **args: Any) -> None:
        super().__init__(plugin_id)
        self.args = args

    async def __call__(self) -> dict[str, Any]:
        return {"args": self.args}


class Write(ILoadPlugin, plugin_name="write"):
    async def __call__(self, data: dict[str, Any]) -> None:
        with open("out.json", "w", encoding="utf-8") as file:
            json.dump(data, file)
