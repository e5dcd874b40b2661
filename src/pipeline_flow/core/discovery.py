"""Where plugins are found: in this distribution, in installed packages, in files that the configuration names.

All three are sources of a :class:`~pipeline_flow.core.inventory.Catalog`; nothing is imported before it is named.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline_flow.core import inventory
from pipeline_flow.core.inventory import BUILT_IN, CUSTOM, PACKAGE, Catalog, Declaration
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import CommunityPluginMissing, PluginNotImported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

GROUP = "pipeline_flow.plugins"
_FOLDERS = {
    inventory.EXTRACT: "extract",
    inventory.MERGE: "merge",
    inventory.TRANSFORM: "transform",
    inventory.LOAD: "load",
    inventory.TRANSFORM_AT_LOAD: "transform_at_load",
    inventory.PRE: "pre",
    inventory.POST: "post",
    inventory.SECRET_MANAGER: "secret_managers",
}
_ALSO_CALLED = {
    (inventory.SECRET_MANAGER, "aws_secrets_manager"): "aws_secret_manager"
}  # as 1.0.8 documents it
_UTILITY = "utility"
_CUSTOM_PREFIX = "pipeline_flow_custom_"
_loading = threading.RLock()


class BuiltIn:
    """The plugins of this distribution: the folder is the kind, the file is the name.

    Files in ``plugins/utility`` hold plugins of several names and kinds of their own; they are imported to be listed.
    """

    def find(self, kind: str, name: str) -> tuple[Declaration, ...]:
        """The built-in of this kind and name."""
        name = _ALSO_CALLED.get((kind, name), name)
        folder = _FOLDERS.get(kind)
        if folder is None:
            return tuple(item for item in self._utility() if item.kind == kind and item.name == name)
        if name not in _modules(folder):
            return ()
        module = f"pipeline_flow.plugins.{folder}.{name}"
        importlib.import_module(module)
        return tuple(
            item for item in inventory.declared_in(module) if item.kind == kind and item.name == name
        )[-1:]

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of the built-ins of this kind."""
        folder = _FOLDERS.get(kind)
        if folder is None:
            return tuple(item.name for item in self._utility() if item.kind == kind)
        return _modules(folder)

    def kinds(self) -> tuple[str, ...]:
        """The kinds of the built-ins."""
        return (*_FOLDERS, *dict.fromkeys(item.kind for item in self._utility()))

    @staticmethod
    @functools.cache
    def _utility() -> tuple[Declaration, ...]:
        modules = [f"pipeline_flow.plugins.{_UTILITY}.{name}" for name in _modules(_UTILITY)]
        for module in modules:
            importlib.import_module(module)
        return tuple(item for module in modules for item in inventory.declared_in(module))


@functools.cache
def _modules(folder: str) -> tuple[str, ...]:
    package = importlib.import_module(f"pipeline_flow.plugins.{folder}")
    return tuple(
        sorted(item.name for item in pkgutil.iter_modules(package.__path__) if not item.name.startswith("_"))
    )


_Points = dict[tuple[str, str], list[importlib.metadata.EntryPoint]]


@functools.lru_cache(maxsize=4)
def _points_of(installed: tuple[object, ...]) -> _Points:  # noqa: ARG001 - what the result is remembered by
    """The entry points by kind and name. Reading the metadata of all packages takes longer than running a small configuration."""
    found: _Points = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        kind, dot, name = point.name.partition(".")
        if dot and name:
            found.setdefault((kind, name), []).append(point)
    return found


def _installed() -> tuple[object, ...]:
    """What entry points depend on: who looks for packages, where, which are there, and when their entry points were written."""
    found: list[object] = [*map(id, sys.meta_path)]
    for entry in sys.path:
        found.append(entry)
        try:
            found += _packages_in(entry or os.curdir)
        except OSError:  # no folder: an archive, or nothing
            found.append(_changed(entry))
    return tuple(found)


def _packages_in(folder: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as items:
        for item in items:
            if item.name.endswith((".dist-info", ".egg-info")):
                yield item.path, _changed(f"{item.path}/entry_points.txt")


def _changed(path: str) -> int:
    """When a file was written, in nanoseconds; 0 where there is none."""
    try:
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - a `Path` for each package would take as long as all the rest
    except OSError:
        return 0


class Installed:
    """Plugins of installed packages: entry points ``kind.name = module:Class`` of the group ``pipeline_flow.plugins``."""

    def __init__(self) -> None:
        self._points: _Points | None = None

    def points(self) -> _Points:
        """The entry points by kind and name, found on first use."""
        if self._points is None:
            self._points = _points_of(_installed())
        return self._points

    def find(self, kind: str, name: str) -> tuple[Declaration, ...]:
        """What the installed packages offer under this kind and name."""
        return tuple(self._load(kind, name, point) for point in self.points().get((kind, name), ()))

    def names(self, kind: str) -> tuple[str, ...]:
        """The names of this kind in installed packages."""
        return tuple(name for point_kind, name in self.points() if point_kind == kind)

    def kinds(self) -> tuple[str, ...]:
        """The kinds that installed packages offer."""
        return tuple(dict.fromkeys(kind for kind, _ in self.points()))

    def packages(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """Package name → the kinds and names that it offers."""
        found: dict[str, list[tuple[str, str]]] = {}
        for key, points in self.points().items():
            for point in points:
                found.setdefault(_package(point), []).append(key)
        return {name: tuple(keys) for name, keys in found.items()}

    @staticmethod
    def _load(kind: str, name: str, point: importlib.metadata.EntryPoint) -> Declaration:
        try:
            cls = point.load()
        except Exception as error:
            raise PluginNotImported(
                f"the plugin `{name}` of the package {_package(point)} cannot be imported: "
                f"{type(error).__name__}: {error}",
                hint="repair or reinstall the package",
            ) from error
        cls = getattr(cls, "plugin_class", cls)  # a decorated function carries its class
        if not isinstance(cls, type) or kind not in inventory.kinds_of(cls):
            raise PluginNotImported(
                f"the entry point {point.name} = {point.value} of the package {_package(point)} is no {kind} plugin"
            )
        return Declaration(kind, name, cls, PACKAGE, _package(point))


def _package(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unnamed package"


def catalog(
    *, files: Sequence[str | Path] = (), dirs: Sequence[str | Path] = (), community: Sequence[str] = ()
) -> Catalog:
    """A run's view of the plugins.

    Args:
        files: Python files with custom plugins. Relative paths start from the working folder.
        dirs: folders whose ``*.py`` files hold custom plugins.
        community: packages or plugin names that must be installed.

    Raises:
        PluginNotImported: a file or folder does not exist, or cannot be imported.
        CommunityPluginMissing: no installed package offers what ``community`` names.
    """
    paths = [path for name in dirs for path in _python_files(name, "folder")]
    paths += [path for name in files for path in _python_files(name, "file")]
    custom = [item for path in dict.fromkeys(paths) for item in load_file(path)]
    installed = Installed()
    for name in community:
        _require(installed, name)
    return Catalog(
        custom,
        sources=(BuiltIn(), installed),
        hidden_modules=tuple(_executed),
    )


def _python_files(name: str | Path, what: str) -> list[Path]:
    """The file, or the files of the folder; as in 1.0.8 either may stand under ``files`` and ``dirs``."""
    path = Path(name)
    try:
        if path.is_dir():
            return sorted(file.resolve() for file in path.glob("*.py"))
        exists = path.is_file()
    except OSError as error:  # such as a name that is too long
        raise PluginNotImported(f"the plugin {what} {name} cannot be read: {error.strerror}") from None
    if not exists:
        raise PluginNotImported(
            f"the plugin {what} {name} does not exist", hint=f"paths start from the working folder, {_here()}"
        )
    return [path.resolve()]


def _here() -> str:
    return str(Path.cwd())


def _require(installed: Installed, name: str) -> None:
    packages = installed.packages()
    known = {*packages, *(plugin for _, plugin in installed.points())}
    folded = {item.replace("_", "-").lower() for item in known}
    if name.replace("_", "-").lower() in folded:
        return
    raise CommunityPluginMissing(
        f"no installed package offers the community plugin `{name}`",
        hint=hint(name, sorted(known), "installed") + "; install the package that offers it",
    )


_loaded: dict[tuple[str, int], str] = {}  # (file, modification time in ns) → the module that it became
_executed: set[str] = set()  # the modules that were made of such files, those that broke half-way too


def load_file(path: Path) -> tuple[Declaration, ...]:
    """Imports a file of custom plugins, once for each version of the file, and gives what it declares.

    A file that the process has already imported under a name of its own is not executed again.

    Raises:
        PluginNotImported: the file raised an error; the message has the file's own line.
    """
    with _loading:
        key = (str(path), path.stat().st_mtime_ns)
        if key not in _loaded:
            _loaded[key] = _imported_as(path) or _import(path, key)
        own = inventory.declared_in(_loaded[key])
        return tuple(Declaration(item.kind, item.name, item.cls, CUSTOM, str(path)) for item in own)


def _imported_as(path: Path) -> str | None:
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if (
            file
            and not name.startswith(_CUSTOM_PREFIX)
            and Path(file).name == path.name
            and Path(file).resolve() == path
        ):
            return name
    return None


def _import(path: Path, key: tuple[str, int]) -> str:
    name = f"{_CUSTOM_PREFIX}{path.stem}_{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginNotImported(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    _executed.add(name)
    sys.modules[name] = module  # dataclasses and typing look a class's module up there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise PluginNotImported(
            f"the plugin file {path} cannot be imported: {type(error).__name__}: {error}{_own_line(error, path)}",
            hint="the file is executed as it stands; what it imports must be installed here",
        ) from error
    return name


def _own_line(error: BaseException, path: Path) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f" (line {frames[-1].lineno})" if frames else ""


def origin_text(declaration: Declaration) -> str:
    """Where a plugin comes from, for people: ``built-in``, ``package x``, ``custom file.py``."""
    if declaration.origin == BUILT_IN:
        return BUILT_IN
    return f"{declaration.origin} {declaration.where}"


def listing(view: Catalog) -> Iterable[tuple[str, str, Any]]:
    """Every plugin of ``view`` as kind, name and declaration (or the error that importing it raised)."""
    for kind in view.kinds():
        for name in view.names(kind):
            try:
                yield kind, name, view.find(kind, name)
            except Exception as error:  # noqa: BLE001 - one broken package must not hide the others
                yield kind, name, error
