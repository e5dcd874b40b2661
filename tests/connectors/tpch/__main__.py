"""See :mod:`tests.connectors.tpch`."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path

from tests.connectors import mariadb_server, postgres_server, tpch


def main() -> int:
    """Generates, moves, asks twice, compares; 1 where an answer or a type differs."""
    parser = argparse.ArgumentParser(description=(tpch.__doc__ or "").partition("\n")[0])
    parser.add_argument("--scale", default="0.1", help="1 is 8.7 million rows (default 0.1)")
    scale = parser.parse_args().scale
    mariadb_server.root(f"create database `{mariadb_server.NAME}`")
    with contextlib.ExitStack() as stack:
        stack.callback(mariadb_server.root, f"drop database `{mariadb_server.NAME}`")
        postgres = stack.enter_context(postgres_server.database())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipeline-flow-tpch-")))
        tpch.generate(folder, scale)
        print(tpch.chain(folder, postgres, mariadb_server.URL))
        first, last = (tpch.answers(postgres, schema) for schema in ("first", "last"))
        types = [tpch.without_lengths(tpch.types(postgres, schema)) for schema in ("first", "last")]
    for name, rows in first.items():
        print(f"{name:4}{len(rows):>7,} rows  {'the same' if rows == last[name] else 'DIFFERENT'}")
    print(f"types {'the same' if types[0] == types[1] else 'DIFFERENT'}")
    wrong = tpch.unlike_published(first) if scale == "1" else []
    if wrong:
        print(f"not as the specification says: {', '.join(wrong)}")
    return int(first != last or types[0] != types[1] or bool(wrong))


sys.exit(main())
