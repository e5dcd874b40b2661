"""Plugins as people write them for 1.0.8, which hand objects from a shelf to a shelf."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from pipeline_flow.plugins import (
    IExtractPlugin,
    ILoadPlugin,
    IMergeExtractPlugin,
    IPostProcessPlugin,
    ITransformLoadPlugin,
    ITransformPlugin,
)


class Shelf:
    """What extracts take from (``given``), and what loads and others leave (``kept``, by id; ``log``, in order)."""

    given: ClassVar[dict[str, Any]] = {}
    kept: ClassVar[dict[str, Any]] = {}
    log: ClassVar[list[Any]] = []

    @classmethod
    def clear(cls) -> None:
        cls.given.clear()
        cls.kept.clear()
        cls.log.clear()


class FromShelf(IExtractPlugin, plugin_name="from_shelf"):
    def __init__(self, plugin_id: str, name: str) -> None:
        super().__init__(plugin_id)
        self.name = name

    async def __call__(self):
        return Shelf.given[self.name]


class ShowArgs(IExtractPlugin, plugin_name="show_args"):
    def __init__(self, plugin_id: str, **args: Any) -> None:
        super().__init__(plugin_id)
        self.args = args

    async def __call__(self):
        return self.args


class Together(IMergeExtractPlugin, plugin_name="together"):
    def __call__(self, extracted_data: dict) -> Any:
        Shelf.kept[self.id] = extracted_data
        return extracted_data


class Untouched(ITransformPlugin, plugin_name="untouched"):
    def __call__(self, data):
        Shelf.kept[self.id] = data
        return data


class ToShelf(ILoadPlugin, plugin_name="to_shelf"):
    async def __call__(self, data):
        Shelf.kept[self.id] = data
        Shelf.log.append(self.id)


class SeenAfter(IPostProcessPlugin, plugin_name="seen_after"):
    async def __call__(self, data):
        Shelf.kept[self.id] = data


class LogAtLoad(ITransformLoadPlugin, plugin_name="log_at_load"):
    def __call__(self) -> None:
        Shelf.log.append(self.id)


class MostAtOnce(IExtractPlugin, plugin_name="most_at_once"):
    """Counts how many of its kind run at the same moment."""

    running = 0
    most = 0

    async def __call__(self):
        cls = type(self)
        cls.running += 1
        cls.most = max(cls.most, cls.running)
        await asyncio.sleep(0.01)
        cls.running -= 1
