"""Loads that write a file, or a folder of files: their arguments, and how rows become files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline_flow.errors import TargetUnwritable
from pipeline_flow.files import local, partition
from pipeline_flow.plugins.base import PluginConfig

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import pyarrow as pa

    from pipeline_flow.core.columns import Given
    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.folder import FolderTransaction
    from pipeline_flow.files.parts import Writer
    from pipeline_flow.plugins.base import Transaction


class TargetConfig(PluginConfig):
    """The arguments of a load that writes a file or a folder of files."""

    path: str = Field(
        description="The file, or a folder of files: a path that ends in `/`, or any path with `partition_by`. "
        "Relative paths start from the working folder.",
        examples=["out/report.csv", "lake/sales/"],
    )
    mode: Literal["append", "replace"] | None = Field(
        default=None,
        description="For a folder, and needed there: `append` adds files to what is there, `replace` puts them in the "
        "place of all that loads have written there. One file is always replaced.",
        examples=["append"],
    )
    partition_by: list[str] = Field(
        default_factory=list,
        description="Columns whose values become folders, `day=2024-01-01/region=eu/`; they are not in the files then.",
        examples=[["day", "region"]],
    )
    max_rows_per_file: int | None = Field(
        default=None, ge=1, description="The most rows of one file of a folder.", examples=[1000000]
    )

    def follow_columns(self, given: Given) -> None:
        """See :mod:`pipeline_flow.core.columns`."""
        for number, name in enumerate(self.partition_by):
            given.need(name, "partition_by", number)

    @property
    def is_folder(self) -> bool:
        """Whether the load writes a folder of files."""
        return bool(self.partition_by) or self.path.endswith(("/", os.sep))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.is_folder and self.mode is None:
            raise ValueError("a folder needs `mode: append` or `mode: replace`")
        if not self.is_folder and self.mode == "append":
            raise ValueError("one file is always replaced; end `path` with / to append files to a folder")
        if not self.is_folder and self.max_rows_per_file is not None:
            raise ValueError("`max_rows_per_file` is for folders: end `path` with /")
        twice = next((name for name in self.partition_by if self.partition_by.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"`partition_by` names `{twice}` twice")
        return self


class FileTarget:
    """What a load needs that writes a file or a folder of files; it says how a file is written.

    ``format`` is the plugin's name; the manifest of a folder holds it.
    """

    format: ClassVar[str]
    streams: ClassVar[bool] = True
    holds_database: ClassVar[bool] = False
    config: TargetConfig
    context: Context

    @property
    def destination(self) -> str:
        """The canonical URL of the file or folder."""
        return local.url(self.config.path)

    @property
    def mode(self) -> str:
        """The write mode."""
        return self.config.mode or "replace"

    async def begin(self) -> Transaction:
        """Opens a new version of the file beside it, or a place in the folder that nobody looks into."""
        if self.config.is_folder:
            from pipeline_flow.files.folder import FolderTransaction

            return await FolderTransaction.begin(self.context, self.config.path)
        from pipeline_flow.files.transaction import FileTransaction

        return await FileTransaction.begin(self.context, self.config.path)

    async def stage(self, data: BatchStream, transaction: Transaction) -> int:
        """Writes ``data`` where nobody sees it yet and gives the number of rows."""
        from pipeline_flow.files import folder
        from pipeline_flow.files import transaction as files

        await data.ready()
        if self.config.is_folder:
            return await self.context.to_thread(self._write_folder, data, folder.of(transaction))
        return await self.context.to_thread(self.write_file, data, files.of(transaction).path)

    def _write_folder(self, data: BatchStream, transaction: FolderTransaction) -> int:
        from pipeline_flow.files.parts import Parts

        names, schema = self.config.partition_by, data.schema
        try:
            partition.check(schema, names)
            root = transaction.claim(self.format, self.mode, names, schema)
        except BaseException:
            data.close()
            raise
        parts = Parts(
            root,
            transaction.load,
            self.suffix,
            lambda path: self.open_file(path, schema),
            names,
            self.config.max_rows_per_file,
            transaction.files,
        )
        count = 0
        with self.rows(data) as rows:
            try:
                for batch in rows:
                    self.context.check()
                    parts.write(batch)
                    count += batch.num_rows
                    self.context.progress(count, data.bytes)
                transaction.add(parts.finish(with_empty=transaction.is_first))
            except OSError as error:
                if error in (rows.error, data.error):
                    raise
                raise TargetUnwritable(
                    f"{self.config.path} cannot be written: {local.reason(error)}"
                ) from None
            finally:
                parts.close()
        return count

    @property
    def suffix(self) -> str:
        """The end of the name of a file in a folder."""
        raise NotImplementedError

    def write_file(self, data: BatchStream, path: Path) -> int:
        """Writes ``data`` as one file and gives the number of rows."""
        raise NotImplementedError

    def rows(self, data: BatchStream) -> BatchStream:
        """``data`` as the files of a folder take it: the partition columns, and what is written."""
        return data

    def open_file(self, path: Path, schema: pa.Schema) -> Writer:
        """Opens a file of a folder. ``schema`` is that of the data, partition columns included."""
        raise NotImplementedError
