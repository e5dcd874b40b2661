"""Plugin classes as people write them for 1.0.8."""

# mypy: disable-error-code="assignment, attr-defined"
# The plugins are written as users write them.

from __future__ import annotations

import asyncio
import functools
import threading
import time
from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from pipeline_flow.core.registry import PluginRegistry
from pipeline_flow.errors import ConfigError, UnknownPlugin
from pipeline_flow.plugins import IExtractPlugin, ILoadPlugin, IPlugin, ITransformPlugin
from pipeline_flow.plugins.base import AsyncAdapterMixin
from pipeline_flow.plugins.utility.pagination import (
    HATEOASPagination,
    HateoasPagination,
    IPaginationHandler,
    PageBasedPagination,
)
from pipeline_flow.testing import Simulation
from tests.compat.conftest import etl, run
from tests.compat.plugins import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline_flow.common.type_def import PluginPayload

T = TypeVar("T")


# ---------------------------------------------------------------------------------------------- constructors


class KeywordsOnly(IExtractPlugin, plugin_name="keywords_only"):
    def __init__(self, *, plugin_id: str, **rest: Any) -> None:
        self.id = plugin_id
        self.rest = rest

    async def __call__(self):
        return {"id": self.id, "rest": self.rest}


class EverythingInKwargs(IExtractPlugin, plugin_name="everything_in_kwargs"):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(kwargs.pop("plugin_id"))
        self.rest = kwargs

    async def __call__(self):
        return {"id": self.id, "rest": self.rest}


@pytest.mark.parametrize("plugin", ["keywords_only", "everything_in_kwargs"])
def test_constructors_get_plugin_id_by_keyword_and_kwargs_take_every_argument(
    shelf: type[Shelf], plugin: str
) -> None:
    run(etl(plugin=plugin, a=1, other="{b: 2}"))
    assert shelf.kept["end"] == {"id": "start", "rest": {"a": 1, "other": {"b": 2}}}


def test_every_part_of_a_pipeline_is_given_its_own_id(
    shelf: type[Shelf], plugin_file: Callable[..., Any]
) -> None:
    plugin_file("""
        from pipeline_flow.plugins import *
        from tests.compat.plugins import Shelf

        class Pre(IPreProcessPlugin, plugin_name="note_id"):
            async def __call__(self):
                Shelf.log.append(self.id)

        class Post(IPostProcessPlugin, plugin_name="note_id"):
            async def __call__(self, data):
                Shelf.log.append(self.id)

        class Merge(IMergeExtractPlugin, plugin_name="note_id"):
            def __call__(self, extracted_data):
                Shelf.log.append(self.id)
    """)
    run("""
plugins: {custom: {files: [custom.py]}}
pipelines:
  p:
    type: ETL
    phases:
      extract:
        pre: [{plugin: note_id, id: before it}]
        steps: [{plugin: show_args}, {plugin: show_args}]
        merge: {plugin: note_id, id: all of it}
        post: [{plugin: note_id, id: after it}]
      load: {steps: [{plugin: to_shelf, id: end of it}]}
""")
    assert shelf.log == ["before it", "all of it", "after it", "end of it"]


class Changes(IExtractPlugin, plugin_name="changes"):
    """Changes what it was given, and itself."""

    def __init__(self, plugin_id: str, options: dict, items: list, more) -> None:
        super().__init__(plugin_id)
        options["deep"].append("changed")
        items.append("changed")
        more["x"] = "changed"
        self.seen = [options, items, more]

    async def __call__(self):
        return self.seen


def test_what_a_plugin_does_to_its_arguments_does_not_reach_another_use_of_them(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p: &pipeline
    type: ETL
    phases:
      extract:
        steps:
          - {plugin: changes, id: a, args: &args {options: {deep: []}, items: [], more: {}}}
          - {plugin: changes, id: b, args: *args}
        merge: {plugin: together, id: both}
      load: {steps: [{plugin: to_shelf, id: end}]}
  q: *pipeline
""")
    once = [{"deep": ["changed"]}, ["changed"], {"x": "changed"}]
    assert shelf.kept["both"] == {"a": once, "b": once}
    assert shelf.log == ["end", "end"]


class NamesOfItsOwn(IExtractPlugin, plugin_name="names_of_its_own"):
    threaded = True

    class Config(BaseModel):
        url: str
        retries: int

    def __init__(self, plugin_id: str, settings: dict) -> None:
        super().__init__(plugin_id)
        self.config = self.Config(**settings)
        self.context = {"mine": True}

    async def __call__(self):
        return [self.config.url, self.config.retries, self.context]


class ContextBeforeInit(IExtractPlugin, plugin_name="context_before_init"):
    def __new__(cls, **_args):
        plugin = super().__new__(cls)
        plugin.context = "its own"
        return plugin

    async def __call__(self):
        return [self.context]


class ThreadedTransform(ITransformPlugin, plugin_name="threaded_transform"):
    threaded = True
    Config = ("not", "a", "class")

    def __call__(self, data):
        return data


def test_names_that_we_use_too_stay_the_plugins_own(shelf: type[Shelf]) -> None:
    text = etl(plugin="names_of_its_own", settings="{url: here, retries: 3}")
    run(text + "      transform: {steps: [{plugin: threaded_transform}]}\n")
    assert shelf.kept["end"] == ["here", 3, {"mine": True}]


def test_a_context_that_was_there_before_the_constructor_stays(shelf: type[Shelf]) -> None:
    run(etl(plugin="context_before_init"))
    assert shelf.kept["end"] == ["its own"]


# ---------------------------------------------------------------------------------------------- class trees


class Source(IExtractPlugin, interface=True):
    """A house's own base class between our interface and its plugins."""

    def __init__(self, plugin_id: str, table: str) -> None:
        super().__init__(plugin_id)
        self.table = table

    @abstractmethod
    def read(self) -> Any: ...

    async def __call__(self):
        return self.read()


class Mixin(Generic[T]):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mixed_in = True


class Tables(Mixin[str], Source, plugin_name="tables_of_a_house"):
    def read(self):
        return [self.table, self.mixed_in]


class MoreTables(Tables, plugin_name="more_tables_of_a_house"):
    def read(self):
        return [*super().read(), "more"]


@dataclass
class AsDataclass(IExtractPlugin, plugin_name="as_dataclass"):
    plugin_id: str
    n: int = 1

    def __post_init__(self) -> None:
        self.id = self.plugin_id

    async def __call__(self):
        return [self.id, self.n]


@pytest.mark.parametrize(
    ("plugin", "args", "expected"),
    [
        ("tables_of_a_house", {"table": "t"}, ["t", True]),
        ("more_tables_of_a_house", {"table": "t"}, ["t", True, "more"]),
        ("as_dataclass", {"n": 2}, ["start", 2]),
    ],
)
def test_plugins_may_stand_at_any_place_of_a_class_tree(
    shelf: type[Shelf], plugin: str, args: dict[str, Any], expected: Any
) -> None:
    run(etl(plugin=plugin, **args))
    assert shelf.kept["end"] == expected


def test_a_class_without_a_name_that_is_no_interface_is_refused_as_in_1_0_8() -> None:
    with pytest.raises(ValueError, match="plugin_name"):

        class Nameless(IExtractPlugin):
            async def __call__(self): ...


# ---------------------------------------------------------------------------------------------- __call__


def again(times: int) -> Callable[..., Any]:
    """What retry libraries do: a wrapper that hides the function's signature from all but `inspect`."""

    def decorate(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(times):
                try:
                    return await call(*args, **kwargs)
                except ConnectionError:
                    if attempt == times - 1:
                        raise
            return None

        @functools.wraps(call)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            for attempt in range(times):
                try:
                    return call(*args, **kwargs)
                except ConnectionError:
                    if attempt == times - 1:
                        raise
            return None

        return asynchronous if asyncio.iscoroutinefunction(call) else synchronous

    return decorate


def plainly(call: Callable[..., Any]) -> Callable[..., Any]:
    """A wrapper that is no coroutine function although what it wraps is one."""

    @functools.wraps(call)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    return inner


class Flaky:
    def fail_twice(self) -> None:
        self.tries = getattr(self, "tries", 0) + 1
        if self.tries < 3:
            raise ConnectionError("not yet")


class FlakyExtract(Flaky, IExtractPlugin, plugin_name="flaky_extract"):
    @again(3)
    async def __call__(self):
        self.fail_twice()
        return ["extracted"]


class FlakyTransform(Flaky, ITransformPlugin, plugin_name="flaky_transform"):
    @again(3)
    def __call__(self, data: list[str]) -> list[str]:
        self.fail_twice()
        return [*data, "transformed"]


class FlakyLoad(Flaky, ILoadPlugin, plugin_name="flaky_load"):
    @plainly
    @again(3)
    async def __call__(self, data: list[str]) -> None:
        self.fail_twice()
        Shelf.kept[self.id] = [*data, "loaded"]


def test_call_may_be_wrapped_by_a_decorator_that_uses_functools_wraps(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract: {steps: [{plugin: flaky_extract}]}
      transform: {steps: [{plugin: flaky_transform}]}
      load: {steps: [{plugin: flaky_load, id: end}]}
""")
    assert shelf.kept["end"] == ["extracted", "transformed", "loaded"]


class Blocking(IExtractPlugin, AsyncAdapterMixin, plugin_name="blocking"):
    def _work(self, first: int, *, second: int) -> list[Any]:
        time.sleep(0.001)
        return [first, second, threading.current_thread() is threading.main_thread()]

    async def __call__(self):
        return await self.async_wrap(self._work, 1, second=2)


def test_async_wrap_runs_blocking_work_in_another_thread_with_its_arguments(shelf: type[Shelf]) -> None:
    run(etl(plugin="blocking"))
    assert shelf.kept["end"] == [1, 2, False]


class Wrapping(AsyncAdapterMixin, IPlugin, plugin_name="wrapping"):
    async def __call__(self) -> str:
        return await self.async_wrap(lambda: threading.current_thread().name)


class WrapsInside(IExtractPlugin, plugin_name="wraps_inside"):
    """Its blocking work is done by a plugin that it builds itself."""

    def __init__(self, plugin_id: str) -> None:
        super().__init__(plugin_id)
        self.inner = PluginRegistry.instantiate_plugin({"plugin": "wrapping"})

    async def __call__(self):
        return [await self.inner()]


def test_async_wrap_of_a_plugin_in_a_plugin_uses_the_engine_s_threads(shelf: type[Shelf]) -> None:
    """Asyncio's own are few: twenty blocking steps would queue."""
    run(etl(plugin="wraps_inside"))
    (name,) = shelf.kept["end"]
    assert name.startswith("pipeline-flow-")


def test_async_wrap_works_outside_of_a_run_too() -> None:
    assert asyncio.run(Blocking("alone")()) == [1, 2, False]


# ---------------------------------------------------------------------------------------------- plugins in plugins


class Parser(IPlugin, interface=True):
    @abstractmethod
    def __call__(self, text: str) -> Any: ...


class Words(Parser, plugin_name="words"):
    def __init__(self, plugin_id: str, separator: str = " ") -> None:
        super().__init__(plugin_id)
        self.separator = separator

    def __call__(self, text: str) -> Any:
        return [self.id, *text.split(self.separator)]


class LiveOnly(Parser, plugin_name="live_only"):
    def __init__(self, plugin_id: str, handle, options: dict | None = None) -> None:
        super().__init__(plugin_id)
        self.handle = handle

    def __call__(self, text: str) -> Any:
        return self.handle


class Parsed(IExtractPlugin, plugin_name="parsed"):
    """Builds its parser itself, from the payload that it was given."""

    def __init__(self, plugin_id: str, parser: dict) -> None:
        super().__init__(plugin_id)
        self.parser = PluginRegistry.instantiate_plugin(parser)
        self.payload = parser

    async def __call__(self):
        return [self.parser("a b"), self.payload]


class ParsedByAnnotation(IExtractPlugin, plugin_name="parsed_by_annotation"):
    """As the tests of 1.0.8 have it: annotated with what it builds, and built by hand all the same."""

    def __init__(self, plugin_id: str, parser: IPlugin | None = None) -> None:
        super().__init__(plugin_id)
        payload: Any = parser or {"plugin": "words", "id": "a default", "args": {"separator": "b"}}
        self.parser = PluginRegistry.instantiate_plugin(payload)

    async def __call__(self):
        return self.parser("a b")


class ParsedInItsCall(IExtractPlugin, AsyncAdapterMixin, plugin_name="parsed_in_its_call"):
    def __init__(self, plugin_id: str, parser: PluginPayload) -> None:
        super().__init__(plugin_id)
        self.payload = parser

    async def __call__(self):
        here = PluginRegistry.instantiate_plugin(self.payload)
        there = await self.async_wrap(PluginRegistry.instantiate_plugin, self.payload)
        return [here("a b"), there("a b")]


@pytest.mark.parametrize("key", ["id", "plugin_id"])
def test_a_plugin_builds_a_plugin_and_leaves_its_payload_as_it_was(shelf: type[Shelf], key: str) -> None:
    run(etl(plugin="parsed", parser=f'{{plugin: words, {key}: inner, args: {{separator: "a"}}}}'))
    payload = {"plugin": "words", key: "inner", "args": {"separator": "a"}}
    assert shelf.kept["end"] == [["inner", "", " b"], payload]


@pytest.mark.parametrize(
    ("parser", "expected"),
    [
        ("{plugin: words, id: given}", ["given", "a", "b"]),
        ("null", ["a default", "a ", ""]),
    ],
)
def test_a_parameter_annotated_with_a_plugin_may_be_built_by_hand(
    shelf: type[Shelf], parser: str, expected: Any
) -> None:
    run(etl(plugin="parsed_by_annotation", parser=parser))
    assert shelf.kept["end"] == expected


def test_plugins_may_be_built_while_a_step_runs_also_in_a_thread_and_from_custom_files(
    shelf: type[Shelf], plugin_file: Callable[..., Any]
) -> None:
    plugin_file("""
        from pipeline_flow.plugins import IPlugin

        class Letters(IPlugin, plugin_name="letters"):
            def __call__(self, text):
                return list(text)
    """)
    text = etl(plugin="parsed_in_its_call", parser="{plugin: letters}")
    run("plugins: {custom: {files: [custom.py]}}" + text)
    assert shelf.kept["end"] == [["a", " ", "b"], ["a", " ", "b"]]


def test_a_payload_made_in_python_may_hold_live_objects() -> None:
    lock = threading.Lock()  # cannot be copied
    payload = {"plugin": "live_only", "args": {"handle": lock, "options": {"also": lock}}}
    plugin = PluginRegistry.instantiate_plugin(payload)
    assert plugin("") is lock
    assert payload == {"plugin": "live_only", "args": {"handle": lock, "options": {"also": lock}}}


def test_a_nested_plugin_that_changes_its_arguments_leaves_the_payload_as_it_was() -> None:
    payload = {"plugin": "changes", "args": {"options": {"deep": []}, "items": [], "more": {"y": []}}}
    plugin = PluginRegistry.instantiate_plugin(payload)
    assert plugin.seen[2] == {"y": [], "x": "changed"}
    assert payload == {"plugin": "changes", "args": {"options": {"deep": []}, "items": [], "more": {"y": []}}}


def test_a_nested_plugin_of_ones_own_beats_built_ins_of_its_name_of_any_kind(
    shelf: type[Shelf], plugin_file: Callable[..., Any]
) -> None:
    plugin_file("""
        from pipeline_flow.plugins import IPlugin

        class Sql(IPlugin, plugin_name="sql"):
            def __call__(self, text):
                return f"select {text}"
    """)
    run("plugins: {custom: {files: [custom.py]}}" + etl(plugin="parsed", parser="{plugin: sql}"))
    assert shelf.kept["end"][0] == "select a b"


def test_a_nested_payload_without_a_plugin_or_with_an_unknown_one_is_an_error() -> None:
    with pytest.raises(ConfigError, match="`plugin`"):
        PluginRegistry.instantiate_plugin({"id": "x"})
    with pytest.raises(UnknownPlugin, match="nobody"):
        PluginRegistry.instantiate_plugin({"plugin": "nobody"})


def test_the_registry_registers_and_finds_by_name() -> None:
    class Late(Parser, interface=True):
        def __call__(self, text: str) -> Any:
            return text

    PluginRegistry.register("registered_late", Late)
    assert PluginRegistry.get("registered_late") is Late


@pytest.mark.parametrize(
    ("response", "next_page"),
    [
        ({"pagination": {"has_more": True, "next_page": "u"}}, "u"),
        ({"pagination": {"has_more": False, "next_page": "u"}}, None),
        ({"pagination": {}}, None),
        ({"pagination": None}, None),
        ({}, None),
    ],
)
def test_page_based_pagination_follows_next_page_while_there_is_more(
    response: Any, next_page: str | None
) -> None:
    assert PluginRegistry.instantiate_plugin({"plugin": "page_based_pagination"})(response) == next_page
    assert PageBasedPagination("p")(response) == next_page


@pytest.mark.parametrize(
    ("response", "next_page"),
    [
        ({"_links": {"next": "u"}}, "u"),
        ({"links": {"next": "u"}}, "u"),
        ({"links": {"next": "u"}, "_links": {}}, None),
        ({"links": {}}, None),
        ({}, None),
    ],
)
def test_hateoas_pagination_follows_the_next_link(response: Any, next_page: str | None) -> None:
    assert PluginRegistry.instantiate_plugin({"plugin": "hateoas_pagination"})(response) == next_page
    assert HATEOASPagination is HateoasPagination


def test_a_pagination_handler_of_ones_own_stands_beside_the_built_in_ones(shelf: type[Shelf]) -> None:
    class Cursor(IPaginationHandler, plugin_name="cursor_pagination"):
        def __call__(self, response: dict) -> str | None:
            return response.get("cursor")

    class Follows(IExtractPlugin, plugin_name="follows"):
        def __init__(self, plugin_id: str, pagination: IPaginationHandler) -> None:
            super().__init__(plugin_id)
            self.pagination = pagination

        async def __call__(self):
            return self.pagination({"cursor": "c2", "links": {"next": "u2"}})

    for name, expected in (("cursor_pagination", "c2"), ("hateoas_pagination", "u2")):
        run(etl(plugin="follows", pagination=f"{{plugin: {name}}}"))
        assert shelf.kept["end"] == expected


def test_an_extract_that_waits_does_not_hold_up_another_pipeline() -> None:
    class Waits(IExtractPlugin, plugin_name="waits_a_second"):
        async def __call__(self):
            await asyncio.sleep(1)

    one = {"type": "ETL", "phases": {
        "extract": {"steps": [{"plugin": "waits_a_second"}]}, "load": {"steps": [{"plugin": "to_shelf"}]},
    }}  # fmt: skip
    simulation = Simulation()
    simulation.run({"concurrency": 3, "pipelines": {"a": one, "b": one, "c": one}})
    assert simulation.seconds == pytest.approx(1)
