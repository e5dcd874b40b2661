"""Leaving rows out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from pipeline_flow.errors import QueryFailed
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import verb
from pipeline_flow.sql.expression import Expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class FilterTransform(ITransformPlugin, plugin_name="filter"):
    """Keeps the rows for which a condition is true, in their order; the log tells how many are left out.

    As in SQL, a row for which the condition is null is left out.
    """

    class Config(PluginConfig):
        where: Expression = Field(
            description="The condition, an expression in DuckDB's SQL over one row.",
            examples=["amount > 0 and status = 'paid'"],
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            from pipeline_flow.sql import follow

            follow.expressions({("where",): self.where}, given)
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows that meet the condition."""
        import pyarrow as pa

        from pipeline_flow.data import BatchStream, adapt
        from pipeline_flow.sql import rowwise

        stream = adapt.to_stream(data)
        schema = stream.schema
        condition = rowwise.Rowwise(self.context, schema, {"where": self.config.where})

        def close() -> None:
            condition.close()
            stream.close()

        if not pa.types.is_boolean(condition.schema.field(0).type):
            close()
            raise QueryFailed(
                f"`where` gives {condition.schema.field(0).type} and is to be true or false",
                hint="compare with something: amount > 0",
            )
        return BatchStream(schema, self._kept(stream, condition), on_close=close)

    def _kept(self, stream: BatchStream, condition: object) -> Iterator[pa.RecordBatch]:
        from pipeline_flow.data import pick
        from pipeline_flow.sql import rowwise

        assert isinstance(condition, rowwise.Rowwise)
        seen = kept = 0
        for table in rowwise.groups(self.context, stream):
            mask = condition(table).column(0)
            start = 0
            for batch in table.to_batches():
                found = pick.keep(batch, _piece(mask, start, batch.num_rows))
                start += batch.num_rows
                kept += found.num_rows
                yield found
            seen += table.num_rows
        self.context.notice(f"{seen - kept:,} of {verb.rows(seen)} left out")


def _piece(mask: pa.ChunkedArray, start: int, length: int) -> pa.BooleanArray:
    import pyarrow as pa

    piece = mask.slice(start, length)
    return piece.chunk(0) if piece.num_chunks == 1 else pa.concat_arrays(piece.chunks)
