"""The arguments of the sources that read JSON files, and what they do with the records."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from pydantic import Field, field_validator, model_validator

from pipeline_flow.files.field import Columns, FileColumn, OnTypeError, Paths
from pipeline_flow.plugins.base import PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from pipeline_flow.core.context import Context
    from pipeline_flow.data import BatchStream
    from pipeline_flow.files.json_records import Source


class JsonConfig(PluginConfig):
    """What ``jsonl`` and ``json`` take."""

    path: Paths
    columns: Columns = Field(
        default_factory=dict,
        description="Types by column name, as DuckDB writes them; a path with dots leads into objects. They go before what "
        "the records show. `JSON` keeps a part as JSON text. A value that the type would round or cut is an error.",
        examples=[{"price": "DECIMAL(10,2)", "day": "DATE", "address.zip": "VARCHAR", "payload": "JSON"}],
    )
    on_type_error: OnTypeError = "fail"
    as_json: list[str] = Field(
        default_factory=list,
        description="Paths of what is kept as JSON text, as it is written in the file.",
        examples=[["payload", "address.geo"]],
    )
    explode: str | None = Field(
        default=None,
        description="The path of a list: each of its items becomes a row, with `keys` of the record around it and its place "
        "in the list, from 0, as `_index`. Records without items give no rows.",
        examples=["items"],
    )
    keys: list[str] | dict[str, str] = Field(
        default_factory=list,
        description="With `explode`: what is kept of the record around the list, by path; a map gives names.",
        examples=[["order_id"], {"order": "id"}],
    )
    flatten: bool | str = Field(
        default=False,
        description="Whether objects become columns: `address` with `zip` is `address_zip`. A text is what stands between "
        "the names instead of `_`. Lists stay.",
        examples=[True, "__"],
    )
    file_column: FileColumn = None
    encoding: str = Field(
        default="utf-8",
        description="The text encoding, by any name that Python knows.",
        examples=["cp1252"],
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"{value!r} is not a text encoding that Python knows") from None
        return value

    @model_validator(mode="after")
    def _keys_of_what(self) -> Self:
        if self.keys and self.explode is None:
            raise ValueError(
                "`keys` says what is kept beside the items of a list; name the list with `explode`"
            )
        return self


def read(context: Context, config: JsonConfig, sources: Sequence[Source]) -> BatchStream:
    """The rows that ``config`` makes of the records of ``sources``. Blocks: call it off the event loop.

    Raises:
        SourceUnreadable, SourceMalformed, WrongArgument: as :func:`json_records.stream`.
    """
    from pipeline_flow.files import json_records, nested

    keys = (
        config.keys if isinstance(config.keys, dict) else {key.replace(".", "_"): key for key in config.keys}
    )
    stream = json_records.stream(
        context,
        sources,
        columns=config.columns,
        on_type_error=config.on_type_error,
        as_text=config.as_json,
        lists=[config.explode] if config.explode is not None else [],
        expected=list(keys.values()),
        file_column=config.file_column,
    )
    try:
        if config.explode is not None:
            always = [config.file_column] if config.file_column is not None else []
            stream = nested.explode(stream, config.explode, keys, always)
        if config.flatten is not False:
            stream = nested.flatten(stream, "_" if config.flatten is True else config.flatten)
    except BaseException:
        stream.close()
        raise
    return stream
