"""Lines of text into a file, packed on the way where wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

Packing: TypeAlias = Literal["gzip", "zstd", "none"]
SUFFIXES: dict[str, str] = {"gzip": ".gz", "zstd": ".zst", "none": ""}


def packing_of(path: str, wanted: Packing | None) -> str:
    """How the file at ``path`` is packed: as ``wanted`` says, else by its suffix."""
    if wanted is not None:
        return wanted
    return next(
        (name for name, suffix in SUFFIXES.items() if suffix and path.lower().endswith(suffix)), "none"
    )


class LineWriter:
    """A text file under way. Its batches have one column of text, a line in each row with its line break.

    Args:
        path: the new file.
        packing: ``gzip``, ``zstd`` or ``none``.
        head: what comes first.
    """

    def __init__(self, path: Path, packing: str, head: str = "") -> None:
        import pyarrow as pa

        compression = None if packing == "none" else packing
        self._stream: Any = pa.output_stream(str(path), compression=compression, buffer_size=1 << 16)
        if head:
            self._stream.write(head.encode())

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Adds lines."""
        for batch in batches:
            self._stream.write(_text_of(batch.column(0)))

    def close(self) -> None:
        """Ends the file."""
        self._stream.close()


def _text_of(lines: pa.Array) -> Any:
    """The texts of ``lines``, one after the other, as they lie in memory."""
    import pyarrow as pa

    if not len(lines):
        return b""
    wide = pa.types.is_large_string(lines.type)
    _, offsets, texts = lines.buffers()
    ends = pa.Array.from_buffers(
        pa.int64() if wide else pa.int32(), len(lines) + 1, [None, offsets], offset=lines.offset
    )
    start, end = ends[0].as_py(), ends[len(lines)].as_py()
    return b"" if texts is None else texts.slice(start, end - start)
