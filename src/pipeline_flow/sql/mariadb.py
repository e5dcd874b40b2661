"""MariaDB and MySQL: connecting, cancelling, statements with values, and errors in words that help."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import socket
import ssl
import threading
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql  # type: ignore[import-untyped] # it has no annotations
from pymysql.connections import Connection  # type: ignore[import-untyped] # the same

from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.core.suggest import hint, nearest
from pipeline_flow.errors import (
    DestinationFailed,
    QueryFailed,
    RetryableError,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.sql import pool, script
from pipeline_flow.sql.params import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.pool import Lease
    from pipeline_flow.sql.url import Database

_CONNECT_SECONDS = 10
_KILL_SECONDS = 5
# Seconds, then three questions: a server that went away is noticed within a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
# What statements mean and values look like, whatever the server's settings are. A load may wait longer for its commit,
# and an extract longer for its reader, than a server lets connections live.
SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION"
_SETTINGS = (
    f"set session sql_mode = '{SQL_MODE}', time_zone = '+00:00', wait_timeout = 604800, net_write_timeout = 86400, "
    "net_read_timeout = 86400"
)
_RESET_CONNECTION = 0x1F
_TRANSACTIONS = ("BEGIN", "START", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", "XA")
_IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS
# Statements that commit what stands before them.
_COMMITTING = (
    "ALTER", "ANALYZE", "CACHE", "CHECK", "CREATE", "DROP", "FLUSH", "GRANT", "INSTALL", "LOCK", "OPTIMIZE", "RENAME",
    "REPAIR", "RESET", "REVOKE", "TRUNCATE", "UNINSTALL", "UNLOCK",
)  # fmt: skip
_GONE = (0, 1053, 1077, 1079, 1080, 1927, 2003, 2006, 2013, 2014, 2055, 4031)
_DENIED = (1044, 1045, 1142, 1143, 1227, 1370, 1698)
_FULL = (1021, 1114, 1041, 1037, 1038, 3675)
_NO_TABLE = (1146, 1051, 1109)


# ---------------------------------------------------------------------------------------------- connecting


class _Connection(Connection):  # type: ignore[misc] # it has no annotations
    """A connection that waits for the first words of a server with one patience, and for answers with another."""

    def settle(self, read_timeout: int | None, write_timeout: int | None) -> None:
        """Waits so many seconds for answers from now on, and asks from time to time whether the server is there."""
        self._read_timeout, self._write_timeout = read_timeout, write_timeout
        if self.unix_socket:
            return
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # each system has others
                self._sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def connect(database: Database, *, write: bool) -> Any:
    """A connection that commits by itself. Values come as text, bytes or None. Close it.

    Outside of this machine the server's certificate is verified unless the URL says otherwise.

    Raises:
        SourceUnreadable: there is no way in. With ``write``, TargetUnwritable.
        RetryableError: the connection was refused, or the server is not ready or has no connection to spare.
        WrongArgument: an option of the URL has a value that it cannot have.
    """
    given = dict(database.options)
    place: dict[str, Any] = {"host": database.host, "port": database.port}
    if database.host.startswith("/"):
        path = Path(database.host)
        place = {"unix_socket": str(path / "mysqld.sock" if path.is_dir() else path)}
    read_timeout, write_timeout = _seconds(given, "read_timeout"), _seconds(given, "write_timeout")
    connect_timeout = _seconds(given, "connect_timeout") or _CONNECT_SECONDS
    try:
        connection = _Connection(
            **place,
            user=database.user or None,
            # As text, the driver would write it in Latin-1.
            password=b"" if database.password is None else database.password.reveal().encode(),
            database=database.name,
            charset="utf8mb4",
            conv={},
            autocommit=True,
            program_name="pipeline-flow",
            connect_timeout=connect_timeout,
            # The driver's own `connect_timeout` ends when somebody listens, and does not wait for a first word.
            read_timeout=connect_timeout,
            write_timeout=connect_timeout,
            local_infile=write or _sends_files(given),
            **_encryption(database, given),
        )
    except (pymysql.Error, OSError, RuntimeError) as error:
        raise _not_connected(error, database, write=write) from None
    if not _sends_files(given):
        # The driver would open any file that the server asks for. What a load sends so is no file: `mariadb_bulk`.
        connection._local_infile = False  # noqa: SLF001 - the driver has no other switch
    try:
        run(connection, _SETTINGS)
    except pymysql.Error as error:
        connection.close()
        raise _not_connected(error, database, write=write) from None
    connection.settle(read_timeout, write_timeout)
    return connection


class _Driver:
    """MariaDB's connections, for a pool."""

    def connect(self, database: Database) -> Any:
        return connect(database, write=False)

    def clear(self, connection: Any) -> None:
        # Ends the transaction, and forgets settings, locks, variables and temporary tables. The driver has no call for it.
        connection._execute_command(_RESET_CONNECTION, b"")  # noqa: SLF001
        connection._read_ok_packet()  # noqa: SLF001

    def prepare(self, connection: Any, database: Database) -> None:
        connection.set_character_set(connection.charset, connection.collation)
        connection.select_db(database.name)
        run(connection, "set autocommit = 1")
        run(connection, _SETTINGS)

    def close(self, connection: Any) -> None:
        if connection.open:
            connection.close()


def lend(context: Context, database: Database, *, beside: bool = False) -> Lease[Any]:
    """A connection as :func:`connect` gives, from the run's pool; ``beside`` another one that the step holds.

    Raises:
        CancelledByRun: the run wants the step to stop while it waits.
        SourceUnreadable: there is no way in.
        RetryableError: the connection was refused, or the server is not ready or has no connection to spare.
        WrongArgument: an option of the URL has a value that it cannot have.
    """
    return pool.lend(context, database, _Driver(), beside=beside)


def _sends_files(given: Mapping[str, str]) -> bool:
    return given.get("local_infile", "") in ("1", "true")


def _seconds(given: Mapping[str, str], name: str) -> int | None:
    if name not in given:
        return None
    if not re.fullmatch(r"[1-9]\d{0,6}", given[name]):
        raise WrongArgument(f"the URL's option `{name}` is {given[name]!r}, and it takes whole seconds")
    return int(given[name])


def _encryption(database: Database, given: Mapping[str, str]) -> dict[str, Any]:
    """Who the server is has to be proven, unless it is this machine or the user says what shall hold."""
    modes = ("disable", "prefer", "require", "verify-ca", "verify-full")
    mode = given.get("sslmode", "prefer" if database.is_local else "verify-full")
    if mode not in modes:
        raise WrongArgument(f"the URL's `sslmode` is {mode!r}", hint=hint(mode, modes, "it can be"))
    if mode == "disable":
        return {"ssl_disabled": True}
    if mode == "prefer":
        return {}
    for name in ("sslrootcert", "sslcert", "sslkey"):
        if name in given and not Path(given[name]).is_file():
            raise WrongArgument(f"the URL's `{name}` is {given[name]}, and there is no such file")
    try:
        context = ssl.create_default_context(cafile=given.get("sslrootcert"))
        context.check_hostname = mode == "verify-full"
        context.verify_mode = ssl.CERT_NONE if mode == "require" else ssl.CERT_REQUIRED
        if "sslcert" in given:
            context.load_cert_chain(given["sslcert"], given.get("sslkey"))
    except OSError as error:
        raise WrongArgument(f"the certificates that the URL names cannot be read: {error}") from None
    return {"ssl": context}


def _not_connected(error: Exception, database: Database, *, write: bool) -> Exception:
    code, text = _parts(error)
    low = text.lower()
    failed = TargetUnwritable if write else SourceUnreadable
    user = f"`{database.user}`" if database.user else "this machine's user"
    cause = getattr(error, "original_exception", error)
    if isinstance(cause, ssl.SSLError) or "ssl" in low or "certificate" in low:
        return failed(
            f"the connection to {database} cannot be trusted: {text}",
            hint="give the authority's file (?sslrootcert=ca.pem); where nobody can listen, ?sslmode=disable or "
            "?sslmode=require (encrypted, but anybody may be the server)",
        )
    if code in (1045, 1698):
        if "using password: NO" in text:
            return failed(
                f"{database} wants a password for {user}",
                hint="write it into the URL, best as a secret: mariadb://user:${{ secrets.name }}@host/database",
            )
        return failed(
            f"{database} refused the password of {user}", hint="look at the user and the password in the URL"
        )
    if code == 1044:
        return failed(
            f"{user} may not use {database}", hint="its administrator gives the permission with GRANT"
        )
    if code == 1049:
        return failed(
            f"there is no database `{database.name}` at {database.server}", hint="look at the URL's end"
        )
    if code in (1130, 1129):
        return failed(f"the server does not let {user} into {database} from here: {text}")
    if code in (1040, 1203, 1226):
        return RetryableError(
            f"{database} has no connection to spare: {text}",
            hint="lower `parallelism` or `concurrency`, or raise the server's max_connections",
        )
    if "name or service not known" in low or "nodename nor" in low or "no address associated" in low:
        return failed(f"the host {database.host} is not known", hint="look at the host's name in the URL")
    if "temporary failure in name resolution" in low:
        return RetryableError(
            f"the host {database.host} cannot be looked up now", hint="is the network there?"
        )
    if isinstance(cause, TimeoutError) or "timed out" in low:
        return RetryableError(
            f"{database} does not answer",
            hint="host and port in the URL, a firewall; ?connect_timeout=60 waits longer",
        )
    if isinstance(cause, ConnectionRefusedError | FileNotFoundError):
        return RetryableError(
            f"nothing listens at {database.server}",
            hint="is the server running? look at host and port in the URL",
        )
    if code in _GONE and code != 2003:
        return RetryableError(f"{database} is not ready: {text}")
    return failed(f"{database} cannot be reached: {text}")


def interruptible(context: Context, database: Database, connection: Any) -> Callable[[], None]:
    """Kills what the connection is doing when the run wants the step to stop; the result takes that back.

    The kill goes through a connection of its own, which may take its time, and the run asks from its event loop.
    """
    thread = int(connection.thread_id())
    busy = threading.Lock()

    def cancel() -> None:
        try:
            _kill("query", thread, database)  # if it fails, it is gone, or the run will ask again
        finally:
            busy.release()

    def start() -> None:
        if busy.acquire(blocking=False):
            threading.Thread(target=cancel, name="pipeline-flow-cancel", daemon=True).start()

    return context.on_cancel(start)


def _kill(what: str, thread: int, database: Database) -> None:
    """Ends a query, or a connection, of ours at the server, which goes on working when its client is gone."""
    # One who waits a second for an answer does not wait longer for this.
    seconds = str(min(_KILL_SECONDS, _seconds(database.options, "read_timeout") or _KILL_SECONDS))
    quick = replace(
        database, options={**database.options, "connect_timeout": seconds, "read_timeout": seconds}
    )
    with contextlib.suppress(pymysql.Error, SourceUnreadable, RetryableError):
        other = connect(quick, write=False)
        try:
            run(other, f"kill {what} {thread}")
        finally:
            other.close()


def end(connection: Any, database: Database) -> None:
    """Ends at the server what a connection is doing that has no end here."""
    _kill("connection", int(connection.thread_id()), database)


def run(connection: Any, statement: str | bytes) -> Any:
    """Runs a statement whose values are in its text already; gives the cursor, with all its rows."""
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor


def rows(connection: Any, statement: str, *values: str) -> list[tuple[Any, ...]]:
    """The rows of a question to the catalogue; each `%s` is one of ``values``."""
    cursor = connection.cursor()
    # Without encoders of its own (`conv`), the driver writes nothing but text.
    cursor.execute(statement % tuple(literal(value) for value in values))
    return list(cursor.fetchall())


def is_mariadb(connection: Any) -> bool:
    """Whether the server is MariaDB, not MySQL."""
    return "mariadb" in connection.get_server_info().lower()


def version(connection: Any) -> tuple[int, ...]:
    """The server's version, such as ``(10, 11, 8)``."""
    # Older MariaDB says `5.5.5-10.11.8-MariaDB`, for the replication of ancient servers.
    text = str(connection.get_server_info()).removeprefix("5.5.5-")
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else (0, 0, 0)


# ---------------------------------------------------------------------------------------------- errors


def _parts(error: Exception) -> tuple[int, str]:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = error.args[1] if len(error.args) > 1 else (error.args[0] if error.args else "")
    return code, " ".join(str(text).split())


def explain(
    error: Exception,
    database: Database,
    *,
    write: bool,
    context: Context | None = None,
    connection: Any = None,
    text: str = "",
    done: int = 0,
) -> Exception:
    """The server's error as ours. After a timeout, what the server still does for the connection is ended there.

    Args:
        error: what the driver raised.
        database: where.
        write: whether rows were being written; else an extract reads, or statements run.
        context: the step's; when the run is over, the error is that of a cancelled step.
        connection: tells what tables and columns there are.
        text: the statement.
        done: rows that were written before those of the statement.
    """
    if context is not None and context.cancelled:
        return CancelledByRun()
    code, said = _parts(error)
    said = re.sub(r" at row (\d+)$", lambda match: f" at row {done + int(match[1]):,}", said)
    failed = DestinationFailed if write else QueryFailed
    if code == 1153 or (code in (2006, 2013) and len(text) > 1_000_000):
        return failed(
            f"{database} takes no packet as large as this: {said}",
            hint="raise the server's max_allowed_packet",
        )
    if code in (2006, 2013) and "timed out" in said:
        return _too_slow(database, connection)
    if code in _GONE:
        return RetryableError(f"the connection to {database} was lost: {said}")
    if code == 1213:
        return RetryableError(
            f"{database}: {said}", hint="another transaction was in the way; `retry` tries again"
        )
    if code == 1412:
        return RetryableError(
            f"{database}: {said}",
            hint="another session changed or emptied the table after the snapshot; `retry` tries again",
        )
    if code == 1205:
        return RetryableError(
            f"{database}: {said}",
            hint="another transaction holds the rows longer than innodb_lock_wait_timeout",
        )
    if code in (1317, 1969, 3024):
        return failed(f"MariaDB: {said}", hint="somebody killed the query, or max_statement_time did")
    if code in _FULL or (code in (1030, 1026, 3) and re.search(r"(?i)\b28\b|no space", said)):
        return failed(f"the server of {database} has run out of something: {said}")
    if code in _DENIED:
        denied = TargetUnwritable if write else SourceUnreadable
        return denied(
            f"no permission: MariaDB: {said}", hint="its administrator gives the permission with GRANT"
        )
    if code in (1290, 1792, 1836):
        advice = "the server only reads (a replica?)" if write else "an extract only reads"
        return failed(f"MariaDB: {said}", hint=advice)
    if code in _NO_TABLE:
        unknown = DestinationFailed if write else SourceUnreadable
        return unknown(f"MariaDB: {said}", hint=_nearest_table(connection, said))
    if code == 1054:
        return failed(f"MariaDB: {said}", hint=_nearest_column(connection, said, text))
    if code in (1451, 1452):
        return failed(f"MariaDB: {said}", hint="a foreign key joins this table and another")
    if code == 1062:
        return failed(f"MariaDB: {said}", hint="the key of the table is there already, or twice in the data")
    return failed(f"MariaDB: {said}")


def commit(connection: Any, database: Database) -> None:
    """Commits what statements did.

    Raises:
        QueryFailed: the connection was lost meanwhile, and nobody knows; so that nobody tries again.
        pymysql.Error: MariaDB refused.
    """
    try:
        run(connection, "commit")
    except pymysql.Error as error:
        if connection.open and not is_lost(error):
            raise
        raise QueryFailed(
            f"the connection to {database} was lost during the commit: whether the statements took effect is not known",
            hint="look into the tables before you run again",
        ) from None


def is_lost(error: Exception) -> bool:
    """Whether an error is the end of the connection: nobody knows what became of the last statement."""
    return _parts(error)[0] in _GONE


def _too_slow(database: Database, connection: Any) -> RetryableError:
    if connection is not None:
        end(connection, database)
    given = {
        name: database.options[name] for name in ("read_timeout", "write_timeout") if name in database.options
    }
    seconds = given.get("read_timeout") or given.get("write_timeout", "")
    return RetryableError(
        f"{database} did not answer within {seconds} second{'' if seconds == '1' else 's'}",
        hint=f"{' and '.join(f'?{name}=' for name in given)} in the URL says how long we wait",
    )


def _nearest_table(connection: Any, said: str) -> str:
    found = re.search(r"'(?:[^']*\.)?([^'.]+)'", said)
    if connection is None or found is None:
        return ""
    query = "select table_name from information_schema.tables where table_schema = database() limit 5000"
    return _suggest(connection, query, found[1])


def _nearest_column(connection: Any, said: str, text: str) -> str:
    found = re.search(r"column '(?:[^']*\.)?([^'.]+)'", said)
    if connection is None or found is None:
        return ""
    query = (
        "select column_name from information_schema.columns where table_schema = database() "
        f"and instr({literal(text[:100_000])}, table_name) limit 5000"
    )
    return _suggest(connection, query, found[1])


def _suggest(connection: Any, query: str, name: str) -> str:
    try:
        known = [str(row[0]) for row in rows(connection, query.replace("%", "%%"))]
    except pymysql.Error:
        return ""
    near = nearest(name, known)
    return f"did you mean `{near}`?" if near else ""


# ---------------------------------------------------------------------------------------------- statements

# What may hide a colon or a semicolon: texts, names and comments, as MariaDB writes them; and `:=`, an assignment.
_TOKEN = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`]|``)*`"""
    r"""|(?P<comment>--(?=\s|$)[^\n]*|\#[^\n]*|/\*.*?\*/)|:=|(?<![\w:]):(?P<name>[A-Za-z_]\w*)|(?P<end>;)|(?P<word>[^\W\d]\w*)""",
    re.DOTALL,
)
_COMPOUND = re.compile(
    r"(?i)create\b(?:(?!\b(?:table|view|index|database|schema)\b).)*?\b(?:procedure|function|trigger|event|package)\b"
    r"|begin\s+not\s+atomic\b",
    re.DOTALL,
)


def statements(text: str) -> Iterator[str]:
    """The statements of a script, without their semicolons. The body of a routine, BEGIN … END, is part of its own.

    Raises:
        WrongArgument: a routine's END is missing.
    """
    start, depth, word, bare = 0, 0, "", ""
    compound: bool | None = None
    for found in _TOKEN.finditer(text):
        if found["comment"]:
            continue
        if compound is None:
            start = found.start() if not found["end"] else start
            compound = _COMPOUND.match(text, found.start()) is not None
        if found["end"]:
            if depth > 0:
                continue
            bare = text[start : found.start()].strip()
            if bare and not _is_blank(bare):
                yield bare
            start, depth, word, compound = found.end(), 0, "", None
            continue
        if not found["word"] or not compound:
            continue
        previous, word = word, found["word"].upper()
        if word == "BEGIN" or (word == "CASE" and previous != "END"):
            depth += 1
        elif word == "END":
            after = re.match(r"\s*(\w+)", text[found.end() :])
            depth -= not (after and after[1].upper() in ("IF", "LOOP", "WHILE", "REPEAT", "FOR"))
    if depth > 0:
        raise WrongArgument("a routine in the statements has a BEGIN without its END")
    bare = text[start:].strip()
    if bare and not _is_blank(bare):
        yield bare


def _is_blank(text: str) -> bool:
    return not _TOKEN.sub(lambda match: "" if match["comment"] else match[0], text).strip(" \t\r\n;")


def words(statement: str) -> list[str]:
    """The words of a statement outside of texts, names and comments, in upper case."""
    return [found["word"].upper() for found in _TOKEN.finditer(statement) if found["word"]]


def check_transaction(statement: str) -> None:
    """Refuses what begins or ends a transaction.

    Raises:
        WrongArgument: the statement does.
    """
    found = words(statement)
    if found and found[0] in _TRANSACTIONS and found[:3] != ["BEGIN", "NOT", "ATOMIC"]:
        raise script.own_transaction()


def commits(statement: str) -> bool:
    """Whether MariaDB commits by itself at this statement, as far as its words tell."""
    found = words(statement)
    if found[:1] in (["CREATE"], ["DROP"]):
        return found[1:2] != ["TEMPORARY"] and found[1:4] != ["OR", "REPLACE", "TEMPORARY"]
    return bool(found) and (found[0] in _COMMITTING or found[:2] in (["SET", "PASSWORD"], ["LOAD", "INDEX"]))


def _check_local(database: Database) -> None:
    if not _sends_files(database.options):
        raise WrongArgument(
            "LOAD DATA LOCAL reads a file of this machine, and the URL does not allow it",
            hint="?local_infile=1 in the URL allows it, for any file that the server asks for",
        )


def execute(
    context: Context,
    connection: Any,
    database: Database,
    text: str,
    given: Mapping[str, Any],
    *,
    whole: bool = False,
) -> int | None:
    """Runs a script inside the connection's transaction; see :meth:`Engine.execute` for the rest.

    Where a statement commits by itself, the next ones are a transaction of their own.

    Args:
        context: the step's.
        connection: in a transaction.
        database: where.
        text: the script.
        given: values by name.
        whole: the transaction must not end: a statement that commits by itself is refused.

    Raises:
        DestinationFailed: with ``whole``, a statement ended the transaction, which nobody could tell beforehand.
    """
    found = list(statements(text))
    for statement in found:
        check_transaction(statement)
        if words(statement)[:1] == ["LOAD"] and "LOCAL" in words(statement)[:4]:
            _check_local(database)
        if whole and commits(statement):
            raise WrongArgument(
                f"MariaDB commits by itself at {' '.join(words(statement)[:2])}, and the loads of this phase are not to be "
                "committed yet",
                hint="put the statement into `pre`, where no row is written yet, or into transform_at_load",
            )
    take_back = interruptible(context, database, connection)
    affected: list[int] = []
    statement = ""
    try:
        for statement in found:
            context.check()
            own = {name: given[name] for name in names(statement) if name in given}
            cursor = run(connection, inlined(statement, own))
            if cursor.description is None:
                affected.append(cursor.rowcount)
            if not connection.server_status & _IN_TRANSACTION:
                if whole:
                    raise DestinationFailed(
                        f"MariaDB has committed at {' '.join(words(statement)[:2])}: the rows of the loads before it are there",
                        hint="put the statement into `pre`, or into transform_at_load",
                    )
                run(connection, "start transaction")
        context.check()
    except pymysql.Error as error:
        raise lacking(statement, given, error) or explain(
            error, database, write=False, context=context, connection=connection, text=statement
        ) from None
    finally:
        take_back()
    return sum(affected) if affected else None


def names(statement: str) -> tuple[str, ...]:
    """The names after a colon, in the order of appearance."""
    return tuple(dict.fromkeys(found["name"] for found in _TOKEN.finditer(statement) if found["name"]))


def inlined(text: str, given: Mapping[str, Any]) -> str:
    """``text`` with the values of ``given`` in the places of their names, as literals.

    The driver knows no other way either. What a literal means is fixed by the session (:data:`SQL_MODE`, utf8mb4).

    Raises:
        WrongArgument: MariaDB has no such value.
    """
    found = {name: literal(value, name) for name, value in given.items()}
    return _TOKEN.sub(
        lambda match: found[match["name"]] if match["name"] and match["name"] in found else match[0], text
    )


def check_used(text: str, given: Mapping[str, Any]) -> None:
    """Checks that every parameter occurs in the query.

    Raises:
        WrongArgument: one does not.
    """
    known = names(text)
    for name in given:
        if name not in known:
            raise WrongArgument(
                f"`params` gives `{name}`, and the query has no `:{name}`",
                hint=hint(name, known, "the query has"),
            )


def lacking(text: str, given: Mapping[str, Any], error: Exception) -> WrongArgument | None:
    """What to say where the server did not understand a name without a value."""
    return missing(text, given) if _parts(error)[0] == 1064 else None


def literal(value: Any, name: str = "") -> str:
    """A value in SQL's own form, which in the sessions of :func:`connect` can never be anything but a value.

    Raises:
        WrongArgument: MariaDB has no such value.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return f"({value})"
    if isinstance(value, float) and value - value == 0:
        return f"({value!r}e0)" if "e" not in repr(value) else f"({value!r})"
    if isinstance(value, Decimal) and value.is_finite():
        return f"({value:f})"
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return f"'{value.isoformat(' ')}'"
    if isinstance(value, dt.date | dt.time | uuid.UUID):
        return f"'{value}'"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise WrongArgument(f"`params` gives a `{name}` that is no text in Unicode") from None
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    raise WrongArgument(f"`params` gives a `{name}` that MariaDB cannot take: {value!r:.60}")
