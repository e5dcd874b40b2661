"""Build the wheel and try it as a stranger would: in an empty environment, away from the source tree.

    python scripts/smoke_wheel.py       # in the development environment; `make wheel` does that

The wheel is built from the source archive, so both are tried. It is installed beside exactly what `run.lock` names;
then the command must start, know its version, and check and run the example.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "wheel"
PACKAGE = ROOT / "src" / "pipeline_flow"
QUIET = ["--quiet", "--quiet", "--no-input", "--disable-pip-version-check"]


def call(*command: str | Path, folder: Path = ROOT) -> str:
    """Run a program without our environment variables for Python; return what it printed, or end with all of it."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        printed = " ".join(str(part) for part in command)
        sys.exit(f"{printed}\nended with {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def build() -> Path:
    """Build source archive and wheel; return the wheel."""
    shutil.rmtree(WORK, ignore_errors=True)
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", WORK)
    (wheel,) = WORK.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    """Fail unless the wheel holds exactly the files of the package: all its SQL and `py.typed`, and no test."""
    there = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    if there != wanted:
        sys.exit(f"{wheel.name} differs from src/ in: {', '.join(sorted(there ^ wanted))}")


def install(wheel: Path) -> Path:
    """Install the wheel into an empty environment; return the folder of its programs."""
    call(sys.executable, "-m", "venv", WORK / "env")
    programs = WORK / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip: list[str | Path] = [programs / "python", "-m", "pip"]
    call(*pip, "install", *QUIET, "--require-hashes", "--requirement", ROOT / "requirements" / "run.lock")
    call(*pip, "install", *QUIET, "--no-deps", "--no-index", wheel)
    call(*pip, "check")
    return programs


def use(programs: Path, version: str) -> None:
    """Call the command in a folder that holds nothing but the examples."""
    flow = programs / "pipeline-flow"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(ROOT / "examples", folder / "examples")
        call(flow, "--help", folder=folder)
        printed = call(flow, "--version", folder=folder)
        if version not in printed:
            sys.exit(f"pipeline-flow --version prints {printed.strip()!r}, and the wheel is {version}")
        call(flow, "plugins", "list", folder=folder)
        call(flow, "validate", "examples/flights.yaml", folder=folder)
        call(flow, "run", "examples/flights.yaml", folder=folder)
        print(
            call(programs / "python", "examples/show.py", "build/demo", "--checksum", folder=folder), end=""
        )


def main() -> None:
    """Do it all."""
    wheel = build()
    check_contents(wheel)
    use(install(wheel), version=wheel.name.split("-")[1])
    print(f"{wheel.name} ({wheel.stat().st_size // 1024} KiB) works in an empty environment")


if __name__ == "__main__":
    main()
