"""Values that must not be seen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig
from pipeline_flow.secret import Secret
from pipeline_flow.sql import verb

if TYPE_CHECKING:
    from typing import Self

    import pyarrow as pa

    from pipeline_flow.core.columns import Given, Names
    from pipeline_flow.data import BatchStream

_BLOCK_BYTES = 64  # of SHA-256
_HEX_DIGITS = 64
_SHORTEST_KEY = 16  # bytes


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Hash(_Strict):
    """HMAC-SHA256 of the value under a key, in hexadecimal digits."""

    key: Secret
    length: int = Field(default=_HEX_DIGITS, ge=8, le=_HEX_DIGITS)

    @field_validator("key", mode="before")
    @classmethod
    def _is_secret(cls, key: Any) -> Secret:
        found = key if isinstance(key, Secret) else Secret(key) if isinstance(key, str) else None
        if found is None:
            raise ValueError("`key` is a text, best a secret: key: ${{ secrets.mask_key }}")
        if len(found.reveal().encode()) < _SHORTEST_KEY:
            raise ValueError(f"`key` is shorter than {_SHORTEST_KEY} bytes: whoever tries all keys finds it")
        return found


class Way(_Strict):
    """How a column is masked: one of the two."""

    hash: Hash | None = None
    keep_last: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.hash is None) == (self.keep_last is None):
            raise ValueError("write redact, {hash: {key: …}} or {keep_last: 4}")
        return self


class MaskTransform(ITransformPlugin, plugin_name="mask"):
    """Masks columns: redacts them, replaces values by a keyed hash, or keeps their last characters. Nulls stay null.

    - `redact`: text becomes `***`; a column of any other type becomes null and keeps its type.
    - `{hash: {key: ${{ secrets.mask_key }}, length: 64}}`: HMAC-SHA256 under the key, as hexadecimal digits, so that
      the same value has the same hash everywhere and nobody without the key can try values. Bytes are hashed as they
      are, text as UTF-8, any other value as the text that a cast to VARCHAR makes of it. `length` keeps the first
      digits (8 to 64).
    - `{keep_last: 4}`: the last characters, as people count them (a flag or a letter with accents is one), and a `*`
      for each one before. A value with fewer than twice as many characters is masked whole. Other types are masked as
      their text.

    All other columns stay as they are.
    """

    class Config(PluginConfig):
        columns: dict[str, Literal["redact"] | dict[str, Any]] = Field(
            description="How each column is masked, by its name: `redact`, `{hash: {key: …, length: …}}` or `{keep_last: …}`.",
            examples=[
                {
                    "email": {"hash": {"key": "${{ secrets.mask_key }}"}},
                    "iban": {"keep_last": 4},
                    "note": "redact",
                }
            ],
            min_length=1,
        )

        @field_validator("columns")
        @classmethod
        def _ways(cls, columns: dict[str, Any]) -> dict[str, Any]:
            return {name: way if isinstance(way, str) else _way(name, way) for name, way in columns.items()}

        def follow_columns(self, given: Given) -> Names | None:
            """See :mod:`pipeline_flow.core.columns`."""
            for name in self.columns:
                given.need(name, "columns", name, at_key=True)
            return given.names

    streams: ClassVar[bool] = True
    config: Config

    def __call__(self, data: BatchStream) -> BatchStream:
        """The rows with masked columns."""
        import pyarrow as pa

        from pipeline_flow.data import adapt
        from pipeline_flow.data.schema import is_binary
        from pipeline_flow.sql import rowwise

        stream = adapt.to_stream(data)
        schema = stream.schema
        indexes = verb.find_all(schema, self.config.columns)
        ways: dict[int, Any] = dict(zip(indexes, self.config.columns.values(), strict=True))
        computed = {index: way for index, way in ways.items() if isinstance(way, Way)}
        params: dict[str, bytes] = {}
        expressions: dict[str, str] = {}
        for index, way in computed.items():
            binary = is_binary(schema.field(index).type)
            expressions[schema.names[index]] = _sql(verb.key(index), way, binary, params)
        types = {index: pa.string() for index in computed}
        fields = [
            field.with_type(types[index]).with_nullable(True)
            if index in types
            else field.with_nullable(True)
            if index in ways
            else field
            for index, field in enumerate(schema)
        ]
        result = pa.schema(fields, schema.metadata)
        if not computed:
            return stream.map(
                result,
                lambda batch: pa.RecordBatch.from_arrays(
                    [
                        _redacted(column) if index in ways else column
                        for index, column in enumerate(batch.columns)
                    ],
                    schema=result,
                ),
            )
        keys = {verb.key(index): index for index in computed}
        values = rowwise.Rowwise(self.context, schema, expressions, keys=keys, params=params)

        def combine(table: pa.Table, found: pa.Table) -> pa.Table:
            columns = [
                found.column(schema.names[index])
                if index in computed
                else pa.chunked_array([_redacted(chunk) for chunk in column.chunks], column.type)
                if index in ways
                else column
                for index, column in enumerate(table.columns)
            ]
            return pa.table(columns, schema=result)

        return rowwise.mapped(self.context, stream, values, result, combine)


def _way(name: str, given: dict[str, Any]) -> Way:
    try:
        return Way.model_validate(given)
    except ValueError as error:
        # Not what was given: a key may be in it.
        reasons = [
            ": ".join([*(str(part) for part in item["loc"]), str(item["msg"]).removeprefix("Value error, ")])
            for item in getattr(error, "errors", list)()
        ]
        raise ValueError(f"`{name}`: {'; '.join(reasons) or 'write redact, a hash or keep_last'}") from None


def _sql(key: str, way: Way, binary: bool, params: dict[str, bytes]) -> str:
    text = f"cast({key} as varchar)"
    if way.keep_last is not None:
        length, last = f"length_grapheme({text})", way.keep_last
        kept = f"repeat('*', {length} - {last}) || right_grapheme({text}, {last})"
        return f"case when {length} >= {2 * last} then {kept} else repeat('*', {length}) end"
    assert way.hash is not None
    inner, outer = _pads(way.hash.key)
    params[f"{key}_inner"], params[f"{key}_outer"] = inner, outer
    value = key if binary else f"encode({text})"
    digest = f"sha256(${key}_outer::blob || unhex(sha256(${key}_inner::blob || {value})))"
    return f"left({digest}, {way.hash.length})" if way.hash.length < _HEX_DIGITS else digest


def _pads(key: Secret) -> tuple[bytes, bytes]:
    """The two blocks that HMAC (RFC 2104) puts before the value and before the inner hash."""
    raw = key.reveal().encode()
    if len(raw) > _BLOCK_BYTES:
        raw = hashlib.sha256(raw).digest()
    raw = raw.ljust(_BLOCK_BYTES, b"\0")
    return bytes(byte ^ 0x36 for byte in raw), bytes(byte ^ 0x5C for byte in raw)


def _redacted(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    type_ = column.type
    if not (pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_)):
        return pa.nulls(len(column), type_)
    masked = pc.if_else(pc.is_valid(column), "***", pa.scalar(None, pa.string()))
    return masked.cast(type_)
