"""Print the tables that a demo wrote: the DuckDB, Parquet and CSV files of a folder, read with DuckDB alone.

    python examples/show.py build/demo               # the first rows of each table
    python examples/show.py build/demo --checksum    # a line per table: rows, checksum, name

The checksum covers every value and how often each row is there, and does not depend on the order of the rows. Two runs
of a pipeline that gives the same twice have the same checksums.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb

ROWS_SHOWN = 5


def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> Iterator[tuple[str, str]]:
    """Yield (name for a person, SQL that names it) of every table in the folder."""
    for number, path in enumerate(sorted(folder.rglob("*.duckdb"))):
        database = f"file{number}"
        connection.execute(f"attach '{quoted(path)}' as {database} (read_only)")
        names = connection.execute(
            """
            select table_schema, table_name from information_schema.tables
            where table_catalog = ? and not starts_with(table_name, '_pipeline_flow')
            order by all
            """,
            [database],
        ).fetchall()
        for schema, table in names:
            yield f"{path}: {table}", f'{database}."{schema}"."{table}"'
    for suffix in ("parquet", "csv"):
        for path in sorted(folder.rglob(f"*.{suffix}")):
            yield str(path), f"read_{suffix}('{quoted(path)}')"


def quoted(path: Path) -> str:
    """Return the path as the inside of a SQL string."""
    return str(path).replace("'", "''")


def main() -> int:
    """Read the call and print."""
    parser = argparse.ArgumentParser(description="print the tables that a demo wrote")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checksum", action="store_true", help="one line per table instead of rows")
    call = parser.parse_args()

    connection = duckdb.connect()
    connection.execute("set TimeZone = 'UTC'")
    found = list(tables(connection, call.folder))
    if not found:
        print(f"no DuckDB, Parquet or CSV file with a table in {call.folder}", file=sys.stderr)
        return 1
    for name, table in found:
        if call.checksum:
            count, checksum = connection.execute(
                f"select count(*), coalesce(sum(hash(row_)::hugeint), 0)::varchar from {table} as row_"
            ).fetchone() or (0, "0")
            print(f"{count:>8} {checksum:>30}  {name}")
        else:
            (count,) = connection.execute(f"select count(*) from {table}").fetchone() or (0,)
            print(f"\n{name} ({count:,} rows)")
            connection.sql(f"from {table} limit {ROWS_SHOWN}").show(max_width=110)
    return 0


if __name__ == "__main__":
    sys.exit(main())
