"""Checks that data has to pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import QualityGate
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.sql import expression, query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream
    from pipeline_flow.sql.check import Outcome, RowCheck

_KINDS = ("not_null", "unique", "range", "set", "pattern", "row_count", "sql", "query")
_OF_A_ROW = ("not_null", "range", "set", "pattern", "sql")
_KEYS = ("name", "on_failure")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Bounds(_Strict):
    min: Any = None
    max: Any = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("write `min`, `max` or both")
        return self


class _Range(_Bounds):
    column: str


class _RowCount(_Bounds):
    min: int | None = None
    max: int | None = None


class _Set(_Strict):
    column: str
    values: list[Any] = Field(min_length=1)


class _Pattern(_Strict):
    column: str
    regex: str


class _Check(_Strict):
    """One check: exactly one of the kinds, and what happens when it fails."""

    name: str | None = None
    on_failure: Literal["fail", "warn", "drop"] = "fail"
    not_null: list[str] | None = Field(default=None, min_length=1)
    unique: list[str] | None = Field(default=None, min_length=1)
    range: _Range | None = None
    set: _Set | None = None
    pattern: _Pattern | None = None
    row_count: _RowCount | None = None
    sql: str | None = None
    query: str | None = None

    @property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def shown(self) -> str:
        """What messages call it."""
        if self.name is not None:
            return f"`{self.name}`"
        given = getattr(self, self.kind)
        if isinstance(given, list):
            return f"{self.kind} {', '.join(f'`{name}`' for name in given)}"
        if isinstance(given, str):
            text = " ".join(given.split())
            return f"{self.kind} `{text if len(text) <= 60 else text[:59] + '…'}`"
        return f"{self.kind} of `{given.column}`" if hasattr(given, "column") else self.kind


class ValidateTransform(ITransformPlugin, plugin_name="validate"):
    """Checks the data; rows that pass go on as they are.

    Each check is a mapping with exactly one of:

    - `not_null: [columns]`: none of them is null.
    - `unique: [columns]`: no two rows have the same values in all of them; rows with a null among them pass.
    - `range: {column, min, max}`: the bounds count as inside, NaN as outside.
    - `set: {column, values}`: one of the values.
    - `pattern: {column, regex}`: text that the regular expression (RE2) matches from its first to its last character.
    - `sql: expression`: DuckDB's SQL over one row, which must be true; null is not.
    - `row_count: {min, max}`: the number of rows.
    - `query: select … from data`: one SELECT in DuckDB's SQL over all rows, that gives the bad rows, or one truth
      value.

    Nulls pass range, set and pattern. `on_failure` says what a failed check does: `fail` (the default) fails the step
    at the end of the data, with all checks that failed, before anything is visible in the destination, and the command ends with exit
    code 3; `warn` tells it in the log; `drop` leaves the rows out and tells how many (of rows that are the same, all
    but the first). `name` is what messages call the check. Checks are made in their order: one sees the rows that
    those before it left.
    """

    class Config(PluginConfig):
        checks: list[dict[str, Any]] = Field(
            description="The checks.",
            examples=[
                [
                    {"not_null": ["order_id", "customer_id"]},
                    {"unique": ["order_id"], "on_failure": "drop"},
                    {"range": {"column": "amount", "min": 0}, "name": "no negative amounts"},
                    {"set": {"column": "status", "values": ["open", "paid"]}, "on_failure": "warn"},
                    {"sql": "shipped_at is null or shipped_at >= ordered_at"},
                    {"row_count": {"min": 1}},
                ]
            ],
            min_length=1,
        )

        @field_validator("checks")
        @classmethod
        def _are_checks(cls, checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
            for number, given in enumerate(checks, 1):
                try:
                    _read(given)
                except ValueError as error:
                    raise ValueError(f"check {number}: {error}") from None
            return checks

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            from pipeline_flow.sql import follow

            for number, check in enumerate(map(_read, self.checks)):
                where = ("checks", number, check.kind)
                for at, name in enumerate(check.not_null or check.unique or ()):
                    given.need(name, *where, at)
                about = check.range or check.set or check.pattern
                if about is not None:
                    given.need(about.column, *where, "column")
                if check.sql is not None:
                    follow.expressions({where: check.sql}, given)
                if check.query is not None and given.names is not None:
                    follow.query(check.query, given, *where)
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows that pass."""
        from pipeline_flow.data import BatchStream, adapt
        from pipeline_flow.sql.check import Outcome

        stream = adapt.to_stream(data)
        checks = [_read(given) for given in self.config.checks]
        outcomes = [Outcome(number, check.shown, check.on_failure) for number, check in enumerate(checks, 1)]
        try:
            checked = self._checked(stream, checks, outcomes)
        except BaseException:
            stream.close()
            raise

        def batches() -> Iterator[pa.RecordBatch]:
            with checked:
                yield from checked
            self._tell(outcomes)

        return BatchStream(checked.schema, batches(), on_close=checked.close)

    def _checked(
        self, stream: BatchStream, checks: Sequence[_Check], outcomes: Sequence[Outcome]
    ) -> BatchStream:
        """The stream through all checks, in their order; checks of rows that drop none are made together."""
        from pipeline_flow.sql import check

        together: list[RowCheck] = []
        for item, outcome in zip(checks, outcomes, strict=True):
            if item.kind in _OF_A_ROW:
                together.append(_of_a_row(stream.schema, item, outcome))
                if item.on_failure != check.DROP:
                    continue
            if together:
                stream, together = check.by_row(self.context, stream, together), []
            if item.unique is not None:
                stream = check.unique(self.context, stream, outcome, item.unique)
            elif item.row_count is not None:
                stream = check.row_count(stream, outcome, item.row_count.min, item.row_count.max)
            elif item.query is not None:
                stream = check.query(self.context, stream, outcome, item.query)
        return check.by_row(self.context, stream, together) if together else stream

    def _tell(self, outcomes: Sequence[Outcome]) -> None:
        from pipeline_flow.sql import check

        failed = []
        for outcome in outcomes:
            if not outcome.failed:
                continue
            if outcome.on_failure == check.FAIL:
                failed.append(outcome)
            elif outcome.on_failure == check.WARN:
                self.context.notice(f"check failed: {outcome}", level="warning")
            else:
                self.context.rejected += outcome.failed
                self.context.notice(f"rows left out: {outcome}", level="warning")
        if len(failed) == 1 and len(outcomes) == 1:
            raise QualityGate(f"the check failed: {failed[0]}", hint=_ADVICE)
        if failed:
            listed = "\n".join(f"- {outcome}" for outcome in failed)
            raise QualityGate(f"{len(failed)} of {len(outcomes)} checks failed:\n{listed}", hint=_ADVICE)


_ADVICE = "nothing was loaded; `on_failure: warn` lets the data pass, `on_failure: drop` leaves the rows out"


def _of_a_row(schema: pa.Schema, item: _Check, outcome: Outcome) -> RowCheck:
    from pipeline_flow.sql import check

    if item.not_null is not None:
        return check.not_null(schema, outcome, item.not_null)
    if item.range is not None:
        return check.between(schema, outcome, item.range.column, item.range.min, item.range.max)
    if item.set is not None:
        return check.one_of(schema, outcome, item.set.column, item.set.values)
    if item.pattern is not None:
        return check.pattern(schema, outcome, item.pattern.column, item.pattern.regex)
    assert item.sql is not None
    names = expression.names(item.sql)
    used = tuple(index for index, name in enumerate(schema.names) if name.casefold() in names)
    return check.RowCheck(outcome, item.sql, used, strict=True)


def _read(given: dict[str, Any]) -> _Check:
    """A check as it is written in the YAML.

    Raises:
        ValueError: it is none, with the reason.
    """
    for key in given:
        if key not in (*_KINDS, *_KEYS):
            raise ValueError(f"unknown key `{key}`; {hint(str(key), (*_KINDS, *_KEYS), 'a check has')}")
    kinds = [kind for kind in _KINDS if given.get(kind) is not None]
    if len(kinds) != 1:
        found = " and ".join(f"`{kind}`" for kind in kinds) or "none"
        raise ValueError(f"a check has exactly one of {', '.join(_KINDS)}; found {found}")
    try:
        check = _Check.model_validate(given)
    except ValueError as error:
        reasons = [_reason(item) for item in getattr(error, "errors", list)()]
        raise ValueError("; ".join(reasons) or str(error)) from None
    if check.on_failure == "drop" and check.kind in ("row_count", "query"):
        raise ValueError(
            f"`on_failure: drop` leaves rows out, and `{check.kind}` is about all of them together"
        )
    if check.sql is not None:
        expression.check(check.sql)
    if check.query is not None:
        query.check(check.query)
    return check


def _reason(item: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in item["loc"])
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"`{where}`: {message[:1].lower()}{message[1:]}" if where else message
