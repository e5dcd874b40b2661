"""Tables, or a query's result, as a source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from pipeline_flow.plugins.base import IExtractPlugin, PluginConfig
from pipeline_flow.sql import engine, params, pattern, quote, script, url
from pipeline_flow.sql.engine import Selection
from pipeline_flow.sql.script import SqlFile
from pipeline_flow.sql.url import DatabaseUrl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.core.tables import TableNames
    from pipeline_flow.data import BatchStream, Tables


class SqlExtract(IExtractPlugin, plugin_name="sql"):
    """Reads a table, several tables, or what a query gives, from DuckDB, SQLite, PostgreSQL, MariaDB, or any of SQLAlchemy's.

    DuckDB's types are kept; integers wider than 64 bits become decimal(38, 0). SQLite's values have types, its columns
    only declared ones: columns declared as an integer, REAL, BOOLEAN, DATE, TIME, TIMESTAMP, DATETIME, TIMESTAMPTZ,
    DECIMAL(p, s), NUMERIC(p, s), UUID, text or BLOB come back as that type, and a value that does not fit is an error
    that names column and row. Columns without a declared type, such as expressions, take the type of their first
    values. What becomes of the types of the others stands on a page of its own for each.

    PostgreSQL and MariaDB are read in one snapshot, in a transaction that can only read.

    With `tables` the step hands on several tables, under their names: a `sql` transform knows them by these, a load picks
    one with `input`, and a load with `table: "raw.*"` writes all. They are read one after the other in one transaction, so
    that all show the same state: PostgreSQL, SQLite and DuckDB, and MariaDB for its InnoDB tables. In PostgreSQL and MariaDB
    nobody can alter or truncate the tables meanwhile; in a SQLite file without WAL, writers wait.

    Any other database is read through SQLAlchemy, value by value: the last resort is not fast. A table's columns have the
    types that the database tells, those of a query what its first rows are; a later value that does not fit is an error.
    """

    class Config(PluginConfig):
        url: DatabaseUrl
        query: str | None = Field(
            default=None,
            description="One SELECT in the database's own SQL. Write `:name` for a value from `params`.",
            examples=["select * from orders where day >= :since"],
        )
        file: SqlFile = None
        table: str | None = Field(
            default=None,
            description="A table or view to read, in place of `query`: `table` or `schema.table`. Quote a name with a dot "
            'in it: `"a.b"`.',
            examples=["shop.orders"],
        )
        tables: str | list[str] | None = Field(
            default=None,
            description="Several tables, in place of `table` or `query`: names, and names in which `*` stands for any "
            "characters, with `!` before those to leave out. `*` alone is every table of the default schema, `shop.*` every "
            "table of that schema, `*.*` every table but the system's. Upper and lower case matter where they do for the "
            'database; `"…"` around a name lets it hold a dot or a star. Views, parts of partitioned tables, and tables of '
            "extensions are read where their names are written without `*`. A name or pattern without a table is an error.",
            examples=["shop.*", ["shop.order_*", "!shop.*_tmp"]],
        )
        columns: list[str] | dict[str, str] = Field(
            default_factory=list,
            description="A list: the columns of `table` to read, all by default. A mapping: types by column name, as DuckDB "
            "writes them, for columns that would be text otherwise, such as PostgreSQL's numeric without precision; a value "
            "that does not fit its type is an error.",
            examples=[["order_id", "amount"], {"amount": "DECIMAL(20, 4)"}],
        )
        where: str | None = Field(
            default=None,
            description="Which rows of `table` to read: a condition in the database's own SQL. Write `:name` for a value "
            "from `params`.",
            examples=["day >= :since"],
        )
        params: dict[str, Any] = Field(
            default_factory=dict,
            description="Values for the names in the query. They are bound, never written into the text by hand.",
            examples=[{"since": "2024-01-01"}],
        )

        @model_validator(mode="after")
        def _one_of_four(self) -> Self:
            if self.tables is not None:
                self._check_tables(self.tables)
            elif self.table is None:
                script.check_one(self.query, self.file)
                if self.where is not None or (isinstance(self.columns, list) and self.columns):
                    raise ValueError(
                        "`where` and a list of `columns` go with `table`; a query says itself what it reads"
                    )
            elif self.query is not None or self.file is not None:
                raise ValueError("the rows come from a `table` or from a query, and both are here")
            elif len(quote.split_table(self.table)) > 2:
                raise ValueError(f"`{self.table}` has more parts than schema.table")
            return self

        def _check_tables(self, tables: str | list[str]) -> None:
            others = [name for name in ("table", "query", "file") if getattr(self, name) is not None]
            if others:
                raise ValueError(f"the rows come from `tables` or from a `{others[0]}`, and both are here")
            for name in ("where", "columns", "params"):
                if getattr(self, name):
                    raise ValueError(
                        f"`{name}` is for one table, and here are `tables`: read that one in an extract step of its own"
                    )
            if url.parse(self.url).engine == url.SQLALCHEMY:
                raise ValueError(
                    "`tables` is for DuckDB, SQLite, PostgreSQL and MariaDB: read each in a step of its own, with `table`"
                )
            pattern.parse_all(tables)

        def follow_columns(self, _: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            from pipeline_flow.sql import follow

            if self.tables is not None:
                return None
            database = url.parse(self.url)
            if database.engine == url.SQLALCHEMY:
                return None  # whose SQL that is, only the database knows
            text = script.text(self.query, self.file)
            if database.engine == url.DUCKDB:
                return follow.listed(params.bind(text, self.params, "$"))
            # SQLite takes `"name"` for a text where no column is called so, and calls `rowid` by another name.
            quoted = '"' in text or any(mark in text.casefold() for mark in ("rowid", "oid"))
            return None if quoted else follow.listed(params.bind(text, self.params, "$"))

    streams: ClassVar[bool] = True
    config: Config

    @classmethod
    def hands_on(cls, args: Mapping[str, Any]) -> TableNames | None:
        """See :mod:`pipeline_flow.core.tables`."""
        found = args.get("tables")
        if found is None:
            return None
        is_list = isinstance(found, list) and all(isinstance(text, str) for text in found)
        if not isinstance(found, str) and not is_list:
            return ()
        try:
            return pattern.names(pattern.parse_all(found)) or ()
        except ValueError:
            return ()

    async def __call__(self) -> BatchStream | Tables:
        """The rows; with `tables` those of each table."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream | Tables:
        config = self.config
        database = url.parse(config.url)
        if config.tables is not None:
            from pipeline_flow.sql import snapshot

            opened = engine.of(database).snapshot(self.context, database)
            return snapshot.tables(opened, pattern.parse_all(config.tables))
        selection = Selection(
            query="" if config.table is not None else script.text(config.query, config.file),
            params=config.params,
            table=() if config.table is None else quote.split_table(config.table),
            columns=tuple(config.columns) if isinstance(config.columns, list) else (),
            where=config.where or "",
            types=config.columns if isinstance(config.columns, dict) else {},
        )
        return engine.of(database).extract(self.context, database, selection)
