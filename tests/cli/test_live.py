"""A run at a terminal: what is on the screen while it works and what is left of it. The terminal is a pseudo terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.shell import SOURCE, TOO_LONG, etl

if TYPE_CHECKING:
    from tests.cli.shell import Shell

PLUGINS = """
import asyncio, logging, os, sys, threading
from pathlib import Path
from pipeline_flow import Context

async def go(name):
    while not Path(name).exists():
        await asyncio.sleep(0.01)

@extract
async def waits(context: Context, name: str = "go"):
    print("printed \\x1b[31m[red]")
    context.logger.warning("logged \\x1b[2J")
    await go(name)
    return [{"n": 1}]

@transform
def stubborn(data):
    print("blocking", flush=True)
    threading.Event().wait()

@transform
def breaks(data):
    raise ValueError("broken")
"""
SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"


class AtTerminal:
    """A process whose standard streams are a terminal; ``text`` is what it has written so far."""

    def __init__(self, shell: Shell, *arguments: str, size: tuple[int, int] = (24, 80), **env: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(*size)
        environment = {**os.environ, **shell._own, "PYTHONPATH": str(SOURCE), "TERM": "xterm-256color", **env}
        for name in ("CI", "COLUMNS", "LINES", "NO_COLOR"):
            if name not in env:
                environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline_flow", *arguments],
            cwd=shell.folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""
        self._more = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:
                piece = b""
            with self._more:
                self.text += piece.decode(errors="replace")
                self._ended = not piece
                self._more.notify_all()
            if not piece:
                return

    def until(self, *texts: str) -> None:
        """Waits until all of ``texts`` have been written."""
        with self._more:
            there = self._more.wait_for(
                lambda: all(text in self.text for text in texts) or self._ended, timeout=TOO_LONG
            )
        assert there, self.text
        assert all(text in self.text for text in texts), self.text

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        code = self.process.wait(timeout=TOO_LONG)
        self._reader.join(timeout=TOO_LONG)
        os.close(self._ours)
        return code

    @property
    def after_the_table(self) -> str:
        return self.text[self.text.rindex(SHOWN) :].replace("\r\n", "\n")


def _configure(shell: Shell, **pipelines: Any) -> None:
    pipelines = pipelines or {"orders": etl({"plugin": "waits"})}
    shell.configure(name="shop", plugins=PLUGINS, pipelines=pipelines)


def _go(shell: Shell) -> None:
    shell.write("go", "")


def test_a_run_at_a_terminal_shows_a_table_and_ends_with_the_summary_and_the_cursor(shell: Shell) -> None:
    _configure(shell)
    run = AtTerminal(shell, "run", "p.yaml")
    run.until("shop: 0 of 1 pipeline done, 1 running", "extract.waits", "waits for extract")
    _go(shell)
    assert run.end() == 0
    assert run.text.count(HIDDEN) == run.text.count(SHOWN) == 1
    rest = run.after_the_table
    assert re.search(r"load\.parquet +1 +1 +8 B +\d+\.\d\d\n", rest)
    assert "\x1b[32msucceeded\x1b[0m" in rest
    assert "of the time in " in rest
    assert rest.endswith("\n")
    assert "0 of 1 pipeline" not in rest


def test_what_is_printed_and_logged_meanwhile_stands_above_without_control_characters(shell: Shell) -> None:
    _configure(shell)
    run = AtTerminal(shell, "run", "p.yaml")
    run.until("printed \\x1b[31m[red]\r\n", "orders.extract.waits: WARNING: logged \\x1b[2J\r\n")
    _go(shell)
    assert run.end() == 0
    assert "\x1b[31m" not in run.text
    assert "\x1b[2J" not in run.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_table_in_order(shell: Shell, number: signal.Signals) -> None:
    _configure(shell)
    run = AtTerminal(shell, "run", "p.yaml")
    run.until("extract.waits")
    run.send(number)
    assert run.end() == 128 + number
    assert run.text.count(HIDDEN) == run.text.count(SHOWN) == 1
    assert f"cancelled: {number.name}" in run.after_the_table


def test_a_second_signal_leaves_a_cursor_too(shell: Shell) -> None:
    _configure(shell, orders=etl(transform={"plugin": "stubborn"}))
    run = AtTerminal(shell, "run", "p.yaml")
    run.until("blocking", "stubborn")
    run.send(signal.SIGINT)
    run.until("SIGINT: stopping; once more ends at once")
    run.send(signal.SIGINT)
    assert run.end() == 130
    assert run.after_the_table == f"{SHOWN}\n"


def test_a_terminal_that_changes_its_size_gets_a_table_that_fits(shell: Shell) -> None:
    _configure(shell)
    run = AtTerminal(shell, "run", "p.yaml", size=(24, 100))
    run.until("waits for extract")
    run.resize(8, 40)
    run.until("\x1b[2J")
    narrow = run.text.rindex("\x1b[2J")
    _go(shell)
    assert run.end() == 0
    table = run.text[narrow:].partition(SHOWN)[0]
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", table).replace("\r", "\n").split("\n")
    assert all(len(line) <= 40 for line in lines if line.startswith(("shop:", "pipeline /", "●", "  ●")))


PLAIN: list[tuple[tuple[str, ...], dict[str, str]]] = [
    (("-v",), {}),
    (("--progress", "plain"), {}),
    ((), {"CI": "1"}),
    ((), {"TERM": "dumb"}),
]


@pytest.mark.parametrize(("options", "env"), PLAIN, ids=str)
def test_plain_lines_where_they_are_wanted(
    shell: Shell, options: tuple[str, ...], env: dict[str, str]
) -> None:
    _configure(shell)
    _go(shell)
    run = AtTerminal(shell, "run", "p.yaml", *options, size=(24, 80), **env)
    assert run.end() == 0
    assert HIDDEN not in run.text
    assert "orders: started\r\n" in run.text


def test_the_table_can_be_insisted_on_and_left_out(shell: Shell) -> None:
    _configure(shell)
    _go(shell)
    run = AtTerminal(shell, "run", "p.yaml", "--progress", "live", CI="1")
    assert run.end() == 0
    assert HIDDEN in run.text
    run = AtTerminal(shell, "run", "p.yaml", "--progress", "none")
    assert run.end() == 0
    assert HIDDEN not in run.text
    assert "started" not in run.text
    assert "1 pipeline: 1 succeeded" in run.text


def test_without_a_terminal_there_is_no_table_whatever_is_asked(shell: Shell) -> None:
    _configure(shell)
    _go(shell)
    done = shell("run", "p.yaml", "--progress", "live")
    assert done.code == 0
    assert "\x1b" not in done.err
    assert "orders: started" in done.err


def test_json_and_progress_exclude_each_other(shell: Shell) -> None:
    _configure(shell)
    done = shell("run", "p.yaml", "--json", "--progress", "live")
    assert done.code == 2
    assert "--json writes every event; leave --progress out" in " ".join(done.err.split())


def test_data_that_a_plugin_prints_reaches_a_file_while_the_table_is_on_the_terminal(shell: Shell) -> None:
    _configure(shell)
    _go(shell)
    ours, theirs = pty.openpty()
    environment = {**os.environ, **shell._own, "PYTHONPATH": str(SOURCE), "TERM": "xterm"}
    environment.pop("CI", None)
    reader = threading.Thread(target=_drain, args=(ours,), daemon=True)
    reader.start()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline_flow", "run", "p.yaml"],
        cwd=shell.folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=TOO_LONG,
        check=False,
    )
    os.close(theirs)
    reader.join(timeout=TOO_LONG)
    os.close(ours)
    assert done.stdout == "printed \x1b[31m[red]\n"


def _drain(number: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(number, 65536):
            pass


def test_failures_are_told_above_the_table_as_they_happen(shell: Shell) -> None:
    _configure(shell, orders=etl({"plugin": "waits"}), broken=etl(transform={"plugin": "breaks"}))
    run = AtTerminal(shell, "run", "p.yaml")
    run.until("broken.transform.breaks: FAILED: ValueError: broken", "1 failed")
    _go(shell)
    assert run.end() == 1
    assert "broken.transform.breaks failed" in run.after_the_table
