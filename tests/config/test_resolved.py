"""`config FILE`: what it prints means the same as the file, and shows no secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pipeline_flow import entrypoint
from pipeline_flow.config import writer
from pipeline_flow.config.source import Source, graft
from pipeline_flow.plan.resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests/config/corpus"
FILES = sorted([*(ROOT / "examples").glob("*.yaml"), *CORPUS.glob("*.yaml"), *CORPUS.glob("good/*.yaml")])


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def resolved(text: str, **options: Any) -> tuple[dict[str, Any], Resolved]:
    found = Resolved(*entrypoint.load(Source(text, "p.yaml", Path("p.yaml")), **options))
    return found.data(), found


def written(data: dict[str, Any]) -> str:
    return writer.text([graft(data, 0)], lambda text, _: pytest.fail(text))  # type: ignore[list-item] # a mapping


def texts() -> Iterator[Any]:
    for file in FILES:
        yield pytest.param(file.read_text(encoding="utf-8"), id=file.stem)


@pytest.mark.parametrize("text", list(texts()))
def test_what_is_printed_is_valid_and_gives_the_same_plan(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SHOP_URL", "WAREHOUSE_URL"):
        monkeypatch.setenv(name, "sqlite:///shop.db")
    source = Source(text, "p.yaml", Path("p.yaml"))
    data, found = resolved(text)
    again = written(data)
    if found.masked:
        pytest.fail(f"nothing in it is secret, and {found.masked} values were masked:\n{again}")
    before, after = (entrypoint.prepare(item).plan for item in (source, again))
    for pipeline in before.pipelines:
        for first, second in zip(pipeline.phases, after.pipeline(pipeline.name).phases, strict=True):
            assert first == second
    assert before == after
    assert resolved(again)[0] == data, "twice gives the same"
    assert "${{ variables" not in again
    assert yaml.safe_load(again).keys() <= set(data)


TEXT = """\
name: shop
variables:
  db_password: hunter2-and-more
  login: ann
  table: ann
  key_of_ours: abcdefghij
  plain: "$${{ env.HOME }} stays"
connections:
  shop: postgresql://ann:hunter3@db/shop
secrets:
  web: { plugin: env, args: { variable: WEB } }
profiles:
  prod: { variables: { table: prod_table } }
plugins: { custom: { files: [] } }
pipelines:
  p:
    matrix: { region: [eu, us] }
    phases:
      extract:
        steps:
          - plugin: rest_api
            timeout: 90s
            args:
              base_url: https://api.example.com/${{ matrix.region }}?api_key=clear1
              endpoint: a/${{ variables.plain }}
              headers: { X-Key: "${{ variables.key_of_ours }}", X-Web: "Key ${{ secrets.web.key }}" }
              auth: { type: basic, username: "${{ variables.login }}", password: "${{ variables.db_password }}" }
              body: { text: "it is hunter2-and-more", token: clear2 }
              method: POST
      load:
        steps:
          - { plugin: sql, args: { url: "sqlite:///x.db", table: "${{ variables.table }}", mode: append } }
"""


def test_secrets_stay_references_and_what_is_secret_by_nature_is_masked() -> None:
    data, found = resolved(TEXT)
    (eu, us) = data["pipelines"].values()
    assert list(data["pipelines"]) == ["p-eu", "p-us"]
    args = eu["phases"]["extract"]["steps"][0]["args"]
    assert args == {
        "base_url": "https://api.example.com/eu?api_key=***",
        "endpoint": "a/$${{ env.HOME }} stays",
        "headers": {"X-Key": "***", "X-Web": "Key ${{ secrets.web.key }}"},
        "auth": {"type": "basic", "username": "***", "password": "***"},
        "body": {"text": "it is ***", "token": "***"},
        "method": "POST",
    }
    assert data["variables"] == {
        "db_password": "***",
        "login": "***",
        "table": "***",  # the same text as the login's
        "key_of_ours": "***",
        "plain": "$${{ env.HOME }} stays",
    }
    assert data["connections"] == {"shop": "postgresql://ann:***@db/shop"}
    assert data["secrets"] == {"web": {"plugin": "env", "args": {"variable": "WEB"}}}
    assert us["phases"]["load"]["steps"][0]["args"]["table"] == "ann"
    assert found.masked
    for clear in ("hunter2", "hunter3", "abcdefghij", "clear1", "clear2"):
        assert clear not in json.dumps(data)
        assert clear not in found.redact(TEXT) or len(clear) < 8


def test_a_url_with_a_placeholder_for_its_user_hides_the_password_too() -> None:
    text = TEXT.replace("ann:hunter3", "${{ secrets.web.user }}:hunter3")
    assert resolved(text)[0]["connections"] == {"shop": "postgresql://${{ secrets.web.user }}:***@db/shop"}
    text = TEXT.replace("ann:hunter3", "ann:${{ secrets.web.password }}")
    assert resolved(text)[0]["connections"] == {
        "shop": "postgresql://ann:${{ secrets.web.password }}@db/shop"
    }


def test_a_profile_given_variables_and_defaults_are_in_it() -> None:
    data, _ = resolved(TEXT, profile="prod", variables={"login": "eve"})
    step = data["pipelines"]["p-eu"]["phases"]["extract"]["steps"][0]
    assert (step["id"], step["timeout"], step["retry"], step["on_bad_row"]) == ("rest_api", 90, 1, "fail")
    assert data["pipelines"]["p-eu"]["type"] == "ETL"
    assert data["variables"]["table"] == "prod_table"
    assert (data["concurrency"], data["fail_fast"], data["timezone"]) == (2, False, "UTC")
    assert "profiles" not in data


def test_what_is_known_only_when_a_run_starts_stays_a_placeholder() -> None:
    data, _ = resolved(TEXT.replace("endpoint: a/", "endpoint: ${{ run.id }}/"))
    args = data["pipelines"]["p-eu"]["phases"]["extract"]["steps"][0]["args"]
    assert args["endpoint"].startswith("${{ run.id }}/")
