"""Whatever bytes a file holds: problems with places, never a traceback."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow import config, plan
from pipeline_flow.errors import ConfigError, Problem, UnknownSelection
from tests.config.samples import ENVIRON, OF_108, SHOP
from tests.plan.plugins import catalog

SAMPLES = (SHOP, OF_108)
PIECES = (
    *(
        "${{",
        "}}",
        "${{ variables.",
        "$${{",
        "${{ secrets.warehouse }}",
        "${{ env.TRAP }}",
        "${{ run.id }}",
        "||",
    ),
    *(
        "*again",
        "&again ",
        "*",
        "&",
        "!!str ",
        "!",
        "<<: ",
        "? ",
        "- ",
        ": ",
        ":",
        "{",
        "}",
        "[",
        "]",
        ",",
        "#",
    ),
    *(
        "|",
        ">-",
        "'",
        '"',
        "\\",
        "\t",
        "\n",
        "\n---\n",
        "\n...\n",
        "\r",
        "\x85",
        "\u2028",
        "\ufeff",
        "\x00",
        "\x1b",
    ),
    *(
        "null",
        "~",
        "true",
        "1e999",
        ".nan",
        "0o17",
        "0x",
        "-",
        "9" * 5000,
        "é",
        "😀",
        "%YAML 1.1\n",
        "@",
        "`",
    ),
    *(
        "steps",
        "plugin",
        "args",
        "id: ",
        "merge",
        "pre",
        "input: orders",
        "retry: ",
        "timeout: ",
        "needs: ",
        "type: ",
    ),
)


def check(content: bytes | str) -> None:
    """Reads, checks and plans ``content``; what is wrong must come as problems that can be shown."""
    problems: list[Problem] = []
    try:
        found = config.load(content, environ=ENVIRON, keep_going=True)
        problems += found.problems + found.warnings
        plan.build(found, catalog())
    except ConfigError as error:
        problems += error.problems
    for problem in problems:
        assert problem.text
        assert problem.render()
        if problem.position is not None:
            assert problem.position.line >= 1
            assert problem.position.column >= 1
            assert problem.position.length >= 1
        assert not any(ord(character) < 32 and character != "\t" for character in problem.source_line)


def mutate(text: str, random: random.Random) -> str:
    """``text`` with a few of the mistakes that people and disks make."""
    for _ in range(random.randint(1, 4)):
        lines = text.split("\n")
        at = random.randrange(len(text) + 1)
        row = random.randrange(len(lines))
        kind = random.randrange(8)
        if kind == 0:
            text = text[:at] + text[at + random.randint(1, 20) :]
        elif kind in (1, 2):
            text = text[:at] + random.choice(PIECES) + text[at:]
        elif kind == 3:
            text = text[:at] + random.choice(PIECES) + text[at + random.randint(1, 6) :]
        elif kind == 4:
            lines.insert(random.randrange(len(lines)), lines[row])
            text = "\n".join(lines)
        elif kind == 5:
            del lines[row]
            text = "\n".join(lines)
        elif kind == 6:
            lines[row] = " " * random.randint(0, 6) + lines[row].lstrip()
            text = "\n".join(lines)
        else:
            lines[row] = lines[row][: random.randint(0, len(lines[row]))]
            text = "\n".join(lines)
    return text


quick = settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("sample", SAMPLES, ids=["shop", "1.0.8"])
def test_the_samples_themselves_have_no_problem(sample: str) -> None:
    found = config.load(sample, environ=ENVIRON)
    assert not found.warnings
    assert plan.build(found, catalog()).plan.pipelines


@quick
@given(st.sampled_from(SAMPLES), st.randoms(use_true_random=False))
def test_mutated_configurations_give_problems_and_no_traceback(sample: str, random: random.Random) -> None:
    check(mutate(sample, random))


@quick
@given(
    st.sampled_from(SAMPLES),
    st.randoms(use_true_random=False),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
)
def test_mutated_bytes_give_problems_and_no_traceback(
    sample: str, random: random.Random, encoding: str
) -> None:
    content = bytearray(mutate(sample, random).encode(encoding, "replace"))
    for _ in range(random.randint(0, 5)):
        content[random.randrange(len(content))] = random.randrange(256)
    check(bytes(content))


@quick
@given(st.binary(max_size=200))
def test_any_bytes_give_problems_and_no_traceback(content: bytes) -> None:
    check(content)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(PIECES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*PIECES, "phases", "extract", 1, None]), inner, max_size=3)
    ),
    max_leaves=20,
)


@quick
@given(
    st.dictionaries(
        st.sampled_from(["pipelines", "variables", "secrets", "retry", "plugins", "timezone"]), values
    )
)
def test_any_mapping_gives_problems_and_no_traceback(value: dict[str, object]) -> None:
    check(value)  # type: ignore[arg-type] # load takes mappings too


def test_any_selection_is_answered() -> None:
    found = config.load(SHOP, environ=ENVIRON)
    for pattern in ("", "+", "++orders", "[", "*", "re?ort", "nope"):
        codes = set()
        try:
            plan.build(found, catalog(), select=[pattern])
        except ConfigError as error:
            codes = {problem.code for problem in error.problems}
        assert codes <= {UnknownSelection.code}
