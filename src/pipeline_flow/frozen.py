"""Frozen dataclasses that are made in half the time."""

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

    The one of the standard library calls ``object.__setattr__`` with the name of each field. That was a tenth of the time
    of a run of small steps, in which dozens of values are made for each pipeline. What may be passed, and what happens
    with it, stays the same::

        @quick
        @dataclass(frozen=True, slots=True)
        class Address: ...

    Raises:
        TypeError: the class has fields that are no arguments, or a ``__post_init__``.
    """
    if hasattr(cls, "__post_init__") or not all(field.init for field in fields(cls)):  # type: ignore[arg-type] # as below
        raise TypeError(f"{cls.__name__} does more when it is made than to keep its arguments")
    names: dict[str, Any] = {"_factory": _FACTORY}
    positional, by_keyword, body = ["self"], ["*"], []
    for field in fields(cls):  # type: ignore[arg-type] # a dataclass, which no annotation can ask for
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
