"""Loads that write one file: the transaction that replaces it at the commit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_flow.errors import InternalError
from pipeline_flow.files.replace import Replacement
from pipeline_flow.plugins.base import Transaction

if TYPE_CHECKING:
    from pipeline_flow.core.context import Context


class FileTransaction(Transaction):
    """A file's new version, written aside until the commit."""

    def __init__(self, context: Context, replacement: Replacement) -> None:
        self._context = context
        self._replacement = replacement

    @classmethod
    async def begin(cls, context: Context, path: str | Path) -> FileTransaction:
        """Opens a new version of ``path``.

        Raises:
            TargetUnwritable: the folder cannot be written.
        """
        return cls(context, await context.to_thread(Replacement, path))

    @property
    def path(self) -> Path:
        """Where the new version is written."""
        return self._replacement.path

    async def commit(self) -> None:
        """Replaces the file.

        Raises:
            TargetUnwritable: the system refused; the old version stands.
        """
        await self._context.to_thread(self._replacement.commit)

    async def abort(self) -> None:
        """Removes the new version."""
        self._replacement.abort()


def of(transaction: Transaction) -> FileTransaction:
    """``transaction`` as what a file load began."""
    if not isinstance(transaction, FileTransaction):
        raise InternalError(f"a file load was handed a {type(transaction).__name__}")
    return transaction
