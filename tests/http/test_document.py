"""A page's records are the server's own text."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import SourceMalformed
from pipeline_flow.http.document import Document, value_at

LEAF = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
RECORDS = st.lists(st.dictionaries(st.text(), VALUE), max_size=5)


@settings(deadline=None, max_examples=50)
@given(
    RECORDS, st.dictionaries(st.text(), VALUE, max_size=4), st.sampled_from([None, 1, "\t"]), st.booleans()
)
def test_each_record_comes_out_as_a_line_that_says_the_same(
    records: list[Any], around: dict[str, Any], indent: Any, ascii_only: bool
) -> None:
    around = {key: value for key, value in around.items() if key != "in"}
    text = json.dumps(
        {**around, "in": {"n": [], "re cords": records}}, indent=indent, ensure_ascii=ascii_only
    )
    document = Document(text.encode("utf-8", "surrogatepass"))
    lines = list(document.lines("in.re cords"))
    assert [json.loads(line) for line in lines] == records
    assert not any("\n" in line or "\r" in line for line in lines)
    assert document.records("$.in.re cords") == json.loads(text, parse_float=Decimal)["in"]["re cords"]


def test_numbers_keep_every_digit() -> None:
    text = b'[{"a": 0.1234567890123456789, "b": 1180591620717411303424, "c": 1.10, "d": 1e400, "e": -0.0}]'
    assert list(Document(text).lines("$")) == [text.decode()[1:-1]]
    assert Document(text).body[0]["a"] == Decimal("0.1234567890123456789")


def test_of_a_key_that_stands_there_twice_the_last_one_counts() -> None:
    document = Document(b'{"a": [{"x": 1}], "b": 2, "a": [{"x": 3}]}')
    assert list(document.lines("a")) == ['{"x": 3}']
    assert document.records("a") == [{"x": 3}]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("[]", "$"),
        ('[{"a": [1]}]', "$"),
        ('{"data": [], "n": 1}', "data"),
        ('{"a": {"b": {"c": [{"d": [1]}]}}, "n": null}', "a.b.c"),
        ('{"@odata.context": "x", "value": [{"id": 1}]}', "value"),
    ],
)
def test_the_records_are_the_only_list(text: str, path: str) -> None:
    assert Document(text.encode()).find_records() == path


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ('{"data": [], "meta": {"errors": []}}', "several lists: `data`, `meta.errors`", "data_path: data"),
        ('{"id": 1, "name": "x"}', "no list", "data_path: [$].*`id`, `name`"),
        ('"text"', "no list", "data_path"),
    ],
)
def test_where_it_is_not_clear_which_list_the_candidates_are_named(text: str, says: str, hint: str) -> None:
    with pytest.raises(SourceMalformed, match=says) as caught:
        Document(text.encode()).find_records()
    assert re.search(hint, caught.value.hint)


@pytest.mark.parametrize(
    ("text", "path", "says"),
    [
        ('{"data": [1]}', "items", "no `items`"),
        ('{"data": {"x": [1]}}', "data.y", "no `data.y`"),
        ('{"data": 5}', "data.y", "no `data.y`"),
        ('{"data": [{"a": 1}, 2]}', "data", "record 2 under `data` is a number, not an object"),
        ('{"data": "x"}', "data", "what `data` leads to is text"),
        ("[[1]]", "$", "record 1 under `\\$` is a list"),
    ],
)
def test_a_path_that_leads_to_no_records_is_named(text: str, path: str, says: str) -> None:
    with pytest.raises(SourceMalformed, match=says):
        Document(text.encode()).records(path)


def test_an_object_is_one_record_and_null_is_none() -> None:
    document = Document(b'{"one": {"a": 1}, "none": null}')
    assert list(document.lines("one")) == ['{"a": 1}']
    assert list(document.lines("$")) == ['{"one": {"a": 1}, "none": null}']
    assert document.records("none") == []
    assert list(document.lines("none")) == []


def test_keys_with_dots_are_found() -> None:
    body = {"a.b": 1, "p": {"@odata.nextLink": "u", "x": {"y.z": 2}}}
    assert value_at(body, "a.b") == 1
    assert value_at(body, "p.@odata.nextLink") == "u"
    assert value_at(body, "p.x.y.z") == 2
    assert value_at(body, "p.q") is None
    assert value_at(body, "$") is body


@pytest.mark.parametrize(
    ("content", "content_type", "body"),
    [
        (b'\xef\xbb\xbf{"a": "\xc3\xa4"}', "application/json; charset=utf-8", {"a": "ä"}),
        (b'\xef\xbb\xbf{"a": 1}', "", {"a": 1}),
        ('{"a": "ä"}'.encode("utf-16"), "", {"a": "ä"}),
        (b'{"a": "\xe4"}', 'application/json; charset="ISO-8859-1"', {"a": "ä"}),
    ],
)
def test_texts_are_read_in_their_charset(content: bytes, content_type: str, body: Any) -> None:
    assert Document(content, content_type).body == body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b'{"a": NaN}',
        b"[Infinity]",
        b'{"a": 1} {"b": 2}',
        b'["\xff"]',
        b"[" * 100_000,
        b'{"a": 1',
    ],
)
def test_what_is_no_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="."):
        Document(content)


def test_a_charset_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="klingon is not known"):
        Document(b"[]", "application/json; charset=klingon")
