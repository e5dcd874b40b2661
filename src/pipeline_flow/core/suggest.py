"""The nearest right word, for messages."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LIST_AT_MOST = 12


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The entry of ``known`` that ``word`` most likely meant, or ``None`` where nothing is near."""
    candidates = list(dict.fromkeys(known))
    folded = {name.casefold().replace("-", "_"): name for name in candidates}
    key = word.casefold().replace("-", "_")
    if key in folded:
        return folded[key]
    cutoff = 0.6 if len(key) > 3 else 0.5
    found = difflib.get_close_matches(key, folded, n=1, cutoff=cutoff)
    return folded[found[0]] if found else None


def hint(word: str, known: Iterable[str], what: str) -> str:
    """``did you mean `x`?`` where something is near, and what is there to choose from."""
    names = list(dict.fromkeys(known))
    near = nearest(word, names)
    listed = ", ".join(names[:_LIST_AT_MOST]) + (", …" if len(names) > _LIST_AT_MOST else "")
    known_text = f"{what}: {listed}" if names else f"{what}: none"
    return f"did you mean `{near}`?  {known_text}" if near else known_text
