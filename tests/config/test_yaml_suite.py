"""The public YAML test suite: what is read, what is refused and why, recorded case by case.

``golden/yaml-test-suite.txt`` is the record. What is refused although it is valid YAML is so on purpose (tags, keys that are
no text) or because libyaml does not read it; what is read although it is invalid, or differently, is libyaml's doing.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.config.source import Map, Node, Seq, Source, Sources, parse

if TYPE_CHECKING:
    from collections.abc import Callable

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data/yaml-test-suite/cases.json").read_text(encoding="utf-8")
)


def plain(node: Node) -> Any:
    if isinstance(node, Map):
        return {
            key if isinstance(key, str) else json.dumps(key): plain(item) for key, item in node.items.items()
        }
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    return node.value  # type: ignore[attr-defined] # the rest are scalars


def expected(text: str) -> list[Any]:
    """The documents of a case; one without content is none for us."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return [value for value in found if value is not None]


def outcome(case: dict[str, Any]) -> str:
    tree = parse(Source(case["yaml"], "case.yaml"), Sources())
    if tree.problems:
        reasons = "; ".join(dict.fromkeys(f"{problem.code}: {problem.text}" for problem in tree.problems[:3]))
        return f"invalid, refused: {reasons}" if case.get("fail") else f"valid, refused: {reasons}"
    if case.get("fail"):
        return "invalid, read"
    if "json" not in case:
        return "valid, read"
    found = [value for value in map(plain, tree.documents) if value is not None]
    return "valid, read" if found == expected(case["json"]) else "valid, read differently"


def test_the_record_of_the_suite_is_what_happens(golden: Callable[[str, str], None]) -> None:
    found = [(case, outcome(case)) for case in CASES]
    figures = Counter(text.partition(":")[0] for _, text in found)
    lines = [
        f"{len(found)} cases: " + ", ".join(f"{number} {what}" for what, number in sorted(figures.items())),
        "",
    ]
    lines += [f"{case['id']}/{case['n']} {case['name']}: {text}" for case, text in found]
    golden("yaml-test-suite.txt", "\n".join(lines) + "\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['n']}")
def test_a_problem_of_a_case_has_a_place_inside_its_text(case: dict[str, Any]) -> None:
    tree = parse(Source(case["yaml"], "case.yaml"), Sources())
    lines = case["yaml"].count("\n") + 1
    for problem in tree.problems:
        assert problem.position is not None
        assert 1 <= problem.position.line <= lines + 1
