"""Files as bytes, gzip and zstd unpacked on the way."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline_flow.errors import SourceMalformed, SourceUnreadable
from pipeline_flow.files import local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_SUFFIX = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
_PIECE = 4 * 1024 * 1024


def by_name(path: Path) -> str | None:
    """How a file of this name is packed: ``gzip``, ``zstd``, or not at all. Capitals count as small letters."""
    return _SUFFIX.get(path.suffix.lower())


def pieces(path: Path, size: int) -> Iterator[bytes]:
    """The content of ``path`` in pieces of up to ``size`` bytes, unpacked where it is packed.

    Packed is what begins as gzip or zstd does, whatever its name.

    Raises:
        SourceUnreadable: the file cannot be read.
        SourceMalformed: it is named as packed and is not, or is damaged.
    """
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(pa.OSFile(str(path)))
            packing = _packing(path, file.read(4))
            file.seek(0)
            source = stack.enter_context(pa.CompressedInputStream(file, packing)) if packing else file
            while True:
                try:
                    piece = source.read(size)
                except OSError as error:
                    if not packing:
                        raise
                    raise SourceMalformed(f"{path} is damaged: {error}") from None
                if not piece:
                    return
                yield piece
    except OSError as error:
        raise SourceUnreadable(f"the file {path} cannot be read: {local.reason(error)}") from None


def check(path: Path, cancelled: Callable[[], None]) -> None:
    """That a file which is named as packed is whole. DuckDB takes one that was cut off for its first rows.

    Args:
        path: the file.
        cancelled: called between the pieces.

    Raises:
        SourceUnreadable: the file cannot be read.
        SourceMalformed: it is not packed, or is damaged.
    """
    if by_name(path):
        for _ in pieces(path, _PIECE):
            cancelled()


def _packing(path: Path, head: bytes) -> str | None:
    for magic, packing in _MAGIC.items():
        if head.startswith(magic):
            return packing
    named = by_name(path)
    if named and head:
        raise SourceMalformed(f"{path} is not {named}", hint="correct its name")
    return None
