"""Type 2 history: a table that keeps every version of a key's row, with the time for which it was valid.

What is kept of a key is a line of events: from this moment on its row was like this, from that moment on it was gone. A
run adds the source's rows to the events that the target holds, drops each event that changes nothing, and writes the
difference. So a late row finds its place among its neighbours, and a row seen before has no effect.

The work is done in the database, in temporary tables of a session whose transaction the caller holds. Within them the
columns have names of our own, so that no name of a user's meets ours.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import DataError, DestinationFailed, UnknownColumn, WrongArgument
from pipeline_flow.sql.scd2_dialect import Column

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from pipeline_flow.sql.scd2_dialect import Dialect

_READ, _SOURCE, _HELD, _KEYS, _EVENTS, _ENDED, _PLAN, _MISSING = (
    f"_pipeline_flow_scd2_{name}"
    for name in ("read", "source", "held", "keys", "events", "ended", "plan", "missing")
)
_TABLES = (_READ, _SOURCE, _HELD, _KEYS, _EVENTS, _ENDED, _PLAN, _MISSING)
_AT, _UNTIL, _STARTED, _GONE, _CLASH = (
    f"_pipeline_flow_{name}" for name in ("at", "until", "started", "gone", "clash")
)


@dataclass(frozen=True, slots=True)
class History:
    """What a step asks for.

    Attributes:
        source: the table or view with the rows, by its parts.
        target: the table of the history.
        key: the columns that tell things apart.
        columns: the columns of the source that the history keeps; all by default.
        tracked: the columns whose change opens a version; by default all but ``key``, ``ignored`` and ``effective``.
        ignored: columns that are kept and whose change opens none.
        effective: the column that says from when on a row is valid; without it, it is ``started_at``.
        valid_from: the name of a version's begin.
        valid_to: the name of its end, which is the next one's begin; null while it lasts.
        is_current: the name of the truth value for the version that lasts; ``None`` leaves it out.
        close_missing: the source is a full snapshot: what it lacks has ended.
        started_at: the run's start, with a zone.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    key: tuple[str, ...]
    columns: tuple[str, ...] | None
    tracked: tuple[str, ...] | None
    ignored: tuple[str, ...]
    effective: str | None
    valid_from: str
    valid_to: str
    is_current: str | None
    close_missing: bool
    started_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many versions a run has opened, closed, corrected (another time or value), and taken out of the history.

    ``emptied``: the source, a full snapshot, had no row.
    """

    opened: int = 0
    closed: int = 0
    corrected: int = 0
    removed: int = 0
    emptied: bool = False

    def __str__(self) -> str:
        parts = [f"{self.opened:,} version{'' if self.opened == 1 else 's'} opened, {self.closed:,} closed"]
        parts += [f"{self.corrected:,} corrected"] if self.corrected else []
        parts += [f"{self.removed:,} removed"] if self.removed else []
        return ", ".join(parts)


class Session(Protocol):
    """A connection inside a transaction. Its errors are the driver's own."""

    dialect: Dialect

    def run(self, statement: str) -> int:
        """Runs a statement and gives the number of rows that it changed."""

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """The rows of a query."""

    def columns(self, table: Sequence[str]) -> list[Column] | None:
        """The columns of a table or view; ``None`` where there is none.

        Raises:
            DestinationFailed: it cannot be looked up, such as a schema in a database without schemas.
        """


def create_missing(session: Session, history: History) -> None:
    """Makes the target where it is missing. Apart from :func:`write`, since this ends a transaction of MariaDB's.

    Raises:
        DataError: the source has columns under the names of validity.
        UnknownColumn: the source lacks a column, or has no such table.
        WrongArgument: a name cannot be one in this database.
    """
    names = (*history.source, *history.target, history.valid_from, history.valid_to, history.is_current)
    for name in names:
        if name is not None and (fault := session.dialect.words.fault(name)):
            raise WrongArgument(fault)
    if session.columns(history.target) is not None:
        return
    if reserve := session.dialect.reserve(history.target):
        session.run(reserve)
        if session.columns(history.target) is not None:  # another run has just made it
            return
    shape = _shape(session, history, target=None)
    for statement in session.dialect.create(
        history.target, shape.made, [*shape.made[: len(history.key)], shape.valid_from]
    ):
        session.run(statement)


def write(session: Session, history: History) -> Outcome:
    """Brings the target up to what the source says, inside the session's transaction.

    Raises:
        DataError: a key or an effective time is null, or two rows of a key say different things for one moment.
        DestinationFailed: the target has other columns, or its history contradicts itself.
        UnknownColumn: the source lacks a column, or has no such table.
        WrongArgument: missing keys shall be closed, and ``effective`` is no time.
    """
    if lock := session.dialect.lock(history.target):
        session.run(lock)
    work = _Work(session, history, _shape(session, history, session.columns(history.target) or []))
    work.drop()
    outcome = work.run()
    work.drop()
    return outcome


# ---------------------------------------------------------------------------------------------- columns


@dataclass(frozen=True, slots=True)
class _Shape:
    """The columns of both tables, in one order: the key, what is tracked, the rest.

    ``read`` are the source's names, ``made`` the target's names and types, and after them those of validity.
    """

    read: list[str]
    made: list[Column]
    keys: int
    tracked: int
    effective: str | None
    valid_from: Column
    valid_to: Column
    is_current: str | None


def _shape(session: Session, history: History, target: Sequence[Column] | None) -> _Shape:
    name = ".".join(history.source)
    source = session.columns(history.source)
    if not source:
        raise UnknownColumn(
            f"there is no table `{name}` to read from", hint="name a table or view of this database"
        )
    key = _find_all(source, history.key, "key", name)
    effective = _find(source, history.effective, "effective", name) if history.effective is not None else None
    kept = source if history.columns is None else _find_all(source, history.columns, "columns", name)
    kept = [*key, *(column for column in kept if column not in key)]
    ignored = _find_all(source, history.ignored, "ignore", name)
    if history.tracked is None:
        tracked = [column for column in kept if column not in (*key, *ignored, effective)]
    else:
        tracked = [item for item in _find_all(source, history.tracked, "tracked", name) if item not in key]
        kept += [column for column in tracked if column not in kept]
    rest = [column for column in kept if column not in key and column not in tracked]
    columns = [*key, *tracked, *rest]
    own = [item for item in (history.valid_from, history.valid_to, history.is_current) if item is not None]
    for column in columns:
        if column.name.casefold() in {item.casefold() for item in own}:
            raise DataError(
                f"`{name}` has a column `{column.name}`, which is the name of one of validity's columns",
                hint="give `valid_from`, `valid_to` and `is_current` other names, or choose `columns`",
            )
    moment = session.dialect.moment_type if effective is None else effective.type
    made = [
        *columns,
        Column(history.valid_from, moment),
        Column(history.valid_to, moment),
        *([Column(history.is_current, session.dialect.boolean_type)] if history.is_current else []),
    ]
    if target is not None:
        made = _matched(session, history, made, target)
    count = len(columns)
    return _Shape(
        [column.name for column in columns],
        made,
        len(key),
        len(tracked),
        effective.name if effective is not None else None,
        made[count],
        made[count + 1],
        made[count + 2].name if history.is_current else None,
    )


def _matched(
    session: Session, history: History, wanted: Sequence[Column], target: Sequence[Column]
) -> list[Column]:
    """The target's own columns for what will be written into it."""
    name = ".".join(history.target)
    quote = session.dialect.quote
    known = {column.name.casefold(): column for column in target}
    found = []
    for column in wanted:
        theirs = known.pop(column.name.casefold(), None)
        if theirs is None:
            raise DestinationFailed(
                f"the table `{name}` has no column `{column.name}`",
                hint=hint(column.name, [item.name for item in target], "it has")
                + f"; or add it: alter table {name} add column {quote(column.name)} {column.type}",
            )
        free = [
            history.is_current,
            *([history.valid_from, history.valid_to] if history.effective is None else []),
        ]
        if column.name not in free and not session.dialect.fits(column.type, theirs.type):
            raise DestinationFailed(
                f"the column `{column.name}` is {column.type} here and {theirs.type} in the table `{name}`, "
                "which would change values",
                hint="change the table, or cast the column in a view and name that as `source`",
            )
        found.append(theirs)
    for column in known.values():
        if not column.optional:
            raise DestinationFailed(
                f"the table `{name}` has a column `{column.name}`, which `{'.'.join(history.source)}` does not have",
                hint="add it there (null as …, in a view), or give it a default in the table",
            )
    return found


def _find(columns: Sequence[Column], name: str, where: str, table: str) -> Column:
    for column in columns:
        if column.name == name:
            return column
    for column in columns:
        if column.name.casefold() == name.casefold():
            return column
    raise UnknownColumn(
        f"`{where}` names the column `{name}`, which `{table}` does not have",
        hint=hint(name, [column.name for column in columns], "it has"),
    )


def _find_all(columns: Sequence[Column], names: Sequence[str], where: str, table: str) -> list[Column]:
    found = [_find(columns, name, where, table) for name in names]
    for column, times in Counter(found).items():
        if times > 1:
            raise UnknownColumn(f"`{where}` names the column `{column.name}` twice")
    return found


# ---------------------------------------------------------------------------------------------- the work


class _Work:
    """One run over a history: its statements, each with the name of what it does."""

    def __init__(self, session: Session, history: History, shape: _Shape) -> None:
        self._session = session
        self._history = history
        self._shape = shape
        self._dialect = dialect = session.dialect
        self._target = dialect.quote(*history.target)
        self._from, self._to = (dialect.quote(item.name) for item in (shape.valid_from, shape.valid_to))
        self._now = dialect.moment(history.started_at, shape.valid_from.type)
        count = len(shape.read)
        self._names = [dialect.quote(column.name) for column in shape.made[:count]]  # in the target
        # In the temporary tables the columns have names of ours.
        self._held = [Column(f"_pipeline_flow_{index}", shape.made[index].type) for index in range(count)]
        self._keys, self._tracked = (
            self._held[: shape.keys],
            self._held[shape.keys : shape.keys + shape.tracked],
        )
        self._moment = shape.valid_from.type

    # ---------------------------------------------------------------------------------------- pieces of SQL

    def _columns(self, alias: str, columns: Iterable[Column]) -> str:
        return ", ".join(f"{alias}.{column.name}" for column in columns)

    def _theirs(self, alias: str) -> str:
        return ", ".join(f"{alias}.{name}" for name in self._names)

    def _of(self, alias: str, index: int) -> str:
        """Column number ``index`` of ``alias``: ``t`` is the target, anything else a table of ours."""
        return f"{alias}.{self._names[index]}" if alias == "t" else f"{alias}.{self._held[index].name}"

    def _same_key(self, left: str, right: str) -> str:
        return " and ".join(
            self._dialect.equal(self._of(left, index), self._of(right, index), column.type)
            for index, column in enumerate(self._keys)
        )

    def _same_values(self, left: str, right: str) -> str:
        start = len(self._keys)
        parts = [
            f"({self._dialect.same(self._of(left, index), self._of(right, index), column.type)})"
            for index, column in enumerate(self._tracked, start)
        ]
        return f"({' and '.join(parts)})" if parts else "(1 = 1)"

    def _before_columns(self, window: str) -> str:
        """What is tracked in the row before in ``window``, as columns for :meth:`_as_before`.

        Apart from the comparison: MariaDB 10.11 computes wrong values where a condition holds window functions.
        """
        return "".join(
            f", lag({column.name}) over {window} as {column.name}_before" for column in self._tracked
        )

    def _as_before(self) -> str:
        """A condition: what is tracked is as in the row before."""
        parts = [
            f"({self._dialect.same(column.name, f'{column.name}_before', column.type)})"
            for column in self._tracked
        ]
        return f"({' and '.join(parts)})" if parts else "(1 = 1)"

    def _shown(self, *expressions: str) -> str:
        """Values as texts, for messages: not every driver has a value of Python's for each."""
        texts = (f"cast({item} as {self._dialect.text_type})" for item in expressions)
        return ", ".join(f"{text} as shown_{number}" for number, text in enumerate(texts))

    def _exact(self, column: Column) -> str:
        return self._dialect.exact(column.name, column.type)

    def _time(self, expression: str) -> str:
        return self._dialect.exact(expression, self._moment)

    def _before(self, left: str, right: str, sign: str = "<") -> str:
        return f"{self._time(left)} {sign} {self._time(right)}"

    def _by_key(self, names: Sequence[str] | None = None) -> str:
        """``partition by`` the key."""
        named = names or [column.name for column in self._keys]
        keys = [
            self._dialect.exact(name, column.type) for name, column in zip(named, self._keys, strict=True)
        ]
        return f"partition by {', '.join(keys)}"

    def _make(self, table: str, *more: Column, columns: Sequence[Column] | None = None) -> None:
        held = self._held if columns is None else columns
        for statement in self._dialect.temporary(table, [*held, *more], self._keys):
            self._session.run(statement)

    # ---------------------------------------------------------------------------------------- steps

    def drop(self) -> None:
        """Drops the temporary tables."""
        word = "temporary " if self._dialect.drops_temporary else ""
        for table in _TABLES:
            self._session.run(f"drop {word}table if exists {table}")

    def run(self) -> Outcome:
        self._read()
        self._check_read()
        self._find_changed_keys()
        outcome = Outcome()
        if self._count(f"select count(*) from {_KEYS}"):
            self._check_target()
            self._gather_events()
            if self._history.close_missing:
                self._reopen()
            self._draw_plan()
            outcome = self._write_plan()
        return self._close_missing(outcome) if self._history.close_missing else outcome

    def _count(self, query: str) -> int:
        ((found,),) = self._session.rows(query)
        return int(str(found))

    def _read(self) -> None:
        """The source's rows in the target's types, then each (key, moment) once; a second is kept only if it differs."""
        quote = self._dialect.quote
        effective, at = self._shape.effective, Column(_AT, self._moment)
        moment = self._now if effective is None else quote(effective)
        if moment is None:
            raise DestinationFailed(
                f"`{self._history.valid_from}` is {self._moment}, which cannot hold the run's start",
                hint="name `effective`, or make the column a timestamp",
            )
        names = ", ".join(quote(name) for name in self._shape.read)
        self._make(_READ, at)
        self._session.run(f"insert into {_READ} select {names}, {moment} from {quote(*self._history.source)}")
        self._make(_SOURCE, at, Column(_CLASH, "integer"))
        listed = ", ".join(column.name for column in self._held)
        window = f"({self._by_key()}, {self._time(_AT)} order by {self._sorted()})"
        self._session.run(
            f"insert into {_SOURCE} select {listed}, {_AT}, case when place = 1 then 0 else 1 end from ("
            f"select {listed}, {_AT}, row_number() over {window} as place{self._before_columns(window)} from {_READ}) r "
            f"where place = 1 or not {self._as_before()}"
        )

    def _sorted(self) -> str:
        """Any order, but always the same one, so that one of two equal rows is always the same one."""
        return ", ".join(self._exact(column) for column in self._held[len(self._keys) :]) or self._time(_AT)

    def _check_read(self) -> None:
        source = ".".join(self._history.source)
        for column, name in zip(self._keys, self._shape.read, strict=False):
            count = self._count(f"select count(*) from {_READ} where {column.name} is null")
            if count:
                raise DataError(
                    f"the key `{name}` is null in {count:,} row{'' if count == 1 else 's'} of `{source}`",
                    hint="leave such rows out: a view with `where … is not null` as `source`",
                )
        if self._shape.effective is not None:
            self._check_times(self._shape.effective, source)
        clash = self._session.rows(
            f"select {self._shown(*[column.name for column in self._keys], _AT)} from {_SOURCE} where {_CLASH} = 1 limit 1"
        )
        if clash:
            when = f"at {clash[0][-1]}" if self._shape.effective is not None else "at once"
            raise DataError(
                f"`{source}` has several rows for {self._key_text(clash[0])} that are valid {when} and differ",
                hint="keep one of them in a view, or name a finer `effective`"
                if self._shape.effective is not None
                else "name the column that orders them as `effective`, or keep one of them in a view",
            )
        self._session.run(f"delete from {_READ}")

    def _check_times(self, name: str, source: str) -> None:
        count = self._count(f"select count(*) from {_READ} where {_AT} is null")
        if count:
            raise DataError(
                f"`{name}`, from when on a row is valid, is null in {count:,} row{'' if count == 1 else 's'} of `{source}`",
                hint="give them a time in a view: coalesce(…, …)",
            )
        wrong = self._dialect.unordered(_AT, self._moment)
        found = wrong and self._session.rows(f"select {self._shown(_AT)} from {_READ} where {wrong} limit 1")
        if found:
            raise DataError(
                f"`{name}` of `{source}` is {self._moment} and holds {found[0][0]!r}, "
                "which does not sort with the others by time",
                hint="write all as a load does: 2024-01-31 10:00:00.000000, with +00:00 where it has a zone",
            )

    def _key_text(self, row: Sequence[object]) -> str:
        return ", ".join(
            f"{name} = {value}" for name, value in zip(self._shape.read[: len(self._keys)], row, strict=False)
        )

    def _find_changed_keys(self) -> None:
        """Keys for which the source says something that the target does not hold yet."""
        # In two steps: DuckDB would compare every two rows in an outer join with a condition like this.
        self._make(_HELD, Column(_AT, self._moment), columns=self._keys)
        keys = self._columns("s", self._keys)
        self._session.run(
            f"insert into {_HELD} select {keys}, s.{_AT} from {_SOURCE} s join {self._target} t "
            f"on {self._same_key('t', 's')} and {self._before(f't.{self._from}', f's.{_AT}', '<=')} "
            f"and (t.{self._to} is null or {self._before(f's.{_AT}', f't.{self._to}')}) and {self._same_values('t', 's')}"
        )
        self._make(_KEYS, columns=self._keys)
        query = (
            f"select {keys} from {_SOURCE} s left join {_HELD} h on {self._same_key('h', 's')} and h.{_AT} = s.{_AT} "
            f"where h.{_AT} is null"
        )
        if self._history.close_missing:
            query += (
                f" union all select {keys} from {_SOURCE} s left join {self._target} t "
                f"on {self._same_key('t', 's')} and t.{self._to} is null where t.{self._from} is null"
            )
        # No DISTINCT: a collation may take two keys for one.
        names = ", ".join(column.name for column in self._keys)
        once = f"row_number() over ({self._by_key()} order by {self._exact(self._keys[0])}) as place"
        self._session.run(
            f"insert into {_KEYS} select {names} from (select {names}, {once} from ({query}) k) k where place = 1"
        )

    def _check_target(self) -> None:
        """Two versions of a key from one moment on cannot both be right, and nothing here has written them."""
        keys = [f"t.{name}" for name in self._names[: len(self._keys)]]
        began = f"t.{self._from}"
        found = self._session.rows(
            f"select * from (select {self._shown(*keys, began)}, "
            f"count(*) over ({self._by_key(keys)}, {self._time(began)}) as versions "
            f"from {self._target} t join {_KEYS} k on {self._same_key('t', 'k')}) v where versions > 1 limit 1"
        )
        if found:
            raise DestinationFailed(
                f"`{'.'.join(self._history.target)}` has two versions of {self._key_text(found[0])} from {found[0][-2]} on",
                hint="something else has written them; delete one",
            )

    def _gather_events(self) -> None:
        """What the target holds of these keys and what the source says, one event for each key and moment."""
        moment = self._moment
        self._make(_EVENTS, Column(_AT, moment), Column(_STARTED, moment), Column(_GONE, "integer"))
        target = f"{self._target} t join {_KEYS} k on {self._same_key('t', 'k')}"
        at_once = f"{self._same_key('t', 's')} and s.{_AT} = t.{self._from}"
        self._session.run(
            f"insert into {_EVENTS} select {self._theirs('t')}, t.{self._from}, t.{self._from}, 0 from {target} "
            f"left join {_SOURCE} s on {at_once} where s.{_AT} is null or {self._same_values('t', 's')}"
        )
        # A row of the source for a moment at which a version begins takes its place, if it says something else.
        self._session.run(
            f"insert into {_EVENTS} select {self._columns('s', self._held)}, s.{_AT}, t.{self._from}, 0 from {_SOURCE} s "
            f"join {_KEYS} k on {self._same_key('s', 'k')} left join {self._target} t on {at_once} "
            f"where t.{self._from} is null or not {self._same_values('t', 's')}"
        )
        keys = [f"t.{name}" for name in self._names[: len(self._keys)]]
        held = ", ".join(f"{name} as {column.name}" for name, column in zip(keys, self._keys, strict=True))
        nulls = "".join(", null" for _ in self._held[len(self._keys) :])
        self._session.run(
            f"insert into {_EVENTS} select {self._columns('g', self._keys)}{nulls}, g.until, null, 1 from ("
            f"select {held}, t.{self._to} as until, "
            f"lead(t.{self._from}) over ({self._by_key(keys)} order by {self._time(f't.{self._from}')}) as next "
            f"from {target}) g left join {_SOURCE} s on {self._same_key('g', 's')} and s.{_AT} = g.until "
            f"where g.until is not null and (g.next is null or {self._before('g.until', 'g.next')}) and s.{_AT} is null"
        )

    def _reopen(self) -> None:
        """A key whose history has ended is in the snapshot again: with its newest row, from now on."""
        now = self._now_or_refuse()
        window = f"({self._by_key()} order by {self._time(_AT)} desc)"
        keys = ", ".join(column.name for column in self._keys)
        self._make(_ENDED, Column(_AT, self._moment), columns=self._keys)
        self._session.run(
            f"insert into {_ENDED} select {keys}, {_AT} from ("
            f"select {keys}, {_AT}, {_GONE}, row_number() over {window} as place from {_EVENTS}) e "
            f"where place = 1 and {_GONE} = 1"
        )
        listed = ", ".join(column.name for column in self._held)
        later = f"case when {self._before(f'l.{_AT}', now)} then {now} else l.{_AT} end"
        self._session.run(
            f"insert into {_EVENTS} select {self._columns('s', self._held)}, {later}, null, 0 from {_ENDED} l join ("
            f"select {listed}, row_number() over {window} as place from {_SOURCE}) s "
            f"on {self._same_key('l', 's')} where s.place = 1"
        )
        ended = " and ".join(
            self._dialect.equal(f"l.{column.name}", f"{_EVENTS}.{column.name}", column.type)
            for column in self._keys
        )
        self._session.run(
            f"delete from {_EVENTS} where {_GONE} = 1 and exists (select 1 from {_ENDED} l where {ended} "
            f"and l.{_AT} = {_EVENTS}.{_AT} and not {self._before(f'l.{_AT}', now)})"
        )

    def _draw_plan(self) -> None:
        """The history of these keys as it should be; ``started`` is when the version began that it now is in the target."""
        moment = self._moment
        self._make(_PLAN, Column(_AT, moment), Column(_UNTIL, moment), Column(_STARTED, moment))
        listed = ", ".join(column.name for column in self._held)
        window = f"({self._by_key()} order by {self._time(_AT)})"
        edge = f"case when {_GONE} = 0 and gone_before = 0 and {self._as_before()} then 0 else 1 end as edge"
        # The inner queries: where something begins; which group an event is in; what the group was and when it ends.
        self._session.run(
            f"insert into {_PLAN} select {listed}, {_AT}, until, started from ("
            f"select {listed}, {_AT}, {_GONE}, started, lead({_AT}) over {window} as until from ("
            f"select {listed}, {_AT}, {_GONE}, edge, min({_STARTED}) over ({self._by_key()}, part) as started from ("
            f"select {listed}, {_AT}, {_GONE}, {_STARTED}, edge, sum(edge) over {window} as part from ("
            f"select {listed}, {_AT}, {_GONE}, {_STARTED}, {edge} from ("
            f"select {listed}, {_AT}, {_GONE}, {_STARTED}, lag({_GONE}) over {window} as gone_before"
            f"{self._before_columns(window)} from {_EVENTS}) z) a) b) c where edge = 1) d where {_GONE} = 0"
        )

    def _write_plan(self) -> Outcome:
        run, target = self._session.run, self._target
        planned = f"{self._same_key('t', 'p')} and p.{_STARTED} = t.{self._from}"
        changed = self._changed()
        closed = self._count(
            f"select count(*) from {target} t join {_PLAN} p on {planned} "
            f"where t.{self._to} is null and p.{_UNTIL} is not null"
        )
        # Columns of the target stand alone here, since not every database lets it have another name.
        by_key, by_plan = (
            " and ".join(
                self._dialect.equal(f"{alias}.{column.name}", name, column.type)
                for column, name in zip(self._keys, self._names, strict=False)
            )
            for alias in ("k", "p")
        )
        by_plan = f"{by_plan} and p.{_STARTED} = {self._from}"
        removed = run(
            f"delete from {target} where exists (select 1 from {_KEYS} k where {by_key}) "
            f"and not exists (select 1 from {_PLAN} p where {by_plan})"
        )
        values = [(name, f"p.{column.name}") for name, column in zip(self._names, self._held, strict=True)]
        values += self._validity()
        updated = run(
            self._dialect.update(target, values[len(self._keys) :], _PLAN, f"{by_plan} and {changed}")
        )
        names = ", ".join(name for name, _ in values)
        opened = run(
            f"insert into {target} ({names}) select {', '.join(value for _, value in values)} from {_PLAN} p "
            f"where p.{_STARTED} is null"
        )
        return Outcome(opened, closed, updated - closed, removed)

    def _validity(self) -> list[tuple[str, str]]:
        values = [(self._from, f"p.{_AT}"), (self._to, f"p.{_UNTIL}")]
        if self._shape.is_current is not None:
            current = f"case when p.{_UNTIL} is null then true else false end"
            values.append((self._dialect.quote(self._shape.is_current), current))
        return values

    def _changed(self) -> str:
        """A condition: the version is another one in the plan than in the target."""
        dialect = self._dialect
        parts = [
            dialect.same(name, f"p.{column.name}", column.type)
            for name, column in zip(self._names, self._held, strict=True)
        ]
        parts += [
            dialect.same(self._from, f"p.{_AT}", self._moment),
            dialect.same(self._to, f"p.{_UNTIL}", self._moment),
        ]
        return f"not ({' and '.join(f'({part})' for part in parts)})"

    def _close_missing(self, outcome: Outcome) -> Outcome:
        """Ends what the snapshot lacks. A version that would have begun later never comes to be."""
        now = self._now_or_refuse()
        self._make(_MISSING, columns=self._keys)
        keys = ", ".join(f"t.{name}" for name in self._names[: len(self._keys)])
        self._session.run(
            f"insert into {_MISSING} select {keys} from {self._target} t "
            f"left join {_SOURCE} s on {self._same_key('t', 's')} where t.{self._to} is null and s.{_AT} is null"
        )
        by_key = " and ".join(
            self._dialect.equal(f"m.{column.name}", name, column.type)
            for column, name in zip(self._keys, self._names, strict=False)
        )
        missing = f"exists (select 1 from {_MISSING} m where {by_key})"
        removed = self._session.run(
            f"delete from {self._target} where {missing} and not {self._before(self._from, now)}"
        )
        current = f", {self._dialect.quote(self._shape.is_current)} = false" if self._shape.is_current else ""
        closed = self._session.run(
            f"update {self._target} set {self._to} = {now}{current} where {missing} "
            f"and ({self._to} is null or {self._before(now, self._to)})"
        )
        empty = not self._count(f"select count(*) from {_SOURCE}")
        return Outcome(
            outcome.opened,
            outcome.closed + closed,
            outcome.corrected,
            outcome.removed + removed,
            emptied=empty and bool(removed or closed),
        )

    def _now_or_refuse(self) -> str:
        if self._now is None:
            raise WrongArgument(
                f"`deletes: close` ends a version at the run's start, and `{self._history.effective}` is "
                f"{self._moment}, which is no time",
                hint="make it a date or a timestamp in a view, or leave `deletes` out",
            )
        return self._now
