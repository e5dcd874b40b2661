"""Fixtures of pytest; a ``conftest.py`` imports those that its tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline_flow.testing.bench import Bench

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A :class:`Bench` whose working folder is a folder of this test."""
    monkeypatch.chdir(tmp_path)
    with Bench(tmp_path / "run-folder") as made:
        yield made
