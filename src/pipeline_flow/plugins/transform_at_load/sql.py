"""Changing data inside its destination."""

from __future__ import annotations

from pipeline_flow.plugins.base import ITransformLoadPlugin
from pipeline_flow.sql import statement
from pipeline_flow.sql.statement import StatementConfig


class SqlTransformAtLoad(ITransformLoadPlugin, plugin_name="sql"):
    """Runs SQL statements in a database, all in one transaction.

    All of them take effect, or none; but MariaDB, and many of the databases that are reached through SQLAlchemy, commit
    by themselves at statements such as CREATE TABLE.

    Statements are separated by semicolons and written in the database's own SQL, or in a `dialect`; BEGIN and COMMIT are
    ours. How many rows were changed is told in the log. They stand in the YAML (`query`) or in a file of their own
    (`file`).
    """

    Config = StatementConfig
    config: StatementConfig

    def __call__(self) -> None:
        """Runs the statements."""
        statement.run(self.context, self.config)
