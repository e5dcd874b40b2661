"""What can go wrong while a run is under way: the step is named, what is wrong is said, everything else goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.shell import CSV, etl

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.shell import Done, Shell


def _sql(url: str, query: str = "select 1 as a") -> dict[str, Any]:
    return {"plugin": "sql", "args": {"url": url, "query": query}}


def _into(url: str) -> dict[str, Any]:
    return {"plugin": "sql", "args": {"url": url, "table": "t", "mode": "replace"}}


def _parquet(path: str) -> dict[str, Any]:
    return {"plugin": "parquet", "args": {"path": path}}


def _csv(path: str) -> dict[str, Any]:
    return {"plugin": "csv", "args": {"path": path}}


def _python(function: str) -> dict[str, Any]:
    return {"plugin": "python", "args": {"function": function}}


# What fails, as a pipeline; the code of the failure; what its message says.
WORLD: dict[str, tuple[dict[str, Any], str, str]] = {
    "missing_file": (etl(_csv("nope.csv")), "data.source_unreadable", "nope.csv does not exist"),
    "glob_without_match": (etl(_csv("nope*.csv")), "data.source_unreadable", "no file matches nope*.csv"),
    "folder_as_source": (
        etl(_csv("folder")),
        "data.source_unreadable",
        "the folder folder holds no file that ends in .csv",
    ),
    "binary_csv": (etl(_csv("binary")), "data.source_malformed", "binary"),
    "csv_as_parquet": (etl(_parquet("in.csv")), "data.source_malformed", "in.csv is not a Parquet file"),
    "empty_parquet": (etl(_parquet("empty")), "data.source_malformed", "empty"),
    "text_as_sqlite": (
        etl(_sql("sqlite:///in.csv")),
        "data.source_malformed",
        "in.csv is not a SQLite database",
    ),
    "binary_as_duckdb": (
        etl(_sql("duckdb:///binary")),
        "data.source_malformed",
        "binary is not a DuckDB database",
    ),
    "missing_duckdb": (
        etl(_sql("duckdb:///nope.duckdb")),
        "data.source_unreadable",
        "nope.duckdb does not exist",
    ),
    "locked_duckdb": (etl(_sql("duckdb:///locked.duckdb")), "data.source_unreadable", "locked by process"),
    "locked_target": (etl(load=_into("duckdb:///locked.duckdb")), "load.unwritable", "locked by process"),
    "query_of_no_column": (
        etl(transform={"plugin": "sql", "args": {"query": "select nope from data"}}),
        "sql.query_failed",
        "nope",
    ),
    "file_below_a_file": (etl(load=_parquet("in.csv/x.parquet")), "load.unwritable", "in.csv/x.parquet"),
    "folder_as_target": (etl(load=_parquet("folder")), "load.unwritable", "folder is a folder"),
    "no_such_place": (etl(load=_csv("/proc/nope/x.csv")), "load.unwritable", "/proc"),
    "duckdb_below_a_file": (etl(load=_into("duckdb:///in.csv/x.duckdb")), "load.unwritable", "in.csv"),
    "sqlite_below_a_file": (etl(load=_into("sqlite:///in.csv/x.db")), "load.unwritable", "in.csv"),
    "sqlite_is_text": (etl(load=_into("sqlite:///in.csv")), "data.source_malformed", "in.csv"),
    "python_file_missing": (
        etl(transform=_python("nope.py:f")),
        "plugin.not_imported",
        "nope.py does not exist",
    ),
    "python_function_missing": (
        etl(transform=_python("functions.py:f")),
        "plugin.not_imported",
        "no function `f`",
    ),
    "python_module_missing": (
        etl(transform=_python("no_such_module:f")),
        "plugin.not_imported",
        "`no_such_module`",
    ),
    "python_file_broken": (etl(transform=_python("broken.py:f")), "plugin.not_imported", "SyntaxError"),
    "python_file_exits": (etl(transform=_python("exits.py:f")), "run.failed", "tried to end the process"),
}


@pytest.fixture(scope="module")
def world(shared: Shell) -> Done:
    """One run of all of :data:`WORLD` and of one pipeline that is well."""
    shared.write("binary", b"PK\x03\x04" + bytes(range(128, 256)) * 40)
    shared.write("empty", b"")
    (shared.folder / "folder").mkdir()
    shared.write("functions.py", "def g(data): return data\n")
    shared.write("broken.py", "def f(:\n")
    shared.write("exits.py", "import sys\nsys.exit(0)\n")
    held = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import duckdb; c = duckdb.connect('locked.duckdb'); print(flush=True); input()",
        ],
        cwd=shared.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert held.stdout is not None
    held.stdout.readline()
    pipelines = {name: pipeline for name, (pipeline, _, _) in WORLD.items()}
    shared.configure(pipelines={**pipelines, "well": etl(load=_parquet("well.parquet"))})
    done = shared("run", "--json", "p.yaml")
    held.communicate(b"\n")
    return done


def _failure(done: Done, pipeline: str) -> dict[str, Any]:
    (event,) = [event for event in done.of("PipelineFinished") if event["pipeline"] == pipeline]
    assert event["status"] == "failed"
    failure: dict[str, Any] = event["failure"]
    return failure


@pytest.mark.parametrize("name", WORLD)
def test_a_fault_of_the_world_is_told_in_plain_words(world: Done, name: str) -> None:
    failure = _failure(world, name)
    assert failure["code"] == WORLD[name][1], failure
    assert WORLD[name][2] in failure["message"]


def test_the_other_pipelines_go_on(world: Done, shared: Shell) -> None:
    assert world.code == 1
    assert world.err == ""
    assert (shared.folder / "well.parquet").exists()
    assert world.of("RunFinished")[0]["status"] == "failed"
    assert shared.left_behind() == []
    assert not (shared.folder / "out.parquet").exists()


def test_a_text_file_is_no_duckdb_database_and_rows_loaded_into_it_are_not_lost(shell: Shell) -> None:
    shell.configure(pipelines={"p": etl(load=_into("duckdb:///in.csv"))})
    shell("run", "p.yaml").assert_told(1, "not a DuckDB database")


PLUGINS = """
import asyncio
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, ITransformPlugin

class Odd(BaseException): ...
class Silent(Exception):
    def __str__(self): raise RuntimeError("no text")
KINDS = {
    "exit": SystemExit(0), "interrupt": KeyboardInterrupt(), "odd": Odd("how odd"), "closed": GeneratorExit(),
    "stop": StopIteration(), "cancelled": asyncio.CancelledError(), "memory": MemoryError("all gone"),
    "silent": Silent(), "group": ExceptionGroup("both", [ValueError("first"), KeyError("second")]),
    "rude": ValueError("\\x1b[31mred\\x07\\x9b \\u202e and \\udc80"), "lines": ValueError("one\\ntwo\\r\\x1b[2K"),
}

@extract
async def bad_extract(kind: str):
    raise KINDS[kind]
@extract(threaded=True)
def bad_thread(kind: str):
    raise KINDS[kind]
@extract
async def bad_pieces(kind: str):
    yield [{"a": 1}]
    raise KINDS[kind]
@transform
def bad_transform(data, kind: str):
    raise KINDS[kind]
@load
async def bad_load(data, kind: str):
    raise KINDS[kind]

class BadConstructor(IExtractPlugin, plugin_name="bad_constructor"):
    def __init__(self, plugin_id, kind):
        raise KINDS[kind]
    async def __call__(self): ...
class BadSyncConstructor(ITransformPlugin, plugin_name="bad_constructor"):
    def __init__(self, plugin_id, kind):
        raise KINDS[kind]
    def __call__(self, data): ...

@extract
async def nothing():
    return None
@transform
def forgets(data):
    data.read_all() if hasattr(data, "read_all") else None
"""
SAID = {
    "exit": "tried to end the process (SystemExit)",
    "interrupt": "tried to end the process (KeyboardInterrupt)",
    "odd": "Odd: how odd",
    "closed": "GeneratorExit",
    "stop": "StopIteration",
    "cancelled": "CancelledError",
    "memory": "MemoryError: all gone",
    "silent": "Silent",
    "group": "ValueError: first; KeyError: 'second'",
    "rude": "red",
    "lines": "one\ntwo",
}
WHERE: dict[str, Callable[..., dict[str, Any]]] = {
    "bad_extract": etl,
    "bad_thread": etl,
    "bad_pieces": etl,
    "bad_transform": lambda step: etl(transform=step),
    "bad_load": lambda step: etl(load=step),
}
CASES = [(plugin, kind) for plugin in WHERE for kind in SAID]
CASES += [("bad_constructor", kind) for kind in ("exit", "interrupt", "odd", "memory")]
CASES += [("bad_sync_constructor", kind) for kind in ("exit", "odd", "memory")]


def _bad(plugin: str, kind: str) -> dict[str, Any]:
    step = {"plugin": plugin, "args": {"kind": kind}}
    if plugin == "bad_sync_constructor":
        return etl(transform={**step, "plugin": "bad_constructor"})
    return WHERE.get(plugin, etl)(step)


@pytest.fixture(scope="module")
def zoo(shared: Shell) -> dict[str, Done]:
    """One run of all that plugins can do wrong, as people see it and as programs do."""
    shared.configure(
        "zoo.yaml",
        plugins=PLUGINS,
        pipelines={
            **{f"{plugin}_{kind}": _bad(plugin, kind) for plugin, kind in CASES},
            "nothing": etl({"plugin": "nothing"}),
            "forgets": etl(transform={"plugin": "forgets"}),
            "well": etl(load=_parquet("zoo.parquet")),
        },
    )
    return {"json": shared("run", "--json", "zoo.yaml"), "lines": shared("run", "zoo.yaml")}


@pytest.mark.parametrize(("plugin", "kind"), CASES)
def test_whatever_a_plugin_raises_fails_its_step_and_nothing_else(
    zoo: dict[str, Done], plugin: str, kind: str
) -> None:
    name = f"{plugin}_{kind}"
    failure = _failure(zoo["json"], name)
    assert failure["code"] in ("step.raised", "run.failed", "error"), failure
    assert SAID[kind] in failure["message"], failure
    if kind not in ("stop", "cancelled"):  # Python itself raises another error there
        assert failure["line"].startswith("plugs.py:"), failure
    failed = [event for event in zoo["json"].of("StepFailed") if event["address"].startswith(f"{name}.")]
    assert len(failed) == 1


def test_a_plugin_that_returns_nothing_is_told_where_rows_are_wanted(zoo: dict[str, Done]) -> None:
    for name in ("nothing", "forgets"):
        assert _failure(zoo["json"], name)["code"] == "data.not_tabular"
        assert "nothing (None)" in _failure(zoo["json"], name)["message"]


def test_what_plugins_raise_ends_in_a_summary_and_never_in_a_traceback(zoo: dict[str, Done]) -> None:
    zoo["lines"].assert_told(
        1, "run failed", "1 succeeded", "next: ", "bad_constructor_memory.extract.bad_constructor failed"
    )
    assert zoo["json"].code == 1
    assert zoo["json"].err == ""
    assert zoo["json"].of("RunFinished")[0]["status"] == "failed"


def test_control_characters_of_errors_never_reach_the_terminal(zoo: dict[str, Done]) -> None:
    for done in zoo.values():
        text = done.out + done.err
        assert "red" in text
        assert not {character for character in text if not character.isprintable()} - {"\n"}


def test_control_characters_in_names_and_paths_never_reach_the_terminal(shell: Shell) -> None:
    shell.configure(pipelines={"a\x1b]0;title\x07b": etl(_csv("\x1b[2J.csv"))})
    for level in ((), ("-v",), ("-q",), ("--json",)):
        done = shell("run", *level, "p.yaml")
        assert "\x1b" not in done.out + done.err
        assert "\x07" not in done.out + done.err
        assert "\\x1b[2J.csv" in done.err or "\\u001b[2J.csv" in done.out or done.code == 2


def test_a_pipe_that_breaks_or_a_plugin_that_hangs_up_fails_only_its_step(shell: Shell) -> None:
    code = "@extract\nasync def gone():\n    raise BrokenPipeError(32, 'Broken pipe')\n"
    shell.configure(plugins=code, pipelines={"p": etl({"plugin": "gone"})})
    shell("run", "p.yaml").assert_told(1, "p.extract.gone failed", "BrokenPipeError")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_target_folder_without_permission_is_told(shell: Shell) -> None:
    (shell.folder / "locked").mkdir(mode=0o500)
    shell.configure(pipelines={"p": etl(load=_parquet("locked/x.parquet"))})
    shell("run", "p.yaml").assert_told(1, "no permission")


def test_steps_that_are_skipped_say_why_and_the_advised_command_runs_what_is_left(shell: Shell) -> None:
    later = etl({"plugin": "csv", "args": {"path": "${{ variables.file }}"}}, _parquet("b.parquet"))
    shell.configure(
        variables={"file": {"type": "string"}},
        pipelines={
            "first": etl(load=_parquet("a.parquet")),
            "its second": {**later, "needs": "first"},
            "third": {**etl(CSV, _parquet("c.parquet")), "needs": ["its second"]},
        },
    )
    done = shell("run", "p.yaml", "--var", "file=my file.csv", "--concurrency", "1")
    done.assert_told(
        1, "third: skipped, it needs `its second`, which failed", "1 succeeded, 1 failed, 1 skipped"
    )
    command = done.err.splitlines()[-1].removeprefix("next: mend it, then run what is left: ")
    assert command.startswith("pipeline-flow run ")
    shell.write("my file.csv", "id\n1\n")
    again = shell.line(command.replace("pipeline-flow", "pf", 1))
    again.assert_told(0, "2 pipelines: 2 succeeded")


def test_a_load_that_cannot_name_its_destination_fails_as_a_step(shell: Shell) -> None:
    code = """
    from pipeline_flow.plugins.base import IAtomicLoadPlugin
    class Lost(IAtomicLoadPlugin, plugin_name="lost"):
        @property
        def destination(self): raise LookupError("no destination")
        async def begin(self): ...
        async def stage(self, data, transaction): ...
    """
    shell.configure(plugins=code, pipelines={"p": etl(load={"plugin": "lost"})})
    shell("run", "p.yaml").assert_told(
        1, "p.load.lost failed [step.raised]: LookupError: no destination", "at plugs.py:"
    )


@pytest.mark.parametrize(
    ("command", "broken"),
    [
        (("plan", "p.yaml"), "plan.view.of"),
        (("preview", "p.yaml", "p.extract.csv"), "engine.orchestrator.Orchestrator.run"),
        (("config", "p.yaml"), "plan.resolved.Resolved.data"),
        (("config", "p.yaml", "--explain", "name"), "cli.config.trace"),
    ],
)
def test_the_traceback_of_a_bug_shows_no_password(
    shell: Shell, command: tuple[str, ...], broken: str
) -> None:
    pipeline = etl()
    pipeline["phases"]["load"]["steps"] = [
        {
            "plugin": "sql",
            "args": {"url": "postgresql://me:canary-word@host/x", "table": "t", "mode": "append"},
        }
    ]
    shell.configure(pipelines={"p": pipeline})
    module, _, name = f"pipeline_flow.{broken}".rpartition(".")
    code = f"""
import pkgutil, sys

def bug(*_, **__):
    raise AssertionError("this is postgresql://me:canary-word@host/x, and canary-word")

setattr(pkgutil.resolve_name({module!r}), {name!r}, bug)
from pipeline_flow.cli import main
sys.argv = ["pipeline-flow", *{command!r}]
main()
"""
    done = shell.python("-c", code)
    assert done.code == 5
    assert "AssertionError: this is postgresql" in done.err
    assert "canary-word" not in done.err
