"""Runs one load again and again, killed before its first, second, … change of the disk: ``python -m … PLUGIN MODE``.

Each case is a copy of the folder ``lake``, ``cases/000`` and so on; the last one is not killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.connectors.conftest import Bench

CHANGES = {"os.link", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}


def kill_before_change(number: int, below: str) -> None:
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in CHANGES and below in str(args[0]):
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(hook)
    real = os.fsync

    def fsync(fd: Any) -> None:
        hook("os.link", (below,))
        real(fd)

    os.fsync = fsync


def main() -> None:
    plugin, mode = sys.argv[1:]
    bench = Bench(Path("run"))
    bench.load(plugin, pa.table({"n": [0]}), path="warm/", mode=mode)  # so that everything is imported once
    for number in range(1000):
        case = Path(f"cases/{number:03d}")
        shutil.copytree("lake", case)
        child = os.fork()
        if child == 0:
            try:
                kill_before_change(number, str(case))
                bench.load(plugin, pa.table({"n": [3, 4]}), path=f"{case}/", mode=mode, max_rows_per_file=1)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        if status != signal.SIGKILL:
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
