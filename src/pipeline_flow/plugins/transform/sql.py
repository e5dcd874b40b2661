"""Changing data with one SELECT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import query, script
from pipeline_flow.sql.script import SqlFile

if TYPE_CHECKING:
    from typing import Self

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class SqlTransform(ITransformPlugin, plugin_name="sql"):
    """Makes new rows of the data with one SELECT in DuckDB's SQL.

    The data is the table `data`; several extract steps that were not merged are tables by the id of their step. The
    query runs in a database of its own that reaches nothing else: no file, no network, no extension. Data that the
    query reads twice (a table joined with itself) is first written into that database.
    """

    class Config(PluginConfig):
        query: str | None = Field(
            default=None,
            description="One SELECT in DuckDB's SQL.",
            examples=["select customer_id, sum(amount) as amount from data group by all"],
        )
        file: SqlFile = None

        @field_validator("query", "file")
        @classmethod
        def _one_select(cls, given: str | None, info: ValidationInfo) -> str | None:
            if given is not None:
                query.check(given if info.field_name == "query" else script.read(given))
            return given

        @model_validator(mode="after")
        def _one_of_two(self) -> Self:
            script.check_one(self.query, self.file)
            return self

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            from pipeline_flow.sql import duckdb, follow

            where = "query" if self.file is None else "file"
            return follow.query(duckdb.single_select(script.text(self.query, self.file)), given, where)

    takes_tables: ClassVar[bool] = True
    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: Any) -> BatchStream:
        """The rows that the query makes."""
        from pipeline_flow.data import Tables, adapt
        from pipeline_flow.sql import duckdb, sealed

        tables = dict(data) if isinstance(data, Tables) else {"data": data}
        streams = {name: adapt.to_stream(value) for name, value in tables.items()}
        text = script.text(self.config.query, self.config.file)
        return sealed.run(self.context, streams, duckdb.single_select(text))
