"""What it costs to move files: 6 million rows of TPC-H lineitem, beside DuckDB doing the same in one call.

``python -m benchmarks.files`` writes the data into ``build/bench/`` once (``tpchgen-cli`` from PyPI must be installed)
and then runs, alternately and each time in a process of its own:

- ``csv``: CSV → Parquet;
- ``sql``: Parquet → SQL transform → DuckDB;

ours through :mod:`pipeline_flow.entrypoint`, and DuckDB's as one statement with the same ``memory_limit``. It prints
medians of the seconds, of the processors' seconds and of the peak memory, for 1 and 6 million rows, and fails where the
rows or the sums of the columns differ. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

FOLDER = Path("build/bench")
MOST_SECONDS = 1.5  # times DuckDB's own
MOST_MEMORY = 1.1  # times that of a sixth of the rows
SIZES = {"1M": 1_000_000, "6M": None}
MEMORY_LIMIT = "512MiB"
QUERY = """\
select *, l_extendedprice * (1 - l_discount) as revenue,
       l_extendedprice * (1 - l_discount) * (1 + l_tax) as charge
from {source}
where l_shipdate <= date '1998-09-02'"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: seconds on the clock, seconds of the processors, and peak memory in bytes."""

    seconds: float
    processor: float
    memory: int


def main() -> int:
    """Generates, measures, compares, prints; 1 where a target is missed, 2 where results differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="how often each is measured (default 5)")
    parser.add_argument("--only", choices=["csv", "sql"], help="measure one of the two")
    parser.add_argument("--child", nargs=3, metavar=("WHO", "WHAT", "SIZE"), help=argparse.SUPPRESS)
    parser.add_argument("--generate", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compare", nargs=2, metavar=("WHAT", "SIZE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        return child(*args.child)
    if args.compare:
        return compare(*args.compare)
    if args.generate:
        return generate()
    call("--generate")
    missed = False
    for what in ["csv", "sql"] if args.only is None else [args.only]:
        runs: dict[tuple[str, str], list[Measured]] = {}
        for _ in range(args.repeat):
            for size in SIZES:
                for who in ("ours", "duckdb"):
                    runs.setdefault((who, size), []).append(measure(who, what, size))
                call("--compare", what, size)
        missed |= report(what, runs)
    return int(missed)


def report(what: str, runs: dict[tuple[str, str], list[Measured]]) -> bool:
    """Prints the medians; gives whether a target was missed."""
    print(f"\n{'CSV → Parquet' if what == 'csv' else 'Parquet → SQL → DuckDB'}")
    print(f"{'':8}{'rows':>6}{'seconds':>10}{'cpu s':>8}{'peak MB':>9}")
    medians = {}
    for (who, size), measured in sorted(runs.items(), key=lambda item: (item[0][1], item[0][0])):
        medians[who, size] = middle = Measured(
            statistics.median(item.seconds for item in measured),
            statistics.median(item.processor for item in measured),
            int(statistics.median(item.memory for item in measured)),
        )
        print(f"{who:8}{size:>6}{middle.seconds:>10.2f}{middle.processor:>8.2f}{middle.memory / 1e6:>9.0f}")
    slower = medians["ours", "6M"].seconds / medians["duckdb", "6M"].seconds
    growth = medians["ours", "6M"].memory / medians["ours", "1M"].memory
    print(
        f"time beside DuckDB {slower:.2f} (at most {MOST_SECONDS}), memory of 6M beside 1M {growth:.2f} (at most {MOST_MEMORY})"
    )
    return slower > MOST_SECONDS or growth > MOST_MEMORY


# ---------------------------------------------------------------------------------------------- the data


def source(what: str, size: str) -> Path:
    """The file that a measurement reads."""
    return FOLDER / f"lineitem-{size}.{'csv' if what == 'csv' else 'parquet'}"


def target(who: str, what: str, size: str) -> Path:
    """The file that a measurement writes."""
    return FOLDER / f"{who}-{what}-{size}.{'parquet' if what == 'csv' else 'duckdb'}"


def generate() -> int:
    """Writes the sources, unless they are there."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    whole = source("csv", "6M")
    if not whole.exists():
        made = FOLDER / "generated"
        subprocess.run(
            [
                tool("tpchgen-cli"),
                "csv",
                "-s",
                "1",
                "--tables",
                "lineitem",
                "--quiet",
                "--output-dir",
                str(made),
            ],
            check=True,
        )
        next(made.rglob("lineitem*.csv")).rename(whole)
        shutil.rmtree(made)
    for size, rows in SIZES.items():
        if rows is not None and not source("csv", size).exists():
            with whole.open() as all_rows, source("csv", size).open("w") as some:
                for _, line in zip(range(rows + 1), all_rows, strict=False):
                    some.write(line)
        if not source("sql", size).exists():
            duckdb.execute(f"copy (from read_csv('{source('csv', size)}')) to '{source('sql', size)}'")
    return 0


def tool(name: str) -> str:
    """A program of this environment."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed: pip install {name}")
    return found


# ---------------------------------------------------------------------------------------------- measuring


def measure(who: str, what: str, size: str) -> Measured:
    """Runs one measurement in a process of its own."""
    for leftover in FOLDER.glob(f"{target(who, what, size).name}*"):
        leftover.unlink()
    return Measured(**json.loads(call("--child", who, what, size).splitlines()[-1]))


def call(*args: str) -> str:
    """This module in a process of its own. Ours stays small: a child's peak memory begins with its parent's."""
    command = [sys.executable, "-m", "benchmarks.files", *args]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def child(who: str, what: str, size: str) -> int:
    """The measurement itself; prints it as JSON."""
    started, processor = time.perf_counter(), time.process_time()
    (ours if who == "ours" else theirs)(what, size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    figures = {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - processor,
        "memory": peak,
    }
    print(json.dumps(figures))
    return 0


def ours(what: str, size: str) -> None:
    """pipeline-flow, from the configuration to the end of the run."""
    from pipeline_flow.entrypoint import run

    phases: dict[str, Any] = {}
    read = {"plugin": "csv" if what == "csv" else "parquet", "args": {"path": str(source(what, size))}}
    phases["extract"] = {"steps": [read]}
    if what == "csv":
        phases["load"] = {"steps": [{"plugin": "parquet", "args": {"path": str(target("ours", what, size))}}]}
    else:
        phases["transform"] = {"steps": [{"plugin": "sql", "args": {"query": QUERY.format(source="data")}}]}
        url = f"duckdb:///{target('ours', what, size)}"
        phases["load"] = {"steps": [{"plugin": "sql", "args": {"url": url, "table": "t", "mode": "replace"}}]}
    run({"version": 1, "name": "bench", "memory_limit": MEMORY_LIMIT, "pipelines": {"p": {"phases": phases}}})


def theirs(what: str, size: str) -> None:
    """DuckDB, in one statement."""
    read, written = source(what, size), target("duckdb", what, size)
    config: dict[str, Any] = {"memory_limit": MEMORY_LIMIT}
    if what == "csv":
        with duckdb.connect(config=config) as connection:
            connection.execute(f"copy (from read_csv('{read}')) to '{written}'")
    else:
        with duckdb.connect(str(written), config=config) as connection:
            query = QUERY.format(source=f"'{read}'")
            connection.execute(f"create table t as {query}")


def compare(what: str, size: str) -> int:
    """Fails where the two results differ: rows, and the sum of each column (of its length, where it is text), of both results."""
    found = []
    for who in ("ours", "duckdb"):
        path = target(who, what, size)
        with duckdb.connect() if what == "csv" else duckdb.connect(str(path), read_only=True) as connection:
            rows = f"'{path}'" if what == "csv" else "t"
            columns = connection.execute(f"describe from {rows}").fetchall()
            sums = [
                f"sum(length({name}))"
                if type_ == "VARCHAR"
                else f"sum({name} - date '1970-01-01')"
                if type_ == "DATE"
                else f"fsum({name})"
                for name, type_, *_ in columns
            ]
            found.append(connection.execute(f"select count(*), {', '.join(sums)} from {rows}").fetchall())
    if str(found[0]) != str(found[1]) and not _close(found[0][0], found[1][0]):
        raise SystemExit(f"{what} {size}: the results differ: {found[0]} and {found[1]}")
    return 0


def _close(first: tuple[Any, ...], second: tuple[Any, ...]) -> bool:
    """Sums of floats depend on the order of the rows in their last digits."""
    return len(first) == len(second) and all(
        abs(a - b) <= 1e-12 * abs(b) for a, b in zip(first, second, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
