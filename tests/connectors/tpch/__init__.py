"""TPC-H through all databases and back: the 22 questions have the same answers at the end as at the start.

``python -m tests.connectors.tpch --scale 1`` does it at another scale than the test's and tells how long each hop took.
The CSV files come from ``tpchgen-cli`` (PyPI).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from pipeline_flow import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline_flow.engine import RunResult

HERE = Path(__file__).parent
CHAIN = HERE / "chain.yaml"
# Of the answers that the specification publishes for scale 1: the beginning of each that is told in few figures.
PUBLISHED = {
    "Q1": "A F 37734107.00 56586554400.73 53758257134.8700 55909065222.827692", "Q3": "2456423 406181.0111 1995-03-05 0",
    "Q4": "1-URGENT 10594", "Q5": "INDONESIA 55502041.1697", "Q6": "123141078.2283",
    "Q7": "FRANCE GERMANY 1995 54639732.7336", "Q8": "1995 0.034435890406654", "Q9": "ALGERIA 1998 27136900.1803",
    "Q11": "129760 17538456.86", "Q12": "MAIL 6202 9324", "Q13": "0 50005", "Q14": "16.38077862639554",
    "Q16": "Brand#41 MEDIUM BRUSHED TIN 3 28", "Q17": "348406.0542857", "Q19": "3083843.0578",
    "Q21": "Supplier#000002829 20", "Q22": "13 888 6737713.99",
}  # fmt: skip
TABLES = ("region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem")
Rows = list[tuple[Any, ...]]


def generator() -> str | None:
    """The program that writes the tables; ``None`` where it is not installed."""
    beside = Path(sys.executable).with_name("tpchgen-cli")
    return str(beside) if beside.exists() else shutil.which("tpchgen-cli")


def generate(folder: Path, scale: str) -> None:
    """Writes the tables as CSV files; lineitem has 6 million rows at scale 1."""
    program = generator()
    if program is None:
        raise SystemExit("tpchgen-cli is not installed: pip install tpchgen-cli")
    subprocess.run([program, "csv", "-s", scale, "--quiet", "--output-dir", str(folder)], check=True)


def chain(folder: Path, postgres: str, mariadb: str) -> RunResult:
    """Runs ``chain.yaml`` with the CSV files of ``folder``; its SQLite and DuckDB files are written there, too."""
    return run(
        CHAIN,
        variables={
            "csv": str(folder),
            "postgres": postgres,
            "mariadb": mariadb,
            "sqlite": f"sqlite:///{folder}/tpch.sqlite",
            "duckdb": f"duckdb:///{folder}/tpch.duckdb",
        },
    )


def queries() -> dict[str, str]:
    """The 22 questions in SQL, by name."""
    text = (HERE / "queries.sql").read_text(encoding="utf-8")
    return dict(re.findall(r"^-- (Q\d+): [^\n]*\n(.+?);$", text, re.DOTALL | re.MULTILINE))


def answers(postgres: str, schema: str) -> dict[str, Rows]:
    """What each query gives in a schema, in its order, numbers exact."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("select set_config('search_path', %s, false)", (schema,))
        for table in TABLES:
            connection.execute(f"analyze {table}".encode())
        return {name: connection.execute(query.encode()).fetchall() for name, query in queries().items()}


def unlike_published(found: Mapping[str, Rows]) -> list[str]:
    """The questions whose answer at scale 1 is not the published one."""
    return [
        name
        for name, beginning in PUBLISHED.items()
        if not " ".join(map(str, found[name][0])).startswith(beginning)
    ]


def types(postgres: str, schema: str) -> dict[str, str]:
    """The type of each column, by ``table.column``."""
    with psycopg.connect(postgres) as connection:
        found = connection.execute(
            "select relname || '.' || attname, format_type(atttypid, atttypmod) from pg_attribute "
            "join pg_class c on c.oid = attrelid where relnamespace = %s::regnamespace and relkind = 'r' and attnum > 0",
            (schema,),
        )
        return dict(found.fetchall())


def without_lengths(found: Mapping[str, str]) -> dict[str, str]:
    """The types with all kinds of text as one: a text's length does not go through SQLite and DuckDB."""
    return {column: "text" if type_.startswith("character") else type_ for column, type_ in found.items()}
