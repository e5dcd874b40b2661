"""What a spec reads from a plugin, and what it finds wrong with arguments."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from pydantic import Field

from pipeline_flow import Context, extract, transform
from pipeline_flow.core import discovery, spec
from pipeline_flow.core.spec import NOT_GIVEN
from pipeline_flow.plugins import IExtractPlugin, ITransformPlugin, PluginConfig
from pipeline_flow.plugins.utility.pagination import IPaginationHandler
from pipeline_flow.secret import Secret, SecretReference

if TYPE_CHECKING:
    from decimal import Decimal


class Old(IExtractPlugin, plugin_name="spec_old"):
    """Reads something.

    Args:
        source (str): where it is.
        limit (int): how many rows.
    """

    def __init__(
        self, plugin_id: str, source: str, limit: int = 10, unresolved: Decimal | None = None
    ) -> None:
        super().__init__(plugin_id)
        self.source, self.limit, self.unresolved = source, limit, unresolved

    async def __call__(self) -> Any:
        return self.source


class New(IExtractPlugin, plugin_name="spec_new"):
    """Reads something else."""

    class Config(PluginConfig):
        path: Path = Field(description="Where it is.", examples=["data.bin"])
        mode: Literal["fast", "slow"] = Field("fast", description="How.")
        token: str | Secret | None = Field(None, description="A password.")

    async def __call__(self) -> Any:
        return self.config


class Nested(IExtractPlugin, plugin_name="spec_nested"):
    def __init__(
        self, plugin_id: str, pages: IPaginationHandler, tags: dict[str, list[int]] | None = None
    ) -> None:
        super().__init__(plugin_id)
        self.pages = pages
        self.tags = tags

    async def __call__(self) -> Any:
        return None


@extract
async def spec_function(
    url: Annotated[str, "Where it is."], context: Context, *, day: dt.date = dt.date(2024, 1, 1)
) -> None:
    """Reads from a URL."""


@transform(name="spec_renamed")
def spec_transform(data: list[dict[str, Any]], minimum: float = 0.5) -> Any:
    """Changes rows."""
    return data


def _faults(cls: type[Any], **args: Any) -> list[tuple[str, str, tuple[str | int, ...]]]:
    found = spec.of(cls).check(args, discovery.catalog())
    return [(fault.problem.code, fault.problem.text, fault.path) for fault in found]


def test_arguments_come_from_the_constructor_without_plugin_id() -> None:
    read = spec.of(Old)
    assert [(a.name, a.required, a.type_text, a.description) for a in read.arguments] == [
        ("source", True, "text", "where it is."),
        ("limit", False, "a whole number", "how many rows."),
        ("unresolved", False, "any value", ""),
    ]
    assert read.summary == "Reads something."
    assert read.mode == "async"


def test_arguments_come_from_the_config_model_with_description_and_example() -> None:
    path, mode, token = spec.of(New).arguments
    assert (path.description, path.examples, path.required) == ("Where it is.", ("data.bin",), True)
    assert mode.type_text == "fast | slow"
    assert token.secret


def test_arguments_come_from_a_decorated_function_without_data_and_context() -> None:
    catalog = discovery.catalog()
    read = spec.of(catalog.find("extract", "spec_function").cls)
    assert [(a.name, a.description) for a in read.arguments] == [("url", "Where it is."), ("day", "")]
    changed = spec.of(catalog.find("transform", "spec_renamed").cls)
    assert [a.name for a in changed.arguments] == ["minimum"]
    assert changed.data_annotation == list[dict[str, Any]]
    assert changed.mode == "sync"


def test_unknown_missing_and_wrong_arguments_are_found_at_once() -> None:
    found = _faults(Old, sources="x", limit="many")
    assert [code for code, _, _ in found] == [
        "plugin.unknown_argument",
        "plugin.missing_argument",
        "plugin.wrong_argument",
    ]
    (hint,) = [f.problem.hint for f in spec.of(Old).check({"sources": "x"}) if "unknown" in f.problem.code]
    assert "did you mean `source`?" in hint


@pytest.mark.parametrize(
    ("cls", "args"),
    [
        (Old, {"source": "x", "limit": 5}),
        (Old, {"source": 5}),
        (Old, {"source": "x", "unresolved": object()}),
        (New, {"path": "x"}),
        (New, {"path": "x", "token": "clear text"}),
        (New, {"path": SecretReference("s")}),
        (Old, {"source": "x", "limit": SecretReference("s")}),
        (Nested, {"pages": {"plugin": "page_based_pagination"}}),
        (Nested, {"pages": {"plugin": "page_based_pagination", "id": "p"}, "tags": {"a": [1]}}),
    ],
)
def test_arguments_that_fit_are_fine(cls: type[Any], args: dict[str, Any]) -> None:
    assert _faults(cls, **args) == []


@pytest.mark.parametrize(
    ("cls", "args", "path", "says"),
    [
        (New, {"path": "x", "mode": "medium"}, ("mode",), "fast | slow"),
        (New, {"path": 1.5}, ("path",), "1.5"),
        (Nested, {"pages": {"plugin": "page_bassed_pagination"}}, ("pages", "plugin"), "page_bassed"),
        (Nested, {"pages": {"args": {}}}, ("pages",), "`plugin` is missing"),
        (
            Nested,
            {"pages": {"plugin": "page_based_pagination", "args": {"x": 1}}},
            ("pages", "args", "x"),
            "unknown argument `x`",
        ),
        (
            Nested,
            {"pages": {"plugin": "page_based_pagination"}, "tags": {"a": ["b"]}},
            ("tags", "a", 0),
            "'b'",
        ),
    ],
)
def test_a_wrong_value_is_pointed_at(
    cls: type[Any], args: dict[str, Any], path: tuple[str | int, ...], says: str
) -> None:
    ((_, text, where),) = _faults(cls, **args)
    assert where == path
    assert says in text


def test_a_built_plugin_has_converted_arguments_and_the_payload_stays_as_it_was() -> None:
    catalog = discovery.catalog()
    payload = {"plugin": "page_based_pagination"}
    tags = {"a": [1]}
    args = {"pages": payload, "tags": tags}
    built = spec.build(catalog, catalog.find("extract", "spec_nested"), "n", args)
    assert type(built.pages).__name__ == "PageBasedPagination"
    assert payload == {"plugin": "page_based_pagination"}
    assert built.tags == tags
    assert built.tags is not tags
    old = spec.build(catalog, catalog.find("extract", "spec_old"), "o", {"source": 3306, "limit": "7"})
    assert (old.id, old.source, old.limit) == ("o", "3306", 7)


def test_a_secret_goes_wrapped_to_who_asks_for_one() -> None:
    class WithSecret(IExtractPlugin, plugin_name="spec_secret"):
        def __init__(self, plugin_id: str, token: Secret, name: str) -> None:
            super().__init__(plugin_id)
            self.token, self.name = token, name

        async def __call__(self) -> Any:
            return None

    catalog = discovery.catalog()
    built = spec.build(
        catalog, catalog.find("extract", "spec_secret"), "s", {"token": "hidden!", "name": "clear"}
    )
    assert str(built.token) == "***"
    assert built.token.reveal() == "hidden!"
    assert built.name == "clear"


def test_the_mode_is_that_of_the_call_also_behind_a_decorator() -> None:
    import functools

    def wrapped(function: Any) -> Any:
        @functools.wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return inner

    class Wrapped(IExtractPlugin, plugin_name="spec_wrapped"):
        @wrapped
        async def __call__(self) -> Any:
            return 1

    class Sync(ITransformPlugin, plugin_name="spec_sync"):
        def __call__(self, data: Any) -> Any:
            return data

    class Generator(IExtractPlugin, plugin_name="spec_generator"):
        async def __call__(self) -> Any:
            yield 1

    assert spec.of(Wrapped).mode == "async"
    assert spec.of(Sync).mode == "sync"
    assert (spec.of(Generator).mode, spec.of(Generator).generator) == ("async", True)
    assert spec.of(Sync).data_annotation is NOT_GIVEN


def test_what_the_docstring_says_of_arguments_stands_at_the_arguments_and_nowhere_else() -> None:
    @transform
    def halved(data: Any, by: int = 2) -> Any:
        """Halves.

        More about it.

        Args:
            data: what is halved.
            by: the divisor.

        And after.
        """

    read = spec.of(halved.plugin_class)  # type: ignore[attr-defined] # set by the decorator
    assert (read.summary, read.description) == ("Halves.", "More about it.\n\nAnd after.")
    assert [item.description for item in read.arguments] == ["the divisor."]


def test_a_function_is_a_plugin_of_the_kind_of_its_decorator_alone() -> None:
    @transform
    def only_once(data: Any) -> Any:
        return data

    view = discovery.catalog()
    assert [kind for kind in view.kinds() if "only_once" in view.names(kind)] == ["transform"]


def test_a_url_in_clear_is_secret_in_its_password_alone() -> None:
    """Else a destination would be told as `***`."""
    from pipeline_flow.core import discovery

    view = discovery.catalog()
    of_load = spec.of(view.find("load", "sql").cls)
    args = {"url": "duckdb:///x.db", "table": "t", "mode": "replace"}
    assert list(of_load.confidential(args, view)) == []
    with_password = {**args, "url": "postgresql://me:hunter2@host/db"}
    assert "hunter2" in set(of_load.confidential(with_password, view))


def test_args_of_a_nested_plugin_that_are_no_mapping_are_told_so() -> None:
    catalog = discovery.catalog()
    what = spec.of(catalog.find("extract", "rest_api").cls)
    given = {"base_url": "https://x", "pagination": {"plugin": "page", "args": "token"}}
    (fault,) = what.check(given, catalog)
    assert fault.path == ("pagination", "args")
    assert fault.problem.text == "`args` of a plugin takes a mapping, and this is text"
    assert list(what.confidential(given, catalog)) == []
