"""The connector `arrow`, held against the suites that pipeline-flow's own connectors must pass."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline_flow.testing import Bench, DestinationSuite, SourceSuite


class TestSource(SourceSuite):
    """Eight tests come with the suite; we say how the source is filled and read."""

    plugin = "arrow"

    def args(self) -> dict[str, Any]:
        """The arguments that read what `put` wrote."""
        return {"path": "data.arrow"}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        """Makes the source hold the table."""
        with pa.OSFile("data.arrow", "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        return Path("data.arrow")


class TestDestination(DestinationSuite):
    """Ten tests come with the suite; we say how the target is written, read and found."""

    plugin = "arrow"

    def args(self) -> dict[str, Any]:
        """The arguments that write the target."""
        return {"path": "data.arrow"}

    def read(self, bench: Bench) -> pa.Table:
        """What the target holds."""
        with pa.OSFile("data.arrow") as file:
            return pa.ipc.open_file(file).read_all()

    def file(self, bench: Bench) -> Path:
        """Where the target is."""
        return Path("data.arrow").absolute()
