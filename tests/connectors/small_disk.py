"""A disk that is full soon."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def small_disk(folder: Path, size: str = "1M") -> Iterator[Path]:
    """A file system of ``size`` in memory, mounted at ``folder``, which is made. Only root of Linux may do that."""
    folder.mkdir()
    if sys.platform != "linux":
        pytest.skip("mounts a tmpfs, which is Linux's")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        # Lazily: a server that ends may hold a file a moment longer.
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def only_read(disk: Path) -> Iterator[None]:
    """Makes a small disk one that nobody may write, not even root."""
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
