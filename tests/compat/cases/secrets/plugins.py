import json
from typing import Any

from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ISecretManager


class Vault(ISecretManager, plugin_name="vault"):
    def __init__(self, plugin_id: str, name: str, region: str = "there") -> None:
        super().__init__(plugin_id)
        self.name, self.region = name, region

    @property
    def resource_id(self) -> str:
        return f"vault:{self.region}:{self.name}"

    def __call__(self) -> Any:
        return {"user": "app", "password": "s3cr3t"} if self.name == "database" else "key-4711"


class ShowArgs(IExtractPlugin, plugin_name="show_opened"):
    def __init__(self, plugin_id: str, **args: Any) -> None:
        super().__init__(plugin_id)
        self.args = args

    async def __call__(self) -> dict[str, Any]:
        return self.args


class Write(ILoadPlugin, plugin_name="write_opened"):
    async def __call__(self, data: dict[str, Any]) -> None:
        with open("out.json", "w", encoding="utf-8") as file:
            json.dump(data, file)
