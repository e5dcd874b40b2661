"""Who needs whom."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_flow.plan import graph

NEEDS = {"a": (), "b": ("a",), "c": ("b", "gone"), "d": ("a",), "e_1": (), "e_2": ("e_1",)}


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (NEEDS, []),
        ({"a": ("a",)}, [("a", "a")]),
        ({"a": ("b",), "b": ("a",)}, [("a", "b", "a")]),
        ({"x": ("b",), "a": ("b",), "b": ("c",), "c": ("a",)}, [("a", "b", "c", "a")]),
        ({"a": ("b", "c"), "b": ("d",), "c": ("a",), "d": ("a",)}, [("a", "c", "a")]),
        ({"a": ("a",), "b": ("c",), "c": ("b",), "d": ("a", "b")}, [("a", "a"), ("b", "c", "b")]),
    ],
)
def test_each_circle_is_found_once_with_its_path(needs: dict[str, tuple[str, ...]], expected: object) -> None:
    assert graph.cycles(needs) == expected


def test_a_long_chain_is_no_recursion() -> None:
    chain = {str(number): (str(number + 1),) for number in range(50_000)}
    assert graph.cycles(chain) == []
    chain["49999"] = ("0",)
    assert len(graph.cycles(chain)[0]) == 50_001


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefgh"), max_size=3).map(tuple))
)
def test_a_circle_is_a_real_one_and_without_one_there_is_an_order(needs: dict[str, tuple[str, ...]]) -> None:
    circles = graph.cycles(needs)
    for circle in circles:
        assert circle[0] == circle[-1]
        assert all(after in needs[before] for before, after in itertools.pairwise(circle))
    ordered = graph.order(needs)
    assert bool(circles) == (len(ordered) < len(needs))
    for place, name in enumerate(ordered):
        assert all(need in ordered[:place] for need in needs[name] if need in needs)


def test_an_order_is_that_of_the_configuration_where_needs_leave_it_open() -> None:
    assert graph.order({"c": ("a",), "b": (), "a": ()}) == ("b", "a", "c")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([], ("a", "b", "c", "d", "e_1", "e_2")),
        (["c"], ("c",)),
        (["c", "a"], ("a", "c")),
        (["+c"], ("a", "b", "c")),
        (["e_*"], ("e_1", "e_2")),
        (["+e_2", "d"], ("d", "e_1", "e_2")),
        (["+*"], ("a", "b", "c", "d", "e_1", "e_2")),
    ],
)
def test_a_selection_is_names_globs_and_all_they_need(patterns: list[str], expected: tuple[str, ...]) -> None:
    assert graph.select(patterns, NEEDS) == (expected, [])


def test_a_name_wins_over_what_it_would_mean_as_a_pattern() -> None:
    assert graph.select(["+a"], {"a": ("b",), "b": (), "+a": ()})[0] == ("+a",)
    assert graph.select(["a[1]"], {"a1": (), "a[1]": ()})[0] == ("a[1]",)


def test_a_pattern_that_means_nothing_is_told() -> None:
    _, (problem,) = graph.select(["e_3", "a"], NEEDS)
    assert problem.code == "config.unknown_selection"
    assert "did you mean" in problem.hint
