"""Which phases may begin early: as `plan` says it, and why others may not."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from pipeline_flow import entrypoint
from pipeline_flow.errors import ConfigError
from pipeline_flow.plugins import ILoadPlugin

CSV = {"plugin": "csv", "args": {"path": "in.csv"}}
QUERY = {"plugin": "sql", "args": {"query": "select * from data"}}
PARQUET = {"plugin": "parquet", "args": {"path": "out.parquet"}}
OTHER = {"id": "other", "plugin": "parquet", "args": {"path": "other.parquet"}}
FROM_DATABASE = {"plugin": "sql", "args": {"url": "duckdb:///in.duckdb", "query": "select 1 as a"}}
INTO_DATABASE = {"plugin": "sql", "args": {"url": "sqlite:///out.db", "table": "t", "mode": "replace"}}
TABLES = {"plugin": "sql", "args": {"url": "duckdb:///in.duckdb", "tables": "*"}}
HOOK = {"plugin": "sql", "args": {"url": "sqlite:///out.db", "query": "select 1"}}
PYTHON = {"plugin": "python", "args": {"function": "json:dumps"}}


def phases(
    extract: Any = CSV,
    transform: Any = None,
    load: Any = PARQUET,
    load_keys: Any = None,
    extract_keys: Any = None,
) -> dict[str, Any]:
    """A pipeline; a phase is a step or a list of them."""
    made = {"extract": extract, "transform": transform, "load": load}
    found: dict[str, Any] = {
        name: {"steps": given if isinstance(given, list) else [given]}
        for name, given in made.items()
        if given
    }
    found["load"] |= load_keys or {}
    found["extract"] |= extract_keys or {}
    return {"phases": found}


def reasons(pipeline: dict[str, Any], **top: Any) -> list[str]:
    """Why each phase that hands on data does not stream; empty where it does."""
    plan = entrypoint.prepare({"pipelines": {"p": pipeline}, **top}).plan
    for phase in plan.pipelines[0].phases[-1:]:
        assert not phase.streams
        assert not phase.why_staged
    assert all(phase.streams == (not phase.why_staged) for phase in plan.pipelines[0].phases[:-1])
    return [phase.why_staged for phase in plan.pipelines[0].phases[:-1]]


@pytest.mark.parametrize(
    ("pipeline", "top", "why"),
    [
        (phases(), {}, [""]),
        (phases(transform=QUERY), {}, ["", ""]),
        (phases(transform=[QUERY, {**QUERY, "id": "second"}]), {}, ["", ""]),
        (phases(extract=FROM_DATABASE), {}, [""]),
        (phases(load=INTO_DATABASE), {}, [""]),
        (phases(load=INTO_DATABASE, transform=QUERY), {}, ["", ""]),
        (phases(), {"handoff": "auto"}, [""]),
        (phases(transform=QUERY), {"handoff": "stage"}, ["`handoff: stage` is set"] * 2),
        (phases(), {"parallelism": 2}, ["`parallelism` is 2"]),
        (phases(extract=[CSV, {**CSV, "id": "more"}], transform=QUERY), {}, ["several steps read", ""]),
        (
            phases(extract=[CSV, {**CSV, "id": "more"}], extract_keys={"merge": {"plugin": "concat"}}),
            {},
            ["several steps read"],
        ),
        (phases(extract_keys={"post": [HOOK]}), {}, ["`post` comes after all rows"]),
        (phases(extract=TABLES, load={**PARQUET, "input": "t"}), {}, ["there are several tables"]),
        (phases(load=[PARQUET, OTHER]), {}, ["several steps load"]),
        (phases(load=[PARQUET, OTHER], transform=QUERY), {}, ["", "several steps load"]),
        (phases(load_keys={"pre": [HOOK]}), {}, ["`pre` wants all rows to be there"]),
        (phases(load_keys={"post": [HOOK]}), {}, ["`post` wants all rows to be there"]),
        (phases(extract={**CSV, "retry": 2}), {}, ["`csv` may be tried again"]),
        (phases(load={**PARQUET, "retry": 2}), {}, ["`parquet` may be tried again"]),
        (phases(), {"retry": 2}, ["`csv` may be tried again"]),
        (phases(extract={**CSV, "timeout": "5m"}), {}, ["`csv` has a timeout"]),
        (phases(transform=PYTHON), {}, ["`python` does not stream"] * 2),
        # One database is held while another is waited for: only with both in one stretch.
        (
            phases(extract=FROM_DATABASE, load=INTO_DATABASE),
            {},
            ["it is read from a database and written to one"],
        ),
        (
            phases(extract=FROM_DATABASE, transform=QUERY, load=INTO_DATABASE),
            {},
            ["", "it is read from a database and written to one"],
        ),
        (
            phases(extract={**FROM_DATABASE, "timeout": 5}, transform=QUERY, load=INTO_DATABASE),
            {},
            ["`sql` has a timeout", ""],
        ),
    ],
)
def test_rows_flow_where_that_is_safe(pipeline: dict[str, Any], top: dict[str, Any], why: list[str]) -> None:
    assert reasons(pipeline, **top) == why


class OneWay(ILoadPlugin, plugin_name="one_way"):
    """Streams, and has no way back."""

    streams: ClassVar[bool] = True

    async def __call__(self, data: Any) -> None: ...


def test_a_load_that_cannot_roll_back_waits_for_all_rows() -> None:
    assert reasons(phases(load={"plugin": "one_way"})) == ["`one_way` cannot roll back"]


def test_handoff_takes_auto_and_stage() -> None:
    with pytest.raises(ConfigError, match="auto or stage"):
        entrypoint.prepare({"handoff": "always", "pipelines": {"p": phases()}})
