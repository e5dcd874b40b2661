"""The live table: where every pipeline and step stands, drawn anew eight times a second at the foot of a terminal.

What anybody prints meanwhile scrolls by above it. The cursor is hidden while the table stands and shown again
however the run ends.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from pipeline_flow import events
from pipeline_flow.listeners import table, text
from pipeline_flow.listeners.board import COLUMNS, TITLE, Board, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_flow.plan.model import Plan

_PER_SECOND = 8
_COST = 20  # a table of a thousand pipelines is drawn less often: drawing may take a twentieth of a core
_STYLES = {
    State.WAITING: "dim",
    State.RUNNING: "cyan",
    State.RETRYING: "yellow",
    State.STAGED: "blue",
    State.GOOD: "green",
    State.FAILED: "bold red",
    State.CANCELLED: "yellow",
    State.SKIPPED: "yellow",
}
_HEAD = "bold"


class Live:
    """Shows a run while it runs. Put it before what prints at the run's end: the table is gone by then.

    Use it as a context manager around the run: what anybody prints inside goes above the table.

    Args:
        plan: what the run does.
        redact: masks secrets.
        console: the terminal; stderr by default.
        now: the time, on the clock of the events.
    """

    def __init__(
        self,
        plan: Plan,
        redact: Callable[[str], str],
        *,
        console: Console | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._console = console or terminal(sys.stderr)
        self._redact = redact
        self._now = now
        ascii_only = not self._console.encoding.startswith("utf")
        self._board = Board(plan, self._clean, ascii_only=ascii_only)
        self._data = threading.Lock()  # around the board
        self._screen = threading.RLock()  # around what is written to the terminal; taken before the other
        self._live: RichLive | None = None
        self._replaced: dict[str, tuple[TextIO, _Above]] = {}
        self._ended = threading.Event()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._width = 0
        self._note = ""

    def handle(self, event: events.Event) -> None:
        """See :class:`~pipeline_flow.listeners.bus.Listener`."""
        try:
            with self._data:
                self._board.handle(event)
            if self._error is not None:
                raise self._error
            if isinstance(event, events.RunStarted):
                self.start()
        except BaseException:
            self.close()
            raise
        if isinstance(event, events.RunFinished):
            self.close()

    def note(self, message: str) -> None:
        """Shows a line below the table. It waits for nothing: a signal handler may call it."""
        self._note = message

    @property
    def is_shown(self) -> bool:
        """Whether the table stands on the terminal now."""
        return self._live is not None and self._live.is_started

    # ------------------------------------------------------------------------------------------ the screen

    def start(self) -> None:
        """Draws the table and keeps it up to date."""
        with self._screen:
            self._width = self._console.width
            self._live = RichLive(
                console=self._console,
                auto_refresh=False,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
                get_renderable=self.draw,
            )
            self._live.start(refresh=True)
        self._thread = threading.Thread(target=self._keep_drawing, name="pipeline-flow-live", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes the table away and gives the terminal back as it was. Safe to call more than once."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._screen:
            try:
                if self._live is not None:
                    self._live.stop()
            finally:
                self._give_streams_back()

    def print(self, line: str) -> None:
        """Writes text above the table."""
        with self._screen:
            self._console.print(Text(line), soft_wrap=True)

    def _keep_drawing(self) -> None:
        pause = 1 / _PER_SECOND
        while not self._ended.wait(pause):
            began = time.thread_time()
            try:
                self.refresh()
                pause = max(1 / _PER_SECOND, _COST * (time.thread_time() - began))
            except Exception as error:  # noqa: BLE001 - raised where the next event is handled
                self._error = error
                self.close()

    def refresh(self) -> None:
        """Draws the table as it is now."""
        with self._screen:
            width = self._console.width
            if width < self._width:
                # The terminal has broken our lines into more of them, and how many is its secret.
                self._console.clear()
            self._width = width
            if self._live is not None:
                self._live.refresh()

    def draw(self) -> Group:
        """The table."""
        size = self._console.size
        note = self._note
        now = self._now()
        with self._data:
            title = self._board.title(now)
            rows, left_out = self._board.rows(now, size.height - 5 - bool(note))
        ellipsis = self._board.ellipsis
        lines = [Text(text.shortened(title, size.width, ellipsis, middle=False), _HEAD)]
        if rows:
            lines += self._table(rows, size.width)
        if left_out:
            lines.append(Text(text.shortened(left_out, size.width, ellipsis, middle=False), "dim"))
        if note:
            lines.append(Text(text.shortened(note, size.width, ellipsis, middle=False), "bold yellow"))
        lines.append(Text(""))  # the cursor waits here: what the keyboard echoes, such as ^C, breaks no line
        for line in lines:
            line.no_wrap, line.overflow = True, "crop"
        return Group(*lines)

    def _table(self, rows: list[table.Row], width: int) -> list[Text]:
        head, *body = table.lay_out(TITLE, COLUMNS, rows, width, self._board.ellipsis)
        shown = [Text(str(head), "dim")]
        for line in body:
            style = _STYLES[State(line.look)]
            name = Text(line.name, "bold" if not line.name.startswith(" ") else "")
            mark = len(line.name) - len(line.name.lstrip())
            name.stylize(style, mark, mark + 1)
            shown.append(Text.assemble(name, line.cells, "  ", (line.note, style)))
        return shown

    def _clean(self, foreign: str) -> str:
        shown = text.one_line(self._redact(foreign))
        encoding = self._console.encoding
        return shown.encode(encoding, "backslashreplace").decode(encoding)

    # ------------------------------------------------------------------------------------------ what others print

    def __enter__(self) -> Self:
        """Takes the streams that end on this terminal: what is printed there would tear the table."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                above = _Above(self, stream)
                self._replaced[name] = (stream, above)
                setattr(sys, name, above)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _give_streams_back(self) -> None:
        for name, (stream, above) in self._replaced.items():
            if getattr(sys, name) is above:
                setattr(sys, name, stream)
            above.end()
        self._replaced.clear()


class _Above(io.TextIOBase):
    """A stream whose lines appear above the table, each whole, without anything that steers the terminal."""

    def __init__(self, live: Live, stream: TextIO) -> None:
        self._live = live
        self._stream = stream
        self._pending = ""
        self._over = False
        self._guard = threading.Lock()

    def write(self, written: str) -> int:
        """Shows whole lines and keeps the rest for later."""
        if self._over:  # somebody has kept this stream
            return self._stream.write(written)
        with self._guard:
            lines, newline, self._pending = (self._pending + written).rpartition("\n")
        if newline:
            self._live.print(text.printable(lines))
        return len(written)

    def end(self) -> None:
        """Writes what is left; what is written from now on goes to the stream itself."""
        with self._guard:
            rest, self._pending, self._over = self._pending, "", True
        if rest:
            self._stream.write(f"{text.printable(rest)}\n")

    def isatty(self) -> bool:
        """Who asks wants to know whether to steer the terminal."""
        return False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def terminal(out: TextIO) -> Console:
    """The console for the terminal that ``out`` writes to."""
    return Console(file=out, force_terminal=True, highlight=False, markup=False, emoji=False)
