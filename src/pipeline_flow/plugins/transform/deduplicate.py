"""One row of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import order, verb
from pipeline_flow.sql.order import Key
from pipeline_flow.sql.quote import quote_all

if TYPE_CHECKING:
    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class DeduplicateTransform(ITransformPlugin, plugin_name="deduplicate"):
    """Keeps one of the rows that have the same values in some columns, or in all; the log tells how many are left out.

    The rows that stay keep their order. Nulls are the same as each other. Which row stays is the first or the last
    one as they come, or, with `order_by`, the first or the last one in that order; a row whose `order_by` is null
    stays only where no other one has a value.
    """

    class Config(PluginConfig):
        by: list[str] | None = Field(
            default=None,
            description="The columns that make rows the same; all by default.",
            examples=[["order_id"]],
            min_length=1,
        )
        keep: Literal["first", "last"] = Field(
            default="first", description="Which of the same rows stays.", examples=["last"]
        )
        order_by: str | list[Key] | None = Field(
            default=None,
            description="The columns that say which row is the first and which the last, written as in `sort`; by default the "
            "order in which rows come.",
            examples=["updated_at", ["updated_at", "-version"]],
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for number, name in enumerate(self.by or ()):
                given.need(name, "by", number)
            if self.order_by is not None:
                order.follow(self.order_by, given, "order_by")
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows that stay."""
        from pipeline_flow.data import adapt
        from pipeline_flow.sql import carrier

        stream = adapt.to_stream(data)
        schema = stream.schema
        names = schema.names if self.config.by is None else self.config.by
        by = verb.find_all(schema, names, "by")
        given = self.config.order_by
        listed = [] if given is None else [given] if isinstance(given, str) else given
        found = order.keys(schema, listed, "order_by")
        last = self.config.keep == "last"
        kinds = quote_all(verb.key(index) for index in by)
        # Groups and joins of numbers go to disk where memory does not suffice; a window over whole rows does not.
        stays = f"select {'max' if last else 'min'}({carrier.PLACE}) from data group by {kinds}"
        if found:
            ranked = ", ".join(
                [*order.clause(found, turned=last), f"{carrier.PLACE} {'desc' if last else 'asc'}"]
            )
            stays = (
                f"select {carrier.PLACE} from data "
                f"qualify row_number() over (partition by {kinds} order by {ranked}) = 1"
            )
        return carrier.whole(
            self.context,
            stream,
            lambda columns: (
                f"select {columns} from data where {carrier.PLACE} in ({stays}) order by {carrier.PLACE}"
            ),
            keys=[*by, *(index for index, _ in found)],
            at_end=lambda rows, kept: self.context.notice(
                f"{rows - kept:,} of {verb.rows(rows)} left out as duplicates"
            ),
        )
