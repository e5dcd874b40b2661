"""``pipeline-flow preview``: what leaves a step, and nothing else happens."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.cli.preview import _parts
from pipeline_flow.data import grid
from tests.cli.shell import SOURCE, etl

if TYPE_CHECKING:
    from tests.cli.shell import Shell

PLUGINS = """
from pathlib import Path

@extract
async def endless():
    try:
        number = 0
        while True:
            yield [{"n": number + step} for step in range(100)]
            number += 100
    finally:
        print("closed")

@extract
async def odd():
    return [{"a": None, "b": ""}, {"a": "null", "b": "two\\nlines\\x1b[31m"}, {"a": " x", "b": "y" * 100}]

@transform
def words(data):
    return "not rows"

@transform
def double(data: list[dict]):
    print("printed by the plugin")
    return [{"n": row["n"] * 2} for row in data]

@transform
def breaks(data):
    raise ValueError("broken")

@load(threaded=True)
def mark(data):
    Path("loaded").touch()

@transform_at_load
def after():
    Path("after").touch()
"""
JOIN = {
    "plugin": "sql",
    "id": "joined",
    "args": {"query": "select id, a.name, b.name as other from a join b using (id)"},
}


def _pipelines(**more: Any) -> dict[str, Any]:
    csv = {"plugin": "csv", "args": {"path": "in.csv"}}
    two = [{**csv, "id": "a"}, {**csv, "id": "b"}]
    return {
        "pipelines": {
            "orders": etl(two, {"plugin": "mark"}, JOIN),
            "late": {
                **etl({"plugin": "endless"}, {"plugin": "mark"}, {"plugin": "double"}),
                "needs": "orders",
            },
            **more,
        }
    }


@pytest.fixture
def flow(shell: Shell) -> Shell:
    shell.configure(plugins=PLUGINS, **_pipelines())
    return shell


@pytest.mark.parametrize("step", ["orders.transform.joined", "orders.joined", "transform.joined", "joined"])
def test_a_step_is_named_in_full_or_in_short(flow: Shell, step: str) -> None:
    done = flow("preview", "p.yaml", step)
    assert (done.code, done.out) == (
        0,
        "    id  name     other\nBIGINT  VARCHAR  VARCHAR\n------  -------  -------\n     1  x        x\n     2  y        y\n",
    )
    assert done.err == "2 rows of orders.transform.joined\n"


def test_an_endless_extract_is_read_as_far_as_needed_and_closed(flow: Shell) -> None:
    done = flow("preview", "p.yaml", "late.double", "-n", "2", "--limit-rows", "250")
    assert done.code == 0
    assert [line.strip() for line in done.out.splitlines()] == ["n", "BIGINT", "------", "0", "2"]
    told = done.err.splitlines()
    assert sorted(told) == sorted([
        "closed", "printed by the plugin",
        "the first 2 rows of late.transform.double", "of endless at most the first 250 rows were read",
    ])  # fmt: skip


def test_nothing_is_loaded_and_nothing_left_behind(flow: Shell) -> None:
    done = flow("preview", "p.yaml", "late.load.mark", "--json")
    assert done.code == 0
    shown = json.loads(done.out)
    assert shown["step"] == "late.load.mark"
    assert (len(shown["tables"]["mark"]["rows"]), shown["tables"]["mark"]["more"]) == (20, True)
    assert (shown["limit_rows"], shown["limited"]) == (1000, ["endless"])
    assert not (flow.folder / "loaded").exists()
    assert flow.left_behind() == []


def test_a_load_without_transform_is_handed_tables_or_the_one_that_it_picks(shell: Shell) -> None:
    csv = {"plugin": "csv", "args": {"path": "in.csv"}}
    loads = [{"plugin": "mark"}, {"plugin": "mark", "id": "one", "input": "b"}]
    shell.configure(plugins=PLUGINS, pipelines={"p": etl([{**csv, "id": "a"}, {**csv, "id": "b"}], loads)})
    both = json.loads(shell("preview", "p.yaml", "mark", "--json").out)
    assert list(both["tables"]) == ["a", "b"]
    assert shell("preview", "p.yaml", "mark").out.startswith("a:\n    id  name\n")
    picked = json.loads(shell("preview", "p.yaml", "one", "--json").out)
    assert list(picked["tables"]) == ["one"]


def test_merge_and_hooks_of_extract_are_steps_too(shell: Shell) -> None:
    extract = {
        "steps": [{**etl()["phases"]["extract"]["steps"][0], "id": name} for name in ("a", "b")],
        "merge": {"plugin": "concat"},
    }
    pipeline = {"phases": {"extract": extract, "load": {"steps": [{"plugin": "mark"}]}}}
    shell.configure(plugins=PLUGINS, pipelines={"p": pipeline})
    assert "4 rows of p.extract.merge" in shell("preview", "p.yaml", "merge").err
    assert "2 rows of p.extract.b" in shell("preview", "p.yaml", "p.extract.b").err


def test_odd_values_are_told_apart_and_steer_nothing(shell: Shell) -> None:
    shell.configure(plugins=PLUGINS, pipelines={"p": etl({"plugin": "odd"})})
    done = shell("preview", "p.yaml", "odd")
    rows = done.out.splitlines()[3:]
    assert rows[0].split() == ["null", '""']
    assert rows[1] == '"null"   two\\nlines\\x1b[31m'
    assert rows[2] == '" x"     ' + "y" * (grid.WIDEST - 1) + "…"
    assert "\x1b" not in done.out


def test_on_a_terminal_the_table_is_drawn(shell: Shell) -> None:
    shell.configure(plugins=PLUGINS, pipelines={"p": etl({"plugin": "odd"})})
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline_flow", "preview", "p.yaml", "odd"],
        cwd=shell.folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "60", "TERM": "xterm", "LC_ALL": "C.UTF-8"},
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    text = ""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux: the other side is closed
            break
        if not part:
            break
        text += part.decode()
    os.close(ours)
    assert process.wait() == 0
    assert "─" in text
    assert "\\x1b[31m" in text
    assert "\x1b[31m" not in text


def test_an_object_that_has_no_rows_is_shown_as_what_it_is(shell: Shell) -> None:
    shell.configure(plugins=PLUGINS, pipelines={"p": etl(transform={"plugin": "words"})})
    assert shell("preview", "p.yaml", "words").out == "no rows, but an object of str: 'not rows'\n"
    shown = json.loads(shell("preview", "p.yaml", "words", "--json").out)
    assert shown["tables"]["words"] == {"object": "str", "text": "'not rows'"}


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("joind", "did you mean `joined`?"),
        ("mark", "name one: orders.load.mark, late.load.mark"),
        ("after", "`atload.transform_at_load.after` cannot be previewed: it works in the destination"),
        ("pre.late", "there is no step `pre.late`"),
    ],
)
def test_what_cannot_be_shown_is_refused(shell: Shell, step: str, told: str) -> None:
    at_load = etl(load={"plugin": "parquet", "args": {"path": "x.parquet"}})
    at_load["phases"]["transform_at_load"] = {"steps": [{"plugin": "after"}]}
    shell.configure(plugins=PLUGINS, **_pipelines(atload=at_load))
    done = shell("preview", "p.yaml", step)
    done.assert_told(2, told)
    assert done.out == ""


def test_a_failure_on_the_way_is_told_and_fails(shell: Shell) -> None:
    shell.configure(plugins=PLUGINS, pipelines={"p": etl(transform={"plugin": "breaks"})})
    done = shell("preview", "p.yaml", "p.load.parquet")
    done.assert_told(1, "p.transform.breaks: FAILED: ValueError: broken")
    assert done.out == ""


def test_only_the_secrets_on_the_way_are_fetched(shell: Shell) -> None:
    load = {"plugin": "sql", "args": {"url": "${{ secrets.missing }}", "table": "t", "mode": "replace"}}
    secrets = {"missing": {"plugin": "env", "args": {"variable": "NOT_SET_ANYWHERE"}}}
    shell.configure(secrets=secrets, pipelines={"p": etl(load=load)})
    assert shell("preview", "p.yaml", "csv").code == 0
    assert shell("preview", "p.yaml", "p.load.sql").code == 0
    shell("run", "p.yaml").assert_told(2, "NOT_SET_ANYWHERE")


def test_variables_are_overridden(shell: Shell) -> None:
    csv = {"plugin": "csv", "args": {"path": "${{ variables.path }}"}}
    shell.configure(variables={"path": "nothing.csv"}, pipelines={"p": etl(csv)})
    assert "2 rows" in shell("preview", "p.yaml", "csv", "--var", "path=in.csv").err


def test_columns_wider_than_the_terminal_stand_in_parts() -> None:
    assert _parts([10, 10, 10], 30) == [[0, 1], [2]]
    assert _parts([100, 3], 30) == [[0], [1]]
    assert _parts([], 30) == [[]]
