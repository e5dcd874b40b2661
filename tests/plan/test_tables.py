"""What a plan knows of the tables that one extract step hands on, before anybody connects."""

from __future__ import annotations

import pytest

from pipeline_flow import config, plan
from pipeline_flow.core.discovery import catalog
from pipeline_flow.errors import ConfigError
from pipeline_flow.plan import view
from tests.plan import plugins  # noqa: F401 - it declares `after`

SHOP = 'plugin: sql, id: shop, args: {url: "sqlite:///a.db", tables: %s}'
ANY = f"{{{SHOP % '[order_*, customers]'}}}"
NAMED = f"{{{SHOP % '[orders, main.customers]'}}}"
ONE = '{plugin: sql, id: one, args: {url: "sqlite:///a.db", table: t}}'
STAR = '{plugin: sql, id: star, args: {url: "duckdb:///b.duckdb", table: "raw.*", mode: replace}}'
TABLE = '{plugin: sql, id: table, args: {url: "duckdb:///b.duckdb", table: t, mode: replace}}'


def text(extract: str, load: str, transform: str = "", around: str = "") -> str:
    lines = [
        "pipelines:",
        "  demo:",
        "    phases:",
        f"      extract: {{steps: [{extract}]{around}}}",
        f"      transform: {{steps: [{transform}]}}" if transform else "",
        f"      load: {{steps: [{load}]}}",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def picks(step: str, name: str) -> str:
    return f"{step.removesuffix('}')}, input: {name}}}"


def said(configuration: str) -> list[str]:
    try:
        plan.build(config.load(configuration, keep_going=True), catalog())
    except ConfigError as error:
        return [f"{problem.code}: {problem.text} | {problem.hint}" for problem in error.problems]
    return []


@pytest.mark.parametrize(
    "configuration",
    [
        text(ANY, STAR),
        text(NAMED, STAR),
        text(ANY, picks(TABLE, "whatever")),
        text(NAMED, picks(TABLE, "orders")),
        text(NAMED, picks(TABLE, "Orders")),
        text(ANY, TABLE, transform='{plugin: sql, args: {query: "select * from order_1"}}'),
        text(ANY, TABLE, transform=picks("{plugin: filter, args: {where: a > 1}}", "order_1")),
        text(ANY, TABLE, around=", merge: {plugin: concat}"),
        text(f"{ANY}, {ONE}", STAR),
        text(f"{ANY}, {ONE}", picks(STAR, "shop")),
        text(f"{ANY}, {ONE}", f"{picks(TABLE, 'shop__order_1')}, {picks(STAR, 'shop')}"),
        text(f"{ANY}, {ONE}", picks(TABLE, "one")),
        text(f"{NAMED}, {ONE}", picks(TABLE, "shop__customers")),
        text(f"{ONE}, {ONE.replace('one', 'two')}", STAR),
    ],
)
def test_tables_reach_who_takes_them(configuration: str) -> None:
    assert said(configuration) == []


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (
            text(ANY, TABLE),
            "config.tables_need_merge: `sql` takes one stream, and the extract step `shop` hands on",
        ),
        (text(ANY, TABLE), "pick one with input: <table>; all of them: table: "),
        (text(NAMED, TABLE), "pick one with input: orders | customers"),
        (text(f"{ANY}, {ONE}", TABLE), "pick one with input: one | shop__<table>"),
        (text(f"{ANY}, {ONE}", picks(TABLE, "shop")), "config.tables_need_merge"),
        (text(ANY, TABLE, transform="{plugin: filter, args: {where: a > 1}}"), "`filter` takes one stream"),
        (text(ANY, STAR, around=", post: [{plugin: after}]"), "`after` takes one stream"),
        (
            text(NAMED, picks(TABLE, "order")),
            "config.unknown_input: there is no table `order` | did you mean `orders`?",
        ),
        (text(f"{ANY}, {ONE}", picks(TABLE, "order_1")), "there is no table `order_1`"),
        (text(f"{NAMED}, {ONE}", picks(TABLE, "shop__order")), "did you mean `shop__orders`?"),
        (
            text(ANY, picks(TABLE, "shop"), around=", merge: {plugin: concat}"),
            "the extract steps are merged into one",
        ),
        (
            text(ONE, STAR),
            "plugin.wrong_argument: `sql` shall write several tables, and one stream reaches it",
        ),
        (text(ANY, picks(STAR, "order_1")), "or leave `input` out"),
        (text(ANY, STAR, transform='{plugin: sql, args: {query: "select 1"}}'), "one stream reaches it"),
        (text(ANY, STAR, around=", merge: {plugin: concat}"), "one stream reaches it"),
        (text(ONE, TABLE, around=", merge: {plugin: concat}"), "`merge` makes one of several"),
        (text(ANY, STAR.replace("raw.*", "*.x")), "one `*` stands for the table's name"),
        (text(ANY, STAR.replace("raw.*", "a*b*")), "one `*` stands for the table's name"),
        (text(ANY, STAR.replace("mode:", "columns: {a: INT}, mode:")), "`columns` gives types for one table"),
    ],
)
def test_what_does_not_fit_is_said_with_the_remedy(configuration: str, expected: str) -> None:
    assert any(expected in line for line in said(configuration)), said(configuration)


def test_the_plan_shows_which_step_a_table_comes_from() -> None:
    loads = f"{picks(TABLE, 'shop__orders')}, {picks(STAR, 'shop')}, {picks(TABLE.replace('table,', 'last,'), 'one')}"
    built = plan.build(config.load(text(f"{NAMED}, {ONE}", loads)), catalog())
    _, load = view.of(built.plan, catalog()).pipelines[0].phases
    assert [step.takes for step in load.steps] == [("extract.shop",), ("extract.shop",), ("extract.one",)]
    alone = plan.build(config.load(text(ANY, picks(TABLE, "order_1"))), catalog())
    extract, load = view.of(alone.plan, catalog()).pipelines[0].phases
    assert load.steps[0].takes == ("extract.shop",)
    assert extract.steps[0].about == "sqlite:///a.db, tables order_*, customers"
