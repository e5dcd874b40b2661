"""Variables, environment variables and secrets, as 1.0.8's documentation promises them."""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import ConfigError
from pipeline_flow.plugins import ISecretManager
from tests.compat.conftest import etl, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.compat.plugins import Shelf


class SafeDeposit(ISecretManager, plugin_name="safe_deposit"):
    """Knows a few secrets, and counts how often it is asked."""

    asked: list[str] = []  # noqa: RUF012 - plugins are written like this

    def __init__(self, plugin_id: str, box: str) -> None:
        super().__init__(plugin_id)
        self.box = box

    @property
    def resource_id(self) -> str:
        return f"deposit/{self.box}"

    def __call__(self) -> Any:
        self.asked.append(self.box)
        return {
            "token": "t0k3n-4711",
            "login": {"user": "app", "password": "pa55word"},
            "number": 4711,
            "name": "token",
        }[self.box]


SECRETS = """
secrets:
  token: {plugin: safe_deposit, args: {box: token}}
  login: {plugin: safe_deposit, args: {box: login}}
  number: {plugin: safe_deposit, args: {box: number}}
"""


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("${{ variables.number }}", 7),
        ("${{variables.number}}", 7),
        ("${{ variables.ratio }}", 0.5),
        ("${{ variables.flag }}", True),
        ("${{ variables.nothing }}", None),
        ("${{ variables.items }}", ["a", 1]),
        ("${{ variables.map }}", {"deep": [1, {"x": None}]}),
        ("${{ variables.number }} of ${{ variables.number }}", "7 of 7"),
        ("${{ variables.text }}-${{ variables.flag }}-${{ variables.ratio }}", "word-True-0.5"),
        ("a list is ${{ variables.items }}", "a list is ['a', 1]"),
    ],
)
def test_a_variable_alone_keeps_its_type_and_among_text_becomes_text(
    shelf: type[Shelf], written: str, expected: Any
) -> None:
    variables = """
variables:
  text: word
  number: 7
  ratio: 0.5
  flag: true
  nothing: null
  items: [a, 1]
  map: {deep: [1, {x: null}]}
---"""
    run(variables + etl(plugin="show_args", value=written))
    assert shelf.kept["end"] == {"value": expected}


@pytest.mark.parametrize(
    "written",
    [
        "before ${{ variables.text }} after",
        '"before ${{ variables.text }} after"',
        "'before ${{ variables.text }} after'",
        "|-\n                before ${{ variables.text }} after",
        ">-\n                before\n                ${{ variables.text }} after",
    ],
)
def test_placeholders_work_quoted_in_block_scalars_and_with_text_around_them(
    shelf: type[Shelf], written: str
) -> None:
    run("variables: {text: word}\n---" + etl(plugin="show_args", value=written))
    assert shelf.kept["end"] == {"value": "before word after"}


def test_an_environment_variable_is_text_alone_and_among_text(
    shelf: type[Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_PORT", "5432")
    run(etl(plugin="show_args", alone="${{ env.COMPAT_PORT }}", inside='"host:${{ env.COMPAT_PORT }}/db"'))
    assert shelf.kept["end"] == {"alone": "5432", "inside": "host:5432/db"}


def test_environment_variables_and_variables_meet_in_one_text(
    shelf: type[Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_STAGE", "test")
    run(
        "variables: {table: users}\n---"
        + etl(plugin="show_args", name="${{ variables.table }}_${{ env.COMPAT_STAGE }}")
    )
    assert shelf.kept["end"] == {"name": "users_test"}


def test_an_environment_variable_that_is_not_set_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match="COMPAT_NOT_THERE"):
        run(etl(plugin="show_args", value="${{ env.COMPAT_NOT_THERE }}"))


def test_variables_may_use_environment_variables_and_earlier_variables(
    shelf: type[Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_ROOT", "/data")
    text = """
variables: {root: "${{ env.COMPAT_ROOT }}"}
---
variables: {inbox: "${{ variables.root }}/in"}
---"""
    run(text + etl(plugin="show_args", path="${{ variables.inbox }}"))
    assert shelf.kept["end"] == {"path": "/data/in"}


@pytest.mark.parametrize("separator", ["---", ""], ids=["a document of their own", "the main document"])
def test_variables_and_secrets_may_stand_in_the_first_or_in_the_main_document(
    shelf: type[Shelf], separator: str
) -> None:
    text = SECRETS + "variables: {name: orders}\n" + separator
    run(text + etl(plugin="show_args", name="${{ variables.name }}", token="${{ secrets.token }}"))
    assert shelf.kept["end"] == {"name": "orders", "token": "t0k3n-4711"}


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Bearer ${{ secrets.token }}", "Bearer t0k3n-4711"),
        ('"Bearer ${{ secrets.token }}"', "Bearer t0k3n-4711"),
        ("${{ secrets.token }}/suffix", "t0k3n-4711/suffix"),
        ("${{ secrets.login.user }}:${{ secrets.login.password }}@host", "app:pa55word@host"),
        ("${{ secrets.number }}", 4711),
        ("n${{ secrets.number }}", "n4711"),
        ("${{ secrets.login }}", {"user": "app", "password": "pa55word"}),
        ("${{ secrets.login.password }}", "pa55word"),
        ("${{ secrets.token.resource_id }}", "deposit/token"),
        ("{Authorization: 'Bearer ${{ secrets.token }}', Accept: json}",
         {"Authorization": "Bearer t0k3n-4711", "Accept": "json"}),
    ],
)  # fmt: skip
def test_a_secret_reaches_the_plugin_as_a_plain_value(
    shelf: type[Shelf], written: str, expected: Any
) -> None:
    run(SECRETS + "---" + etl(plugin="show_args", value=written))
    assert shelf.kept["end"] == {"value": expected}


def test_a_variable_may_hold_a_secret_alone_and_among_text(shelf: type[Shelf]) -> None:
    text = (
        SECRETS
        + "---\nvariables: {token: '${{ secrets.token }}', header: 'Bearer ${{ secrets.token }}'}\n---"
    )
    run(text + etl(plugin="show_args", a="${{ variables.token }}", b="${{ variables.header }}!"))
    assert shelf.kept["end"] == {"a": "t0k3n-4711", "b": "Bearer t0k3n-4711!"}


def test_a_secret_manager_may_be_given_a_secret_that_stands_before_it(shelf: type[Shelf]) -> None:
    text = (
        SECRETS + "---\nsecrets: {second: {plugin: safe_deposit, args: {box: '${{ secrets.token }}'}}}\n---"
    )
    run(text.replace("box: token", "box: name") + etl(plugin="show_args", a="${{ secrets.second }}"))
    assert shelf.kept["end"] == {"a": "t0k3n-4711"}


def test_a_secret_manager_may_come_from_a_custom_file(
    shelf: type[Shelf], plugin_file: Callable[..., Path]
) -> None:
    plugin_file("""
        from pipeline_flow.plugins import ISecretManager

        class Drawer(ISecretManager, plugin_name="drawer"):
            def __call__(self):
                return "found in the drawer"
    """)
    text = "secrets: {key: {plugin: drawer}}\n---\nplugins: {custom: {files: [custom.py]}}"
    run(text + etl(plugin="show_args", key="${{ secrets.key }}"))
    assert shelf.kept["end"] == {"key": "found in the drawer"}


def test_a_secret_that_no_step_uses_is_not_fetched(shelf: type[Shelf]) -> None:
    SafeDeposit.asked.clear()
    run(SECRETS + "---" + etl(plugin="show_args", a="${{ secrets.token }}", b="x${{ secrets.token }}"))
    assert SafeDeposit.asked == ["token"]


class OneThread(ISecretManager, plugin_name="one_thread"):
    def __init__(self, plugin_id: str) -> None:
        super().__init__(plugin_id)
        self.database = sqlite3.connect(":memory:")  # may be used in this thread alone
        self.thread = threading.get_ident()

    @property
    def resource_id(self) -> str:
        return str(self.database.execute("select 'id'").fetchone()[0])

    def __call__(self) -> str:
        value = str(self.database.execute("select 'value'").fetchone()[0])
        self.database.close()  # the last that it is asked, as the order below shows
        return value if self.thread == threading.get_ident() else "another thread"


def test_a_secret_manager_is_built_and_asked_in_one_thread(shelf: type[Shelf]) -> None:
    names = [f"s{number}" for number in range(8)]
    secrets = "secrets:\n" + "".join(f"  {name}: {{plugin: one_thread}}\n" for name in names)
    used = {name: f"${{{{ secrets.{name} }}}}-${{{{ secrets.{name}.resource_id }}}}" for name in names}
    run(secrets + "---" + etl(plugin="show_args", **used))
    assert shelf.kept["end"] == dict.fromkeys(names, "value-id")


def test_a_yaml_anchor_may_be_used_twice_even_with_a_plugin_inside_it(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  first: &pipeline
    type: ETL
    phases:
      extract:
        steps:
          - &step
            plugin: show_args
            args: {inner: &inner {plugin: page_based_pagination, id: pages}, list: [*inner, *inner]}
          - *step
        merge: {plugin: together, id: all}
      load:
        steps: [{plugin: to_shelf, id: end}]
  second: *pipeline
""")
    payload = {"plugin": "page_based_pagination", "id": "pages"}
    args = {"inner": payload, "list": [payload, payload]}
    assert list(shelf.kept["all"].values()) == [args, args]
    assert shelf.log == ["end", "end"]
