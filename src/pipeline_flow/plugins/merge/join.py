"""Side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline_flow.core.columns import folded
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import ConversionFailed
from pipeline_flow.plugins.base import IMergeExtractPlugin, PluginConfig
from pipeline_flow.sql.quote import quote, quote_all

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream


class JoinMerge(IMergeExtractPlugin, plugin_name="join"):
    """Joins the rows of all extract steps by key columns that each of them has, in the order of the steps.

    With three steps the second is joined to the first and the third to the result. The keys come first and once, then
    the other columns of each step. Keys must be of one type (whole numbers of different size will do); a null key
    matches nothing.
    """

    class Config(PluginConfig):
        on: list[str] = Field(description="The key columns.", examples=[["customer_id"]], min_length=1)
        how: Literal["inner", "left", "right", "full"] = Field(
            default="inner",
            description="Which rows without a partner stay: none, those of the first step, of the later one, or all.",
            examples=["left"],
        )
        rename_duplicates: bool = Field(
            default=False,
            description="What happens to a column, no key, that several steps have: an error, or from the second step on "
            "it is called <column>_<step id>.",
            examples=[True],
        )

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for number, key in enumerate(self.on):
                for step in given.tables:
                    given.need(key, "on", number, table=step)
            if None in given.tables.values():
                return None
            keys = {folded(key) for key in self.on}
            found, taken = list(self.on), set(keys)
            for step, names in given.tables.items():
                for name in names or ():
                    if folded(name) in keys:
                        continue
                    found.append(
                        f"{name}_{step}" if folded(name) in taken and self.rename_duplicates else name
                    )
                    taken.add(folded(found[-1]))
            return tuple(found)

    config: Config

    def __call__(self, extracted_data: dict[str, Any]) -> BatchStream:
        """The joined rows."""
        from pipeline_flow.data import adapt
        from pipeline_flow.sql import sealed

        streams = {step: adapt.to_stream(value) for step, value in extracted_data.items()}
        query = self._query({step: stream.schema for step, stream in streams.items()})
        return sealed.run(self.context, streams, query)

    def _query(self, schemas: Mapping[str, pa.Schema]) -> str:
        _check_keys(schemas, self.config.on)
        keys = {key.casefold() for key in self.config.on}
        taken = set(keys)
        listed = [quote(key) for key in self.config.on]
        for step, schema in schemas.items():
            for name in schema.names:
                if name.casefold() in keys:
                    continue
                shown = name
                if name.casefold() in taken:
                    if not self.config.rename_duplicates:
                        raise ConversionFailed(
                            f"`{step}` has a column `{name}`, and so has a step before it",
                            hint="leave it out or rename it there, or set rename_duplicates: true",
                        )
                    shown = f"{name}_{step}"
                taken.add(shown.casefold())
                listed.append(f"{quote(step, name)} as {quote(shown)}")
        first, *others = schemas
        joins = "".join(
            f" {self.config.how} join {quote(step)} using ({quote_all(self.config.on)})" for step in others
        )
        return f"select {', '.join(listed)} from {quote(first)}{joins}"


def _check_keys(schemas: Mapping[str, pa.Schema], keys: list[str]) -> None:
    from pipeline_flow.data import widen

    for key in keys:
        known: pa.DataType | None = None
        for step, schema in schemas.items():
            if key not in schema.names:
                raise ConversionFailed(
                    f"`{step}` has no column `{key}`", hint=hint(key, schema.names, "it has")
                )
            type_ = schema.field(key).type
            wide = type_ if known is None else widen.widest(known, type_)
            if wide is None:
                raise ConversionFailed(
                    f"the key `{key}` is {known} in the steps before `{step}` and {type_} there",
                    hint="give it one type: a cast in the query, `columns` of a csv step",
                )
            known = wide
