"""Queries that people write, checked before anything runs."""

from __future__ import annotations

from pipeline_flow.core.spec import is_quick
from pipeline_flow.errors import WrongArgument
from pipeline_flow.sql import shallow


def check(text: str) -> None:
    """Checks that ``text`` is one SELECT in DuckDB's SQL, with its parser or, where that would take long, without.

    Raises:
        ValueError: it is not, with the reason.
    """
    if is_quick():
        if fault := shallow.query_fault(text):
            raise ValueError(fault)
        return
    from pipeline_flow.sql import duckdb

    try:
        duckdb.single_select(text)
    except WrongArgument as error:
        raise ValueError("; ".join(problem.text for problem in error.problems)) from None
