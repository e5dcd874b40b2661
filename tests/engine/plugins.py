"""Plugins that do nothing but take virtual time, fail on command, and write down what happened to them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, ClassVar

from pipeline_flow import Context, RetryableError
from pipeline_flow.plugins import (
    IExtractPlugin,
    ILoadPlugin,
    IMergeExtractPlugin,
    IPostProcessPlugin,
    IPreProcessPlugin,
    ITransformLoadPlugin,
    ITransformPlugin,
)
from pipeline_flow.testing import block


class Journal:
    """What the plugins did, in order; cleared by the fixture of the same name."""

    entries: ClassVar[list[tuple[str, Any]]] = []
    running: ClassVar[int] = 0
    most: ClassVar[int] = 0

    @classmethod
    def clear(cls) -> None:
        cls.entries.clear()
        cls.running = cls.most = 0

    @classmethod
    def note(cls, what: str, detail: Any = None) -> None:
        cls.entries.append((what, detail))

    @classmethod
    def enter(cls) -> None:
        cls.running += 1
        cls.most = max(cls.most, cls.running)

    @classmethod
    def leave(cls) -> None:
        cls.running -= 1


class _Waits:
    """Waits ``seconds`` and then gives ``value``, or fails ``fails`` times with the error of that name."""

    calls: ClassVar[dict[str, int]] = {}

    def _outcome(self) -> Any:
        count = self.calls[self.key] = self.calls.get(self.key, 0) + 1
        if count <= self.fails:
            errors = {"retryable": RetryableError("try again"), "value": ValueError("a bad value")}
            if self.error.startswith("echo"):
                raise ValueError(self.error)
            raise errors.get(self.error) or ConnectionError("gone")
        return self.value

    def __init__(
        self,
        plugin_id: str,
        seconds: float = 0.0,
        value: Any = "data",
        fails: int = 0,
        error: str = "value",
        key: str = "",
    ) -> None:
        self.id = plugin_id
        self.seconds = seconds
        self.value = value
        self.fails = fails
        self.error = error
        self.key = key or plugin_id


class _AsyncWaits(_Waits):
    async def _wait(self) -> Any:
        Journal.enter()
        Journal.note("start", self.id)
        try:
            await asyncio.sleep(self.seconds)
            return self._outcome()
        finally:
            Journal.note("end", self.id)
            Journal.leave()


class _SyncWaits(_Waits):
    context: Context

    def _wait(self) -> Any:
        Journal.enter()
        Journal.note("start", self.id)
        Journal.note("thread", threading.current_thread().name)
        try:
            block(self.seconds, self.context.cancel_flag)
            self.context.check()
            return self._outcome()
        finally:
            Journal.note("end", self.id)
            Journal.leave()


class WaitExtract(_AsyncWaits, IExtractPlugin, plugin_name="wait"):
    async def __call__(self) -> Any:
        return await self._wait()


class WaitLoad(_AsyncWaits, ILoadPlugin, plugin_name="wait"):
    async def __call__(self, data: Any) -> None:
        Journal.note("load got", data)
        await self._wait()


class WaitPre(_AsyncWaits, IPreProcessPlugin, plugin_name="wait"):
    async def __call__(self) -> None:
        await self._wait()


class WaitPost(_AsyncWaits, IPostProcessPlugin, plugin_name="wait"):
    async def __call__(self, data: Any) -> Any:
        Journal.note("post got", data)
        return await self._wait()


class WaitMerge(_SyncWaits, IMergeExtractPlugin, plugin_name="wait"):
    def __call__(self, extracted_data: dict[str, Any]) -> Any:
        Journal.note("merge got", extracted_data)
        return self._wait()


class WaitTransform(_SyncWaits, ITransformPlugin, plugin_name="wait"):
    def __call__(self, data: Any) -> Any:
        Journal.note("transform got", data)
        return self._wait()


class WaitAtLoad(_SyncWaits, ITransformLoadPlugin, plugin_name="wait"):
    def __call__(self) -> None:
        self._wait()


class Stubborn(ITransformPlugin, plugin_name="stubborn"):
    """Blocks for ever and looks at no flag."""

    def __call__(self, data: Any) -> Any:
        block(1e9)
        return data


class StubbornInAThread(IExtractPlugin, plugin_name="stubborn"):
    """The same, from an asynchronous plugin."""

    async def __call__(self) -> Any:
        await self.context.to_thread(block, 1e9)


class SyncExtract(IExtractPlugin, plugin_name="sync_extract"):
    """Of the wrong mode."""

    def __call__(self) -> Any:
        return "data"


class AsyncTransform(ITransformPlugin, plugin_name="async_transform"):
    """Of the wrong mode."""

    async def __call__(self, data: Any) -> Any:
        return data


class Pieces(IExtractPlugin, plugin_name="pieces"):
    """An async generator of rows."""

    def __init__(self, plugin_id: str, rows: int = 3, fail_after: int | None = None) -> None:
        super().__init__(plugin_id)
        self.rows = rows
        self.fail_after = fail_after

    async def __call__(self) -> Any:
        for number in range(self.rows):
            if number == self.fail_after:
                raise ValueError("broke half-way")
            await asyncio.sleep(0)
            yield [{"n": number}]
