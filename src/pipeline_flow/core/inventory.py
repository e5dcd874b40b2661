"""Declared plugins, and the view that one run has of them.

A class is declared when Python executes its ``class`` statement; declarations stand in one process-wide list and are
never removed. Which of them a run sees is decided by its :class:`Catalog`: the custom files that its configuration
names, what this process declared itself, installed packages, and what we ship, in that order.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import threading
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pipeline_flow.errors import AmbiguousPlugin, PluginNotImported, UnknownPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXTRACT = "extract"
MERGE = "merge"
TRANSFORM = "transform"
LOAD = "load"
TRANSFORM_AT_LOAD = "transform_at_load"
PRE = "pre"
POST = "post"
SECRET_MANAGER = "secret_manager"  # noqa: S105 - the name of a kind, not a password

ROOT = ""  # the kind of IPlugin itself: none of its own

BUILT_IN = "built-in"
PROCESS = "this process"
CUSTOM = "custom"
PACKAGE = "package"

_OWN_MODULES = "pipeline_flow.plugins."


@dataclass(frozen=True, slots=True)
class Declaration:
    """A plugin class under the kind and name that it is known by.

    ``origin`` is one of ``built-in``, ``package``, ``custom`` and ``this process``; ``where`` names the package or the
    file that it comes from.
    """

    kind: str
    name: str
    cls: type[Any]
    origin: str
    where: str


_declared: list[Declaration] = []
_lock = threading.Lock()


def kinds_of(cls: type[Any]) -> tuple[str, ...]:
    """The kinds of all interfaces that ``cls`` implements, nearest first; ``("plugin",)`` where it implements none."""
    found = (base.__dict__["interface_kind"] for base in cls.__mro__ if base.__dict__.get("interface_kind"))
    return tuple(dict.fromkeys(found)) or ("plugin",)


def is_plugin_class(cls: type[Any]) -> bool:
    """Whether ``cls`` is an interface or implements one."""
    return any("interface_kind" in base.__dict__ for base in cls.__mro__)


def declare(cls: type[Any], name: str) -> None:
    """Adds ``cls`` to the list under every kind that it implements."""
    origin = BUILT_IN if f"{cls.__module__}.".startswith(_OWN_MODULES) else PROCESS
    with _lock:
        _declared.extend(Declaration(kind, name, cls, origin, cls.__module__) for kind in kinds_of(cls))


def declared_in(module: str) -> tuple[Declaration, ...]:
    """The declarations whose class statement stands in ``module``, oldest first."""
    with _lock:
        return tuple(item for item in _declared if item.cls.__module__ == module)


def _declared_by_process(hidden_modules: Iterable[str]) -> list[Declaration]:
    hidden = set(hidden_modules)
    with _lock:
        return [item for item in _declared if item.origin == PROCESS and item.cls.__module__ not in hidden]


def name_of(cls: type[Any]) -> str | None:
    """The name that ``cls`` was last declared under, if it was."""
    with _lock:
        return next((item.name for item in reversed(_declared) if item.cls is cls), None)


class Source(Protocol):
    """A place where plugins are found by name, imported only when one of them is named."""

    def find(self, kind: str, name: str) -> tuple[Declaration, ...]:
        """What answers to this kind and name; more than one where packages collide."""

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of this kind, without importing a plugin."""

    def kinds(self) -> tuple[str, ...]:
        """The kinds that may have something."""


class Catalog:
    """One run's view of the plugins: where two have the same kind and name, the nearer source wins.

    ``custom`` are the declarations of the files that the run's configuration names, ``hidden_modules`` the modules of
    custom files as such: what another run loaded is not this run's. ``sources`` are asked in order; two sources that
    both answer are an error unless the name is custom.
    """

    def __init__(
        self,
        custom: Iterable[Declaration] = (),
        *,
        sources: Iterable[Source] = (),
        hidden_modules: Iterable[str] = (),
    ) -> None:
        self._custom = {(item.kind, item.name): item for item in custom}
        self._process = {(item.kind, item.name): item for item in _declared_by_process(hidden_modules)}
        self._sources = tuple(sources)
        self._found: dict[tuple[str, str], Declaration] = {}
        self.shadowed: dict[tuple[str, str], Declaration] = {}

    def including(self, declarations: Iterable[Declaration]) -> Catalog:
        """This view and ``declarations``, which go before all others."""
        more = copy.copy(self)
        given = {(item.kind, item.name): item for item in declarations}
        more._custom = {**self._custom, **given}  # noqa: SLF001 - a copy of this object
        more._found, more.shadowed = {}, {}  # noqa: SLF001 - as above
        return more

    def find(self, kind: str, name: str) -> Declaration:
        """The plugin of this kind and name.

        Raises:
            UnknownPlugin: nothing answers to the name.
            AmbiguousPlugin: two installed packages, or a package and a built-in, answer to it.
        """
        key = (kind, name)
        if key in self._found:
            return self._found[key]
        own = self._custom.get(key) or self._process.get(key)
        if own is not None and own.origin == PROCESS and self._is_offered(own):
            own = None  # an installed package has brought it, in this run or an earlier one
        if own is not None:
            for source in self._sources:
                if name in source.names(kind):
                    self.shadowed[key] = own
        else:
            found = [item for source in self._sources for item in source.find(kind, name)]
            if not found:
                raise UnknownPlugin(f"no {kind} plugin is called `{name}`")
            if len({item.cls for item in found}) > 1:
                places = " and ".join(f"{item.where} ({item.origin})" for item in found)
                raise AmbiguousPlugin(
                    f"`{name}` is offered by {places}", hint="uninstall one of them, or name another plugin"
                )
            own = found[0]
        self._found[key] = own
        return own

    def _is_offered(self, own: Declaration) -> bool:
        offering = [source for source in self._sources if own.name in source.names(own.kind)]
        found = False
        for source in offering:
            with contextlib.suppress(PluginNotImported):
                found = found or any(item.cls is own.cls for item in source.find(own.kind, own.name))
        return found

    def find_any(self, name: str) -> Declaration:
        """The plugin of this name, whatever its kind; one of the user's own beats those of packages and ours.

        Raises:
            UnknownPlugin: nothing answers to the name.
            AmbiguousPlugin: different classes of several kinds do.
        """
        found = []
        for kind in self.kinds():
            with contextlib.suppress(UnknownPlugin):
                found.append(self.find(kind, name))
        if not found:
            raise UnknownPlugin(f"no plugin is called `{name}`")
        found = [item for item in found if item.origin in (CUSTOM, PROCESS)] or found
        if len({item.cls for item in found}) > 1:
            kinds = ", ".join(item.kind for item in found)
            raise AmbiguousPlugin(f"`{name}` is the name of plugins of several kinds: {kinds}")
        return found[0]

    def kinds(self) -> tuple[str, ...]:
        """Every kind that has a plugin."""
        own = (kind for kind, _ in itertools.chain(self._custom, self._process))
        return tuple(dict.fromkeys(itertools.chain(*(source.kinds() for source in self._sources), own)))

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of this kind, sorted; imports no plugin."""
        own = (name for key_kind, name in itertools.chain(self._custom, self._process) if key_kind == kind)
        return tuple(sorted({*own, *itertools.chain(*(source.names(kind) for source in self._sources))}))


_active: ContextVar[Catalog | None] = ContextVar("pipeline_flow_catalog", default=None)


@contextlib.contextmanager
def active(catalog: Catalog) -> Iterator[None]:
    """Makes ``catalog`` the one that plugins ask which build plugins."""
    token = _active.set(catalog)
    try:
        yield
    finally:
        _active.reset(token)


def current() -> Catalog | None:
    """The catalog that is active here: that of the run whose code is running."""
    return _active.get()
