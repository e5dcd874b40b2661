"""Two runs of one history at once give what one after the other gives: the second waits at the server for the first."""

from __future__ import annotations

import datetime as dt
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.sql import scd2, scd2_session
from pipeline_flow.sql import url as urls
from tests.connectors import mariadb_server, postgres_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.connectors.conftest import Bench


@dataclass(frozen=True)
class Place:
    """A database, what runs statements there, how many sessions wait for a lock, and the whole name of `t`."""

    url: str
    run: Callable[..., list[tuple[Any, ...]]]
    waiting: str
    whole: str


@pytest.fixture(params=["postgres", "mariadb"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    if request.param == "postgres":
        with postgres_server.database() as url:
            yield Place(
                url,
                lambda *statements: postgres_server.run(url, *statements),
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
                "public.t",
            )
        return
    url = request.getfixturevalue("mariadb")

    def run(*statements: str) -> list[tuple[Any, ...]]:
        return [mariadb_server.root(statement, mariadb_server.NAME) for statement in statements][-1]

    yield Place(
        url,
        run,
        f"select count(*) from information_schema.processlist where db = '{mariadb_server.NAME}' and state = 'User lock'",
        f"{mariadb_server.NAME}.t",
    )


def history() -> scd2.History:
    return scd2.History(
        source=("s",), target=("t",), key=("id",), columns=None, tracked=None, ignored=(), effective="since",
        valid_from="valid_from", valid_to="valid_to", is_current="is_current", close_missing=True,
        started_at=dt.datetime(2024, 1, 5, tzinfo=dt.UTC),
    )  # fmt: skip


def put(place: Place, table: str, *rows: str) -> None:
    """Makes a source with these rows."""
    kind = "timestamp" if "postgres" in place.url else "datetime(6)"
    place.run(
        f"drop table if exists {table}",
        f"create table {table} (id integer, name varchar(9), since {kind})",
        *(f"insert into {table} values ({row})" for row in rows),
    )


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
@pytest.mark.parametrize("named", ["alike", "otherwise"])
def test_a_second_run_waits_and_builds_on_what_the_first_has_written(
    bench: Bench, place: Place, known: bool, named: str
) -> None:
    arguments = {
        "url": place.url,
        "source": "s",
        "target": "t",
        "key": ["id"],
        "effective": "since",
        "deletes": "close",
    }
    if known:
        put(place, "s", "1, 'zero', '2023-12-01 00:00:00'")
        bench.at_load("scd2", **arguments)
    put(place, "s", "1, 'one', '2023-12-02 00:00:00'", "2, 'gone', '2023-12-02 00:00:00'")
    put(place, "later", "1, 'two', '2023-12-03 00:00:00'")
    raised: list[Exception] = []

    def second() -> None:
        try:
            bench.at_load(
                "scd2", **{**arguments, "source": "later", "target": "t" if named == "alike" else place.whole}
            )
        except Exception as error:  # noqa: BLE001 - the test's own thread shows it
            raised.append(error)

    thread = threading.Thread(target=second)
    with scd2_session.of(bench.context(), urls.parse(place.url)) as first:
        scd2.create_missing(first, history())
        scd2.write(first, history())
        thread.start()
        until = time.monotonic() + 60
        while place.run(place.waiting) == [(0,)] and thread.is_alive():
            assert time.monotonic() < until
        assert not raised
        assert thread.is_alive(), "the second run did not wait"
    thread.join()
    assert not raised
    found = place.run("select id, name, valid_from, valid_to is null from t order by id, valid_from")
    expected = [(1, "one", 2, False), (1, "two", 3, True), (2, "gone", 2, False)]
    if known:
        expected.insert(0, (1, "zero", 1, False))
    assert [(key, name, moment.day, bool(open_)) for key, name, moment, open_ in found] == expected


def test_two_runs_over_the_same_rows_write_them_once(bench: Bench, place: Place) -> None:
    put(place, "s", *(f"{number}, 'x', '2023-12-01 00:00:00'" for number in range(20)))
    raised: list[Exception] = []
    ready = threading.Barrier(4)

    def run() -> None:
        ready.wait()
        try:
            bench.at_load("scd2", url=place.url, source="s", target="t", key=["id"], effective="since")
        except Exception as error:  # noqa: BLE001 - the test's own thread shows it
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not raised
    assert place.run("select count(*), count(distinct id) from t") == [(20, 20)]
