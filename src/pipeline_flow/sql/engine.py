"""What a database engine does for the `sql` plugins, and where the engine of a URL is found.

An engine is a module of its own, imported when a URL names it; its ``ENGINE`` fills in :class:`Engine`. A driver that is
not installed is found out then.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline_flow.core import suggest
from pipeline_flow.errors import ConversionFailed, DestinationFailed, InternalError, WrongArgument
from pipeline_flow.plugins.base import Transaction
from pipeline_flow.sql import url
from pipeline_flow.sql.index import Extras
from pipeline_flow.sql.quote import quote, quote_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.dialect import Dialect
    from pipeline_flow.sql.pattern import Catalogue, Relation
    from pipeline_flow.sql.url import Database

_MODULES = {
    url.DUCKDB: "duckdb_engine",
    url.SQLITE: "sqlite_engine",
    url.POSTGRESQL: "postgres_engine",
    url.MARIADB: "mariadb_engine",
    url.SQLALCHEMY: "sqlalchemy_engine",
}
_EXTRAS = {url.POSTGRESQL: "postgres", url.MARIADB: "mariadb", url.SQLALCHEMY: "sqlalchemy"}


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Selection:
    """What an extract reads: a query, or a table and which of its columns and rows.

    Attributes:
        query: one SELECT with ``:name`` where a value of ``params`` belongs; empty where a table is read.
        params: values by name.
        table: the parts of the table's name.
        columns: names; empty for all.
        where: a condition in SQL; it may use ``params`` too.
        types: the types that columns shall have, by name, as DuckDB writes them.
    """

    query: str = ""
    params: Mapping[str, Any] = field(default_factory=_nothing)
    table: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    where: str = ""
    types: Mapping[str, str] = field(default_factory=_nothing)

    def sql(self, dialect: Dialect) -> str:
        """The SELECT, values not bound yet."""
        if self.query:
            return self.query
        columns = quote_all(self.columns, dialect) if self.columns else "*"
        condition = f" where (\n{self.where}\n)" if self.where else ""
        return f"select {columns} from {quote(*self.table, dialect=dialect)}{condition}"

    def check_names(self, names: Sequence[str]) -> None:
        """Whether the columns that are read have distinct names, and all that ``types`` names are among them.

        Raises:
            ConversionFailed: two columns have one name.
            WrongArgument: ``types`` names a column that is not read.
        """
        for name, times in Counter(names).items():
            if times > 1:
                raise ConversionFailed(
                    f"the query gives the column `{name}` {'twice' if times == 2 else f'{times} times'}",
                    hint=f"rename one: … as other_{name}",
                )
        for name in self.types:
            if name not in names:
                raise WrongArgument(
                    f"`columns` names the column `{name}`, which is not read",
                    hint=suggest.hint(name, names, "there are"),
                )

    def check_untyped(self, dialect: Dialect) -> None:
        """Refuses ``types``, where every value has a type of its own already.

        Raises:
            WrongArgument: types are given.
        """
        if self.types:
            raise WrongArgument(
                f"`columns` gives types, and {dialect.name}'s values have theirs",
                hint="cast in the query: select cast(amount as decimal(20, 4)) as amount, …",
            )


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a load writes a table.

    Attributes:
        key: the columns that tell rows apart; they become the primary key of a table that is made.
        types: the types of columns of a table that is made, by name, in the database's own words.
        extras: the indexes and comments that the table has in the end.
        bulk: ``load_data``, where MariaDB is to be sent the rows so; else empty.
    """

    key: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=_nothing)
    extras: Extras = Extras()  # noqa: RUF009 - frozen
    bulk: str = ""

    @property
    def indexed(self) -> set[str]:
        """The columns of the key and of the indexes."""
        return {*self.key, *(name for index in self.extras.indexes for name in index.columns)}


@dataclass(frozen=True, slots=True)
class Probe:
    """What a connection that was tried tells.

    Attributes:
        version: the product and its version.
        user: as whom the database knows us; empty where it knows nobody.
        encryption: such as ``TLSv1.3``; empty where the connection is plain, or there is none; ``None`` where the driver does
            not tell.
        refusals: what we may not do, by what that is (``read``, ``write``), in the database's words; empty text where
            we may.
    """

    version: str
    user: str = ""
    encryption: str | None = ""
    refusals: Mapping[str, str] = field(default_factory=_nothing)


class TableTransaction(Transaction):
    """The loads of one commit group into one database: one connection, one transaction.

    Its commit makes all their rows visible, and whatever record of them belongs to the same transaction.
    """

    database: Database

    @abstractmethod
    async def write(
        self, context: Context, table: Sequence[str], mode: str, stream: BatchStream, options: WriteOptions
    ) -> int:
        """Writes ``stream`` into ``table`` where nobody sees it before the commit, and gives the number of rows.

        Args:
            context: the load's.
            table: the parts of the table's name. A missing schema or table is made.
            mode: ``append`` or ``replace``.
            stream: the rows. Closed in any case.
            options: how.

        Raises:
            DestinationFailed: the table has other columns, or the database refuses the rows.
            ConversionFailed: the database cannot hold a column's values.
            RetryableError: the connection was lost, or another transaction was in the way.
        """

    @abstractmethod
    async def execute(self, context: Context, statements: str, params: Mapping[str, Any]) -> int | None:
        """Runs statements inside the transaction; they see the rows of the loads before them.

        As :meth:`Engine.execute`, but that their effect comes and goes with the rows.

        Args:
            context: that of the hook which runs them.
            statements: separated by semicolons.
            params: each statement gets those that it uses.
        """


class Snapshot(ABC):
    """One state of a database, for reading several tables out of it, one after the other. Every method blocks."""

    @abstractmethod
    def catalogue(self, *, every_schema: bool) -> Catalogue:
        """What tables and views there are, in the schemas of the path or in all but the system's.

        Raises:
            RetryableError: the connection was lost.
        """

    @abstractmethod
    def begin(self, relations: Sequence[Relation]) -> None:
        """Fixes the state in which these are read, where it is not fixed yet.

        Raises:
            SourceUnreadable: one is not there any more, or may not be read.
            RetryableError: the connection was lost.
        """

    @abstractmethod
    def read(self, relation: Relation) -> BatchStream:
        """The rows of one; the stream before it has ended or is closed. What it raises is what :meth:`Engine.extract` does."""

    @abstractmethod
    def close(self) -> None:
        """Ends the transaction and gives the connection back."""


class Engine(ABC):
    """One kind of database. Methods that are not coroutines block: call them in a thread."""

    dialect: ClassVar[Dialect]

    @abstractmethod
    def extract(self, context: Context, database: Database, selection: Selection) -> BatchStream:
        """Begins to read; the rows come as the stream is read.

        Raises:
            WrongArgument: the query is not one SELECT, or lacks a value.
            SourceUnreadable: the database, or a table, is not there or may not be read.
            QueryFailed: the database refuses the query.
            ConversionFailed: a value has no exact form. It may come while the stream is read.
            RetryableError: the connection was refused or lost, or the database is not ready yet.
        """

    @abstractmethod
    def snapshot(self, context: Context, database: Database) -> Snapshot:
        """Opens what several tables are read from. Close it.

        Raises:
            SourceUnreadable: there is no way in.
            RetryableError: the connection was refused or lost, or the database is not ready yet.
        """

    @abstractmethod
    async def begin(self, context: Context, database: Database) -> TableTransaction:
        """Connects and begins the transaction of a commit group.

        Raises:
            TargetUnwritable: the database is not there, or may not be written.
            RetryableError: the connection was refused or lost, or the database is not ready yet.
        """

    @abstractmethod
    def execute(
        self, context: Context, database: Database, statements: str, params: Mapping[str, Any]
    ) -> int | None:
        """Runs statements in one transaction, where the database can; each gets those ``params`` that it uses.

        Returns:
            How many rows were changed; ``None`` where no statement says.

        Raises:
            WrongArgument: a statement lacks a value, or ends the transaction.
            QueryFailed: the database refuses a statement, and none has taken effect; or the connection was lost during
                the commit, and nobody knows.
            RetryableError: the connection was lost, or another transaction was in the way; none has taken effect.
        """

    @abstractmethod
    def probe(self, database: Database) -> Probe:
        """Connects, asks, and tries to write in a transaction that is rolled back.

        Raises:
            RunError: there is no way in; the message says why.
        """


def of(database: Database) -> Engine:
    """The engine of a database.

    Raises:
        WrongArgument: its driver is not installed.
    """
    try:
        module = importlib.import_module(f"pipeline_flow.sql.{_MODULES[database.engine]}")
    except ImportError as error:  # a driver may be there and lack its library
        extra = _EXTRAS.get(database.engine)
        if extra is None or (error.name or "").startswith("pipeline_flow"):
            raise
        raise WrongArgument(
            f"{database} needs a driver that is not installed: {' '.join(str(error).split())}",
            hint=f"pip install 'pipeline-flow[{extra}]'",
        ) from None
    engine: Engine = module.ENGINE
    return engine


def joined(transaction: Transaction, database: Database) -> TableTransaction:
    """``transaction`` as what the first load of the group began.

    Raises:
        DestinationFailed: that load connects as another user.
    """
    if not isinstance(transaction, TableTransaction):
        raise InternalError(f"a load into {database} was handed a {type(transaction).__name__}")
    if transaction.database.user != database.user:
        raise DestinationFailed(
            f"two steps of this load phase write {database} as two users",
            hint="they share one transaction: give them one user, or put one of them into another pipeline or phase",
        )
    return transaction
