"""Arrow files as a destination: a load that can be taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipeline_flow.errors import TargetUnwritable
from pipeline_flow.plugins import IAtomicLoadPlugin, PluginConfig, Transaction

if TYPE_CHECKING:
    from pipeline_flow import BatchStream


class NewVersion(Transaction):
    """The new version of a file, under another name until the commit."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f".{target.name}.new")

    async def commit(self) -> None:
        """Puts the new version in the place of the old one."""
        self.path.replace(self.target)

    async def abort(self) -> None:
        """Removes the new version."""
        self.path.unlink(missing_ok=True)


class ArrowLoad(IAtomicLoadPlugin, plugin_name="arrow"):
    """Writes an Arrow file (IPC), replaced as a whole: readers see the old file or the new one."""

    class Config(PluginConfig):
        path: str = Field(
            description="The file. Relative paths start from the working folder.",
            examples=["out/orders.arrow"],
        )

    config: Config

    @property
    def destination(self) -> str:
        """The file's URL: loads with the same one share a transaction."""
        return self._file().as_uri()

    async def begin(self) -> NewVersion:
        """Opens nothing yet: the file is made when the first row comes."""
        return NewVersion(self._file())

    async def stage(self, data: BatchStream, transaction: Transaction) -> int:
        """Writes the rows where nobody sees them yet, and gives their number."""
        assert isinstance(transaction, NewVersion)
        await data.ready()
        return await self.context.to_thread(self._write, data, transaction.path)

    def _file(self) -> Path:
        return Path(self.config.path).resolve()

    def _write(self, data: BatchStream, path: Path) -> int:
        import pyarrow as pa

        try:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, data.schema) as writer:
                for batch in data:
                    self.context.check()  # a cancelled run stops here
                    writer.write_batch(batch)
        except OSError as error:
            raise TargetUnwritable(f"{self.config.path} cannot be written: {error.strerror}") from None
        return data.rows
