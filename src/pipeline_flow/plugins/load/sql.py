"""A table as a destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from pipeline_flow.errors import DestinationFailed
from pipeline_flow.plugins.base import IAtomicLoadPlugin, PluginConfig
from pipeline_flow.sql import engine, index, naming, pattern, url
from pipeline_flow.sql.engine import WriteOptions
from pipeline_flow.sql.index import Comments, IndexForms
from pipeline_flow.sql.naming import Naming
from pipeline_flow.sql.url import DatabaseUrl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from pipeline_flow.data import BatchStream, Tables
    from pipeline_flow.plugins.base import Transaction
    from pipeline_flow.sql.engine import TableTransaction


def _is_star(table: str) -> bool:
    try:
        return None in pattern.parse(table).name
    except ValueError:
        return False


class SqlLoad(IAtomicLoadPlugin, plugin_name="sql"):
    """Writes rows into a table of a DuckDB or SQLite file, or of a PostgreSQL or MariaDB database.

    A missing file, schema or table is made. Loads of one pipeline into the same database become visible together.

    Where several tables reach the load, a `*` in `table` stands for the name of each: `raw.*` writes all of them into the
    schema `raw`.

    `append` adds rows to what is there, columns matched by name. `replace` puts the new rows in the place of all old
    ones: readers see the old or the new table, never an empty one. In a DuckDB or SQLite file, a table with constraints,
    indexes or defaults keeps them and must have the data's columns; any other table takes the data's columns and types.
    At a server, a table always stays what it is, with its grants, views, indexes and constraints, and must have the
    data's columns. Rows are never changed to fit: a column that the table lacks, or whose type there could round or cut,
    is an error.

    `indexes` and `comments` belong to the load's transaction: they come with the rows, or not at all. A table that only
    has indexes which `indexes` names is made anew by `replace` like one without. MariaDB commits by itself where it makes
    an index, so there they come before the rows: with a table that is made, which goes again where the load fails; on a
    table that is there an index stays, and comments are left as they are.

    SQLite has few types of its own, so values are written as follows, under declared types that the `sql` extract
    brings back exactly: booleans as 0 and 1 (BOOLEAN); decimals of up to 15 digits as numbers (DECIMAL(p,s)), longer
    ones and unsigned 64-bit integers as text (DECIMAL_TEXT(p,s)); dates, times and timestamps as ISO text (DATE, TIME,
    TIMESTAMP, TIMESTAMP_NS, TIMESTAMPTZ in UTC); bytes as BLOB; lists, structs and maps as JSON text (JSON_TEXT).

    Any other database is written through SQLAlchemy, value by value: the last resort is not fast. All or nothing holds
    where it has transactions; in many of them making a table commits, so that is done beforehand.
    """

    class Config(PluginConfig):
        url: DatabaseUrl
        table: str = Field(
            description='The table: `table` or `schema.table`. Quote a name with a dot in it: `"a.b"`. One `*` in it stands '
            "for the name of each table that reaches the load.",
            examples=["sales", "shop.sales", "raw.*"],
        )
        mode: Literal["append", "replace"] = Field(
            description="`append` adds the rows, `replace` puts them in the place of all old ones.",
            examples=["replace"],
        )
        columns: dict[str, str] = Field(
            default_factory=dict,
            description="Types of columns, in the database's own words, for a table that is made. A type that could round "
            "or cut the data's values is an error.",
            examples=[{"zip": "varchar(10)", "amount": "numeric(18, 2)"}],
        )
        key: list[str] = Field(
            default_factory=list,
            description="The columns that tell rows apart: the primary key of a table that is made.",
            examples=[["order_id"]],
        )
        naming: Naming = Field(
            default="keep",
            description="Names of columns: `keep` leaves them as they are, `snake_case` makes `order_id` of `Order ID` and "
            "`orderId`. The other arguments name columns as the table has them.",
            examples=["snake_case"],
        )

        indexes: IndexForms = Field(
            default_factory=list,
            description="Indexes of the table: each a list of columns, or `{columns, unique, name}`. One that is missing is "
            "made when the rows are in; one that is there by its name stays, and is an error where it is on other columns. "
            "A name left out is made of the table's and the columns'.",
            examples=[[["customer_id"], {"columns": ["email"], "unique": True, "name": "by_email"}]],
        )
        comments: Comments = Field(
            default_factory=Comments,
            description="Comments, kept by the database, of the table and of columns by name: `{table, columns}`. SQLite has none.",
            examples=[{"table": "one row per order", "columns": {"amount": "in euro, with tax"}}],
        )

        bulk: Literal["load_data"] | None = Field(
            default=None,
            description="MariaDB only: `load_data` sends the rows with LOAD DATA LOCAL INFILE in place of INSERTs. The server "
            "must allow it (`local_infile`). A row that MariaDB would change or skip is an error, as with INSERTs.",
            examples=["load_data"],
        )

        @model_validator(mode="after")
        def _can_be_had(self) -> Self:
            engine = url.parse(self.url).engine
            if (self.comments.table or self.comments.columns) and engine == url.SQLITE:
                raise ValueError("SQLite keeps no comments: leave `comments` out")
            if engine == url.SQLALCHEMY:
                for name in ("indexes", "comments"):
                    if name in self.model_fields_set:
                        raise ValueError(
                            f"`{name}` is for DuckDB, SQLite, PostgreSQL and MariaDB: make them in transform_at_load"
                        )
            if self.bulk is not None and engine != url.MARIADB:
                raise ValueError("`bulk: load_data` is a way into MariaDB: leave `bulk` out")
            return self

        @field_validator("table")
        @classmethod
        def _is_table(cls, table: str) -> str:
            found = pattern.parse(table)
            if found.excludes:
                raise ValueError(f"`{table}` is not the name of a table")
            if None in found.schema or found.name.count(None) > 1:
                raise ValueError(f"`{table}`: one `*` stands for the table's name, as in raw.*")
            return table

        @model_validator(mode="after")
        def _types_are_of_one_table(self) -> Self:
            if self.columns and _is_star(self.table):
                raise ValueError(
                    "`columns` gives types for one table, and `table` stands for several: give that one a load of its own"
                )
            return self

    streams: ClassVar[bool] = True
    config: Config

    @classmethod
    def takes_tables_by(cls, args: Mapping[str, Any]) -> bool:
        """See :mod:`pipeline_flow.core.tables`."""
        table = args.get("table")
        return isinstance(table, str) and _is_star(table)

    @property
    def mode(self) -> str:
        """The write mode."""
        return self.config.mode

    @property
    def destination(self) -> str:
        """The database's canonical URL."""
        return url.parse(self.config.url).url

    @property
    def target(self) -> str:
        """The table, the same text for every way to write its name."""
        dialect = engine.of(url.parse(self.config.url)).dialect
        return dialect.target(self._parts(pattern.STAR))

    def targets(self, names: Sequence[str]) -> Sequence[str]:
        """The tables that are written.

        Raises:
            DestinationFailed: two of them are one here.
        """
        dialect = engine.of(url.parse(self.config.url)).dialect
        found: dict[str, str] = {}
        for name in names:
            other = found.setdefault(dialect.target(self._parts(name)), name)
            if other != name:
                raise DestinationFailed(
                    f"the tables `{other}` and `{name}` are one table in {dialect.name}",
                    hint="leave one of them out, or give it a load with a table of its own",
                )
        return tuple(found)

    def _parts(self, name: str) -> tuple[str, ...]:
        """The parts of the table's name, with ``name`` for a star."""
        found = pattern.parse(self.config.table)
        parts = [found.schema, found.name] if found.schema else [found.name]
        return tuple("".join(name if piece is None else piece for piece in part) for part in parts)

    async def begin(self) -> Transaction:
        """Opens the database and begins the transaction of all loads into it."""
        database = url.parse(self.config.url)
        return await engine.of(database).begin(self.context, database)

    async def stage(self, data: BatchStream | Tables, transaction: Transaction) -> int:
        """Writes ``data`` inside the transaction and gives the number of rows."""
        from pipeline_flow.data import Tables

        joined = engine.joined(transaction, url.parse(self.config.url))
        if not isinstance(data, Tables):
            return await self._write(self._parts(pattern.STAR), data, joined)
        self.targets(tuple(data))
        return sum([await self._write(self._parts(name), data[name], joined) for name in data])

    async def _write(self, table: tuple[str, ...], data: BatchStream, joined: TableTransaction) -> int:
        database, config = joined.database, self.config
        await data.ready()
        stream = naming.renamed(data, config.naming)
        naming.check_names(engine.of(database).dialect, table, stream.schema.names)
        naming.check_known("columns", config.columns, stream.schema.names)
        naming.check_known("key", config.key, stream.schema.names)
        naming.check_known("comments", config.comments.columns, stream.schema.names)
        extras = index.extras(config.indexes, config.comments, table[-1], engine.of(database).dialect)
        for item in extras.indexes:
            naming.check_known("indexes", item.columns, stream.schema.names)
        options = WriteOptions(tuple(config.key), config.columns, extras, config.bulk or "")
        return await joined.write(self.context, table, config.mode, stream, options)
