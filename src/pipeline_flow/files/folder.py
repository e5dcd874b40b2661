"""A folder of files as a destination: what a load writes becomes visible with its manifest, all or none.

How a load goes:

1. Its files are written under ``_pipeline_flow/staged/<load>/``, where a pattern such as ``*/*.parquet`` does not look.
   A lock file beside them is held as long as the process lives.
2. They are flushed to the disk, and the manifest with the next number is created exclusively. This is the commit. A
   writer who read the same predecessor loses, reads again and takes the next number: appends add up, and a replacement
   puts its rows in the place of all that were committed before it.
3. The files move to their places and replaced files are removed. Whoever comes next finishes this, if the process
   died meanwhile; a reader of the manifest finds a file that has not moved at its staged place.
"""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import os
import secrets
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pipeline_flow.errors import DestinationFailed, InternalError, SourceUnreadable
from pipeline_flow.files import manifest as manifests
from pipeline_flow.files.local import PRIVATE, canonical, reason
from pipeline_flow.files.manifest import Entry, Manifest
from pipeline_flow.files.replace import make_folders, sync, unwritable
from pipeline_flow.plugins.base import Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pyarrow as pa

    from pipeline_flow.core.context import Context

_LOCK_SUFFIX = ".lock"


class FolderTransaction(Transaction):
    """New files of a folder, written aside until the commit. Loads of one pipeline into the folder share it."""

    def __init__(self, context: Context, folder: Path) -> None:
        self._context = context
        self.folder = folder
        now = dt.datetime.now(dt.UTC)
        self.load = f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{secrets.token_hex(4)}"
        self._staged = folder / PRIVATE / "staged"
        self._root = self._staged / self.load
        self._lock: IO[bytes] | None = None
        self._made: list[Path] = []
        self._entries: list[Entry] = []
        self._format = ""
        self._mode = ""
        self._names: tuple[str, ...] = ()
        self._schema: pa.Schema | None = None

    @classmethod
    async def begin(cls, context: Context, path: str | Path) -> FolderTransaction:
        """Makes the folder where it is missing, and finishes what loads that died have left.

        Raises:
            TargetUnwritable: the folder cannot be written.
        """
        transaction = cls(context, canonical(path))
        await context.to_thread(transaction._open)
        return transaction

    def _open(self) -> None:
        from pipeline_flow.data import lock

        try:
            with unwritable(self.folder):
                self._made = make_folders(self._staged)
                self._made = [*make_folders(self.folder / PRIVATE / "manifests"), *self._made]
                self._lock = lock.hold_new(self._lock_path(self.load))
                self._root.mkdir()
                _recover(self.folder)
        except BaseException:
            self._remove()
            raise

    def _lock_path(self, load: str) -> Path:
        return self._staged / f"{load}{_LOCK_SUFFIX}"

    # ------------------------------------------------------------------------------------------ staging

    def claim(self, format_: str, mode: str, names: Sequence[str], schema: pa.Schema) -> Path:
        """Says what a load is going to stage; gives the folder for its files.

        Args:
            format_: the plugin's name.
            mode: ``append`` or ``replace``.
            names: the partition columns.
            schema: of the rows, partition columns included.

        Raises:
            DestinationFailed: the folder holds rows of another shape, or files that no load of ours wrote.
        """
        if self._schema is None:
            self._format, self._mode, self._names, self._schema = format_, mode, tuple(names), schema
        elif (format_, mode, tuple(names)) != (self._format, self._mode, self._names):
            raise DestinationFailed(
                f"two loads write {self.folder} in different ways",
                hint="loads into one folder have the same plugin, `mode` and `partition_by`",
            )
        else:
            _check_schema(self.folder, schema, self._schema, format_, names)
        self._check(manifests.latest(self.folder))
        return self._root

    def _check(self, current: Manifest | None) -> None:
        """That the load fits what the folder holds."""
        if current is None:
            found = next((path for path in _files(self.folder) if f".{self._format}" in path.name), None)
            if found is not None:
                raise DestinationFailed(
                    f"{self.folder} holds files that no load has written, such as {found}",
                    hint="give a folder of its own, or move them away",
                )
            return
        if self._mode == "replace":
            return
        if current.format != self._format:
            raise DestinationFailed(
                f"{self.folder} holds files of the plugin `{current.format}`",
                hint="give each a folder of its own, or `mode: replace`",
            )
        if current.partition_by != self._names:
            there = ", ".join(current.partition_by) or "nothing"
            raise DestinationFailed(
                f"{self.folder} is partitioned by {there}",
                hint=f"partition_by: [{', '.join(current.partition_by)}], or `mode: replace`",
            )
        _check_schema(self.folder, self._schema, schema_of(current), self._format, self._names)

    @property
    def is_first(self) -> bool:
        """Whether what is staged would be all that the folder holds."""
        return not self._entries and (
            self._mode == "replace" or not getattr(manifests.latest(self.folder), "files", ())
        )

    @property
    def files(self) -> int:
        """How many files are staged."""
        return len(self._entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """Tells of files that are complete below what :meth:`claim` gave."""
        self._entries += entries

    # ------------------------------------------------------------------------------------------ the end

    async def commit(self) -> None:
        """Makes the rows visible.

        Raises:
            DestinationFailed: the folder holds rows of another shape now, or the system refused; nothing is visible.
        """
        await self._context.to_thread(self._commit)

    def _commit(self) -> None:
        if self._schema is None:
            self._remove()
            return
        with unwritable(self.folder):
            self._flush()
            while True:
                current = manifests.latest(self.folder)
                self._check(current)
                if current is not None:
                    _settle(self.folder, current)
                made = self._next(current)
                if manifests.create(self.folder, made):
                    break
        self._made = []
        try:
            _settle(self.folder, made)
            self._remove()
            manifests.prune(self.folder, made.sequence)
        except OSError as error:
            self._context.notice(
                f"the rows are in {self.folder}, but not all files could be moved to their places: {reason(error)}; "
                "the next load does it",
                "warning",
            )
            self._keep_lock_file()

    def _flush(self) -> None:
        folders = {self._root, self._staged}
        for entry in self._entries:
            path = self._root / entry.path
            sync(path)
            folders |= {parent for parent in path.parents if parent.is_relative_to(self._root)}
        for folder in sorted(folders, reverse=True):
            sync(folder)

    def _next(self, current: Manifest | None) -> Manifest:
        assert self._schema is not None
        before = () if current is None else current.files
        keeps = self._mode == "append"
        return Manifest(
            sequence=1 if current is None else current.sequence + 1,
            format=self._format,
            partition_by=self._names,
            schema=current.schema if current is not None and keeps else _packed(self._schema),
            run=self._context.run.id,
            load=self.load,
            written_at=dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            files=(*before, *self._entries) if keeps else tuple(self._entries),
            replaced=() if keeps else before,
        )

    async def abort(self) -> None:
        """Removes what was staged, and the folders that were made for it."""
        if self._lock is not None:
            await self._context.to_thread(self._remove)

    def _remove(self) -> None:
        if self._lock is None:
            return
        shutil.rmtree(self._root, ignore_errors=True)
        self._let_go()
        for folder in self._made:
            with contextlib.suppress(OSError):  # somebody else may have put something there
                folder.rmdir()

    def _keep_lock_file(self) -> None:
        """Gives the lock back and leaves its file, so that the next load finds what to finish."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _let_go(self) -> None:
        from pipeline_flow.data import lock

        if self._lock is not None:
            lock.let_go(self._lock, self._lock_path(self.load))
            self._lock = None


def of(transaction: Transaction) -> FolderTransaction:
    """``transaction`` as what a load into a folder began.

    Raises:
        DestinationFailed: the group's first load writes the same path as one file.
    """
    if not isinstance(transaction, FolderTransaction):
        raise InternalError(f"a load into a folder was handed a {type(transaction).__name__}")
    return transaction


# ---------------------------------------------------------------------------------------------- the state of a folder


def schema_of(manifest: Manifest) -> pa.Schema:
    """The Arrow schema of the rows, partition columns included."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(manifest.schema)))


def _packed(schema: pa.Schema) -> str:
    return base64.b64encode(schema.remove_metadata().serialize().to_pybytes()).decode("ascii")


def _check_schema(
    folder: Path, new: pa.Schema | None, old: pa.Schema, format_: str, names: Sequence[str]
) -> None:
    """That rows of ``new`` fit beside rows of ``old``; text has no types, so only its names and order count."""
    assert new is not None
    if format_ == "parquet":
        same = set(new.names) == set(old.names) and all(
            new.field(name).type.equals(old.field(name).type) for name in new.names
        )
    else:
        rest = [[name for name in schema.names if name not in names] for schema in (new, old)]
        same = rest[0] == rest[1] and all(
            name in new.names and new.field(name).type.equals(old.field(name).type) for name in names
        )
    if not same:
        raise DestinationFailed(
            f"the rows do not fit those that {folder} holds: {_shown(new, old)} instead of {_shown(old, new)}",
            hint="change the data in a transform, or `mode: replace`",
        )


def _shown(schema: pa.Schema, other: pa.Schema) -> str:
    """The columns of ``schema`` that ``other`` does not have in the same way; all where only the order differs."""
    differing = [field for field in schema if field.name not in other.names or field not in other]
    listed = differing or list(schema)
    return ", ".join(f"{field.name} {field.type}" for field in listed) or "no further column"


def _files(folder: Path) -> Iterable[Path]:
    """The files below ``folder``, but none whose name or folder begins with a dot or an underscore."""
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        yield from (Path(root, name) for name in files if not name.startswith((".", "_")))


def _recover(folder: Path) -> None:
    """Finishes the newest commit, and removes what loads that died have staged."""
    from pipeline_flow.data import lock

    staged = folder / PRIVATE / "staged"
    dead = []
    for path in staged.glob(f"*{_LOCK_SUFFIX}"):
        with contextlib.suppress(OSError):  # gone meanwhile, or another user's
            held = lock.hold(path, os.O_RDWR)
            if held is not None:
                dead.append((path, held))
    current = manifests.latest(folder)  # read when the dead ones can no longer commit
    try:
        if current is not None:
            _settle(folder, current)
    except OSError:
        for _, held in dead:
            held.close()
        raise
    for path, held in dead:
        shutil.rmtree(path.with_name(path.name.removesuffix(_LOCK_SUFFIX)), ignore_errors=True)
        lock.let_go(held, path)


def _settle(folder: Path, manifest: Manifest) -> None:
    """Moves the files of a commit to their places and removes what it replaced. May be done twice, and side by side."""
    changed = set()
    for entry in manifest.files:
        if entry.load == manifest.load:
            changed.add(_place(folder, entry))
    for entry in manifest.replaced:
        # First the staged place: once it is empty there, nobody can move it to the other any more.
        _staged_path(folder, entry).unlink(missing_ok=True)
        (folder / entry.path).unlink(missing_ok=True)
        changed.add((folder / entry.path).parent)
    for parent in changed:
        with contextlib.suppress(FileNotFoundError):
            sync(parent)
    for parent in sorted({(folder / entry.path).parent for entry in manifest.replaced}, reverse=True):
        _remove_empty(parent, folder)


def _place(folder: Path, entry: Entry) -> Path:
    source, target = _staged_path(folder, entry), folder / entry.path
    while source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # moved by somebody else, or its folder removed as empty
            source.replace(target)
    return target.parent


def _remove_empty(inner: Path, outer: Path) -> None:
    while inner != outer:
        try:
            inner.rmdir()
        except OSError:
            return
        inner = inner.parent


def _staged_path(folder: Path, entry: Entry) -> Path:
    return folder / PRIVATE / "staged" / entry.load / entry.path


# ---------------------------------------------------------------------------------------------- reading


def find(folder: Path, suffixes: Sequence[str]) -> tuple[list[tuple[str, Path]], Manifest | None]:
    """The files of a folder, each with its path inside the folder and where it lies, and the manifest if there is one.

    With a manifest these are the files that it lists, in its order; otherwise all files below with one of
    ``suffixes``, sorted, but none whose name or folder begins with a dot or an underscore.

    Raises:
        SourceUnreadable: there is none, or a file of the manifest is missing.
        SourceMalformed: the manifest is damaged.
    """
    current = manifests.latest(folder)
    if current is None:
        found = [
            (path.relative_to(folder).as_posix(), path)
            for path in sorted(Path(item) for item in _files(folder))
            if path.name.endswith(tuple(suffixes))
        ]
        if not found:
            raise SourceUnreadable(f"the folder {folder} holds no file that ends in {' or '.join(suffixes)}")
        return found, None
    missing = ""
    for _ in range(3):  # a replacement may come between reading the manifest and looking for its files
        listed = [(entry.path, _lies(folder, entry)) for entry in current.files]
        missing = next((path for path, place in listed if place is None), "")
        if not missing:
            return [(path, place) for path, place in listed if place is not None], current
        newer = manifests.latest(folder)
        if newer is None or newer.sequence == current.sequence:
            break
        current = newer
    raise SourceUnreadable(f"{folder / missing} is missing, although the folder's manifest lists it")


def _lies(folder: Path, entry: Entry) -> Path | None:
    places = (folder / entry.path, _staged_path(folder, entry), folder / entry.path)
    return next((place for place in places if place.exists()), None)
