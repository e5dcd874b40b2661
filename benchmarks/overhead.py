"""What the engine itself costs: 1,000 pipelines of three no-op steps, from YAML text to finished.

``python -m benchmarks.overhead`` prints milliseconds per pipeline, checking included, beside two floors measured in
the same run: libyaml reading the same text into events, and bare asyncio running as many no-op tasks. With
``--peer PYTHON`` (an interpreter that has pipeline-flow 1.0.8 installed) the same text is run by 1.0.8 as well.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pipeline_flow import entrypoint, extract, load, start_orchestration, transform

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 0.3  # milliseconds per pipeline
_PIPELINE = """\
  p{number}:
    type: ETL
    phases:
      extract:
        steps:
          - plugin: noop_extract
      transform:
        steps:
          - plugin: noop_transform
      load:
        steps:
          - plugin: noop_load
"""
_PEER_PLUGINS = """\
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ITransformPlugin

class Extract(IExtractPlugin, plugin_name="noop_extract"):
    async def __call__(self):
        return 1

class Transform(ITransformPlugin, plugin_name="noop_transform"):
    def __call__(self, data):
        return data

class Load(ILoadPlugin, plugin_name="noop_load"):
    async def __call__(self, data):
        return None
"""
_PEER_RUN = """\
import asyncio, json, logging, sys, time
logging.getLogger().addHandler(logging.NullHandler())
logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[1])
from pipeline_flow.entrypoint import start_orchestration
import noop_plugins
text = open(sys.argv[2]).read()
seconds = []
for _ in range(int(sys.argv[3])):
    start = time.perf_counter()
    asyncio.run(start_orchestration(text))
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds))
"""


@extract
async def noop_extract() -> int:
    """Gives one."""
    return 1


@transform
def noop_transform(data: int) -> int:
    """Gives what it got."""
    return data


@load
async def noop_load(data: int) -> None:
    """Takes what it gets."""


def text_of(pipelines: int) -> str:
    """The configuration."""
    return "pipelines:\n" + "".join(_PIPELINE.format(number=number) for number in range(pipelines))


def _events(text: str) -> None:
    for _ in yaml.parse(text, Loader=yaml.CLoader):
        pass


def _ours(text: str) -> None:
    result = asyncio.run(start_orchestration(text))
    if not result.succeeded:
        raise AssertionError(result)


def _planned(text: str) -> None:
    entrypoint.prepare(text)


def _bare(pipelines: int) -> None:
    async def noop() -> None:
        return None

    async def pipeline() -> None:
        for _ in range(3):
            await noop()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(pipelines):
                group.create_task(pipeline())

    asyncio.run(main())


def _milliseconds(function: Callable[[], None], pipelines: int, rounds: int) -> list[float]:
    found = []
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        function()
        found.append(1000 * (time.perf_counter() - start) / pipelines)
    return found


def _peer(python: str, text: str, pipelines: int, rounds: int) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "noop_plugins.py").write_text(_PEER_PLUGINS)
        (folder / "pipelines.yaml").write_text(text)
        arguments = [python, "-c", _PEER_RUN, name, str(folder / "pipelines.yaml"), str(rounds)]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=clean, cwd=name)
    return [1000 * seconds / pipelines for seconds in json.loads(done.stdout.splitlines()[-1])]


def main() -> int:
    """Measures and prints; gives 1 where the limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipelines", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter with pipeline-flow 1.0.8")
    options = parser.parse_args()
    text = text_of(options.pipelines)
    _milliseconds(lambda: _ours(text_of(10)), 10, 1)  # imports
    rows = {
        "pipeline-flow": _milliseconds(lambda: _ours(text), options.pipelines, options.rounds),
        "  of that, text to plan": _milliseconds(lambda: _planned(text), options.pipelines, options.rounds),
        "libyaml alone": _milliseconds(lambda: _events(text), options.pipelines, options.rounds),
        "bare asyncio": _milliseconds(lambda: _bare(options.pipelines), options.pipelines, options.rounds),
    }
    if options.peer:
        rows["pipeline-flow 1.0.8, no logging"] = _peer(options.peer, text, options.pipelines, options.rounds)
    sys.stdout.write(
        f"{options.pipelines:,} pipelines of three no-op steps, ms per pipeline, {options.rounds} rounds\n"
    )
    for name, values in rows.items():
        sys.stdout.write(f"  {name:<34}{statistics.median(values):8.4f}   (best {min(values):.4f})\n")
    ours = statistics.median(rows["pipeline-flow"])
    sys.stdout.write(f"limit {LIMIT} ms: {'held' if ours < LIMIT else 'BROKEN'}\n")
    return 0 if ours < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
