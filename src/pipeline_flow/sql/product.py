"""The databases that are reached through SQLAlchemy, by the names of its dialects: data, known without it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

from pipeline_flow.secret import is_secret_name


@dataclass(frozen=True, slots=True)
class Product:
    """What there is to know of a database before anything is installed.

    Attributes:
        label: as people call it.
        package: what brings SQLAlchemy's dialect; empty where SQLAlchemy has it.
        is_tested: whether our tests run with it.
        is_file: whether a database is a file, not a place at a server.
        rolls_back: whether it has transactions at all.
        rolls_back_tables: whether a new table is part of the transaction; elsewhere making one commits.
        is_bare: whether a backslash in a text is nothing but a backslash, as in standard SQL.
    """

    label: str
    package: str = ""
    is_tested: bool = False
    is_file: bool = False
    rolls_back: bool = True
    rolls_back_tables: bool = False
    is_bare: bool = True


PRODUCTS = {
    "postgresql": Product("PostgreSQL", is_tested=True, rolls_back_tables=True),
    "sqlite": Product("SQLite", is_tested=True, is_file=True, rolls_back_tables=True),
    "mariadb": Product("MariaDB", is_tested=True, is_bare=False),
    "mysql": Product("MySQL", is_bare=False),
    "duckdb": Product("DuckDB", "duckdb-engine", is_file=True, rolls_back_tables=True),
    "oracle": Product("Oracle"),
    "mssql": Product("SQL Server", rolls_back_tables=True),
    "snowflake": Product("Snowflake", "snowflake-sqlalchemy", is_bare=False),
    "bigquery": Product("BigQuery", "sqlalchemy-bigquery", rolls_back=False, is_bare=False),
    "redshift": Product("Redshift", "sqlalchemy-redshift", rolls_back_tables=True),
    "clickhouse": Product("ClickHouse", "clickhouse-sqlalchemy", rolls_back=False, is_bare=False),
    "clickhousedb": Product("ClickHouse", "clickhouse-connect", rolls_back=False, is_bare=False),
    "databricks": Product("Databricks", "databricks-sqlalchemy", rolls_back=False, is_bare=False),
    "trino": Product("Trino", "trino[sqlalchemy]", rolls_back=False),
    "awsathena": Product("Athena", "PyAthena[SQLAlchemy]", rolls_back=False),
    "cockroachdb": Product("CockroachDB", "sqlalchemy-cockroachdb"),
    "teradatasql": Product("Teradata", "teradatasqlalchemy"),
    "hana": Product("SAP HANA", "sqlalchemy-hana"),
    "vertica": Product("Vertica", "sqlalchemy-vertica-python"),
    "db2": Product("Db2", "ibm-db-sa"),
    "ibm_db_sa": Product("Db2", "ibm-db-sa"),
    "exa": Product("Exasol", "sqlalchemy-exasol"),
    "firebird": Product("Firebird", "sqlalchemy-firebird"),
    "monetdb": Product("MonetDB", "sqlalchemy-monetdb"),
    "crate": Product("CrateDB", "sqlalchemy-cratedb", rolls_back=False),
}

# Drivers that only work on an event loop; the `sql` plugins call theirs in threads.
ASYNCHRONOUS = (
    "asyncpg", "psycopg_async", "asyncmy", "aiomysql", "aiosqlite", "aioodbc", "oracledb_async", "mariadbconnector_async",
    "asynch", "snowflake_async",
)  # fmt: skip

_PACKAGES = {
    "psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient", "mysql": "mysql-connector-python",
    "redshift_connector": "redshift-connector", "duckdb_engine": "duckdb-engine", "clickhouse_driver": "clickhouse-driver",
}  # fmt: skip


def find(scheme: str) -> Product | None:
    """The database that a URL's scheme means, the driver aside: one of ours, or one that an installed package brings."""
    name = scheme.partition("+")[0]
    if name in PRODUCTS:
        return PRODUCTS[name]
    installed = metadata.entry_points(group="sqlalchemy.dialects")
    return Product(name) if any(item.name.partition(".")[0] == name for item in installed) else None


def of(scheme: str) -> Product:
    """The database of a scheme that was checked before."""
    name = scheme.partition("+")[0]
    return PRODUCTS.get(name) or Product(name)


def package_of(module: str) -> str:
    """What to install where the module of a driver is missing."""
    return _PACKAGES.get(module, module)


def is_secret_option(name: str) -> bool:
    """Whether a secret stands under this option of a URL."""
    return is_secret_name(name) or re.search(r"passw|pwd|secret(?!_name)|token$", name.lower()) is not None


_CONNECTION_STRING = re.compile(r"(?P<name>[\w ]+?)\s*=\s*(?P<value>\{(?:[^}]|\}\})*\}|[^;]*)(?:;|$)")
_USERS = ("uid", "user", "user id", "trusted_connection")


def secrets_in(name: str, value: str) -> list[str]:
    """What is secret in an option of a URL: all of it, or the passwords of a connection string (``odbc_connect``)."""
    if is_secret_option(name):
        return [value]
    pairs = _CONNECTION_STRING.finditer(value) if ";" in value else ()
    return [found["value"].strip("{}") for found in pairs if is_secret_option(found["name"].strip())]


def public(name: str, value: str) -> str | None:
    """What an option of a URL says of the database: without users and secrets; ``None`` where nothing is left."""
    if is_secret_option(name):
        return None
    if ";" not in value:
        return value
    pairs = [
        f"{found['name'].strip().lower()}={found['value']}"
        for found in _CONNECTION_STRING.finditer(value)
        if not is_secret_option(found["name"].strip()) and found["name"].strip().lower() not in _USERS
    ]
    return ";".join(sorted(pairs))


def _scheme(url: str) -> str:
    """The scheme of a URL in lower case; empty where there is none, or a secret hides it."""
    found = re.match(r"\s*([A-Za-z0-9_]+(?:\+\w+)?)://", url)
    return found[1].lower() if found else ""


def rolls_back(url: str) -> bool:
    """Whether the database behind a URL has transactions, as far as its scheme tells."""
    return of(_scheme(url)).rolls_back


def caution(url: str) -> str:
    """What a reader of the plan should know of the database behind a URL, as far as its scheme tells; else empty."""
    scheme = _scheme(url)
    name, plus, _ = scheme.partition("+")
    if scheme == "mysql":
        return "MySQL is untested here, MariaDB is tested"
    if not scheme or (not plus and name in ("postgresql", "postgres", "mariadb", "sqlite", "duckdb")):
        return ""
    found = PRODUCTS.get(name) or find(scheme)
    if found is None:
        return ""
    said = ["through SQLAlchemy, value by value"]
    if not found.is_tested:
        said.append(f"{found.label} is untested here")
    if name in ("postgresql", "mariadb", "mysql", "sqlite", "duckdb"):
        said.append(f"{name}:// is faster")
    return "; ".join(said)
