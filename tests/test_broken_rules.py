"""The rules that ``make broken-rules`` breaks stand where it looks for them."""

from __future__ import annotations

import pytest

from tests.broken_rules import BREAKS, Break, text_of


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.rule)
def test_the_line_to_break_stands_in_the_code_once_and_is_code_when_broken(broken: Break) -> None:
    compile(text_of(broken), broken.file, "exec")
