"""One spec per plugin, read from its constructor or its ``Config`` model.

The spec checks ``args`` before anything runs, converts them when the plugin is built, and says what ``plugins show``
and the reference print. Annotations that cannot be resolved (imported for type checkers only) count as any.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Awaitable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pipeline_flow.core import inventory
from pipeline_flow.core.context import Context
from pipeline_flow.core.suggest import hint
from pipeline_flow.errors import (
    ConfigError,
    MissingArgument,
    Problem,
    UnknownArgument,
    UnknownPlugin,
    WrongArgument,
)
from pipeline_flow.secret import Secret, confidential, holds_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pipeline_flow.core.inventory import Catalog

ASYNC = "async"
SYNC = "sync"


class _NotGiven:
    def __repr__(self) -> str:
        return "not given"


NOT_GIVEN = _NotGiven()


_quick: ContextVar[bool] = ContextVar("pipeline_flow_quick", default=False)


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """Inside, arguments are checked without importing what their plugins work with: a query is looked at, not parsed."""
    token = _quick.set(True)
    try:
        yield
    finally:
        _quick.reset(token)


def is_quick() -> bool:
    """Whether a validator of arguments shall import nothing heavy; see :func:`quickly`."""
    return _quick.get()


class Supplied:
    """Marks a nested plugin some of whose arguments the outer one fills in: ``Annotated[IExtractPlugin | Unbuilt, Supplied("path")]``.

    The configuration leaves them out. The outer plugin is given an :class:`Unbuilt`.
    """

    def __init__(self, *names: str) -> None:
        self.names = names


class Unbuilt:
    """A nested plugin whose arguments have been checked, to be built when the outer one knows the others."""

    __slots__ = ("_catalog", "_declaration", "_plugin_id", "args")

    def __init__(
        self, declaration: inventory.Declaration, plugin_id: str, args: Mapping[str, Any], catalog: Catalog
    ) -> None:
        self._declaration = declaration
        self._plugin_id = plugin_id
        self._catalog = catalog
        self.args = args

    def build(self, **supplied: Any) -> Any:
        """The plugin.

        Raises:
            ConfigError: it cannot take what it is supplied with.
        """
        return build(self._catalog, self._declaration, self._plugin_id, {**self.args, **supplied})


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a plugin. ``default`` is ``NOT_GIVEN`` where the argument must be given."""

    name: str
    annotation: Any = Any
    default: Any = NOT_GIVEN
    description: str = ""
    examples: tuple[Any, ...] = ()
    secret: bool = False

    @property
    def required(self) -> bool:
        """Whether the argument must be given."""
        return self.default is NOT_GIVEN

    @property
    def type_text(self) -> str:
        """The type as people write it: ``text``, ``integer``, ``list of text``."""
        return type_text(self.annotation)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one argument; ``path`` leads from ``args`` to the value."""

    path: tuple[str | int, ...]
    problem: Problem
    at_key: bool = False


@dataclass(frozen=True)
class Spec:
    """What a plugin is: its kind-free description, its arguments, its mode, and what it wants to be handed.

    ``accepts_any`` is true where the constructor takes ``**kwargs``. ``mode`` is ``async`` or ``sync``; async
    generators count as async (``generator`` is then true). ``data_annotation`` is the annotation of the parameter that
    receives the data, ``NOT_GIVEN`` without one. ``by_keyword`` are those of the names by which 1.0.8 hands over the
    data (``data``, ``extracted_data``) that ``__call__`` takes: a plugin may take it by keyword alone.
    """

    summary: str
    description: str
    arguments: tuple[Argument, ...]
    accepts_any: bool
    mode: str
    generator: bool
    data_annotation: Any
    takes_id: bool = True
    config: Any = None
    by_name: dict[str, Argument] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    by_keyword: frozenset[str] = frozenset()

    @functools.cached_property
    def keeps_secrets(self) -> bool:
        """Whether an argument takes a :class:`~pipeline_flow.secret.Secret` somewhere, or a plugin that may."""
        return any(_may_hold_secret(argument.annotation) for argument in self.arguments)

    def confidential(self, args: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
        """The texts in ``args`` that the plugin takes as secrets."""
        for name, value in args.items():
            argument = self.by_name.get(name)
            if argument is not None:
                yield from _confidential(argument.annotation, value, catalog)

    def check(self, args: Mapping[str, Any], catalog: Catalog | None = None) -> list[Fault]:
        """Everything that is wrong with ``args``; an argument that holds a secret is not looked into."""
        by_name = self.by_name
        if not args and not self.required and self.config is None:
            return []
        faults = [
            Fault(
                (name,),
                UnknownArgument.problem(
                    f"unknown argument `{name}`", hint=hint(str(name), by_name, "the plugin takes")
                ),
                at_key=True,
            )
            for name in args
            if name not in by_name and not self.accepts_any
        ]
        faults += [
            Fault(
                (),
                MissingArgument.problem(
                    f"the argument `{argument.name}` is missing ({argument.type_text})",
                    hint=f"write {argument.name}: {yaml_text(argument.examples[0])}"
                    if argument.examples
                    else "",
                ),
            )
            for argument in self.arguments
            if argument.required and argument.name not in args
        ]
        for name, value in args.items():
            if name in by_name and not holds_secret(value):
                faults += _check_value(by_name[name], value, catalog)
        if not faults and self.config is not None and not holds_secret(dict(args)):
            faults += _check_model(self.config, args)
        return faults

    def build(self, cls: type[Any], plugin_id: str, args: Mapping[str, Any], catalog: Catalog) -> Any:
        """An instance of ``cls``.

        Raises:
            ConfigError: the arguments do not fit, which only secrets can hide from :meth:`check`.
        """
        if self.config is None:
            if not args and self.takes_id:
                return cls(plugin_id=plugin_id)
            values = {name: self._converted(name, value, catalog) for name, value in args.items()}
            return cls(plugin_id=plugin_id, **values) if self.takes_id else cls(**values)
        faults = self.check(args, catalog)
        if faults:
            raise ConfigError([fault.problem for fault in faults])
        nested = {
            name: self._converted(name, value, catalog)
            for name, value in args.items()
            if isinstance(value, Mapping) and plugin_kind(self.by_name[name].annotation) is not None
        }
        return cls(plugin_id=plugin_id, **{**args, **nested})

    def _converted(self, name: str, value: Any, catalog: Catalog) -> Any:
        argument = self.by_name.get(name)
        annotation = Any if argument is None else argument.annotation
        kind = plugin_kind(annotation)
        if kind is not None and isinstance(value, Mapping):
            declaration = _nested(kind, value, catalog)
            plugin_id = value.get("id") or value.get("plugin_id") or str(value["plugin"])
            inner = dict(value.get("args") or {})
            if supplied_by(annotation):
                return Unbuilt(declaration, plugin_id, inner, catalog)
            return build(catalog, declaration, plugin_id, inner)
        if _takes_secret(annotation) and isinstance(value, str):
            return Secret(value)
        adapter = None if annotation is Any else adapter_of(annotation)
        value = _copied(value)
        if adapter is None:
            return value
        try:
            return adapter.validate_python(value)
        except ValueError as error:
            raise WrongArgument(
                f"the argument `{name}` is not {type_text(annotation)}: {_first_reason(error)}"
            ) from None


def _copied(value: Any) -> Any:
    """The maps and lists of ``value`` anew, so that a plugin may change them; other objects stay what they are."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    if type(value) is list:
        return [_copied(item) for item in value]
    return value


_specs: dict[type[Any], Spec] = {}


def of(cls: type[Any]) -> Spec:
    """The spec of a plugin class, read once for each class."""
    found = _specs.get(cls)
    if found is None:
        found = _specs[cls] = _read(cls)
    return found


def build(
    catalog: Catalog, declaration: inventory.Declaration, plugin_id: str, args: Mapping[str, Any]
) -> Any:
    """An instance of a declared plugin; payloads in ``args`` are built where the parameter asks for a plugin.

    Raises:
        ConfigError: the arguments do not fit.
    """
    with inventory.active(catalog):
        return of(declaration.cls).build(declaration.cls, plugin_id, args, catalog)


def mode_of(function: Callable[..., Any]) -> tuple[str, bool]:
    """``(mode, is a generator)`` of a callable; wrappers that kept their function's name are looked through."""
    for candidate in (function, inspect.unwrap(function)):
        inner = candidate.func if isinstance(candidate, functools.partial) else candidate
        if inspect.isasyncgenfunction(inner):
            return ASYNC, True
        if inspect.iscoroutinefunction(inner):
            return ASYNC, False
        if inspect.isgeneratorfunction(inner):
            return SYNC, True
    returns = hint_of(function, "return")
    if get_origin(returns) is Awaitable or get_origin(returns) is typing.Coroutine:
        return ASYNC, False
    return SYNC, False


def _read(cls: type[Any]) -> Spec:
    call = cls.__dict__.get("plugin_function") or cls.__call__
    call = getattr(cls, "plugin_call", call)
    mode, generator = mode_of(call)
    is_function = "plugin_function" in cls.__dict__
    if is_function and cls.threaded:
        mode = ASYNC
    config = getattr(cls, "Config", None)
    if not getattr(config, "describes_plugin", False):  # a class of that name in somebody's plugin is theirs
        config = None
    doc = inspect.getdoc(cls) or ""
    summary, _, rest = doc.partition("\n\n")
    if is_function:
        arguments, accepts_any, takes_id = _from_function(
            cls.__dict__["plugin_function"], cls.plugin_skips_first
        )
    elif config is not None:
        arguments, accepts_any, takes_id = _from_model(config), False, True
    else:
        arguments, accepts_any, takes_id = _from_constructor(cls)
    return Spec(
        summary=" ".join(summary.split()),
        description=_ARGS_SECTION.sub("", f"{rest}\n").strip(),
        arguments=arguments,
        accepts_any=accepts_any,
        mode=mode,
        generator=generator,
        data_annotation=_data_annotation(cls),
        takes_id=takes_id,
        config=None if is_function else config,
        by_name={argument.name: argument for argument in arguments},
        required=frozenset(argument.name for argument in arguments if argument.required),
        by_keyword=frozenset(name for name in ("data", "extracted_data") if _takes_by_keyword(cls, name)),
    )


def _from_model(config: Any) -> tuple[Argument, ...]:
    return tuple(
        Argument(
            name=info.alias or name,
            annotation=info.rebuild_annotation(),
            default=NOT_GIVEN if info.is_required() else info.get_default(call_default_factory=True),
            description=info.description or "",
            examples=tuple(info.examples or ()),
            secret=_takes_secret(info.annotation),
        )
        for name, info in config.model_fields.items()
    )


def _from_constructor(cls: type[Any]) -> tuple[tuple[Argument, ...], bool, bool]:
    owner = next(base for base in cls.__mro__ if "__init__" in base.__dict__)
    if (
        owner.__dict__.get("interface_kind") == inventory.ROOT
    ):  # IPlugin's own constructor takes what a Config declares
        return (), False, True
    arguments, accepts_any, names = _parameters(cls.__init__, skip=1)
    own = tuple(argument for argument in arguments if argument.name != "plugin_id")
    return own, accepts_any, "plugin_id" in names or accepts_any


def _from_function(function: Callable[..., Any], skip: int) -> tuple[tuple[Argument, ...], bool, bool]:
    arguments, accepts_any, _ = _parameters(function, skip=skip)
    return tuple(item for item in arguments if not is_context(item.annotation)), accepts_any, True


def _parameters(function: Callable[..., Any], *, skip: int) -> tuple[tuple[Argument, ...], bool, set[str]]:
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        return (), True, set()
    accepts_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    documented = _documented(function)
    arguments = []
    for parameter in named:
        annotation, description, examples = _annotated(hint_of(function, parameter.name))
        if parameter.default is None:
            annotation = _or_null(annotation)
        arguments.append(
            Argument(
                name=parameter.name,
                annotation=annotation,
                default=NOT_GIVEN if parameter.default is parameter.empty else parameter.default,
                description=description or documented.get(parameter.name, ""),
                examples=examples,
                secret=_takes_secret(annotation),
            )
        )
    return tuple(arguments), accepts_any, {parameter.name for parameter in named}


def _or_null(annotation: Any) -> Any:
    """``text: str = None`` takes null as well, whatever type checkers say."""
    try:
        return annotation if annotation is Any else annotation | None
    except TypeError:  # an annotation that is no type
        return annotation


_ARGS_SECTION = re.compile(r"^Args:\n(?:[ \t]+\S.*\n|\n)*", re.MULTILINE)
_DOC_ARGUMENT = re.compile(r"^\s+(?P<name>\w+)\s*(?:\([^)]*\))?:\s*(?P<text>.+)$", re.MULTILINE)


def _documented(function: Callable[..., Any]) -> dict[str, str]:
    owner = sys.modules.get(function.__module__)
    doc = inspect.getdoc(function) or ""
    if function.__name__ == "__init__" and owner is not None:
        cls = functools.reduce(
            lambda found, name: getattr(found, name, None),
            function.__qualname__.split(".")[:-1],
            typing.cast("Any", owner),
        )
        doc += "\n" + (getattr(cls, "__doc__", None) or "")
    _, _, section = doc.partition("Args:")
    return {match["name"]: match["text"].strip() for match in _DOC_ARGUMENT.finditer(section)}


def hint_of(function: Callable[..., Any], name: str) -> Any:
    """The resolved annotation of one parameter, ``Any`` where it cannot be resolved."""
    function = inspect.unwrap(function)
    if isinstance(function, functools.partial):
        function = function.func
    annotation = getattr(function, "__annotations__", {}).get(name, Any)
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, getattr(function, "__globals__", {}), None)  # noqa: S307 - the plugin's own source text
    except Exception:  # noqa: BLE001 - what cannot be resolved or checked counts as any
        return Any


def _annotated(annotation: Any) -> tuple[Any, str, tuple[Any, ...]]:
    if get_origin(annotation) is not Annotated:
        return annotation, "", ()
    inner, *extras = get_args(annotation)
    for extra in extras:
        if isinstance(extra, str):
            return inner, extra, ()
        if hasattr(extra, "description"):
            return annotation, extra.description or "", tuple(getattr(extra, "examples", None) or ())
    return annotation, "", ()


def _data_annotation(cls: type[Any]) -> Any:
    """What the plugin asks to be handed: the annotation of the first parameter after ``self``."""
    if "plugin_function" in cls.__dict__:
        function, skip, has_data = cls.__dict__["plugin_function"], 0, cls.plugin_skips_first > 0
    else:
        function = getattr(cls, "plugin_call", None) or cls.__call__
        skip, has_data = 1, True
    try:
        parameters = list(inspect.signature(function).parameters.values())[skip:]
    except (TypeError, ValueError):
        return NOT_GIVEN
    if not has_data or not parameters or parameters[0].annotation is inspect.Parameter.empty:
        return NOT_GIVEN
    annotation, _, _ = _annotated(hint_of(function, parameters[0].name))
    return NOT_GIVEN if annotation is Any or isinstance(annotation, typing.TypeVar) else annotation


def _takes_by_keyword(cls: type[Any], name: str) -> bool:
    """Whether ``__call__`` of ``cls`` can be given its data as ``name=…``, also through a wrapper around it."""
    try:
        outer = inspect.signature(cls.__call__, follow_wrapped=False).parameters
        inner = inspect.signature(cls.__call__).parameters
    except (TypeError, ValueError):
        return False
    if name in inner:
        return _has_keyword(outer, name)
    return len(inner) == 2 and _has_keyword(inner, name)  # self and **kwargs


def _has_keyword(parameters: Mapping[str, inspect.Parameter], name: str) -> bool:
    return any(
        item.kind is item.VAR_KEYWORD
        or (item.name == name and item.kind in (item.POSITIONAL_OR_KEYWORD, item.KEYWORD_ONLY))
        for item in parameters.values()
    )


def is_context(annotation: Any) -> bool:
    """Whether a parameter asks for the :class:`~pipeline_flow.core.context.Context`."""
    return annotation is Context or (
        get_origin(annotation) in (typing.Union, types.UnionType) and Context in get_args(annotation)
    )


# ---------------------------------------------------------------------------------------------- secrets


def _confidential(annotation: Any, value: Any, catalog: Catalog) -> Iterator[str]:
    """The texts in ``value`` where ``annotation`` asks for a secret: in lists, maps, models and nested plugins too."""
    kind = plugin_kind(annotation)
    if kind is not None and isinstance(value, Mapping):
        with contextlib.suppress(ConfigError):
            nested = of(_nested(kind, value, catalog).cls)
            args = value.get("args")
            yield from nested.confidential(args if isinstance(args, Mapping) else {}, catalog)
        return
    candidates = members(annotation)
    for member in candidates:
        inner = get_args(member)
        if member is Secret:
            # What may be text as well is secret in parts at the most: the password in a URL.
            yield from confidential(value, named=str not in candidates)
        elif hasattr(member, "model_fields") and isinstance(value, Mapping):
            for name, info in member.model_fields.items():
                for key in {name, info.alias} & value.keys():
                    yield from _confidential(info.rebuild_annotation(), value[key], catalog)
        elif isinstance(value, Mapping) and len(inner) == 2:
            for item in value.values():
                yield from _confidential(inner[1], item, catalog)
        elif isinstance(value, list) and inner:
            for item in value:
                yield from _confidential(inner[0], item, catalog)


def _may_hold_secret(annotation: Any, depth: int = 4) -> bool:
    for member in members(annotation):
        if member is Secret or plugin_kind(member) is not None:
            return True
        inner = [info.annotation for info in getattr(member, "model_fields", {}).values()]
        if depth and any(_may_hold_secret(part, depth - 1) for part in (*get_args(member), *inner)):
            return True
    return False


# ---------------------------------------------------------------------------------------------- values


def _check_value(argument: Argument, value: Any, catalog: Catalog | None) -> list[Fault]:
    annotation = argument.annotation
    if annotation is Any:
        return []
    kind = plugin_kind(annotation)
    if kind is not None and isinstance(value, Mapping):
        return _check_nested(argument, kind, value, catalog)
    if _takes_secret(annotation) and isinstance(value, str):
        return []
    adapter = adapter_of(annotation)
    if adapter is None:
        return []
    try:
        adapter.validate_python(value)
    except ValueError as error:
        return [
            _fault((argument.name, *where), argument, reason, value)
            for where, reason in _reasons(error, value)
        ]
    return []


def _fault(path: tuple[str | int, ...], argument: Argument, reason: str, value: Any) -> Fault:
    choices = _choices(argument.annotation)
    if choices and isinstance(value, str):
        text = f"the argument `{argument.name}` takes {argument.type_text}, and this is {_shown(value)}"
        return Fault(path, WrongArgument.problem(text, hint=hint(value, choices, "there are")))
    text = f"the argument `{argument.name}` takes {argument.type_text}: {reason}"
    example = f"for example {argument.name}: {yaml_text(argument.examples[0])}" if argument.examples else ""
    return Fault(path, WrongArgument.problem(text, hint=example))


def _choices(annotation: Any) -> tuple[str, ...]:
    """The texts that an annotation allows, where it allows nothing but some texts, and null."""
    found: list[str] = []
    for member in members(annotation):
        if member is type(None):
            continue
        if get_origin(member) is not typing.Literal:
            return ()
        found += get_args(member)
    return tuple(found) if all(isinstance(item, str) for item in found) else ()


def _check_model(config: Any, args: Mapping[str, Any]) -> list[Fault]:
    try:
        config.model_validate(dict(args))
    except ValueError as error:
        return [Fault(where, WrongArgument.problem(reason)) for where, reason in _reasons(error, args)]
    return []


def _check_nested(
    argument: Argument, kind: str, payload: Mapping[str, Any], catalog: Catalog | None
) -> list[Fault]:
    path: tuple[str | int, ...] = (argument.name,)
    if not isinstance(payload.get("plugin"), str):
        text = f"the argument `{argument.name}` takes a plugin, and `plugin` is missing"
        return [Fault(path, MissingArgument.problem(text, hint="write {plugin: name, args: {…}}"))]
    if catalog is None:
        return []
    try:
        declaration = _nested(kind, payload, catalog)
    except UnknownPlugin as error:
        (problem,) = error.problems
        names = hint(payload["plugin"], catalog.names(kind), f"{kind} plugins")
        return [Fault((*path, "plugin"), UnknownPlugin.problem(problem.text, hint=names))]
    args = payload.get("args") or {}
    if not isinstance(args, Mapping):
        text = f"`args` of a plugin takes a mapping, and this is {type_text(type(args))}"
        return [Fault((*path, "args"), WrongArgument.problem(text))]
    supplied = supplied_by(argument.annotation)
    faults = [
        Fault((*path, "args", name), UnknownArgument.problem(f"`{name}` is filled in here"), at_key=True)
        for name in supplied
        if name in args
    ]
    takes = of(declaration.cls)
    if not takes.accepts_any and not takes.by_name.keys() >= set(supplied):
        text = f"`{payload['plugin']}` cannot stand here: it does not take {', '.join(supplied)}"
        return [Fault((*path, "plugin"), WrongArgument.problem(text))]
    return faults + [
        Fault((*path, "args", *fault.path), fault.problem, fault.at_key)
        for fault in takes.check({**args, **dict.fromkeys(supplied, _PLACEHOLDER)}, catalog)
    ]


_PLACEHOLDER = (
    "supplied"  # what an argument that the outer plugin fills in holds while the others are checked
)


def supplied_by(annotation: Any) -> tuple[str, ...]:
    """The arguments of a nested plugin that the outer one fills in."""
    if get_origin(annotation) is not Annotated:
        return ()
    inner, *extras = get_args(annotation)
    return next((extra.names for extra in extras if isinstance(extra, Supplied)), ()) or supplied_by(inner)


def _nested(kind: str, payload: Mapping[str, Any], catalog: Catalog) -> inventory.Declaration:
    name = str(payload.get("plugin"))
    return catalog.find_any(name) if kind == "plugin" else catalog.find(kind, name)


def plugin_kind(annotation: Any) -> str | None:
    """The kind of plugin that an annotation asks for, or ``None``."""
    for candidate in members(annotation):
        if isinstance(candidate, type) and inventory.is_plugin_class(candidate):
            return inventory.kinds_of(candidate)[0]
    return None


def _takes_secret(annotation: Any) -> bool:
    return any(candidate is Secret for candidate in members(annotation))


def keeps_raw(annotation: Any) -> bool:
    """Whether a value is handed on as it was written."""
    # A TypedDict would lose the keys that it does not name, and 1.0.8's own lacks `id`.
    return any(typing.is_typeddict(candidate) for candidate in members(annotation))


def members(annotation: Any) -> list[Any]:
    """The types that an annotation allows: those of a union one by one, without what `Annotated` adds."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for part in get_args(annotation) for member in members(part)]
    return [annotation]


@functools.lru_cache(maxsize=1024)
def _cached_adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    lax = ConfigDict(arbitrary_types_allowed=True, coerce_numbers_to_str=True)
    try:
        try:
            return TypeAdapter(annotation, config=lax)
        except PydanticUserError:
            return TypeAdapter(annotation)  # a model or dataclass brings its own configuration
    except Exception:  # noqa: BLE001 - what cannot be resolved or checked counts as any
        return None


def adapter_of(annotation: Any) -> Any:
    """Pydantic's adapter of an annotation, or ``None`` where values of it are taken as they are."""
    if keeps_raw(annotation):
        return None
    try:
        return _cached_adapter(annotation)
    except TypeError:  # unhashable annotation
        return None


def _reasons(error: ValueError, given: Any = None) -> list[tuple[tuple[str | int, ...], str]]:
    errors = getattr(error, "errors", None)
    if errors is None:
        return [((), str(error))]
    found = []
    for item in errors(include_url=False, include_context=False):
        where = tuple(part for part in item["loc"] if not (isinstance(part, str) and _BRANCH.search(part)))
        where = _without_tags(where, given)
        found.append((where, _found(item)))
    return found[:1] if len({where for where, _ in found}) == 1 else found


def _without_tags(where: tuple[str | int, ...], given: Any) -> tuple[str | int, ...]:
    """``where`` without the names of the branches of a union, which no mapping in ``given`` has."""
    kept: list[str | int] = []
    for number, part in enumerate(where):
        if isinstance(given, Mapping) and part not in given and number < len(where) - 1:
            continue
        kept.append(part)
        within = isinstance(given, Mapping) or (isinstance(given, list) and isinstance(part, int))
        with contextlib.suppress(KeyError, IndexError):
            given = given[part] if within else None
    return tuple(kept)


_BRANCH = re.compile(r"[\[\](){}]|^(str|int|float|bool|none|dict|list|function-\w+)$")


def _first_reason(error: ValueError) -> str:
    return _reasons(error)[0][1]


def _found(item: Mapping[str, Any]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing":
        return f"`{item['loc'][-1]}` is missing"
    if item["type"] == "extra_forbidden":
        return f"`{item['loc'][-1]}` is not one of its keys"
    given = item.get("input")
    if item["type"] == "value_error" or isinstance(given, Mapping) or given is None:
        return message[:1].lower() + message[1:]
    return f"{message[:1].lower() + message[1:]} (found {_shown(given)})"


def _shown(value: Any) -> str:
    # Whole or not at all: the redactor does not know a secret by its beginning.
    text = repr(value)
    return text if len(text) <= 60 else f"a value of {len(text)} characters"


_TYPE_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a mapping",
    list: "a list",
    type(None): "null",
    Any: "any value",
    Secret: "a secret",
}


def type_text(annotation: Any) -> str:
    """A type in plain words."""
    if get_origin(annotation) is Annotated:
        return type_text(get_args(annotation)[0])
    if annotation in _TYPE_WORDS if _hashable(annotation) else False:
        return _TYPE_WORDS[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        words = list(dict.fromkeys(type_text(part) for part in inner if part not in (type(None), Unbuilt)))
        return " or ".join(words)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in inner)
    if origin in (list, tuple, set, frozenset) or str(origin).endswith("abc.Sequence'>"):
        return f"a list of {type_text(inner[0])}" if inner else "a list"
    if origin is dict or str(origin).endswith("abc.Mapping'>"):
        return f"a mapping of {_plural(inner[1])}" if inner else "a mapping"
    kind = plugin_kind(annotation)
    if kind is not None:
        return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} plugin"
    if hasattr(annotation, "model_fields"):
        return _model_text(annotation)
    return getattr(annotation, "__name__", str(annotation))


def _plural(annotation: Any) -> str:
    return "secrets" if _takes_secret(annotation) else type_text(annotation)


def _model_text(model: Any) -> str:
    """The keys of a model as a mapping in YAML; a question mark stands behind those that may be left out."""
    parts = []
    for name, info in model.model_fields.items():
        values = get_args(info.annotation) if get_origin(info.annotation) is typing.Literal else ()
        text = f"{info.alias or name}{'' if info.is_required() else '?'}"
        parts.append(f"{text}: {' | '.join(map(str, values))}" if values else text)
    return f"{{{', '.join(parts)}}}"


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def yaml_text(value: Any) -> str:
    """A value as it is written in YAML, on one line."""
    if isinstance(value, str) and value.strip() and value != "null":
        return value
    return json.dumps(value, ensure_ascii=False, default=str)
