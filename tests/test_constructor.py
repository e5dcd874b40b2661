"""What ``quick`` makes of a frozen dataclass: the same, made faster."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import MISSING, FrozenInstanceError, InitVar, dataclass, field, fields, is_dataclass, replace
from typing import Any

import pytest

from pipeline_flow import events
from pipeline_flow.config import models
from pipeline_flow.constructor import quick
from pipeline_flow.engine import result
from pipeline_flow.plan import model

GIVEN = object()


@quick
@dataclass(frozen=True, slots=True)
class Parent:
    """Fields of every sort."""

    number: int
    text: str = "text"
    items: list[int] = field(default_factory=list)
    given: object = field(default=GIVEN, repr=False, compare=False)
    named: int = field(default=1, kw_only=True)


@quick
@dataclass(frozen=True, slots=True)
class Child(Parent):
    """Fields of its own behind those of another."""

    more: dict[str, int] = field(default_factory=dict)


@pytest.mark.parametrize("cls", [Parent, Child])
def test_what_may_be_left_out_has_its_default_and_what_is_made_is_made_anew(cls: type[Parent]) -> None:
    one, other = cls(1), cls(number=1)
    assert (one.number, one.text, one.items, one.given, one.named) == (1, "text", [], GIVEN, 1)
    assert one == other
    assert one.items is not other.items
    assert cls(1, "other", [2], None, named=3).items == [2]


def test_fields_of_a_child_stand_behind_those_of_its_parent() -> None:
    child = Child(1, "other", [2], None, {"a": 1}, named=3)
    assert (child.text, child.more, child.named) == ("other", {"a": 1}, 3)
    assert Child(1).more is not Child(1).more


@pytest.mark.parametrize(
    ("args", "named"),
    [((), {}), ((1, "text", [], None, 2), {}), ((1,), {"nmed": 2}), ((1,), {"number": 1})],
    ids=["missing", "by keyword only", "unknown", "twice"],
)
def test_wrong_arguments_are_refused(args: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Parent\.__init__\(\)"):
        Parent(*args, **named)


def test_it_stays_frozen_comparable_copied_and_shown() -> None:
    value = Parent(1, items=[1])
    with pytest.raises(FrozenInstanceError):
        value.number = 2  # type: ignore[misc] # that is the point
    assert replace(value, number=2) == Parent(2, items=[1])
    assert copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    assert repr(value) == "Parent(number=1, text='text', items=[1], named=1)"


@dataclass(frozen=True, slots=True)
class _AfterInit:
    number: int

    def __post_init__(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _NoArgument:
    number: int = field(default=1, init=False)


@dataclass(frozen=True, slots=True)
class _NoField:
    number: InitVar[int]


@dataclass(frozen=True, slots=True, init=False)
class _OwnInit:
    number: int

    def __init__(self) -> None: ...


@dataclass(frozen=True)
class _NoSlots:
    number: int


@dataclass(slots=True)
class _NotFrozen:
    number: int


@pytest.mark.parametrize("cls", [_AfterInit, _NoArgument, _NoField, _OwnInit, _NoSlots, _NotFrozen])
def test_a_class_whose_constructor_could_not_stay_the_same_is_refused(cls: type[Any]) -> None:
    with pytest.raises(TypeError, match=f"{cls.__name__} is no frozen dataclass"):
        quick(cls)


QUICK = [
    cls
    for module in (events, models, model, result)
    for cls in vars(module).values()
    if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == module.__name__
]


@pytest.mark.parametrize("cls", QUICK, ids=lambda cls: cls.__name__)
def test_ours_take_their_fields_as_arguments(cls: type[Any]) -> None:
    assert "_factory" in cls.__init__.__globals__, "it is not decorated"
    parameters = inspect.signature(cls).parameters.values()
    expected = sorted(fields(cls), key=lambda each: bool(each.kw_only))
    assert [each.name for each in parameters] == [each.name for each in expected]
    for parameter, each in zip(parameters, expected, strict=True):
        assert (parameter.kind is parameter.KEYWORD_ONLY) == each.kw_only
        needed = each.default is MISSING and each.default_factory is MISSING
        assert (parameter.default is parameter.empty) == needed
        assert parameter.annotation == each.type
