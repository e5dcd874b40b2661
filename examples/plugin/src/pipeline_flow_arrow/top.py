"""A transform that is a function."""

import pyarrow as pa

from pipeline_flow import transform


@transform
def top(data: pa.Table, column: str, count: int = 10) -> pa.Table:
    """Keeps the rows with the largest values of one column.

    Args:
        data: What the step before gave, as an Arrow table.
        column: The column to compare.
        count: How many rows stay.
    """
    return data.sort_by([(column, "descending")]).slice(0, count)
