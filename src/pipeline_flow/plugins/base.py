"""The interfaces that plugins implement, and the decorators that make plugins of functions.

A class under one of the interfaces is declared by its ``class`` statement: ``class Orders(IExtractPlugin,
plugin_name="orders")``. Constructors only remember; what a step uses is opened in its call. A function is declared by
a decorator: ``@extract``, ``@transform``, ``@load``, ``@transform_at_load``.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from abc import ABC, abstractmethod
from collections import abc
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, overload

from pydantic import BaseModel, ConfigDict, WrapValidator

from pipeline_flow.core import inventory, spec
from pipeline_flow.core.context import Context, context_of_step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline_flow.data import BatchStream

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Callable[..., Any]")


class PluginConfig(BaseModel):
    """The base of a plugin's ``Config``: its fields are the plugin's arguments. Unknown arguments are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        coerce_numbers_to_str=True,
        populate_by_name=True,
    )
    describes_plugin: ClassVar[bool] = True


def _payload_or_plugin(value: Any, handler: Callable[[Any], Any]) -> Any:
    if isinstance(value, abc.Mapping | spec.Unbuilt):  # checked by then, and built before the plugin gets it
        return value
    if value is not None and not inventory.is_plugin_class(type(value)):
        raise ValueError("write {plugin: name, args: {…}}")
    return handler(value)


NESTED = WrapValidator(_payload_or_plugin)
"""Marks a field of a ``Config`` that takes a plugin: ``Annotated[IPaginationHandler | None, NESTED]``."""


class AsyncAdapterMixin:
    """Lets an asynchronous plugin do blocking work without stopping the others."""

    async def async_wrap(self, func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs ``func`` in a thread and waits for its result.

        In a run it is one of the engine's own threads; outside of a run one of asyncio's.
        """
        context = getattr(self, "context", None)
        if not isinstance(context, Context):  # a plugin that another one built
            context = context_of_step.get()
        if context is not None:
            return await context.to_thread(func, *args, **kwargs)
        return await asyncio.to_thread(func, *args, **kwargs)


class IPlugin:
    """The root of all plugins.

    Class keywords:
        plugin_name: the name in the YAML; a class with a name is declared.
        interface: this class is an interface, not a plugin; its kind follows from its name (``IPaginationHandler`` →
            ``pagination_handler``) unless ``kind`` says it.
        kind: the kind of an interface.
    """

    interface_kind: ClassVar[str] = inventory.ROOT
    streams: ClassVar[bool] = False
    """Whether rows may flow through it: an extract gives them while it reads, a transform and an atomic load take them as
    they come. A transform that streams holds nothing that others may wait for."""
    holds_database: ClassVar[bool] = True
    """Whether an extract or load that streams has a connection or a database's lock meanwhile, for which others may wait."""
    context: Context
    config: Any  # an instance of the class's `Config`, where it has one

    def __init_subclass__(
        cls,
        *,
        plugin_name: str | None = None,
        interface: bool = False,
        kind: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if interface:
            cls.interface_kind = _kind_from(cls.__name__) if kind is None else kind
            return
        if not plugin_name:
            raise ValueError(
                f'the plugin class {cls.__name__} needs a name: class {cls.__name__}(…, plugin_name="…"), '
                "or interface=True where it is no plugin itself"
            )
        inventory.declare(cls, plugin_name)

    def __init__(self, plugin_id: str, **args: Any) -> None:
        self.id = plugin_id
        config = getattr(type(self), "Config", None)
        if isinstance(config, type) and issubclass(config, PluginConfig):
            self.config = config.model_validate(args)
        elif args:
            raise TypeError(f"{type(self).__name__} takes no arguments: {', '.join(args)}")


def _kind_from(class_name: str) -> str:
    name = re.sub(r"^I(?=[A-Z])", "", class_name).removesuffix("Plugin") or class_name
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class IExtractPlugin(ABC, IPlugin, interface=True, kind=inventory.EXTRACT):
    """Reads data. Extract steps of a phase run concurrently."""

    @abstractmethod
    async def __call__(self) -> Any:
        """Gives the data: a :class:`BatchStream`, anything tabular, or any object for the next custom plugin.

        An async generator of tabular pieces counts as asynchronous too.
        """


class IMergeExtractPlugin(ABC, IPlugin, interface=True, kind=inventory.MERGE):
    """Makes one of what several extract steps read. Runs in a thread, once, when all extracts are there."""

    @abstractmethod
    def __call__(self, extracted_data: dict[str, Any]) -> Any:
        """Gives the merged data. ``extracted_data`` holds each extract's result by step id."""


class ITransformPlugin(ABC, IPlugin, interface=True, kind=inventory.TRANSFORM):
    """Changes data. Transform steps run one after the other, in a thread."""

    @abstractmethod
    def __call__(self, data: Any) -> Any:
        """Gives the changed data."""


class ILoadPlugin(ABC, IPlugin, interface=True, kind=inventory.LOAD):
    """Writes data. Load steps of a phase run concurrently; all get the same data.

    A plugin with only ``__call__`` cannot roll back: it runs after the atomic loads have staged and before they
    commit. See :class:`IAtomicLoadPlugin`.
    """

    @abstractmethod
    async def __call__(self, data: Any) -> Any:
        """Writes ``data``."""


class Transaction(ABC):
    """What the atomic loads of one pipeline into one destination share: all their rows become visible, or none."""

    @abstractmethod
    async def commit(self) -> None:
        """Makes everything that was staged visible at once.

        Raises:
            DestinationFailed: the destination refused; nothing is visible.
        """

    @abstractmethod
    async def abort(self) -> None:
        """Takes everything back and leaves no trace. Safe to call more than once, and after a failed commit."""


class IAtomicLoadPlugin(ILoadPlugin, interface=True, kind=inventory.LOAD):
    """A load in three parts: begin a transaction, stage rows in it, and let the engine commit or abort.

    Nothing is visible before ``commit``, which the engine calls when everything before it has succeeded.
    """

    @property
    @abstractmethod
    def destination(self) -> str:
        """The canonical URL of where the rows go. Loads of one pipeline with the same URL share one transaction."""

    @property
    def target(self) -> str:
        """What inside the destination is written, such as a table's name; the destination itself by default."""
        return self.destination

    def targets(self, names: Sequence[str]) -> Sequence[str]:  # noqa: ARG002 - for those that take tables
        """What inside the destination is written where tables of these names are handed over, each once."""
        return (self.target,)

    @abstractmethod
    async def begin(self) -> Transaction:
        """Opens the transaction of this destination; called on the first load of a group."""

    @abstractmethod
    async def stage(self, data: BatchStream, transaction: Transaction) -> int:
        """Writes ``data`` where nobody sees it yet and gives the number of rows.

        ``transaction`` is what ``begin`` of the group's first load returned. A load that takes tables may get a
        :class:`Tables` of streams.
        """

    async def __call__(self, data: Any) -> None:
        """Stages and commits ``data``, for use without an engine."""
        from pipeline_flow.data import adapt

        transaction = await self.begin()
        try:
            await self.stage(adapt.to_stream(data), transaction)
            await transaction.commit()
        except BaseException:
            await transaction.abort()
            raise


class ITransformLoadPlugin(ABC, IPlugin, interface=True, kind=inventory.TRANSFORM_AT_LOAD):
    """Changes data inside the destination, after every load has committed. Runs in a thread, one after the other."""

    @abstractmethod
    def __call__(self) -> Any:
        """Does the work."""


class IPreProcessPlugin(ABC, IPlugin, interface=True, kind=inventory.PRE):
    """Runs before the steps of an extract or load phase."""

    @abstractmethod
    async def __call__(self) -> Any:
        """Does the work."""


class IPostProcessPlugin(ABC, IPlugin, interface=True, kind=inventory.POST):
    """Runs after the steps of an extract or load phase."""

    @abstractmethod
    async def __call__(self, data: Any) -> Any:
        """Sees the phase's data. What it returns replaces the data; ``None`` leaves it as it is."""


class ITransactionHook(ABC, IPlugin, interface=True, kind=inventory.ROOT):
    """A ``pre`` or ``post`` of a load phase that works inside the transaction of the loads into its destination.

    Beside :class:`IPreProcessPlugin` or :class:`IPostProcessPlugin`. It sees no data, and its ``__call__`` is called without
    any. Where a load of the phase has the same destination, ``join`` is called in place of it: that of a ``pre`` before the
    rows are staged, that of a ``post`` after them and before the commit.
    """

    takes_tables: ClassVar[bool] = True  # it looks at none of them

    @property
    @abstractmethod
    def destination(self) -> str:
        """The canonical URL of what it changes, as :attr:`IAtomicLoadPlugin.destination` has it."""

    @abstractmethod
    async def join(self, transaction: Transaction) -> None:
        """Does the work inside ``transaction``, which the load's ``begin`` returned; the engine commits it or takes it back."""


class ISecretManager(ABC, IPlugin, interface=True, kind=inventory.SECRET_MANAGER):
    """Fetches one secret, when a run starts."""

    @property
    def resource_id(self) -> str:
        """The identifier of the secret at its provider, for ``${{ secrets.name.resource_id }}``."""
        raise NotImplementedError(f"the secret manager {type(self).__name__} has no resource_id")

    @abstractmethod
    def __call__(self) -> Any:
        """The secret: text, or a mapping whose keys are read with ``${{ secrets.name.key }}``."""


# ---------------------------------------------------------------------------------------------- functions


class _FunctionPlugin(IPlugin, interface=True, kind=inventory.ROOT):
    """A plugin made of a function; its arguments are the function's parameters. No kind of its own."""

    plugin_function: ClassVar[Callable[..., Any]]
    plugin_skips_first: ClassVar[int]
    plugin_context_names: ClassVar[tuple[str, ...]]
    threaded: ClassVar[bool] = False

    def __init__(self, plugin_id: str, **args: Any) -> None:
        self.id = plugin_id
        self._args = args

    def _arguments(self) -> Mapping[str, Any]:
        """The function's arguments by name, the context included where it asks for that."""
        names = self.plugin_context_names
        return {**self._args, **dict.fromkeys(names, self.context)} if names else self._args


def _function_plugin(
    interface: type[IPlugin], function: Callable[..., Any], threaded: bool, keywords: Mapping[str, Any]
) -> type[IPlugin]:
    takes_data = interface in (IMergeExtractPlugin, ITransformPlugin, ILoadPlugin, IPostProcessPlugin)

    if threaded:

        async def call(self: Any, *data: Any) -> Any:
            return await self.context.to_thread(function, *data, **self._arguments())

    else:

        def call(self: Any, *data: Any) -> Any:  # type: ignore[misc] # one name, two modes; the spec reads the function's own
            return function(*data, **self._arguments())

    namespace = {
        "__call__": call,
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "plugin_function": staticmethod(function),
        "plugin_call": staticmethod(function),
        "plugin_skips_first": int(takes_data),
        "plugin_context_names": tuple(
            name
            for name in inspect.signature(function).parameters
            if spec.is_context(spec.hint_of(function, name))
        ),
        "threaded": threaded,
    }
    return _new_class(function.__name__, (_FunctionPlugin, interface), namespace, keywords)


def _new_class(
    name: str, bases: tuple[type, ...], namespace: dict[str, Any], keywords: Mapping[str, Any]
) -> type[Any]:
    import types

    return types.new_class(name, bases, dict(keywords), lambda ns: ns.update(namespace))


_INTERFACES: dict[str, type[IPlugin]] = {
    inventory.EXTRACT: IExtractPlugin,
    inventory.MERGE: IMergeExtractPlugin,
    inventory.TRANSFORM: ITransformPlugin,
    inventory.LOAD: ILoadPlugin,
    inventory.TRANSFORM_AT_LOAD: ITransformLoadPlugin,
    inventory.PRE: IPreProcessPlugin,
    inventory.POST: IPostProcessPlugin,
}


def class_of(function: Callable[..., Any], kind: str) -> type[IPlugin]:
    """A plugin class of ``kind`` made of a function, without declaring it: it has no name in any configuration.

    A plain function where the kind is asynchronous runs in a thread.
    """
    blocking = not (inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function))
    threaded = blocking and kind in (inventory.EXTRACT, inventory.LOAD, inventory.PRE, inventory.POST)
    return _function_plugin(_INTERFACES[kind], function, threaded, {"interface": True, "kind": kind})


def _decorator(interface: type[IPlugin], function: F | None, name: str | None, threaded: bool) -> Any:
    def declare(inner: F) -> F:
        cls = _function_plugin(interface, inner, threaded, {"plugin_name": name or inner.__name__})
        inner.plugin_class = cls  # type: ignore[attr-defined] # entry points may name the function itself
        return inner

    return declare if function is None else declare(function)


@overload
def extract(function: F) -> F: ...
@overload
def extract(*, name: str | None = None, threaded: bool = False) -> Callable[[F], F]: ...
def extract(function: F | None = None, *, name: str | None = None, threaded: bool = False) -> Any:
    """Declares a function as an extract plugin; its parameters are the plugin's arguments.

    Args:
        function: an async function or async generator, or with ``threaded`` a plain function.
        name: the name in the YAML, the function's own by default.
        threaded: the function blocks; run it in a thread.
    """
    return _decorator(IExtractPlugin, function, name, threaded)


@overload
def transform(function: F) -> F: ...
@overload
def transform(*, name: str | None = None) -> Callable[[F], F]: ...
def transform(function: F | None = None, *, name: str | None = None) -> Any:
    """Declares a plain function as a transform plugin; its first parameter gets the data, the others are arguments."""
    return _decorator(ITransformPlugin, function, name, threaded=False)


@overload
def load(function: F) -> F: ...
@overload
def load(*, name: str | None = None, threaded: bool = False) -> Callable[[F], F]: ...
def load(function: F | None = None, *, name: str | None = None, threaded: bool = False) -> Any:
    """Declares a function as a load plugin; its first parameter gets the data, the others are arguments.

    Args:
        function: an async function, or with ``threaded`` a plain function.
        name: the name in the YAML, the function's own by default.
        threaded: the function blocks; run it in a thread.
    """
    return _decorator(ILoadPlugin, function, name, threaded)


@overload
def transform_at_load(function: F) -> F: ...
@overload
def transform_at_load(*, name: str | None = None) -> Callable[[F], F]: ...
def transform_at_load(function: F | None = None, *, name: str | None = None) -> Any:
    """Declares a plain function as a transform-at-load plugin; its parameters are the plugin's arguments."""
    return _decorator(ITransformLoadPlugin, function, name, threaded=False)
