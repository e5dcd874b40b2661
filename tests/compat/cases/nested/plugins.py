from __future__ import annotations

import json
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from pipeline_flow.common.type_def import PluginPayload
from pipeline_flow.core.registry import PluginRegistry
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, IMergeExtractPlugin, IPlugin
from pipeline_flow.plugins.utility.pagination import IPaginationHandler

if TYPE_CHECKING:
    from collections.abc import Callable

SITE = {
    "1": {"data": [1, 2], "pagination": {"has_more": True, "next_page": "2"}},
    "2": {"data": [3], "pagination": {"has_more": False, "next_page": "nowhere"}},
    "a": {"data": ["x"], "_links": {"next": "b"}},
    "b": {"data": ["y"], "links": {}},
    "0": {"data": ["zero"], "number": 0},
    "0+1": {"data": ["one"], "number": 1},
    "0+1+1": {"data": ["two"], "number": 2},
}


class Style(IPlugin, interface=True):
    @abstractmethod
    def __call__(self, text: str) -> str: ...


class Loud(Style, plugin_name="loud"):
    def __init__(self, plugin_id: str, mark: str = "!") -> None:
        super().__init__(plugin_id)
        self.mark = mark

    def __call__(self, text: str) -> str:
        return text.upper() + self.mark


class Counted(IPaginationHandler, plugin_name="counted"):
    def __init__(self, plugin_id: str, last: int) -> None:
        super().__init__(plugin_id)
        self.last = last
        self.current = "0"

    def __call__(self, response: dict[str, Any]) -> str | None:
        self.current += "+1"
        return self.current if response["number"] < self.last else None


class Paged(IExtractPlugin, plugin_name="paged"):
    def __init__(self, plugin_id: str, start: str, pagination: PluginPayload | None = None) -> None:
        super().__init__(plugin_id)
        self.start = start
        payload = pagination or {"plugin": "page_based_pagination"}
        self.next_page: Callable[[Any], str | None] = PluginRegistry.instantiate_plugin(payload)
        self.style = PluginRegistry.instantiate_plugin(
            {"plugin": "loud", "id": "style", "args": {"mark": "?"}}
        )

    async def __call__(self) -> dict[str, Any]:
        page: str | None = self.start
        found: list[Any] = []
        while page:
            found += SITE[page]["data"]
            page = self.next_page(SITE[page])
        handler = self.next_page.id if self.next_page.id in ("pages", "counter") else "an id of its own"
        return {"found": found, "handler": handler, "id": self.style(self.id)}


class SideBySide(IMergeExtractPlugin, plugin_name="side_by_side"):
    def __call__(self, extracted_data: dict[str, Any]) -> Any:
        return extracted_data


class Write(ILoadPlugin, plugin_name="write"):
    async def __call__(self, data: Any) -> None:
        with open("out.json", "w", encoding="utf-8") as file:
            json.dump(data, file)
