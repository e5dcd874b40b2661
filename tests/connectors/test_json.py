"""JSON documents as a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest

from pipeline_flow.errors import SourceMalformed
from tests.connectors.suites import SourceSuite
from tests.connectors.test_jsonl import TYPES, written

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench


class TestSource(SourceSuite):
    plugin = "json"
    names: ClassVar[list[str]] = []

    def args(self) -> dict[str, Any]:
        columns = {name: TYPES[name] for name in self.names}
        return {"path": "data.json", "data_path": "response.rows", "columns": columns}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        type(self).names = table.column_names
        rows = [{name: written(value) for name, value in row.items()} for row in table.to_pylist()]
        path = Path("data.json")
        path.write_text(json.dumps({"response": {"rows": rows}}))
        return path


def read(bench: Bench, text: str | bytes, **args: Any) -> list[dict[str, Any]]:
    Path("data.json").write_bytes(text.encode() if isinstance(text, str) else text)
    rows: list[dict[str, Any]] = bench.extract("json", path="data.json", **args).to_pylist()
    return rows


@pytest.fixture(params=[None, 1, 7])
def window(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read in pieces of so many bytes."""
    if request.param is not None:
        monkeypatch.setattr("pipeline_flow.files.json_records.PIECE_BYTES", request.param)
        monkeypatch.setattr("pipeline_flow.files.json_document.PIECE_BYTES", request.param)


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ('[{"a": 1}, {"a": 2}]', {}, [{"a": 1}, {"a": 2}]),
        ('\ufeff [ {"a":\n 1.0e0 }\r\n,\n{"a": 2} ] \n', {}, [{"a": 1.0}, {"a": 2.0}]),
        ('{"a": {"b": [1, 2]}}', {}, [{"a": {"b": [1, 2]}}]),
        ('{"a": 1}{"a": 2}\n[{"a": 3}]', {}, [{"a": 1}, {"a": 2}, {"a": 3}]),
        ('{"r": {"no": [1.5, {"x": []}, -20, "]"], "rows": [{"a": 1}]}, "b": 1}', {"data_path": "r.rows"}, [{"a": 1}]),
        ('{"r": {"a": 1}}', {"data_path": "r"}, [{"a": 1}]),
        ('{"r.x": [{"a": 1}]}', {"data_path": "r.x"}, [{"a": 1}]),
        ('{"r": null}', {"data_path": "r"}, []),
        ("[]", {}, []),
        ("", {}, []),
        (" \n", {}, []),
        ('[{"a": "\\u00e9\\n😀"}]', {}, [{"a": "é\n😀"}]),
        ('[{"a": [1,  2.50]}]', {"as_json": ["a"]}, [{"a": "[1,  2.50]"}]),
        ('{"r": [{"i": [{"x": 1}], "k": 7}]}', {"data_path": "r", "explode": "i", "keys": ["k"]}, [{"k": 7, "_index": 0, "x": 1}]),
    ],
)  # fmt: skip
def test_records_are_found_where_they_are(
    bench: Bench, text: str, args: dict[str, Any], expected: list[Any]
) -> None:
    assert read(bench, text, **args) == expected


@pytest.mark.usefixtures("window")
@pytest.mark.parametrize(
    ("text", "args", "message"),
    [
        ('[{"a": 1},\n{"a": 1},]', {}, "line 2 is not JSON: a comma before the end of a list"),
        ('[{"a": 1}\n', {}, r"line 2 ends within the document"),
        ('[{"a": 1', {}, "line 1 ends within the document"),
        ('[{"a": "x', {}, "line 1 ends within the document"),
        ('[{"a": 1}\n{"a": 2}]', {}, r"line 2 is not JSON: `,` or `\]` was expected, and here is '{'"),
        ('[\n{"a": 1, "a": 2}]', {}, "line 2 the key `a` stands twice"),
        ('[{"a": 1},\n5]', {}, "line 2 has a number in the list, and a record is an object"),
        ("5", {}, "line 1 has a number as its document"),
        ('[{"a": 1}] x', {}, "line 1 has what is not JSON"),
        ('[{"a": 1,\n"b": tru}]', {}, "line [12] is not JSON"),
        ('[{"a":\n"x\n"}]', {}, "invalid control character"),
        (b'[{"a":\n"\xff"}]', {}, "line 2 is not UTF-8"),
        ('{"r": {"itens": []}}', {"data_path": "r.items"}, "without the key `items` of `data_path` r.items"),
        ('{"r": 5}', {"data_path": "r.items"}, "has a number where `data_path` r.items expects an object"),
        ('{"r": "x"}', {"data_path": "r"}, "has a text at `data_path` r"),
        ('{"r": [{"a": 1}], "s": [1,}', {"data_path": "r"}, "line 1 is not JSON"),
        ('{"r": [{"a": 1}]', {"data_path": "r"}, "line 1 ends within the document"),
        ("[" * 100_000, {}, "has a list in the list"),
        ('[{"a": ' + "[" * 100_000, {}, "(nested deeper|ends within)"),
    ],
)
def test_what_is_wrong_with_a_document_is_named(
    bench: Bench, text: str | bytes, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(SourceMalformed, match=r"data\.json, " + "(line .*)?" + message):
        read(bench, text, **args)


@pytest.mark.usefixtures("window")
def test_a_value_after_the_sample_is_named_by_its_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.files.json_records.SAMPLE_ROWS", 2)
    text = '[{"a": 1},\n\n{"a":\n2}, {"a": 3},\n\n  {"a":\n "x"}\n]'
    with pytest.raises(SourceMalformed, match=r"line 6: `a` is BIGINT .* here is \"x\""):
        read(bench, text)
    assert read(bench, text, on_type_error="widen")[3] == {"a": '"x"'}
