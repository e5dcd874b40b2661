"""What a plugin is given when it runs."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar

from pipeline_flow.errors import RowRejected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from random import Random

    from pipeline_flow.events import Address

T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a configuration: its id, what it is for (``key``), and when it started, with a time zone."""

    id: str
    started_at: datetime
    key: str | None = None
    name: str = ""


def new_run(now: float, random: Random, *, key: str | None = None, name: str = "") -> Run:
    """The identity of a run that starts now (seconds since the epoch): an id that sorts by time, and the time in UTC."""
    started = datetime.fromtimestamp(now, tz=UTC)
    return Run(f"{started:%Y%m%dT%H%M%S}-{random.getrandbits(32):08x}", started, key, name)


class Resources(Protocol):
    """What steps share, by canonical URL: opened on first use, closed when the run ends, last opened first."""

    def get(self, key: str, open_: Callable[[], AbstractContextManager[T]]) -> T:
        """The resource under ``key``; the first call opens it. May block: call it off the event loop.

        Safe to call from several threads: one opens, the others wait.
        """

    @property
    def memory_bytes(self) -> int:
        """How much memory one database engine inside this process may use."""

    @property
    def are_shared(self) -> bool:
        """Whether several pipelines may use what is opened here at once."""

    def folder(self) -> Path:
        """A private folder for temporary files, removed when the run ends."""


class CancelledByRun(Exception):
    """Raised in a synchronous step by :meth:`Context.check` after the run was cancelled or the step timed out."""


class CancelFlag:
    """Tells a synchronous step to stop, and interrupts the driver that it waits for."""

    __slots__ = ("_callbacks", "_lock", "_set")

    def __init__(self) -> None:
        self._set = False
        self._callbacks: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return self._set

    def set(self) -> None:
        """Raises the flag and calls what waits for it; each further call calls again what is still there.

        A driver forgets an interruption that comes just before its query begins, so once is not enough.
        """
        with self._lock:
            self._set = True
            callbacks = list(self._callbacks)
        for callback in callbacks:
            _call(callback)

    def on_set(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls ``callback`` when the flag is raised, at once where it already is; the result takes it back."""
        with self._lock:
            self._callbacks.append(callback)
            is_set = self._set
        if is_set:
            _call(callback)
        return lambda: self._remove(callback)

    def _remove(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


def _call(callback: Callable[[], object]) -> None:
    with suppress(Exception):  # the driver may have been closed a moment ago
        callback()


class _Logger(logging.LoggerAdapter[logging.Logger]):
    """Masks secrets before a record is made: what handles it may be anybody's."""

    def __init__(
        self, logger: logging.Logger, extra: dict[str, object], redact: Callable[[str], str]
    ) -> None:
        super().__init__(logger, extra)
        self._redact = redact

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        if not self.isEnabledFor(level):
            return
        text = str(msg)
        if args:
            given = args[0] if len(args) == 1 and isinstance(args[0], Mapping) and args[0] else args
            try:
                text = text % given
            except (TypeError, ValueError, KeyError):
                text = f"{text} {args}"
        raised = kwargs.pop("exc_info", None)
        if raised:
            error = raised if isinstance(raised, BaseException) else sys.exc_info()[1]
            text += f"\n{''.join(traceback.format_exception(error)).rstrip()}" if error is not None else ""
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
        super().log(level, "%s", self._redact(text), **kwargs)


@dataclass(slots=True)
class Context:
    """A plugin's view of the run: ``self.context``, or a parameter annotated with this class.

    ``rejected`` counts the rows that the step rejected; ``on_bad_row`` is the step's policy, ``fail`` or ``skip``.
    ``redact`` masks the run's secrets in a text.
    """

    run: Run
    address: Address
    resources: Resources
    run_in_thread: Callable[..., Awaitable[Any]]
    tell: Callable[[str, str], None]
    progress: Callable[[int, int], None]
    on_bad_row: str = "fail"
    attempt: int = 1
    cancel_flag: CancelFlag = field(default_factory=CancelFlag)
    rejected: int = 0
    redact: Callable[[str], str] = field(default_factory=lambda: str)

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """The logger ``pipeline_flow.step``; its records carry the step's address as ``step``, and no secret of the run."""
        return _Logger(logging.getLogger("pipeline_flow.step"), {"step": str(self.address)}, self.redact)

    @property
    def cancelled(self) -> bool:
        """Whether the run wants this step to stop. A synchronous step looks between two batches."""
        return bool(self.cancel_flag)

    def check(self) -> None:
        """Raises :class:`CancelledByRun` when the run wants this step to stop."""
        if self.cancel_flag:
            raise CancelledByRun

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls ``callback`` (such as ``connection.interrupt``) when the run wants this step to stop.

        The result takes the callback back; call it when the driver is no longer in use.
        """
        return self.cancel_flag.on_set(callback)

    async def to_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs blocking work in one of the engine's own threads and waits for it."""
        result: T = await self.run_in_thread(self.cancel_flag, function, *args, **kwargs)
        return result

    def notice(self, text: str, level: str = "info") -> None:
        """Tells people something about this step: a line in the log and on the screen."""
        self.tell(text, level)

    def reject(self, row: Any, reason: str) -> None:
        """Leaves a row out, as the step's ``on_bad_row`` says.

        Raises:
            RowRejected: ``on_bad_row`` is ``fail``.
        """
        if self.on_bad_row == "fail":
            shown = self.redact(repr(row))  # before it is cut: half a secret is not known as one
            shown = shown if len(shown) <= 200 else f"{shown[:197]}…"
            raise RowRejected(
                f"a row was rejected: {reason}",
                hint=f"the row: {shown}; `on_bad_row: skip` leaves such rows out",
            )
        self.rejected += 1


context_of_step: ContextVar[Context | None] = ContextVar("pipeline_flow_step", default=None)
"""The context of the step whose plugin is being called here: also that of the plugins which that one has built."""
