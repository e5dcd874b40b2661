"""One file, replaced as a whole: readers see the old one or the new one, never a part."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_flow.errors import TargetUnwritable
from pipeline_flow.files.local import canonical, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

_NEW_FILE_MODE = 0o666


class Replacement:
    """A new version of a file, written aside in the same folder.

    Symbolic links are followed: the link stays and the file that it points at is replaced. The permissions of an
    existing file are kept; a new file gets those that the process gives to new files. Missing folders are made.

    Raises:
        TargetUnwritable: the folder cannot be written, or the path is something else than a file.
    """

    def __init__(self, path: str | Path) -> None:
        self.target = canonical(path)
        if self.target.is_dir():
            raise TargetUnwritable(
                f"{self.target} is a folder",
                hint="name the file to write, or end the path with / to write a folder of files",
            )
        if self.target.exists() and not self.target.is_file():
            # As root, replacing /dev/null would take it from everybody.
            raise TargetUnwritable(
                f"{self.target} is a device, a pipe or a socket, and cannot be replaced",
                hint="name the file to write",
            )
        self._made = make_folders(self.target.parent)
        self.path = self.target.with_name(f".{self.target.name}.{secrets.token_hex(6)}.tmp")
        with unwritable(self.target):
            descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _NEW_FILE_MODE)
            os.close(descriptor)

    def commit(self) -> None:
        """Makes the new version the file.

        Raises:
            TargetUnwritable: the system refused; the old version stands.
        """
        with unwritable(self.target):
            with contextlib.suppress(FileNotFoundError):
                self.path.chmod(stat.S_IMODE(self.target.stat().st_mode))
            sync(self.path)
            self.path.replace(self.target)
            sync(self.target.parent)
        self._made = []

    def abort(self) -> None:
        """Removes the new version and the folders that were made for it. Safe to call more than once."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        for folder in self._made:
            with contextlib.suppress(OSError):  # somebody else may have put something there
                folder.rmdir()
        self._made = []


def make_folders(folder: Path) -> list[Path]:
    """Makes ``folder`` and what is missing above it; gives what was made, the innermost first."""
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    with unwritable(folder):
        for item in reversed(missing):
            item.mkdir(exist_ok=True)
    return missing


def sync(path: Path) -> None:
    """Flushes a file, or the list of a folder's files, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no way to flush a folder
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def unwritable(target: Path) -> Iterator[None]:
    """Makes :class:`TargetUnwritable` of what the system refuses."""
    try:
        yield
    except OSError as error:
        raise TargetUnwritable(f"{target} cannot be written: {reason(error)}") from None
