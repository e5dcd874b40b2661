"""1.0.8's load through any asynchronous driver of SQLAlchemy's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipeline_flow.errors import (
    ConversionFailed,
    DestinationFailed,
    InternalError,
    RetryableError,
    TargetUnwritable,
    WrongArgument,
)
from pipeline_flow.plugins.base import AsyncAdapterMixin, IAtomicLoadPlugin, Transaction
from pipeline_flow.secret import Secret
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from pipeline_flow.data import BatchStream

_INSTALL = "pip install 'pipeline-flow[sqlalchemy]'"


class AsyncSQLAlchemyQueryLoader(AsyncAdapterMixin, IAtomicLoadPlugin, plugin_name="sqlalchemy_query_loader"):
    """Runs a statement for each row, through an asynchronous driver of SQLAlchemy's, as 1.0.8 did.

    For databases that `sql` knows, new configurations take that: it is faster.

    The statement names columns of the data with a colon: `insert into sales (id, amount) values (:id, :amount)`. All rows
    are written in one transaction: all of them are there in the end, or none, unless the statement ends the transaction by
    itself, as MySQL's and MariaDB's DDL does. Loads of one pipeline into one database share it.

    Values are bound as Python's own: decimals, dates, times, bytes as they are; NaN and NaT of a pandas frame are null;
    times with a zone are in UTC. SQLite gets decimals, UUIDs, dates and times as text, and NaN is an error
    there. Needs the extra `sqlalchemy`, and the driver, which for MySQL and MariaDB is in it.
    """

    mode = "query"

    def __init__(
        self,
        plugin_id: str,
        db_user: Annotated[
            str, Field(description="Who connects; empty for a database in a file.", examples=["etl"])
        ],
        db_password: Annotated[
            str | Secret,
            Field(
                description="The password, as it is: nothing in it needs escaping.",
                examples=["${{ secrets.shop.password }}"],
            ),
        ],
        db_host: Annotated[
            str,
            Field(description="The server; empty for a database in a file.", examples=["db.example.com"]),
        ],
        db_port: Annotated[
            str,
            Field(description="The server's port; empty for the driver's own.", examples=["3306"]),
        ],
        db_name: Annotated[
            str,
            Field(
                description="The database; for SQLite its file, from the working folder.", examples=["shop"]
            ),
        ],
        query: Annotated[
            str,
            Field(
                min_length=1,
                description="One statement, run for each row; `:name` is the row's column of that name. `\\:` is a colon.",
                examples=["insert into sales (id, amount) values (:id, :amount)"],
            ),
        ],
        concurrency_limit: Annotated[
            int,
            Field(
                ge=1,
                description="Without effect: one transaction is one connection. 1.0.8 wrote that many batches at once, each on "
                "its own.",
                examples=[5],
            ),
        ] = 5,
        batch_size: Annotated[
            int,
            Field(ge=1, description="How many rows are handed to the driver at once.", examples=[10000]),
        ] = 100_000,
        driver: Annotated[
            str,
            Field(
                min_length=1,
                description="SQLAlchemy's name of the database and an asynchronous driver.",
                examples=["postgresql+psycopg", "sqlite+aiosqlite"],
            ),
        ] = "mysql+asyncmy",
    ) -> None:
        super().__init__(plugin_id)
        self._user, self._password = db_user, db_password
        self._host, self._port, self._name = db_host, db_port, db_name
        self.query = query
        self.concurrency_limit = concurrency_limit
        self.batch_size = batch_size
        self.driver = driver

    @property
    def destination(self) -> str:
        """The database's URL without user and password."""
        return f"{self.driver}://{self._host}:{self._port}/{self._name}"

    @property
    def target(self) -> str:
        """The statement: what it writes only the database knows."""
        return self.query

    async def begin(self) -> Transaction:
        """Connects and begins a transaction.

        Raises:
            WrongArgument: the extra `sqlalchemy` or the driver is not installed, or the driver is not asynchronous.
            RetryableError: the server cannot be reached.
            TargetUnwritable: the database refuses the connection.
        """
        try:
            from sqlalchemy.exc import SQLAlchemyError
        except ModuleNotFoundError:
            raise WrongArgument(
                "`sqlalchemy_query_loader` needs the package sqlalchemy, which is not installed",
                hint=_INSTALL,
            ) from None

        engine = self._engine()
        try:
            connection = await engine.connect()
        except (SQLAlchemyError, OSError) as error:
            await engine.dispose()
            text = f"{self.destination} cannot be connected to: {_text(error)}"
            if _is_network(error):
                raise RetryableError(
                    text, hint="correct `db_host` and `db_port`, or start the server"
                ) from None
            raise TargetUnwritable(text) from None
        except BaseException:
            await engine.dispose()
            raise
        return _Transaction(engine, connection, self._login())

    def _login(self) -> tuple[str, str]:
        return self._user, _plain(self._password)

    def _url(self) -> URL:
        from sqlalchemy import URL

        port = self._port
        if port and not port.isdecimal():
            raise WrongArgument(f"`db_port` is {port!r}, which is no number")
        user, password = self._login()
        return URL.create(
            self.driver,
            username=user or None,
            password=password or None,
            host=self._host or None,
            port=int(port) if port else None,
            database=self._name or None,
        )

    def _engine(self) -> AsyncEngine:
        try:
            from sqlalchemy.exc import ArgumentError, InvalidRequestError, NoSuchModuleError
            from sqlalchemy.ext.asyncio import create_async_engine
            from sqlalchemy.pool import NullPool
        except ModuleNotFoundError:
            raise WrongArgument(
                "`sqlalchemy_query_loader` needs the package sqlalchemy, which is not installed",
                hint=_INSTALL,
            ) from None

        try:
            return create_async_engine(self._url(), poolclass=NullPool, hide_parameters=True)
        except ModuleNotFoundError as error:
            raise WrongArgument(
                f"the driver `{self.driver}` needs the package {error.name}, which is not installed",
                hint=_INSTALL if error.name in ("greenlet", "asyncmy") else f"pip install {error.name}",
            ) from None
        except NoSuchModuleError:
            raise WrongArgument(
                f"SQLAlchemy knows no driver `{self.driver}`",
                hint="write database+driver, such as postgresql+psycopg; some come with a package of their own",
            ) from None
        except InvalidRequestError:
            raise WrongArgument(
                f"the driver `{self.driver}` is not asynchronous",
                hint="take mysql+asyncmy, postgresql+psycopg, postgresql+asyncpg or sqlite+aiosqlite",
            ) from None
        except ArgumentError as error:
            raise WrongArgument(f"`driver`: {error}") from None

    async def stage(self, data: BatchStream, transaction: Transaction) -> int:
        """Runs the statement for each row inside the transaction and gives the number of rows.

        Raises:
            UnknownColumn: the statement names a column that the data does not have.
            ConversionFailed: a value is finer than a microsecond.
            DestinationFailed: the database refuses the statement, or another load of the group connects as another user.
        """
        from sqlalchemy import text
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(transaction, _Transaction):
            raise InternalError(f"a load through SQLAlchemy was handed a {type(transaction).__name__}")
        if transaction.login != self._login():
            raise DestinationFailed(
                f"two loads of this pipeline write {self.destination} as two users",
                hint="loads of one pipeline into one database share one transaction: give them one user, or a pipeline each",
            )
        statement = text(self.query)
        names = list(statement.compile().params)
        dialect = transaction.connection.dialect.name
        done = 0
        async with data:
            schema = await data.ready()
            columns = [verb.find(schema, name, "query") for name in names]
            async for batch in data:
                for start in range(0, batch.num_rows, self.batch_size):
                    part = batch.slice(start, self.batch_size)
                    rows = await self.async_wrap(_rows, part, columns, names, dialect)
                    try:
                        await transaction.connection.execute(statement, rows)
                    except (SQLAlchemyError, OSError) as error:
                        raise _refused(error, done, part.num_rows) from None
                    except (
                        TypeError,
                        ValueError,
                        OverflowError,
                        KeyError,
                    ) as error:  # a driver that knows no such type
                        raise ConversionFailed(
                            f"the driver `{self.driver}` cannot bind a value of rows {done + 1} to {done + part.num_rows}: "
                            f"{type(error).__name__}: {error}",
                            hint="cast the column in a transform",
                        ) from None
                    done += part.num_rows
        return done


class _Transaction(Transaction):
    """A connection with a transaction that began with its first statement, as SQLAlchemy does it."""

    def __init__(self, engine: AsyncEngine, connection: AsyncConnection, login: tuple[str, str]) -> None:
        self._engine = engine
        self.connection = connection
        self.login = login

    async def commit(self) -> None:
        """See :meth:`Transaction.commit`."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            await self.connection.commit()
        except (SQLAlchemyError, OSError) as error:
            raise DestinationFailed(f"the database refused the commit: {_text(error)}") from None
        await self._close()

    async def abort(self) -> None:
        """See :meth:`Transaction.abort`."""
        await self._close()

    async def _close(self) -> None:
        try:
            await self.connection.close()  # rolls back what is not committed
        finally:
            await self._engine.dispose()


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def _text(error: BaseException) -> str:
    """What the driver said, without SQLAlchemy's additions and on one line."""
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split()) or type(origin).__name__


def _is_network(error: BaseException) -> bool:
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError):
            return True
        found = getattr(found, "orig", None) or found.__cause__ or found.__context__
    return False


def _refused(error: SQLAlchemyError | OSError, done: int, count: int) -> Exception:
    text = f"the database refused rows {done + 1} to {done + count}: {_text(error)}"
    if isinstance(error, OSError) or getattr(error, "connection_invalidated", False):
        return RetryableError(f"the connection was lost; {text}")
    return DestinationFailed(text, hint="nothing was written; a smaller `batch_size` narrows the place")


# ---------------------------------------------------------------------------------------------- values


def _rows(batch: pa.RecordBatch, columns: list[int], names: list[str], dialect: str) -> list[dict[str, Any]]:
    values = [_values(batch.column(index), batch.schema.field(index).name, dialect) for index in columns]
    if not values:
        return [{} for _ in range(batch.num_rows)]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _values(array: pa.Array, name: str, dialect: str) -> list[Any]:
    """The values of a column as drivers take them: Python's own times end at microseconds."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds, type_ = pa.types, array.type
    if kinds.is_dictionary(type_):
        array, type_ = array.dictionary_decode(), type_.value_type
    try:
        if kinds.is_timestamp(type_):
            array = array.cast(pa.timestamp("us", "UTC" if type_.tz else None))
        elif kinds.is_duration(type_):
            array = array.cast(pa.duration("us"))
        elif kinds.is_time64(type_):
            array = array.cast(pa.time64("us"))
    except pa.ArrowInvalid as error:
        raise ConversionFailed(
            f"the column `{name}` has a time finer than a microsecond: {error}",
            hint="cast it in a transform: columns: {…: TIMESTAMP}",
        ) from None
    if dialect == "sqlite" and kinds.is_floating(type_) and pc.any(pc.is_nan(array)).as_py():
        raise ConversionFailed(
            f"the column `{name}` holds NaN, which SQLite would store as null",
            hint="make it null in a transform: nullif(…, 'nan')",
        )
    found: list[Any] = array.to_pylist()
    if dialect == "sqlite" and (
        kinds.is_timestamp(type_) or kinds.is_decimal(type_) or _is_text_there(type_)
    ):
        return [None if value is None else _sqlite_text(value) for value in found]
    if isinstance(type_, pa.UuidType) and dialect != "postgresql":
        return [None if value is None else str(value) for value in found]
    return found


def _is_text_there(type_: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_date(type_) or pa.types.is_time(type_) or isinstance(type_, pa.UuidType))


def _sqlite_text(value: Any) -> str:
    import datetime as dt

    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)
