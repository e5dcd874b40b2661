"""Data that can be read once: an iterator that fails half-way must not look like a short one the second time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline_flow.events import Status
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ITransformPlugin
from pipeline_flow.testing import Simulation, memory_store
from tests.engine.conftest import etl, step
from tests.engine.plugins import Journal

_RETRY = {"attempts": 3, "wait": 0, "on": ["ConnectionError"]}


def _rows() -> Iterator[dict[str, int]]:
    yield {"x": 1}
    yield {"x": 2}
    Journal.note("broke")
    if Journal.entries.count(("broke", None)) == 1:
        raise ConnectionError("gone for a moment")
    yield {"x": 3}


class BreakingExtract(IExtractPlugin, plugin_name="breaking"):
    async def __call__(self) -> Any:
        return _rows()


class BreakingTransform(ITransformPlugin, plugin_name="breaking"):
    def __call__(self, data: Any) -> Any:
        return _rows()


class Reads(ITransformPlugin, plugin_name="reads"):
    def __call__(self, data: Any) -> Any:
        return list(data)


class ReadsLoad(ILoadPlugin, plugin_name="reads"):
    async def __call__(self, data: Any) -> None:
        Journal.note("loaded", list(data))


@pytest.mark.parametrize("reader", ["transform", "load"])
def test_a_step_that_has_used_up_an_iterator_is_not_tried_again(journal: type[Journal], reader: str) -> None:
    phases: dict[str, Any] = {reader: [step("reads", retry=_RETRY)]}
    result = Simulation().run({"pipelines": {"p": etl(extract=[step("breaking")], **phases)}})
    assert result.status is Status.FAILED
    assert "loaded" not in dict(journal.entries)
    failure = result.pipelines["p"].failure
    assert failure is not None
    assert "can be read once" in failure.hint


def test_an_atomic_load_is_handed_rows_that_were_kept_and_so_the_maker_of_them_is_tried_again(
    journal: type[Journal],
) -> None:
    with memory_store() as store:
        pipeline = etl(transform=[step("breaking", retry=_RETRY)], load=[step("memory", table="out")])
        assert Simulation().run({"pipelines": {"p": pipeline}}).succeeded
        assert [row["x"] for row in store.rows("out")] == [1, 2, 3]
