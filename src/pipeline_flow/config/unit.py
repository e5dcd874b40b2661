"""Amounts as people write them: durations, sizes, dates."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)\s*")
_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)


def duration(value: object) -> float:
    """Seconds from a number of seconds, or from text such as ``500ms``, ``30s``, ``1h30m``, ``2d``.

    Raises:
        TypeError: neither a number nor text.
        ValueError: text that is no duration, or nothing above zero.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    if isinstance(value, str):
        text = value.strip()
        if not text or _DURATION.sub("", text):
            raise ValueError(value)
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
    else:
        seconds = value if isinstance(value, float) or abs(value) < 2**53 else math.inf
    if not 0 < seconds < math.inf:
        raise ValueError(value)
    return float(seconds)


def size(value: object) -> int:
    """Bytes from a whole number, or from text such as ``512MiB`` (2 to the power) or ``1GB`` (10 to the power).

    Raises:
        TypeError: neither a whole number nor text.
        ValueError: text that is no size, or nothing above zero.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        unit = _BYTES.get(found[2].lower()) if found else None
        if found is None or unit is None:
            raise ValueError(value)
        value = round(float(found[1]) * unit)
    if value <= 0:
        raise ValueError(value)
    return value


def day(text: str) -> date:
    """A date from ``2024-01-31``.

    Raises:
        ValueError: the text is no date.
    """
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text.strip()):
        raise ValueError(text)
    return date.fromisoformat(text.strip())


def timestamp(text: str) -> datetime:
    """A point in time from ISO 8601 text; without a zone it is UTC.

    Raises:
        ValueError: the text is no point in time.
    """
    found = datetime.fromisoformat(text.strip())
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
