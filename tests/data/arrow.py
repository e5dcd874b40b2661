"""Batches of every Arrow type, for Hypothesis."""

from __future__ import annotations

import decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import reject
from hypothesis import strategies as st


class Registered(pa.ExtensionType):  # type: ignore[misc] # pyarrow ships no types
    """An extension type that Arrow knows by name."""

    def __init__(self) -> None:
        super().__init__(pa.int64(), "pipeline_flow.tests.registered")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"with metadata"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Registered:
        assert serialized == b"with metadata"
        return cls()


class Unregistered(pa.ExtensionType):  # type: ignore[misc] # pyarrow ships no types
    """An extension type that is known to nobody but its user."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "pipeline_flow.tests.unregistered")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> Unregistered:
        return cls()


pa.register_extension_type(Registered())


def since(name: str, *args: int) -> list[pa.DataType]:
    """A type that an older Arrow may lack."""
    return [getattr(pa, name)(*args)] if hasattr(pa, name) else []


UNITS = ("s", "ms", "us", "ns")
FLAT = [
    pa.null(), pa.bool_(),
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
    pa.float16(), pa.float32(), pa.float64(),
    *since("decimal32", 9, 2), *since("decimal64", 18, 4), pa.decimal128(38, 10), pa.decimal256(76, 20),
    pa.string(), pa.large_string(), pa.string_view(),
    pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(4),
    pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"),
    *(pa.timestamp(unit) for unit in UNITS), *(pa.timestamp(unit, "Europe/Zurich") for unit in UNITS),
    *(pa.duration(unit) for unit in UNITS), pa.month_day_nano_interval(),
    pa.uuid(), *since("json_"), pa.bool8(), pa.opaque(pa.int32(), "kind", "vendor"), Registered(), Unregistered(),
]  # fmt: skip
_DICTIONARY: dict[pa.DataType, list[Any]] = {
    pa.string(): ["a", "bb", ""],
    pa.int64(): [1, -(2**63)],
    pa.binary(): [b"", b"\xff"],
}
INDEXES = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32()]


def types(flat: list[pa.DataType] = FLAT) -> st.SearchStrategy[pa.DataType]:
    """Any Arrow type, flat or nested up to three levels."""
    leaves = st.sampled_from(flat)
    return st.recursive(leaves, _nested, max_leaves=3)


def _nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    plain = st.sampled_from([kind for kind in FLAT if not isinstance(kind, pa.BaseExtensionType)])
    return st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.list_(kind, 2)),
        plain.map(pa.list_view),
        plain.map(pa.large_list_view),
        st.lists(inner, max_size=3).map(
            lambda kinds: pa.struct([(f"f{n}", kind) for n, kind in enumerate(kinds)])
        ),
        plain.map(lambda kind: pa.map_(pa.string(), kind)),
        st.sampled_from(list(_DICTIONARY)).flatmap(
            lambda kind: st.builds(
                pa.dictionary, st.sampled_from(INDEXES), st.just(kind), ordered=st.booleans()
            )
        ),
    )


def arrays(kind: pa.DataType, rows: int) -> st.SearchStrategy[pa.Array]:
    """An array of ``kind`` with ``rows`` values, nulls among them."""
    storage = _storage(kind)

    def build(values: list[Any]) -> pa.Array:
        array = pa.array(values, storage).cast(kind)
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:  # Arrow's own mistake: a null list of a fixed size inside a null struct
            reject()
        return array

    return st.lists(_value(storage), min_size=rows, max_size=rows).map(build)


def _storage(kind: pa.DataType) -> pa.DataType:
    """``kind`` with the storage in place of extension types, at any depth."""
    t = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _storage(kind.storage_type)
    if t.is_struct(kind):
        return pa.struct(
            [kind.field(n).with_type(_storage(kind.field(n).type)) for n in range(kind.num_fields)]
        )
    if t.is_fixed_size_list(kind):
        return pa.list_(_storage(kind.value_type), kind.list_size)
    if t.is_large_list(kind):
        return pa.large_list(_storage(kind.value_type))
    if t.is_list(kind):
        return pa.list_(_storage(kind.value_type))
    return kind


def _value(kind: pa.DataType, *, null: bool = True) -> st.SearchStrategy[Any]:
    found = _present(kind)
    return st.one_of(st.none(), found) if null else found


def _present(kind: pa.DataType) -> st.SearchStrategy[Any]:
    t = pa.types
    if t.is_null(kind):
        return st.none()
    if t.is_boolean(kind):
        return st.booleans()
    if t.is_integer(kind):
        low = -(2 ** (kind.bit_width - 1)) if t.is_signed_integer(kind) else 0
        return st.integers(low, low + 2**kind.bit_width - 1)
    if t.is_floating(kind):
        return st.floats(width=kind.bit_width)
    if t.is_decimal(kind):
        limit = 10**kind.precision - 1
        return st.integers(-limit, limit).map(lambda n: decimal.Decimal(n).scaleb(-kind.scale, _EXACT))
    if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if t.is_fixed_size_binary(kind):
        return st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    if t.is_binary(kind) or t.is_large_binary(kind) or t.is_binary_view(kind):
        return st.binary(max_size=20)
    if t.is_date(kind):
        return st.dates()
    if t.is_time(kind):
        return st.integers(0, 86_399).map(
            lambda n: n * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        )
    if t.is_timestamp(kind):
        return st.integers(-(10**9), 4 * 10**9).map(
            lambda n: n * {"s": 1, "ms": 999, "us": 999_983, "ns": 10**9 + 7}[kind.unit] // 1
        )
    if t.is_duration(kind):
        limit = {"s": 10**12, "ms": 10**15, "us": 10**18, "ns": 2**62}[
            kind.unit
        ]  # what Python's own type can show
        return st.integers(-limit, limit)
    if t.is_interval(kind):
        return st.tuples(st.integers(-99, 99), st.integers(-99, 99), st.integers(-(2**60), 2**60)).map(
            pa.MonthDayNano
        )
    if t.is_struct(kind):
        return st.fixed_dictionaries(
            {kind.field(n).name: _value(kind.field(n).type) for n in range(kind.num_fields)}
        )
    if t.is_fixed_size_list(kind):
        return st.lists(_value(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    if t.is_map(kind):
        return st.dictionaries(st.text(max_size=3), _value(kind.item_type), max_size=3).map(
            lambda d: list(d.items())
        )
    if t.is_dictionary(kind):
        return st.one_of(*(st.just(value) for value in _DICTIONARY[kind.value_type]))
    return st.lists(_value(kind.value_type), max_size=3)


_EXACT = decimal.Context(prec=100)


def special(rows: int) -> list[pa.Array]:
    """Arrays of the types that Python values do not make: unions and run-end encoded arrays."""
    kinds = pa.array([n % 2 for n in range(rows)], pa.int8())
    offsets = pa.array([n // 2 for n in range(rows)], pa.int32())
    numbers, texts = pa.array(range(rows), pa.int64()), pa.array([f"t{n}" for n in range(rows)])
    return [
        pc.run_end_encode(pa.array([n // 3 for n in range(rows)])),
        pa.array([decimal.Decimal(n) for n in range(rows)]).dictionary_encode(),
        pa.UnionArray.from_dense(kinds, offsets, [numbers, texts]),
        pa.UnionArray.from_sparse(kinds, [numbers, texts]),
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]] * rows, pa.list_(pa.int8(), 2))
        ),
    ]


@st.composite
def tables(draw: st.DrawFn, kinds: st.SearchStrategy[pa.DataType] | None = None) -> list[pa.RecordBatch]:
    """Some batches of one schema, sliced, with metadata; dictionaries differ from batch to batch."""
    columns = draw(st.lists(types() if kinds is None else kinds, min_size=0, max_size=3))
    fields = [pa.field(f"c{n}", kind, metadata={"field": "kept"}) for n, kind in enumerate(columns)]
    schema = pa.schema(fields, metadata={"schema": "kept"})
    batches = []
    for rows in draw(st.lists(st.integers(1, 6), max_size=3)):
        built = [draw(arrays(kind, rows)) for kind in columns]
        batch = pa.RecordBatch.from_arrays(built, schema=schema) if columns else _no_columns(rows)
        start = draw(st.integers(0, rows - 1))
        batches.append(batch.slice(start))
    return batches or [pa.RecordBatch.from_arrays([draw(arrays(kind, 0)) for kind in columns], schema=schema)]


def _no_columns(rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))


def same(found: list[pa.RecordBatch], expected: list[pa.RecordBatch]) -> None:
    """Asserts that two lists of batches hold the same rows, types and metadata; NaN equals NaN."""
    expected = [batch for batch in expected if batch.num_rows]
    assert [batch.num_rows for batch in found] == [batch.num_rows for batch in expected]
    for have, want in zip(found, expected, strict=True):
        have.validate(full=True)
        assert have.schema.equals(want.schema, check_metadata=True)
        for left, right in zip(have.columns, want.columns, strict=True):
            assert left.equals(right) or repr(left.to_pylist()) == repr(right.to_pylist())
