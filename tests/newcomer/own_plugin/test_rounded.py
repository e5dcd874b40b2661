# mypy: disable-error-code="import-not-found"
import pytest
from plugins.rounded import rounded

from pipeline_flow.errors import ConfigError
from pipeline_flow.testing import call


def test_halves_go_to_the_even_neighbour():
    rows = [{"price": 0.125}, {"price": 0.375}]
    assert call(rounded, rows, column="price") == [{"price": 0.12}, {"price": 0.38}]


def test_a_misspelt_argument_is_refused():
    with pytest.raises(ConfigError, match="did you mean `digits`"):
        call(rounded, [], column="price", digit=1)
