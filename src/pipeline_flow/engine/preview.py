"""The load at the end of a preview: it keeps the first rows that it is handed, and writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline_flow.core.inventory import LOAD, Declaration
from pipeline_flow.data import BatchStream, Tables, adapt, grid
from pipeline_flow.errors import NotTabular
from pipeline_flow.plan.model import EXTRACT
from pipeline_flow.plan.preview import COLLECT
from pipeline_flow.plugins.base import ILoadPlugin

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline_flow.engine.result import RunResult
    from pipeline_flow.events import Address


@dataclass(frozen=True, slots=True)
class Sample:
    """The first rows of one stream; ``more`` tells that there were others.

    ``table`` is ``None`` where the step gave something else than rows: ``value`` is that object then.
    """

    table: pa.Table | None
    more: bool = False
    value: Any = None

    @property
    def types(self) -> list[str]:
        """The columns' types, by DuckDB's names."""
        from pipeline_flow.sql import duckdb

        return [] if self.table is None else duckdb.type_names(self.table.schema)

    @property
    def caption(self) -> str:
        """How much of it is shown."""
        if self.table is None:
            shown = grid.cell(repr(self.value), 200)
            return f"no rows, but an object of {type(self.value).__name__}: {shown}"
        rows = f"{self.table.num_rows:,} row{'' if self.table.num_rows == 1 else 's'}"
        return f"the first {rows}" if self.more else rows

    def lines(self) -> list[str]:
        """The sample as text."""
        found = [] if self.table is None else [*grid.lines(self.table, self.types), ""]
        return [*found, self.caption]


@dataclass(frozen=True, slots=True)
class Preview:
    """What leaves one step: a sample by step id, several where several streams travel on as tables.

    ``limited`` names the extract steps that gave as many rows as ``limit_rows`` lets through; they may have more.
    """

    address: Address
    samples: dict[str, Sample]
    limit_rows: int | None = None
    limited: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """The samples as text."""
        found: list[str] = []
        for name, sample in self.samples.items():
            found += [f"{name}:", *sample.lines(), ""] if len(self.samples) > 1 else [*sample.lines(), ""]
        return [*found, *self.notes()]

    def notes(self) -> list[str]:
        """What has to be known to read the rows rightly."""
        if not self.limited:
            return []
        names = ", ".join(self.limited)
        return [f"of {names} at most the first {self.limit_rows:,} rows were read"]

    @property
    def table(self) -> pa.Table:
        """The rows, where there is one stream of them.

        Raises:
            NotTabular: there are several, or the step gave something else than rows.
        """
        found = [sample.table for sample in self.samples.values()]
        if len(found) != 1 or found[0] is None:
            what = "an object that has no rows" if len(found) == 1 else f"{len(found)} tables: see `samples`"
            raise NotTabular(f"the step {self.address} gives {what}")
        return found[0]


@dataclass(slots=True)
class Collected:
    """Receives the samples while the preview runs."""

    address: Address
    limit_rows: int | None
    samples: dict[str, Sample] = field(default_factory=dict)

    def preview(self, result: RunResult) -> Preview:
        """What the run that has ended has shown."""
        steps = result.pipelines[self.address.pipeline].steps
        limited = tuple(
            step.address.step
            for step in steps
            if step.address.phase == EXTRACT
            and self.limit_rows is not None
            and (step.rows_out or 0) >= self.limit_rows  # of several tables, together
        )
        return Preview(self.address, dict(self.samples), self.limit_rows, limited)


# Not declared: no configuration can name it. A preview adds it to its own run's view of the plugins.
class _Collect(ILoadPlugin, interface=True, kind=LOAD):
    takes_tables = True

    def __init__(self, plugin_id: str, rows: int, into: Any) -> None:
        self.id = plugin_id
        self._rows = rows
        self._into: Collected = into

    async def __call__(self, data: Any) -> None:
        if not isinstance(data, Tables):
            self._into.samples[self._into.address.step] = await self._sample(data)
            return
        for name, item in data.items():
            self._into.samples[name] = await self._sample(item)

    async def _sample(self, data: Any) -> Sample:
        import pyarrow as pa

        try:
            stream = (
                data if isinstance(data, BatchStream) else await self.context.to_thread(adapt.to_stream, data)
            )
        except NotTabular:
            return Sample(None, value=data)
        stream.run_in_thread = self.context.to_thread
        batches: list[pa.RecordBatch] = []
        async with stream:
            schema = await stream.ready()
            async for batch in stream:
                batches.append(batch)
                if stream.rows > self._rows:
                    break
        table = pa.Table.from_batches(batches, schema)
        return Sample(table.slice(0, self._rows), more=table.num_rows > self._rows)


COLLECTOR = Declaration(LOAD, COLLECT, _Collect, "built-in", __name__)
"""The collecting load, for :meth:`~pipeline_flow.core.inventory.Catalog.including`."""
