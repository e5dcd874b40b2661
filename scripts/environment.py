"""Make or mend the virtual environment that a recipe of the Makefile needs. Standard library only.

    python scripts/environment.py run .venv     # what the product needs, and the project itself (editable)
    python scripts/environment.py dev .venv     # the same and the tools: tests, lint, types, build
    python scripts/environment.py bench .venv   # dev, and what the benchmarks need
    python scripts/environment.py duckdb2 .venv-duckdb2     # dev, with DuckDB 2 in place of the locked 1.5

Everything comes from the locks in `requirements/`, checked against their hashes; the project is installed without
dependencies and without build isolation, so nothing else is fetched. A stamp in the environment holds what it was
made from: when that is still so, this takes a few milliseconds. An environment that does not start, was made by
another Python than `--exactly` asks for, or was copied or moved, is made anew.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such lock; there, do not run two recipes at once.
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"

# What each level installs, one after the other. `dev.lock` holds all of `run.lock` in the same versions, and of
# `build.lock`, which is what an editable install without build isolation needs.
LOCKS = {
    "run": ("run.lock", "build.lock"),
    "dev": ("dev.lock",),
    "bench": ("dev.lock", "bench.lock"),
    "duckdb2": ("dev.lock", "duckdb2.lock"),
}
# Whoever asks for the first is content with an environment that holds one of the second.
CONTENT_WITH = {
    "run": ("run", "dev", "bench"),
    "dev": ("dev", "bench"),
    "bench": ("bench",),
    "duckdb2": ("duckdb2",),
}


def digest(*paths: Path) -> str:
    """Return a hash over the contents of files. A missing one counts as empty: `make lock` is about to write it."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update((path.read_bytes() if path.exists() else b"") + b"\0")
    return whole.hexdigest()


@contextlib.contextmanager
def locked(venv: Path) -> Iterator[None]:
    """Let one process at a time work on this environment. The system frees the lock, however the process ends."""
    venv.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{venv}.lock").open("w") as handle:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another process that works on {shown(venv)}")
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell a person what takes the time."""
    print(text, file=sys.stderr, flush=True)


def shown(path: Path) -> str:
    """Return a path as a person would write it from the project's folder."""
    return os.path.relpath(path, ROOT)


def python_of(venv: Path) -> Path:
    """Return the path of the environment's interpreter."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def version_of(venv: Path) -> str | None:
    """Return the Python version of an environment, or None if it does not work."""
    try:
        asked = subprocess.run(
            [python_of(venv), "-c", "import pip, platform; print(platform.python_version())"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return asked.stdout.strip()


def create(venv: Path) -> None:
    """Make an empty environment with the Python that runs this, in place of whatever environment is there."""
    if venv.exists():
        if not (venv / "pyvenv.cfg").exists() and any(venv.iterdir()):
            sys.exit(
                f"{shown(venv)} is not a virtual environment; remove it, or choose another folder with VENV="
            )
        shutil.rmtree(venv)
    say(f"creating {shown(venv)} with Python {platform.python_version()} ({sys.executable})")
    made = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True, check=False)
    if made.returncode:
        sys.exit(f"no environment: python -m venv failed\n{made.stdout}{made.stderr}".rstrip())


def install(venv: Path, *what: str | Path) -> None:
    """Call pip in the environment. Says nothing unless it fails."""
    # --no-compile: of 3,000 modules a few hundred are ever imported, and Python compiles those itself.
    options = ["--quiet", "--quiet", "--no-compile", "--no-input", "--disable-pip-version-check"]
    done = subprocess.run([python_of(venv), "-m", "pip", "install", *options, *what], cwd=ROOT, check=False)
    if done.returncode:
        sys.exit(f"installing into {shown(venv)} failed; see the message of pip above")


def bring_up_to_date(venv: Path, level: str, *, exactly: bool) -> None:
    """Do what is missing between the environment and the locks."""
    stamp = venv / "pipeline-flow.json"
    made_from: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        made_from = json.loads(stamp.read_text())

    place = f"{venv} {ROOT}"
    version = version_of(venv)
    if (
        version is None
        or made_from.get("place") != place
        or (exactly and version != platform.python_version())
    ):
        create(venv)
        made_from = {"place": place}

    locks = {name: digest(*(REQUIREMENTS / lock for lock in LOCKS[name])) for name in CONTENT_WITH[level]}
    project = digest(ROOT / "pyproject.toml")
    installed = any(made_from.get(name) == lock for name, lock in locks.items())
    if installed and made_from.get("project") == project:
        return

    stamp.unlink(missing_ok=True)
    if not installed:
        say(f"installing {' and '.join(f'requirements/{lock}' for lock in LOCKS[level])} into {shown(venv)}")
        for lock in LOCKS[level]:
            install(venv, "--require-hashes", "--requirement", REQUIREMENTS / lock)
        made_from = {"place": place, level: locks[level]}
    install(venv, "--no-deps", "--no-build-isolation", "--no-index", "--editable", ROOT)
    stamp.write_text(json.dumps({**made_from, "project": project}, indent=1))


def main() -> None:
    """Read the call and do it under the lock."""
    parser = argparse.ArgumentParser(description="make or mend the project's virtual environment")
    parser.add_argument("level", choices=LOCKS)
    parser.add_argument("venv", type=Path)
    parser.add_argument(
        "--exactly", action="store_true", help="it must be of the Python version that runs this"
    )
    call = parser.parse_args()
    venv = (ROOT / call.venv).absolute()
    with locked(venv):
        bring_up_to_date(venv, call.level, exactly=call.exactly)


if __name__ == "__main__":
    main()
