"""Pipelines built in Python: the same plan as the YAML, the same checks, the places those of the calls."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline_flow as pf
from pipeline_flow import entrypoint, plugins
from pipeline_flow.config import schema
from pipeline_flow.core.context import new_run
from pipeline_flow.engine import SystemClock
from pipeline_flow.errors import ConfigError, DuplicateKey, LimitExceeded, RunFailed, UnknownKey
from pipeline_flow.events import Status
from pipeline_flow.secret import SecretReference
from pipeline_flow.testing.memory import memory_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline_flow.errors import Problem

ROOT = Path(__file__).parents[1]
HERE = Path(__file__)


@pytest.fixture(autouse=True)
def _spill_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_FLOW_TMP", str(tmp_path / "spill"))


def _doubled(data: list[dict[str, Any]], by: int = 2) -> list[dict[str, Any]]:
    return [{**row, "n": row["n"] * by} for row in data]


@pf.extract
async def flow_rows(number: int = 2) -> list[dict[str, int]]:
    return [{"n": n} for n in range(number)]


def _flow() -> pf.Flow:
    flow = pf.Flow("test")
    flow.pipeline("p").extract(flow_rows, number=3).load("memory", table="out")
    return flow


def _marked(problem: Problem) -> str:
    """What the caret of a problem underlines."""
    assert problem.position is not None
    assert problem.position.file.endswith("test_flow.py")
    start = problem.position.column - 1
    line = HERE.read_text(encoding="utf-8").splitlines()[problem.position.line - 1]
    return line[start : start + problem.position.length]


# ---------------------------------------------------------------------------------------------- running


def test_a_flow_runs_functions_names_and_classes() -> None:
    class Shift(plugins.ITransformPlugin, plugin_name="flow_shift"):
        def __init__(self, plugin_id: str, by: int) -> None:
            self.by = by

        def __call__(self, data: list[dict[str, int]]) -> list[dict[str, int]]:
            return [{"n": row["n"] + self.by} for row in data]

    flow = pf.Flow("test")
    pipeline = flow.pipeline("p").extract(flow_rows, number=3)
    pipeline.transform(_doubled, by=10).transform(Shift, by=1).load("memory", table="out")
    with memory_store() as store:
        result = flow.run()
        assert store.rows("out") == [{"n": 1}, {"n": 11}, {"n": 21}]
    assert result["p"].status is Status.SUCCEEDED
    assert result.step("p.transform._doubled").rows_out == 3
    with pytest.raises(KeyError):
        result.step("p.transform.nothing")


def test_plain_functions_may_block_where_the_kind_is_asynchronous() -> None:
    threads = []

    def blocking() -> Iterator[dict[str, int]]:
        threads.append(threading.current_thread())
        yield {"n": 1}

    seen = []
    flow = pf.Flow()
    flow.pipeline("p").extract(blocking).load(lambda data: seen.extend(list(data)))
    flow.run()
    assert threads[0] is not threading.main_thread()
    assert seen == [{"n": 1}]


def test_two_functions_of_one_name_are_two_plugins() -> None:
    def make(by: int) -> Any:
        def step(data: list[dict[str, int]]) -> list[dict[str, int]]:
            return [{"n": row["n"] * by} for row in data]

        return step

    flow = pf.Flow()
    twice = make(2)
    pipeline = flow.pipeline("p").extract(flow_rows).transform(twice).transform(make(10)).transform(twice)
    pipeline.load("memory", table="out")
    with memory_store() as store:
        flow.run()
        assert store.rows("out") == [{"n": 0}, {"n": 40}]


def test_hooks_merge_and_policies_are_those_of_the_yaml() -> None:
    async def nothing(data: Any = None) -> None:
        pass

    flow = pf.Flow("x", concurrency=3, retry=2)
    pipeline = flow.pipeline("p", description="text", type="ETL")
    pipeline.extract(flow_rows, id="a", timeout="2s", retry={"attempts": 3, "wait": 0.5}).extract(
        flow_rows, id="b"
    )
    pipeline.before_extract(nothing, id="first").after_extract(nothing, id="seen")
    pipeline.merge("concat").load("memory", table="out").before_load(nothing).after_load(nothing)
    flow.pipeline("q", needs="p").extract(flow_rows).load("memory", table="q").transform_at_load(lambda: None)
    plan = flow.plan()
    extract = plan.pipeline("p").phases[0]
    assert [str(step.address) for step in extract.all_steps()] == [
        "p.extract.pre.first", "p.extract.a", "p.extract.b", "p.extract.merge", "p.extract.post.seen"
    ]  # fmt: skip
    assert (extract.steps[0].timeout, extract.steps[0].retry.attempts, extract.steps[1].retry.attempts) == (
        2.0,
        3,
        2,
    )
    assert (plan.concurrency, plan.pipeline("q").needs, plan.pipeline("q").type) == (3, ("p",), "ELT")
    with memory_store():
        assert flow.run().succeeded


def test_a_plugins_argument_with_the_name_of_a_key_goes_into_args() -> None:
    @pf.transform(name="flow_takes_id")
    def takes(data: Any, id: str, timeout: int) -> list[dict[str, Any]]:  # noqa: A002
        return [{"id": id, "timeout": timeout}]

    flow = pf.Flow()
    pipeline = flow.pipeline("p").extract(flow_rows)
    pipeline.transform(takes, id="step", args={"id": "argument", "timeout": 7}).load("memory", table="out")
    with memory_store() as store:
        assert flow.run().step("p.transform.step").rows_out == 1
        assert store.rows("out") == [{"id": "argument", "timeout": 7}]


def test_what_is_passed_is_copied() -> None:
    args = {"number": 1}
    flow = pf.Flow()
    flow.pipeline("p").extract(flow_rows, args=args).load("memory", table="out")
    args["number"] = 5
    with memory_store() as store:
        flow.run()
        assert len(store.rows("out")) == 1


def test_paths_and_any_object_reach_a_plugin() -> None:
    class Thing:
        pass

    thing, seen = Thing(), []
    flow = pf.Flow()

    def take(data: Any, thing: Any, path: str) -> None:
        seen.extend([thing, path])

    flow.pipeline("p").extract(flow_rows).load(take, thing=thing, path=Path("a") / "b")
    flow.run()
    assert seen == [thing, str(Path("a/b"))]


def test_run_works_in_a_running_loop_and_run_async_beside_others() -> None:
    async def main() -> None:
        assert _flow().run().succeeded
        results = await asyncio.gather(_flow().run_async(), _flow().run_async())
        assert all(result.succeeded for result in results)
        sample = _flow().preview("flow_rows")
        assert sample.table.to_pylist() == [{"n": 0}, {"n": 1}, {"n": 2}]

    with memory_store():
        asyncio.run(main())


def test_an_interrupted_wait_cancels_the_run_and_waits_for_its_end(tmp_path: Path) -> None:
    code = """
import asyncio, os, signal, threading
import pipeline_flow as pf

async def waits():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await asyncio.sleep(3600)
    finally:
        print("cancelled")

flow = pf.Flow()
flow.pipeline("p").extract(waits).load(print)
async def main():
    try:
        flow.run()
    except KeyboardInterrupt:
        print("interrupted")
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("cancelled\ninterrupted\n", "")


def test_a_result_prints_the_summary_and_has_a_short_repr() -> None:
    flow = _flow()
    flow.pipeline("late", needs="p").extract(flow_rows).transform(lambda data: 1 / 0).load(
        "memory", table="l"
    )
    with memory_store():
        result = flow.run(raise_on_failure=False)
        with pytest.raises(RunFailed):
            flow.run()
    text = str(result)
    assert re.search(r"^  extract\.flow_rows +- +3 +\d", text, re.MULTILINE)
    assert "2 pipelines: 1 succeeded, 1 failed" in text
    assert "late.transform.lambda failed [step.raised]: ZeroDivisionError" in text
    assert repr(result).startswith("<RunResult ")
    assert "<pre>" in result._repr_html_()
    assert "&lt;" in replace(result, show=lambda _: "<b>")._repr_html_()


# ---------------------------------------------------------------------------------------------- problems


def test_problems_stand_at_the_calls_and_are_all_there() -> None:
    flow = pf.Flow("bad", concurrency="two")
    (
        flow.pipeline("p", needs=["q"])
        .extract("csv", path=["a", 3], delimitr=";", columns={"a": 7, "b": ["INT"]})
        .load("sql", url="duckdb:///${{ variables.no }}", table="ü", mode="replac", timeout="ever")
    )
    found = [(problem.code, _marked(problem)) for problem in flow.validate()]
    assert ("config.wrong_type", '"two"') in found
    assert ("config.unknown_needs", '"q"') in found
    assert ("plugin.unknown_argument", "delimitr") in found
    assert ("config.unresolved", "${{ variables.no }}") in found
    assert ("config.wrong_value", '"ever"') in found
    with pytest.raises(ConfigError) as caught:
        flow.run()
    assert [problem.code for problem in caught.value.problems] == [code for code, _ in found]
    assert "test_flow.py" in str(caught.value)


def test_a_call_without_source_has_its_line() -> None:
    space: dict[str, Any] = {"pf": pf}
    exec(compile("\n\nflow = pf.Flow('x', concurrency='two')\n", "<nowhere>", "exec"), space)
    (problem, *_) = space["flow"].validate()
    assert problem.position is not None
    assert (problem.position.file, problem.position.line, problem.source_line) == ("<nowhere>", 3, "")


def test_wrong_calls_are_raised_at_once_with_their_place() -> None:
    flow = _flow()
    with pytest.raises(DuplicateKey) as caught:
        flow.pipeline("p")
    assert _marked(caught.value.problems[0]) == '"p"'
    with pytest.raises(UnknownKey, match="did you mean `concurrency`") as unknown:
        pf.Flow(concurency=2)
    assert _marked(unknown.value.problems[0]) == "concurency"
    with pytest.raises(UnknownKey, match="did you mean `needs`"):
        flow.pipeline("q", need="p")
    pipeline = flow.pipeline("q")
    with pytest.raises(ConfigError, match="not for load"):
        pipeline.load(flow_rows)
    with pytest.raises(ConfigError, match="an object of int"):
        pipeline.load(3)
    with pytest.raises(ConfigError, match="the class dict"):
        pipeline.load(dict)
    with pytest.raises(DuplicateKey, match="`path` is given twice"):
        pipeline.extract("csv", path="a", args={"path": "b"})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(LimitExceeded):
        pipeline.extract("csv", path=endless)


def test_a_second_merge_is_refused() -> None:
    pipeline = pf.Flow().pipeline("p").extract(flow_rows).extract(flow_rows).merge("concat")
    with pytest.raises(DuplicateKey):
        pipeline.merge("concat")


def test_an_empty_flow_says_what_is_missing() -> None:
    assert [problem.code for problem in pf.Flow().validate()] == ["config.missing_key"]
    assert [problem.code for problem in pf.Flow.from_yaml("{}").validate()] == ["config.missing_key"]


# ---------------------------------------------------------------------------------------------- YAML


def _blocks() -> list[Any]:
    found = [
        pytest.param(path, id=str(path.relative_to(ROOT)))
        for path in sorted([*ROOT.glob("examples/*.yaml"), *ROOT.glob("tests/compat/cases/*/pipelines.yaml")])
    ]
    for page in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]):
        blocks = re.findall(
            r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        found += [pytest.param(block, id=f"{page.name}-{number}") for number, block in enumerate(blocks, 1)]
    return found


def _same(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if hasattr(left, "keys"):
        return list(left.items) == list(right.items) and all(
            _same(left.items[key], right.items[key]) for key in left.items
        )
    if hasattr(left, "items"):
        return len(left.items) == len(right.items) and all(map(_same, left.items, right.items))
    return type(left.value) is type(right.value) and repr(left.value) == repr(right.value)


@pytest.mark.parametrize("source", _blocks())
def test_every_configuration_comes_back_from_its_yaml(source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(source.parent if isinstance(source, Path) and source.name == "pipelines.yaml" else ROOT)
    run = new_run(SystemClock().time(), Random(1))
    monkeypatch.setattr(entrypoint, "new_run", lambda *_: run)  # one and the same for ${{ run.… }}
    flow = pf.Flow.from_yaml(source)
    text = flow.to_yaml()
    again = pf.Flow.from_yaml(text)
    assert again.to_yaml() == text
    if isinstance(source, str) or "name" in flow._draft.documents[0].items:
        assert all(map(_same, flow._draft.documents, again._draft.documents))
    if not (isinstance(source, Path) and source.parts[-3] == "cases"):  # some of those are wrong on purpose
        plans = (again.plan, flow.plan, lambda: entrypoint.prepare(source).plan)
        first, *others = map(_planned, plans)
        assert all(other == first for other in others)


def _planned(make: Callable[[], Any]) -> Any:
    """A plan, or what is wrong with it: a page may name plugin files that only its story has."""
    try:
        return make()
    except ConfigError as error:
        return [problem.text for problem in error.problems]


_texts = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["yes", "1e3", "0x1F", "0o7", "007", "~", "null", "2024-01-01", "a: b", "- x", "# c", "<<", "=", "on",
         "${{ variables.a }}", "x ${{ secrets.b.c }} y", "$${{ literal }}", "a\nb", "a\n\n  b\n", " lead", "trail ",
         "\ttab", "'", '"', "&a", "*a", "!t", "%d", "@x", "`y", "1_000", ".5", "12:30:45", "\x85", "\u2028", "\ufeff",
         "[", "{", "}", "a #b", "select *\nfrom t -- x\nwhere a = 'b'\n", "?", ":", "...", "---"]
    ),
)  # fmt: skip
_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), _texts)
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(_texts, st.integers()), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(_values)
def test_any_value_comes_back_from_yaml(value: Any) -> None:
    flow = pf.Flow("x", variables={"v": value})
    flow.pipeline("p").extract("memory", table="t", args={"rest": value}).load("memory", table="u")
    text = flow.to_yaml()
    again = pf.Flow.from_yaml(text)
    assert all(map(_same, flow._draft.documents, again._draft.documents)), text


_names = st.text("abc_ ü.", min_size=1, max_size=6).filter(str.strip)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_flow_builds_the_plan_of_its_yaml(data: Any) -> None:
    flow = pf.Flow(
        data.draw(_names),
        concurrency=data.draw(st.integers(1, 9)),
        variables={"v": data.draw(st.one_of(st.integers(), st.sampled_from(["yes", "a\nb"])))},
        secrets={"s": {"plugin": "env", "args": {"variable": "X"} if data.draw(st.booleans()) else {}}},
    )
    names = data.draw(st.lists(_names, min_size=1, max_size=3, unique=True))
    for number, name in enumerate(names):
        needs = data.draw(st.lists(st.sampled_from(names[:number]), unique=True)) if number else []
        pipeline = flow.pipeline(name, needs=needs, description=data.draw(_texts))
        for step in range(data.draw(st.integers(1, 3))):
            pipeline.extract("csv", id=f"e{step}", path=data.draw(_names), columns={"a": "INTEGER"})
        if step:
            pipeline.merge("concat")
        if data.draw(st.booleans()):
            pipeline.transform(
                "sql", query="select *,\n  1 as one\nfrom data", timeout=data.draw(st.integers(1, 9))
            )
        pipeline.load("parquet", path="${{ variables.v }}-x")
    problems = [problem.code for problem in flow.validate()]
    again = pf.Flow.from_yaml(flow.to_yaml())
    assert [problem.code for problem in again.validate()] == problems
    if not problems:
        assert again.plan() == flow.plan()


def test_secrets_stay_references_and_placeholders_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOW_TOKEN", "hunter2")
    flow = pf.Flow("x", secrets={"t": {"plugin": "env", "args": {"variable": "FLOW_TOKEN"}}})
    flow.pipeline("p").extract("memory", table="${{ secrets.t }}").load(
        "memory", table="${{ env.FLOW_TOKEN }}"
    )
    text = flow.to_yaml()
    assert "${{ secrets.t }}" in text
    assert "hunter2" not in text
    step = pf.Flow.from_yaml(text).plan().pipeline("p").phases[0].steps[0]
    assert step.args["table"] == SecretReference("t")


@pytest.mark.parametrize("value", [date(2024, 1, 1), b"x", object(), print, {1, 2}, "\ud800"])
def test_what_yaml_cannot_hold_is_refused_with_its_place(value: Any) -> None:
    flow = pf.Flow("x")
    flow.pipeline("p").extract("memory", table=[value]).load("memory", table="u")
    with pytest.raises(ConfigError, match="YAML cannot hold") as caught:
        flow.to_yaml()
    assert _marked(caught.value.problems[0]) == "value"


def test_a_plugin_given_as_an_object_is_refused_by_to_yaml() -> None:
    flow = _flow()
    with pytest.raises(ConfigError, match="flow_rows") as caught:
        flow.to_yaml()
    assert caught.value.problems[0].position is not None


def test_a_flow_from_yaml_takes_more_pipelines_and_keeps_both_kinds_of_places(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(
        "# comment\nvariables: {a: 1}\n---\nvariables: {b: '${{ variables.a }}'}\npipelines:\n  one:\n    phases:\n"
        "      extract: {steps: [{plugin: csv, args: {path: a, nope: 1}}]}\n"
        "      load: {steps: [{plugin: parquet, args: {path: b}}]}\n"
    )
    flow = pf.Flow.from_yaml(file)
    flow.pipeline("two", needs="one").extract("csv", nope=1, path="x").load("parquet", path="y")
    yaml_problem, python_problem = flow.validate()
    assert f"{yaml_problem.position}".startswith(f"{file}:8:")
    assert _marked(python_problem) == "nope"
    again = pf.Flow.from_yaml(flow.to_yaml())
    assert repr(again) == "<Flow 'one', 'two'>"
    assert yaml.safe_load(flow.to_yaml().split("---")[0]) == {"name": "shop", "variables": {"a": 1}}


def test_broken_yaml_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="a.yaml|<string>"):
        pf.Flow.from_yaml("a: [\nb: 1")
    with pytest.raises(ConfigError, match="a configuration is a mapping"):
        pf.Flow.from_yaml("- a\n- b\n")


def test_a_mapping_is_a_flow_too() -> None:
    mapping = {"pipelines": {"p": {"phases": {
        "extract": {"steps": [{"plugin": "csv", "args": {"path": "a", "nope": 1}}]},
        "load": {"steps": [{"plugin": "parquet", "args": {"path": "b"}}]},
    }}}}  # fmt: skip
    flow = pf.Flow.from_yaml(mapping)
    flow.pipeline("q").extract("csv", path="a", nope=2).load("parquet", path="c")
    first, second = flow.validate()
    assert first.source_line.strip() == "nope: 1"
    assert _marked(second) == "nope"


def test_every_setting_of_the_language_can_be_given() -> None:
    samples = {"name": "x", "retry": 2, "timeout": "1s", "concurrency": 1, "parallelism": 1, "version": 1,
               "fail_fast": True, "memory_limit": "1GB", "spill_limit": "1GB", "timezone": "Europe/Warsaw",
               "variables": {}, "secrets": {}, "plugins": {}}  # fmt: skip
    for key in set(schema.TOP) - {"pipelines", "name"}:
        flow = pf.Flow("x", **({key: samples[key]} if key in samples else {}))
        assert isinstance(flow.to_yaml(), str)
