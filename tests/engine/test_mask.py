"""Errors that leave the engine show no secret, whatever prints them, and stay what they are otherwise."""

from __future__ import annotations

import traceback

from pipeline_flow.engine.mask import masked
from pipeline_flow.errors import StepFailed
from pipeline_flow.secret import Redactor

SECRET = "hunter2-canary"


def redact(text: str) -> str:
    redactor = Redactor()
    redactor.add(SECRET)
    return redactor(text)


class FromAttributes(Exception):
    """Its text does not stand in its arguments."""

    def __init__(self, statement: str) -> None:
        super().__init__()
        self.statement = statement

    def __str__(self) -> str:
        return f"failed: {self.statement}"


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised() -> StepFailed:
    """An error with causes, contexts, notes and groups, all of which say the secret."""
    try:
        try:
            try:
                raise FromAttributes(SECRET)
            except FromAttributes as first:
                raise OSError(2, f"no {SECRET}", f"/tmp/{SECRET}") from first
        except OSError as second:
            inner = [ValueError(SECRET), ExceptionGroup(SECRET, [FromAttributes(SECRET), KeyError("fine")])]
            raise ExceptionGroup(f"group of {SECRET}", inner) from second
    except ExceptionGroup as third:
        third.add_note(f"a note on {SECRET}")
        failed = StepFailed(f"a.b.c: {SECRET}", pipeline="a", phase="b", step="c", hint=f"not {SECRET}")
        failed.__cause__ = third
        return failed


def test_no_secret_is_left_in_the_whole_chain() -> None:
    error = raised()
    assert "".join(traceback.format_exception(error)).count(SECRET) > 8
    shown = masked(error, redact)
    told = "".join(traceback.format_exception(shown))
    assert SECRET not in told
    assert SECRET not in repr(shown.__cause__)
    assert isinstance(shown, StepFailed)
    assert SECRET not in f"{shown.message}{shown.hint}"
    assert told.count("***") > 8
    for text in (
        "FromAttributes: failed: ***",
        "a note on ***",
        "group of ***",
        "KeyError: 'fine'",
        "in raised",
    ):
        assert text in told, told


def test_errors_without_a_secret_stay_the_objects_that_they_are() -> None:
    inner = ExceptionGroup("two", [ValueError("a"), Broken()])
    error = StepFailed("fine", pipeline="a", phase="b", step="c")
    error.__cause__ = inner
    shown = masked(error, redact)
    assert shown is error
    assert isinstance(shown.__cause__, ExceptionGroup)
    assert shown.__cause__.exceptions[0] is inner.exceptions[0]


def test_an_error_that_keeps_its_text_in_its_arguments_stays_and_is_masked() -> None:
    error = ValueError(f"no {SECRET}", 5)
    assert masked(error, redact) is error
    assert error.args == ("no ***", 5)


def test_a_circle_of_contexts_ends() -> None:
    first, second = ValueError(SECRET), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert SECRET not in repr(masked(first, redact))
