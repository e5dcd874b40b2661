"""SQL statements as steps: their arguments, and how they run, by themselves or inside a load's transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from pipeline_flow.core import inventory
from pipeline_flow.core.spec import is_quick
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import QueryFailed, SourceUnreadable, WrongArgument
from pipeline_flow.plugins.base import ITransactionHook, PluginConfig
from pipeline_flow.sql import engine, params, script, translate, url
from pipeline_flow.sql.script import SqlFile
from pipeline_flow.sql.translate import SqlDialect
from pipeline_flow.sql.url import DatabaseUrl

if TYPE_CHECKING:
    from typing import Self

    from pipeline_flow.core.context import Context
    from pipeline_flow.plugins.base import Transaction

_LONGEST_SHOWN = 300


class StatementConfig(PluginConfig):
    """The arguments."""

    url: DatabaseUrl
    query: str | None = Field(
        default=None,
        description="One or several statements. Write `:name` for a value from `params`.",
        examples=[
            "create or replace table daily as select day, sum(amount) as amount from sales group by day"
        ],
    )
    file: SqlFile = None
    params: dict[str, Any] = Field(
        default_factory=dict,
        description="Values for the names in the statements; each statement gets those that it uses. They are bound, never "
        "written into the text.",
        examples=[{"since": "2024-01-01"}],
    )
    dialect: SqlDialect = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        script.check_one(self.query, self.file)
        text = script.text(self.query, self.file)
        for name in self.params:
            if name not in params.names(text):
                raise ValueError(
                    f"`params` gives `{name}`, and no statement has `:{name}`; "
                    f"{hint(name, params.names(text), 'they have')}"
                )
        if self.dialect is not None and not is_quick():
            try:
                statements(self)
            except WrongArgument as error:
                raise ValueError("; ".join(filter(None, (str(error), error.problems[0].hint)))) from None
        return self


def statements(config: StatementConfig) -> str:
    """The statements in the database's own SQL.

    Raises:
        WrongArgument: the file cannot be read any more, or a statement cannot be translated.
    """
    text = script.text(config.query, config.file)
    if config.dialect is None:
        return text
    return translate.translated(text, config.dialect, engine.of(url.parse(config.url)).dialect)


def run(context: Context, config: StatementConfig) -> None:
    """Runs the statements in a transaction of their own, and tells how many rows they changed."""
    database = url.parse(config.url)
    text = statements(config)
    try:
        affected = engine.of(database).execute(context, database, text, config.params)
    except (QueryFailed, SourceUnreadable) as error:
        raise _with_text(error, config, text) from None
    _tell(context, affected)


def _tell(context: Context, affected: int | None) -> None:
    if affected is not None:
        context.notice(f"{affected:,} rows affected")


def _with_text(
    error: QueryFailed | SourceUnreadable, config: StatementConfig, text: str
) -> QueryFailed | SourceUnreadable:
    """What the database refused, as it was sent: nobody has written it like that."""
    if config.dialect is None:
        return error
    advice = f"translated from {config.dialect}: {translate.shown(text, _LONGEST_SHOWN)}"
    return type(error)(str(error), hint="; ".join(filter(None, (error.hint, advice))))


class StatementHook(ITransactionHook, interface=True, kind=inventory.ROOT):
    """Statements before or after the steps of a phase; in a load phase, inside the transaction of their database's loads."""

    Config = StatementConfig
    config: StatementConfig

    @property
    def destination(self) -> str:
        """The database's canonical URL."""
        return url.parse(self.config.url).url

    async def join(self, transaction: Transaction) -> None:
        """Runs the statements inside the transaction of the loads into their database."""
        config = self.config
        text = await self.context.to_thread(statements, config)
        joined = engine.joined(transaction, url.parse(config.url))
        try:
            affected = await joined.execute(self.context, text, config.params)
        except (QueryFailed, SourceUnreadable) as error:
            raise _with_text(error, config, text) from None
        _tell(self.context, affected)

    async def alone(self) -> None:
        """Runs the statements in a transaction of their own."""
        await self.context.to_thread(run, self.context, self.config)
