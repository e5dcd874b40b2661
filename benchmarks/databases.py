r"""What it costs to read and write PostgreSQL: 1 and 3 million rows of TPC-H lineitem, beside psql in the same run.

``python -m benchmarks.databases`` writes the data into ``build/bench/`` once (``tpchgen-cli`` from PyPI must be installed),
makes a database of its own at the server of ``PIPELINE_FLOW_TEST_POSTGRES`` (default ``postgresql://postgres@127.0.0.1:5432``),
and runs alternately, ours each time in a process of its own:

- ``read``: a query → Parquet, beside ``psql`` with the same query as COPY in binary form, which nobody keeps;
- ``write``: CSV → a new table, beside psql's ``\copy`` of the same file into a table of the same types.

It prints medians of the seconds, and ours of the processors' seconds and of the peak memory, and fails where rows or the sums of
columns differ, or an aim is missed. The database is dropped at the end. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import resource
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg

from benchmarks import files
from benchmarks.files import FOLDER, MEMORY_LIMIT, Measured

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVER = os.environ.get("PIPELINE_FLOW_TEST_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
MOST_SECONDS = {"read": 2.0, "write": 1.5}  # times psql's own
MOST_MEMORY = 1.1  # times that of a third of the rows
TITLES = {"read": "PostgreSQL → Parquet", "write": "CSV → PostgreSQL"}
SIZES = {"1M": 1_000_000, "3M": 3_000_000}
TABLE = """\
create table {name} (
    l_orderkey bigint not null, l_partkey bigint not null, l_suppkey bigint not null, l_linenumber integer not null,
    l_quantity numeric(15,2) not null, l_extendedprice numeric(15,2) not null, l_discount numeric(15,2) not null,
    l_tax numeric(15,2) not null, l_returnflag char(1) not null, l_linestatus char(1) not null, l_shipdate date not null,
    l_commitdate date not null, l_receiptdate date not null, l_shipinstruct char(25) not null, l_shipmode char(10) not null,
    l_comment varchar(44) not null
)"""


def main() -> int:
    """Generates, measures, compares, prints; 1 where an aim is missed, 2 where results differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--only", choices=list(TITLES), help="measure one of the two")
    parser.add_argument(
        "--rows", choices=list(SIZES), help="measure one number of rows; memory is not compared"
    )
    parser.add_argument("--part", nargs=4, metavar=("PART", "URL", "WHAT", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        {"prepare": prepare, "measured": measured, "compare": compare}[args.part[0]](*args.part[1:])
        return 0
    sizes = list(SIZES) if args.rows is None else [args.rows]
    files.call("--generate")
    for size in sizes:
        cut(size)
    missed = False
    with database() as url:
        for what in TITLES if args.only is None else [args.only]:
            runs: dict[tuple[str, str], list[Measured]] = {}
            for size in sizes:
                call("prepare", url, what, size)
            for _ in range(args.repeat):
                for size in sizes:
                    runs.setdefault(("psql", size), []).append(theirs(url, what, size))
                    runs.setdefault(("ours", size), []).append(measure(url, what, size))
                    call("compare", url, what, size)
            missed |= report(what, sizes, runs)
    return int(missed)


def report(what: str, sizes: list[str], runs: dict[tuple[str, str], list[Measured]]) -> bool:
    """Prints the medians; gives whether an aim was missed."""
    print(f"\n{TITLES[what]}")
    print(f"{'':8}{'rows':>6}{'seconds':>10}{'cpu s':>8}{'peak MB':>9}{'beside psql':>13}")
    missed, most = False, MOST_SECONDS[what]
    memory = []
    for size in sizes:
        theirs_, ours_ = (
            [
                statistics.median(getattr(item, figure) for item in runs[who, size])
                for figure in ("seconds", "processor", "memory")
            ]
            for who in ("psql", "ours")
        )
        print(f"{'psql':8}{size:>6}{theirs_[0]:>10.2f}")
        ratio = ours_[0] / theirs_[0]
        print(f"{'ours':8}{size:>6}{ours_[0]:>10.2f}{ours_[1]:>8.2f}{ours_[2] / 1e6:>9.0f}{ratio:>13.2f}")
        missed |= ratio > most
        memory.append(ours_[2])
    print(f"time beside psql at most {most}")
    if len(memory) > 1:
        growth = memory[-1] / memory[0]
        print(f"memory of {sizes[-1]} beside {sizes[0]} {growth:.2f} (at most {MOST_MEMORY})")
        missed |= growth > MOST_MEMORY
    return missed


# ---------------------------------------------------------------------------------------------- the server


@contextlib.contextmanager
def database() -> Iterator[str]:
    """The URL of a database of one's own, gone at the end."""
    if shutil.which("psql") is None:
        raise SystemExit("psql is not installed: on Debian, apt-get install postgresql-client")
    name = f"pipeline_flow_bench_{secrets.token_hex(4)}"
    try:
        connection = psycopg.connect(f"{SERVER}/postgres", autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        said = str(error).splitlines()[0]
        raise SystemExit(
            f"no PostgreSQL at the address of PIPELINE_FLOW_TEST_POSTGRES or its default: {said}"
        ) from None
    with contextlib.closing(connection):
        connection.execute(f"create database {name} encoding 'UTF8' template template0")
        try:
            yield f"{SERVER}/{name}"
        finally:
            connection.execute(f"drop database {name} with (force)")


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    """Runs one statement in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def psql(url: str, command: str) -> None:
    """Runs psql, whose output nobody keeps."""
    called = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url, "--command", command]
    subprocess.run(called, check=True, stdout=subprocess.DEVNULL)


def settle(url: str) -> None:
    """Lets the server write what the measurement before left, where this user may say so."""
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        execute(url, "checkpoint")


# ---------------------------------------------------------------------------------------------- the data


def source(size: str) -> Path:
    """The file of so many rows."""
    return files.source("csv", size)


def cut(size: str) -> None:
    """Writes the file of so many rows, unless it is there."""
    if not source(size).exists():
        with files.source("csv", "6M").open() as whole, source(size).open("w") as some:
            some.writelines(itertools.islice(whole, SIZES[size] + 1))


def target(size: str) -> Path:
    """The file that a measurement writes."""
    return FOLDER / f"ours-postgresql-{size}.parquet"


# ---------------------------------------------------------------------------------------------- measuring


def call(part: str, url: str, what: str, size: str) -> str:
    """A part in a process of its own. Ours stays small: a child's peak memory begins with its parent's."""
    command = [sys.executable, "-m", "benchmarks.databases", "--part", part, url, what, size]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


def table(who: str, size: str) -> str:
    """The table that is read, or that a measurement writes."""
    return f"{who}_{size}".lower()


def prepare(url: str, what: str, size: str) -> None:
    """What has to be there before the first measurement: for reading, a table that nothing has to be tidied up in."""
    if what == "read":
        name = table("lineitem", size)
        execute(url, TABLE.format(name=name))
        psql(url, f"\\copy {name} from '{source(size)}' (format csv, header)")
        execute(url, f"vacuum (analyze) {name}")
    else:
        ours(url, what, size)
        execute(url, f"create table {table('psql', size)} (like {table('ours', size)})")


def theirs(url: str, what: str, size: str) -> Measured:
    """The peer: psql."""
    if what == "write":
        execute(url, f"truncate {table('psql', size)}")
        command = f"\\copy {table('psql', size)} from '{source(size)}' (format csv, header)"
    else:
        command = f"copy (select * from {table('lineitem', size)}) to stdout (format binary)"
    settle(url)
    started = time.perf_counter()
    psql(url, command)
    return Measured(time.perf_counter() - started, 0, 0)


def measure(url: str, what: str, size: str) -> Measured:
    """Ours, in a process of its own, whose start counts from the first import of pipeline-flow on."""
    execute(url, f"drop table if exists {table('ours', size)}")
    target(size).unlink(missing_ok=True)
    settle(url)
    return Measured(**json.loads(call("measured", url, what, size).splitlines()[-1]))


def measured(url: str, what: str, size: str) -> None:
    """The measurement itself; prints it as JSON."""
    started, processor = time.perf_counter(), time.process_time()
    ours(url, what, size)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"seconds": seconds, "processor": processor, "memory": peak}))


def ours(url: str, what: str, size: str) -> None:
    """pipeline-flow, from the configuration to the end of the run."""
    from pipeline_flow.entrypoint import run

    file: dict[str, Any]
    if what == "read":
        query = f"select * from {table('lineitem', size)}"
        read = {"plugin": "sql", "args": {"url": url, "query": query}}
        file = {"plugin": "parquet", "args": {"path": str(target(size))}}
        phases = {"extract": {"steps": [read]}, "load": {"steps": [file]}}
    else:
        file = {"plugin": "csv", "args": {"path": str(source(size))}}
        write = {"plugin": "sql", "args": {"url": url, "table": table("ours", size), "mode": "append"}}
        phases = {"extract": {"steps": [file]}, "load": {"steps": [write]}}
    run({"version": 1, "name": "bench", "memory_limit": MEMORY_LIMIT, "pipelines": {"p": {"phases": phases}}})


# ---------------------------------------------------------------------------------------------- comparing


def compare(url: str, what: str, size: str) -> None:
    """Ends with 2 where the rows, or the sum of a column (of its length, where it is text), are not those of the peer."""
    if what == "write":
        found = [execute(url, sums(url, table(who, size))) for who in ("ours", "psql")]
    else:
        name = table("lineitem", size)
        found = [execute(url, sums(url, name))]
        with duckdb.connect() as connection:
            query = sums(url, name, "strlen").replace(f"from {name}", f"from '{target(size)}'")
            found.append(connection.execute(query).fetchall())
    if found[0] != found[1]:
        print(f"{what} {size}: the results differ: {found[0]} and {found[1]}", file=sys.stderr)
        raise SystemExit(2)


def sums(url: str, name: str, length: str = "octet_length") -> str:
    """A query about the columns of a table that PostgreSQL and DuckDB answer alike; ``length`` counts a text's bytes."""
    columns = execute(
        url,
        f"select attname, atttypid::regtype::text from pg_attribute where attrelid = '{name}'::regclass and attnum > 0",
    )
    terms = ["count(*)"]
    for column, type_ in columns:
        if type_ in ("text", "character", "character varying"):
            terms.append(f"sum({length}({column}))")
        elif type_ == "date":
            terms.append(f"sum({column} - date '1970-01-01')")
        else:  # a sum of floats would depend on the order of the rows
            terms.append(f"sum({column}::numeric(20,2))")
    return f"select {', '.join(f'({term})::varchar' for term in terms)} from {name}"


if __name__ == "__main__":
    sys.exit(main())
