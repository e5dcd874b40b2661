import json
from typing import Any

from pipeline_flow.plugins import (
    IExtractPlugin,
    ILoadPlugin,
    IPostProcessPlugin,
    IPreProcessPlugin,
    ITransformPlugin,
)

happened: list[Any] = []


class Prepare(IPreProcessPlugin, plugin_name="prepare"):
    async def __call__(self) -> None:
        happened.append(f"pre {self.id}")


class People(IExtractPlugin, plugin_name="people"):
    async def __call__(self) -> list[str]:
        happened.append(f"extract {self.id}")
        return ["Ada", "Grace", "Edsger"]


class NumberThem(IPostProcessPlugin, plugin_name="number_them"):
    async def __call__(self, data: list[str]) -> dict[int, str]:
        happened.append(f"post {self.id}")
        return dict(enumerate(data, 1))


class LastFirst(ITransformPlugin, plugin_name="last_first"):
    def __call__(self, data: dict[int, str]) -> list[tuple[int, str]]:
        return sorted(data.items(), reverse=True)


class Seat(ILoadPlugin, plugin_name="seat"):
    async def __call__(self, data: list[tuple[int, str]]) -> str:
        happened.append(f"load {self.id} {len(data)}")
        return "what a load returns is dropped"


class NoteData(IPostProcessPlugin, plugin_name="note_data"):
    async def __call__(self, data: Any) -> str:
        happened.append([f"post {self.id}", data])
        return "what the post of a load returns is dropped"


class Write(IPostProcessPlugin, plugin_name="write"):
    async def __call__(self, data: Any) -> None:
        with open("out.json", "w", encoding="utf-8") as file:
            json.dump(happened, file)
