"""How databases differ in what SQL looks like: data, known without a driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Dialect:
    """A database's way to write names and values.

    Attributes:
        name: the database, as people call it.
        quote_mark: stands around a quoted name; doubled within.
        longest_name: how long a name may be. Longer ones are errors: PostgreSQL would cut them without a word.
        counts_bytes: whether ``longest_name`` is in bytes of UTF-8, else in characters.
        marker: stands before the name of a bound value, as the driver wants it.
        default_schema: where a table without a schema is; empty where that depends on the connection.
        folds_case: whether quoted names that differ only in upper and lower case are one name.
    """

    name: str
    quote_mark: str = '"'
    longest_name: int | None = None
    counts_bytes: bool = True
    marker: str = ":"
    default_schema: str = "main"
    folds_case: bool = True

    def fault(self, name: str) -> str:
        """Why ``name`` cannot be a name here, in words; empty where it can."""
        if not name or "\0" in name:
            return f"{name!r} cannot be a name in a database"
        length = len(name.encode("utf-8", "surrogatepass")) if self.counts_bytes else len(name)
        if self.longest_name is not None and length > self.longest_name:
            unit = "bytes" if self.counts_bytes else "characters"
            return f"the name `{name}` is {length} {unit} long, and {self.name} takes {self.longest_name} at most"
        return ""

    def target(self, parts: Sequence[str]) -> str:
        """A table's name, the same text for every way to write it."""
        text = ".".join(parts)
        if self.folds_case:
            text = text.casefold()
        return text.removeprefix(f"{self.default_schema}.") if self.default_schema else text


DUCKDB = Dialect("DuckDB", marker="$")
SQLITE = Dialect("SQLite")
POSTGRESQL = Dialect("PostgreSQL", longest_name=63, default_schema="public", folds_case=False)
MARIADB = Dialect("MariaDB", quote_mark="`", longest_name=64, counts_bytes=False, default_schema="")
# Which database that is, and how it quotes, SQLAlchemy knows.
ANY = Dialect("the database", default_schema="", folds_case=False)
