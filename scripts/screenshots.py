"""Draw the pictures of the documentation: ``python scripts/screenshots.py`` writes, ``--check`` compares.

docs/images/live.svg is the live table in the middle of a run, summary.svg what stands at its end, plan.svg what
``pipeline-flow plan --svg`` draws. They are made by the code that draws for people, from a run of examples/flights.yaml:
rows and bytes are real. That run takes less than a second, too short to be watched, so its steps take here what SCHEDULE says.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

import pipeline_flow
from pipeline_flow import entrypoint, events
from pipeline_flow.events import Address, Status
from pipeline_flow.listeners.live import Live
from pipeline_flow.listeners.summary import Summary
from pipeline_flow.plan import svg, view
from pipeline_flow.testing import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_flow.plan.model import PipelinePlan, Plan

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
EXAMPLE = "examples/flights.yaml"
COMMAND = f"pipeline-flow run {EXAMPLE}"
WIDTH = 100
MOMENT = 7.2  # seconds after the start, for live.svg

# When each step begins and ends, in seconds after the start of the run.
SCHEDULE = {
    "departures.extract.flights": (0.0, 3.1),
    "departures.extract.planes": (0.0, 1.2),
    "departures.extract.airlines": (0.0, 0.4),
    "departures.transform.joined": (3.1, 5.0),
    "departures.transform.clean": (5.0, 6.4),
    "departures.load.warehouse": (6.4, 9.8),
    "departures.load.lake": (6.4, 6.9),
    "weather.extract.csv": (0.0, 2.6),
    "weather.load.sql": (2.6, 4.9),
    "weather.transform_at_load.by_day": (4.9, 7.6),
    "delays.extract.sql": (9.9, 10.8),
    "delays.transform.sql": (10.8, 11.6),
    "delays.load.sql": (11.6, 12.2),
    "delays.load.csv": (11.6, 11.8),
    "delays.transform_at_load.summary": (12.2, 12.6),
}
DARK = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [(72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65), (88, 166, 255), (188, 140, 255), (86, 212, 221), (177, 186, 196)],
    [(110, 118, 129), (255, 161, 152), (126, 231, 135), (242, 204, 96), (121, 192, 255), (210, 168, 255), (179, 240, 255), (255, 255, 255)],
)  # fmt: skip


class _Colourful(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def main() -> int:
    """Writes or compares the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    differs = []
    with _example() as (prepared, finished):
        pictures = {
            "live.svg": _live(prepared.plan, finished),
            "summary.svg": _summary(prepared.plan, finished),
            "plan.svg": svg.draw(view.of(prepared.plan, prepared.catalog)),
        }
    for name, picture in pictures.items():
        file = IMAGES / name
        if check:
            if not file.exists() or file.read_text(encoding="utf-8") != picture:
                differs.append(name)
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(picture, encoding="utf-8")
    for name in differs:
        sys.stderr.write(f"docs/images/{name} is not what the code draws: python scripts/screenshots.py\n")
    return 1 if differs else 0


@contextlib.contextmanager
def _example() -> Iterator[tuple[entrypoint.Prepared, dict[Address, events.StepFinished]]]:
    """The example's plan, and what a run of it in an empty folder told of each step."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(ROOT / "examples")
        os.chdir(folder)
        try:
            recorder = Recorder()
            pipeline_flow.run(EXAMPLE, listeners=[recorder])
            finished = {event.address: event for event in recorder.of(events.StepFinished)}
            yield entrypoint.prepare(EXAMPLE), finished
        finally:
            os.chdir(before)


def _told(plan: Plan, finished: dict[Address, events.StepFinished]) -> list[events.Event]:
    """The run as SCHEDULE has it."""
    names = tuple(pipeline.name for pipeline in plan.pipelines)
    told: list[events.Event] = [
        events.RunStarted(at=0.0, run_id="run", name=plan.name, pipelines=names, concurrency=plan.concurrency)
    ]
    for pipeline in plan.pipelines:
        told += _of(pipeline, finished)
    end = max(event.at for event in told)
    told.append(events.RunFinished(at=end, run_id="run", status=Status.SUCCEEDED, seconds=end))
    return sorted(told, key=lambda event: event.at)


def _of(pipeline: PipelinePlan, finished: dict[Address, events.StepFinished]) -> Iterator[events.Event]:
    name = pipeline.name
    times = {
        step.address: SCHEDULE[str(step.address)] for phase in pipeline.phases for step in phase.all_steps()
    }
    start, end = min(begin for begin, _ in times.values()), max(over for _, over in times.values())
    yield events.PipelineStarted(at=start, pipeline=name)
    for phase in pipeline.phases:
        own = {step.address: times[step.address] for step in phase.all_steps()}
        yield events.PhaseStarted(at=min(begin for begin, _ in own.values()), pipeline=name, phase=phase.name)
        for address, (begin, over) in own.items():
            result = finished[address]
            yield events.StepStarted(at=begin, address=address, plugin=address.step)
            if begin < MOMENT < over and result.rows_in:
                part = (MOMENT - begin) / (over - begin)
                rows, size = int(part * result.rows_in), int(part * (result.bytes or 0))
                yield events.StepProgress(at=MOMENT, address=address, rows=rows, bytes=size, rows_in=rows)
            yield events.StepFinished(
                at=over,
                address=address,
                seconds=over - begin,
                rows_in=result.rows_in,
                rows_out=result.rows_out,
                bytes=result.bytes,
            )
        if phase.name == "load":
            over = max(over for _, over in own.values())
            loads = tuple(address.step for address in own)
            yield events.LoadCommitted(at=over, pipeline=name, destination="", loads=loads, seconds=0.0)
    yield events.PipelineFinished(at=end, pipeline=name, status=Status.SUCCEEDED, seconds=end - start)


def _live(plan: Plan, finished: dict[Address, events.StepFinished]) -> str:
    console = _console()
    live = Live(plan, lambda text: text, console=console, now=lambda: MOMENT)
    for event in _told(plan, finished):
        if event.at <= MOMENT and not isinstance(event, events.RunStarted):
            live.handle(event)
    console.print(Text(f"$ {COMMAND}", style="bold"), live.draw(), sep="\n")
    return _drawn(console, "live")


def _summary(plan: Plan, finished: dict[Address, events.StepFinished]) -> str:
    console, out = _console(), _Colourful()
    summary = Summary(out, lambda text: text)
    for event in _told(plan, finished):
        summary.handle(event)
    console.print(Text(f"$ {COMMAND}", style="bold"), Text.from_ansi(out.getvalue()), sep="\n")
    return _drawn(console, "summary")


def _console() -> Console:
    for name in ("NO_COLOR", "COLUMNS", "LINES"):
        os.environ.pop(name, None)
    os.environ["TERM"] = "xterm-256color"
    options: dict[str, Any] = {"width": WIDTH, "height": 40, "color_system": "truecolor"}
    return Console(file=_Colourful(), record=True, force_terminal=True, highlight=False, **options)


def _drawn(console: Console, name: str) -> str:
    """What the console shows as a picture that fetches no font from anywhere."""
    picture = console.export_svg(title="pipeline-flow", theme=DARK, unique_id=name)
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code", "ui-monospace, DejaVu Sans Mono, Menlo, Consolas")
    picture = picture.replace(
        "<svg ", '<svg xml:space="preserve" ', 1
    )  # some programs close the gaps between columns
    return "".join(f"{line.rstrip()}\n" for line in picture.splitlines())


if __name__ == "__main__":
    sys.exit(main())
