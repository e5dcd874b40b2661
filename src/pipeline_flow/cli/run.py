"""``pipeline-flow run``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pipeline_flow import entrypoint
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import logs, streams
from pipeline_flow.cli.problems import show
from pipeline_flow.engine import WorkerThreads
from pipeline_flow.errors import ConfigError
from pipeline_flow.events import Notice
from pipeline_flow.listeners import InOrder
from pipeline_flow.listeners.json_lines import JsonLines
from pipeline_flow.listeners.lines import NORMAL, QUIET, Lines
from pipeline_flow.listeners.summary import Summary
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline_flow.engine import Orchestrator, RunResult
    from pipeline_flow.entrypoint import Prepared
    from pipeline_flow.listeners import Listener
    from pipeline_flow.listeners.live import Live

SHOW_CURSOR = b"\x1b[?25h\n"
_SIGNALS = {"SIGINT": exits.INTERRUPTED, "SIGTERM": exits.TERMINATED}


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a run.

    ``level`` is that of :class:`~pipeline_flow.listeners.lines.Lines`; ``progress`` is ``auto``, ``live``, ``plain``
    or ``none``.
    """

    select: tuple[str, ...] = ()
    variables: dict[str, str] | None = None
    profile: str | None = None
    env_file: Path | None = None
    concurrency: int | None = None
    json: bool = False
    level: int = 0
    progress: str = "auto"


def run(file: Path, options: Options, threads: WorkerThreads | None = None) -> int:
    """Runs ``file`` and gives the exit code; ``threads`` is where synchronous plugins run."""
    redact = Redactor()
    threads = threads or WorkerThreads()
    logs.set_up(options.level, redact)
    data = streams.take_stdout() if options.json else None
    try:
        prepared = entrypoint.prepare(
            str(file),
            variables=options.variables,
            profile=options.profile,
            select=options.select,
            concurrency=options.concurrency,
        )
        with logs.bugs_masked(redact), Interruption() as interruption, contextlib.ExitStack() as shown:
            listeners: list[Listener] = [JsonLines(data, redact)] if data else []
            if data is None:
                live = _live(prepared, options, redact)
                listeners = [_talk(file, options, redact, live)]
                if live is not None:  # last: from here on the streams are the table's
                    interruption.live = shown.enter_context(live)
            result = asyncio.run(_run(prepared, listeners, redact, threads, interruption))
    except ConfigError as error:
        show(error, redact)
        return exits.WRONG_CONFIGURATION
    code = exits.of(result, interruption.code)
    if threads.abandoned:
        # A thread still holds a driver: leaving in the ordinary way could wait for it, or crash under it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


async def _run(
    prepared: Prepared,
    listeners: list[Listener],
    redact: Redactor,
    threads: WorkerThreads,
    interruption: Interruption,
) -> RunResult:
    return await entrypoint.execute(
        prepared, listeners, redact=redact, threads=threads, started=interruption.watch
    )


class Interruption:
    """The first signal ends the run in an orderly way, the second ends the process at once.

    The handlers are the system's, not the event loop's: those would wait for a plugin that holds up the loop.
    """

    def __init__(self) -> None:
        self.live: Live | None = None
        self.code: int | None = None
        self._name = ""
        self._stop: Callable[[], object] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in _SIGNALS:
            number = getattr(signal, name)
            self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, orchestrator: Orchestrator) -> None:
        """Learns what to stop."""
        loop = asyncio.get_running_loop()
        self._stop = lambda: loop.call_soon_threadsafe(orchestrator.stop, self._name)
        for number in self._before:
            with contextlib.suppress(NotImplementedError):  # Windows, whose loops wake up by themselves
                # Only for what it does on the way: a signal then wakes a loop that is just about to wait.
                loop.add_signal_handler(number, lambda: None)
            signal.signal(number, self._received)
        if self.code is not None:
            self._stop()

    def _received(self, number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        shown = self.live is not None and self.live.is_shown
        if self.code is not None:
            if shown:
                _write(SHOW_CURSOR)
            os._exit(_SIGNALS[name])
        self.code, self._name = _SIGNALS[name], name
        message = f"{name}: stopping; once more ends at once"
        if self.live is not None and shown:
            self.live.note(message)
        else:
            _write(f"\n{message}\n".encode())
        if self._stop is not None:
            self._stop()


def _write(data: bytes) -> None:
    # The handler may have interrupted a write to the same stream, which cannot be entered twice.
    with contextlib.suppress(OSError):
        os.write(2, data)


def _live(prepared: Prepared, options: Options, redact: Redactor) -> Live | None:
    """The live table, where it is wanted and there is a terminal for it."""
    terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")
    wanted = options.progress == "auto" and options.level == NORMAL and not os.environ.get("CI")
    if not terminal or not (wanted or options.progress == "live"):
        return None
    from pipeline_flow.listeners.live import Live

    return Live(prepared.plan, redact)


def _talk(file: Path, options: Options, redact: Redactor, live: Live | None) -> Listener:
    """What people see: the table or the lines while the run works, and the summary at its end."""

    def rerun(names: tuple[str, ...]) -> str:
        words = ["pipeline-flow", "run", str(file)]
        for name in names:
            words += ["--select", name]
        for name, value in (options.variables or {}).items():
            words += ["--var", f"{name}={value}"]
        words += ["--profile", options.profile] if options.profile else []
        words += ["--env-file", str(options.env_file)] if options.env_file else []
        return f"mend it, then run what is left: {shlex.join(words)}"

    quiet = options.level == QUIET
    summary = Summary(sys.stderr, redact, rerun, only_failures=quiet)
    if live is None:
        level = QUIET if options.progress == "none" and options.level == NORMAL else options.level
        return InOrder(Lines(sys.stderr, level, redact), summary)
    level = QUIET if options.level == NORMAL else options.level
    return InOrder(live, Lines(streams.stderr(), level, redact, always=(Notice,)), summary)
