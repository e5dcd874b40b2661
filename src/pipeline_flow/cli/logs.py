"""Where log records of plugins and libraries go: to stderr, without secrets and control characters."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline_flow.cli import streams
from pipeline_flow.errors import ConfigError, InternalError
from pipeline_flow.listeners.lines import NORMAL, QUIET, VERBOSE
from pipeline_flow.listeners.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OF_PLUGINS = {QUIET: logging.WARNING, NORMAL: logging.INFO, VERBOSE: logging.DEBUG}


class _Formatter(logging.Formatter):
    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__("{step}: {levelname}: {message}", style="{")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        record.step = getattr(record, "step", record.name)
        return printable(self._redact(super().format(record)))


def set_up(level: int, redact: Callable[[str], str]) -> None:
    """Shows warnings of everybody, and what plugins log through their context as ``level`` lets it through."""
    logging.captureWarnings(capture=True)  # a library's warning may quote data
    handler = logging.StreamHandler(streams.stderr())
    handler.setFormatter(_Formatter(redact))
    logging.getLogger().addHandler(handler)
    logging.getLogger("pipeline_flow.step").setLevel(_OF_PLUGINS[level])
    threading.excepthook = _of_thread
    sys.unraisablehook = _unraisable


def _of_thread(raised: threading.ExceptHookArgs) -> None:
    """An error in a thread that a plugin started itself: Python would write it to stderr as it is."""
    if raised.exc_type is not SystemExit and raised.exc_value is not None:
        name = raised.thread.name if raised.thread is not None else "?"
        _tell(f"the thread {name} ended with an error", raised.exc_value)


def _unraisable(raised: sys.UnraisableHookArgs) -> None:
    if raised.exc_value is not None:
        _tell(raised.err_msg or "an error that nothing could catch", raised.exc_value)


def _tell(text: str, error: BaseException) -> None:
    logging.getLogger("python").error("%s", text, exc_info=error)


@contextmanager
def bugs_masked(redact: Callable[[str], str]) -> Iterator[None]:
    """Around what a command does: a bug of ours is raised on as text, with the secrets in its traceback masked.

    Raises:
        InternalError: it holds the traceback, and has no cause.
    """
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - all but what is told otherwise
        told = printable(redact("".join(traceback.format_exception(error)).rstrip()))
    else:
        return
    raise InternalError(f"\n{told}") from None  # the one that is being handled has the secrets
