from __future__ import annotations

import asyncio
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.entrypoint import start_orchestration
from tests.compat.plugins import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pipeline_flow.engine import RunResult


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path / "spill"))
    Shelf.clear()
    yield
    Shelf.clear()


@pytest.fixture
def shelf() -> type[Shelf]:
    """Where the plugins of these tests take from and put to; empty at the start of each test."""
    return Shelf


@pytest.fixture
def plugin_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of plugins into the working folder and gives its path."""

    def write(text: str, name: str = "custom.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def run(text: Any, **options: Any) -> RunResult:
    """Runs a configuration as a script does."""
    stream = textwrap.dedent(text) if isinstance(text, str) else text
    return asyncio.run(start_orchestration(stream, **options))


def etl(**extract: Any) -> str:
    """YAML of a pipeline from one extract step to the load step `end`; ``plugin``, and its arguments as YAML text."""
    plugin = extract.pop("plugin")
    args = "".join(f"\n              {name}: {value}" for name, value in extract.items())
    return f"""
pipelines:
  p:
    type: ETL
    phases:
      extract:
        steps:
          - id: start
            plugin: {plugin}
            args:{args or " {}"}
      load:
        steps:
          - id: end
            plugin: to_shelf
"""
