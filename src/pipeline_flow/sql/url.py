"""Database URLs and their canonical form, by which steps find out that they mean the same database."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote, unquote_plus

from pydantic import AfterValidator, Field

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import WrongArgument
from pipeline_flow.secret import MASK, Secret, mask_url
from pipeline_flow.sql import product

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DUCKDB = "duckdb"
SQLITE = "sqlite"
POSTGRESQL = "postgresql"
MARIADB = "mariadb"
SQLALCHEMY = "sqlalchemy"
OWN = (DUCKDB, SQLITE, POSTGRESQL, MARIADB)
ENGINES = (*OWN, SQLALCHEMY)
_SCHEMES = {"postgres": POSTGRESQL, "mysql": MARIADB} | {name: name for name in OWN}
_PORTS = {POSTGRESQL: 5432, MARIADB: 3306}
_TLS = ("sslmode", "sslrootcert", "sslcert", "sslkey")
_OPTIONS = {
    POSTGRESQL: (
        *_TLS, "connect_timeout", "application_name", "statement_timeout", "lock_timeout", "host",
    ),
    MARIADB: (*_TLS, "connect_timeout", "read_timeout", "write_timeout", "local_infile", "host"),
}  # fmt: skip
_NAMES = {DUCKDB: "DuckDB", SQLITE: "SQLite", POSTGRESQL: "PostgreSQL", MARIADB: "MariaDB"}
_FORMS = (
    "duckdb:///file.duckdb, sqlite:///file.db (four slashes before an absolute path), "
    "postgresql://user:password@host:5432/database or mariadb://user:password@host:3306/database"
)
_OTHERS = "; for others, their URL of SQLAlchemy's, such as oracle+oracledb://user:password@host:1521/?service_name=shop"


@dataclass(frozen=True, slots=True)
class Database:
    """A database, in a file or behind a server.

    Attributes:
        engine: ``duckdb``, ``sqlite``, ``postgresql``, ``mariadb`` (which is MySQL's, too), or ``sqlalchemy`` for any other,
            and where a driver is named.
        path: the file's absolute path, where the database is a file.
        host: the server's name or address, in lower case; for a socket the folder that it is in.
        port: the server's port.
        name: the database at the server.
        user: who connects; empty where the driver shall choose.
        password: never shown.
        options: what stood after `?`, by name; for SQLAlchemy a secret may be among it.
        scheme: how the URL called the database: ``mysql`` is not quite ``mariadb``; for SQLAlchemy with the driver.
    """

    engine: str
    path: Path = Path()
    host: str = ""
    port: int = 0
    name: str = ""
    user: str = ""
    password: Secret | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False, repr=False)
    scheme: str = field(default="", compare=False)

    @property
    def is_server(self) -> bool:
        """Whether a server answers for it."""
        if self.engine == SQLALCHEMY:
            return not product.of(self.scheme).is_file
        return self.engine in _PORTS

    @property
    def is_local(self) -> bool:
        """Whether the way to it leaves this machine nowhere: a file, a socket, or the loopback."""
        if not self.is_server or self.host.startswith("/") or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def url(self) -> str:
        """The canonical URL: the same text for every way to write the same database.

        It has no password, no options and no user either: whoever writes, the tables are the same. For SQLAlchemy it has the
        options, since they may say which database it is, but no secret among them.
        """
        if self.engine == SQLALCHEMY:
            return self._foreign_url()
        if not self.is_server:
            return f"{self.engine}:///{self.path.as_posix()}"
        return f"{self.engine}://{self.server}/{self.name}"

    def _foreign_url(self) -> str:
        if not self.is_server:
            return f"{self.scheme}:///{self.path.as_posix()}"
        known = {name: product.public(name, value) for name, value in sorted(self.options.items())}
        pairs = [f"{quote(name)}={quote(value, safe='')}" for name, value in known.items() if value]
        return f"{self.scheme}://{self.server.lower()}/{self.name}{'?' if pairs else ''}{'&'.join(pairs)}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not show: the password, and secrets among the options."""
        found = [] if self.password is None else [self.password.reveal()]
        if self.engine == SQLALCHEMY:
            for name, value in self.options.items():
                found += product.secrets_in(name, value)
        return tuple(text for text in found if text)

    @property
    def server(self) -> str:
        """Host and port, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host

    def __str__(self) -> str:
        if self.engine == SQLALCHEMY:
            kind = product.of(self.scheme).label
        else:
            kind = "MySQL" if self.scheme == "mysql" else _NAMES[self.engine]
        if not self.is_server:
            return f"the {kind} file {self.path}"
        name = f" {self.name}" if self.name else ""
        return f"the {kind} database{name}{' at ' + self.server if self.server else ''}"


def is_known(scheme: str) -> bool:
    """Whether URLs of databases begin so."""
    return scheme.lower() in _SCHEMES


def parse(url: str | Secret, engines: Sequence[str] = ENGINES) -> Database:
    """The database behind a URL. Relative paths start from the working folder.

    Raises:
        WrongArgument: the URL has another form, or names an engine that is not among ``engines``.
    """
    try:
        return _parse(url.reveal() if isinstance(url, Secret) else url, engines)
    except ValueError as error:
        text = "the URL of the database cannot be read" if isinstance(url, Secret) else str(error)
        raise WrongArgument(text, hint=f"write {_FORMS}{_OTHERS if SQLALCHEMY in engines else ''}") from None


def _parse(text: str, engines: Sequence[str]) -> Database:
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon:
        raise ValueError(f"`{_shown(text)}` is not the URL of a database: write {_FORMS}")
    engine = _SCHEMES.get(scheme, SQLALCHEMY)
    if engine not in engines or (engine == SQLALCHEMY and product.find(scheme) is None):
        raise ValueError(_unknown(scheme, engines))
    if engine == SQLALCHEMY:
        return _foreign(text, scheme, rest)
    if engine in _PORTS:
        return _server(text, engine, scheme, rest)
    host, slash, path = rest.partition("/")
    if host or not slash:
        raise ValueError(f"`{_shown(text)}` names a host where a file is expected: write {_FORMS}")
    if "?" in path:
        raise ValueError(f"`{_shown(text)}` has options after `?`, and none are known")
    path = unquote(path)
    if not path or path == ":memory:":
        raise ValueError("a database in memory ends with the step that opens it: name a file")
    return Database(engine, Path(path).absolute().resolve())


def _unknown(scheme: str, engines: Sequence[str]) -> str:
    name, plus, driver = scheme.partition("+")
    own = [engine for engine in engines if engine != SQLALCHEMY]
    if SQLALCHEMY not in engines:
        if name in _SCHEMES and plus:
            return f"`{scheme}` names a driver, and this plugin works without: write {name}://"
        known, what = own, "it knows"
        text = f"`{scheme}` is not a database that this plugin knows"
    else:
        known, what = [*own, *(item for item in product.PRODUCTS if item not in own)], "known"
        text = f"`{scheme}` is not a database that is known, and no installed package brings it to SQLAlchemy"
    meant = _SCHEMES.get(name, name) if plus else name
    if plus and meant != name:
        return f"{text}: did you mean `{meant}+{driver}`?"
    return f"{text}: {hint(name, known, what)}"


def _foreign(text: str, scheme: str, rest: str) -> Database:
    """A database that SQLAlchemy reaches. What is right for its driver is not known here."""
    shown = _shown(text).partition("?")[0]
    name, _, driver = scheme.partition("+")
    if driver in product.ASYNCHRONOUS:
        instead = f"{name}:// (without a driver)" if name in _SCHEMES else f"{name}:// or another driver"
        raise ValueError(
            f"the driver `{driver}` only works on an event loop, and `sql` has none: write {instead}"
        )
    body, _, query = rest.partition("?")
    options = _foreign_options(shown, query)
    if product.of(scheme).is_file:
        host, slash, path = body.partition("/")
        if host or not slash:
            raise ValueError(f"`{shown}` names a host where a file is expected: write {scheme}:///file")
        path = unquote(path)
        if not path or path == ":memory:":
            raise ValueError("a database in memory ends with the step that opens it: name a file")
        found = Path(path).absolute().resolve()
        return Database(SQLALCHEMY, found, options=MappingProxyType(options), scheme=scheme)
    address, _, path = body.partition("/")
    if "@" in path and "@" not in address:
        raise ValueError(
            f"`{shown}` has a `/` before the `@`: in a user's name or a password write %2F for / (%3F for ?, %23 for #)"
        )
    credentials, at, place = address.rpartition("@")
    user, _, password = credentials.partition(":")
    host, port = _split_place(shown, place)
    return Database(
        SQLALCHEMY,
        host=host,
        port=int(port) if port else 0,
        name=_decoded(path, shown),
        user=_decoded(user, shown),
        password=Secret(_decoded(password, shown)) if at and password else None,
        options=MappingProxyType(options),
        scheme=scheme,
    )


def _foreign_options(shown: str, query: str) -> dict[str, str]:
    found = dict[str, str]()
    for item in query.split("&") if query else ():
        name, _, value = item.partition("=")
        name = unquote_plus(name)
        if name in found:
            raise ValueError(f"`{shown}`: the option `{name}` stands twice")
        if value:
            found[name] = unquote_plus(value)
    return found


def _server(text: str, engine: str, scheme: str, rest: str) -> Database:
    shown = _shown(text)
    address, slash, tail = rest.partition("/")
    if "@" in tail.partition("?")[0]:
        raise ValueError(
            f"`{shown}` has a `/` before the `@`: in a user's name or a password write %2F for / (%3F for ?, %23 for #)"
        )
    credentials, at, place = address.rpartition("@")
    user, _, password = credentials.partition(":")
    name, _, query = tail.partition("?")
    options = _options(shown, engine, query)
    host, port = _place(shown, engine, place)
    socket = options.pop("host", "")
    if socket and (host or not socket.startswith("/")):
        raise ValueError(
            f"`{shown}`: the option `host` is for the folder of a socket, in a URL without a host: "
            f"{scheme}:///{name}?host=/run/{scheme}"
        )
    host = socket or host
    if not host:
        raise ValueError(f"`{shown}` names no host: write {scheme}://user:password@host/{name or 'database'}")
    if not slash or not name:
        raise ValueError(f"`{shown}` names no database: write {scheme}://…@{place or 'host'}/database")
    if "/" in name:
        raise ValueError(f"`{shown}` has more parts than a database after the host")
    return Database(
        engine,
        host=host,
        port=port,
        name=_decoded(name, shown),
        user=_decoded(user, shown),
        password=Secret(_decoded(password, shown)) if at and password else None,
        options=MappingProxyType(options),
        scheme=scheme,
    )


def _place(shown: str, engine: str, place: str) -> tuple[str, int]:
    host, port = _split_place(shown, place)
    if "," in place:
        raise ValueError(f"`{shown}` names several hosts, and a step connects to one")
    return unquote(host).lower(), int(port) if port else _PORTS[engine]


def _split_place(shown: str, place: str) -> tuple[str, str]:
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = place.partition(":")
    if port and "," not in place and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"`{shown}`: what stands after the host is not a port (a number up to 65535)")
    return host, port


def _options(shown: str, engine: str, query: str) -> dict[str, str]:
    known, found = _OPTIONS[engine], dict[str, str]()
    for item in query.split("&") if query else ():
        name, equals, value = item.partition("=")
        name = unquote(name)
        if name not in known:
            raise ValueError(
                f"`{shown}` has the option `{name}`, which is not known: {hint(name, known, 'options are')}"
            )
        if not equals or name in found:
            fault = "stands twice" if name in found else "has no value"
            raise ValueError(f"`{shown}`: the option `{name}` {fault}")
        found[name] = unquote(value)
    return found


def _decoded(text: str, shown: str) -> str:
    decoded = unquote(text, errors="surrogateescape")
    if "\0" in decoded or any("\ud800" <= char <= "\udfff" for char in decoded):
        raise ValueError(f"`{shown}` has a part that is not UTF-8 text when it is decoded")
    return decoded


def _shown(text: str) -> str:
    """``text`` for messages. Where it is no URL after all, what stands before the last ``@`` may be a password."""
    scheme, colon, rest = text.partition("://")
    before, at, after = (rest if colon else text).rpartition("@")
    if not at:
        return mask_url(text)
    if not colon:
        return f"{MASK}@{after}"
    user, has_password, _ = before.partition(":")
    return f"{scheme}{colon}{user}:{MASK}@{after}" if has_password else f"{scheme}{colon}{before}@{after}"


def _check(url: str | Secret) -> str | Secret:
    if isinstance(url, str):
        _parse(url, ENGINES)
    return url


def _check_own(url: str | Secret) -> str | Secret:
    if isinstance(url, str):
        _parse(url, OWN)
    return url


_DESCRIPTION = (
    "The database: `duckdb:///file.duckdb`, `sqlite:///file.db`, "
    "`postgresql://user:password@host:5432/database` or `mariadb://user:password@host:3306/database`. Relative paths "
    "start from the working folder; an absolute path has four slashes. In a password, characters such as `@`, `:`, "
    "`/` and `%` are written as `%40`, `%3A`, `%2F` and `%25`. Options follow after `?`."
)
_EXAMPLES = [
    "duckdb:///warehouse.duckdb",
    "sqlite:////var/lib/shop/shop.db",
    "postgresql://etl@db.example.com/shop?sslmode=verify-full",
]

DatabaseUrl = Annotated[
    str | Secret,
    AfterValidator(_check),
    Field(
        description=f"{_DESCRIPTION} Any other database, and one of these with a driver that is named "
        "(`postgresql+psycopg2://…`), is reached through SQLAlchemy, by its URL: slower.",
        examples=[*_EXAMPLES, "oracle+oracledb://etl@db.example.com:1521/?service_name=shop"],
    ),
]
OwnDatabaseUrl = Annotated[
    str | Secret, AfterValidator(_check_own), Field(description=_DESCRIPTION, examples=_EXAMPLES)
]
