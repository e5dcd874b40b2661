"""The live table, drawn from events told by hand, on a terminal that is a text."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from pipeline_flow.events import Status
from pipeline_flow.listeners import InOrder
from pipeline_flow.listeners.live import Live, terminal
from tests.listeners.script import Script, pipeline, plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_flow.plan.model import Plan

SHOP = plan(
    pipeline("orders", extract="orders customers", transform="joined clean", load="warehouse lake api!"),
    pipeline("weather", extract="csv", load="sql"),
    pipeline("stock", extract="csv", load="sql"),
    pipeline("report", ("orders", "weather"), extract="sql", load="csv"),
)


class Terminal(io.StringIO):
    """A terminal; ``encoding`` is what it can show."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


class AsciiTerminal(Terminal):
    encoding = "ascii"


@pytest.fixture(autouse=True)
def _colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def _live(plan: Plan, width: int = 100, height: int = 30, out: Terminal | None = None) -> tuple[Live, Script]:
    console = Console(
        file=out or Terminal(), force_terminal=True, width=width, height=height, highlight=False
    )
    scripts: list[Script] = []
    live = Live(plan, lambda text: text, console=console, now=lambda: scripts[0].at)
    scripts.append(Script(plan, live._board))
    return live, scripts[0]


def _drawn(live: Live) -> str:
    """The table as it stands, without colours."""
    size = live._console.size
    plain = Console(file=io.StringIO(), width=size.width, height=size.height, highlight=False)
    plain.print(live.draw())
    assert isinstance(plain.file, io.StringIO)
    return plain.file.getvalue()


def _halfway(script: Script) -> None:
    """Orders loads after a retry, the weather has failed, and the others wait."""
    script.run().start("orders", "weather").phase("orders", "extract").phase("weather", "extract")
    script.begin("orders.extract.orders", "orders.extract.customers", "weather.extract.csv")
    script.after(2).retry("orders.extract.customers", 3).progress("orders.extract.orders", 40_000, 3_000_000)
    script.after(1.5).fail("weather.extract.csv", "the file weather.csv does not exist\nreally")
    script.finish("weather", status=Status.FAILED).skip("report", "it needs `weather`, which failed")
    script.start("stock").phase("stock", "extract").begin("stock.extract.csv")


@pytest.mark.parametrize(("width", "height"), [(100, 30), (80, 24), (40, 10), (200, 50)])
def test_the_table_is_as_it_was(golden: Callable[[str, str], None], width: int, height: int) -> None:
    live, script = _live(SHOP, width, height)
    moments = []
    script.run()
    moments.append(_drawn(live))
    live, script = _live(SHOP, width, height)
    _halfway(script)
    moments.append(_drawn(live))
    script.after(2).begin("orders.extract.customers", attempt=2).after(1)
    script.done("orders.extract.customers", None, 2_000, 90_000)
    script.done("orders.extract.orders", None, 1_234_567, 90_000_000).phase("orders", "transform")
    script.begin("orders.transform.joined").after(2).progress("orders.transform.joined", 0, 0, 600_000)
    moments.append(_drawn(live))
    script.after(1).done("orders.transform.joined", 1_236_567, 1_234_567).begin("orders.transform.clean")
    script.after(1).done("orders.transform.clean", 1_234_567, 1_234_567, 90_000_000).phase("orders", "load")
    script.begin("orders.load.warehouse", "orders.load.lake").after(3)
    script.done("orders.load.warehouse", 1_234_567, 1_234_567, 90_000_000)
    script.progress("orders.load.lake", 900_000, 60_000_000, 900_000)
    moments.append(_drawn(live))
    script.done("orders.load.lake", 1_234_567, 1_234_567, 90_000_000).begin("orders.load.api").after(61)
    script.done("orders.load.api", 1_234_567).commit("orders", "warehouse").commit("orders", "lake")
    moments.append(_drawn(live))
    for moment in moments:
        lines = moment.splitlines()
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
    golden(f"live-{width}x{height}.txt", "".join(f"{moment}{'=' * width}\n" for moment in moments))


def test_what_runs_and_what_failed_is_shown_first_and_the_rest_is_counted() -> None:
    many = plan(
        *(pipeline(f"p{number:03}", extract="csv", load="sql") for number in range(300)), concurrency=4
    )
    live, script = _live(many, 80, 12)
    script.run()
    for number in range(100):
        name = f"p{number:03}"
        script.start(name).phase(name, "extract").begin(f"{name}.extract.csv")
        if number == 7:
            script.fail(f"{name}.extract.csv", "broken").finish(name, status=Status.FAILED)
        elif number < 98:
            script.done(f"{name}.extract.csv", None, 1).finish(name)
    drawn = _drawn(live)
    assert len(drawn.splitlines()) <= 12
    for name in ("p007", "p098", "p099"):
        assert f" {name} " in drawn
    assert "broken" in drawn
    assert "… 297 more pipelines (200 waiting, 97 done), 98 steps" in drawn


def test_a_terminal_that_is_too_low_shows_at_least_the_title() -> None:
    live, script = _live(SHOP, 30, 4)
    _halfway(script)
    assert _drawn(live).startswith("shop: 0 of 4 pipelines done")
    assert len(_drawn(live).splitlines()) <= 4


def test_what_the_terminal_cannot_encode_is_escaped_and_takes_the_room_that_it_needs() -> None:
    odd = plan(pipeline("Zürich", extract="数据", load="a\x1b[2Jb"), name="Größe")
    live, script = _live(odd, 100, 20, AsciiTerminal())
    script.run().start("Zürich").phase("Zürich", "extract").begin("Zürich.extract.数据")
    drawn = _drawn(live)
    assert drawn.isascii()
    assert "> Z\\xfcrich" in drawn
    assert "\\u6570\\u636e" in drawn
    assert r"load.a\x1b[2Jb" in drawn


def test_colours_follow_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown() -> str:
        out = Terminal()
        live = Live(SHOP, lambda text: text, console=terminal(out), now=lambda: 1000.0)
        script = Script(SHOP, live)
        script.run().start("orders")
        live.refresh()
        live.close()
        return out.getvalue()

    assert "\x1b[36m" in shown()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in shown()


def test_the_terminal_is_given_back_as_it_was() -> None:
    out = Terminal()
    live = Live(SHOP, lambda text: text, console=terminal(out), now=lambda: 1000.0)
    script = Script(SHOP, live)
    _halfway(script)
    live.refresh()
    assert live.is_shown
    script.end(Status.FAILED)
    live.close()
    written = out.getvalue()
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert written.rindex("\x1b[?25h") > written.rindex("orders")
    after = written[written.rindex("\x1b[?25h") :]
    assert after.count("\x1b[2K") == after.count("\x1b[1A") > 10  # every line of the table is erased


def test_what_is_printed_meanwhile_stands_above_in_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out, printed = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", printed)
    live = Live(SHOP, lambda text: text, console=terminal(out), now=lambda: 1000.0)
    before = sys.stdout
    script = Script(SHOP, live)
    with live:
        print("before the table")
        script.run()
        kept = sys.stdout
        print("half a", end=" ", flush=True)
        print("line \x1b[2J[/]\nand more", end="")
        script.end()
    assert sys.stdout is before
    assert out.getvalue().startswith("before the table\n")
    assert "half a line \\x1b[2J[/]\n" in out.getvalue()
    assert printed.getvalue() == "and more\n"
    print("later", file=kept)
    assert printed.getvalue() == "and more\nlater\n"


def test_a_stream_that_is_no_terminal_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.StringIO()
    monkeypatch.setattr(sys, "stdout", data)
    live = Live(SHOP, lambda text: text, console=terminal(Terminal()), now=lambda: 1000.0)
    script = Script(SHOP, live)
    with live:
        script.run()
        print("a row of data")
        script.end()
    assert data.getvalue() == "a row of data\n"


def test_a_narrower_terminal_is_cleared_before_the_table_is_drawn_again() -> None:
    out = Terminal()
    console = Console(file=out, force_terminal=True, width=100, height=30, highlight=False)
    live = Live(SHOP, lambda text: text, console=console, now=lambda: 1000.0)
    script = Script(SHOP, live)
    script.run()
    live.refresh()
    assert "\x1b[2J" not in out.getvalue()
    console.width = 60
    live.refresh()
    live.close()
    assert "\x1b[2J" in out.getvalue()


def test_a_table_that_cannot_be_drawn_goes_away_and_the_others_hear_the_rest(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    live = Live(SHOP, lambda text: text, console=terminal(out), now=lambda: 1000.0)
    heard: list[Any] = []

    class Hears:
        def handle(self, event: Any) -> None:
            heard.append(event)

    script = Script(SHOP, InOrder(live, Hears()))
    script.run()
    monkeypatch.setattr(live._board, "handle", lambda event: 1 / 0)
    script.start("orders").start("weather")
    assert len(heard) == 3
    assert [record.message for record in caplog.records] == [
        "the listener Live failed and hears no more of this run"
    ]
    assert not live.is_shown
    assert out.getvalue().rindex("\x1b[?25h") > out.getvalue().rindex("\x1b[?25l")


def test_a_note_of_the_signal_handler_stands_below() -> None:
    live, script = _live(SHOP, 60, 12)
    script.run()
    live.note("SIGINT: stopping; once more ends at once")
    drawn = _drawn(live).rstrip().splitlines()
    assert drawn[-1].rstrip() == "SIGINT: stopping; once more ends at once"
    assert len(_drawn(live).splitlines()) <= 12
