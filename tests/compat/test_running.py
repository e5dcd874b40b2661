"""How a run is started, in which order pipelines run, and what one process may do several times."""

from __future__ import annotations

import asyncio
import io
import logging
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pipeline_flow
from pipeline_flow.entrypoint import start_orchestration
from pipeline_flow.errors import ConfigError, RunFailed
from pipeline_flow.testing import Simulation
from tests.compat.conftest import etl, run
from tests.compat.plugins import MostAtOnce

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.plugins import Shelf

TEXT = etl(plugin="show_args", answer="42")
MAPPING = {
    "pipelines": {
        "p": {
            "type": "ETL",
            "phases": {
                "extract": {"steps": [{"id": "start", "plugin": "show_args", "args": {"answer": 42}}]},
                "load": {"steps": [{"id": "end", "plugin": "to_shelf"}]},
            },
        }
    }
}


def _written(name: str = "pipelines.yaml") -> Path:
    path = Path(name)
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "stream",
    [
        lambda: TEXT,
        TEXT.encode,
        lambda: ("\ufeff" + TEXT).encode("utf-16-le"),
        lambda: _written().open(encoding="utf-8"),
        lambda: _written().open("rb"),
        lambda: io.StringIO(TEXT),
        _written,
        lambda: str(_written()),
        lambda: MAPPING,
        lambda: str(MAPPING).replace("'", '"'),
    ],
    ids=[
        "text",
        "bytes",
        "utf-16",
        "file",
        "binary file",
        "StringIO",
        "path",
        "path as text",
        "mapping",
        "one line",
    ],
)
def test_a_configuration_may_be_text_bytes_an_open_file_a_path_or_a_mapping(
    shelf: type[Shelf], stream: Callable[[], Any]
) -> None:
    asyncio.run(start_orchestration(stream=stream()))
    assert shelf.kept["end"] == {"answer": 42}


def test_an_open_file_is_closed_after_it_was_read() -> None:
    file = _written().open(encoding="utf-8")
    run(file)
    assert file.closed


def test_start_orchestration_can_be_awaited_inside_a_running_loop_and_again_in_the_same_one(
    shelf: type[Shelf],
) -> None:
    async def main() -> None:
        await asyncio.gather(start_orchestration(TEXT), start_orchestration(MAPPING))
        await start_orchestration(TEXT)

    asyncio.run(main())
    assert shelf.log == ["end", "end", "end"]


def test_a_library_call_leaves_logging_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setenv("LOG_LEVEL", "loud")
    level = root.level
    run(TEXT)  # 1.0.8 looked for logging/info_logging.conf here
    assert (root.handlers, root.level) == ([], level)


def test_two_runs_in_one_process_have_each_their_own_concurrency() -> None:
    def most(concurrency: str) -> int:
        MostAtOnce.most = 0
        one = etl(plugin="most_at_once").partition("pipelines:\n")[2]
        pipelines = "".join(one.replace("  p:", f"  p{number}:") for number in range(6))
        run(f"{concurrency}\npipelines:\n{pipelines}")
        return MostAtOnce.most

    assert [most("concurrency: 1"), most("concurrency: 5"), most("")] == [1, 5, 2]


def test_needs_is_a_name_or_a_list_and_orders_the_pipelines(shelf: type[Shelf]) -> None:
    def pipeline(name: str, needs: str = "") -> str:
        text = etl(plugin="show_args").partition("pipelines:\n")[2]
        return text.replace("  p:", f"  {name}:{needs}").replace("id: end", f"id: {name}")

    run(
        "concurrency: 4\npipelines:\n"
        + pipeline("d", "\n    needs: [b, c]")
        + pipeline("c", "\n    needs: a")
        + pipeline("b", "\n    needs: [a]")
        + pipeline("a")
    )
    assert shelf.log[0] == "a"
    assert shelf.log[-1] == "d"
    assert sorted(shelf.log) == ["a", "b", "c", "d"]


def test_an_elt_pipeline_transforms_at_load_after_its_loads_and_one_step_after_the_other(
    shelf: type[Shelf],
) -> None:
    run("""
pipelines:
  p:
    type: ELT
    phases:
      extract: {steps: [{plugin: show_args}]}
      load: {steps: [{plugin: to_shelf, id: a}, {plugin: to_shelf, id: b}]}
      transform_at_load: {steps: [{plugin: log_at_load, id: c}, {plugin: log_at_load, id: d}]}
""")
    assert sorted(shelf.log[:2]) == ["a", "b"]
    assert shelf.log[2:] == ["c", "d"]


def test_extract_and_load_steps_run_concurrently_and_1_0_8_needs_no_parallelism_key() -> None:
    steps = [{"id": f"s{number}", "plugin": "most_at_once"} for number in range(20)]
    pipeline = {"type": "ETL", "phases": {
        "extract": {"steps": steps, "merge": {"plugin": "together"}},
        "load": {"steps": [{"plugin": "to_shelf"}]},
    }}  # fmt: skip
    MostAtOnce.most = 0
    simulation = Simulation()
    simulation.run({"pipelines": {"p": pipeline}})
    assert MostAtOnce.most == 20
    assert simulation.seconds == pytest.approx(0.01)


def test_the_phase_of_a_single_step_may_be_written_without_steps(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract:
        plugin: show_args
        args: {answer: 42}
      load:
        plugin: to_shelf
        plugin_id: end
""")
    assert shelf.kept == {"end": {"answer": 42}}


def test_ids_may_be_left_out_and_the_same_in_different_phases_and_pipelines(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract:
        steps: [{plugin: show_args}, {plugin: show_args}, {plugin: show_args, id: same}]
        merge: {plugin: together, id: same}
      transform: {steps: [{plugin: untouched}, {plugin: untouched}, {plugin: untouched, id: same}]}
      load: {steps: [{plugin: to_shelf}, {plugin: to_shelf}, {plugin: to_shelf, id: same}]}
  q:
    type: ETL
    phases:
      extract: {steps: [{plugin: show_args, id: same}]}
      load: {steps: [{plugin: to_shelf, id: same}]}
""")
    assert len(shelf.kept["untouched"]) == 3
    assert len(shelf.log) == 4


def test_a_plugins_error_reaches_the_caller_in_an_exception_group(plugin_file: Callable[..., Path]) -> None:
    plugin_file("""
        from pipeline_flow.plugins import IExtractPlugin

        class Broken(IExtractPlugin, plugin_name="broken"):
            async def __call__(self):
                raise KeyError("no such thing")
    """)
    with pytest.raises(ExceptionGroup) as caught:
        run("plugins: {custom: {files: [custom.py]}}" + etl(plugin="broken"))
    assert isinstance(caught.value, RunFailed)
    (error,) = caught.value.exceptions
    assert isinstance(error.__cause__, KeyError)
    assert "custom.py:6" in str(error)


def test_a_wrong_configuration_raises_before_anything_runs(shelf: type[Shelf]) -> None:
    with pytest.raises(ConfigError):
        run(TEXT + "  q: {type: ETL, phases: {extract: {steps: [{plugin: not_there}]}, load: {steps: []}}}\n")
    assert shelf.log == []


def test_plugins_declared_in_the_calling_script_are_found_without_plugins_custom(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            import asyncio
            from pipeline_flow.entrypoint import start_orchestration
            from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin

            class Hello(IExtractPlugin, plugin_name="hello"):
                async def __call__(self):
                    return ["hello"]

            class Print(ILoadPlugin, plugin_name="print"):
                async def __call__(self, data):
                    print(data)

            TEXT = '''
            pipelines:
              p:
                type: ETL
                phases:
                  extract: {steps: [{plugin: hello}]}
                  load: {steps: [{plugin: print}]}
            '''
            if __name__ == "__main__":
                asyncio.run(start_orchestration(TEXT))
        """),
        encoding="utf-8",
    )
    source = str(Path(pipeline_flow.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-W", "error", script],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": source, "PATH": ""},
        timeout=60,
    )
    assert ended.stdout == "['hello']\n"
    assert ended.stderr == ""
