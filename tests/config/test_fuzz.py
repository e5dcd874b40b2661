"""A sample of the fuzzer's inputs; more of them: ``python -m tests.fuzz --inputs 10000``."""

from __future__ import annotations

from tests import fuzz


def test_no_input_gives_a_traceback() -> None:
    with fuzz.safely():
        told = sum(fuzz.check(fuzz.made(number)) for number in range(300))
    assert told > 100, "mutated configurations have problems"


def test_the_inputs_hold_real_configurations_and_differ() -> None:
    assert len(set(fuzz.seeds())) > 400
    assert len({fuzz.made(number) for number in range(300)}) > 290
    assert fuzz.made(7) == fuzz.made(7)
