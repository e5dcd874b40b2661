"""``pipeline-flow connection``."""

from __future__ import annotations

import asyncio
import json as json_text
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow import entrypoint
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli import streams
from pipeline_flow.cli.problems import show
from pipeline_flow.errors import ConfigError, FileUnreadable, MissingKey, RunError
from pipeline_flow.listeners.text import printable
from pipeline_flow.secret import Redactor, Secret, confidential

if TYPE_CHECKING:
    from typing import TextIO

    from pipeline_flow.sql.engine import Probe
    from pipeline_flow.sql.url import Database

_RIGHTS = {"read": "read tables", "write": "make and fill tables"}
_FILE = Path("pipelines.yaml")
_AT_ONCE = 8
_THEN = "; nothing was connected to"


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about a test of connections. ``file`` is ``None`` for ``pipelines.yaml``."""

    file: Path | None = None
    variables: dict[str, str] = field(default_factory=dict)
    profile: str | None = None
    json: bool = False


@dataclass(slots=True)
class _Tried:
    """A connection that was tried: what was found, or the error."""

    name: str | None
    redact: Redactor
    database: Database | None = None
    found: Probe | None = None
    error: ConfigError | RunError | None = None

    @property
    def code(self) -> int:
        if self.error is None:
            return exits.FINE
        return exits.WRONG_CONFIGURATION if isinstance(self.error, ConfigError) else exits.PIPELINE_FAILED


def run(target: str | None, options: Options) -> int:
    """Connects to a database, says what is found, and gives the exit code.

    Args:
        target: a URL, the name of a connection of the file, or ``None`` for all of the file's.
        options: what else the command line says.
    """
    out: TextIO = sys.stdout
    try:
        if target is not None and "://" in target:
            redact = Redactor()
            redact.add_confidential(confidential(target))
            tried = [_try(None, target, redact)]
        else:
            out = streams.take_stdout()  # what files of plugins print goes to stderr
            tried = _of_file(target, options)
    except ConfigError as error:
        show(error, Redactor(), _THEN)
        return exits.WRONG_CONFIGURATION
    if options.json:
        text = json_text.dumps(
            {"connections": [_as_data(item) for item in tried]}, indent=2, ensure_ascii=False
        )
        out.write(f"{text}\n")
    elif target is None:
        _list(tried, out)
    else:
        _tell(tried[0], out)
    out.flush()
    return exits.worst({item.code for item in tried})


def _of_file(name: str | None, options: Options) -> list[_Tried]:
    file = options.file or _FILE
    if options.file is None and not file.exists():
        text = f"there is no {file} here" + ("" if name is None else f", and `{name}` is no URL")
        raise FileUnreadable(text, hint="name the file with --file, or give the URL of a database")
    config, catalog = entrypoint.load(str(file), variables=options.variables, profile=options.profile)
    if any(not problem.warning for problem in config.problems):
        raise ConfigError(config.problems)
    if not config.connections:
        raise MissingKey(
            f"{file} has no `connections`", hint="write connections: and below it name: URL, or give a URL"
        )

    def one(each: str) -> _Tried:
        redact = Redactor()
        try:
            url = asyncio.run(entrypoint.connection(config, catalog, each, redact))
        except ConfigError as error:
            return _Tried(each, redact, error=error)
        return _try(each, url, redact)

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(one, [name] if name is not None else config.connections))


def _try(name: str | None, text: str | Secret, redact: Redactor) -> _Tried:
    from pipeline_flow.sql import engine, url

    tried = _Tried(name, redact)
    try:
        tried.database = url.parse(text)
        redact.add(list(tried.database.secrets))
        tried.found = engine.of(tried.database).probe(tried.database)
    except (ConfigError, RunError) as error:
        tried.error = error
    return tried


def _said(tried: _Tried, text: str) -> str:
    return printable(tried.redact(text))


def _summary(tried: _Tried) -> str:
    found, database = tried.found, tried.database
    assert found is not None  # the caller has looked
    assert database is not None
    who = f", as {found.user}" if found.user else ""
    how = ""
    if database.is_server and found.encryption is not None:
        how = f", {found.encryption}" if found.encryption else ", not encrypted"
    return _said(tried, f"{database}: {found.version}{who}{how}")


def _tell(tried: _Tried, out: TextIO) -> None:
    if isinstance(tried.error, ConfigError):
        show(tried.error, tried.redact, _THEN)
        return
    if tried.error is not None:
        for line in (str(tried.error), tried.error.hint):
            if line:
                sys.stderr.write(f"{_said(tried, line)}\n")
        return
    assert tried.found is not None  # there is no error
    out.write(f"{_summary(tried)}\n")
    for right, refusal in tried.found.refusals.items():
        said = f"no: {refusal}" if refusal else "yes"
        out.write(f"  {_RIGHTS.get(right, right):<22}{_said(tried, said)}\n")


def _list(tried: list[_Tried], out: TextIO) -> None:
    width = max(len(printable(item.name or "")) for item in tried)
    for item in tried:
        text = _summary(item) + _rights(item) if item.error is None else _fault(item)
        state = "ok" if item.error is None else "FAILED"
        out.write(f"{printable(item.name or ''):<{width}}  {state:<6}  {text}\n")


def _rights(tried: _Tried) -> str:
    assert tried.found is not None  # there is no error
    refused = {right: text for right, text in tried.found.refusals.items() if text}
    if not refused:
        return "; may read and write"
    return "; " + _said(tried, "; ".join(f"may not {right}: {text}" for right, text in refused.items()))


def _fault(tried: _Tried) -> str:
    error = tried.error
    if isinstance(error, ConfigError):
        parts = [part for problem in error.problems for part in (problem.text, problem.hint)]
    else:
        parts = [str(error), error.hint if error is not None else ""]
    return _said(tried, "; ".join(" ".join(part.split()) for part in parts if part))


def _as_data(tried: _Tried) -> dict[str, Any]:
    found, error = tried.found, tried.error

    def said(text: str | None) -> str | None:
        return None if text is None else tried.redact(text)

    rights = {} if found is None else found.refusals
    return {
        "name": tried.name,
        "database": said(None if tried.database is None else tried.database.url),
        "reached": found is not None,
        "version": said(None if found is None else found.version),
        "user": said(None if found is None else found.user),
        "encryption": said(None if found is None else found.encryption),
        "rights": {right: {"allowed": not text, "reason": said(text)} for right, text in rights.items()},
        "error": None if error is None else _error_data(tried, error),
    }


def _error_data(tried: _Tried, error: ConfigError | RunError) -> dict[str, Any]:
    if isinstance(error, ConfigError) and error.problems:
        first = error.problems[0]
        code, text, hint = first.code, first.text, first.hint
    else:
        code, text, hint = error.code, str(error), error.hint
    return {"code": code, "text": tried.redact(text), "hint": tried.redact(hint)}
