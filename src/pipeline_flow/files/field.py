"""Arguments that the plugins for files share, in the same words everywhere."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

Paths: TypeAlias = Annotated[
    str | list[str],
    Field(
        description="A file, a pattern with `*`, `?` or `**`, or a list of both. Paths start from the working folder; "
        "what a pattern matches is read in the order of the names. Files ending in `.gz` and `.zst` are unpacked.",
        examples=["data/orders.csv", "data/2024-*.csv"],
    ),
]

FolderPaths: TypeAlias = Annotated[
    str | list[str],
    Field(
        description="A file, a folder, a pattern with `*`, `?` or `**`, or a list of them. Paths start from the working "
        "folder; what a pattern matches is read in the order of the names. A folder that loads have written is read by "
        "its manifest, any other with all that lies below; folders called `day=2024-01-01` are a column `day`.",
        examples=["data/orders.csv", "lake/sales/", "data/2024-*.csv"],
    ),
]

FileColumn: TypeAlias = Annotated[
    str | None,
    Field(
        description="The name of a further column, the last one, that holds the path of the file that each row comes from.",
        examples=["source_file"],
    ),
]

Columns: TypeAlias = Annotated[
    dict[str, str],
    Field(
        description="Types by column name, as DuckDB writes them; they go before what the rows show. A value that "
        "the type would round or cut is an error.",
        examples=[{"zip": "VARCHAR", "price": "DECIMAL(10,2)", "day": "DATE"}],
    ),
]

OnTypeError: TypeAlias = Annotated[
    Literal["fail", "widen", "text"],
    Field(
        description="What happens where a value after the sample breaks its column's type. `fail`: an error that names "
        "file, line, column and value. `widen`: all rows are looked at first, and the column takes the narrowest type that "
        "holds every value exactly. `text`: all rows are looked at first, and such a column is text.",
        examples=["widen"],
    ),
]
