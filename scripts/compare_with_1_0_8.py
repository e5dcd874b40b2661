"""Runs the same YAML and plugin files under pipeline-flow 1.0.8 and under this checkout, and compares what they write.

The files are the folders of ``tests/compat/cases``: each has a ``pipelines.yaml`` and a ``plugins.py`` and leaves an
``out.json`` in its working folder. Needed is a Python 3.12 or newer with 1.0.8 and pandas in it:

    python -m venv /tmp/peer && /tmp/peer/bin/pip install pipeline-flow==1.0.8 pandas
    python scripts/compare_with_1_0_8.py --peer /tmp/peer/bin/python

Ends with 1 where a result differs. With ``--write`` the results of 1.0.8 become the ``expected.json`` that the tests
compare ours with.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT / "tests" / "compat" / "cases"
ENVIRONMENT = {"COMPAT_HOME": "/data", "COMPAT_DAY": "2024-01-31"}
SECONDS = 60

# 1.0.8 looks for a logging configuration file unless the root logger has a handler. Where the YAML names no plugin
# files the calling script declares the plugins: 1.0.8 builds secret managers before it loads any file.
RUN = """
import asyncio, logging, sys
logging.getLogger().addHandler(logging.NullHandler())
sys.path.insert(0, ".")
text = open("pipelines.yaml", encoding="utf-8").read()
if "plugins:" not in text:
    import plugins
from pipeline_flow.entrypoint import start_orchestration
asyncio.run(start_orchestration(text))
"""


def result_of(case: Path, python: str, **environment: str) -> Any:
    """What the case writes under this Python, or the last line of the error that it ends with."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(
            case, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.json")
        )
        ended = subprocess.run(
            [python, "-c", RUN],
            cwd=folder,
            env={**os.environ, **ENVIRONMENT, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        out = Path(folder) / "out.json"
        if ended.returncode == 0 and out.exists():
            return json.loads(out.read_text(encoding="utf-8"))
    lines = ended.stderr.strip().splitlines()
    return f"ended with {ended.returncode}: {lines[-1] if lines else 'no out.json'}"


def main() -> int:
    """Compares the cases and gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", required=True, help="a Python with pipeline-flow 1.0.8")
    parser.add_argument("--write", action="store_true", help="write 1.0.8's results as what the tests expect")
    parser.add_argument("cases", nargs="*", help="names of cases; all by default")
    options = parser.parse_args()
    differing = 0
    for case in sorted(path for path in CASES.iterdir() if (path / "pipelines.yaml").exists()):
        if options.cases and case.name not in options.cases:
            continue
        theirs = result_of(case, options.peer, PYTHONPATH="")
        ours = result_of(case, sys.executable, PYTHONPATH=str(ROOT / "src"))
        same = theirs == ours and not isinstance(theirs, str)
        differing += not same
        print(f"{'same' if same else 'DIFFERENT':10}{case.name}")
        if not same:
            print(f"  1.0.8: {json.dumps(theirs)}\n  ours:  {json.dumps(ours)}")
        if options.write and not isinstance(theirs, str):
            text = json.dumps(theirs, indent=2, ensure_ascii=False)
            (case / "expected.json").write_text(text + "\n", encoding="utf-8")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
