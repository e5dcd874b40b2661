"""Secrets do not show."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline_flow.secret import (
    Redactor,
    Secret,
    SecretReference,
    SecretText,
    blot_line,
    confidential,
    holds_secret,
    is_secret_name,
    mask_url,
    open_references,
    references,
)


def test_a_secret_prints_as_three_stars_and_is_not_serialised() -> None:
    secret = Secret("hunter2!")
    assert (str(secret), repr(secret), f"{secret:>5}") == ("***", "Secret('***')", "***")
    for serialise in (pickle.dumps, copy.copy, json.dumps):
        with pytest.raises(TypeError):
            serialise(secret)
    assert secret.reveal() == "hunter2!"


def test_references_are_found_and_opened_wherever_they_stand() -> None:
    token = SecretReference("token")
    value = {"headers": {"Authorization": SecretText(("Bearer ", token))}, "list": [token, 1], "plain": "x"}
    assert holds_secret(value)
    assert not holds_secret({"a": ["b"]})
    assert list(references(value)) == [token, token]
    opened = open_references(value, lambda reference: {"token": "abc"}[reference.name])
    assert opened == {"headers": {"Authorization": "Bearer abc"}, "list": ["abc", 1], "plain": "x"}
    assert str(value["headers"]["Authorization"]) == "Bearer ${{ secrets.token }}"  # type: ignore[index]


def test_a_reference_that_stands_alone_keeps_the_type_of_its_value() -> None:
    assert open_references(SecretReference("port"), lambda _: 5432) == 5432


def test_passwords_in_urls_are_masked() -> None:
    text = "cannot reach postgresql://me:p%40ss@db.local:5432/x and http://host/path"
    assert mask_url(text) == "cannot reach postgresql://me:***@db.local:5432/x and http://host/path"


def test_a_password_that_should_have_been_encoded_is_masked_to_its_end() -> None:
    assert (
        mask_url("postgresql://me:p@ss:w@db.local/x, mysql://a:b@c")
        == "postgresql://me:***@db.local/x, mysql://a:***@c"
    )


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://me:pa/ss@host/db", "postgresql://me:***@host/db"),
        ("mysql://u:p@ss/w@h:3306/x?y=1 and more", "mysql://u:***@h:3306/x?y=1 and more"),
        ("postgresql://me:a/b@h/x,mysql://u:c/d@k", "postgresql://me:***@h/x,mysql://u:***@k"),
        ("{'url': 'mysql://u:a1/2@h/x', 'mail': 'a@b'}", "{'url': 'mysql://u:***@h/x', 'mail': 'a@b'}"),
        ("postgresql://host:5432/db?mail=a@b", "postgresql://host:5432/db?mail=a@b"),
        ("https://host:80/path@v2", "https://host:80/path@v2"),
        ("https://host/a:b@c", "https://host/a:b@c"),
    ],
)
def test_a_password_with_a_bare_slash_is_masked_too(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_masking_takes_time_in_proportion_to_the_text() -> None:
    """A long word beside a URL: from each of its letters a scheme could begin."""

    def seconds(length: int) -> float:
        text = f"{'a' * length} http://host"
        started = time.process_time()
        for _ in range(5):
            mask_url(text)
        return time.process_time() - started

    assert seconds(80_000) < 80 * max(seconds(5_000), 1e-4)


@given(st.text(min_size=4), st.text(), st.text())
def test_no_form_of_a_secret_passes_the_redactor(secret: str, before: str, after: str) -> None:
    redact = Redactor()
    redact.add(secret)
    try:
        raw = secret.encode()
    except UnicodeEncodeError:
        raw = secret.encode("utf-8", "surrogatepass")
    forms = {
        secret,
        json.dumps(secret)[1:-1],
        base64.b64encode(raw).decode(),
        quote(secret, safe="", errors="replace"),
    }
    for form in forms:
        assert form not in redact(form) or form in "***"
        assert redact(before + form + after).count("***") >= 1


def test_what_is_inside_a_mapping_is_a_secret_too() -> None:
    redact = Redactor()
    redact.add({"user": "somebody", "password": "correct horse", "port": 5432, "on": True})
    assert redact("somebody: correct horse at 5432, True") == "***: *** at ***, True"


# ------------------------------------------------------------------------------------------- in other notations


@pytest.mark.parametrize("before", ["", "u:", "me:", "somebody:"])
@pytest.mark.parametrize("secret", ["hunter2!", "a b/c+d", "ключ-9f"])
def test_a_secret_inside_data_in_base64_is_masked(secret: str, before: str) -> None:
    redact = Redactor()
    redact.add(secret)
    for encode in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        written = encode(f"{before}{secret}:and so on".encode()).decode()
        shown = redact(written)
        assert "***" in shown
        gone = len(written) - len(shown.replace("***", ""))
        assert gone >= 8 * len(secret.encode()) // 6 - 1, (
            "all characters but those that it shares with its neighbours"
        )


def test_a_secret_that_is_broken_into_lines_is_masked() -> None:
    redact = Redactor()
    redact.add("correct-horse battery/staple")
    text = "pw: 'correct-'\n    'horse battery/'\n    'staple' and more\nnext line"
    assert redact(text) == "pw: '***' and more\nnext line"
    assert redact("see correct-horse\n  battery/staple\nand") == "see ***\nand"
    assert redact(repr(text)) == repr("pw: '***' and more\nnext line").replace("'***'", "'***'")


def test_ordinary_words_over_a_line_break_are_no_secret() -> None:
    redact = Redactor()
    redact.add("test")
    assert redact("the late\nstage") == "the late\nstage"


def test_the_lines_of_a_private_key_are_secrets_and_its_frame_is_not() -> None:
    redact = Redactor()
    redact.add("-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----")
    assert redact("in line 2: kqhkiG9w0BAQEF") == "in line 2: ***"
    assert redact("-----BEGIN KEY-----") == "-----BEGIN KEY-----"


def test_masking_a_megabyte_with_a_hundred_secrets_takes_time_in_proportion() -> None:
    redact = Redactor()
    redact.add([f"secret-{number}-{'x' * (number % 40)}é" for number in range(100)])
    redact("")  # learns

    def seconds(lines: int) -> float:
        text = "orders.extract.orders: 27,004 rows in 0.31s, see `docs`\n" * lines
        started = time.process_time()
        redact(text)
        return time.process_time() - started

    small = min(seconds(1_000) for _ in range(3))
    assert seconds(18_000) < 18 * 5 * max(small, 1e-3)


# -------------------------------------------------------------------------------------------- secret by nature


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "DB_PASSWORD",
        "apiKey",
        "X-Api-Key",
        "client_secret",
        "clientSecret",
        "Authorization",
        "token",
        "access_key",
        "private_key",
        "auth.token",
        "SNOWFLAKE_PASSWD",
        "cookie",
        "credentials",
        "secret_access_key",
    ],
)
def test_names_that_say_that_a_secret_stands_under_them(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "key",
        "keys",
        "next_token",
        "pageToken",
        "max_tokens",
        "token_path",
        "primary_key",
        "path",
        "author",
        "passage",
    ],
)
def test_names_that_say_nothing_of_the_kind(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"password": "hunter22"}, {"hunter22"}),
        ({"headers": {"Authorization": "Bearer abc.def"}}, {"Bearer abc.def", "abc.def"}),
        (
            {"headers": {"Authorization": "Basic dTpodW50ZXIyMg=="}},
            {"Basic dTpodW50ZXIyMg==", "dTpodW50ZXIyMg==", "hunter22"},
        ),
        ({"params": [{"name": "X-Api-Key", "value": "abcdef"}]}, {"abcdef"}),
        ({"url": "postgresql://me:p%40ss@db/x"}, {"p%40ss", "p@ss"}),
        ({"url": "postgresql://me:p/s?s@db:5432/x"}, {"p/s?s"}),
        ({"url": "https://ghp_token@github.com/x"}, {"ghp_token"}),
        ({"url": "https://host/x?api_key=abcdef&page=2"}, {"abcdef"}),
        ({"dsn": "host=db password='a b' user=me"}, {"a b"}),
        ({"dsn": "Server=db;Pwd=abcdef;Database=x"}, {"abcdef"}),
        ({"url": "duckdb:///x.db", "key": ["id"], "table": "t"}, set()),
        ({"password": SecretReference("x"), "port": 5432}, set()),
        ({"token": 123456}, {"123456"}),
    ],
)
def test_what_stands_in_clear_and_is_secret_by_nature_is_found(value: object, found: set[str]) -> None:
    assert set(confidential(value)) == found


def test_a_short_word_that_stood_in_clear_is_masked_only_where_it_stands_alone() -> None:
    redact = Redactor()
    redact.add_confidential(["postgres"[:7], "hunter2-long"])
    assert redact("postgresql says postgre, hunter2-longer") == "postgresql says ***, ***er"


def test_a_line_of_yaml_keeps_its_columns() -> None:
    line = "  args: {url: 'pg://me:secret@h/x', password: hunter2, key: [a], token: '${{ secrets.x }}'}  # y"
    shown = blot_line(line)
    assert (
        shown
        == "  args: {url: 'pg://me:******@h/x', password: *******, key: [a], token: '${{ secrets.x }}'}  # y"
    )
    assert len(shown) == len(line)


def test_models_take_text_for_a_secret() -> None:
    class Model(BaseModel):
        one: Secret
        many: dict[str, Secret] = {}

    model = Model.model_validate({"one": "abc", "many": {"x": 5}})
    assert (model.one.reveal(), model.many["x"].reveal()) == ("abc", "5")
    assert "abc" not in repr(model)
    with pytest.raises(ValueError, match="takes text"):
        Model.model_validate({"one": ["abc"]})
    assert Model.model_json_schema()["properties"]["one"]["type"] == "string"
