"""``fmt`` and ``--fix`` change what nobody reads, and what has one right answer; everything else stays byte for byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_flow import config, entrypoint
from pipeline_flow.config import fix
from pipeline_flow.config.format import formatted
from pipeline_flow.config.source import Source, Sources, parse
from pipeline_flow.errors import ConfigError
from tests.config.samples import SHOP
from tests.config.test_yaml_suite import CASES, plain


def format_(text: str) -> str:
    return formatted(Source(text, "x.yaml"))


def test_spaces_at_the_ends_of_lines_and_runs_of_empty_lines_go() -> None:
    assert format_("\n\na: 1  \n\n\n\nb: 2\t\n# comment  \nc: 3\n\n\n") == "a: 1\n\nb: 2\n# comment\nc: 3\n"
    assert format_("a: 1\r\nb: 2") == "a: 1\nb: 2\n"
    assert format_("") == ""


@pytest.mark.parametrize(
    "text",
    [
        "a: |\n  one  \n\n\n\n  two\nb: 1\n",
        "a: >-\n  one  \n  two\n\n\nb: 1\n",
        'a: "one  \n\n\n  two"\n',
        "a: |+\n  x\n\n\n\nb: 1\n",
        "a: |+\n  x\n\n\n",
    ],
)
def test_what_belongs_to_a_value_stays(text: str) -> None:
    def data(text: str) -> list[object]:
        return [plain(node) for node in parse(Source(text, "x"), Sources()).documents]

    assert data(format_(text)) == data(text)


def test_formatting_twice_changes_nothing_more_and_a_tidy_file_not_at_all() -> None:
    assert format_(SHOP) == SHOP
    for case in CASES:
        try:
            once = format_(case["yaml"])
        except ConfigError:
            continue
        assert format_(once) == once


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from(["a: 1  ", "", "  ", "# c \t", "b: |\n  x  ", "c: 'd  '", "- x", "e:\n  f: 2 "]))
)
def test_formatting_keeps_the_data(lines: list[str]) -> None:
    text = "\n".join(lines)
    tree = parse(Source(text, "x"), Sources())
    if tree.problems:
        return
    again = parse(Source(format_(text), "x"), Sources())
    assert [plain(node) for node in again.documents] == [plain(node) for node in tree.documents]


def test_a_text_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(ConfigError):
        format_("a: [1\n")


# ---------------------------------------------------------------------------------------------------------------- fixes


def mended(text: str) -> tuple[str, list[str]]:
    try:
        entrypoint.prepare(text)
    except ConfigError as error:
        found = fix.fixes(text, "<string>", error.problems)
        return fix.applied(text, found), [f"{item.wrong} → {item.right}" for item in found]
    return text, []


WRONG = """\
# a comment
variables: {folder: data}
pipelines:
  p:
    phases:   # odd   spacing stays
      extract:
        stepss:
          - plugn: csv
            args: {path: "${{ variables.foldr }}/x.csv", 'delimitr': ";"}
      load:
        steps:
          - { plugin: parqet, args: { path: x.parquet, compression: zstdd } }
  q:
    needs: [ps]
    phases: {extract: {steps: [{plugin: csv, args: {path: a}}]}, load: {steps: [{plugin: csv, args: {path: b}}]}}
"""
RIGHT = (
    WRONG.replace("stepss", "steps")
    .replace("plugn", "plugin")
    .replace("foldr }}", "folder }}")
    .replace("delimitr", "delimiter")
    .replace("parqet", "parquet")
    .replace("zstdd", "zstd")
)


def test_what_has_one_right_answer_is_mended_and_all_else_stays_byte_for_byte() -> None:
    text, done = WRONG, []
    for _ in range(5):
        text, found = mended(text)
        done += found
    assert text == RIGHT
    assert sorted(done) == sorted(
        [
            "stepss → steps",
            "plugn → plugin",
            "foldr → folder",
            "delimitr → delimiter",
            "parqet → parquet",
            "zstdd → zstd",
        ]
    )


def test_what_is_only_a_little_like_it_is_left_alone() -> None:
    text = WRONG.replace("stepss", "stages")
    assert "stages" in mended(text)[0]
    with pytest.raises(ConfigError):
        config.load(text)
