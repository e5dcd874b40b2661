"""The constructor of frozen dataclasses, about twice as fast."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


class _Factory:
    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()  # the default of an argument whose value is made when it is not passed


def quick(cls: type[T]) -> type[T]:
    """Gives a frozen dataclass with slots an ``__init__`` that writes the slots themselves.

    The one of the standard library calls ``object.__setattr__`` with the name of each field, and a run makes dozens of
    values for each pipeline. What may be passed, and what happens with it, stays the same::

        @quick
        @dataclass(frozen=True, slots=True)
        class Address: ...

    Raises:
        TypeError: the class is not frozen, has no slots, or does more when it is made than to keep its arguments.
    """
    own = fields(cls)  # type: ignore[arg-type] # a dataclass, which no annotation can ask for
    code = cls.__init__.__code__
    arguments = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    keeps_them = set(arguments) == {field.name for field in own} and not hasattr(cls, "__post_init__")
    if not (keeps_them and cls.__dataclass_params__.frozen and not cls.__dictoffset__):  # type: ignore[attr-defined] # as above
        raise TypeError(f"{cls.__name__} is no frozen dataclass with slots that only keeps its arguments")
    names: dict[str, Any] = {"_factory": _FACTORY}
    positional, by_keyword, body = ["self"], ["*"], []
    for field in own:
        name = parameter = value = field.name
        names[f"_set_{name}"] = getattr(cls, name).__set__
        if field.default_factory is not MISSING:
            names[f"_make_{name}"] = field.default_factory
            parameter = f"{name}=_factory"
            value = f"_make_{name}() if {name} is _factory else {name}"
        elif field.default is not MISSING:
            names[f"_default_{name}"] = field.default
            parameter = f"{name}=_default_{name}"
        (by_keyword if field.kw_only else positional).append(parameter)
        body.append(f"    _set_{name}(self, {value})")
    parameters = ", ".join([*positional, *(by_keyword if len(by_keyword) > 1 else ())])
    exec(f"def __init__({parameters}):\n" + "\n".join(body), names)  # noqa: S102 - made of names of fields only
    standard, init = cls.__init__, names["__init__"]
    init.__qualname__, init.__module__ = standard.__qualname__, standard.__module__
    init.__annotations__ = standard.__annotations__
    cls.__init__ = init  # type: ignore[method-assign]
    return cls
