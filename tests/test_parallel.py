"""Calls that run at once give their results in order."""

from __future__ import annotations

import threading
from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import pytest

from pipeline_flow.files.parallel import in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def test_results_come_in_the_order_of_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    second_is_done = threading.Event()

    def first() -> str:
        assert second_is_done.wait(60)
        return "first"

    def second() -> str:
        second_is_done.set()
        return "second"

    assert list(in_order(iter([first, second]), "t")) == ["first", "second"]


def test_an_error_comes_in_its_turn_and_ends_it() -> None:
    def broken() -> int:
        raise ValueError("broken")

    found = in_order(iter([lambda: 1, broken, lambda: 3]), "t")
    assert next(found) == 1
    with pytest.raises(ValueError, match="broken"):
        next(found)
    assert list(found) == []


def test_few_calls_are_taken_ahead_of_who_asks_and_closing_leaves_no_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    taken: list[int] = []

    def calls() -> Iterator[Callable[[], int]]:
        for number in count():
            taken.append(number)
            yield partial(int, number)

    found = in_order(calls(), "pipeline-flow-here")
    assert [next(found), next(found)] == [0, 1]
    found.close()
    assert len(taken) == 4 + 1 + 1
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipeline-flow-here")]
