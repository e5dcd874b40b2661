"""Numbers as they are written, and whether a double keeps them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

SURE_DIGITS = 15  # every number of so many digits is told apart by a double
LONG = 16  # characters; a shorter number without an exponent is kept by a double
WHOLE_DOUBLE = 2**53  # up to here every integer is a double
_NO_NUMBERS = ("NaN", "Infinity", "-Infinity")


def is_exact(text: str) -> bool:
    """Whether a double keeps the number ``text``: a whole one is its value, of others its shortest text is the same number."""
    number = float(text)
    if repr(number) == text or text in _NO_NUMBERS:
        return True
    try:
        written = Decimal(text)
        if text.lstrip("-").isdecimal():
            return written == Decimal(number)
        return written in (Decimal(repr(number)), Decimal(number))
    except InvalidOperation:
        return False


def digits(text: str, most: int = 38) -> tuple[int, int]:
    """How many digits ``text`` has before and after the point, without zeros that mean nothing.

    What is no number, or is beyond the range of decimals, has more than ``most``.
    """
    try:
        _, found, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        return most + 1, 0
    if not isinstance(exponent, int):  # NaN, Infinity
        return most + 1, 0
    count = len(found)
    while count > 1 and found[count - 1] == 0:
        count, exponent = count - 1, exponent + 1
    if found[:count] == (0,):
        return 1, 0
    return max(count + exponent, 1), max(-exponent, 0)
