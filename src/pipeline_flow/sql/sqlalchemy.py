"""Any database that SQLAlchemy has a dialect for: connecting, statements with values, and errors in words that help."""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import sqlalchemy as native
from sqlalchemy import event, exc
from sqlalchemy.pool import NullPool
from sqlalchemy.types import NullType

from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    QueryFailed,
    RetryableError,
    SourceMalformed,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.secret import Redactor
from pipeline_flow.sql import product, script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.product import Product
    from pipeline_flow.sql.url import Database

_INSTALL = "pip install 'pipeline-flow[sqlalchemy]'"
_LONGEST_MESSAGE = 1000  # characters of what a driver says
_BUSY_SECONDS = 60
_MYSQL = ("mysql", "mariadb")
# The same as our own connections to MariaDB have: what values look like must not depend on the server's settings.
_MYSQL_SETTINGS = (
    "set session sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION', "
    "time_zone = '+00:00'"
)
# What drivers raise besides SQLAlchemy's errors, at a value that they cannot bind.
FAULTS = (exc.SQLAlchemyError, OSError, TypeError, ValueError, OverflowError)


# ---------------------------------------------------------------------------------------------- connecting


class Opened:
    """A connection with its engine. In a ``with`` block it is closed at the end, and what is not committed is gone."""

    def __init__(self, engine: native.Engine, connection: native.Connection) -> None:
        self.engine = engine
        self.connection = connection

    @property
    def dialect(self) -> str:
        """The name of SQLAlchemy's dialect: ``postgresql``, ``oracle``."""
        return str(self.engine.dialect.name)

    def close(self) -> None:
        """Closes the connection; nobody waits for rows that are still to come."""
        with contextlib.suppress(*FAULTS):
            if not self.connection.closed and not self.connection.invalidated:
                self.connection.invalidate()
        with contextlib.suppress(*FAULTS):
            self.connection.close()
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connect(database: Database, *, write: bool) -> Opened:
    """A connection whose transaction begins with its first statement. Close it.

    Raises:
        WrongArgument: the dialect, its driver or an option of the URL is not there.
        SourceUnreadable: there is no way in. With ``write``, TargetUnwritable.
        RetryableError: the connection was refused, or the server is not ready.
    """
    if not database.is_server:
        _check_file(database, write=write)
    engine = _engine(database)
    try:
        opened = Opened(engine, engine.connect())
    except FAULTS as error:
        engine.dispose()
        raise _not_connected(error, database, write=write) from None
    try:
        if opened.dialect in _MYSQL:
            opened.connection.exec_driver_sql(_MYSQL_SETTINGS)
            opened.connection.commit()
        if opened.dialect == "sqlite":
            opened.connection.exec_driver_sql("select count(*) from sqlite_master")
            opened.connection.rollback()
    except FAULTS as error:
        opened.close()
        raise _not_connected(error, database, write=write) from None
    return opened


def _check_file(database: Database, *, write: bool) -> None:
    path = database.path
    if not write and not path.exists():
        raise SourceUnreadable(f"{database} does not exist")
    if not write and not os.access(path, os.R_OK):
        raise SourceUnreadable(f"{database} cannot be read: no permission")
    if write:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetUnwritable(
                f"the folder {path.parent} of the database cannot be made: {error.strerror}"
            ) from None
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise TargetUnwritable(f"{database} cannot be written: no permission")


def _engine(database: Database) -> native.Engine:
    found = product.of(database.scheme)
    name, _, driver = database.scheme.partition("+")
    more: dict[str, Any] = {}
    if name == "postgresql":  # JSON stays the text that it is
        more = {"json_deserializer": _text, "json_serializer": _text}
    if name == "sqlite":
        more = {"connect_args": {"timeout": _BUSY_SECONDS, "check_same_thread": False}}
    password = None if database.password is None else database.password.reveal()
    if driver == "pymysql" and password is not None:  # which writes a text in Latin-1
        more, password = {"connect_args": {"password": password.encode()}}, None
    try:
        place = native.URL.create(
            database.scheme,
            username=database.user or None,
            password=password,
            host=database.host or None,
            port=database.port or None,
            database=(database.name if database.is_server else database.path.as_posix()) or None,
            query=dict(database.options),
        )
        engine = native.create_engine(place, poolclass=NullPool, hide_parameters=True, **more)
    except exc.NoSuchModuleError:
        if driver and name in product.PRODUCTS and not found.package:
            text, advice = f"SQLAlchemy knows no driver `{driver}` for {found.label}", "look at its name"
        else:
            text = f"SQLAlchemy has no dialect `{name}`" + (f" with the driver `{driver}`" if driver else "")
            advice = f"pip install {_quoted(found.package)}" if found.package else "a package brings it"
        raise WrongArgument(f"{database} cannot be reached: {text}", hint=advice) from None
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        advice = f"pip install {_quoted(product.package_of(module))}" if module else ""
        raise WrongArgument(
            f"{database} needs a driver that is not installed: {said(error, database)}", hint=advice
        ) from None
    except Exception as error:  # noqa: BLE001 - a dialect reads its options here, and raises what it likes
        raise WrongArgument(
            f"the URL of {database} is not what its dialect takes: {said(error, database)}"
        ) from None
    if engine.dialect.is_async:
        instead = f"{name}://" if name in ("postgresql", "mysql", "mariadb", "sqlite") else "another driver"
        raise WrongArgument(
            f"the driver `{engine.dialect.driver}` only works on an event loop, and `sql` has none",
            hint=f"write {instead}",
        )
    if name == "sqlite":
        event.listen(engine, "connect", _without_own_transactions)
        event.listen(engine, "begin", _begin)
    return engine


def _quoted(package: str) -> str:
    return f"'{package}'" if "[" in package else package


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _without_own_transactions(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # else the driver begins none before CREATE TABLE


def _begin(connection: native.Connection) -> None:
    connection.exec_driver_sql("begin")


def interruptible(context: Context, database: Database, opened: Opened) -> Callable[[], None]:
    """Interrupts what the connection is doing when the run wants the step to stop; the result takes that back.

    Drivers without a way to interrupt are left alone: the run abandons the step after its grace period.
    """
    driver = opened.connection.connection.dbapi_connection
    stop = getattr(driver, "cancel", None) or getattr(driver, "interrupt", None)
    thread = getattr(driver, "thread_id", None)
    if stop is None and opened.dialect in _MYSQL and thread is not None:
        number = int(thread())
        stop = functools.partial(_kill, database, number)
    if stop is None:
        return lambda: None

    def start() -> None:  # the run asks from its event loop
        threading.Thread(target=_quietly, args=(stop,), name="pipeline-flow-cancel", daemon=True).start()

    return context.on_cancel(start)


def _quietly(stop: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):  # it is gone, or the run will ask again
        stop()


def _kill(database: Database, thread: int) -> None:
    with connect(database, write=False) as other:
        other.connection.exec_driver_sql(f"kill query {thread}")


# ---------------------------------------------------------------------------------------------- errors


def said(error: BaseException, database: Database) -> str:
    """What the driver said, on one line, without SQLAlchemy's additions (the statement, its values) and without secrets."""
    origin = getattr(error, "orig", None) or error
    args: tuple[Any, ...] = getattr(origin, "args", ())
    text = args[1] if len(args) == 2 and isinstance(args[1], str) and args[1].strip() else origin
    line = re.split(r"\n\[SQL:|\(Background on this error", str(text))[0]
    line = " ".join(line.split()) or type(origin).__name__
    redact = Redactor()
    redact.add(list(database.secrets))
    for secret in database.secrets:
        line = line.replace(secret, "***") if len(secret) > 1 else line
    line = redact(line)
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}…"


_HOST = r"name or service not known|could not translate host|getaddrinfo|nodename nor|no address associated|unknown (?:server )?host|name resolution"
_REFUSED = r"connection refused|actively refused|can't connect|could not connect|no listener|ora-12541|no such file or directory"
_SILENT = r"timed? ?out|timeout expired"
_LOGIN = (
    r"password|access denied|login failed|authenticat|ora-01017|invalid credentials|incorrect username|role .* does not exist|"
    r"user .* does not exist"
)
_NO_DATABASE = (
    r"database \S+ does not exist|unknown database|cannot open database|ora-1251[45]|database .* not found"
)
_FULL = r"too many (?:clients|connections)|connection slots|no connection to spare"
_TRUST = r"certificate|\bssl\b|\btls\b|handshake"


def _matches(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE | re.DOTALL) is not None


def _not_connected(error: BaseException, database: Database, *, write: bool) -> Exception:
    text = said(error, database)
    failed = TargetUnwritable if write else SourceUnreadable
    if isinstance(error, TypeError):
        return WrongArgument(f"the URL of {database} has an option that its driver does not take: {text}")
    if _matches(r"file is not a database|malformed", text):
        return SourceMalformed(f"{database} is none: {text}")
    if _matches(_HOST, text):
        return failed(
            f"the host of {database} is not known: {text}", hint="look at the host's name in the URL"
        )
    if _matches(_NO_DATABASE, text):
        return failed(f"{database} is not there: {text}", hint="look at the database's name in the URL")
    if _matches(_LOGIN, text):
        return failed(f"{database} refused the user or the password: {text}", hint="look at both in the URL")
    if _matches(_REFUSED, text):
        return RetryableError(
            f"nothing answers for {database}: {text}",
            hint="is the server running? look at host and port in the URL",
        )
    if _matches(_SILENT, text) or isinstance(getattr(error, "orig", error), TimeoutError):
        return RetryableError(
            f"{database} does not answer: {text}", hint="host and port in the URL, or a firewall"
        )
    if _matches(_FULL, text):
        return RetryableError(
            f"{database} has no connection to spare: {text}", hint="lower `parallelism` or `concurrency`"
        )
    if _matches(_TRUST, text):
        return failed(
            f"the connection to {database} cannot be trusted: {text}",
            hint="encryption is set by the driver's own options in the URL",
        )
    return failed(f"{database} cannot be reached: {text}")


_LOST = r"server closed the connection|connection (?:was |has been )?(?:lost|closed|reset|terminated)|lost connection|gone away|broken pipe|ora-0311[34]|terminating connection"
_IN_THE_WAY = r"deadlock|could not serialize|lock wait timeout|could not obtain lock|database is locked|ora-00060|write.?conflict"
_DENIED = r"permission denied|access denied|command denied|not authori[sz]ed|insufficient privileges|ora-01031|readonly database|read.only (?:file|transaction)"
_NO_TABLE = r"no such table|(?:relation|table|object) .* (?:does not|doesn't) exist|invalid object name|ora-00942|table not found|unknown table|not found: table"


def explain(
    error: BaseException, database: Database, *, write: bool, context: Context | None = None
) -> Exception:
    """The driver's error as ours.

    Args:
        error: what SQLAlchemy or the driver raised.
        database: where.
        write: whether rows were being written; else an extract reads, or statements run.
        context: the step's; when the run is over, the error is that of a cancelled step.
    """
    if context is not None and context.cancelled:
        return CancelledByRun()
    text, label = said(error, database), product.of(database.scheme).label
    failed = DestinationFailed if write else QueryFailed
    if not isinstance(
        error, exc.DBAPIError
    ):  # raised before the driver was asked: a value that cannot be bound
        value = ConversionFailed if write else WrongArgument
        return value(
            f"{label}'s driver cannot take a value: {text}", hint="cast the column to text in the query"
        )
    if error.connection_invalidated or _matches(_LOST, text):
        return RetryableError(f"the connection to {database} was lost: {text}")
    if _matches(_IN_THE_WAY, text):
        return RetryableError(
            f"{label}: {text}", hint="another transaction was in the way; `retry` tries again"
        )
    if _matches(_DENIED, text):
        denied = TargetUnwritable if write else SourceUnreadable
        return denied(f"no permission: {label}: {text}", hint="the database's administrator gives it")
    if _matches(_NO_TABLE, text):
        unknown = DestinationFailed if write else SourceUnreadable
        return unknown(f"{label}: {text}")
    return failed(f"{label}: {text}")


# ---------------------------------------------------------------------------------------------- names


def quote(opened: Opened, *parts: str) -> str:
    """An identifier, quoted where SQLAlchemy's dialect says that it must be.

    A name in lower case is the database's own: SALES in Oracle, sales in PostgreSQL.
    """
    preparer = opened.engine.dialect.identifier_preparer
    name = ".".join(preparer.quote(part) for part in parts)
    # The text of a statement has its per cent signs doubled as a whole, where the driver wants that.
    return name.replace("%%", "%") if getattr(preparer, "_double_percents", False) else name


# ---------------------------------------------------------------------------------------------- statements

_REST = (
    r"|\"(?:[^\"]|\"\")*\"|`(?:[^`]|``)*`|(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<tag>\$\w*\$).*?(?P=tag)|::|:="
    r"|(?<![\w:]):(?P<name>[A-Za-z_]\w*)|(?P<end>;)|(?P<word>[^\W\d]\w*)"
)
_ESCAPED = r"'(?:[^'\\]|\\.|'')*'"
_TRANSACTIONS = ("START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "END")
_READS = ("SELECT", "WITH", "VALUES", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "TABLE")
_BODY = re.compile(
    r"create\s+(?:or\s+(?:replace|alter)\s+)?(?:\w+\s+)?(?:procedure|function|trigger|package|type)\b|declare\b"
    r"|begin\b(?!\s*(?:;|$|tran|work\b))",
    re.IGNORECASE,
)
_WITH_DOLLARS = ("postgresql", "redshift", "snowflake", "cockroachdb")


@functools.cache
def _tokens(name: str, *, is_bare: bool) -> re.Pattern[str]:
    """What may hide a colon or a semicolon in the SQL of a database: texts, names and comments."""
    text = rf"(?<!\w)[eE]{_ESCAPED}|'(?:[^']|'')*'" if is_bare else _ESCAPED
    brackets = r"|\[(?:[^\]]|\]\])*\]" if name == "mssql" else ""
    remark = r"|(?P<remark>\#[^\n]*)" if name in _MYSQL else ""
    return re.compile(f"{text}{brackets}{remark}{_REST}", re.DOTALL)


class Text:
    """Statements in the SQL of one database, taken apart.

    Args:
        database: whose SQL it is.
        text: the statements.
    """

    def __init__(self, database: Database, text: str) -> None:
        self._name = database.scheme.partition("+")[0]
        known: Product = product.of(database.scheme)
        self._pattern = _tokens(self._name, is_bare=known.is_bare)
        self.text = text

    def names(self) -> tuple[str, ...]:
        """The names after a colon, in the order of appearance."""
        found = (match["name"] for match in self._pattern.finditer(self.text))
        return tuple(dict.fromkeys(name for name in found if name))

    def words(self) -> list[str]:
        """The words outside of texts, names and comments, in upper case."""
        return [found["word"].upper() for found in self._pattern.finditer(self.text) if found["word"]]

    def statements(self, database: Database) -> list[Text]:
        """The statements without their semicolons. The body of a routine reaches to the end of the text."""
        found, start, begun = list[str](), 0, False
        for match in self._pattern.finditer(self.text):
            if match["comment"] or match.groupdict().get("remark"):
                continue
            if not begun and not match["end"]:
                begun = True
                if self._name not in _WITH_DOLLARS and _BODY.match(self.text, match.start()):
                    break
            if match["end"]:
                found += [self.text[start : match.start()].strip()] if begun else []
                start, begun = match.end(), False
        if begun:
            found.append(self.text[start:].strip())
        return [Text(database, text) for text in found]

    def bound(self, given: Mapping[str, Any]) -> native.TextClause:
        """The statement with those values of ``given`` that it names; every other colon is a colon."""
        pieces, at, used = list[str](), 0, dict[str, Any]()
        for match in self._pattern.finditer(self.text):
            name = match["name"]
            if name is None or name not in given:
                continue
            used[name] = given[name]
            pieces += [_plain(self.text[at : match.start()]), f":{name}"]
            at = match.end()
        text = "".join([*pieces, _plain(self.text[at:])])
        values = [
            native.bindparam(name, _bindable(value, self._name), type_=NullType())
            for name, value in used.items()
        ]
        return native.text(text).bindparams(*values)

    def check_transaction(self) -> None:
        """Refuses what begins or ends a transaction.

        Raises:
            WrongArgument: the statement does.
        """
        found = self.words()
        own = found[:1] == ["BEGIN"] and (len(found) == 1 or found[1] in ("TRAN", "TRANSACTION", "WORK"))
        if own or (found and found[0] in _TRANSACTIONS):
            raise script.own_transaction()

    def check_used(self, given: Mapping[str, Any]) -> None:
        """Checks that every value has a place.

        Raises:
            WrongArgument: one has not.
        """
        known = self.names()
        for name in given:
            if name not in known:
                raise WrongArgument(
                    f"`params` gives `{name}`, and the query has no `:{name}`",
                    hint=hint(name, known, "the query has"),
                )

    def lacking(self, given: Mapping[str, Any], error: BaseException) -> WrongArgument | None:
        """What to say where the database did not understand a name without a value."""
        missing = [name for name in self.names() if name not in given]
        if not missing or not isinstance(error, exc.DBAPIError):
            return None
        return WrongArgument(
            f"the query has `:{missing[0]}`, and `params` does not give it",
            hint=hint(missing[0], given, "it gives"),
        )


def single(database: Database, text: str) -> Text:
    """``text`` as the one statement that an extract runs.

    Raises:
        WrongArgument: it is none, several, or one that does not read.
    """
    found = Text(database, text).statements(database)
    if not found:
        raise WrongArgument("the query is empty", hint="write one SELECT")
    if len(found) > 1:
        raise WrongArgument(f"the query must be exactly one SELECT, and here are {len(found)} statements")
    if found[0].words()[:1] and found[0].words()[0] not in _READS:
        raise WrongArgument(
            "the query is no SELECT", hint="statements that change something are for transform_at_load"
        )
    return found[0]


def _plain(text: str) -> str:
    return text.replace(":", "\\:")


def _bindable(value: Any, dialect: str) -> Any:
    if dialect == "sqlite":
        from pipeline_flow.sql import sqlite

        return sqlite.bindable(value)
    if dialect in _MYSQL and isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).replace(tzinfo=None)  # the driver would drop the zone
    return value


_CHANGES = ("INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH")


def run(
    context: Context, opened: Opened, database: Database, text: str, given: Mapping[str, Any]
) -> int | None:
    """Runs a script inside the connection's transaction; see :meth:`Engine.execute` for the rest."""
    found = Text(database, text).statements(database)
    for statement in found:
        statement.check_transaction()
    affected: list[int] = []
    take_back = interruptible(context, database, opened)
    running = Text(database, "")
    try:
        for running in found:
            context.check()
            result = opened.connection.execute(running.bound(given))
            counts = running.words()[:1] and running.words()[0] in _CHANGES
            if counts and not result.returns_rows and result.rowcount >= 0:
                affected.append(result.rowcount)
            result.close()
    except FAULTS as error:
        raise running.lacking(given, error) or explain(
            error, database, write=False, context=context
        ) from None
    finally:
        take_back()
    return sum(affected) if affected else None
