"""Changing data with a function of one's own."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from pipeline_flow.core import spec
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import PluginNotImported, WrongArgument
from pipeline_flow.plugins.base import ITransformPlugin, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class PythonTransform(ITransformPlugin, plugin_name="python"):
    """Calls a Python function with the data and gives what it returns to the next step.

    The function's first parameter is handed the data in the form that its annotation asks for: `pd.DataFrame`,
    `pl.DataFrame`, `pa.Table`, `pa.RecordBatchReader`, `list[dict]`, `BatchStream`, `Iterator[pa.RecordBatch]`, and
    `dict[str, …]` where several extract steps were not merged. Without an annotation it gets what the step before
    returned. `args` are given by keyword; a parameter annotated with `Context` gets the step's context.
    """

    class Config(PluginConfig):
        function: str = Field(
            description="Where the function is: `module:name`, or `file.py:name` with a path from the working folder.",
            examples=["shop.clean:orders", "transforms/clean.py:orders"],
        )
        args: dict[str, Any] = Field(
            default_factory=dict,
            description="What the function is given besides the data, by name.",
            examples=[{"limit": 10}],
        )

        @field_validator("function")
        @classmethod
        def _has_name(cls, value: str) -> str:
            where, colon, name = value.rpartition(":")
            if not (where and colon and name.isidentifier()):
                raise ValueError(f"`{value}` is not module:name or file.py:name")
            return value

    takes_tables: ClassVar[bool] = True
    config: Config

    def __call__(self, data: Any) -> Any:
        """What the function makes of the data."""
        from pipeline_flow.data import convert

        function = _function(self.config.function)
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters:
            raise WrongArgument(
                f"the function `{self.config.function}` takes no parameter, and is to be given the data"
            )
        annotation = spec.hint_of(function, parameters[0].name)
        contexts = {
            item.name: self.context
            for item in parameters[1:]
            if spec.is_context(spec.hint_of(function, item.name))
        }
        given = {**self.config.args, **contexts}
        _check_call(self.config.function, function, given)
        asked = parameters[0].annotation is not inspect.Parameter.empty and annotation is not Any
        return function(convert(data, annotation) if asked else data, **given)


def _check_call(name: str, function: Callable[..., Any], given: dict[str, Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise WrongArgument(
            f"the function `{name}` is asynchronous", hint="transforms run in a thread: make it a plain def"
        )
    try:
        inspect.signature(function).bind(None, **given)
    except TypeError as error:
        own = list(inspect.signature(function).parameters)[1:]
        raise WrongArgument(
            f"`args` do not fit the function `{name}`: {error}",
            hint=f"it takes: {', '.join(own) or 'nothing but the data'}",
        ) from None


def _function(text: str) -> Callable[..., Any]:
    where, _, name = text.rpartition(":")
    module = _from_file(Path(where)) if where.endswith(".py") else _from_module(where)
    function = getattr(module, name, None)
    if not callable(function):
        known = [item for item, value in vars(module).items() if inspect.isfunction(value)]
        raise PluginNotImported(f"{where} has no function `{name}`", hint=hint(name, known, "it has"))
    found: Callable[..., Any] = function
    return found


def _from_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise PluginNotImported(
            f"there is no module `{name}`", hint="install it, or name its file: path/to/file.py:function"
        ) from None


_files: dict[tuple[str, int], ModuleType] = {}
_importing = threading.Lock()


def _from_file(path: Path) -> ModuleType:
    """The module in a file, imported once for each version of the file."""
    full = path.expanduser().resolve()
    if not full.is_file():
        raise PluginNotImported(
            f"the file {path} does not exist",
            hint="" if path.is_absolute() else f"paths start from the working folder, {Path.cwd()}",
        )
    key = (str(full), full.stat().st_mtime_ns)
    with _importing:
        if key not in _files:
            name = f"pipeline_flow_function_{full.stem}_{len(_files)}"
            loading = importlib.util.spec_from_file_location(name, full)
            if loading is None or loading.loader is None:
                raise PluginNotImported(f"{path} is not a Python file")
            module = importlib.util.module_from_spec(loading)
            sys.modules[name] = module  # dataclasses and typing look a class's module up there
            try:
                loading.loader.exec_module(module)
            except Exception as error:
                del sys.modules[name]
                raise PluginNotImported(
                    f"the file {path} cannot be imported: {type(error).__name__}: {error}"
                ) from error
            _files[key] = module
        return _files[key]
