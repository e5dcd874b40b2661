"""PostgreSQL: connecting, cancelling, statements with values, and errors in words that help."""

from __future__ import annotations

import os
import re
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql as native
from psycopg.pq import TransactionStatus

from pipeline_flow.core.context import CancelledByRun
from pipeline_flow.core.suggest import nearest
from pipeline_flow.errors import (
    DestinationFailed,
    QueryFailed,
    RetryableError,
    SourceUnreadable,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.sql import params, pool, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline_flow.core.context import Context
    from pipeline_flow.sql.pool import Lease
    from pipeline_flow.sql.url import Database

    Connection = psycopg.Connection[tuple[Any, ...]]

_COUNTED = ("INSERT", "UPDATE", "DELETE", "MERGE")
_CONNECT_SECONDS = 10
_CANCEL_SECONDS = 5.0
# What values look like as text, whatever the server's settings are; a load may wait longer for its commit than a server
# lets idle transactions live.
_SETTINGS = (
    "set datestyle = 'ISO, YMD'; set intervalstyle = 'iso_8601'; set timezone = 'UTC'; set extra_float_digits = 1; "
    "set bytea_output = 'hex'; set xmlbinary = 'base64'; set standard_conforming_strings = on; "
    "set idle_in_transaction_session_timeout = 0; "
    # From version 14 on: a server that works for a client that was killed finds out and stops.
    "select set_config(name, '10s', false) from pg_settings where name = 'client_connection_check_interval'"
)
_SERVER_SETTINGS = ("statement_timeout", "lock_timeout")
_TRANSACTIONS = (
    "BEGIN",
    "START",
    "COMMIT",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "PREPARE TRANSACTION",
)


# ---------------------------------------------------------------------------------------------- connecting


def connect(database: Database, *, write: bool) -> Connection:
    """A connection without implicit transactions. Close it.

    Outside of this machine the server's certificate is verified unless the URL says otherwise.

    Raises:
        SourceUnreadable: there is no way in. With ``write``, TargetUnwritable.
        RetryableError: the connection was refused, or the server is not ready or has no connection to spare.
    """
    given = {name: value for name, value in database.options.items() if name not in _SERVER_SETTINGS}
    arguments: dict[str, Any] = {
        "host": database.host,
        "port": database.port,
        "dbname": database.name,
        "connect_timeout": str(_CONNECT_SECONDS),
        "application_name": "pipeline-flow",
        "client_encoding": "UTF8",
        "keepalives_idle": 30,  # seconds, then three questions: a server that went away is noticed within a minute
        "keepalives_interval": 10,
        "keepalives_count": 3,
        **({"user": database.user} if database.user else {}),
        **({"password": database.password.reveal()} if database.password is not None else {}),
        **_encryption(database, given),
        **given,
    }
    try:
        connection = psycopg.connect(**arguments, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise _not_connected(error, database, write=write) from None
    try:
        _set(connection, database)
    except psycopg.Error as error:
        connection.close()
        raise explain(error, database, write=write) from None
    return connection


def _set(connection: Connection, database: Database) -> None:
    connection.execute(_SETTINGS)
    for name in _SERVER_SETTINGS:
        if name in database.options:
            connection.execute("select set_config(%s, %s, false)", (name, database.options[name]))


class _Driver:
    """PostgreSQL's connections, for a pool."""

    def connect(self, database: Database) -> Connection:
        return connect(database, write=False)

    def clear(self, connection: Connection) -> None:
        state = connection.info.transaction_status
        if state in (TransactionStatus.ACTIVE, TransactionStatus.UNKNOWN):  # rows are still on their way
            raise psycopg.OperationalError("the connection is in use")
        if state != TransactionStatus.IDLE:
            connection.execute("rollback")
        connection.execute("discard all")

    def prepare(self, connection: Connection, database: Database) -> None:
        _set(connection, database)

    def close(self, connection: Connection) -> None:
        connection.close()


def lend(context: Context, database: Database) -> Lease[Connection]:
    """A connection as :func:`connect` gives, from the run's pool.

    Raises:
        CancelledByRun: the run wants the step to stop while it waits.
        SourceUnreadable: there is no way in.
        RetryableError: the connection was refused, or the server is not ready or has no connection to spare.
    """
    return pool.lend(context, database, _Driver())


def _encryption(database: Database, given: Mapping[str, str]) -> dict[str, str]:
    """Who the server is has to be proven, unless it is this machine or the user says what shall hold."""
    if "sslmode" in given or "PGSSLMODE" in os.environ:
        mode = given.get("sslmode") or os.environ["PGSSLMODE"]
    else:
        mode = "prefer" if database.is_local else "verify-full"
    if mode != "verify-full" or "sslrootcert" in given or "PGSSLROOTCERT" in os.environ:
        return {"sslmode": mode}
    # The driver's own OpenSSL looks where the certificates were on the machine that built it.
    file = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    own = Path("~/.postgresql/root.crt").expanduser()
    if own.exists():
        return {"sslmode": mode}
    return {"sslmode": mode, "sslrootcert": file or "system"}


def _not_connected(error: psycopg.Error, database: Database, *, write: bool) -> Exception:
    text = _plain(str(error))
    low = text.lower()
    failed = TargetUnwritable if write else SourceUnreadable
    user = f"`{database.user}`" if database.user else "this machine's user"
    if "name or service not known" in low or "could not translate host name" in low or "nodename nor" in low:
        return failed(f"the host {database.host} is not known", hint="look at the host's name in the URL")
    if "temporary failure in name resolution" in low:
        return RetryableError(
            f"the host {database.host} cannot be looked up now", hint="is the network there?"
        )
    if "password authentication failed" in low:
        return failed(
            f"{database} refused the password of {user}", hint="look at the user and the password in the URL"
        )
    if "no password supplied" in low:
        return failed(
            f"{database} wants a password for {user}",
            hint="write it into the URL, best as a secret: postgresql://user:${{ secrets.name }}@host/database",
        )
    if "no pg_hba.conf entry" in low:
        return failed(
            f"the server does not let {user} into {database} from here: {text}",
            hint="its administrator allows that in pg_hba.conf",
        )
    if re.search(r'database ".*" does not exist', low):
        return failed(
            f"there is no database `{database.name}` at {database.server}", hint="look at the URL's end"
        )
    if re.search(r'role ".*" does not exist', low):
        return failed(f"{database} has no user {user}", hint="look at the user in the URL")
    if "certificate" in low or "root.crt" in low or "ssl" in low:
        return failed(
            f"the connection to {database} cannot be trusted: {text}",
            hint="give the authority's file (?sslrootcert=ca.pem); where nobody can listen, ?sslmode=disable or "
            "?sslmode=require (encrypted, but anybody may be the server)",
        )
    if "too many clients" in low or "remaining connection slots" in low or "too many connections" in low:
        return RetryableError(
            f"{database} has no connection to spare: {text}",
            hint="lower `parallelism` or `concurrency`, or raise the server's max_connections",
        )
    if "starting up" in low or "shutting down" in low or "recovery mode" in low:
        return RetryableError(f"{database} is not ready: {text}")
    if "timeout expired" in low or "timed out" in low:
        return RetryableError(
            f"{database} does not answer",
            hint="host and port in the URL, a firewall; ?connect_timeout=60 waits longer",
        )
    if "connection refused" in low or "no such file or directory" in low:
        return RetryableError(
            f"nothing listens at {database.server}",
            hint="is the server running? look at host and port in the URL",
        )
    return failed(f"{database} cannot be reached: {text}")


def interruptible(context: Context, connection: Connection) -> Callable[[], None]:
    """Cancels what the connection is doing when the run wants the step to stop; the result takes that back.

    A cancellation is a connection of its own, which may take its time, and the run asks from its event loop.
    """
    busy = threading.Lock()

    def cancel() -> None:
        try:
            connection.cancel_safe(timeout=_CANCEL_SECONDS)
        except psycopg.Error:
            return  # it is gone, or the run will ask again
        finally:
            busy.release()

    def start() -> None:
        if busy.acquire(blocking=False):
            threading.Thread(target=cancel, name="pipeline-flow-cancel", daemon=True).start()

    return context.on_cancel(start)


# ---------------------------------------------------------------------------------------------- errors


def explain(
    error: psycopg.Error,
    database: Database,
    *,
    write: bool,
    context: Context | None = None,
    connection: Connection | None = None,
    text: str = "",
    shift: int = 0,
    row_of: Callable[[int], int] = lambda line: line,
) -> Exception:
    """PostgreSQL's error as ours.

    Args:
        error: what the driver raised.
        database: where.
        write: whether rows were being written; else an extract reads, or statements run.
        context: the step's; when the run is over, the error is that of a cancelled step.
        connection: tells whether it is broken, and what tables there are. It may be in a failed transaction.
        text: the statement.
        shift: characters before ``text`` in what was sent.
        row_of: the row that a line of COPY's input belongs to.
    """
    if context is not None and context.cancelled:
        return CancelledByRun()
    state, said = error.sqlstate or "", _said(error)
    failed = DestinationFailed if write else QueryFailed
    denied = TargetUnwritable if write else SourceUnreadable
    if is_lost(error, connection):
        return RetryableError(f"the connection to {database} was lost: {said}")
    if state in ("40001", "40P01"):
        return RetryableError(
            f"{database}: {said}", hint="another transaction was in the way; `retry` tries again"
        )
    if state == "55P03":
        return RetryableError(
            f"{database}: {said}", hint="another transaction holds the table longer than lock_timeout"
        )
    if state == "57014":
        return failed(
            f"PostgreSQL: {said}",
            hint="a statement took longer than statement_timeout; ?statement_timeout=1h",
        )
    if state in ("53100", "53200", "53300", "53400"):
        return failed(f"the server of {database} has run out of something: {said}")
    if state == "42501":
        return denied(f"PostgreSQL: {said}", hint="the owner gives the permission with GRANT")
    if state == "3F000" and write:
        return denied(
            f"PostgreSQL: {said}", hint="no schema of the search path may be used: write schema.table"
        )
    if state == "25006":
        advice = "the server only reads (a standby?)" if write else "an extract only reads"
        return failed(f"PostgreSQL: {said}", hint=advice)
    if state in ("42P01", "3F000") and not write:
        return SourceUnreadable(
            f"PostgreSQL: {said}{_where(error, text, shift)}", hint=_nearest_table(connection, said)
        )
    if state in ("22021", "22P05"):
        return failed(
            f"PostgreSQL: {said}{_context(error, row_of)}",
            hint="PostgreSQL's text has no null character; remove it before",
        )
    return failed(
        f"PostgreSQL: {said}{_where(error, text, shift)}{_context(error, row_of)}",
        hint=_plain(error.diag.message_hint),
    )


def commit(connection: Connection, database: Database) -> None:
    """Commits what statements did.

    Raises:
        QueryFailed: the connection was lost meanwhile, and nobody knows; so that nobody tries again.
        psycopg.Error: PostgreSQL refused.
    """
    try:
        connection.execute("commit")
    except psycopg.Error as error:
        if not is_lost(error, connection):
            raise
        raise QueryFailed(
            f"the connection to {database} was lost during the commit: whether the statements took effect is not known",
            hint="look into the tables before you run again",
        ) from None


def is_lost(error: psycopg.Error, connection: Connection | None) -> bool:
    """Whether an error is the end of the connection: nobody knows what became of the last statement."""
    state = error.sqlstate or ""
    if connection is not None and connection.broken:
        return True
    if not state:
        return isinstance(error, psycopg.OperationalError)
    return state[:2] in ("08", "57") and state != "57014"


def _said(error: psycopg.Error) -> str:
    primary, detail = error.diag.message_primary, error.diag.message_detail
    if primary is None:
        return _plain(str(error))
    return _plain(primary) + (f" ({_plain(detail)})" if detail else "")


def _plain(text: str | None) -> str:
    """One line of the message, without what repeats the connection's data."""
    joined = " ".join((text or "").split())
    return re.sub(
        r'^(?:connection failed: )?connection to server at "[^"]*"(?: \([^)]*\))?, port \d+ failed: (?:FATAL: )?',
        "",
        joined,
    )


def _where(error: psycopg.Error, text: str, shift: int) -> str:
    position = error.diag.statement_position
    if not text or not position or not 0 < int(position) - shift <= len(text) + 1:
        return ""
    at = int(position) - shift - 1
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
    word = re.match(r"\S{1,40}", text[at:])
    return f" at line {line}, column {column}" + (f": `{word[0]}`" if word else "")


def _context(error: psycopg.Error, row_of: Callable[[int], int]) -> str:
    """Row and column, where COPY says them: `COPY t, line 3, column a: "x"`."""
    found = re.search(
        r"^COPY .*?, line (\d+)(?:, column (.*?))?(?::|$)", error.diag.context or "", re.DOTALL | re.MULTILINE
    )
    if found is None:
        return ""
    return f"; row {row_of(int(found[1])):,}" + (f", column `{found[2]}`" if found[2] else "")


def _nearest_table(connection: Connection | None, said: str) -> str:
    missing = re.search(r'"(.+?)"', said)
    if connection is None or missing is None or connection.broken:
        return ""
    try:
        connection.execute("rollback")
        rows = connection.execute(
            "select case when pg_table_is_visible(c.oid) then c.relname else n.nspname || '.' || c.relname end "
            "from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'v', 'm', 'f', 'p') "
            "and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_%' order by 1 limit 5000"
        ).fetchall()
    except psycopg.Error:
        return ""
    near = nearest(missing[1], [row[0] for row in rows])
    return f"did you mean `{near}`?" if near else ""


# ---------------------------------------------------------------------------------------------- statements

# What may hide a semicolon. In E'…' a backslash hides a quote.
_PIECE = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|(?P<comment>/\*)|"""
    r"""(?P<tag>\$(?:[A-Za-z_\x80-\uffff][\w\x80-\uffff]*)?\$).*?(?P=tag)|(?P<atomic>\bbegin\s+atomic\b)|"""
    r"""(?P<case>\bcase\b)|(?P<end>\bend\b)|(?P<semicolon>;)""",
    re.DOTALL | re.IGNORECASE,
)


def statements(text: str) -> Iterator[str]:
    """The statements of a script, without their semicolons; those that hold nothing but comments are left out."""
    start = position = depth = 0
    bare: list[str] = []  # the statement's text without comments, to see whether there is any
    while found := _PIECE.search(text, position):
        bare.append(text[position : found.start()])
        position = found.end()
        if found["comment"]:
            position = _after_comment(text, found.start())
        elif found["atomic"] or (found["case"] and depth):
            depth += 1
        elif found["end"] and depth:
            depth -= 1
        elif found["semicolon"] and not depth:
            if "".join(bare).strip():
                yield text[start : found.start()].strip()
            start, bare = position, []
            continue
        if not found["comment"] and not found[0].startswith("--"):
            bare.append(found[0])
    bare.append(text[position:])
    if "".join(bare).strip():
        yield text[start:].strip()


def _after_comment(text: str, start: int) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return start + mark.end()
    return len(text)


def first_words(statement: str) -> str:
    """The first two words of a statement, in upper case, after its comments."""
    rest = statement
    while True:
        rest = rest.lstrip()
        if rest.startswith("--"):
            rest = rest.partition("\n")[2]
        elif rest.startswith("/*"):
            rest = rest[_after_comment(rest, 0) :]
        else:
            return " ".join(rest.upper().split(None, 2)[:2])


def is_transaction(statement: str) -> bool:
    """Whether a statement begins or ends a transaction."""
    words = first_words(statement)
    return words in _TRANSACTIONS or words.partition(" ")[0] in _TRANSACTIONS


def inlined(connection: Connection, text: str, given: Mapping[str, Any]) -> str:
    """``text`` with the values of ``given`` in the places of their names, as literals that the driver writes.

    COPY, and statements that create something, take no values from outside. The driver's literals are made for this
    connection (its encoding, its settings), so that a value can never be anything but one.

    Raises:
        WrongArgument: PostgreSQL has no such value.
    """

    def literal(name: str) -> str:
        try:
            return f"({native.Literal(given[name]).as_string(connection)})"
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise WrongArgument(
                f"`params` gives a `{name}` that PostgreSQL cannot take: {_plain(str(error))}"
            ) from None

    return params.replaced(text, dict.fromkeys(given, literal))


def run(
    context: Context, connection: Connection, database: Database, text: str, given: Mapping[str, Any]
) -> int | None:
    """Runs a script inside the connection's transaction; see :meth:`Engine.execute` for the rest."""
    parts = list(statements(text))
    if any(is_transaction(part) for part in parts):
        raise script.own_transaction()
    take_back = interruptible(context, connection)
    affected: list[int] = []
    running = ""
    try:
        for part in parts:
            context.check()
            own = {name: given[name] for name in params.names(part) if name in given}
            running = inlined(connection, part, own)
            cursor = connection.execute(running.encode())
            said = cursor.statusmessage or ""
            made = said.startswith("SELECT") and first_words(part).startswith("CREATE")
            if said.startswith(_COUNTED) or made:
                affected.append(cursor.rowcount)
    except psycopg.Error as error:
        missing = params.missing(running, {}) if error.sqlstate == "42601" else None
        raise missing or explain(
            error, database, write=False, context=context, connection=connection, text=running
        ) from None
    finally:
        take_back()
    return sum(affected) if affected else None
