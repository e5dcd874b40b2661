"""The package of plugins under examples/plugin: installed as a stranger would, it is found, shown, tested and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's folder; beside it, ``site`` holds what an installation leaves."""
    folder = tmp_path_factory.mktemp("example")
    shutil.copytree(
        ROOT / "examples/plugin", folder / "plugin", ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
    )
    _python(
        folder,
        *("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
        *("--disable-pip-version-check", "--target", "site", "./plugin"),
    )
    return folder / "plugin"


def _python(folder: Path, *args: str) -> str:
    site = [str(ROOT / "src"), str(folder.parent / "site")]
    done = subprocess.run(
        [sys.executable, *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_own_tests_pass(installed: Path) -> None:
    output = _python(installed, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-rs")
    assert "passed" in output
    for line in output.splitlines():
        if line.startswith("SKIPPED"):
            assert "root may read and write everything" in line


def test_its_plugins_are_shown_with_the_package_that_they_come_from(installed: Path) -> None:
    listed = _python(installed, "-m", "pipeline_flow", "plugins", "list")
    assert listed.count("[package pipeline-flow-arrow]") == 3
    shown = _python(installed, "-m", "pipeline_flow", "plugins", "show", "transform.top")
    assert "column: text, required\n      The column to compare." in shown


def test_its_example_runs(installed: Path) -> None:
    (installed / "prices.csv").write_text("name,price\ntea,5\ncake,15\njam,9\n")
    _python(installed, "-W", "error", "-m", "pipeline_flow", "run", "-q", "example.yaml")
    with pa.OSFile(str(installed / "best.arrow")) as file:
        found = pa.ipc.open_file(file).read_all().to_pylist()
    assert found == [{"name": "cake", "price": 15}, {"name": "jam", "price": 9}]
