"""The first rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class LimitTransform(ITransformPlugin, plugin_name="limit"):
    """Keeps the first rows, in the order in which they come, and reads no further."""

    class Config(PluginConfig):
        rows: int = Field(ge=0, description="How many rows to keep.", examples=[100])
        offset: int = Field(
            default=0, ge=0, description="How many rows to leave out before them.", examples=[1000]
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The kept rows."""
        from pipeline_flow.data import BatchStream, adapt

        stream = adapt.to_stream(data)
        return BatchStream(stream.schema, self._first(stream), on_close=stream.close)

    def _first(self, stream: BatchStream) -> Iterator[pa.RecordBatch]:
        skip, wanted = self.config.offset, self.config.rows
        if not wanted:
            return
        with stream:
            for batch in stream:
                self.context.check()
                found = batch.slice(min(skip, batch.num_rows), wanted)
                skip -= min(skip, batch.num_rows)
                wanted -= found.num_rows
                yield found
                if not wanted:
                    return
