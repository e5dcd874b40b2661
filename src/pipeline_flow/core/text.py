"""Numbers, places and foreign text as people read them; shared by what prints."""

from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def seconds(value: float) -> str:
    """A duration: ``0.31s``, ``12.4s``, ``3m 05s``, ``2h 07m``."""
    if value < 10:
        return f"{value:.2f}s"
    if value < 60:
        return f"{value:.1f}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}m {rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m"


def count(value: int | None) -> str:
    """A number of rows with separators; ``-`` where it is not known."""
    return "-" if value is None else f"{value:,}"


def rows(value: int) -> str:
    """``1 row``, ``27,004 rows``."""
    return f"{value:,} row{'' if value == 1 else 's'}"


def size(value: int) -> str:
    """A number of bytes: ``512 B``, ``1.5 MiB``."""
    amount = float(value)
    for unit in _UNITS[:-1]:
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} {_UNITS[-1]}"


def place(url: str) -> str:
    """A destination as people name it: a file by its path, and below the working folder by the path from there."""
    scheme, separator, path = url.partition("://")
    if not separator or not path.startswith("/"):
        return url
    with contextlib.suppress(ValueError):
        path = str(Path(path.removeprefix("/") if path.startswith("//") else path).relative_to(Path.cwd()))
        return path if scheme == "file" else f"{scheme}:///{path}"
    return path if scheme == "file" else url


def printable(text: str) -> str:
    """``text`` without control characters, so that nothing from data or servers steers the terminal."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character)[0] != "C"
        else repr(character)[1:-1]
        for character in text
    )


def one_line(text: str) -> str:
    """``text`` printable and on one line, for a name or a cell of a table."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def width(text: str) -> int:
    """How many columns of a terminal ``text`` takes: wide characters two, marks on others none."""
    if text.isascii():
        return len(text)
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, most: int, ellipsis: str = "…", *, middle: bool = True) -> str:
    """``text`` in at most ``most`` columns, cut in the middle, or with ``middle`` false at its end."""
    if width(text) <= most:
        return text
    left = max(0, most - width(ellipsis))
    if left == 0:
        return ellipsis[: max(0, most)]
    tail = left // 2 if middle else 0
    end = _fitting(text[::-1], tail)[::-1]
    return _fitting(text, left - tail) + ellipsis + end


def clipped(text: str, longest: int = 60) -> str:
    """The text of a value for a message, without what is beyond ``longest`` characters."""
    return text if len(text) <= longest else f"{text[: longest - 3]}…"


def _fitting(text: str, most: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _columns(character)
        if used > most:
            return text[:index]
    return text
