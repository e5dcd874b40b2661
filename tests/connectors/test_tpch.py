"""Eight tables through four databases and back: the 22 questions of TPC-H have the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.connectors import postgres_server, tpch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_what_went_through_all_databases_answers_as_before(tmp_path: Path, mariadb: str) -> None:
    if tpch.generator() is None:
        postgres_server.unavailable("tpchgen-cli is not installed")
    tpch.generate(tmp_path, "0.01")
    with postgres_server.database() as postgres:
        tpch.chain(tmp_path, postgres, mariadb)
        first, last = (tpch.answers(postgres, schema) for schema in ("first", "last"))
        assert len(first) == 22
        for name, rows in first.items():
            assert last[name] == rows, name
        # So few rows have no part that Q17 asks for; an answer to all others proves something.
        assert [name for name, rows in first.items() if not rows or set(rows[0]) == {None}] == ["Q17"]
        before, after = (tpch.types(postgres, schema) for schema in ("first", "last"))
        assert len(before) == 61
        assert after == tpch.without_lengths(before)
        assert set(after.values()) == {"bigint", "integer", "numeric(15,2)", "date", "text"}
