"""Plugins without a run: real files, real databases, real threads, no engine."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pipeline_flow.core import inventory, spec
from pipeline_flow.core.context import Context, Run
from pipeline_flow.core.discovery import catalog as all_plugins
from pipeline_flow.core.inventory import Declaration
from pipeline_flow.data import Tables, adapt
from pipeline_flow.engine.value import close_streams, is_lazy
from pipeline_flow.errors import ConfigError
from pipeline_flow.events import Address
from pipeline_flow.plan.build import mode_faults
from pipeline_flow.plugins.base import IAtomicLoadPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    import pyarrow as pa

    from pipeline_flow.core.inventory import Catalog

MEMORY_BYTES = 256 * 1024 * 1024
_TAKES_DATA = (inventory.MERGE, inventory.TRANSFORM, inventory.LOAD, inventory.POST)
_TAKES_NOTHING = (
    inventory.EXTRACT,
    inventory.TRANSFORM_AT_LOAD,
    inventory.PRE,
    inventory.SECRET_MANAGER,
)
# Who is handed the data by keyword where `__call__` allows it, as by the engine.
_BY_KEYWORD = {inventory.LOAD: "data", inventory.POST: "data", inventory.MERGE: "extracted_data"}


class _NotGiven:
    def __repr__(self) -> str:
        return "not given"


NOT_GIVEN: Any = _NotGiven()


class FakeResources:
    """What the engine's resources do, for one test."""

    memory_bytes = MEMORY_BYTES
    are_shared = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}
        self._stack = contextlib.ExitStack()

    def get(self, key: str, open_: Callable[[], AbstractContextManager[Any]]) -> Any:
        """The resource under ``key``, opened on first use."""
        if key not in self._open:
            self._open[key] = self._stack.enter_context(open_())
        return self._open[key]

    def folder(self) -> Path:
        """The folder for temporary files."""
        return self._folder

    def close(self) -> None:
        """Closes what was opened; it can be opened again."""
        self._open.clear()
        self._stack.close()


class Bench:
    """Builds plugins, checks their arguments as a run does, and calls them as the engine would.

    Args:
        folder: for temporary files; made anew. By default one of the system's, gone when the ``with`` block ends.
        catalog: the plugins that names are looked up in; by default the built-in ones, those of installed packages, and
            those that this process has declared.
        on_bad_row: what ``Context.reject`` does: ``fail`` raises, ``skip`` counts.

    ``notices`` are the texts of ``Context.notice``; ``rejected`` counts the rows that were rejected. Not for use inside
    a running event loop.
    """

    def __init__(
        self, folder: Path | None = None, *, catalog: Catalog | None = None, on_bad_row: str = "fail"
    ) -> None:
        self._at_end = contextlib.ExitStack()
        if folder is None:
            made = self._at_end.enter_context(tempfile.TemporaryDirectory(prefix="pipeline-flow-bench-"))
            folder = Path(made)
        else:
            folder.mkdir()
        self.folder = folder
        self.resources = FakeResources(folder)
        self.catalog = catalog or all_plugins()
        self.notices: list[str] = []
        self._on_bad_row = on_bad_row
        self._contexts: list[Context] = []

    @property
    def rejected(self) -> int:
        """The rows that plugins rejected so far."""
        return sum(context.rejected for context in self._contexts)

    def context(self) -> Context:
        """A new context, such as each step of a run has."""

        async def in_thread(_flag: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(function, *args, **kwargs)

        made = Context(
            run=Run("run-1", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
            address=Address("p", "phase", "step"),
            resources=self.resources,
            run_in_thread=in_thread,
            tell=lambda text, _level: self.notices.append(text),
            progress=lambda _rows, _size: None,
            on_bad_row=self._on_bad_row,
        )
        self._contexts.append(made)
        return made

    # ------------------------------------------------------------------------------------------ by kind and name

    def plugin(self, kind: str, name: str, /, **args: Any) -> Any:
        """The plugin, with a context of its own.

        Raises:
            UnknownPlugin: there is none of this kind and name.
            ConfigError: the arguments do not fit, or the plugin is of the wrong mode for its kind.
        """
        return self._build(self.catalog.find(kind, name), args)

    def faults(self, kind: str, name: str, /, **args: Any) -> list[str]:
        """What ``pipeline-flow validate`` would say about these arguments."""
        declaration = self.catalog.find(kind, name)
        return [str(fault.problem) for fault in spec.of(declaration.cls).check(args, self.catalog)]

    def extract(self, name: str, /, **args: Any) -> pa.Table:
        """What an extract plugin reads."""
        return _as_table(self.call(f"{inventory.EXTRACT}.{name}", **args))

    def transform(self, name: str, data: Any, /, **args: Any) -> Any:
        """What a transform plugin returns, as it is: a stream is not read yet."""
        plugin = self.plugin(inventory.TRANSFORM, name, **args)
        return plugin(_given(type(plugin), data))

    def merge(self, name: str, data: Mapping[str, Any], /, **args: Any) -> pa.Table:
        """What a merge plugin makes of ``data``, the results of extract steps by id."""
        return _as_table(self.call(f"{inventory.MERGE}.{name}", data, **args))

    def load(self, name: str, data: Any, /, **args: Any) -> Any:
        """Stages and commits ``data``; the number of rows where the load is atomic."""
        return self.call(f"{inventory.LOAD}.{name}", data, **args)

    def at_load(self, name: str, /, **args: Any) -> Any:
        """Calls a transform-at-load plugin."""
        return self.call(f"{inventory.TRANSFORM_AT_LOAD}.{name}", **args)

    def is_atomic(self, name: str, /) -> bool:
        """Whether the load plugin of this name can roll back."""
        return issubclass(self.catalog.find(inventory.LOAD, name).cls, IAtomicLoadPlugin)

    # ------------------------------------------------------------------------------------------ any plugin

    def call(self, plugin: Any, data: Any = NOT_GIVEN, /, **args: Any) -> Any:
        """Calls a plugin once, as a step of a run does.

        Args:
            plugin: a decorated function, a plugin class, or ``kind.name`` as in ``pipeline-flow plugins show``.
            data: what the plugin is handed, converted to what it asks for; for a merge a dict by step id.
            args: the plugin's arguments.

        Returns:
            A ``pyarrow.Table`` where the plugin returned a stream or an iterator of rows, a dict of them by name where it
            returned several tables; the number of rows of an atomic
            load, which is committed; anything else as the plugin returned it.

        Raises:
            ConfigError: the arguments do not fit, or the plugin is of the wrong mode for its kind.
            TypeError: data is missing, or given to a plugin that takes none.
        """
        declaration = self._declaration(plugin)
        kind = declaration.kind
        if kind not in (*_TAKES_DATA, *_TAKES_NOTHING):
            raise TypeError(f"a {kind} plugin is called by another plugin, not by a step")
        if (data is not NOT_GIVEN) != (kind in _TAKES_DATA):
            raise TypeError(f"a {kind} plugin takes {'data' if kind in _TAKES_DATA else 'no data'}")
        made = self._build(declaration, args)
        if isinstance(made, IAtomicLoadPlugin):
            return asyncio.run(_committed(made, data))
        if spec.of(declaration.cls).mode == spec.ASYNC:
            return asyncio.run(_awaited(made, kind, data))
        result = _called(made, kind, data)
        return _as_table(result) if is_lazy(result) else result

    def _declaration(self, plugin: Any) -> Declaration:
        if isinstance(plugin, str):
            kind, _, name = plugin.partition(".")
            return self.catalog.find(kind, name)
        cls = getattr(plugin, "plugin_class", plugin)
        if not isinstance(cls, type) or not inventory.is_plugin_class(cls):
            raise TypeError(f"{plugin!r} is no plugin: decorate the function, or name kind.name")
        known = [kind for kind in inventory.kinds_of(cls) if kind in (*_TAKES_DATA, *_TAKES_NOTHING)]
        kind = known[0] if known else inventory.kinds_of(cls)[0]
        return Declaration(kind, cls.__name__, cls, inventory.PROCESS, cls.__module__)

    def _build(self, declaration: Declaration, args: Mapping[str, Any]) -> Any:
        read = spec.of(declaration.cls)
        problems = [*mode_faults(declaration.kind, declaration.name, read.mode)]
        problems += [fault.problem for fault in read.check(args, self.catalog)]
        if problems:
            raise ConfigError(problems)
        made = spec.build(self.catalog, declaration, "step", args)
        if inspect.getattr_static(declaration.cls, "context", None) is None:
            made.context = self.context()
        return made

    # ------------------------------------------------------------------------------------------ the end

    def at_end(self, callback: Callable[[], object]) -> None:
        """Calls ``callback`` when the ``with`` block of this bench ends."""
        self._at_end.callback(callback)

    def leftovers(self) -> list[str]:
        """Temporary files that should have been removed."""
        return sorted(item.name for item in self.folder.rglob("*") if item.is_file())

    def close(self) -> None:
        """Closes what plugins share, such as connections; it is opened again when a plugin needs it."""
        self.resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._at_end.close()


def call(plugin: Any, data: Any = NOT_GIVEN, /, **args: Any) -> Any:
    """Calls a plugin once, as a step of a run does, and gives rows as a list of dicts.

    >>> from pipeline_flow import transform
    >>> from pipeline_flow.testing import call
    >>> @transform
    ... def cheap(data: "list[dict]", limit: int = 10) -> "list[dict]":
    ...     return [row for row in data if row["price"] <= limit]
    >>> call(cheap, [{"price": 5}, {"price": 15}], limit=7)
    [{'price': 5}]

    Args:
        plugin: a decorated function, a plugin class, or ``kind.name`` as in ``pipeline-flow plugins show``.
        data: what the plugin is handed, converted to what it asks for; for a merge a dict by step id.
        args: the plugin's arguments, checked as in a run.

    Returns:
        A list of dicts where the plugin returned anything tabular; the number of rows of an atomic load, which is
        committed; anything else as the plugin returned it.

    Raises:
        ConfigError: the arguments do not fit, or the plugin is of the wrong mode for its kind.
        RowRejected: the plugin rejected a row; a :class:`Bench` can count them instead.
    """
    with Bench() as bench:
        result = bench.call(plugin, data, **args)
        return _as_table(result).to_pylist() if adapt.is_tabular(result) else result


def _given(cls: type[Any], data: Any) -> Any:
    """``data`` in the form that the plugin asks for, as :class:`~pipeline_flow.engine.step.Step` hands it over."""
    if (
        isinstance(data, dict)
        and data
        and all(adapt.is_tabular(item) or is_lazy(item) for item in data.values())
    ):
        data = Tables(data)
    annotation = spec.of(cls).data_annotation
    if annotation is spec.NOT_GIVEN or not adapt.asks(annotation):
        takes_tables = getattr(cls, "takes_tables", False)
        return dict(data) if isinstance(data, Tables) and not takes_tables else data
    return adapt.convert(data, annotation)


def _called(plugin: Any, kind: str, data: Any) -> Any:
    if data is NOT_GIVEN:
        return plugin()
    given = _given(type(plugin), data)
    name = _BY_KEYWORD.get(kind, "")
    return plugin(**{name: given}) if name in spec.of(type(plugin)).by_keyword else plugin(given)


async def _awaited(plugin: Any, kind: str, data: Any) -> Any:
    result = _called(plugin, kind, data)
    if inspect.isawaitable(result):
        result = await result
    if isinstance(result, Tables):
        try:
            return {name: await adapt.to_stream(item).read_table() for name, item in result.items()}
        finally:
            close_streams(result)
    if not is_lazy(result):
        return result
    stream = adapt.to_stream(result)
    stream.run_in_thread = asyncio.to_thread
    async with stream:
        return await stream.read_table()


async def _committed(plugin: IAtomicLoadPlugin, data: Any) -> int:
    transaction = await plugin.begin()
    try:
        given: Any
        if isinstance(data, Tables | dict):
            given = Tables({name: adapt.to_stream(item) for name, item in data.items()})
        else:
            given = adapt.to_stream(data)
        rows = await plugin.stage(given, transaction)
        await transaction.commit()
    except BaseException:
        await transaction.abort()
        raise
    return rows


def _as_table(data: Any) -> pa.Table:
    with adapt.to_stream(data) as stream:
        return stream.to_table()
