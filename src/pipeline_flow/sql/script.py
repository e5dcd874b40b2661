"""SQL that stands in the YAML or in a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field

from pipeline_flow.errors import WrongArgument

_LARGEST = 4 * 1024 * 1024  # bytes


def read(file: str) -> str:
    """The SQL in a file.

    Raises:
        ValueError: it cannot be read.
    """
    path = Path(file).expanduser()
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(
                f"the file {file} is larger than {_LARGEST // 1024 // 1024} MB: it is hardly SQL"
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        where = "" if path.is_absolute() else f"; paths start from the working folder, {Path.cwd()}"
        raise ValueError(f"the file {file} does not exist{where}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the file {file} is not UTF-8") from None
    except OSError as error:
        raise ValueError(f"the file {file} cannot be read: {error.strerror or error}") from None


def _check(file: str | None) -> str | None:
    if file is not None:
        read(file)
    return file


SqlFile: TypeAlias = Annotated[
    str | None,
    AfterValidator(_check),
    Field(
        description="A file with the SQL, in place of `query`: UTF-8, its path from the working folder.",
        examples=["sql/daily.sql"],
    ),
]


def check_one(query: str | None, file: str | None) -> None:
    """Checks that exactly one of the two is given.

    Raises:
        ValueError: both are, or none.
    """
    if (query is None) == (file is None):
        found = "both are here" if query is not None else "neither is here"
        raise ValueError(f"the SQL stands in `query` or in a `file`, and {found}")


def text(query: str | None, file: str | None) -> str:
    """The SQL of ``query``, or in ``file``.

    Raises:
        WrongArgument: the file cannot be read any more.
    """
    if file is None:
        return query or ""
    try:
        return read(file)
    except ValueError as error:
        raise WrongArgument(str(error)) from None


def own_transaction() -> WrongArgument:
    """What to say where statements begin or end a transaction."""
    return WrongArgument(
        "the statements run in one transaction of our own, and here is a BEGIN, COMMIT or ROLLBACK",
        hint="leave it out; for two transactions write two steps",
    )
