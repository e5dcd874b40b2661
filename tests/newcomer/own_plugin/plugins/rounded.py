from pipeline_flow import transform


@transform
def rounded(data: list[dict], column: str, digits: int = 2) -> list[dict]:
    """Rounds a column.

    Args:
        data: The rows.
        column: The column to round.
        digits: How many digits stay behind the point.
    """
    return [{**row, column: round(row[column], digits)} for row in data]
