"""Secrets through every sink, in every notation, and none may come out: ``python -m tests.canary``.

A configuration with secrets of every origin is run, checked, planned and previewed; its plugins say their secrets wherever
a plugin can say something. What anybody could see of it is searched for them. The sinks are found in the code (commands,
listeners, kinds of events), so that a new one counts, and fails until it is driven here.
"""

from __future__ import annotations

import asyncio
import base64
import html
import importlib
import io
import json
import logging
import os
import pkgutil
import pprint
import shlex
import subprocess
import sys
import tempfile
import textwrap
import threading
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints
from urllib.parse import quote, quote_plus

import typer

from pipeline_flow import entrypoint, events, listeners
from pipeline_flow.cli.app import app
from pipeline_flow.errors import ConfigError, RunFailed
from pipeline_flow.listeners.json_lines import JsonLines
from pipeline_flow.secret import MASK, Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE = Path(__file__).parents[1] / "src"

# Each origin has a secret of its own, with characters that every notation writes in another way.
ORIGINS = {
    "env": "Env-4f9a/+ \"é'\\%&<k>",
    "file": "File-77c1~{q}|?=:;@#!z",
    "dotenv": "Dotenv-0d3e+/b9=x_y.w",
    "command": "Command-5b21 two words and more",
    "mapping": "Mapping-ab12-ключ-9f",
    "variable": "Variable-c3d4-in/clear",
    "environment": "Environment-e5f6-by-its-name",
    "url": "Url-1a2b:w@rd!",
    "header": "Header-9c8d-of-a-request",
    "declared": "Declared-7e6f-as-secret",
    "lines": "-----BEGIN KEY-----\nLine1-aaaabbbbccccdddd\nLine2-eeeeffffgggghhhh\n-----END KEY-----",
}


def notations(secret: str) -> Iterator[str]:
    """``secret`` as libraries, shells and formats write it."""
    raw = secret.encode()
    yield secret
    for encode in (lambda text: quote(text, safe=""), quote, quote_plus):
        once = encode(secret)
        yield from (once, once.lower() if once.isascii() and secret.islower() else once, encode(once))
        yield "".join(f"%{byte:02x}" for byte in raw)
        yield "".join(f"%{byte:02X}" for byte in raw)
    yield from (
        json.dumps(secret),
        json.dumps(secret, ensure_ascii=False),
        json.dumps({"message": json.dumps({"k": secret})}),
    )
    yield from (
        repr(secret),
        repr(repr(secret)),
        ascii(secret),
        repr(raw),
        repr({"a": [secret]}),
        f"{secret!r:>60}",
    )
    yield from (html.escape(secret), html.escape(secret, quote=False), shlex.quote(secret))
    yield from (raw.hex(), raw.hex().upper())
    for before in ("", "u:", "user:", "somebody:"):
        pair = f"{before}{secret}".encode()
        yield f"Basic {base64.b64encode(pair).decode()}"
        yield base64.urlsafe_b64encode(pair + b":more").decode()
        yield base64.encodebytes(pair * 3).decode()
    yield pprint.pformat({"text": f"{secret} and what follows it"}, width=24)
    yield textwrap.fill(f"before it {secret} and after it", width=30, break_long_words=True)
    yield from (line for line in secret.splitlines() if not line.startswith("--"))


def traces(secret: str) -> list[str]:
    """What must not be found: the secret, and parts of each notation that are no more than eight characters shorter."""
    found = []
    for text in (secret, *(line for line in secret.splitlines() if not line.startswith("--"))):
        if text.startswith("--"):
            continue
        raw = text.encode()
        found += [
            text,
            quote(text, safe=""),
            quote_plus(text),
            raw.hex(),
            raw.hex().upper(),
            html.escape(text),
        ]
        found += [
            json.dumps(text)[1:-1],
            repr(text)[1:-1],
            repr(raw)[2:-1],
            quote(quote(text, safe=""), safe=""),
        ]
        for before in range(3):  # the characters of base64 that are its own, wherever it stands
            encoded = base64.b64encode(b"\0" * before + raw + b"\0\0").decode()
            own = encoded[-(-8 * before // 6) : 8 * (before + len(raw)) // 6]
            found += [own, own.replace("+", "-").replace("/", "_")]
        words = text.split()
        found += [word for word in words if len(word) > 12]
        found.append(
            text.split("-")[0] + "-" + text.split("-")[1][:4]
        )  # its beginning: nothing may be cut before it is masked
    return list(dict.fromkeys(found))


_PLUGINS = '''
import json, logging, os, sys, threading, warnings
from pathlib import Path

from pipeline_flow import extract, load, transform
from pipeline_flow.core.context import Context
from pipeline_flow.errors import RetryableError
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, PluginConfig
from pipeline_flow.secret import Secret

SAID = json.loads(Path("said.json").read_text(encoding="utf-8"))


class Unprintable(Exception):
    """An error whose text comes from its attributes."""

    def __init__(self, secret):
        super().__init__()
        self.statement = secret

    def __str__(self):
        return f"failed: {self.statement}"


def everything(said):
    return "\\n".join(f"{number}: {text}" for number, text in enumerate(said))


@extract
async def quiet(context: Context, url: str = "", headers: dict = None, password: str = "", key: str = "", config: dict = None):
    return [{"id": 1, "note": "nothing"}, {"id": 2, "note": "nothing"}]


@extract
async def talkative(context: Context, **args):
    for text in SAID:
        context.notice(text)
        context.notice(text, level="warning")
        context.logger.info(text)
        context.logger.warning("%s", text)
        logging.getLogger("a.library").warning(text)
    warnings.warn(everything(SAID))
    try:
        raise ValueError(everything(SAID))
    except ValueError:
        context.logger.exception(everything(SAID))
    thread = threading.Thread(target=lambda: (_ for _ in ()).throw(KeyError(everything(SAID))), name="theirs")
    thread.start()
    thread.join()
    return [{"id": 1}]


@extract
async def retried(context: Context, **args):
    raise RetryableError(everything(SAID), hint=everything(SAID))


@extract
async def raising(context: Context, how: str, **args):
    error = ConnectionError(everything(SAID))
    error.add_note(everything(SAID))
    if how == "cause":
        try:
            raise Unprintable(everything(SAID))
        except Unprintable as inner:
            raise error from inner
    if how == "context":
        try:
            raise OSError(2, everything(SAID), SAID[0])
        except OSError:
            raise error
    if how == "group":
        raise ExceptionGroup(everything(SAID), [error, ExceptionGroup("inner", [Unprintable(everything(SAID))])])
    raise Unprintable(everything(SAID))


@load(threaded=True)
def rejecting(data: list[dict], context: Context):
    for text in SAID:
        context.on_bad_row = "skip"
        context.reject({"row": text}, text)
    context.on_bad_row = "fail"
    context.reject({"row": "x" * 150 + SAID[0]}, everything(SAID))


@load(threaded=True)
def searching(data: list[dict], context: Context):
    """Looks at what waits on disk meanwhile."""
    found = []
    for folder, _, names in os.walk(os.environ["PIPELINE_FLOW_TMP"]):
        found += [Path(folder, name).read_bytes().hex() for name in names]
    Path("spilled.hex").write_text("\\n".join(found))


class Declared(IExtractPlugin, plugin_name="declared"):
    class Config(PluginConfig):
        token_or_so: str
        one: Secret
        many: dict[str, Secret] = {}

    config: Config

    async def __call__(self):
        raise RuntimeError(f"{self.config!r} {self.config.one.reveal()} {self.config.many!r}")
'''

_ARGS = """
            url: "https://somebody:${{ variables.in_url }}@host.example/x?api_key=${{ env.CANARY_API_KEY }}"
            headers: {Authorization: "Bearer Header-9c8d-of-a-request"}
            password: ${{ variables.db_password }}
            key: "${{ secrets.env }} ${{ secrets.file }} ${{ secrets.dotenv }} ${{ secrets.command }}"
            config: {lines: "${{ secrets.lines }}", inner: "${{ secrets.mapping.key }}"}
"""


def configuration(extra: str = "") -> str:
    """The YAML; ``extra`` are further keys of the first step, for mistakes."""
    steps = {
        "talkative": "plugin: talkative\n          args:" + _ARGS,
        "retried": "plugin: retried\n          retry: {attempts: 2, wait: 0, jitter: 0}\n          args:"
        + _ARGS,
        **{
            f"raising_{how}": f"plugin: raising\n          args:{_ARGS}            how: {how}\n"
            for how in ("cause", "context", "group", "own")
        },
        "declared": "plugin: declared\n          args:\n            token_or_so: x\n            one: Declared-7e6f-as-secret\n"
        "            many: {a: Declared-7e6f-as-secret}\n",
    }
    pipelines = "".join(
        f"  {name}:\n    phases:\n      extract:\n        steps:\n        - {step.strip()}\n"
        "      load: {steps: [{plugin: searching}]}\n"
        for name, step in steps.items()
    )
    return f"""\
plugins: {{custom: {{files: [plugins.py]}}}}
variables:
  db_password: "{ORIGINS["variable"]}"
  in_url: "{quote(ORIGINS["url"], safe="")}"
secrets:
  env: {{plugin: env, args: {{variable: CANARY_ENV}}}}
  file: {{plugin: file, args: {{path: secret.txt}}}}
  dotenv: {{plugin: dotenv, args: {{path: .env.canary, variable: CANARY}}}}
  command: {{plugin: command, args: {{command: [cat, command.txt]}}}}
  mapping: {{plugin: dotenv, args: {{path: .env.mapping}}}}
  lines: {{plugin: file, args: {{path: lines.txt}}}}
concurrency: 4
pipelines:
  quiet:
    phases:
      extract:
        steps:
        - plugin: quiet
{extra}          args:{_ARGS}      load: {{steps: [{{plugin: rejecting}}]}}
{pipelines}"""


@dataclass
class Work:
    """A folder with the configuration and all that it names."""

    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def lay(self) -> None:
        """Writes the files."""
        said = [text for secret in ORIGINS.values() for text in notations(secret)]
        self._write("said.json", json.dumps(said))
        self._write("plugins.py", _PLUGINS)
        self._write("secret.txt", ORIGINS["file"])
        self._write("lines.txt", ORIGINS["lines"])
        self._write("command.txt", ORIGINS["command"])
        self._write(".env.canary", f"CANARY='{ORIGINS['dotenv']}'\n")
        self._write(".env.mapping", f"key='{ORIGINS['mapping']}'\n")
        self._write("pipelines.yaml", configuration())
        self._write(
            "wrong.yaml", configuration("          retires: 3\n").replace("one: Declared", "oen: Declared")
        )
        self._write("broken.yaml", configuration() + "  db_password: 'Variable-c3d4-in/clear\n")
        self.environ = {
            "CANARY_ENV": ORIGINS["env"],
            "CANARY_API_KEY": ORIGINS["environment"],
            "PIPELINE_FLOW_TMP": str(self.folder / "tmp"),
        }

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def command(self, *words: str) -> str:
        """What ``pipeline-flow`` with these words writes, to both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline_flow", *words],
            cwd=self.folder,
            env={
                **os.environ,
                **self.environ,
                "PYTHONPATH": str(SOURCE),
                "COLUMNS": "100",
                "PYTHONIOENCODING": "utf-8",
            },
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return f"{done.stdout}\n{done.stderr}"


# ------------------------------------------------------------------------------------------------------ the sinks

# What a command is called with. Each command is driven with what stands here; a new one has to find its place.
FILE = "pipelines.yaml"
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "run": (
        ("run", FILE, "--var", f"db_password={ORIGINS['variable']}"),
        ("run", FILE, "-v"),
        ("run", FILE, "-q"),
        ("run", FILE, "--json"),
        ("run", "wrong.yaml"),
        ("run", "broken.yaml"),
    ),
    "validate": (("validate", FILE), ("validate", "wrong.yaml"), ("validate", "broken.yaml")),
    "plan": (
        ("plan", FILE),
        ("plan", FILE, "--json"),
        ("plan", FILE, "--mermaid"),
        ("plan", FILE, "--svg", "plan.svg"),
        ("plan", "wrong.yaml"),
    ),
    "preview": (
        ("preview", FILE, "quiet.extract.quiet"),
        ("preview", FILE, "quiet.extract.quiet", "--json"),
        ("preview", FILE, "raising_group.extract.raising"),
        ("preview", FILE, "talkative.extract.talkative"),
        ("preview", "wrong.yaml", "quiet"),
    ),
    "plugins list": (("plugins", "list", "--file", FILE), ("plugins", "list", "--file", "wrong.yaml")),
    "config": (("config", FILE), ("config", FILE, "--explain", "quiet.extract.quiet.args.key")),
    "plugins show": (("plugins", "show", "declared", "--file", FILE),),
}
# What a command writes that is the user's own text, unchanged, or that has seen no configuration.
WITHOUT_SECRETS = {
    "init": "it writes a new project and reads no configuration",
    "fmt": "it writes the file itself",
    "connection test": "it reads no configuration; the URL that it is given is masked, see tests/connectors/postgres",
    "explain": "it shows a page of the documentation",
    "schema": "it reads no more of a configuration than which plugins it names",
}


def commands(command: Any = None, path: str = "") -> Iterator[str]:
    """The names of all commands that there are."""
    command = typer.main.get_command(app) if command is None else command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, f"{path} {name}".strip())
    if not getattr(command, "commands", {}):
        yield path


def event_classes() -> list[type[events.Event]]:
    """Every kind of event."""
    return sorted(events.Event.__subclasses__(), key=lambda cls: cls.__name__)


def listener_classes() -> list[type[Any]]:
    """Every class of the listeners' package that takes events."""
    found: dict[str, type[Any]] = {}
    for module in pkgutil.iter_modules(listeners.__path__, f"{listeners.__name__}."):
        found |= {
            name: cls
            for name, cls in vars(importlib.import_module(module.name)).items()
            if isinstance(cls, type) and cls.__module__ == module.name and hasattr(cls, "handle")
        }
    return [found[name] for name in sorted(found)]


def of_secrets(cls: type[events.Event], said: str, **known: Any) -> events.Event:
    """An event of this kind whose every text is ``said``, but for what is ``known``."""
    hints = get_type_hints(cls)
    return cls(**{item.name: known.get(item.name, _filled(hints[item.name], said)) for item in fields(cls)})


def _filled(kind: Any, said: str) -> Any:
    text = str(kind)
    if "Failure" in text:
        return events.Failure(said, said, said, said, said)
    if "Address" in text:
        return events.Address("quiet", "extract", "quiet")
    if "Status" in text:
        return events.Status.FAILED
    if "tuple" in text:
        return (said, said)
    return said if kind is str else 1.0 if kind is float else 1


def _listening(cls: type[Any], prepared: entrypoint.Prepared, redact: Redactor, said: str) -> str:
    """What a listener of this class writes when it hears every kind of event."""
    from rich.console import Console

    out = io.StringIO()
    logger = logging.Logger("canary")  # noqa: LOG001 - one that nobody else has
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(message)s %(event)r"))
    logger.addHandler(handler)
    made: dict[str, Callable[[], Any]] = {
        "Lines": lambda: cls(out, 1, redact),
        "JsonLines": lambda: cls(out, redact),
        "Log": lambda: cls(redact, logger),
        "Summary": lambda: cls(out, redact, lambda names: f"{said} {names}"),
        "Live": lambda: cls(prepared.plan, redact, console=Console(file=out, force_terminal=True, width=200)),
    }
    listener = made[cls.__name__]()
    started = events.RunStarted(at=0.0, run_id="1", name="x", pipelines=("quiet",), concurrency=1)
    ended = events.RunFinished(at=9.0, run_id="1", status=events.Status.FAILED, seconds=9.0, reason=said)
    begins = [events.PipelineStarted, events.PhaseStarted, events.StepStarted]
    kinds = [kind for kind in event_classes() if kind not in (*begins, events.RunStarted, events.RunFinished)]
    for event in (
        started,
        *(of_secrets(kind, said, pipeline="quiet", phase="extract") for kind in (*begins, *kinds)),
        ended,
    ):
        listener.handle(event)
        if cls.__name__ == "Live":
            Console(file=out, width=200).print(listener.draw())
    return out.getvalue()


LISTENERS = ("Lines", "JsonLines", "Log", "Summary", "Live")
SILENT = {
    "Bus": "it hands events on as they are",
    "InOrder": "it hands events on as they are",
    "Board": "it keeps what Live shows, through Live's own redactor",
    "CriticalPath": "it keeps addresses and times alone",
    "Listener": "it is the interface",
}


class Python:
    """What a Python program that runs the configuration can see of it."""

    def __init__(self, work: Work) -> None:
        self.records: list[str] = []
        before = Path.cwd()
        handler = logging.Handler()
        handler.emit = lambda record: self.records.append(  # type: ignore[method-assign] # the shortest handler
            f"{logging.Formatter().format(record)} {getattr(record, 'event', '')}"
        )
        ours = [logging.getLogger(name) for name in ("pipeline_flow", "pipeline_flow.step")]
        levels = [logger.level for logger in ours]
        os.chdir(work.folder)
        saved = dict(os.environ)
        os.environ.update(work.environ)
        ours[0].addHandler(handler)
        logging.getLogger("a.library").disabled = True  # a host's own logs are its own business
        threading_hook, threading.excepthook = threading.excepthook, lambda _: None
        try:
            for logger in ours:
                logger.setLevel(logging.DEBUG)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.prepared = entrypoint.prepare(FILE)
                self.wrong = self._wrong("wrong.yaml")
                self.broken = self._wrong("broken.yaml")
                self.failed = self._failed()
        finally:
            threading.excepthook = threading_hook
            ours[0].removeHandler(handler)
            logging.getLogger("a.library").disabled = False
            for logger, level in zip(ours, levels, strict=True):
                logger.setLevel(level)
            os.environ.clear()
            os.environ.update(saved)
            os.chdir(before)

    def _wrong(self, file: str) -> ConfigError:
        try:
            entrypoint.prepare(file)
        except ConfigError as error:
            return error
        raise AssertionError("the mistake is not seen")

    def _failed(self) -> RunFailed:
        try:
            asyncio.run(entrypoint.start_orchestration(FILE))
        except RunFailed as error:
            return error
        raise AssertionError("no pipeline failed")

    def sinks(self) -> dict[str, str]:
        """What there is to see, by where."""
        result: Any = self.failed.result
        shown = {
            "the error: str": str(self.failed),
            "the error: repr": repr(self.failed),
            "the error: traceback with its causes": "".join(traceback.format_exception(self.failed)),
            "the error: split by except*": repr(self.failed.split(lambda _: True)),
            "the result: str": str(result),
            "the result: repr": repr(result),
            "the result: HTML": result._repr_html_(),
            "the result: its pipelines": repr(result.pipelines),
            "the result: its errors": "".join(
                "".join(traceback.format_exception(each.error))
                for each in result.pipelines.values()
                if each.error
            ),
            "the plan: repr": repr(self.prepared.plan),
            "what was prepared: repr": repr(self.prepared),
            "the log of a host program": "\n".join(self.records),
        }
        for name, error in (("a mistake", self.wrong), ("broken YAML", self.broken)):
            shown[f"{name}: str"] = str(error)
            shown[f"{name}: repr"] = repr(error)
            shown[f"{name}: traceback"] = "".join(traceback.format_exception(error))
            shown[f"{name}: problems"] = repr(error.problems)
            shown[f"{name}: as data"] = json.dumps(
                [problem.as_dict() for problem in error.problems], ensure_ascii=False
            )
        return shown


def sinks(work: Work) -> Iterator[tuple[str, str]]:
    """Every sink by name, with what came out of it."""
    calls: list[tuple[str, ...]] = []
    for name in commands():
        if name in COMMANDS:
            calls += COMMANDS[name]
        elif name not in WITHOUT_SECRETS:
            raise LookupError(f"the command {name} has no place in tests/canary.py")
    with ThreadPoolExecutor(2) as pool:
        for words, shown in zip(calls, pool.map(lambda words: work.command(*words), calls), strict=True):
            yield f"$ pipeline-flow {shlex.join(words)}", shown
    yield "the drawing of the plan", (work.folder / "plan.svg").read_text(encoding="utf-8")
    python = Python(work)
    yield from ((f"Python: {name}", text) for name, text in python.sinks().items())
    redact = Redactor()
    redact.add(list(ORIGINS.values()))
    said = "\n".join(text for secret in ORIGINS.values() for text in notations(secret))
    for cls in listener_classes():
        if cls.__name__ not in SILENT:
            yield f"the listener {cls.__name__}", _listening(cls, python.prepared, redact, said)
    for kind in event_classes():
        written = io.StringIO()
        JsonLines(written, redact).handle(of_secrets(kind, said))
        yield f"the event {kind.__name__} as JSON", written.getvalue()
    spilled = bytes.fromhex("".join((work.folder / "spilled.hex").read_text().split()))
    yield "files while it runs", spilled.decode("utf-8", "replace")
    left = [path for path in (work.folder / "tmp").rglob("*") if path.is_file()]
    yield "files that stay", "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in left)


@dataclass
class Found:
    """How many sinks there are, how much came out of them, and the secrets in it."""

    sinks: list[str] = field(default_factory=list)
    characters: int = 0
    masks: int = 0
    hits: list[str] = field(default_factory=list)


def search() -> Found:
    """Drives the secrets through every sink and looks for them."""
    found = Found()
    marks = {origin: traces(secret) for origin, secret in ORIGINS.items()}
    with tempfile.TemporaryDirectory() as folder:
        work = Work(Path(folder).resolve())
        work.lay()
        for name, text in sinks(work):
            found.sinks.append(name)
            found.characters += len(text)
            found.masks += text.count(MASK)
            for origin, texts in marks.items():
                for mark in texts:
                    at = text.find(mark)
                    if at >= 0:
                        around = text[max(0, at - 60) : at + len(mark) + 30]
                        found.hits.append(f"{name}: {origin}: {around!r}")
                        break
    return found


def main() -> int:
    """Prints how many sinks there are and what was found; gives the exit code."""
    found = search()
    for hit in found.hits:
        sys.stderr.write(f"{hit}\n")
    secrets, written = len(ORIGINS), found.characters
    sys.stdout.write(
        f"{len(found.sinks)} sinks, {len(found.hits)} hits; {secrets} secrets in "
        f"{sum(1 for secret in ORIGINS.values() for _ in notations(secret))} notations, {written:,} characters came out\n"
    )
    return 1 if found.hits else 0


if __name__ == "__main__":
    sys.exit(main())
