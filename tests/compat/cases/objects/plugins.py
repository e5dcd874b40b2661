import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ITransformPlugin


class Unusual(IExtractPlugin, plugin_name="unusual"):
    """Has names of its own that a framework might want for itself."""

    context = "the plugin's own"

    class Config:
        start = 1

    def __init__(self, plugin_id: str) -> None:
        super().__init__(plugin_id)
        self.config = {"count": 3}

    async def __call__(self) -> Iterator[int]:
        assert self.context == "the plugin's own"
        return iter(range(self.Config.start, self.Config.start + self.config["count"]))


class Doubled(ITransformPlugin, plugin_name="doubled"):
    def __call__(self, data: Iterator[int]) -> Iterator[int]:
        for number in data:
            yield number * 2


class Indexed(ITransformPlugin, plugin_name="indexed"):
    def __call__(self, data):
        numbers = list(data)
        return pd.DataFrame({"square": [n * n for n in numbers]}, index=pd.Index(numbers, name="n"))


def note(name: str, data: pd.DataFrame) -> None:
    file = Path("out.json")
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**before, name: [data.index.name, data["square"].to_dict()]}))


def looks_at_its_keywords(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    async def inner(*args: Any, **kwargs: Any) -> Any:
        assert isinstance(kwargs["data"], pd.DataFrame)
        return await call(*args, **kwargs)

    return inner


class ByKeyword(ILoadPlugin, plugin_name="by_keyword"):
    async def __call__(self, *, data: pd.DataFrame) -> None:
        note("keyword", data)


class ThroughAWrapper(ILoadPlugin, plugin_name="through_a_wrapper"):
    @looks_at_its_keywords
    async def __call__(self, data: pd.DataFrame) -> None:
        note("wrapper", data)


class AllKeywords(ILoadPlugin, plugin_name="all_keywords"):
    async def __call__(self, **kwargs) -> None:
        note("keywords", kwargs["data"])
