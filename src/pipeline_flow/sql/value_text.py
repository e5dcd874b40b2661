"""Values as text where Arrow has no cast for it."""

from __future__ import annotations

import binascii
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def uuids(array: pa.Array) -> pa.Array:
    """UUIDs with their dashes."""
    storage = pa.concat_arrays([pc.fill_null(array.storage.cast(pa.binary()), b"\0" * 16)]).cast(
        pa.binary(16)
    )
    data = memoryview(storage.buffers()[1] or b"")[16 * storage.offset : 16 * (storage.offset + len(storage))]
    digits = pa.Array.from_buffers(pa.binary(32), len(array), [None, pa.py_buffer(binascii.hexlify(data))])
    texts = digits.cast(pa.binary()).cast(pa.string())
    bounds = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    parts = [pc.utf8_slice_codeunits(texts, start, stop) for start, stop in bounds]
    return pc.if_else(
        pc.is_valid(array), pc.binary_join_element_wise(*parts, "-"), pa.scalar(None, pa.string())
    )


def json_of(array: pa.Array) -> pa.Array:
    """Nested values as JSON; one after the other, since Arrow writes none.

    Raises:
        ValueError: one holds NaN or infinity.
    """
    values = [
        None if item is None else json.dumps(item, default=_json_value, ensure_ascii=False, allow_nan=False)
        for item in array.to_pylist()
    ]
    return pa.array(values, pa.string())


def _json_value(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
