"""What the command writes, where, and in which circumstances."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow import events
from tests.cli.shell import etl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.shell import Shell

PRINTS = """
print("printed by the file")

@transform
def chatty(data):
    import os, sys
    print("printed by the plugin")
    sys.stdout.flush()
    os.write(1, b"written to the descriptor\\n")
    return data
"""
COMMANDS = [
    (),
    ("run",),
    ("validate",),
    ("fmt",),
    ("config",),
    ("schema",),
    ("explain",),
    ("plan",),
    ("init",),
    ("preview",),
    ("connection",),
    ("connection", "test"),
    ("plugins",),
    ("plugins", "list"),
    ("plugins", "show"),
]


def _parquet(path: str) -> dict[str, Any]:
    return {"plugin": "parquet", "args": {"path": path}}


def _three(shell: Shell) -> None:
    """sales_a; sales_b needs it; other."""
    pipelines = {
        "sales_a": etl(load=_parquet("a.parquet")),
        "sales_b": {**etl(load=_parquet("b.parquet")), "needs": "sales_a"},
        "other": etl(load=_parquet("c.parquet")),
    }
    shell.configure(pipelines=pipelines)


# ---------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("run", "--help")])
def test_nothing_heavy_is_imported_for_help_and_version(shell: Shell, arguments: tuple[str, ...]) -> None:
    code = f"""
import sys
sys.argv = ["pipeline-flow", *{arguments!r}]
from pipeline_flow.cli import main
try:
    main()
finally:
    heavy = {{"pyarrow", "duckdb", "pydantic", "yaml", "numpy", "sqlglot", "asyncio", "rich"}}
    if len(sys.argv) > 2:
        heavy -= {{"pydantic"}}  # typer's own wish, where a command has options
    sys.stderr.write("imported: " + " ".join(sorted(heavy & set(sys.modules))))
"""
    done = shell.python("-c", code)
    assert (done.code, done.err) == (0, "imported: ")
    assert "pipeline-flow" in done.out


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_is_as_it_was(
    shared: Shell, golden: Callable[[str, str], None], command: tuple[str, ...]
) -> None:
    done = shared(*command, "--help", env={"COLUMNS": "80"})
    assert (done.code, done.err) == (0, "")
    golden(f"help{'-'.join(('', *command))}.txt", done.out)


def test_python_m_starts_the_same_command(shell: Shell) -> None:
    done = shell.cold("--version")
    assert done.code == 0
    assert re.fullmatch(r"pipeline-flow \d+\.\d+\.\d+\S*\n", done.out)
    assert shell.cold("run", "-h").out.startswith("Usage: pipeline-flow run ")


# ---------------------------------------------------------------------------------------------- a run


def test_the_summary_of_a_run_is_as_it_was(shell: Shell, golden: Callable[[str, str], None]) -> None:
    shell.configure(
        name="shop",
        plugins="@transform\ndef breaks(data):\n    raise ValueError('first line\\nsecond line')\n",
        pipelines={
            "orders": etl(transform={"plugin": "sql", "args": {"query": "from data where id = 1"}}),
            "broken": etl(transform={"plugin": "breaks"}),
            "report": {**etl(), "needs": ["orders", "broken"]},
        },
    )
    done = shell("run", "p.yaml", "--concurrency", "1")
    assert done.code == 1
    text = re.sub(r"(?m)\d+\.\d\d(?=s| |$)", "0.00", done.err)
    text = re.sub(r"run \d{8}T\d{6}-[0-9a-f]{8}", "run 20240601T000000-00000000", text)
    text = re.sub(r"(?m)^\d+ % of the time in \w+ `.*", "… % of the time in …", text)
    golden("run.txt", text)


def test_quiet_says_nothing_about_a_good_run(shell: Shell) -> None:
    _three(shell)
    done = shell("run", "-q", "p.yaml")
    assert (done.code, done.out, done.err) == (0, "", "")


def test_quiet_tells_what_failed(shell: Shell) -> None:
    shell.configure(pipelines={"p": etl({"plugin": "csv", "args": {"path": "nope.csv"}})})
    shell("run", "-q", "p.yaml").assert_told(
        1, "p.extract.csv: FAILED: the file nope.csv does not exist", "next: "
    )


def test_verbose_has_a_line_for_every_event(shell: Shell) -> None:
    shell.configure(pipelines={"p": etl()})
    told = shell("run", "p.yaml", "--json").events
    lines = shell("run", "p.yaml", "-v").err.split("\n\n")[0].splitlines()
    # How often progress is told is a matter of time.
    assert sum(" so far, " not in line for line in lines) == sum(
        event["event"] != "StepProgress" for event in told
    )
    assert all(re.match(r" *\d+\.\d\ds \S", line) for line in lines)


def test_json_is_one_event_a_line_with_plain_fields_and_nothing_else(shell: Shell) -> None:
    shell.configure(plugins=PRINTS, pipelines={"p": etl(transform={"plugin": "chatty"})})
    done = shell("run", "p.yaml", "--json")
    assert done.code == 0
    assert "printed by the file" in done.err
    assert "printed by the plugin" in done.err
    assert "written to the descriptor" in done.err
    fields_of = {
        cls.__name__: {field.name for field in fields(cls)}
        for cls in vars(events).values()
        if is_dataclass(cls) and isinstance(cls, type)
    }
    for event in done.events:
        assert set(event) == {"event", *fields_of[event["event"]]}
        assert json.loads(json.dumps(event)) == event
    assert [event["event"] for event in done.events][:2] == ["RunStarted", "PipelineStarted"]
    assert [event["event"] for event in done.events][-2:] == ["PipelineFinished", "RunFinished"]
    moments = [event["at"] for event in done.events]
    assert moments == sorted(moments)


def test_without_json_what_a_plugin_prints_goes_to_stdout_and_talk_to_stderr(shell: Shell) -> None:
    shell.configure(plugins=PRINTS, pipelines={"p": etl(transform={"plugin": "chatty"})})
    done = shell("run", "p.yaml")
    assert sorted(done.out.splitlines()) == [
        "printed by the file",
        "printed by the plugin",
        "written to the descriptor",
    ]
    assert "run succeeded" in done.err


def test_two_runs_give_the_same(shell: Shell) -> None:
    _three(shell)
    results = []
    for _ in range(2):
        shell("run", "-q", "p.yaml").assert_told(0)
        results.append({path.name: path.read_bytes() for path in shell.folder.glob("*.parquet")})
    assert len(results[0]) == 3
    assert results[0] == results[1]
    assert shell.left_behind() == []


# ---------------------------------------------------------------------------------------------- selection


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        ((), ["sales_a", "sales_b", "other"]),
        (("other",), ["other"]),
        (("sales_b",), ["sales_b"]),
        (("+sales_b",), ["sales_a", "sales_b"]),
        (("other", "+sales_b"), ["sales_a", "sales_b", "other"]),
        (("sales_*",), ["sales_a", "sales_b"]),
        (("+*_b",), ["sales_a", "sales_b"]),
        (("other", "other"), ["other"]),
    ],
)
def test_select_runs_what_it_names(shared: Shell, selected: tuple[str, ...], expected: list[str]) -> None:
    _three(shared)
    options = [item for name in selected for item in ("--select", name)]
    done = shared("run", "p.yaml", "--json", *options)
    assert done.code == 0
    assert done.of("RunStarted")[0]["pipelines"] == expected
    assert sorted(event["pipeline"] for event in done.of("PipelineFinished")) == sorted(expected)


def test_concurrency_of_the_command_line_beats_the_file(shared: Shell) -> None:
    _three(shared)
    done = shared("run", "p.yaml", "--json", "--concurrency", "1")
    order = [
        event["event"] for event in done.events if event["event"] in ("PipelineStarted", "PipelineFinished")
    ]
    assert order == ["PipelineStarted", "PipelineFinished"] * 3


def test_a_variable_of_the_command_line_beats_the_file(shared: Shell) -> None:
    shared.configure(
        variables={"out": "file.parquet"}, pipelines={"p": etl(load=_parquet("${{ variables.out }}"))}
    )
    shared("run", "-q", "p.yaml", "--var", "out=own = name.parquet").assert_told(0)
    assert (shared.folder / "own = name.parquet").exists()


# ---------------------------------------------------------------------------------------------- where it writes


LINES = [
    "pf run p.yaml --json | head -1",
    "pf run p.yaml 2>&1 | head -1",
    "pf plugins list | head -1",
    "pf run p.yaml 2>/dev/full",
    "pf run p.yaml >&-",
    "pf run p.yaml --json >&- 2>&-",
    "pf run p.yaml <&- >&- 2>&-",
    "TERM=dumb COLUMNS=20 pf run p.yaml",
    "NO_COLOR=1 FORCE_COLOR=1 pf run p.yaml",
    "LC_ALL=C LANG=C pf run p.yaml",
    "PYTHONIOENCODING=ascii pf plugins list",
    "PYTHONIOENCODING=latin-1 pf run p.yaml --json",
]


@pytest.mark.parametrize("line", LINES)
def test_neither_pipe_nor_terminal_nor_locale_stop_a_run(shell: Shell, line: str) -> None:
    shell.configure(name="Größe 数", pipelines={"Zürich": etl(load=_parquet("Zürich.parquet"))})
    done = shell.line(f"set -o pipefail; {line}")
    assert (done.code, "Traceback" in done.err, "rror" in done.err.replace("errors", "")) == (
        0,
        False,
        False,
    ), done.err
    assert "\x1b" not in done.out + done.err
    if "run" in line:
        assert [path.name for path in shell.folder.glob("*.parquet")] == ["Zürich.parquet"]


@pytest.mark.parametrize(
    ("line", "code"), [("pf plugins list", 1), ("pf --help", 1), ("pf run p.yaml --json", 0)]
)
def test_a_full_disk_under_standard_output_is_told_in_a_line(shell: Shell, line: str, code: int) -> None:
    """What a run has done it has done, although nobody could be told of it."""
    shell.configure(pipelines={"p": etl()})
    done = shell.line(f"{line} >/dev/full")
    assert done.code == code, done.err
    assert "no space left on device" in done.err.lower()
    assert "Traceback" not in done.err


def test_what_a_full_disk_refused_does_not_fail_once_more_when_the_stream_is_collected(shell: Shell) -> None:
    code = """
import gc, sys
from pipeline_flow.cli import streams

streams.prepare()
out = streams.take_stdout()
out.write("x")
try:
    out.flush()
except OSError:
    sys.stderr.write("told\\n")
del out
gc.collect()
"""
    (shell.folder / "code.py").write_text(code)
    done = shell.line(f"{shlex.quote(sys.executable)} -X dev code.py >/dev/full")
    assert done.err == "told\n"


def test_a_narrow_terminal_breaks_no_line(shell: Shell) -> None:
    shell.configure(pipelines={"a pipeline with a long name": etl()})
    wide, narrow = (shell("run", "p.yaml", env={"COLUMNS": width}).err for width in ("200", "20"))
    assert len(wide.splitlines()) == len(narrow.splitlines())


# ---------------------------------------------------------------------------------------------- secrets


SECRET = "hunter2 is/no &secret"
LEAKY = f"""
import logging, os, warnings
from pipeline_flow import Context
from pipeline_flow.plugins import ISecretManager

class Vault(ISecretManager, plugin_name="vault"):
    def __init__(self, plugin_id): ...
    def __call__(self):
        return {{"token": {SECRET!r}, "number": 123456789}}

@extract
async def leaks(token: str, header: dict, context: Context):
    from urllib.parse import quote
    context.notice(f"notice {{token}}")
    context.logger.warning("by the context: %s", token)
    logging.getLogger("anybody").warning("by a logger: %s", header)
    warnings.warn(f"by Python: {{token}}")
    try:
        raise LookupError(f"handled {{token}}")
    except LookupError:
        logging.getLogger("anybody").exception("traceback")
    yield [{{"a": 1, "b": "x" * 1000}}] * 5000
    raise ValueError(f"{{token}} {{header}} {{quote(token)}} {{token.encode()!r}}", token)
"""


@pytest.mark.parametrize("level", [(), ("-v",), ("-q",), ("--json",)])
def test_a_secret_reaches_no_line_no_event_and_no_file(shared: Shell, level: tuple[str, ...]) -> None:
    args = {
        "token": "${{ secrets.vault.token }}",
        "header": {"auth": "Bearer ${{ secrets.env }} ${{ secrets.vault.number }}"},
    }
    shared.configure(
        plugins=LEAKY,
        memory_limit="1MB",
        secrets={"vault": {"plugin": "vault"}, "env": {"plugin": "env", "args": {"variable": "PF_SECRET"}}},
        pipelines={"p": etl({"plugin": "leaks", "args": args})},
    )
    done = shared("run", "p.yaml", *level, env={"PF_SECRET": "swordfish"})
    assert done.code == 1
    for text in (done.out, done.err):
        for secret in (SECRET, "swordfish", "123456789", "hunter2"):
            assert secret not in text
    assert "***" in done.out + done.err
    if level != ("-q",):
        assert "notice ***" in done.out + done.err
    assert "p.extract.leaks: WARNING: by the context: ***" in done.err
    assert "anybody: WARNING: by a logger: {'auth': 'Bearer *** ***'}" in done.err
    assert "UserWarning: by Python: ***" in done.err
    assert shared.left_behind() == []


@pytest.mark.parametrize("level", ["-v", "--json"])
def test_a_secret_in_a_path_is_masked_wherever_the_path_shows(shared: Shell, level: str) -> None:
    secrets = {"s": {"plugin": "env", "args": {"variable": "PF_SECRET"}}}
    shared.configure(secrets=secrets, pipelines={"p": etl(load=_parquet("${{ secrets.s }}.parquet"))})
    done = shared("run", "p.yaml", level, env={"PF_SECRET": "swordfish"})
    assert done.code == 0
    assert "***.parquet" in done.out + done.err
    assert "swordfish" not in done.out + done.err


def test_a_secret_that_is_also_a_word_or_a_number_of_ours_leaves_json_whole(shared: Shell) -> None:
    secrets = {name: {"plugin": "env", "args": {"variable": name}} for name in ("PF_A", "PF_B")}
    args = {"path": "in.csv", "null": ["${{ secrets.PF_A }}", "${{ secrets.PF_B }}"]}
    shared.configure(secrets=secrets, pipelines={"p": etl({"plugin": "csv", "args": args})})
    century = str(int(time.time()))[:4]
    done = shared("run", "p.yaml", "--json", env={"PF_A": "event", "PF_B": century})
    assert [event["event"] for event in done.events][-1] == "RunFinished"


def test_a_secret_that_could_not_be_fetched_does_not_show_what_was_tried(shared: Shell) -> None:
    code = """
    from pipeline_flow.plugins import ISecretManager
    class Vault(ISecretManager, plugin_name="vault"):
        def __init__(self, plugin_id, url: str): self.url = url
        def __call__(self): raise ConnectionError(f"no answer from {self.url}\\x1b[2J")
    """
    url = "https://user:swordfish@vault.example/"
    secrets = {"s": {"plugin": "vault", "args": {"url": url}}}
    shared.configure(plugins=code, secrets=secrets, pipelines={"p": etl(load=_parquet("${{ secrets.s }}"))})
    done = shared("run", "p.yaml")
    done.assert_told(2, "secret.unavailable", "p.yaml:", "https://user:***@vault.example/", "nothing has run")
    assert "swordfish" not in done.err
    assert "\x1b" not in done.err
