"""Data between custom plugins: the same object wherever 1.0.8 hands on the same object."""

# mypy: disable-error-code="override, valid-type, assignment"
# ruff: noqa: RUF013 - both: plugins as users write them

from __future__ import annotations

import io
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

from pipeline_flow.plugins import (
    IExtractPlugin,
    ILoadPlugin,
    IMergeExtractPlugin,
    IPostProcessPlugin,
    ITransformPlugin,
)
from tests.compat.conftest import run
from tests.compat.plugins import Shelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from nowhere import Unknown  # type: ignore[import-not-found] # users' plugins import for type checkers alone


class Computes(SimpleNamespace):
    """Looks like a lazy frame: whoever asks for its length pays for the whole computation."""

    columns = ("a", "b")

    def __len__(self) -> int:
        raise AssertionError("somebody counted the rows")


THROUGH_EVERYTHING = """
pipelines:
  p:
    type: ETL
    phases:
      extract: {steps: [{plugin: from_shelf, args: {name: it}}], post: [{plugin: seen_after, id: post}]}
      transform: {steps: [{plugin: untouched, id: t1}, {plugin: untouched, id: t2}]}
      load:
        steps: [{plugin: to_shelf, id: l1}, {plugin: to_shelf, id: l2}]
        post: [{plugin: seen_after, id: after}]
"""


@pytest.mark.parametrize(
    "it",
    [
        "text",
        b"bytes",
        42,
        None,
        [1, "mixed", None],
        [],
        ("a", "tuple"),
        {"any": {"shape": 1}},
        [{"a": 1}, {"b": "2"}],
        {"t1": [{"a": 1}]},
        SimpleNamespace(x=1),
        Computes(),
        pd.DataFrame({"a": [1, None]}, index=pd.Index(["x", "y"], name="key")),
        pd.Series([1, 2], name="s"),
        pl.DataFrame({"a": [1, 2]}),
        pl.LazyFrame({"a": [1, 2]}),
        io.StringIO("an open file"),
        Exception("also an object"),
        int,
    ],
    ids=lambda it: type(it).__name__,
)
def test_any_object_passes_through_every_phase_as_the_same_object(shelf: type[Shelf], it: Any) -> None:
    shelf.given["it"] = it
    run(THROUGH_EVERYTHING)
    assert list(shelf.kept) == ["post", "t1", "t2", "l1", "l2", "after"]
    assert all(kept is it for kept in shelf.kept.values())


def test_an_open_file_passes_as_it_is_and_stays_open(shelf: type[Shelf]) -> None:
    Path("lines.txt").write_text("one\ntwo\n")
    with Path("lines.txt").open() as file:
        shelf.given["it"] = file
        run(THROUGH_EVERYTHING)
        assert shelf.kept["after"] is file
        assert file.readline() == "one\n"


def test_merge_gets_a_dict_of_the_same_objects_in_the_order_of_the_steps(shelf: type[Shelf]) -> None:
    frame, rows = pd.DataFrame({"a": [1]}), [{"b": 2}]
    shelf.given.update(frame=frame, rows=rows)
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract:
        steps:
          - {plugin: from_shelf, id: z, args: {name: rows}}
          - {plugin: from_shelf, id: a, args: {name: frame}}
        merge: {plugin: together, id: merged}
      load: {steps: [{plugin: to_shelf, id: end}]}
""")
    merged = shelf.kept["merged"]
    assert type(merged) is dict
    assert list(merged) == ["z", "a"]
    assert merged["z"] is rows
    assert merged["a"] is frame
    assert shelf.kept["end"] is merged


class Framed(ITransformPlugin, plugin_name="framed"):
    def __call__(self, data: pd.DataFrame) -> pd.DataFrame:
        Shelf.kept["framed"] = data
        return data


class FramesMerged(IMergeExtractPlugin, plugin_name="frames_merged"):
    def __call__(self, extracted_data: dict[str, pd.DataFrame]) -> pd.DataFrame:
        Shelf.kept["merged"] = extracted_data
        return next(iter(extracted_data.values()))


class FrameLoaded(ILoadPlugin, plugin_name="frame_loaded"):
    async def __call__(self, data: pd.DataFrame) -> None:
        Shelf.kept["loaded"] = data


def test_a_dataframe_reaches_plugins_that_ask_for_one_as_the_same_object_with_its_index(
    shelf: type[Shelf],
) -> None:
    frame = pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["k", "n"])
    )
    frame.attrs["source"] = "kept too"
    shelf.given.update(one=frame, two=pd.DataFrame({"b": [0]}))
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract:
        steps:
          - {plugin: from_shelf, id: one, args: {name: one}}
          - {plugin: from_shelf, id: two, args: {name: two}}
        merge: {plugin: frames_merged}
      transform: {steps: [{plugin: framed}]}
      load: {steps: [{plugin: frame_loaded}]}
""")
    assert shelf.kept["merged"]["one"] is frame
    assert shelf.kept["framed"] is frame
    assert shelf.kept["loaded"] is frame


class OnlyForTypeCheckers(ITransformPlugin, plugin_name="only_for_type_checkers"):
    def __init__(self, plugin_id: str, unit: Unknown) -> None:
        super().__init__(plugin_id)
        self.unit = unit

    def __call__(self, data: Unknown) -> Unknown:
        Shelf.kept[self.id] = [self.unit, data]
        return data


def test_annotations_that_exist_only_for_type_checkers_ask_for_nothing(shelf: type[Shelf]) -> None:
    shelf.given["it"] = pd.DataFrame({"a": [1]})
    run(_through("only_for_type_checkers", "{unit: {any: shape}}"))
    assert shelf.kept["mid"] == [{"any": "shape"}, shelf.kept["end"]]
    assert shelf.kept["end"] is shelf.given["it"]


def _through(transform: str, args: str = "{}") -> str:
    return f"""
pipelines:
  p:
    type: ETL
    phases:
      extract: {{steps: [{{plugin: from_shelf, args: {{name: it}}}}]}}
      transform: {{steps: [{{plugin: {transform}, id: mid, args: {args}}}]}}
      load: {{steps: [{{plugin: to_shelf, id: end}}]}}
"""


class AnnotatedOddly(ITransformPlugin, plugin_name="annotated_oddly"):
    def __init__(
        self, plugin_id: str, a: any, b: [str], c: str = None, d: callable = None, e: dict = None
    ) -> None:
        super().__init__(plugin_id)
        self.args = [a, b, c, d, e]

    def __call__(self, data: any) -> any:
        Shelf.kept[self.id] = self.args
        return data


def test_annotations_that_are_no_types_ask_for_nothing_and_a_default_of_none_allows_null(
    shelf: type[Shelf],
) -> None:
    shelf.given["it"] = it = object()
    run(_through("annotated_oddly", "{a: 1, b: x, c: null, e: null}"))
    assert shelf.kept["mid"] == [1, "x", None, None, None]
    assert shelf.kept["end"] is it


class Sized(ITransformPlugin, plugin_name="sized"):
    def __call__(self, data: dict[str, int]) -> dict[str, int]:
        return data


@pytest.mark.parametrize("it", [Counter(a=1), OrderedDict(a=1), {"a": 1}], ids=lambda it: type(it).__name__)
def test_a_mapping_that_fits_its_annotation_stays_the_same_object(shelf: type[Shelf], it: Any) -> None:
    shelf.given["it"] = it
    run(_through("sized"))
    assert shelf.kept["end"] is it


class LineByLine(IExtractPlugin, plugin_name="line_by_line"):
    async def __call__(self) -> Iterator[str]:
        return (line for line in ("one", "two"))


class Numbered(ITransformPlugin, plugin_name="numbered"):
    def __call__(self, data: Iterable[str]) -> Iterator[tuple[int, str]]:
        yield from enumerate(data)


class Listed(ILoadPlugin, plugin_name="listed"):
    async def __call__(self, data: Iterator[tuple[int, str]]) -> None:
        Shelf.kept[self.id] = list(data)


def test_a_generator_of_anything_passes_from_plugin_to_plugin_as_it_is(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract: {steps: [{plugin: line_by_line}]}
      transform: {steps: [{plugin: numbered}]}
      load: {steps: [{plugin: listed, id: end}]}
""")
    assert shelf.kept["end"] == [(0, "one"), (1, "two")]


class Ticking(IExtractPlugin, plugin_name="ticking"):
    async def _ticks(self) -> AsyncIterator[str]:
        for _ in range(3):
            yield "tick"

    async def __call__(self) -> AsyncIterator[str]:
        return self._ticks()


class Listening(ILoadPlugin, plugin_name="listening"):
    async def __call__(self, data: AsyncIterator[str]) -> None:
        Shelf.kept[self.id] = [item async for item in data]


def test_an_async_iterator_that_an_extract_returns_reaches_the_load_as_it_is(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract: {steps: [{plugin: ticking}]}
      load: {steps: [{plugin: listening, id: end}]}
""")
    assert shelf.kept["end"] == ["tick", "tick", "tick"]


class Replaced(IPostProcessPlugin, plugin_name="replaced"):
    async def __call__(self, data: Any) -> Any:
        return {"replaced": data}


def test_what_the_post_of_extract_returns_replaces_the_data_and_load_has_pre_and_post_too(
    shelf: type[Shelf],
) -> None:
    shelf.given["it"] = it = object()
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract: {steps: [{plugin: from_shelf, args: {name: it}}], post: [{plugin: replaced}]}
      load: {steps: [{plugin: to_shelf, id: end}], post: [{plugin: replaced}, {plugin: seen_after, id: after}]}
""")
    assert shelf.kept["end"] == {"replaced": it}
    assert shelf.kept["after"] is shelf.kept["end"]


class ByKeywordAlone(ILoadPlugin, plugin_name="by_keyword_alone"):
    async def __call__(self, *, data: Any) -> None:
        Shelf.kept[self.id] = data


class AnyKeyword(IPostProcessPlugin, plugin_name="any_keyword"):
    async def __call__(self, **kwargs: Any) -> None:
        Shelf.kept[self.id] = kwargs


class MergeByKeyword(IMergeExtractPlugin, plugin_name="merge_by_keyword"):
    def __call__(self, *, extracted_data: dict[str, Any]) -> Any:
        return list(extracted_data.values())


class OtherName(ILoadPlugin, plugin_name="other_name"):
    async def __call__(self, rows: Any, /) -> None:
        Shelf.kept[self.id] = rows


def test_load_post_and_merge_get_their_data_by_keyword_where_they_take_it_so(shelf: type[Shelf]) -> None:
    run("""
pipelines:
  p:
    type: ETL
    phases:
      extract:
        steps: [{plugin: show_args, args: {n: 1}}, {plugin: show_args, args: {n: 2}}]
        merge: {plugin: merge_by_keyword}
      load:
        steps: [{plugin: by_keyword_alone, id: a}, {plugin: other_name, id: b}]
        post: [{plugin: any_keyword, id: c}]
""")
    data = [{"n": 1}, {"n": 2}]
    assert shelf.kept == {"a": data, "b": data, "c": {"data": data}}


def test_nothing_is_asked_of_an_object_on_its_way(
    shelf: type[Shelf], recwarn: pytest.WarningsRecorder
) -> None:
    class Prickly:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(f"asked for {name}")

    shelf.given["it"] = it = Prickly()
    with warnings.catch_warnings():
        run(THROUGH_EVERYTHING)
    assert shelf.kept["after"] is it


def test_a_dict_of_frames_may_pass_where_a_dict_is_asked_for(
    shelf: type[Shelf], plugin_file: Callable[..., Path]
) -> None:
    plugin_file("""
        import pandas as pd
        from pipeline_flow.plugins import ITransformPlugin

        class Pick(ITransformPlugin, plugin_name="pick"):
            def __call__(self, data: dict[str, pd.DataFrame]) -> pd.DataFrame:
                return data["b"]
    """)
    frame = pd.DataFrame({"x": [1]}, index=["only"])
    shelf.given["it"] = {"a": pd.DataFrame(), "b": frame}
    run("plugins: {custom: {files: [custom.py]}}" + _through("pick"))
    assert shelf.kept["end"] is frame
