"""The standard streams, whatever state the caller left them in."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO, cast

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG))
"""Why standard output cannot take what is written, which is no mistake of ours."""


class _Forgiving(io.FileIO):
    """A stream whose reader may go away (``| head``): what is written then goes nowhere.

    Neither does a log on a full disk decide how a run ends: nothing is left to tell of a standard error that fails.
    What else fails is raised once; what is still buffered then goes nowhere, or it would fail again when the stream
    is collected, where nobody could catch it.
    """

    _failed = False

    def write(self, data: Any) -> int:
        try:
            if not self._failed:
                return super().write(data)
        except OSError as error:
            if not self._is_talk and not isinstance(error, BrokenPipeError):
                self._failed = True
                raise
        return memoryview(data).nbytes

    @property
    def _is_talk(self) -> bool:
        return self.fileno() == 2


class _Stderr(io.TextIOBase):
    """Standard error as it is at each write: the live table puts a stream of its own in its place for a while."""

    def write(self, text: str) -> int:
        """See :meth:`io.TextIOBase.write`."""
        return sys.stderr.write(text)

    def flush(self) -> None:
        """See :meth:`io.IOBase.flush`."""
        sys.stderr.flush()

    def writable(self) -> bool:
        """See :meth:`io.IOBase.writable`."""
        return True


def stderr() -> TextIO:
    """A stream that writes to what ``sys.stderr`` is at each write."""
    return cast("TextIO", _Stderr())


def prepare() -> None:
    """Opens what the caller closed, and makes sure that no character and no vanished reader stops what is written."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The next file that anybody opened would take its place, and get what is printed.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout, sys.stderr = _writer(1, sys.stdout), _writer(2, sys.stderr)


def give_up_stdout() -> None:
    """What is still to be written to standard output goes nowhere, so that it cannot fail once more at the exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def take_stdout() -> TextIO:
    """Standard output for the caller alone; what anybody else prints from now on goes to standard error."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # it is ours, from prepare()
    return _writer(own, None)


def _writer(number: int, before: TextIO | None) -> TextIO:
    raw = _Forgiving(number, "w", closefd=False)
    encoding = "utf-8" if before is None else before.encoding
    at_once = number == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=at_once
    )
