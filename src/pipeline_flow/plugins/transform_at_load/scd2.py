"""The history of a table's rows, kept inside the destination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline_flow.plugins.base import ITransformLoadPlugin, PluginConfig
from pipeline_flow.sql import quote, url
from pipeline_flow.sql.url import OwnDatabaseUrl

if TYPE_CHECKING:
    from typing import Self


def _check_table(table: str) -> str:
    if len(quote.split_table(table)) > 2:
        raise ValueError(f"`{table}` has more parts than schema.table")
    return table


_Table = Annotated[str, AfterValidator(_check_table)]
_Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Scd2TransformAtLoad(ITransformLoadPlugin, plugin_name="scd2"):
    """Keeps every version of each row with the time for which it was valid (a slowly changing dimension, Type 2).

    `target` holds one row for each version of a key. A version is valid from `valid_from`, inclusive, to `valid_to`,
    exclusive, which is where the next one begins; the one that lasts has a null there. A row of `source` whose tracked
    columns differ from the version of its time opens a new version; null is a value like any other. All of it is one
    transaction, in the destination, and running it again with the same rows changes nothing.

    With `effective`, the source may hold several rows of a key, and rows older than what is known: each finds its place in
    the history, and its neighbours' times are corrected. A row for the very moment at which a version begins corrects that
    version. Two rows of one key for one moment that differ are an error, as is a null in the key or in `effective`.

    A missing target is made, with the types of the source. One that is there must have the columns; what else it has, such
    as a number of its own, needs a default. Only the open version is looked at by `is_current`: one that begins in the
    future counts as current. In MariaDB, a target that was made stays, empty, if the run
    fails, since making a table commits there.
    """

    class Config(PluginConfig):
        url: OwnDatabaseUrl
        source: _Table = Field(
            description="The table or view with the rows: `table` or `schema.table`.", examples=["customers"]
        )
        target: _Table = Field(
            description="The table that holds the history; it is made where it is missing.",
            examples=["dim_customer"],
        )
        key: _Names = Field(
            description="The columns that say which thing a row is about.", examples=[["customer_id"]]
        )
        columns: _Names | None = Field(
            default=None,
            description="The columns of the source that the history keeps, besides the key; all by default.",
            examples=[["name", "segment"]],
        )
        tracked: _Names | None = Field(
            default=None,
            description="The columns whose change opens a version; by default all but `key`, `ignore` and `effective`. The "
            "others keep the value with which the version began.",
            examples=[["segment", "city"]],
        )
        ignore: _Names | None = Field(
            default=None,
            description="Columns that are kept and whose change opens no version.",
            examples=[["loaded_at"]],
        )
        effective: str | None = Field(
            default=None,
            min_length=1,
            description="The column that says from when on a row is valid: a date, a timestamp, or anything that sorts. "
            "Without it that is the run's start, and the source holds one row for each key.",
            examples=["updated_at"],
        )
        deletes: Literal["keep", "close"] = Field(
            default="keep",
            description="`close` ends, at the run's start, the version of each key that the source does not hold. Only for "
            "a source that is a full snapshot.",
            examples=["close"],
        )
        valid_from: str = Field(
            default="valid_from",
            min_length=1,
            description="The name of the column with a version's begin.",
            examples=["valid_from"],
        )
        valid_to: str = Field(
            default="valid_to",
            min_length=1,
            description="The name of the column with its end; null in the version that lasts.",
            examples=["valid_to"],
        )
        is_current: str | None = Field(
            default="is_current",
            min_length=1,
            description="The name of the column that is true in the version that lasts; null for no such column.",
            examples=["is_current"],
        )

        @model_validator(mode="after")
        def _fits_together(self) -> Self:
            if self.tracked is not None and self.ignore is not None:
                raise ValueError(
                    "`tracked` says which columns count, so there is nothing to `ignore`: take one of the two"
                )
            own = [name.casefold() for name in (self.valid_from, self.valid_to, self.is_current) if name]
            if len(set(own)) < len(own):
                raise ValueError("`valid_from`, `valid_to` and `is_current` need three different names")
            same = quote.split_table(self.source) == quote.split_table(self.target)
            if same:
                raise ValueError("`source` and `target` are the same table")
            return self

    config: Config

    def __call__(self) -> None:
        """Brings the history up to what the source says."""
        from pipeline_flow.sql import scd2, scd2_session

        config = self.config
        history = scd2.History(
            source=quote.split_table(config.source),
            target=quote.split_table(config.target),
            key=tuple(config.key),
            columns=None if config.columns is None else tuple(config.columns),
            tracked=None if config.tracked is None else tuple(config.tracked),
            ignored=tuple(config.ignore or ()),
            effective=config.effective,
            valid_from=config.valid_from,
            valid_to=config.valid_to,
            is_current=config.is_current,
            close_missing=config.deletes == "close",
            started_at=self.context.run.started_at,
        )
        with scd2_session.of(self.context, url.parse(config.url, url.OWN)) as session:
            scd2.create_missing(session, history)
            outcome = scd2.write(session, history)
        self.context.notice(f"{config.target}: {outcome}")
        if outcome.emptied:
            self.context.notice(
                f"{config.source} holds no row, so every version in {config.target} was closed", "warning"
            )
