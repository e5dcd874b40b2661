"""Rows in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import order
from pipeline_flow.sql.order import Key

if TYPE_CHECKING:
    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class SortTransform(ITransformPlugin, plugin_name="sort"):
    """Sorts the rows; those that are equal keep their order. What does not fit into memory is sorted on disk.

    Text is sorted by its characters' code points (`Z` before `a`), numbers by size with NaN as the largest. Nulls
    come last, whichever the direction, unless `nulls: first` says otherwise.
    """

    class Config(PluginConfig):
        by: list[Key] = Field(
            description="The columns to sort by: names, with a minus before them for descending, or mappings with `column`, "
            "`descending` and `nulls` (`first` or `last`).",
            examples=[
                ["country", "-amount"],
                [{"column": "amount", "descending": True, "nulls": "first"}],
            ],
            min_length=1,
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            order.follow(self.by, given, "by")
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The sorted rows."""
        from pipeline_flow.data import adapt
        from pipeline_flow.sql import carrier

        stream = adapt.to_stream(data)
        found = order.keys(stream.schema, self.config.by, "by")
        by = ", ".join([*order.clause(found), carrier.PLACE])
        return carrier.whole(
            self.context,
            stream,
            lambda columns: f"select {columns} from data order by {by}",
            keys=[index for index, _ in found],
        )
