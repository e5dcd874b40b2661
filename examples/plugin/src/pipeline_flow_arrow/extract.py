"""Arrow files as a source: an extract that is a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from pipeline_flow.errors import SourceMalformed, SourceUnreadable
from pipeline_flow.plugins import IExtractPlugin, PluginConfig

if TYPE_CHECKING:
    from pipeline_flow import BatchStream


class ArrowExtract(IExtractPlugin, plugin_name="arrow"):
    """Reads an Arrow file (IPC, also called Feather 2), batch by batch."""

    class Config(PluginConfig):
        path: str = Field(
            description="The file. Relative paths start from the working folder.",
            examples=["data/orders.arrow"],
        )

    config: Config

    async def __call__(self) -> BatchStream:
        """The rows of the file."""
        return await self.context.to_thread(self._open)

    def _open(self) -> BatchStream:
        import pyarrow as pa

        from pipeline_flow import BatchStream

        path = self.config.path
        try:
            file = pa.OSFile(path)
        except OSError as error:
            raise SourceUnreadable(f"{path} cannot be read: {error.strerror}") from None
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.close()
            raise SourceMalformed(f"{path} is not an Arrow file") from None
        batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        return BatchStream(reader.schema, batches, on_close=file.close)
