"""A process that has imported the command line and forks for each call: what starting Python costs is paid once.

Reads calls from stdin, one JSON object a line, and answers with exit code, stdout and stderr.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import Any, NoReturn

import pipeline_flow.cli.plan
import pipeline_flow.cli.plugins
import pipeline_flow.cli.run
import pipeline_flow.cli.validate  # noqa: F401 - imported before the fork
from pipeline_flow.cli import main


def _child(call: dict[str, Any], out: int, err: int) -> NoReturn:
    code = 70
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(call["folder"])
        os.environ.update(call["environment"])
        sys.argv = ["pipeline-flow", *call["arguments"]]
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 70
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _answer(call: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _child(call, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "out": out.read().decode(errors="replace"),
            "err": err.read().decode(errors="replace"),
        }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)
