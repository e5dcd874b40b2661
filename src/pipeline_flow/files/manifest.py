"""The manifest of a folder: which files are its rows. The newest one counts, and each is created exclusively."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import SourceMalformed, SourceUnreadable, TargetUnwritable
from pipeline_flow.files.local import PRIVATE, reason
from pipeline_flow.files.replace import sync

if TYPE_CHECKING:
    from collections.abc import Iterable

_VERSION = 1
_KEPT = 20  # older manifests are removed; a reader or writer that fell further behind than this starts anew
_NAME = re.compile(r"([0-9]{8,})\.json")


@dataclass(frozen=True, slots=True)
class Entry:
    """A file: its path inside the folder with ``/``, the load that wrote it, its rows and bytes."""

    path: str
    load: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one commit made of a folder.

    ``sequence`` counts the commits from 1; ``format`` is the plugin's name; ``schema`` is the Arrow schema of the rows
    as base64 of its IPC form, partition columns included; ``files`` are all live files, ``replaced`` those that the
    commit took out; ``load`` is the load whose files it brought.
    """

    sequence: int
    format: str
    partition_by: tuple[str, ...]
    schema: str
    run: str
    load: str
    written_at: str
    files: tuple[Entry, ...]
    replaced: tuple[Entry, ...] = ()

    @property
    def rows(self) -> int:
        """The rows of all live files."""
        return sum(entry.rows for entry in self.files)


def latest(folder: Path) -> Manifest | None:
    """The newest manifest of ``folder``; ``None`` where no load has committed there.

    Raises:
        SourceMalformed: it is damaged, or of a newer version of pipeline-flow.
        SourceUnreadable: it may not be read.
    """
    while True:
        sequence = max(_sequences(folder), default=0)
        if not sequence:
            return None
        path = _path(folder, sequence)
        try:
            return _read(path)
        except FileNotFoundError:  # a writer found out that it came too late, and took its own back
            continue
        except OSError as error:
            raise SourceUnreadable(f"{path} cannot be read: {reason(error)}") from None


def create(folder: Path, manifest: Manifest) -> bool:
    """Makes ``manifest`` the newest one, or gives ``False`` where another writer was first. This is the commit.

    Raises:
        OSError: it cannot be written.
        TargetUnwritable: the file system cannot create a file exclusively with its content.
    """
    final = _path(folder, manifest.sequence)
    aside = final.with_name(f".{manifest.load}.tmp")
    aside.write_text(_text(manifest), encoding="utf-8")
    try:
        sync(aside)
        try:
            os.link(aside, final)
        except FileExistsError:
            return False
        except (NotImplementedError, PermissionError) as error:
            raise TargetUnwritable(
                f"{folder} cannot be a folder of files: its file system has no hard links ({error})",
                hint="write one file, or another file system",
            ) from None
    finally:
        aside.unlink(missing_ok=True)
    if max(_sequences(folder)) > manifest.sequence:  # so far behind that the number was free again
        final.unlink(missing_ok=True)
        return False
    sync(final.parent)
    return True


def prune(folder: Path, newest: int) -> None:
    """Removes manifests that nobody reads any more."""
    for sequence in _sequences(folder):
        if sequence <= newest - _KEPT:
            with contextlib.suppress(OSError):
                _path(folder, sequence).unlink()


def _path(folder: Path, sequence: int) -> Path:
    return folder / PRIVATE / "manifests" / f"{sequence:08d}.json"


def _sequences(folder: Path) -> Iterable[int]:
    try:
        names = os.listdir(folder / PRIVATE / "manifests")  # noqa: PTH208 - only the names are wanted
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [int(found[1]) for name in names if (found := _NAME.fullmatch(name))]


def _text(manifest: Manifest) -> str:
    value: dict[str, Any] = {"version": _VERSION, **asdict(manifest)}
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def _read(path: Path) -> Manifest:
    text = path.read_text(encoding="utf-8")
    try:
        value = json.loads(text)
        version = value.pop("version")
        if version != _VERSION:
            raise SourceMalformed(
                f"{path} was written by another version of pipeline-flow: it has the version {version}, and here is {_VERSION}"
            )
        files, replaced = (_entries(value.pop(key)) for key in ("files", "replaced"))
        partition_by = tuple(value.pop("partition_by"))
        return Manifest(**value, partition_by=partition_by, files=files, replaced=replaced)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SourceMalformed(f"{path} is damaged") from None


def _entries(values: list[dict[str, Any]]) -> tuple[Entry, ...]:
    entries = tuple(Entry(**value) for value in values)
    for entry in entries:
        path = PurePosixPath(entry.path)
        if path.is_absolute() or {"..", PRIVATE} & set(path.parts) or "/" in entry.load:
            raise ValueError(entry.path)
    return entries
