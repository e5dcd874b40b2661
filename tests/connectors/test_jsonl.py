"""JSON lines as a source."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from pipeline_flow.errors import SourceMalformed, SourceUnreadable, WrongArgument
from tests.connectors.suites import SourceSuite

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

TYPES = {
    "whole": "BIGINT",
    "real": "DOUBLE",
    "truth": "BOOLEAN",
    "word": "VARCHAR",
    "odd": "VARCHAR",
    "price": "DECIMAL(10,2)",
    "huge": "DECIMAL(38,10)",
    "day": "DATE",
    "clock": "TIME",
    "moment": "TIMESTAMP",
    "instant": "TIMESTAMPTZ",
    "bytes": "BLOB",
}


def written(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, bytes):
        return "".join(f"\\x{byte:02X}" for byte in value)
    if isinstance(value, Decimal | dt.date | dt.time):
        return str(value)
    return value


class TestSource(SourceSuite):
    plugin = "jsonl"
    names: ClassVar[list[str]] = []

    def args(self) -> dict[str, Any]:
        return {"path": "data.jsonl", "columns": {name: TYPES[name] for name in self.names}}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        type(self).names = table.column_names
        path = Path("data.jsonl")
        with path.open("w") as file:
            for row in table.to_pylist():
                file.write(json.dumps({name: written(value) for name, value in row.items()}) + "\n")
        return path


def read(bench: Bench, *lines: str | bytes, **args: Any) -> pa.Table:
    whole = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    Path("data.jsonl").write_bytes(whole)
    return bench.extract("jsonl", path="data.jsonl", **args)


def values(bench: Bench, *items: str, **args: Any) -> list[Any]:
    """What the JSON values `items` are as a column."""
    return read(bench, *(f'{{"a":{item}}}' for item in items), **args)["a"].to_pylist()


@pytest.fixture
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records are the sample."""
    monkeypatch.setattr("pipeline_flow.files.json_records.SAMPLE_ROWS", 2)


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in pieces of a few records."""
    monkeypatch.setattr("pipeline_flow.files.json_records.PIECE_BYTES", 40)


def test_values_come_back_as_they_are_written(bench: Bench) -> None:
    table = read(bench, '{"a": 1, "b": "007"}', "", '{"b": "", "c": [{"x": 0.1}]}', '{"b": null, "a": 2}')
    assert table.column_names == ["a", "b", "c"]
    assert table.to_pylist() == [
        {"a": 1, "b": "007", "c": None},
        {"a": None, "b": "", "c": [{"x": 0.1}]},
        {"a": 2, "b": None, "c": None},
    ]


@pytest.mark.parametrize(
    ("items", "type_", "expected"),
    [
        (["1", "-9223372036854775808"], pa.int64(), [1, -(2**63)]),
        (["1", "18446744073709551615"], pa.uint64(), [1, 2**64 - 1]),
        (["-1", "9223372036854775808"], pa.decimal128(38, 0), [Decimal(-1), Decimal(2**63)]),
        (["1", "9" * 38], pa.decimal128(38, 0), [Decimal(1), Decimal("9" * 38)]),
        (["1", "9" * 39], pa.string(), ["1", "9" * 39]),
        (["0.1", "0.30000000000000004", "-0.0", "1e300"], pa.float64(), [0.1, 0.1 + 0.2, -0.0, 1e300]),
        (["1", "2.5"], pa.float64(), [1.0, 2.5]),
        (["9007199254740993", "2.5"], pa.decimal128(38, 1), [Decimal(9007199254740993), Decimal("2.5")]),
        (["1.10", "0.12345678901234567890"], pa.decimal128(38, 19), None),
        (["1e400", "1.50"], pa.string(), ["1e400", "1.50"]),
        (["1e-400", "1.50"], pa.string(), ["1e-400", "1.50"]),
        (['"007"', '"1"'], pa.string(), ["007", "1"]),
        (['"2024-01-01"', '""', "null"], pa.string(), ["2024-01-01", "", None]),
        (["1", '"x"', "1.50", "null"], pa.string(), ["1", '"x"', "1.50", None]),
        (['{"x": [1, 2.0]}', "[]"], pa.string(), ['{"x": [1, 2.0]}', "[]"]),
        (["true", "0"], pa.string(), ["true", "0"]),
        (["{}", "null"], pa.string(), ["{}", None]),
        (["null", "null"], pa.string(), [None, None]),
        (["[]", "null"], pa.list_(pa.string()), [[], None]),
        (["[[1], [], null]", "[]"], pa.list_(pa.list_(pa.int64())), [[[1], [], None], []]),
        (["true", "false", "null"], pa.bool_(), [True, False, None]),
    ],
)
def test_a_column_has_the_narrowest_type_that_is_exact(
    bench: Bench, items: list[str], type_: pa.DataType, expected: list[Any] | None
) -> None:
    table = read(bench, *(f'{{"a":{item}}}' for item in items))
    assert table.schema.field("a").type == type_
    wanted = [Decimal(item) for item in items] if expected is None else expected
    assert table["a"].to_pylist() == wanted


def test_nested_values_of_several_kinds_are_text_at_their_place(bench: Bench) -> None:
    found = values(bench, '{"x": 1, "l": [1, "a"]}', '{"x": 2, "y": {"z": 1.0}}')
    assert found == [{"x": 1, "l": ["1", '"a"'], "y": None}, {"x": 2, "l": None, "y": {"z": 1.0}}]


def test_names_that_differ_in_case_or_hold_dots_are_columns_of_their_own(bench: Bench) -> None:
    table = read(bench, '{"a.b": 1, "a": {"b": "x"}, "A": true, "ä \\" ": 2}')
    assert table.to_pylist() == [{"a.b": 1, "a": {"b": "x"}, "A": True, 'ä " ': 2}]


# ---------------------------------------------------------------------------------------------- after the sample


@pytest.mark.usefixtures("sample", "pieces")
@pytest.mark.parametrize(
    ("late", "message", "advice"),
    [
        ('{"n": 1.5}', "`n` is BIGINT in the first 2 records, and here is 1.5", "columns: {n: VARCHAR}"),
        ('{"n": "1"}', '`n` is BIGINT in the first 2 records, and here is "1"', "on_type_error: widen"),
        ('{"n": 1e3}', "`n` is BIGINT in the first 2 records, and here is 1e3", ""),
        ('{"n": 9223372036854775808}', "`n` is BIGINT .* here is 9223372036854775808", ""),
        ('{"t": 7}', r"`t` is VARCHAR \(text or null\) in the first 2 records, and here is 7", ""),
        ('{"t": {"x": [1]}}', r'here is {"x": \[1\]}', "columns: {t: JSON}"),
        ('{"r": 0.12345678901234567890}', "`r` is DOUBLE .* here is 0.12345678901234567890", ""),
        ('{"r": 1e-400}', "`r` is DOUBLE .* here is 1e-400", ""),
        ('{"r": 1e400}', "`r` is DOUBLE .* here is 1e400", ""),
        ('{"big": "12"}', r"`big` is DECIMAL\(38,0\) .* here is \"12\"", ""),
        ('{"dec": 1e31}', r"`dec` is DECIMAL\(38,20\) .* here is 1e31", ""),
        ('{"s": {"x": true}}', r"`s.x` is BIGINT .* here is true", "columns: {s.x: VARCHAR}"),
        ('{"l": [{"y": 1}, {"y": "a"}]}', r"`l\[1\].y` is BIGINT .* here is \"a\"", "l.y"),
        ('{"l": [{"z": null}]}', r"the key `l\[0\].z` is new \(null\)", "l.z"),
        ('{"new": 5}', r"the key `new` is new \(5\); the first 2 records do not have it", "{new: VARCHAR}"),
        ('{"n": 1, "n": 2}', "the key `n` stands twice", ""),
        ('{"n": NaN}', "here is NaN", ""),
        ('{"n": }', "is not JSON: expecting value at column 7", ""),
        ('{"n": 1', "ends within a record", "cut off"),
        ("[1]", "is a list, and a record is an object", ""),
        ('"x"', "is a text, and a record is an object", ""),
        ('{"t": "\\ud800"}', "half of a surrogate pair", ""),
    ],
)
def test_what_does_not_fit_after_the_sample_is_named(
    bench: Bench, late: str, message: str, advice: str
) -> None:
    head = [
        '{"n": 1, "t": null, "r": 0.5, "s": {"x": 1}, "l": [{"y": 1}], "dec": 0.12345678901234567899}',
        '{"big": 99999999999999999999}',
    ]
    with pytest.raises(SourceMalformed, match=r"data\.jsonl, line 6:? .*" + message) as caught:
        read(bench, *head, "", '{"n": 2}', '{"t": "x"}', late, '{"n": 3}')
    assert advice in caught.value.hint


@pytest.mark.usefixtures("sample", "pieces")
@pytest.mark.parametrize(
    ("items", "widened", "text"),
    [
        (["1", "2", "3", "2.5"], [1.0, 2.0, 3.0, 2.5], ["1", "2", "3", "2.5"]),
        (["1", "2", "3", '"x"'], ["1", "2", "3", '"x"'], ["1", "2", "3", '"x"']),
        (["1", "2", "-3", "18446744073709551615"], [1, 2, -3, 2**64 - 1], None),
        (["1", "2", "9007199254740993", "0.5"], [1, 2, 9007199254740993, Decimal("0.5")], None),
        (["null", "null", "[1]", "[2]"], [None, None, [1], [2]], ["null", "null", "[1]", "[2]"]),
        (['{"x":1}', "null", '{"y":"a"}'], [{"x": 1, "y": None}, None, {"x": None, "y": "a"}], None),
    ],
)
def test_widen_and_text_look_at_all_records(
    bench: Bench, items: list[str], widened: list[Any], text: list[str] | None
) -> None:
    assert values(bench, *items, on_type_error="widen") == widened
    if text is not None:
        wanted = [None if item == "null" else item for item in text]
        assert values(bench, *items, on_type_error="text") == wanted


@pytest.mark.usefixtures("sample", "pieces")
@pytest.mark.parametrize("policy", ["widen", "text"])
def test_late_keys_become_columns(bench: Bench, policy: str) -> None:
    table = read(bench, '{"a":1}', '{"a":2}', '{"a":3}', '{"b":{"c":"x"}}', on_type_error=policy)
    assert table.to_pylist()[3] == {"a": None, "b": {"c": "x"}}


@pytest.mark.usefixtures("sample")
@pytest.mark.parametrize(
    "item", ["1e-400", "0.12345678901234567", "123456789012345678", "1234567890123.12345", "[]", "-1e-310000"]
)
@pytest.mark.parametrize("text", ["", "1e-400", "0.12345678901234567890"])
def test_a_number_that_a_double_would_change_is_found_among_others(
    bench: Bench, item: str, text: str
) -> None:
    """Beside texts with numbers in them, which are let through."""
    lines = ['{"a":0.5,"t":"x"}', '{"a":1,"t":"x"}', f'{{"a":0,"t":"{text}"}}']
    assert read(bench, *lines, "")["a"].to_pylist() == [0.5, 1.0, 0.0]
    with pytest.raises(SourceMalformed, match=r"line 4: `a` is DOUBLE in the first 2 records"):
        read(bench, *lines, f'{{"a":{item}}}', '{"a":-0.30000000000000004}', "")


# ---------------------------------------------------------------------------------------------- declared


def test_declared_types_hold_for_texts_and_numbers(bench: Bench) -> None:
    table = read(
        bench,
        '{"p": 1.50, "d": "2024-01-01", "n": "12", "a": {"zip": "01234"}, "j": {"x": [1,  2.0]}, "s": 1.10}',
        '{"p": "2.5", "n": 13, "a": {"zip": 5}, "j": "x", "s": {"y": 1}}',
        columns={
            "p": "DECIMAL(10,2)",
            "d": "DATE",
            "n": "INTEGER",
            "a.zip": "VARCHAR",
            "j": "JSON",
            "s": "VARCHAR",
            "late": "TIMESTAMPTZ",
        },
    )
    assert table.schema.field("n").type == pa.int32()
    assert table.to_pylist() == [
        {"p": Decimal("1.50"), "d": dt.date(2024, 1, 1), "n": 12, "a": {"zip": "01234"}, "j": '{"x": [1,  2.0]}', "s": "1.10", "late": None},
        {"p": Decimal("2.50"), "d": None, "n": 13, "a": {"zip": "5"}, "j": '"x"', "s": '{"y": 1}', "late": None},
    ]  # fmt: skip
    assert "none of the first 2 records has it" in bench.notices[0]


def test_nested_declared_types(bench: Bench) -> None:
    declared = {"a": "STRUCT(x DECIMAL(5,1), d DATE)[]", "b": "BIGINT[]"}
    found = read(bench, '{"a": [{"x": 1.5, "d": "2024-01-02"}], "b": ["1", 2]}', columns=declared)
    assert found.to_pylist() == [{"a": [{"x": Decimal("1.5"), "d": dt.date(2024, 1, 2)}], "b": [1, 2]}]


@pytest.mark.parametrize(
    ("type_", "item"),
    [
        ("DECIMAL(10,2)", "1.234"),
        ("DECIMAL(4,2)", "123.4"),
        ("DECIMAL(38,10)", "1e30"),
        ("DECIMAL(38,10)", "1e31"),
        ("INTEGER", "2147483648"),
        ("INTEGER", '"1.5"'),
        ("BIGINT", "true"),
        ("DATE", '"2024-02-30"'),
        ("DATE", '"01.02.2024"'),
        ("DATE", "20240101"),
        ("TIMESTAMP", '"2024-01-01T00:00:00Z"'),
        ("TIMESTAMP", '"2024-01-01 00:00:00.1234567"'),
        ("TIMESTAMPTZ", '"2024-01-01T00:00:00"'),
        ("BOOLEAN", '"yes"'),
        ("DOUBLE", '"0.12345678901234567890"'),
        ("DOUBLE", "0.12345678901234567890"),
        ("FLOAT", "0.123456789"),
        ("TIME", '"25:00:00"'),
        ("BIGINT[]", "1"),
    ],
)
@pytest.mark.usefixtures("sample", "pieces")
def test_a_value_that_its_declared_type_would_change_is_named(bench: Bench, type_: str, item: str) -> None:
    with pytest.raises(SourceMalformed, match=r"line 4: `a` is declared .*and here is"):
        values(bench, "null", "null", "null", item, columns={"a": type_})
    with pytest.raises(SourceMalformed, match=r"line 1: `a` is declared .*and here is"):
        values(bench, item, columns={"a": type_})


def test_wrong_declarations(bench: Bench) -> None:
    for columns, message in (
        ({"a": "WORD"}, "no type of DuckDB's"),
        ({"a.x": "BIGINT"}, "no object with such a key"),
        ({"a": "MAP(VARCHAR, INT)"}, "is not read from JSON"),
    ):
        with pytest.raises(WrongArgument, match=message):
            values(bench, "1", columns=columns)
    assert "not a text encoding" in bench.faults("extract", "jsonl", path="x", encoding="utf-9")[0]
    assert "name the list with `explode`" in bench.faults("extract", "jsonl", path="x", keys=["a"])[0]


def test_parts_kept_as_json_text_are_as_they_are_written(bench: Bench) -> None:
    line = '{"a": {"p": {"x" : 1.0e0, "é": "\\u00e9"} , "q": 1}, "l": [{"p": [ ]}, {"p": null}]}'
    assert read(bench, line, as_json=["a.p", "l.p"]).to_pylist() == [
        {"a": {"p": '{"x" : 1.0e0, "é": "\\u00e9"}', "q": 1}, "l": [{"p": "[ ]"}, {"p": None}]}
    ]


# ---------------------------------------------------------------------------------------------- files


def test_packed_files_by_name_and_by_content(bench: Bench) -> None:
    Path("a.jsonl.gz").write_bytes(gzip.compress(b'{"a":1}\n') + gzip.compress(b'{"a":2}\n'))
    Path("b.jsonl").write_bytes(pa.compress(b'{"a":3}\n', "zstd", asbytes=True))
    found = bench.extract("jsonl", path=["a.jsonl.gz", "b.jsonl"], file_column="file")
    assert found.to_pydict() == {"a": [1, 2, 3], "file": ["a.jsonl.gz", "a.jsonl.gz", "b.jsonl"]}
    Path("c.gz").write_bytes(b'{"a":1}')
    with pytest.raises(SourceMalformed, match=r"c\.gz is not gzip"):
        bench.extract("jsonl", path="c.gz")
    Path("c.gz").write_bytes(gzip.compress(b'{"a":1}\n' * 1000)[:-20])
    with pytest.raises(SourceMalformed, match=r"c\.gz is damaged"):
        bench.extract("jsonl", path="c.gz")


def test_several_files_decide_together(bench: Bench) -> None:
    Path("1.jsonl").write_text('{"a":1}\n')
    Path("2.jsonl").write_text('{"a":1.5,"b":"x"}')
    assert bench.extract("jsonl", path="?.jsonl").to_pydict() == {"a": [1.0, 1.5], "b": [None, "x"]}
    with pytest.raises(SourceUnreadable, match=r"no file matches"):
        bench.extract("jsonl", path="*.none")
    with pytest.raises(WrongArgument, match=r"`a`, which the records have"):
        bench.extract("jsonl", path="?.jsonl", file_column="a")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings(bench: Bench, encoding: str) -> None:
    Path("e.jsonl").write_bytes('{"a":"é"}\r\n{"a":"ü"}\r\n'.encode(encoding))
    assert bench.extract("jsonl", path="e.jsonl", encoding=encoding)["a"].to_pylist() == ["é", "ü"]


def test_messy_files(bench: Bench) -> None:
    assert read(bench, b"\xef\xbb\xbf" + b'{"a":1}').to_pylist() == [{"a": 1}]
    assert read(bench, '{"a":NaN}', '{"a":-Infinity}', '{"a":1}')["a"].to_pylist()[1:] == [float("-inf"), 1.0]
    assert read(bench, "", "  ", '{"a":1}', "\t", "").to_pylist() == [{"a": 1}]
    assert read(bench, "").num_columns == 0
    big = "x" * 10_000_000
    assert read(bench, '{"a":"x"}', f'{{"a":"{big}"}}', '{"a":"y"}')["a"].to_pylist() == ["x", big, "y"]
    for line, message in (
        ('{"a":1,}', "line 2 is not JSON: .*(property name|trailing comma) .* at column [78]"),
        ('{"a":', "line 2 ends within a record"),
        ("{'a':1}", "line 2 is not JSON"),
        (b'{"a":"\xff"}', r"line 2 is not UTF-8 \(byte 7 is 0xff\)"),
        ('{"a":' + "[" * 1000 + "]" * 1000 + "}", "line 2 is nested deeper than 128 levels"),
        ('{"a":"\\udc00"}', "line 2 holds half of a surrogate pair"),
        ('{"a":1,"b":{"c":1,"c":2}}', "line 2 the key `c` stands twice"),
        ("[1]", "line 2 is a list"),
        ("5", "line 2 is a number"),
    ):
        with pytest.raises(SourceMalformed, match=message):
            read(bench, '{"a":1}', line)
    with pytest.raises(SourceMalformed, match="have no keys"):
        read(bench, "{}")


@pytest.mark.usefixtures("sample")
def test_deep_and_broken_lines_after_the_sample(bench: Bench) -> None:
    deep = '{"a":' + "[" * 1000 + "]" * 1000 + "}"
    for policy in ("fail", "widen", "text"):
        with pytest.raises(SourceMalformed, match=r"line 3 is nested deeper than 128 levels"):
            read(bench, '{"a":[]}', "{}", deep, on_type_error=policy)
        with pytest.raises(SourceMalformed, match=r"line 3 is not UTF-8"):
            read(bench, '{"a":"x"}', "{}", b'{"a":"\xff"}', on_type_error=policy)


# ---------------------------------------------------------------------------------------------- nested data


ORDERS = (
    '{"id": 1, "customer": {"name": "A", "address": {"zip": "01"}}, "items": [{"sku": "x", "n": 1}, {"sku": "y"}]}',
    '{"id": 2, "items": []}',
    '{"id": 3, "items": null, "customer": null}',
    '{"id": 4, "items": [null, {"sku": "z"}], "tags": ["u", "v"]}',
    "",  # so that all records are parsed at once
)


def test_a_list_becomes_rows_with_keys(bench: Bench) -> None:
    table = read(bench, *ORDERS, explode="items", keys=["id", "customer.name"], file_column="f")
    assert table.column_names == ["id", "customer_name", "_index", "sku", "n", "f"]
    assert [tuple(row.values())[:5] for row in table.to_pylist()] == [
        (1, "A", 0, "x", 1),
        (1, "A", 1, "y", None),
        (4, None, 0, None, None),
        (4, None, 1, "z", None),
    ]
    assert read(bench, *ORDERS, explode="tags", keys={"order": "id"}).to_pylist() == [
        {"order": 4, "_index": 0, "tags": "u"},
        {"order": 4, "_index": 1, "tags": "v"},
    ]


def test_a_list_that_no_record_has_gives_no_rows(bench: Bench) -> None:
    assert read(bench, '{"id": 1}', explode="items", keys=["id"]).num_rows == 0
    assert "did you mean" not in bench.notices[0]
    assert read(bench, '{"id": 1, "items": null}', explode="items", keys=["id"]).num_rows == 0


def test_objects_become_columns(bench: Bench) -> None:
    table = read(bench, *ORDERS, flatten=True)
    assert table.column_names == ["id", "customer_name", "customer_address_zip", "items", "tags"]
    assert table["customer_address_zip"].to_pylist() == ["01", None, None, None]
    assert "customer.address.zip" in read(bench, *ORDERS, flatten=".").column_names


def test_wrong_paths_of_nested_data(bench: Bench) -> None:
    for args, message in (
        ({"explode": "id"}, "is no list but int64"),
        ({"explode": "items.sku"}, "is no object but list"),
        ({"explode": "items", "keys": ["id.x"]}, "no object with such a key"),
        ({"explode": "items", "keys": {"sku": "id"}}, "2 columns called `sku`"),
    ):
        with pytest.raises(WrongArgument, match=message):
            read(bench, *ORDERS, **args)
    with pytest.raises(WrongArgument, match="2 columns called `a_b`"):
        read(bench, '{"a": {"b": 1}, "a_b": 2}', flatten=True)


@pytest.mark.parametrize("partition_by", [None, ["day", "region"]])
def test_a_folder_that_a_load_has_written_comes_back(bench: Bench, partition_by: list[str] | None) -> None:
    days = pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2), None], pa.date32())
    table = pa.table({"n": [1, 2, 3], "day": days, "region": ["eu", "us", "eu"]})
    options = {} if partition_by is None else {"partition_by": partition_by}
    bench.load("jsonl", table, path="out/", mode="replace", **options)
    found = bench.extract("jsonl", path="out", columns={} if partition_by else {"day": "DATE"})
    assert sorted(found.to_pylist(), key=lambda row: row["n"]) == table.select(found.column_names).to_pylist()
    if partition_by is not None:
        named = bench.extract("jsonl", path="out/", file_column="file")
        assert named.column_names == ["n", "file", "day", "region"]
        assert all(f"region={row['region']}" in row["file"] for row in named.to_pylist())


def test_a_key_that_a_folder_is_called_by_too_is_an_error(bench: Bench) -> None:
    Path("in/day=1").mkdir(parents=True)
    Path("in/day=1/x.jsonl").write_text('{"day": 2}\n')
    with pytest.raises(WrongArgument, match="the records have a key `day`"):
        bench.extract("jsonl", path="in")
