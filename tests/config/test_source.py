"""Text → tree: YAML 1.2, places, and what the language leaves out of YAML."""

from __future__ import annotations

import math
import tracemalloc

import pytest

from pipeline_flow.config.source import Map, Scalar, Seq, Source, Sources, Template, parse, scalar
from pipeline_flow.errors import Problem


def tree(text: str) -> tuple[object, list[Problem], Sources]:
    sources = Sources()
    found = parse(Source(text, "file.yaml"), sources)
    return (found.documents[0] if found.documents else None), found.problems, sources


def plain(node: object) -> object:
    if isinstance(node, Map):
        return {key: plain(item) for key, item in node.items.items()}
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    assert isinstance(node, Scalar)
    return node.value


def value(text: str) -> object:
    node, problems, _ = tree(text)
    assert not problems
    return plain(node)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, None) for word in ("null", "Null", "NULL", "~", "")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *(
            (word, word)
            for word in ("on", "off", "yes", "no", "Yes", "NO", "y", "n", "nULL", "tRUE", "none", "None")
        ),
        *(("0", 0), ("-12", -12), ("+3", 3), ("007", 7), ("0o17", 15), ("0xfF", 255), ("-0o17", "-0o17")),
        *(("1.5", 1.5), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), ("1E-2", 0.01), ("+1.0e+2", 100.0)),
        *((".inf", math.inf), ("-.Inf", -math.inf), ("+.INF", math.inf), ("inf", "inf"), ("nan", "nan")),
        *(
            (word, word)
            for word in (
                "0b11",
                "1_000",
                "12:30:45",
                "2024-01-01",
                "0o8",
                "0xg",
                "1e",
                ".",
                "-",
                "+",
                "1.2.3",
            )
        ),
        ("9" * 30, int("9" * 30)),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, expected: object) -> None:
    found = scalar(text)
    assert found == expected
    assert type(found) is type(expected)


def test_not_a_number_is_a_float() -> None:
    assert all(math.isnan(scalar(text)) for text in (".nan", ".NaN", ".NAN"))


def test_quoted_and_block_scalars_are_always_text() -> None:
    assert value('["1", \'2\', "null"]') == ["1", "2", "null"]
    assert value("a: |\n  1\nb: >-\n  true\n") == {"a": "1\n", "b": "true"}


def test_keys_have_types_too() -> None:
    assert value("{1: a, null: b, true: c, on: d, 1.5: e}".replace("1: a", "2: a", 1)) == {
        2: "a",
        None: "b",
        True: "c",
        "on": "d",
        1.5: "e",
    }


def test_an_alias_repeats_a_value_and_an_anchor_may_be_given_again() -> None:
    assert value("a: &x {k: 1}\nb: *x\nc: &x 2\nd: [*x, *x]\n&k e: *k\n") == {
        "a": {"k": 1},
        "b": {"k": 1},
        "c": 2,
        "d": [2, 2],
        "e": "e",
    }


def test_a_file_has_several_documents_and_empty_ones_do_not_count() -> None:
    found = parse(Source("---\na: 1\n---\n---\n# nothing\n...\n---\nb: 2\n", "x"), Sources())
    assert [plain(document) for document in found.documents] == [{"a": 1}, {"b": 2}]


def test_anchors_end_with_their_document() -> None:
    found = parse(Source("a: &x 1\n---\nb: *x\n", "x"), Sources())
    assert [problem.code for problem in found.problems] == ["config.yaml_syntax"]


def test_places_count_characters_not_bytes() -> None:
    node, _, sources = tree('é: "😀 x"\nlist: [ü, {key: Wert}]\n')
    assert isinstance(node, Map)
    assert str(sources.position(node.items["é"])) == "file.yaml:1:4"
    assert sources.position(node.items["é"]).length == 5
    inner = node.items["list"].items[1]  # type: ignore[attr-defined] # a list
    assert str(sources.position(inner.keys["key"])) == "file.yaml:2:12"
    assert str(sources.position(inner.items["key"])) == "file.yaml:2:17"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\x85", "\u2028"])
def test_lines_end_as_yaml_says(end: str) -> None:
    node, _, sources = tree(f"a: 1{end}b: 2{end}")
    assert isinstance(node, Map)
    position = sources.position(node.items["b"])
    assert (position.line, position.column) == (2, 4)
    assert sources.line(position) == "b: 2"


@pytest.mark.parametrize(
    "text",
    ["a: !!str 1", "a: !x [1]", "a: ! 1", "!!map {a: 1}", "!x a: 1", "a: !!python/object:os.system []"],
)
def test_tags_are_refused_where_they_stand(text: str) -> None:
    _, problems, _ = tree(text)
    assert [problem.code for problem in problems] == ["config.tag_not_allowed"]
    assert problems[0].position is not None
    assert text[problems[0].position.column - 1] in "![{"


def test_merge_keys_are_refused_and_text_that_looks_like_one_is_not() -> None:
    _, problems, _ = tree("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n")
    assert [(problem.code, str(problem.position)) for problem in problems] == [
        ("config.tag_not_allowed", "file.yaml:3:3")
    ]
    assert value('{"<<": 1, a: <<}') == {"<<": 1, "a": "<<"}


def test_a_repeated_key_is_told_with_both_places() -> None:
    _, (problem,), _ = tree("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert (problem.code, str(problem.position)) == ("config.duplicate_key", "file.yaml:4:3")
    assert "line 2, column 3" in problem.hint


def test_a_list_or_a_mapping_is_no_key() -> None:
    _, problems, _ = tree("? [a]\n: 1\n? {b: c}\n: 2\n")
    assert [problem.code for problem in problems] == ["config.wrong_type"] * 2


def test_curly_braces_of_other_tools_are_explained_once() -> None:
    _, problems, _ = tree("a: {{ name }}\n")
    assert len(problems) == 1
    assert "${{" in problems[0].hint


def test_several_problems_of_a_text_are_told_at_once() -> None:
    _, problems, _ = tree("a: !x 1\na: 2\nb: *none\n")
    assert [problem.code for problem in problems] == [
        "config.tag_not_allowed",
        "config.duplicate_key",
        "config.yaml_syntax",
    ]


def test_placeholders_are_marked() -> None:
    node, _, _ = tree('a: ${{ x }}\nb: "${{ x }}"\n${{ c }}: 1\nd: plain\n')
    assert isinstance(node, Map)
    assert [type(item) for item in node.items.values()] == [Template, Template, Scalar, Scalar]
    assert node.templated


# ------------------------------------------------------------------------------------------------------- limits


def test_a_billion_laughs_are_refused_in_a_few_megabytes() -> None:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 10)}]" for n in range(20)]
    text = "\n".join(lines)
    tracemalloc.start()
    _, problems, _ = tree(text)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [problem.code for problem in problems] == ["config.limit"]
    assert peak < 4 * 1024 * 1024


@pytest.mark.parametrize(
    "text", ["[" * 101 + "]" * 101, "{a: " * 101 + "1" + "}" * 101, "- " * 200 + "a", "[" * 100_000]
)
def test_depth_is_limited(text: str) -> None:
    _, problems, _ = tree(text)
    assert [problem.code for problem in problems] == ["config.limit"]


def test_a_hundred_levels_are_allowed() -> None:
    _, problems, _ = tree("[" * 100 + "]" * 100)
    assert not problems


def test_depth_counts_what_aliases_bring() -> None:
    text = (
        "a: &a "
        + "[" * 60
        + "]" * 60
        + "\nb: &b "
        + "[" * 30
        + "*a"
        + "]" * 30
        + "\nc: "
        + "[" * 30
        + "*b"
        + "]" * 30
    )
    _, problems, _ = tree(text)
    assert [problem.code for problem in problems] == ["config.limit"]


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: [c, *a]}", "&a [&b [*a]]"])
def test_a_value_cannot_contain_itself(text: str) -> None:
    _, problems, _ = tree(text)
    assert [problem.code for problem in problems] == ["config.yaml_syntax"]


def test_no_more_than_five_hundred_problems_are_told() -> None:
    _, problems, _ = tree("\n".join("a: !x 1" for _ in range(2000)))
    assert len(problems) == 500


# ----------------------------------------------------------------------------------------------- broken text


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a:\n\tb: 1\n", "2:1", "tab"),
        ('a: "x\nb: 1\n', "1:4", "never closed"),
        ("a: b: c\n", "1:5", "second `: `"),
        ("a: [1, 2\n", "1:8", "`]`"),
        ("a: {p: ${{ env.X }}}\n", "1:9", "placeholder needs quotes"),
        ("a: @home\n", "1:4", "`@`"),
        ("a:\n  b: 1\n c: 2\n", "3:2", "no key"),
        ("a: \x01\n", "1:4", "U+0001"),
        ("a: \ud800\n", "1:4", "surrogate"),
        ("%FOO\na\n", "1:5", "directive"),
    ],
)
def test_broken_yaml_is_told_in_our_words_where_it_breaks(text: str, place: str, words: str) -> None:
    _, problems, _ = tree(text)
    assert [problem.code for problem in problems] == ["config.yaml_syntax"]
    assert str(problems[0].position) == f"file.yaml:{place}"
    assert words in problems[0].text + problems[0].hint


def test_control_characters_do_not_reach_the_terminal() -> None:
    _, (problem,), _ = tree("a: \x1b[31mred\n")
    assert "\x1b" not in problem.render()


# ------------------------------------------------------------------------------------------------ Python mappings


def test_a_mapping_becomes_the_same_tree_with_lines_to_point_at() -> None:
    sources = Sources()
    given = {"a": {"b": [1, "x", {"c": None}], "d": {}}, 2: object, "e": "${{ env.X }}"}
    (node,) = parse(Source("", "<mapping>", value=given), sources).documents
    assert plain(node) == given
    assert isinstance(node, Map)
    inner = node.items["a"].items["b"].items[1]  # type: ignore[attr-defined] # a list
    position = sources.position(inner)
    assert sources.line(position) == '    - "x"'
    assert (position.line, position.column, position.length) == (4, 7, 3)
    assert isinstance(node.items["e"], Template)


def test_a_mapping_that_contains_itself_is_refused() -> None:
    loop: dict[str, object] = {}
    loop["loop"] = loop
    found = parse(Source("", "<mapping>", value=loop), Sources())
    assert [problem.code for problem in found.problems] == ["config.limit"]
