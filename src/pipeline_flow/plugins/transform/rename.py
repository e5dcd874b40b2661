"""Giving columns other names."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.core.columns import folded
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class RenameTransform(ITransformPlugin, plugin_name="rename"):
    """Gives columns other names; values, types and order stay.

    All names change at once, so two columns can swap theirs. An old name is matched exactly, or else without regard
    to upper and lower case where only one column is meant.
    """

    class Config(PluginConfig):
        columns: dict[str, str] = Field(
            description="New names by old names.",
            examples=[{"cust_id": "customer_id", "Order Date": "order_date"}],
            min_length=1,
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for name in self.columns:
                given.need(name, "columns", name, at_key=True)
            new = {folded(old): name for old, name in self.columns.items()}
            if given.names is None:
                return None
            return tuple(new.get(folded(name), name) for name in given.names)

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The same rows under the new names."""
        import pyarrow as pa

        from pipeline_flow.data import adapt

        stream = adapt.to_stream(data)
        schema = stream.schema
        indexes = verb.find_all(schema, self.config.columns)
        names = list(schema.names)
        for index, new in zip(indexes, self.config.columns.values(), strict=True):
            names[index] = new
        verb.distinct(names, "give each column a name of its own; rename or drop the other one too")
        fields = [field.with_name(name) for field, name in zip(schema, names, strict=True)]
        renamed = pa.schema(fields, schema.metadata)
        return stream.map(renamed, lambda batch: pa.RecordBatch.from_arrays(batch.columns, schema=renamed))
