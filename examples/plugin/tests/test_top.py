"""The transform `top`, called as a step of a run calls it."""

import pytest

from pipeline_flow.errors import ConfigError
from pipeline_flow.testing import call

ROWS = [{"name": "tea", "price": 5}, {"name": "cake", "price": 15}, {"name": "jam", "price": 9}]


def test_the_largest_rows_stay_in_order() -> None:
    """Rows go in as a list of dicts, as pandas, polars or Arrow, and come back as a list of dicts."""
    found = call("transform.top", ROWS, column="price", count=2)
    assert [row["name"] for row in found] == ["cake", "jam"]


def test_a_wrong_argument_is_found_before_anything_runs() -> None:
    """The annotations of the function are what `validate` checks."""
    with pytest.raises(ConfigError, match="did you mean `count`"):
        call("transform.top", ROWS, column="price", cuont=2)
