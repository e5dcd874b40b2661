"""The first suggestion for a typo is the right word; the whole corpus: ``python -m tests.config.typos``."""

from __future__ import annotations

import pytest

from tests.config import typos


def test_the_first_suggestion_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(typos.ROOT)
    score = typos.measure(per_file=150)
    assert score.tried > 200
    assert score.share >= typos.WANTED, "\n".join(score.wrong)
