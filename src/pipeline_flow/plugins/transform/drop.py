"""Leaving columns out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.core.columns import folded
from pipeline_flow.errors import ConversionFailed, UnknownColumn
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class DropTransform(ITransformPlugin, plugin_name="drop"):
    """Leaves columns out; the others stay as they are.

    A name is matched exactly, or else without regard to upper and lower case where only one column is meant.
    """

    class Config(PluginConfig):
        columns: list[str] = Field(
            description="The columns to leave out.", examples=[["internal_note", "tmp"]], min_length=1
        )
        ignore_missing: bool = Field(
            default=False,
            description="Whether a column that the data does not have is fine instead of an error.",
            examples=[True],
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for number, name in enumerate(self.columns):
                if not self.ignore_missing:
                    given.need(name, "columns", number)
            out = {folded(name) for name in self.columns}
            if given.names is None:
                return None
            return tuple(name for name in given.names if folded(name) not in out)

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows without the columns."""
        import pyarrow as pa

        from pipeline_flow.data import adapt

        stream = adapt.to_stream(data)
        schema = stream.schema
        out = {index for name in self.config.columns for index in self._found(schema, name)}
        kept = [index for index in range(len(schema)) if index not in out]
        if not kept:
            raise ConversionFailed("no column would be left", hint="leave one of them in")
        rest = pa.schema([schema.field(index) for index in kept], schema.metadata)
        return stream.map(rest, lambda batch: batch.select(kept))

    def _found(self, schema: pa.Schema, name: str) -> list[int]:
        if self.config.ignore_missing and name.casefold() not in {item.casefold() for item in schema.names}:
            return []
        try:
            return [verb.find(schema, name)]
        except UnknownColumn as error:
            if not error.hint.startswith("write"):
                error.hint = f"{error.hint}; `ignore_missing: true` lets it be missing".lstrip("; ")
            raise
