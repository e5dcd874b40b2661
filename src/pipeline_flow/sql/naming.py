"""Column names on their way into a database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import ConversionFailed, DestinationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.dialect import Dialect

Naming: TypeAlias = Literal["keep", "snake_case"]


def snake_case(name: str) -> str:
    """``name`` in lower case with underscores: ``orderID`` and ``Order ID`` → ``order_id``."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", words).strip("_").lower() or "column"


def renamed(stream: BatchStream, naming: Naming) -> BatchStream:
    """``stream`` under the names that ``naming`` gives its columns. It takes the stream over.

    Raises:
        ConversionFailed: two columns would have one name.
    """
    import pyarrow as pa

    if naming == "keep":
        return stream
    schema, taken = stream.schema, dict[str, str]()
    for name in schema.names:
        other = taken.setdefault(snake_case(name), name)
        if other != name:
            raise ConversionFailed(
                f"the columns `{other}` and `{name}` are both `{snake_case(name)}` in snake_case",
                hint="rename one of them before",
            )
    new = pa.schema(
        [field.with_name(name) for field, name in zip(schema, taken, strict=True)], schema.metadata
    )
    if new.equals(schema):
        return stream
    return stream.map(new, lambda batch: pa.RecordBatch.from_arrays(batch.columns, schema=new))


def check_names(dialect: Dialect, table: Iterable[str], columns: Iterable[str]) -> None:
    """Whether there can be a table with columns of these names.

    Raises:
        DestinationFailed: one is empty, too long, or holds a null character.
    """
    for what, names, advice in (
        ("table", table, "give it another name"),
        ("column", columns, "rename it before"),
    ):
        for name in names:
            if fault := dialect.fault(name):
                raise DestinationFailed(f"there can be no such {what}: {fault}", hint=advice)


def check_known(argument: str, given: Iterable[str], names: Sequence[str]) -> None:
    """Whether the columns that an argument names are there.

    Raises:
        DestinationFailed: one is not.
    """
    for name in given:
        if name not in names:
            raise DestinationFailed(
                f"`{argument}` names the column `{name}`, which the data does not have",
                hint=hint(name, names, "it has"),
            )
