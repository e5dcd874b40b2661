"""``pipeline-flow init``: a project to begin with, from a template or from data that is there."""

from __future__ import annotations

import shlex
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_flow.cli import exit as exits
from pipeline_flow.listeners.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

FILE = "pipelines.yaml"
DEFAULT = "csv"
# What each template's last message suggests to look at.
_STEPS = {"csv": "joined", "python": "celsius", "files": "merge"}


def list_all() -> int:
    """Prints the templates with what each is."""
    for folder in _templates():
        first = (folder / FILE).read_text(encoding="utf-8").partition("\n")[0]
        sys.stdout.write(f"{folder.name:<10}{first.removeprefix('# ')}\n")
    return exits.FINE


def from_template(name: str | None, folder: Path) -> int:
    """Writes a template's files into ``folder`` and gives the exit code. Never overwrites a file."""
    from pipeline_flow.core.suggest import hint

    known = {item.name: item for item in _templates()}
    name = name or DEFAULT
    if name not in known:
        return _refuse(f"there is no template `{name}`", hint(name, known, "templates"))
    files = {path: item.read_bytes() for path, item in _files(known[name])}
    files = {FILE: files.pop(FILE), **files}
    code = write(folder, files)
    if code == exits.FINE:
        go = [] if folder == Path() else [f"cd {shlex.quote(str(folder))}"]
        _next(
            [*go, f"pipeline-flow run {FILE}"],
            f"pipeline-flow preview {FILE} {_STEPS.get(name, '')}".rstrip(),
        )
    return code


def from_data(source: str, target: str, output: str, name: str | None, tables: Sequence[str] = ()) -> int:
    """Writes a configuration that loads ``source`` into ``target`` and gives the exit code."""
    from pipeline_flow.cli import survey
    from pipeline_flow.cli.problems import show
    from pipeline_flow.errors import ConfigError, PipelineFlowError
    from pipeline_flow.secret import Redactor

    if output != "-" and _is_there(Path(output)):
        return _in_the_way(Path(), [output])
    try:
        found = survey.configuration(source, target, name, tables)
    except ConfigError as error:
        show(error, Redactor())
        return exits.WRONG_CONFIGURATION
    except PipelineFlowError as error:
        return _refuse(str(error), error.hint)
    if output == "-":
        sys.stdout.write(found.text)
        return exits.FINE
    code = write(Path(), {output: found.text.encode()})
    if code == exits.FINE:
        file = shlex.quote(output)
        sys.stderr.write(printable("".join(f"{line}\n" for line in found.to_set)))
        _next([f"pipeline-flow run {file}"], f"pipeline-flow preview {file} {shlex.quote(found.step)}")
    return code


def write(folder: Path, files: Mapping[str, bytes]) -> int:
    """Writes ``files`` below ``folder``, all or none, and gives the exit code."""
    taken = [name for name in files if _is_there(folder / name)]
    if taken:
        return _in_the_way(folder, taken)
    written: list[Path] = []
    try:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                written.append(path)
                file.write(content)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        return _refuse(
            f"{error.filename or folder} cannot be written: {reason.lower()}", "nothing was written"
        )
    where = "" if folder == Path() else f" in {folder}"
    sys.stderr.write(printable(f"wrote {', '.join(files)}{where}\n"))
    return exits.FINE


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _in_the_way(folder: Path, names: list[str]) -> int:
    listed = "\n".join(f"  {folder / name}" for name in names)
    what = "a file is" if len(names) == 1 else f"{len(names)} files are"
    return _refuse(
        f"{what} there already, and init overwrites nothing:\n{listed}",
        "move them away, or choose another place",
    )


def _refuse(text: str, hint: str = "") -> int:
    sys.stderr.write(printable(f"{text}\n" + (f"{hint}\n" if hint else "")))
    return exits.WRONG_CONFIGURATION


def _next(first: list[str], second: str) -> None:
    sys.stderr.write(printable(f"next:\n  {' && '.join(first)}\n  {second}\n"))


def _templates() -> list[Traversable]:
    root = resources.files("pipeline_flow.cli") / "templates"
    return sorted((item for item in root.iterdir() if item.is_dir()), key=lambda item: item.name)


def _files(folder: Traversable, above: str = "") -> Iterator[tuple[str, Traversable]]:
    """The files of a template by the names that they get: what ends in ``.txt`` is not to be taken for ours here."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.is_dir():
            yield from _files(item, f"{above}{item.name}/")
            continue
        name = item.name.removesuffix(".txt")
        yield above + (f".{name}" if name == "gitignore" else name), item
