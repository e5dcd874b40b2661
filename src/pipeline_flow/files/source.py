"""The files that an extract reads: named ones, patterns and whole folders, with what their folders' names say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow.errors import SourceMalformed, WrongArgument
from pipeline_flow.files import folder, local, partition

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class File:
    """A file, and the values of the partition columns for all of its rows, as Arrow scalars by name."""

    path: Path
    partition: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Files:
    """What a path means: the files in their order, the partition columns, and the schema that a manifest tells.

    ``schema`` has all columns, partition columns included; it is ``None`` unless one folder with a manifest was named.
    ``files`` may be empty only with a schema.
    """

    files: list[File]
    partitions: dict[str, pa.DataType]
    schema: pa.Schema | None = None


def find(paths: str | Sequence[str], suffixes: Sequence[str]) -> Files:
    """The files that ``paths`` means: files, patterns as in :func:`local.find`, and folders.

    A folder that loads have written is read by its manifest, and any other with all that lies below and ends in one of
    ``suffixes``. Folders called ``name=value`` are partition columns.

    Raises:
        SourceUnreadable: nothing matches, or a file cannot be opened.
        SourceMalformed: a manifest is damaged, or the files lie in different partition columns.
    """
    given = [paths] if isinstance(paths, str) else list(paths)
    found: list[Files] = []
    for item in given:
        path = Path(item).expanduser()
        found.append(
            _in_folder(path, suffixes) if path.is_dir() else Files([*map(File, local.find(item))], {})
        )
    first = found[0]
    for other, name in zip(found, given, strict=True):
        if other.partitions != first.partitions:
            raise SourceMalformed(
                f"{name} has other partition columns than {given[0]}: "
                f"{_shown(other.partitions)} instead of {_shown(first.partitions)}",
                hint="read them in two steps and bring them together with `concat`",
            )
    files = [file for item in found for file in item.files]
    return Files(files, first.partitions, first.schema if len(found) == 1 else None)


def _shown(partitions: dict[str, pa.DataType]) -> str:
    return ", ".join(f"{name} {type_}" for name, type_ in partitions.items()) or "none"


def _in_folder(path: Path, suffixes: Sequence[str]) -> Files:
    listed, manifest = folder.find(path, suffixes)
    if manifest is None:
        schema, types = None, partition.guessed_types([inside for inside, _ in listed])
    else:
        schema = folder.schema_of(manifest)
        types = {name: partition.stored_type(schema.field(name).type) for name in manifest.partition_by}
    files = []
    for inside, place in listed:
        local.check_readable(place)
        files.append(File(place, {name: partition.value(inside, name, types[name]) for name in types}))
    return Files(files, types, schema)


def check_file_column(name: str | None, names: Sequence[str]) -> None:
    """That the data has no column called like the one for the file's name.

    Raises:
        WrongArgument: it has.
    """
    if name is not None and name in names:
        raise WrongArgument(f"`file_column` is `{name}`, and the data has a column of this name already")
