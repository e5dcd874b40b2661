"""Which files a path means, and whether they can be read."""

from __future__ import annotations

import errno
import glob
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_flow.errors import SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

PRIVATE = "_pipeline_flow"
"""The folder inside a folder of files that is ours: manifests, and what is not committed yet."""

_MAGIC = "*?["


def canonical(path: str | Path) -> Path:
    """The absolute path with symbolic links followed; the file need not exist."""
    return Path(path).expanduser().absolute().resolve()


def url(path: str | Path) -> str:
    """The canonical URL of a file, by which steps find out that they mean the same one."""
    return f"file://{canonical(path).as_posix()}"


def find(paths: str | Sequence[str]) -> list[Path]:
    """The files that ``paths`` means, each checked to be readable.

    A path may hold ``*``, ``?``, ``[…]`` and ``**``; what it matches is sorted by name, and what loads into folders keep
    for themselves is no match. Lists keep their order.

    Raises:
        SourceUnreadable: nothing matches, or a file cannot be opened.
    """
    given = [paths] if isinstance(paths, str) else list(paths)
    found: list[Path] = []
    for item in given:
        text = str(Path(item).expanduser())
        if any(char in text for char in _MAGIC) and not Path(text).exists():
            found_here = glob.glob(text, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
            matches = sorted(
                path
                for match in found_here
                if not (path := Path(match)).is_dir() and PRIVATE not in path.parts
            )
            if not matches:
                raise SourceUnreadable(f"no file matches {item}", hint=_start(text))
            found += matches
        else:
            found.append(Path(text))
    for path in found:
        check_readable(path)
    return found


def check_readable(path: Path) -> None:
    """Opens ``path`` for a moment.

    Raises:
        SourceUnreadable: it does not exist, is a folder, or may not be read.
    """
    try:
        if path.is_dir():
            raise SourceUnreadable(f"{path} is a folder", hint=f"name its files: {path}/*")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise SourceUnreadable(f"the file {path} does not exist", hint=_start(str(path))) from None
    except OSError as error:
        raise SourceUnreadable(f"the file {path} cannot be read: {reason(error)}") from None


def _start(text: str) -> str:
    return "" if Path(text).is_absolute() else f"paths start from the working folder, {Path.cwd()}"


def reason(error: OSError) -> str:
    """Why the system refused, in plain words."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission"
    if error.errno == errno.ENOSPC:
        return "no space left on the disk"
    return (error.strerror or str(error)).lower()
