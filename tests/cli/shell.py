"""The command line as a stranger uses it: another process, its exit code and what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parents[2] / "src"
TOO_LONG = 40  # seconds after which a process that hangs is killed; the test then fails for another reason


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What ``--json`` wrote. Fails where a line is no JSON object."""
        found = [json.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(event, dict) for event in found)
        return found

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def assert_told(self, code: int, *texts: str) -> None:
        """The exit code, every text on stderr, and no traceback."""
        assert self.code == code, self.err
        for text in texts:
            assert text in self.err, self.err
        assert "Traceback" not in self.err
        assert "bug" not in self.err


class Running:
    """A process under way. Lines of stdout are read as events, of stderr as text."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._talk: list[str] = []
        assert process.stderr is not None
        self._reader = threading.Thread(target=lambda: self._talk.extend(process.stderr or ()), daemon=True)
        self._reader.start()
        self._watchdog = threading.Timer(TOO_LONG, process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    def until(self, *texts: str) -> str:
        """Reads stdout up to a line with all of ``texts``."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if all(text in line for text in texts):
                return line
        self._reader.join()
        raise AssertionError(f"no line with {texts}; stdout: {self.lines}; stderr: {''.join(self._talk)}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Done:
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        code = self.process.wait()
        self._reader.join()
        self._watchdog.cancel()
        self.process.stdout.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        return Done(code, "".join(self.lines), "".join(self._talk))


class Warm:
    """The process of ``warm.py``."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py"))],
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> Done:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        call = {"arguments": arguments, "folder": str(folder), "environment": environment}
        self.process.stdin.write(json.dumps(call) + "\n")
        self.process.stdin.flush()
        return Done(**json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.communicate()


class Shell:
    """A working folder and the command ``pipeline-flow`` in it. ``spill`` is where data waits on disk."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        self._warm = warm
        self.spill = folder.parent / f"{folder.name}-spill"

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, str):
            text = textwrap.dedent(text).encode()
        file.write_bytes(text)
        return file

    def configure(self, file: str = "p.yaml", *, plugins: str = "", **configuration: Any) -> Path:
        """A configuration as JSON, which is YAML too; ``plugins`` is the code of a file of custom plugins."""
        if plugins:
            self.write("plugs.py", "from pipeline_flow import extract, load, transform, transform_at_load\n")
            with (self.folder / "plugs.py").open("a") as code:
                code.write(textwrap.dedent(plugins))
            configuration["plugins"] = {"custom": {"files": ["plugs.py"]}}
        return self.write(file, json.dumps(configuration, indent=1))

    @property
    def _own(self) -> dict[str, str]:
        return {"PIPELINE_FLOW_TMP": str(self.spill), "COLUMNS": "100"}

    def _environment(self, env: dict[str, str] | None) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(SOURCE), **self._own, **(env or {})}

    def python(self, *arguments: str, env: dict[str, str] | None = None, **options: Any) -> Done:
        """Runs Python with ``arguments`` to its end."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self._environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TOO_LONG,
            check=False,
            **options,
        )
        return Done(
            done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def __call__(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """Runs ``pipeline-flow`` with ``arguments`` to its end, in a fork of a process that has imported it."""
        return self._warm(arguments, self.folder, {**self._own, **(env or {})})

    def cold(self, *arguments: str, env: dict[str, str] | None = None) -> Done:
        """The same in a process that starts from nothing."""
        return self.python("-m", "pipeline_flow", *arguments, env=env)

    def line(self, command: str) -> Done:
        """Runs a line of bash, in which ``pf`` is the command."""
        done = subprocess.run(
            ["bash", "-c", f'pf() {{ "{sys.executable}" -m pipeline_flow "$@"; }}; {command}'],
            cwd=self.folder,
            env=self._environment(None),
            capture_output=True,
            timeout=TOO_LONG,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, python: tuple[str, ...] = ("-m", "pipeline_flow")) -> Running:
        """Starts ``pipeline-flow`` and leaves it running."""
        return Running(
            subprocess.Popen(
                [sys.executable, *python, *arguments],
                cwd=self.folder,
                env=self._environment(None),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )

    def left_behind(self) -> list[str]:
        """What is in the spill folder, and temporary files in the working folder."""
        spilled = (
            [str(path.relative_to(self.spill)) for path in self.spill.rglob("*")]
            if self.spill.exists()
            else []
        )
        aside = [
            path.name for path in self.folder.rglob("*") if path.name.endswith((".tmp", ".wal", "-journal"))
        ]
        return [item for item in spilled if not item.startswith("pipeline-flow-") or "/" in item] + aside


CSV = {"plugin": "csv", "args": {"path": "in.csv"}}


def etl(extract: Any = CSV, load: Any = None, transform: Any = None, **keys: Any) -> dict[str, Any]:
    """A pipeline of the given steps, each a step or a list of steps."""
    load = load or {"plugin": "parquet", "args": {"path": "out.parquet"}}
    steps = {"extract": extract, "transform": transform, "load": load}
    phases = {
        name: {"steps": step if isinstance(step, list) else [step]} for name, step in steps.items() if step
    }
    return {**keys, "phases": phases}
