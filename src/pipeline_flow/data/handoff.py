"""The place between two phases where data waits: in memory while the run's budget lasts, then on disk.

A handoff keeps the phases apart: it is written to its end, then read, by as many readers as there are, each at its
own pace. (In a :class:`~pipeline_flow.data.streaming.StreamingHandoff` rows flow instead.) What does not fit into the
budget goes to one Arrow IPC stream per handoff. The stream format, unlike the file format, lets dictionaries change from
batch to batch; uncompressed, because that was measured to be twice as fast to write as lz4.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import ipc

from pipeline_flow.data import lock as locks
from pipeline_flow.data import schema as schemas
from pipeline_flow.data.adapt import to_stream
from pipeline_flow.data.stream import BatchStream
from pipeline_flow.errors import DataError, InternalError, SpillFull, StreamConsumed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Self

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_BATCH_OVERHEAD = 1024  # bytes that a batch takes beside its buffers, and
_COLUMN_OVERHEAD = 256  # bytes per column; a million batches of one row are not free


class Budget:
    """How much memory all handoffs of a run may hold together, in bytes. Safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Budget {self.used:,} of {self.limit:,} bytes>"

    @property
    def used(self) -> int:
        """Bytes reserved now; never more than ``limit``."""
        return self._used

    def try_reserve(self, n: int) -> bool:
        """Reserves ``n`` bytes if they are free; whether it did."""
        _check_amount(n)
        with self._lock:
            if self._used + n > self.limit:
                return False
            self._used += n
            return True

    def release(self, n: int) -> None:
        """Gives ``n`` reserved bytes back."""
        _check_amount(n)
        with self._lock:
            if n > self._used:
                raise InternalError(f"{n} bytes were given back to a budget of which {self._used} are in use")
            self._used -= n


class Spill:
    """A private folder for data that waits on disk, with a limit. Made when the first file is wanted.

    A lock file beside the folder, ``<folder>.lock``, is held as long as the process lives: see :func:`remove_stale`.
    Safe to share between threads.

    Args:
        folder: the folder itself, of this run alone. It must not exist; the ones above it are made as needed.
        limit: how many bytes it may hold; ``None`` for as many as the disk has.
    """

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        self.folder = Path(folder)
        self.limit = limit
        self._used = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._held: IO[bytes] | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Spill {self.folder}, {self._used:,} bytes>"

    @property
    def used(self) -> int:
        """Bytes accounted for now."""
        return self._used

    def new_path(self, name: str) -> Path:
        """The path of a new file in the folder; ``name`` is made safe, and need not be unique.

        Raises:
            SpillFull: the folder cannot be made.
        """
        with self._lock:
            if self._closed:
                raise InternalError(f"the spill folder {self.folder} is closed")
            if self._held is None:
                self._make()
            safe = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
            return self.folder / f"{next(self._numbers):04d}-{safe}.arrows"

    def _make(self) -> None:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _check_own(self.folder.parent)
            held = locks.hold_new(_lock_path(self.folder))
            try:
                self.folder.mkdir(mode=0o700)
            except OSError:
                locks.let_go(held, _lock_path(self.folder))
                raise
            self._held = held
        except OSError as error:
            raise SpillFull(
                f"the folder for data that waits on disk cannot be made: {self.folder}: {error.strerror or error}",
                hint="choose a folder that can be written, or raise `memory_limit`",
            ) from error

    def account(self, n: int) -> None:
        """Takes ``n`` bytes of the limit.

        Raises:
            SpillFull: they are more than are left.
        """
        _check_amount(n)
        with self._lock:
            if self.limit is not None and self._used + n > self.limit:
                raise SpillFull(
                    f"{self._used + n:,} bytes would wait on disk in {self.folder}, the limit is {self.limit:,}",
                    hint="raise `spill_limit` or `memory_limit`, or read less at once",
                )
            self._used += n

    def release(self, n: int) -> None:
        """Gives ``n`` bytes back, after their file was removed."""
        _check_amount(n)
        with self._lock:
            if self._closed:
                return
            if n > self._used:
                raise InternalError(f"{n} bytes were given back to a spill folder that holds {self._used}")
            self._used -= n

    def close(self) -> None:
        """Removes the folder and everything in it. Safe to call more than once."""
        with self._lock:
            self._closed = True
            held, self._held = self._held, None
            self._used = 0
            if held is not None:
                _remove(self.folder, held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_own(folder: Path) -> None:
    """Refuses a folder of somebody else's, who could put another one in the place of what is made in it."""
    if hasattr(os, "geteuid") and folder.lstat().st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"{folder} belongs to another user")


def remove_stale(root: Path) -> list[Path]:
    """Removes the spill folders under ``root`` that dead processes left; gives their paths.

    A folder is taken for dead when its lock file belongs to this user and nobody holds it. Folders without a lock
    file, and other users' folders, are not touched.
    """
    removed = []
    for path in sorted(Path(root).glob(f"*{_LOCK_SUFFIX}")):
        with suppress(OSError):  # gone meanwhile, or not ours to open
            held = locks.hold(path, os.O_RDWR)
            if held is not None:
                folder = path.with_name(path.name.removesuffix(_LOCK_SUFFIX))
                _remove(folder, held)
                removed.append(folder)
    return removed


_LOCK_SUFFIX = ".pipeline-flow-lock"


def _lock_path(folder: Path) -> Path:
    return folder.with_name(folder.name + _LOCK_SUFFIX)


def _remove(folder: Path, held: IO[bytes]) -> None:
    """Removes a folder whose lock is held, then the lock; a folder that resists keeps its lock file for the next time."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        held.close()
    else:
        locks.let_go(held, _lock_path(folder))


def _check_amount(n: int) -> None:
    if n < 0:
        raise InternalError(f"an amount of bytes cannot be negative: {n}")


class Handoff:
    """Where one stream waits between two phases; written once, then read as often as wanted.

    One thread writes: ``write``, or ``start``, ``append`` and ``finish``. Any number of readers may then ``open`` it.

    Args:
        name: what waits here, such as a step's address; for messages and file names.
        budget: the memory that this handoff shares with others.
        spill: where the rest goes.

    Attributes:
        rows: how many rows were written.
        memory_bytes: how many bytes of the budget are in use here; a buffer that batches share counts once.
        disk_bytes: how many bytes wait on disk.
        finished: whether everything is written, so that it can be read.
    """

    def __init__(self, name: str, budget: Budget, spill: Spill) -> None:
        self.name = name
        self.rows = 0
        self.memory_bytes = 0
        self.disk_bytes = 0
        self.finished = False
        self._budget = budget
        self._spill = spill
        self._schema: pa.Schema | None = None
        self._memory: list[pa.RecordBatch] = []
        self._held: dict[int, int] = {}
        self._path: Path | None = None
        self._sink: Any = None
        self._writer: Any = None
        self._error: BaseException | None = None
        self._closed = False
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"<Handoff {self.name}, {self.rows} rows, {self.memory_bytes:,} bytes in memory, {self.disk_bytes:,} on disk>"

    @property
    def schema(self) -> pa.Schema:
        """The columns, once writing has started."""
        if self._schema is None:
            raise InternalError(f"the handoff `{self.name}` was asked for its schema before it was started")
        return self._schema

    # ------------------------------------------------------------------------------------------ writing

    def write(self, data: Any) -> None:
        """Writes ``data`` to its end, and finishes. Blocks; an asynchronous producer's loop must run elsewhere.

        Args:
            data: a stream, or anything that :func:`to_stream` takes. It is closed.

        Raises:
            SpillFull: there is no room on disk.
            Exception: what the producer raised. The handoff has then failed and holds nothing.
        """
        try:
            with to_stream(data) as stream:
                self.start(stream.schema)
                for batch in stream:
                    self.append(batch)
                self.finish()
        except BaseException as error:
            self.fail(error)
            raise

    def start(self, schema: pa.Schema) -> None:
        """Begins writing."""
        with self._lock:
            self._check_open()
            if self._schema is not None:
                raise InternalError(f"the handoff `{self.name}` was started twice")
            self._schema = schemas.check_names(schema)

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds a batch: in memory, or on disk from the first one on that the budget has no room for. Blocks.

        Raises:
            SpillFull: there is no room on disk. The handoff has then failed and holds nothing.
        """
        with self._lock:
            self._check_batch(batch)
            if not batch.num_rows:
                return
            try:
                if self._path is not None or not self._keep(batch):
                    self._write(batch)
            except BaseException as error:
                self.fail(error)
                raise
            self.rows += batch.num_rows

    def _check_batch(self, batch: pa.RecordBatch) -> None:
        self._check_open()
        if self.finished or self._schema is None:
            raise InternalError(f"the handoff `{self.name}` is not being written")
        if not batch.schema.equals(self._schema):
            raise InternalError(
                f"the handoff `{self.name}` was given another schema: {schemas.difference(self._schema, batch.schema)}"
            )

    def finish(self) -> None:
        """Ends writing; from here on it can be read.

        Raises:
            SpillFull: there is no room on disk for the last bytes.
        """
        with self._lock:
            self._check_open()
            if self._schema is None or self.finished:
                raise InternalError(f"the handoff `{self.name}` is not being written")
            try:
                self._end_file()
            except BaseException as error:
                self.fail(error)
                raise
            self._held.clear()
            self.finished = True

    def fail(self, error: BaseException) -> None:
        """Gives up: frees everything; ``open`` raises ``error`` from here on."""
        with self._lock:
            self._error = self._error or error
            self._free()

    def _keep(self, batch: pa.RecordBatch) -> bool:
        """Keeps a batch in memory if the budget has room for what it holds on to."""
        held = buffers(batch)
        new = {at: size for at, size in held.items() if size > self._held.get(at, 0)}
        cost = sum(size - self._held.get(at, 0) for at, size in new.items())
        cost += overhead(batch)
        if not self._budget.try_reserve(cost):
            return False
        self._held.update(new)
        self._memory.append(batch)
        self.memory_bytes += cost
        return True

    def _write(self, batch: pa.RecordBatch) -> None:
        try:
            if self._path is None:
                self._path = self._spill.new_path(self.name)
                self._sink = pa.OSFile(str(self._path), "wb")
                self._writer = ipc.new_stream(self._sink, self._schema)
            # First the account, so that the limit is never exceeded; then what was really written, dictionaries included.
            expected = ipc.get_record_batch_size(batch)
            self._account(expected)
            self._writer.write_batch(batch)
            self._account(self._sink.tell() - self.disk_bytes)
        except OSError as error:
            raise self._disk_error(error) from error

    def _end_file(self) -> None:
        try:
            if self._writer is not None:
                self._writer.close()
                self._account(self._sink.tell() - self.disk_bytes)
                self._sink.close()
                self._writer = self._sink = None
        except OSError as error:
            raise self._disk_error(error) from error

    def _account(self, n: int) -> None:
        if n >= 0:
            self._spill.account(n)
        else:
            self._spill.release(-n)
        self.disk_bytes += n

    def _disk_error(self, error: OSError) -> Exception:
        if error.errno in _NO_SPACE:
            return SpillFull(
                f"the disk is full: {self.disk_bytes:,} bytes of `{self.name}` wait in {self._spill.folder}",
                hint="free some space, choose another folder, or raise `memory_limit`",
            )
        return DataError(f"the data of `{self.name}` that waits on disk in {self._spill.folder}: {error}")

    # ------------------------------------------------------------------------------------------ reading

    def open(self) -> BatchStream:
        """A new reader, from the first batch; it does not wait for other readers, nor they for it.

        Raises:
            Exception: what the handoff failed with.
            StreamConsumed: it was closed.
        """
        with self._lock:
            self._check_open()
            if not self.finished:
                raise InternalError(f"the handoff `{self.name}` was opened before it was finished")
            return BatchStream(self.schema, self._read(len(self._memory), self._path))

    def _read(self, in_memory: int, path: Path | None) -> Iterator[pa.RecordBatch]:
        rows = 0
        for number in range(in_memory):
            with self._lock:
                self._check_open()
                batch = self._memory[number]
            rows += batch.num_rows
            yield batch
        self._check_open()
        for batch in self._read_file(path) if path is not None else ():
            rows += batch.num_rows
            yield batch
        # A file that was cut short between two batches reads like a complete one.
        if rows != self.rows:
            raise DataError(
                f"`{self.name}` has {rows} rows where {self.rows} were written; were files in {self._spill.folder} changed?"
            )

    def _read_file(self, path: Path) -> Iterator[pa.RecordBatch]:
        # Read, not mapped: mapped pages would count as this process's memory.
        with ExitStack() as stack:
            try:
                source = stack.enter_context(pa.OSFile(str(path), "rb"))
                reader = stack.enter_context(ipc.open_stream(source))
                while True:
                    self._check_open()
                    try:
                        batch = reader.read_next_batch()
                    except StopIteration:
                        return
                    # An extension type that nobody registered comes back as its storage.
                    yield batch if batch.schema.equals(self.schema) else batch.cast(self.schema)
            except (OSError, pa.ArrowInvalid) as error:
                self._check_open()
                raise DataError(
                    f"the data of `{self.name}` that waits on disk cannot be read: {error}"
                ) from error

    # ------------------------------------------------------------------------------------------ closing

    def close(self) -> None:
        """Frees memory and files. Readers that are not at their end get an error. Safe to call more than once."""
        with self._lock:
            self._closed = True
            self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _free(self) -> None:
        self._memory = []
        self._held.clear()
        self._budget.release(self.memory_bytes)
        self.memory_bytes = 0
        for file in (self._writer, self._sink):
            if file is not None:
                with suppress(OSError, pa.ArrowException):  # what it would still write is thrown away
                    file.close()
        self._writer = self._sink = None
        if self._path is not None:
            with suppress(OSError):  # removed with its folder, at the latest
                self._path.unlink(missing_ok=True)
            self._path = None
        self._spill.release(self.disk_bytes)
        self.disk_bytes = 0

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise StreamConsumed(f"the data of `{self.name}` was removed before it was read to its end")


def overhead(batch: pa.RecordBatch) -> int:
    """The bytes that a batch takes beside its buffers, about."""
    columns: int = batch.num_columns
    return _BATCH_OVERHEAD + _COLUMN_OVERHEAD * columns


def buffers(batch: pa.RecordBatch) -> dict[int, int]:
    """The memory that ``batch`` keeps alive: addresses and sizes in bytes.

    A slice keeps all of its parent, and a column of an IPC message keeps the message.
    """
    held: dict[int, int] = {}
    arrays = list(batch.columns)
    while arrays:
        array = arrays.pop()
        for buffer in array.buffers():
            if buffer is not None:
                root = buffer
                while root.parent is not None:
                    root = root.parent
                held[root.address] = max(root.size, held.get(root.address, 0))
        arrays += _hidden(array)
    return held


def _hidden(array: pa.Array) -> list[pa.Array]:
    """The arrays inside ``array``: ``buffers()`` gives theirs too, but not those of their dictionaries."""
    if isinstance(array, pa.ExtensionArray):
        return [array.storage]
    if isinstance(array, pa.DictionaryArray):
        return [array.dictionary]
    if isinstance(array, pa.StructArray | pa.UnionArray):
        return [array.field(number) for number in range(array.type.num_fields)]
    values = getattr(array, "values", None)  # of all kinds of lists, maps and run-end encoded arrays
    return [values] if isinstance(values, pa.Array) else []
