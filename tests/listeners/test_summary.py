"""The closing summary: which step the time went into, and how it fits the terminal."""

from __future__ import annotations

import io
import os
import pty
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from pipeline_flow.events import Status
from pipeline_flow.listeners.critical import CriticalPath
from pipeline_flow.listeners.summary import Summary
from pipeline_flow.plan.model import Plan
from tests.listeners.script import Script, pipeline, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

ONE = pipeline("orders", extract="a b", transform="x", load="warehouse lake")
TWO = plan(
    ONE,
    pipeline("weather", extract="csv", load="sql"),
    pipeline("report", ("orders",), extract="sql", load="csv"),
)


def _told(plan: Plan, tell: Callable[[Script], object]) -> tuple[str, dict[str, float]]:
    """The summary's sentence about the time, and the chain of steps behind it with their seconds."""
    out, path = io.StringIO(), CriticalPath()
    tell(Script(plan, Summary(out, lambda text: text), path))
    (sentence,) = [line for line in out.getvalue().splitlines() if "of the time" in line] or [""]
    return sentence, {str(address): round(spent, 3) for address, spent in path.seconds().items()}


def _steps(script: Script, name: str, *addresses: tuple[str, float]) -> None:
    for address, seconds in addresses:
        script.begin(f"{name}.{address}").after(seconds).done(f"{name}.{address}")


def test_of_concurrent_steps_the_slowest_counts_and_phases_follow_each_other() -> None:
    def tell(script: Script) -> None:
        script.run().start("orders").begin("orders.extract.a", "orders.extract.b")
        script.after(3).done("orders.extract.a").after(1).done("orders.extract.b")
        _steps(script, "orders", ("transform.x", 2))
        script.begin("orders.load.warehouse", "orders.load.lake").after(1).done("orders.load.lake")
        script.after(10).done("orders.load.warehouse").after(2).commit("orders", "warehouse", seconds=2)
        script.finish("orders").after(1).end()

    sentence, chain = _told(plan(ONE), tell)
    assert chain == {"orders.extract.b": 4, "orders.transform.x": 2, "orders.load.warehouse": 13}
    assert sentence == "65 % of the time in load `warehouse` of orders (13.0s)"


def test_the_chain_goes_through_what_a_pipeline_needed_and_not_through_what_ran_beside_it() -> None:
    def tell(script: Script) -> None:
        script.run().start("orders", "weather").begin("orders.extract.a", "weather.extract.csv")
        script.after(5).done("orders.extract.a").finish("orders")
        script.start("report").begin("report.extract.sql").after(3)
        script.done("weather.extract.csv").finish("weather")
        script.after(1).done("report.extract.sql").finish("report").end()

    sentence, chain = _told(TWO, tell)
    assert chain == {"orders.extract.a": 5, "report.extract.sql": 4}
    assert sentence == "56 % of the time in extract `a` of orders (5.00s)"


def test_the_chain_leads_through_the_pipeline_whose_slot_was_waited_for() -> None:
    def tell(script: Script) -> None:
        script.run().start("weather")
        _steps(script, "weather", ("extract.csv", 7))
        script.finish("weather").start("orders")
        _steps(script, "orders", ("extract.a", 2))
        script.finish("orders").end()

    sentence, chain = _told(TWO, tell)
    assert chain == {"weather.extract.csv": 7, "orders.extract.a": 2}
    assert sentence == "78 % of the time in extract `csv` of weather (7.00s)"


def test_steps_through_which_rows_flow_share_the_time_as_they_have_worked() -> None:
    def tell(script: Script) -> None:
        script.run().start("orders").begin("orders.extract.a").after(1).begin("orders.transform.x")
        script.after(1).begin("orders.load.warehouse").after(6).done("orders.extract.a", waited=0)
        script.after(1).done("orders.transform.x", waited=6).after(1).done("orders.load.warehouse", waited=6)
        script.commit("orders", "warehouse").finish("orders").end()

    sentence, chain = _told(plan(ONE), tell)
    # 8, 2 and 2 seconds of work in 10
    assert chain == {"orders.extract.a": 6.667, "orders.transform.x": 1.667, "orders.load.warehouse": 1.667}
    assert sentence == "67 % of the time in extract `a` of orders (6.67s)"


def test_a_short_pipeline_that_nobody_waited_for_is_not_in_the_chain() -> None:
    def tell(script: Script) -> None:
        script.run().start("orders", "weather").begin("orders.extract.a", "weather.extract.csv")
        script.after(1).done("weather.extract.csv").finish("weather")
        script.after(4).done("orders.extract.a").finish("orders").end()

    assert _told(TWO, tell)[1] == {"orders.extract.a": 5}


def test_all_attempts_of_a_step_count_and_a_failed_one_too() -> None:
    def tell(script: Script) -> None:
        script.run().start("orders").begin("orders.extract.a").after(1).retry("orders.extract.a", 5)
        script.after(5).begin("orders.extract.a", attempt=2).after(2).fail("orders.extract.a", "gone")
        script.finish("orders", status=Status.FAILED).end(Status.FAILED)

    assert _told(plan(ONE), tell)[0] == "100 % of the time in extract `a` of orders (8.00s)"


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_a_run_in_which_no_step_took_time_says_nothing_about_it(seconds: float) -> None:
    def tell(script: Script) -> None:
        script.run().start("orders").begin("orders.extract.a").done("orders.extract.a")
        script.finish("orders").after(seconds).end()

    assert _told(plan(ONE), tell)[0] == ""


def test_a_pipeline_whose_start_was_not_told_has_no_part_in_it() -> None:
    def tell(script: Script) -> None:
        script.run().begin("orders.extract.a").after(3).done("orders.extract.a")
        script.commit("orders", "warehouse", seconds=1).end()

    assert _told(plan(ONE), tell) == ("", {})


# ---------------------------------------------------------------------------------------------- the terminal


@pytest.fixture
def terminal() -> Iterator[Callable[[int], tuple[TextIO, Callable[[], str]]]]:
    """Opens a pseudo terminal of so many columns: what writes to it, and what it has been written so far."""
    opened: list[int] = []

    def new(columns: int) -> tuple[TextIO, Callable[[], str]]:
        import fcntl

        ours, theirs = pty.openpty()
        opened.append(ours)
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        out = os.fdopen(theirs, "w", encoding="utf-8")

        def read() -> str:
            out.close()
            found = b""
            while True:
                try:
                    piece = os.read(ours, 4096)
                except OSError:  # what Linux says at the end
                    break
                if not piece:
                    break
                found += piece
            return found.decode().replace("\r\n", "\n")

        return out, read

    yield new
    for number in opened:
        os.close(number)


def _everything(script: Script) -> None:
    script.run().start("orders", "weather").begin(
        "orders.extract.a", "orders.extract.b", "weather.extract.csv"
    )
    script.after(2).done("orders.extract.a", None, 27_004, 5_000_000)
    script.begin("orders.extract.b", attempt=2).after(1).done("orders.extract.b", None, 3, 90)
    script.fail("weather.extract.csv", "no such\x1b[2J file").finish("weather", status=Status.FAILED)
    _steps(script, "orders", ("transform.x", 1), ("load.warehouse", 2), ("load.lake", 1))
    script.commit("orders", "warehouse", "lake").finish("orders")
    script.skip("report_with_a_very_long_name_indeed_so_that_it_is_cut", "it needs `weather`, which failed")
    script.end(Status.FAILED)


LONG = plan(
    ONE,
    pipeline("weather", extract="csv", load="sql"),
    pipeline(
        "report_with_a_very_long_name_indeed_so_that_it_is_cut", ("weather",), extract="sql", load="csv"
    ),
)


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_the_summary_is_as_wide_as_the_terminal(
    golden: Callable[[str, str], None],
    terminal: Callable[[int], tuple[TextIO, Callable[[], str]]],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    out, read = terminal(columns)
    _everything(Script(LONG, Summary(out, lambda text: text)))
    shown = read()
    assert "\x1b" not in shown
    table = shown.split("\n\n")[0].strip("\n").splitlines()
    assert all(len(line) <= columns for line in table)
    golden(f"summary-{columns}.txt", shown)


def test_colours_stand_on_a_terminal_only_and_not_against_the_users_wish(
    terminal: Callable[[int], tuple[TextIO, Callable[[], str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown() -> str:
        out, read = terminal(100)
        _everything(Script(LONG, Summary(out, lambda text: text)))
        return read()

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    text = shown()
    assert "\x1b[32msucceeded\x1b[0m" in text
    assert "\x1b[1;31mfailed\x1b[0m" in text
    assert "no such\\x1b[2J file" in text
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown()
    plain = io.StringIO()
    monkeypatch.delenv("NO_COLOR")
    _everything(Script(LONG, Summary(plain, lambda text: text)))
    assert "\x1b" not in plain.getvalue()
    assert "report_with_a_very_long_name_indeed_so_that_it_is_cut" in plain.getvalue()


def test_a_secret_is_masked_before_the_columns_are_measured() -> None:
    out = io.StringIO()
    _everything(Script(LONG, Summary(out, lambda text: text.replace("weather", "***"))))
    assert "weather" not in out.getvalue()
