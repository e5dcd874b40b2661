"""The reader of pages notices what is untrue in a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline_flow.errors import ConfigError
from tests import pages

if TYPE_CHECKING:
    from pathlib import Path

FILE = "<!-- file: a.txt -->\n```text\none\n  two\nthree\n```\n"


@pytest.fixture
def follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pages, "ROOT", tmp_path)

    def write_and_follow(text: str) -> None:
        page = tmp_path / "page.md"
        page.write_text(text, encoding="utf-8")
        pages.follow(page)

    return write_and_follow


def test_files_parts_and_contents_that_are_as_told_pass(follow) -> None:
    follow(
        FILE
        + "\n<!-- part of: a.txt -->\n```text\ntwo\nthree\n```\n<!-- shows: a.txt -->\n```text\none\n  two\nthree\n```\n"
        + "<!-- run -->\n```console\n$ cat a.txt\none\n…\n$ echo took 1.25s and 3m 05s\ntook 12.4s and 0.01s\n```\n"
        + "<!-- run: 3 -->\n```console\n$ exit 3\n```\n"
    )


@pytest.mark.parametrize(
    ("block", "noticed"),
    [
        ("<!-- part of: a.txt -->\n```text\none\nthree\n```", "not in a.txt"),
        ("<!-- shows: a.txt -->\n```text\none\n```", "a.txt"),
        ("<!-- run -->\n```console\n$ echo five\nfour\n```", "echo five prints"),
        ("<!-- run -->\n```console\n$ cat a.txt\none\ntwo\n```", "cat a.txt prints"),
        ("<!-- run -->\n```console\n$ exit 3\n```", "ended with 3"),
        ("<!-- run: 3 -->\n```console\n$ true\n```", "ended with 0"),
        ("<!-- runs -->\n```console\n$ true\n```", "not understood"),
        ("<!-- run -->\n\n```console\n$ true\n```", "no block follows"),
        ("```yaml\nretry: 3\n```", "YAML without pipelines"),
    ],
)
def test_what_is_untrue_is_noticed(follow, block: str, noticed: str) -> None:
    with pytest.raises(AssertionError, match=noticed):
        follow(f"{FILE}\n{block}\n")


def test_yaml_that_does_not_validate_and_python_that_is_none_are_noticed(follow) -> None:
    with pytest.raises(ConfigError, match="no extract plugin is called `cvs`"):
        follow(
            "```yaml\npipelines:\n  a:\n    phases:\n      extract: {steps: [{plugin: cvs}]}\n"
            "      load: {steps: [{plugin: csv, args: {path: b.csv}}]}\n```\n"
        )
    with pytest.raises(SyntaxError):
        follow("```python\ndef\n```\n")


def test_a_page_about_what_is_not_there_says_what_it_lacks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- needs: extract.csv, extract.nothing, pipeline-flow run, pipeline-flow fly -->\n# Page\n"
    )
    assert pages.lacks(page) == ["extract.nothing", "pipeline-flow fly"]
