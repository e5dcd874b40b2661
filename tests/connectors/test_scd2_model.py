"""Type 2 histories beside a slow model: time as a row of moments, each with what was valid then."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import DataError
from pipeline_flow.sql import scd2
from tests.connectors.scd2_engines import Engine, moment, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

LAST = 9  # the last moment, and with it all that come after
Row = tuple[int, str, Any, Any, int, int]  # k1, k2, v1, v2, o, and the number of a moment
Said = tuple[Any, Any, int]  # v1, v2, o
Cell = Said | None  # or nothing


@dataclass
class Run:
    rows: list[Row]
    started: int
    effective: bool
    close: bool


class Clash(Exception):
    """Two rows of a key say different things for one moment."""


@dataclass
class Model:
    """For each key, what was valid at each moment."""

    known: dict[tuple[int, str], list[Cell]] = field(default_factory=dict)

    def run(self, run: Run) -> None:
        by_key: dict[tuple[int, str], dict[int, Said]] = {}
        for k1, k2, v1, v2, o, at in run.rows:
            rows = by_key.setdefault((k1, k2), {})
            cell: Said = (v1, v2, o)
            moment_ = at if run.effective else run.started
            other = rows.setdefault(moment_, cell)
            if not alike(other, cell):
                raise Clash
            rows[moment_] = min(
                other, cell, key=lambda one: one[2]
            )  # one of two that say the same, always the same one
        for key, rows in by_key.items():
            self._learn(self.known.setdefault(key, [None] * (LAST + 1)), rows, run)
        if run.close:
            for key, line in self.known.items():
                if key not in by_key and line[-1] is not None:
                    line[run.started :] = [None] * (LAST + 1 - run.started)

    def _learn(self, line: list[Cell], rows: dict[int, Said], run: Run) -> None:
        before = list(line)
        begins = {at for at in range(LAST + 1) if at and not alike(before[at], before[at - 1])}
        begins |= {0} if before[0] else set()
        for at, cell in sorted(rows.items()):
            if at in begins and alike(before[at], cell):
                continue
            ends = min((other for other in begins | set(rows) if other > at), default=LAST + 1)
            line[at:ends] = [cell] * (ends - at)
        if run.close and line[-1] is None:
            ended = max((at for at in range(1, LAST + 1) if line[at - 1] is not None), default=0)
            at = max(run.started, ended)
            line[at:] = [rows[max(rows)]] * (LAST + 1 - at)

    def history(self) -> list[tuple[Any, ...]]:
        """The versions: each stretch of moments with one value."""
        found = []
        for key, line in self.known.items():
            start = 0
            while start <= LAST:
                end = start + 1
                while end <= LAST and alike(line[end], line[start]):
                    end += 1
                cell = line[start]
                if cell is not None:
                    found.append(
                        (*key, *cell, moment(start), moment(end) if end <= LAST else None, end > LAST)
                    )
                start = end
        return found


def alike(left: Cell, right: Cell) -> bool:
    return left is right or (left is not None and right is not None and left[:2] == right[:2])


def history_of(run: Run) -> scd2.History:
    return scd2.History(
        source=("s",), target=("t",), key=("k1", "k2"), columns=("v1", "v2", "o"), tracked=None, ignored=("o",),
        effective="since" if run.effective else None, valid_from="valid_from", valid_to="valid_to",
        is_current="is_current", close_missing=run.close, started_at=moment(run.started).replace(tzinfo=dt.UTC),
    )  # fmt: skip


moments = st.integers(0, LAST - 1)
rows_ = st.tuples(
    st.sampled_from([1, 2]),
    st.sampled_from(["a", "A"]),  # one text to some collations
    st.sampled_from([None, "x", "X", "x ", ""]),
    st.sampled_from([None, 0, 1]),
    st.integers(0, 1),
    moments,
)


@st.composite
def some_runs(draw: Any) -> list[Run]:
    effective, close = draw(st.booleans()), draw(st.booleans())
    runs: list[Run] = []
    for _ in range(draw(st.integers(1, 4))):
        unique = (lambda row: (row[0], row[1], row[5])) if effective else (lambda row: row[:2])
        rows = draw(st.lists(rows_, max_size=6, unique_by=unique))
        if runs and draw(st.booleans()):  # a snapshot is often the last one with a few changes
            kept = {unique(row): row for row in runs[-1].rows}
            rows = [*{**kept, **{unique(row): row for row in rows}}.values()]
        if draw(st.integers(0, 9)) == 0:
            rows += draw(st.lists(rows_, max_size=1))
        rows += rows[: draw(st.integers(0, 2))]  # the same row again
        runs.append(Run(rows, draw(moments), effective, close))
    return runs


@pytest.fixture(scope="module", params=["duckdb", "sqlite", "postgres", "mariadb"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with open_engine(request.param, tmp_path_factory.mktemp("scd2")) as opened:
        yield opened


def check(engine: Engine, runs: list[Run]) -> None:
    engine.prepare()
    model = Model()
    if not runs[0].effective and engine.session.dialect.moment_type != "datetime(6)":
        # Without `effective` the run's start has a zone; the model's moments have none.
        engine.execute(f"create table t ({', '.join(f'{name} {type_}' for name, type_ in TARGET.items())})")
    for run in runs:
        engine.put([(*row[:5], moment(row[5])) for row in run.rows])
        before = engine.history()
        try:
            model.run(run)
        except Clash:
            with pytest.raises(DataError, match="several rows for k1"):
                engine.write(history_of(run))
            assert engine.history() == before
            continue
        engine.write(history_of(run))
        after = engine.history()
        assert sorted(after, key=repr) == sorted(model.history(), key=repr)
        again = engine.write(history_of(run))
        assert (again.opened, again.closed, again.corrected, again.removed) == (0, 0, 0, 0)
        assert sorted(engine.history(), key=repr) == sorted(after, key=repr)


TARGET = {
    "k1": "integer", "k2": "varchar(9)", "v1": "varchar(9)", "v2": "integer", "o": "integer",
    "valid_from": "timestamp", "valid_to": "timestamp", "is_current": "boolean",
}  # fmt: skip


def one(*, value: str = "x", since: int = 1) -> list[Row]:
    return [(1, "a", value, 0, 0, since)]


@pytest.mark.slow
@given(runs=some_runs())
@example(  # a gap in the middle stays
    runs=[
        Run(rows, started, effective=True, close=True)
        for rows, started in ((one(), 1), ([], 3), (one(since=5), 6), (one(value="y", since=7), 8))
    ]
)
@example(  # gone for a while
    runs=[
        Run(rows, started, effective=True, close=True) for rows, started in ((one(), 1), ([], 3), (one(), 6))
    ]
)
@example(  # opened again by a clock that has gone back
    runs=[
        Run(rows, started, effective=True, close=True) for rows, started in ((one(), 1), ([], 5), (one(), 3))
    ]
)
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_history_is_what_the_model_says(engine: Engine, runs: list[Run]) -> None:
    check(engine, runs)
