"""Where a value comes from, the whole way."""

from __future__ import annotations

import pytest

from pipeline_flow import config
from pipeline_flow.config.source import Source
from pipeline_flow.config.trace import trace
from pipeline_flow.errors import ConfigError

TEXT = """\
variables:
  host: { type: text, default: localhost }
  url: "postgresql://${{ secrets.db.user }}@${{ variables.host }}/${{ env.DB || 'shop' }}"
secrets:
  db: { plugin: env, args: { variable: DB_LOGIN } }
profiles:
  prod: { variables: { host: "db.${{ env.ZONE }}" } }
pipelines:
  orders:
    phases:
      extract: { steps: [{ plugin: a, args: { url: "${{ variables.url }}", plain: 5 } }] }
      load: { steps: [{ id: w, plugin: b, retry: { attempts: 3 } }] }
"""


def shown(path: str, **options: object) -> list[str]:
    environ = {"ZONE": "eu"}
    found = config.load(Source(TEXT, "p.yaml"), environ=environ, **options)  # type: ignore[arg-type] # what the test gives
    return [
        f"{'  ' * link.depth}{link.text}" + (f" [{link.position}]" if link.position else "")
        for link in trace(found, path, environ)
    ]


def test_the_whole_way_is_told() -> None:
    assert shown("pipelines.orders.phases.extract.steps.0.args.url") == [
        '"${{ variables.url }}" [p.yaml:11:52]',
        "  variables.url: a variable [p.yaml:3:3]",
        "    \"postgresql://${{ secrets.db.user }}@${{ variables.host }}/${{ env.DB || 'shop' }}\" [p.yaml:3:8]",
        "      secrets.db.user: fetched by `env` when a run starts [p.yaml:5:3]",
        "      variables.host: a variable [p.yaml:2:3]",
        "        localhost [p.yaml:2:32]",
        "      env.DB: not set",
        "      otherwise 'shop'",
    ]


def test_a_profile_and_a_given_variable_show() -> None:
    way = shown("orders.extract.a.args.url", profile="prod")
    assert "      variables.host: the profile `prod` [p.yaml:7:24]" in way
    assert "          env.ZONE: set in the environment" in way
    way = shown("orders.extract.a.args.url", variables={"host": "mine"})
    assert "      variables.host: given with --var [p.yaml:2:3]" in way


def test_a_step_goes_by_its_id_and_its_address() -> None:
    assert shown("orders.extract.a.args.plain") == shown("pipelines.orders.phases.extract.steps.a.args.plain")
    assert shown("orders.extract.a.args.plain") == ["5 [p.yaml:11:83]"]
    assert shown("orders.load.w.retry.attempts") == ["3 [p.yaml:12:62]"]
    assert shown("variables") == ["a mapping of 2 [p.yaml:1:1]"]


def test_a_path_that_leads_nowhere_says_how_far_it_leads() -> None:
    with pytest.raises(ConfigError) as caught:
        shown("orders.extract.a.args.ulr")
    (problem,) = caught.value.problems
    assert problem.text == "`pipelines.orders.phases.extract.steps.a.args` has no `ulr`"
    assert problem.suggestion == "url"


def test_a_variable_that_uses_itself_in_a_later_document_ends() -> None:
    text = 'variables: {a: x}\n---\nvariables: {a: "${{ variables.a }}y"}\npipelines: {p: {phases: {extract: {steps: [{plugin: a, args: {v: "${{ variables.a }}"}}]}, load: {steps: [{plugin: b}]}}}}\n'
    found = config.load(Source(text, "p.yaml"))
    assert len(trace(found, "p.extract.a.args.v", {})) < 10
