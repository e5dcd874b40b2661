"""The combinations of a pipeline's ``matrix``, and what each is called."""

from __future__ import annotations

import itertools
import re
from datetime import date
from typing import Any

MOST = 1000


class Wrong(ValueError):
    """The matrix cannot be read; ``text`` says why, and is empty where that has been reported."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


_FORMS = "write {region: [eu, us]}, or a list of mappings: [{region: eu, url: …}, …]"


def combinations(value: Any) -> list[tuple[str, dict[str, Any]]]:
    """The name's second part and the values of each combination, in order.

    A mapping of lists gives every combination of their values, the last one changing fastest, called after all values;
    a list of mappings gives those, each called after the value of its first key.

    Raises:
        Wrong: it is neither, is empty, has more than 1,000 combinations, or two of them would have one name.
    """
    if isinstance(value, dict):
        found = _product(value)
    elif isinstance(value, list):
        found = _listed(value)
    elif value is None or isinstance(value, bool | int | float | str):
        raise Wrong("`matrix` takes a mapping of lists, or a list of mappings", _FORMS)
    else:  # unresolved
        raise Wrong("")
    if not found:
        raise Wrong("the matrix has no combination", _FORMS)
    if len(found) > MOST:
        raise Wrong(f"the matrix has {len(found):,} combinations, and {MOST:,} is the most")
    seen: set[str] = set()
    for name, _ in found:
        if name in seen:
            raise Wrong(f"two combinations of the matrix are called `{name}`", "their values must differ")
        seen.add(name)
    return found


def _product(value: dict[Any, Any]) -> list[tuple[str, dict[str, Any]]]:
    names = [str(name) for name in value]
    lists = [item if isinstance(item, list) else [item] for item in value.values()]
    for name, items in zip(names, lists, strict=True):
        if any(isinstance(item, dict | list) for item in items):
            raise Wrong(f"`{name}` of the matrix holds a mapping or a list", _FORMS)
    return [
        ("-".join(map(_word, values)), dict(zip(names, values, strict=True)))
        for values in itertools.islice(itertools.product(*lists), MOST + 1)
        if values
    ]


def _listed(value: list[Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for item in value:
        if not isinstance(item, dict) or not item:
            raise Wrong("each item of the matrix is a mapping", _FORMS)
        first = next(iter(item.values()))
        if isinstance(first, dict | list):
            raise Wrong("the first key of each combination names it, and takes text or a number", _FORMS)
        found.append((_word(first), {str(name): inner for name, inner in item.items()}))
    return found


def _word(value: Any) -> str:
    """A value as part of a pipeline's name: letters, digits, `_` and `.`."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, date):
        text = value.isoformat()
    return re.sub(r"[^\w.]+", "_", text) or "_"
