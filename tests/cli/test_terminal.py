"""Nothing from data, servers or files steers the terminal: control characters arrive as text, in whatever is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.shell import etl
from tests.cli.test_live import HIDDEN, SHOWN, AtTerminal

if TYPE_CHECKING:
    from tests.cli.shell import Shell

ESC = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r"  # clears, sets a title, colours, turns the text round, overwrites
PLUGINS = r"""
import logging, warnings
from pipeline_flow import Context
ESC = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r"

@extract(name="tells" + ESC)
async def tells(context: Context, what: str = "x" + ESC):
    '''Says something ESC.'''
    context.notice("noticed " + ESC)
    context.notice("warned " + ESC, "warning")
    context.logger.warning("logged " + ESC)
    try:
        raise KeyError(ESC)
    except KeyError:
        logging.getLogger("library").exception("with a traceback " + ESC)
    warnings.warn("a library warns " + ESC)
    return [{"n": 1}]

@extract
async def rejects(context: Context):
    context.reject({"name": ESC}, "bad " + ESC)

@extract
async def raises():
    class Odd(Exception):
        pass
    Odd.__name__ = "Odd" + ESC
    raise Odd("raised " + ESC)

@transform
def multi(data):
    raise ExceptionGroup("group " + ESC, [ValueError("inner " + ESC), OSError(2, "no such file " + ESC)])
""".replace("Says something ESC.", "Says something \\x1b[2J.")


def _configure(shell: Shell) -> None:
    pipelines: dict[str, Any] = {
        f"good{ESC}": etl(
            {"plugin": f"tells{ESC}"},
            {"plugin": "parquet", "args": {"path": f"dir{ESC}/out.parquet"}},
            description=f"described {ESC}",
        ),
        "rejected": etl({"plugin": "rejects"}),
        "raised": etl({"plugin": "raises"}),
        "group": etl(transform={"plugin": "multi"}),
        "missing": etl({"plugin": "csv", "args": {"path": f"missing{ESC}.csv"}}),
        f"after{ESC}": {**etl(load={"plugin": "csv", "args": {"path": "a.csv"}}), "needs": ["missing"]},
        "table": etl(
            load={
                "plugin": "sql",
                "args": {"url": "duckdb:///x.duckdb", "table": f'"t{ESC}"', "mode": "append"},
            }
        ),
    }
    for number, pipeline in enumerate(pipelines.values()):
        load = pipeline["phases"]["load"]["steps"][0]["args"]
        if load.get("path") == "out.parquet":
            pipeline["phases"]["load"]["steps"][0] = {
                "plugin": "parquet",
                "args": {"path": f"out{number}.parquet"},
            }
    shell.configure(name=f"shop{ESC}", plugins=PLUGINS, pipelines=pipelines)


def _assert_harmless(text: str) -> None:
    bad = {character for character in text if not character.isprintable()} - {"\n", "\t"}
    assert not bad, [line for line in text.splitlines() if any(character in line for character in bad)]


@pytest.mark.parametrize("options", [("--progress", "plain"), ("-v",), ("-q",), ("--json",)], ids=" ".join)
def test_a_run_shows_no_control_characters(shell: Shell, options: tuple[str, ...]) -> None:
    _configure(shell)
    done = shell("run", "p.yaml", *options)
    assert done.code == 1
    _assert_harmless(done.out + done.err)
    if options != ("--json",):
        for told in (
            "warned",
            "logged",
            "with a traceback",
            "a library warns",
            "raised",
            "bad",
            "inner",
            "missing",
        ):
            assert f"{told}" in done.err
        assert "\\x1b[2J" in done.err


def test_a_run_at_a_terminal_shows_only_our_own_control_characters(shell: Shell) -> None:
    _configure(shell)
    run = AtTerminal(shell, "run", "p.yaml", NO_COLOR="1")
    assert run.end() == 1
    text = run.text
    for own in (HIDDEN, SHOWN, "\x1b[2K", "\x1b[1A", "\x1b[1m", "\x1b[2m", "\x1b[1;2m", "\x1b[0m", "\r"):
        text = text.replace(own, "")
    _assert_harmless(text)
    assert "\\x1b[2J" in text


@pytest.mark.parametrize(
    "arguments",
    [
        ("validate", "p.yaml"),
        ("plan", "p.yaml"),
        ("plan", "p.yaml", "--json"),
        ("plan", "p.yaml", "--mermaid"),
        ("plan", "p.yaml", "--svg", f"x{ESC}.svg"),
        ("plan", "p.yaml", "--svg", f"nowhere{ESC}/x.svg"),
        ("plan", "p.yaml", "--select", f"x{ESC}"),
        ("plugins", "list", "-f", "p.yaml"),
        ("plugins", "show", f"tells{ESC}", "-f", "p.yaml"),
        ("plugins", "show", f"unknown{ESC}", "-f", "p.yaml"),
        ("validate", f"missing{ESC}.yaml"),
    ],
    ids=lambda arguments: " ".join(arguments[:3]).encode("ascii", "replace").decode().replace("\x1b", "?"),
)
def test_no_other_command_shows_control_characters(shared: Shell, arguments: tuple[str, ...]) -> None:
    _configure(shared)
    done = shared(*arguments)
    assert done.code in (0, 2)
    assert done.out + done.err
    _assert_harmless(done.out + done.err)


def test_problems_show_no_control_characters(shared: Shell) -> None:
    escaped = ESC.encode("unicode_escape").decode().replace("\\x", "\\x")
    shared.write(
        "bad.yaml",
        f'pipelines:\n  "p{escaped}":\n    "key{escaped}": "value{escaped}"\n    # {chr(0x202E)}\n',
    )
    done = shared("validate", "bad.yaml")
    assert done.code == 2
    _assert_harmless(done.err)


def test_a_bug_of_ours_shows_no_control_characters(shared: Shell) -> None:
    code = (
        "import sys\nfrom pipeline_flow.cli import app, main\n"
        "def broken(**_): raise AssertionError('data \\x1b[2J')\n"
        "app.app = broken\nsys.argv = ['pipeline-flow']\nmain()"
    )
    done = shared.python(
        "-c",
        code.replace(
            "app.app = broken", "import pipeline_flow.cli.app as module; module.app = lambda **_: broken()"
        ).replace("import app, main", "import main"),
    )
    assert done.code == 5
    assert "data \\x1b[2J" in done.err
    _assert_harmless(done.err)
