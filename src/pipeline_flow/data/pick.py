"""Some of a batch's rows, for every Arrow type."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Callable


def keep(batch: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    """The rows for which ``mask`` is true, in their order; a null counts as false."""
    kept = mask.true_count
    if kept == batch.num_rows:
        return batch
    if not kept:
        return batch.slice(0, 0)
    return _each(
        batch, kept, lambda column: column.filter(mask), lambda: pc.indices_nonzero(mask).to_pylist()
    )


def take(batch: pa.RecordBatch, indices: pa.Array) -> pa.RecordBatch:
    """The rows at ``indices`` (whole numbers, no nulls), in that order."""
    return _each(batch, len(indices), lambda column: column.take(indices), indices.to_pylist)


def _each(
    batch: pa.RecordBatch,
    rows: int,
    pick: Callable[[pa.Array], pa.Array],
    indices: Callable[[], list[int]],
) -> pa.RecordBatch:
    if not batch.num_columns:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    columns = []
    for column in batch.columns:
        try:
            columns.append(pick(column))
        except pa.ArrowNotImplementedError:
            columns.append(_by_storage(column, pick, indices))
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _by_storage(
    column: pa.Array, pick: Callable[[pa.Array], pa.Array], indices: Callable[[], list[int]]
) -> pa.Array:
    """What Arrow cannot pick from is picked in a type that it can, or piece by piece."""
    if pa.types.is_string_view(column.type):
        return pick(column.cast(pa.large_string())).cast(column.type)
    if pa.types.is_binary_view(column.type):
        return pick(column.cast(pa.large_binary())).cast(column.type)
    return pa.concat_arrays([column.slice(index, 1) for index in indices()])
