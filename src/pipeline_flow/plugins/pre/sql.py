"""Statements before the steps of a phase."""

from __future__ import annotations

from pipeline_flow.plugins.base import IPreProcessPlugin
from pipeline_flow.sql.statement import StatementHook


class SqlPre(StatementHook, IPreProcessPlugin, plugin_name="sql"):
    """Runs SQL statements in a database before the steps of the phase.

    In a load phase that loads into the same database, they are part of the loads' transaction: they run before the first
    row is staged, readers see their effect together with the rows, and where the load fails they are taken back too.
    Anywhere else they are a transaction of their own, committed before the first step begins.

    Statements are separated by semicolons and written in the database's own SQL, or in a `dialect`; BEGIN and COMMIT are
    ours. How many rows were changed is told in the log.

    MariaDB commits by itself at statements such as CREATE TABLE or TRUNCATE, also inside a load's transaction: what stands
    before such a statement, and the statement, stay when the load fails. In a SQLite file, others cannot write from the
    first of these statements to the load's commit.
    """

    async def __call__(self) -> None:
        """Runs the statements by themselves."""
        await self.alone()
