"""Statements after the steps of a phase."""

from __future__ import annotations

from typing import Any

from pipeline_flow.plugins.base import IPostProcessPlugin
from pipeline_flow.sql.statement import StatementHook


class SqlPost(StatementHook, IPostProcessPlugin, plugin_name="sql"):
    """Runs SQL statements in a database after the steps of the phase. The data stays as it is.

    In a load phase that loads into the same database, they are part of the loads' transaction: they run when all its rows
    are staged, see them, and become visible together with them; where one fails, no row is loaded. Anywhere else they are
    a transaction of their own: in extract when everything is read, in load after the commit.

    Statements are separated by semicolons and written in the database's own SQL, or in a `dialect`; BEGIN and COMMIT are
    ours. How many rows were changed is told in the log.

    MariaDB commits by itself at statements such as CREATE TABLE or TRUNCATE; inside a load's transaction these are refused
    here, since they would show the rows too early. They belong into `pre` or `transform_at_load`.
    """

    async def __call__(self, data: Any = None) -> None:  # noqa: ARG002 - it sees none
        """Runs the statements by themselves."""
        await self.alone()
