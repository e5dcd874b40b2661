import json
from pathlib import Path
from typing import Any

from pipeline_flow.plugins import ILoadPlugin


class Note(ILoadPlugin, plugin_name="note"):
    def __init__(self, plugin_id: str, name: str) -> None:
        super().__init__(plugin_id)
        self.name = name

    async def __call__(self, data: Any) -> None:
        file = Path("out.json")
        before = json.loads(file.read_text()) if file.exists() else []
        file.write_text(json.dumps([*before, [self.name, data]]))
