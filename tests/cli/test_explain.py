"""`explain` says what the page of error codes says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_flow import errors

if TYPE_CHECKING:
    from tests.cli.shell import Shell

PAGE = Path(__file__).parents[2] / "docs/reference/errors.md"


def test_each_code_has_the_text_of_its_page(shared: Shell) -> None:
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    told = dict(section.split("\n\n", 1) for section in sections)
    for name in ("config.unknown_key", "config.phases_of_type", "step.failed", "run.cancelled"):
        done = shared("explain", name)
        assert (done.code, done.err) == (0, "")
        assert done.out.strip() == f"{name}\n\n{told[f'`{name}`'].strip()}"


def test_without_a_code_all_are_listed(shared: Shell) -> None:
    done = shared("explain")
    assert (done.code, done.err) == (0, "")
    listed = [line.split()[0] for line in done.out.splitlines()]
    assert len(listed) == len(set(listed))
    ours = {cls.code for cls in errors.tree() if cls.__module__ == errors.__name__}
    assert ours - {"error"} <= set(listed)
    assert all(len(line.split()) > 3 for line in done.out.splitlines())


def test_an_unknown_code_gets_the_nearest_one(shared: Shell) -> None:
    shared("explain", "config.unknown-kye").assert_told(
        2, "there is no error code `config.unknown-kye`", "did you mean `config.unknown_key`?"
    )
    shared("explain", "\x1b[31m").assert_told(2, "\\x1b[31m")
