"""What the engine itself costs: 1,000 pipelines of three no-op steps, from YAML text to finished.

``python -m benchmarks.overhead`` prints milliseconds per pipeline, checking included, beside three floors measured in
the same rounds: libyaml reading the same text into events, bare asyncio running as many no-op tasks, and one call in a
thread for each pipeline, two at a time, because a synchronous step never runs on the event loop. What such a call costs
is mostly the machine's: how long it takes to wake a thread on another processor. So all of it is measured on one
processor too, where the system lets us choose.

With ``--peer PYTHON`` (an interpreter that has pipeline-flow 1.0.8 installed, best of the same version as this one) each
round runs the same text by 1.0.8 as well, and the ratio tells what no machine's speed changes. 1.0.8 took 0.33 ms where
the limit of 0.3 was set.
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
import threading
import time
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import yaml

from pipeline_flow import entrypoint, extract, load, start_orchestration, transform

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 0.3  # milliseconds per pipeline
PEER_LIMIT = 0.3 / 0.33  # of 1.0.8's time: the same limit on a machine of another speed
_AT_ONCE = 2  # pipelines, by default
OURS, PEER = "pipeline-flow", "pipeline-flow 1.0.8, no logging"

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
import asyncio, gc, json, logging, sys, time
logging.getLogger().addHandler(logging.NullHandler())
logging.disable(logging.CRITICAL)
sys.path.insert(0, sys.argv[1])
from pipeline_flow.entrypoint import start_orchestration
import noop_plugins
text = open(sys.argv[2]).read()
seconds = []
for _ in range(2):
    gc.collect()
    start = time.perf_counter()
    asyncio.run(start_orchestration(text))
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds[1]))
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


class _Worker(threading.Thread):
    """Runs what it is handed, one after the other."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self.start()

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()


def _hops(pipelines: int) -> None:
    async def calls(worker: _Worker, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            done = loop.create_future()
            worker.jobs.put(partial(loop.call_soon_threadsafe, done.set_result, None))
            await done
        worker.jobs.put(None)

    async def main() -> None:
        await asyncio.gather(*(calls(_Worker(), pipelines // _AT_ONCE) for _ in range(_AT_ONCE)))

    asyncio.run(main())


class _Peer:
    """pipeline-flow 1.0.8 in an interpreter of its own, which counts its own time."""

    def __init__(self, python: str, text: str, folder: Path) -> None:
        self._folder = folder
        (folder / "noop_plugins.py").write_text(_PEER_PLUGINS)
        (folder / "pipelines.yaml").write_text(text)
        self._arguments = [python, "-c", _PEER_RUN, str(folder), str(folder / "pipelines.yaml")]

    def seconds(self) -> float:
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            self._arguments, capture_output=True, text=True, check=True, env=clean, cwd=self._folder
        )
        return float(json.loads(done.stdout.splitlines()[-1]))


def _timed(function: Callable[[], None]) -> Callable[[], float]:
    def seconds() -> float:
        gc.collect()
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return seconds


def _measured(measures: dict[str, Callable[[], float]], pipelines: int, rounds: int) -> dict[str, float]:
    """Median milliseconds per pipeline. One round after the other, so that a machine that slows down slows down all."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, seconds in measures.items():
            found[name].append(1000 * seconds() / pipelines)
    for name, values in found.items():
        sys.stdout.write(f"  {name:<34}{statistics.median(values):8.4f}   (best {min(values):.4f})\n")
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> int:
    """Measures and prints; gives 1 where the limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipelines", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter with pipeline-flow 1.0.8")
    options = parser.parse_args()
    pipelines, rounds = options.pipelines, options.rounds
    text = text_of(pipelines)
    _ours(text_of(10))  # imports
    measures = {
        OURS: _timed(lambda: _ours(text)),
        "  of that, text to plan": _timed(lambda: _planned(text)),
        "libyaml alone": _timed(lambda: _events(text)),
        "bare asyncio": _timed(lambda: _bare(pipelines)),
        "bare call in a thread": _timed(lambda: _hops(pipelines)),
    }
    with tempfile.TemporaryDirectory() as name:
        if options.peer:
            measures[PEER] = _Peer(options.peer, text, Path(name)).seconds
        sys.stdout.write(f"{pipelines:,} pipelines of three no-op steps, ms per pipeline, {rounds} rounds\n")
        found = _measured(measures, pipelines, rounds)
        if hasattr(os, "sched_setaffinity"):
            all_of_them = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(all_of_them)})
            sys.stdout.write("on one processor\n")
            _measured(measures, pipelines, rounds)
            os.sched_setaffinity(0, all_of_them)
    if options.peer:
        ratio = found[OURS] / found[PEER]
        held = ratio < PEER_LIMIT
        sys.stdout.write(
            f"limit {PEER_LIMIT:.2f} times 1.0.8: {'held' if held else 'BROKEN'} with {ratio:.2f}\n"
        )
    else:
        held = found[OURS] < LIMIT
        sys.stdout.write(f"limit {LIMIT} ms: {'held' if held else 'BROKEN'}\n")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
