"""Lock files: held as long as a process lives, so that what a dead one left can be told from what is in use."""

from __future__ import annotations

import errno
import os
import sys
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def hold_new(path: Path) -> IO[bytes]:
    """Makes a lock file and holds it. Another process's :func:`remove_stale` may be looking at it for a moment."""
    for _ in range(100):
        held = hold(path, os.O_RDWR | os.O_CREAT)
        if held is not None:
            return held
        time.sleep(0.01)
    raise OSError(errno.EBUSY, "another process uses it", str(path))


def hold(path: Path, flags: int) -> IO[bytes] | None:
    """Opens and locks the file at ``path``; ``None`` while another process holds it."""
    while True:
        file = os.fdopen(os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600), "r+b")
        try:
            there = os.fstat(file.fileno())
            if hasattr(os, "geteuid") and there.st_uid != os.geteuid():
                raise PermissionError(errno.EPERM, "belongs to another user", str(path))
            if not _try_lock(file):
                file.close()
                return None
            # Whoever held the lock before may have removed the file: then this lock guards nothing.
            if _is_at(path, there):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _is_at(path: Path, there: os.stat_result) -> bool:
    try:
        return os.path.samestat(there, path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: IO[bytes]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def let_go(held: IO[bytes], path: Path) -> None:
    """Removes a lock file, and only then gives the lock back; not on Windows, where an open file cannot be removed."""
    if sys.platform == "win32":
        held.close()
    with suppress(OSError):
        path.unlink()
    held.close()
