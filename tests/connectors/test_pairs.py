"""Every pair of databases: what is read from one and loaded into the other arrives as it was, or is refused by its place.

`PIPELINE_FLOW_TEST_EXAMPLES=500 pytest tests/connectors/test_pairs.py` takes its time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.connectors import postgres_server
from tests.connectors.pairs import KINDS, NUMBER, Place, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

EXAMPLES = int(os.environ.get("PIPELINE_FLOW_TEST_EXAMPLES", "3"))
DATABASES = ("postgres", "mariadb", "sqlite", "duckdb")


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


def place(request: pytest.FixtureRequest, name: str, role: str) -> Place:
    """A database of one's own, or a table of one's own in the test's."""
    if name in ("postgres", "mariadb"):
        return Place(
            name,
            doubt=EXAMPLES > 50,
            url=request.getfixturevalue(name),
            table=f"{role}_{request.node.name.partition('[')[2].strip(']').replace('-', '_')}",
        )
    return Place(name, f"{name}:///{role}.{name}", role, doubt=EXAMPLES > 50)


@pytest.mark.parametrize("into", DATABASES)
@pytest.mark.parametrize("source", DATABASES)
def test_what_is_moved_arrives(request: pytest.FixtureRequest, bench: Bench, source: str, into: str) -> None:
    here, there = place(request, source, "source"), place(request, into, "into")
    schema = pa.schema([(NUMBER, pa.int64()), *((name, kind.type) for name, kind in KINDS.items())])
    names = here.held(bench, schema)
    moved = there.held(bench, here.extract(bench).schema)

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None,
        phases=[Phase.generate] if EXAMPLES < 50 else [Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(tables())
    def check(table: pa.Table) -> None:
        read = here.move(bench, table.select(names))
        there.move(bench, read.select(moved))

    check()
