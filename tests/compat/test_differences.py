"""What does not run as under 1.0.8: every row of docs/compatibility.md, and nothing that is not there."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from pipeline_flow import errors
from pipeline_flow.core import discovery
from pipeline_flow.core.registry import PluginRegistry
from pipeline_flow.engine import RunResult
from pipeline_flow.errors import AmbiguousPlugin, ConfigError, RunFailed
from pipeline_flow.events import Notice, Status
from pipeline_flow.plugins import (
    IExtractPlugin,
    IPlugin,
    IPostProcessPlugin,
    ISecretManager,
    ITransformLoadPlugin,
    ITransformPlugin,
)
from pipeline_flow.testing import Recorder
from tests.compat.conftest import etl, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.plugins import Shelf

DOC = Path(__file__).parents[2] / "docs" / "compatibility.md"


class Whispered(ISecretManager, plugin_name="whispered"):
    def __init__(self, plugin_id: str, to: str = "nobody") -> None:
        super().__init__(plugin_id)

    def __call__(self) -> str:
        return "psst"


class Typed(IExtractPlugin, plugin_name="typed"):
    def __init__(
        self, plugin_id: str, count: int = 0, name: str = "", columns: list[str] | None = None
    ) -> None:
        super().__init__(plugin_id)
        self.args = [count, name, columns]

    async def __call__(self):
        return self.args


class Synchronous(IExtractPlugin, plugin_name="synchronous"):
    def __call__(self):
        return []


class Asynchronous(ITransformPlugin, plugin_name="asynchronous"):
    async def __call__(self, data):
        return data


def bare(call: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return inner


class WrappedBare(IExtractPlugin, plugin_name="wrapped_bare"):
    @bare
    async def __call__(self):
        return []


SHOW = etl(plugin="show_args")
TRANSFORM = "      transform: {{steps: [{}]}}\n"
SECRET = "secrets: {s: {plugin: whispered}}\n---"

REFUSED = [
    (
        "config.unknown_key",
        SHOW + TRANSFORM.format("{plugin: untouched, retries: 3}"),
        "did you mean `retry`",
    ),
    ("config.unknown_key", SHOW + "    owner: me\n", "a pipeline has: type"),
    (
        "config.duplicate_key",
        "concurrency: 2\n" + SHOW + "---\nconcurrency: 3\n",
        "only `variables` and `secrets`",
    ),
    ("config.tag_not_allowed", etl(plugin="show_args", a="!!str 5"), "in quotes"),
    ("config.tag_not_allowed", etl(plugin="show_args", a='!env_var "${{ env.HOME }}"'), "without a tag"),
    ("config.tag_not_allowed", etl(plugin="show_args", a="{<<: 1}"), "name the keys here"),
    ("config.unresolved", etl(plugin="show_args", a="${{ github.sha }}"), "$${{"),
    ("config.unresolved", etl(plugin="show_args", a="see ${{ variables.none }}"), "variables"),
    ("config.unresolved", "variables: {v: {type: text}}\n---" + SHOW, "write a default"),
    ("config.wrong_type", "variables: {n: null}\n---" + etl(plugin="show_args", a="x${{ variables.n }}"), ""),
    ("config.secret_not_allowed", SECRET + SHOW.replace("id: start", "id: ${{ secrets.s }}"), "env"),
    (
        "config.duplicate_id",
        SHOW + TRANSFORM.format("{plugin: untouched, id: x}, {plugin: untouched, id: x}"),
        "another id",
    ),
    ("plugin.wrong_argument", etl(plugin="typed", count="many"), ""),
    ("plugin.wrong_argument", etl(plugin="typed", name="true"), ""),
    ("plugin.wrong_argument", etl(plugin="typed", columns="a"), ""),
    ("plugin.wrong_mode", etl(plugin="synchronous"), "async_wrap"),
    ("plugin.wrong_mode", SHOW + TRANSFORM.format("{plugin: asynchronous}"), "without async"),
    ("plugin.wrong_mode", etl(plugin="wrapped_bare"), "async"),
    ("plugin.not_imported", "plugins: {custom: {dirs: [nowhere]}}" + SHOW, "working folder"),
    ("plugin.not_installed", "plugins: {community: [api_connector]}" + SHOW, "install the package"),
]


@pytest.mark.parametrize(("code", "text", "remedy"), REFUSED)
def test_what_1_0_8_took_and_we_refuse_is_refused_with_its_remedy(
    shelf: type[Shelf], code: str, text: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(text)
    (problem,) = caught.value.problems
    assert problem.code == code
    assert problem.position is not None or code.startswith("plugin.not_")
    assert remedy in problem.hint
    assert shelf.log == []


def test_the_page_names_every_code_that_is_refused_and_no_other() -> None:
    named = set(re.findall(r"`((?:config|plugin)\.[a-z_]+)`", DOC.read_text(encoding="utf-8")))
    assert named == {code for code, _, _ in REFUSED}
    assert named <= {cls.code for cls in errors.tree()}


def test_an_unknown_key_at_the_top_level_is_a_warning_and_x_is_for_ones_own() -> None:
    for text, warnings in (("owner: me", 1), ("x-owner: me", 0)):
        recorder = Recorder()
        run(text + SHOW, listeners=[recorder])
        notices = [event for event in recorder.events if isinstance(event, Notice)]
        assert len(notices) == warnings


def test_two_dollars_write_the_placeholder_itself(shelf: type[Shelf]) -> None:
    run(etl(plugin="show_args", a="$${{ github.sha }}"))
    assert shelf.kept["end"] == {"a": "${{ github.sha }}"}


def test_an_environment_variable_set_to_nothing_is_empty_text(
    shelf: type[Shelf], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_EMPTY", "")
    run(etl(plugin="show_args", a="${{ env.COMPAT_EMPTY }}", b="'[${{ env.COMPAT_EMPTY }}]'"))
    assert shelf.kept["end"] == {"a": "", "b": "[]"}


def test_a_mapping_that_reads_as_a_declaration_can_be_declared_as_a_map(shelf: type[Shelf]) -> None:
    text = "variables: {v: {type: map, default: {type: text}}}\n---"
    run(text + etl(plugin="show_args", a="${{ variables.v }}"))
    assert shelf.kept["end"] == {"a": {"type": "text"}}


def test_an_id_that_is_a_number_becomes_text(shelf: type[Shelf]) -> None:
    run(SHOW.replace("id: end", "id: 7"))
    assert shelf.kept == {"7": {}}


def test_arguments_become_what_their_annotation_says(shelf: type[Shelf]) -> None:
    run(etl(plugin="typed", count='"3"', name="3306", columns="[a, 1]"))
    assert shelf.kept["end"] == [3, "3306", ["a", "1"]]


class Framed(ITransformPlugin, plugin_name="rows_of_dicts"):
    def __call__(self, data: list[dict[str, Any]]) -> Any:
        return [type(data).__name__, data]


def test_data_becomes_what_the_annotation_of_its_parameter_says(shelf: type[Shelf]) -> None:
    import pandas as pd

    shelf.given["it"] = pd.DataFrame({"a": [1]})
    run(etl(plugin="from_shelf", name="it") + TRANSFORM.format("{plugin: rows_of_dicts}"))
    assert shelf.kept["end"] == ["list", [{"a": 1}]]


class GivesNothing(IPostProcessPlugin, plugin_name="gives_nothing"):
    async def __call__(self, data):
        return None


def test_a_post_of_extract_that_returns_none_leaves_the_data(shelf: type[Shelf]) -> None:
    run(SHOW.replace("      load:", "        post: [{plugin: gives_nothing}]\n      load:"))
    assert shelf.kept["end"] == {}


def test_an_iterator_that_several_plugins_read_must_hold_rows(shelf: type[Shelf]) -> None:
    text = etl(plugin="from_shelf", name="it").replace("- id: end", "- plugin: to_shelf\n          - id: end")
    shelf.given["it"] = iter(["no", "rows"])
    with pytest.raises(RunFailed, match="1 of 1") as caught:
        run(text)
    assert "no rows and columns" in str(caught.value.exceptions[0])
    shelf.given["it"] = iter([[{"a": 1}], [{"a": 2}]])
    run(text)
    assert len(shelf.kept) == 2


_shared = sqlite3.connect(":memory:")


class OtherThread(ITransformLoadPlugin, plugin_name="other_thread"):
    def __call__(self) -> None:
        _shared.execute("select 1")


class OwnThread(ITransformLoadPlugin, plugin_name="own_thread"):
    def __init__(self, plugin_id: str) -> None:
        super().__init__(plugin_id)
        self.database = sqlite3.connect(":memory:")

    def __call__(self) -> None:
        self.database.execute("select 1")
        self.database.close()


def test_merge_and_transform_at_load_have_a_thread_of_their_own_from_constructor_to_call() -> None:
    def text(plugin: str) -> str:
        return (
            SHOW.replace("type: ETL", "type: ELT")
            + f"      transform_at_load: {{steps: [{{plugin: {plugin}}}]}}\n"
        )

    run(text("own_thread"))
    with pytest.raises(RunFailed) as caught:
        run(text("other_thread"))
    assert "thread" in str(caught.value.exceptions[0])


class Fails(IExtractPlugin, plugin_name="fails"):
    async def __call__(self):
        raise ValueError("on purpose")


def test_a_failure_stops_what_needs_it_and_fail_fast_stops_all(shelf: type[Shelf]) -> None:
    broken = etl(plugin="fails").partition("pipelines:\n")[2].replace("  p:", "  broken:")
    needing = SHOW.partition("pipelines:\n")[2].replace("  p:", "  needing:\n    needs: broken")
    fine = SHOW.partition("pipelines:\n")[2]
    text = f"concurrency: 1\npipelines:\n{broken}{needing}{fine}"
    result = run(text, raise_on_failure=False)
    assert isinstance(result, RunResult)
    assert [pipeline.status for pipeline in result.pipelines.values()] == [
        Status.FAILED,
        Status.SKIPPED,
        Status.SUCCEEDED,
    ]
    stopped = run(f"fail_fast: true\n{text}", raise_on_failure=False)
    assert stopped.pipelines["p"].status is not Status.SUCCEEDED


def test_what_is_raised_is_a_config_error_or_a_group_of_the_pipelines_errors() -> None:
    with pytest.raises(ConfigError) as wrong:
        run("pipelines: {}")
    assert not isinstance(wrong.value, ValueError)
    with pytest.raises(ExceptionGroup) as failed:
        run(etl(plugin="fails"))
    assert isinstance(failed.value, RunFailed)
    assert isinstance(failed.value.exceptions[0], errors.StepFailed)
    assert isinstance(failed.value.exceptions[0].__cause__, ValueError)


class Alpha(IPlugin, interface=True):
    pass


class Beta(IPlugin, interface=True):
    pass


class AlphaTwin(Alpha, plugin_name="twin"):
    pass


class BetaTwin(Beta, plugin_name="twin"):
    pass


class HasATwin(IExtractPlugin, plugin_name="has_a_twin"):
    def __init__(self, plugin_id: str, inner: Beta) -> None:
        super().__init__(plugin_id)
        self.inner = inner

    async def __call__(self):
        return type(self.inner).__name__


def test_a_name_in_two_kinds_is_ambiguous_in_a_bare_call_and_clear_by_annotation(shelf: type[Shelf]) -> None:
    with pytest.raises(AmbiguousPlugin):
        PluginRegistry.instantiate_plugin({"plugin": "twin"})
    run(etl(plugin="has_a_twin", inner="{plugin: twin}"))
    assert shelf.kept["end"] == "BetaTwin"


def test_constructors_run_when_their_pipeline_starts(
    shelf: type[Shelf], plugin_file: Callable[..., Path]
) -> None:
    plugin_file("""
        from pipeline_flow.plugins import IExtractPlugin
        from tests.compat.plugins import Shelf

        class Built(IExtractPlugin, plugin_name="built"):
            def __init__(self, plugin_id):
                super().__init__(plugin_id)
                Shelf.log.append("built")

            async def __call__(self):
                Shelf.log.append("called")
    """)
    first = etl(plugin="built")
    second = first.partition("pipelines:\n")[2].replace("  p:", "  q:\n    needs: p")
    run("plugins: {custom: {files: [custom.py]}}" + first + second)
    assert shelf.log == ["built", "called", "end"] * 2


def test_the_query_loader_writes_all_batches_or_none(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("create table t (a integer primary key)")
    text = f"""
pipelines:
  p:
    phases:
      extract: {{steps: [{{plugin: typed_rows}}]}}
      load:
        steps:
          - plugin: sqlalchemy_query_loader
            args: {{db_user: "", db_password: "", db_host: "", db_port: "", db_name: {file}, driver: sqlite+aiosqlite,
                   query: "insert into t values (:a)", batch_size: 1, concurrency_limit: 3}}
"""
    for rows, there in (([{"a": 1}, {"a": 2}, {"a": 1}], []), ([{"a": 1.0}, {"a": float("nan")}], [1, 2])):
        TypedRows.rows = pd.DataFrame(rows)
        if there:
            run(text)  # the null becomes the next number
        else:
            with pytest.raises(RunFailed):
                run(text)
        with contextlib.closing(sqlite3.connect(file)) as connection:
            assert [row[0] for row in connection.execute("select a from t")] == there


class TypedRows(IExtractPlugin, plugin_name="typed_rows"):
    rows: Any = None

    async def __call__(self):
        return self.rows


# ---------------------------------------------------------------------------------------------- the page itself


def _rows(heading: str) -> list[list[str]]:
    section = DOC.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize("statement", [row[0].strip("`") for row in _rows("Import paths that stay")])
def test_every_import_path_that_stays_can_be_imported(statement: str) -> None:
    exec(statement, {})


@pytest.mark.parametrize("path", [row[0].strip("`") for row in _rows("Import paths that are gone")])
def test_the_import_paths_that_are_gone_are_gone(path: str) -> None:
    module, _, name = path.rpartition(".")
    with pytest.raises(ImportError):
        exec(f"from {module} import {name}", {})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rest_api_extractor", "extract"),
        ("sqlalchemy_query_loader", "load"),
        ("aws_secret_manager", "secret_manager"),
        ("page_based_pagination", "pagination"),
        ("hateoas_pagination", "pagination"),
    ],
)
def test_every_plugin_that_1_0_8_shipped_is_there_without_being_imported(name: str, kind: str) -> None:
    assert name in discovery.catalog().names(kind)


def test_the_import_paths_that_stay_hold_every_public_name_of_1_0_8() -> None:
    text = " ".join(row[0] for row in _rows("Import paths that stay"))
    for name in (
        "IPlugin", "IExtractPlugin", "IMergeExtractPlugin", "ITransformPlugin", "ILoadPlugin", "ITransformLoadPlugin",
        "IPreProcessPlugin", "IPostProcessPlugin", "ISecretManager", "AsyncAdapterMixin", "IPaginationHandler",
        "PageBasedPagination", "HATEOASPagination", "PluginRegistry", "start_orchestration", "PluginPayload",
    ):  # fmt: skip
        assert name in text
