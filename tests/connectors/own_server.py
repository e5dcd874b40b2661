"""A server that a test may stop, fill or kill: in a folder of its own, gone when the test ends."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Server(Protocol):
    def start(self, **settings: str) -> None: ...

    def stop(self) -> None: ...


S = TypeVar("S", bound=_Server)


@contextlib.contextmanager
def running(make: Callable[[Path], S], prefix: str, settings: dict[str, str]) -> Iterator[S]:
    """A server that runs, with settings of its configuration file."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        made = make(folder)
        made.start(**settings)
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
