"""`${{ … }}`: what it looks up, what type that has, and what is told where it names nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from pipeline_flow import config
from pipeline_flow.core.context import Run
from pipeline_flow.errors import ConfigError
from pipeline_flow.secret import SecretReference, SecretText

PIPELINES = """
pipelines:
  demo:
    phases:
      extract: {steps: [{plugin: a}]}
      load: {steps: [{plugin: b}]}
"""
ENVIRON = {"HOME": "/home/me", "EMPTY": "", "NUMBER": "5", "TRAP": "${{ env.HOME }} ${{"}
NOW = datetime(2024, 5, 31, 23, 30, tzinfo=UTC)


def arguments(args: str, before: str = "", **options: Any) -> dict[str, Any]:
    """The arguments of a step whose `args` are the lines `args`."""
    lines = "\n".join(f"            {line}" for line in args.strip("\n").split("\n"))
    text = f"{before}\npipelines:\n  demo:\n    phases:\n      extract:\n        steps:\n          - plugin: a\n            args:\n"
    text += "\n".join(f"  {line}" for line in lines.split("\n")) + "\n      load: {steps: [{plugin: b}]}\n"
    found = config.load(text, environ=ENVIRON, now=NOW, **options)
    return found.pipelines["demo"].phases["extract"].steps[0].args


def value(text: str, before: str = "", **options: Any) -> Any:
    return arguments(f"x: {text}", before, **options)["x"]


def problems(text: str, before: str = "", **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        arguments(f"x: {text}", before, **options)
    return [f"{problem.code}: {problem.text}" for problem in caught.value.problems]


VARIABLES = """
variables:
  n: 5
  f: 1.5
  yes: true
  none: null
  text: "007"
  list: [a, {b: c}]
  db: {host: h, port: 1, 2: two}
  a.b: dotted
  two words: spaced
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ variables.n }}", 5),
        ('"${{ variables.n }}"', 5),
        ("'${{variables.n}}'", 5),
        ("${{ variables.f }}", 1.5),
        ("${{ variables.yes }}", True),
        ("${{ variables.none }}", None),
        ("${{ variables.text }}", "007"),
        ("${{ variables.list }}", ["a", {"b": "c"}]),
        ("${{ variables.list.1.b }}", "c"),
        ("${{ variables.db }}", {"host": "h", "port": 1, 2: "two"}),
        ("${{ variables.db.host }}", "h"),
        ("${{ variables.db.2 }}", "two"),
        ("${{ variables.a.b }}", "dotted"),
        ("${{ variables.two words }}", "spaced"),
        ("${{ env.HOME }}", "/home/me"),
        ("${{ env.NUMBER }}", "5"),
        ("${{ env.EMPTY }}", ""),
    ],
)
def test_a_placeholder_that_stands_alone_keeps_its_type(text: str, expected: object) -> None:
    found = value(text, VARIABLES)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a ${{ variables.n }}b${{ variables.f }}", "a 5b1.5"),
        ('"${{ variables.n }}${{ variables.n }}"', "55"),
        ("${{ variables.n }} ", 5),
        ('"${{ variables.n }} "', "5 "),
        ("x${{ variables.yes }}", "xTrue"),
        ("in ${{ variables.list.1 }}", "in {'b': 'c'}"),
        ("'${{ env.HOME }}/${{ env.EMPTY }}.csv'", "/home/me/.csv"),
        ("s3://${{ variables.db.host }}/a", "s3://h/a"),
    ],
)
def test_among_other_text_it_becomes_text_as_in_1_0_8(text: str, expected: str) -> None:
    assert value(text, VARIABLES) == expected


def test_block_scalars_keep_their_lines() -> None:
    found = arguments(
        "q: |\n  select ${{ variables.n }}\n  from t\nr: >-\n  a\n  ${{ variables.n }}", VARIABLES
    )
    assert found == {"q": "select 5\nfrom t\n", "r": "a 5"}


def test_a_dollar_before_it_gives_the_text_itself() -> None:
    assert (
        value("$${{ variables.n }} ${{ variables.n }} $$${{ x }}", VARIABLES)
        == "${{ variables.n }} 5 $${{ x }}"
    )


def test_what_was_looked_up_is_never_searched_again() -> None:
    assert value("${{ env.TRAP }}") == "${{ env.HOME }} ${{"
    assert value("<${{ variables.v }}>", "variables: {v: '${{ env.TRAP }}'}") == "<${{ env.HOME }} ${{>"


def test_keys_are_looked_up_too() -> None:
    assert arguments("${{ variables.db.host }}-key: 1", VARIABLES) == {"h-key": 1}


def test_variables_use_earlier_ones_and_later_documents_see_both() -> None:
    before = """
variables:
  a: 1
  b: ${{ variables.a }}
  c: {d: "${{ variables.b }}-${{ env.HOME }}"}
---
variables:
  a: ${{ variables.c.d }}!
---
"""
    assert value("${{ variables.a }} ${{ variables.b }}", before) == "1-/home/me! 1"


def test_variables_may_stand_in_the_document_of_the_pipelines() -> None:
    assert value("${{ variables.n }}", "variables: {n: 1}\n") == 1


def test_each_use_of_a_list_is_a_copy() -> None:
    found = arguments("x: ${{ variables.list }}\ny: ${{ variables.list }}", VARIABLES)
    found["x"].append(1)
    assert found["y"] == ["a", {"b": "c"}]


def test_each_use_of_an_anchor_is_a_copy() -> None:
    found = arguments("x: &a {b: [1]}\ny: *a")
    found["x"]["b"].append(2)
    assert found["y"] == {"b": [1]}


def test_structure_may_come_from_a_variable() -> None:
    text = "variables: {steps: [{plugin: a, args: {x: 1}}], phases: {steps: [{plugin: b}]}, name: pipe}\n"
    text += "pipelines:\n  ${{ variables.name }}:\n    phases:\n      extract: {steps: '${{ variables.steps }}'}\n"
    text += "      load: ${{ variables.phases }}\n"
    found = config.load(text).pipelines["pipe"].phases
    assert found["extract"].steps[0].args == {"x": 1}
    assert found["load"].steps[0].plugin == "b"


# ------------------------------------------------------------------------------------------------------ declared

DECLARED = "variables:\n  v: {{type: {0}, default: {1}}}\n"


@pytest.mark.parametrize(
    ("kind", "default", "expected"),
    [
        ("text", "5", "5"),
        ("text", "true", "true"),
        ("integer", "5", 5),
        ("integer", "'5'", 5),
        ("number", "1.5", 1.5),
        ("number", "2", 2),
        ("boolean", "false", False),
        ("date", "2024-01-31", date(2024, 1, 31)),
        ("timestamp", "2024-01-31T10:00:00+02:00", datetime.fromisoformat("2024-01-31T10:00:00+02:00")),
        ("timestamp", "2024-01-31 10:00", datetime(2024, 1, 31, 10, tzinfo=UTC)),
        ("list", "[1, a]", [1, "a"]),
        ("map", "{a: 1}", {"a": 1}),
        ("date", "null", None),
        ("date", "'${{ run.date }}'", date(2024, 5, 31)),
    ],
)
def test_a_declared_variable_has_its_type(kind: str, default: str, expected: object) -> None:
    found = value("${{ variables.v }}", DECLARED.format(kind, default))
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("text", "007", "007"),
        ("integer", "7", 7),
        ("number", "1e3", 1000.0),
        ("boolean", "true", True),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("list", "[1, b]", [1, "b"]),
        ("map", "{a: {b: 2}}", {"a": {"b": 2}}),
        ("list", ["x"], ["x"]),
    ],
)
def test_an_override_is_read_by_the_declared_type(kind: str, given: object, expected: object) -> None:
    assert (
        value("${{ variables.v }}", f"variables: {{v: {{type: {kind}}}}}\n", variables={"v": given})
        == expected
    )


def test_an_override_of_a_plain_variable_is_a_yaml_scalar_and_earlier_uses_see_it() -> None:
    before = "variables: {a: 1, b: '${{ variables.a }}'}\n"
    assert value("${{ variables.b }}", before, variables={"a": "0o17"}) == 15
    assert value("${{ variables.b }}", before, variables={"a": "${{ env.HOME }}"}) == "${{ env.HOME }}"


def test_a_date_becomes_iso_text_among_text() -> None:
    assert value("day=${{ variables.v }}", DECLARED.format("date", "2024-01-31")) == "day=2024-01-31"


def test_a_plain_map_with_a_key_called_type_stays_a_map_as_in_1_0_8() -> None:
    for plain in (
        "{type: postgres}",
        "{type: text, size: 5}",
        "{type: [a], default: 1}",
        "{type: postgres, default: 1}",
    ):
        assert isinstance(value("${{ variables.v }}", f"variables: {{v: {plain}}}\n"), dict)


def test_what_is_wrong_with_declarations_and_overrides_is_told() -> None:
    assert problems("1", DECLARED.format("intger", "1")) == [
        "config.wrong_value: `intger` is no type of a variable"
    ]
    assert problems("1", DECLARED.format("string", "x")) == [
        "config.wrong_value: `string` is no type of a variable"
    ]
    assert problems("1", DECLARED.format("date", "soon")) == [
        "config.wrong_value: the default of `v` is not a date"
    ]
    assert problems("1", DECLARED.format("integer", "[1]")) == [
        "config.wrong_value: the default of `v` is not a whole number"
    ]
    assert problems("1", "variables: {v: {type: date}}\n") == [
        "config.unresolved: the variable `v` has no value: it has no default, and none was given"
    ]
    assert problems("1", DECLARED.format("date", "2024-01-01"), variables={"v": "x"}) == [
        "config.wrong_value: --var v=x: the variable takes a date"
    ]
    assert problems("1", VARIABLES, variables={"lst": "x"}) == [
        "config.unresolved: --var lst: there is no variable of this name"
    ]


# ----------------------------------------------------------------------------------------------------------- runs


def test_a_run_is_looked_up_in_the_time_zone_of_the_configuration() -> None:
    run = Run("r1", NOW, "2024-06")
    text = "${{ run.id }} ${{ run.key }} ${{ run.date }} ${{ run.started_at }}"
    assert value(text, run=run) == "r1 2024-06 2024-05-31 2024-05-31T23:30:00+00:00"
    assert (
        value(text, "timezone: Europe/Warsaw", run=run) == "r1 2024-06 2024-06-01 2024-06-01T01:30:00+02:00"
    )


def test_the_time_zone_may_be_looked_up_itself() -> None:
    assert (
        value("${{ run.date }}", "timezone: ${{ variables.tz }}\nvariables: {tz: Asia/Tokyo}") == "2024-06-01"
    )
    assert problems("${{ run.date }}", "timezone: ${{ run.date }}") == [
        "config.wrong_value: `2024-05-31` is no time zone"
    ]


def test_without_a_run_its_id_and_key_are_placeholders() -> None:
    assert value("a/${{ run.id }}/${{ run.key }}") == "a/<run.id>/<run.key>"


def test_a_run_without_a_key_has_none_to_look_up() -> None:
    assert problems("${{ run.key }}", run=Run("r1", NOW)) == ["config.unresolved: this run has no key"]


# -------------------------------------------------------------------------------------------------------- secrets

SECRETS = "secrets:\n  db: {plugin: env, args: {name: DB}}\n"


def test_secrets_become_references_that_know_their_place() -> None:
    found = arguments(
        "x: ${{ secrets.db }}\ny: '${{ secrets.db.user.name }}'\nz: Bearer ${{ secrets.db }}!", SECRETS
    )
    assert found["x"] == SecretReference("db", None, "<string>:11:18")
    assert found["y"].key == "user.name"
    assert isinstance(found["z"], SecretText)
    assert str(found["z"]) == "Bearer ${{ secrets.db }}!"


def test_a_secret_in_a_variable_stays_a_reference() -> None:
    found = arguments(
        "x: ${{ variables.v }}\ny: <${{ variables.v }}>", SECRETS + "variables: {v: 'B ${{ secrets.db }}'}"
    )
    assert isinstance(found["x"], SecretText)
    assert str(found["y"]) == "<B ${{ secrets.db }}>"


@pytest.mark.parametrize(
    "text",
    [
        "name: ${{ secrets.db }}",
        "concurrency: ${{ secrets.db }}",
        "timezone: ${{ secrets.db }}",
        "plugins: {custom: {files: ['${{ secrets.db }}']}}",
        "retry: {on: '${{ secrets.db }}'}",
    ],
)
def test_no_secret_stands_where_it_would_show(text: str) -> None:
    assert [item.split(":")[0] for item in problems("1", SECRETS + text)] == ["config.secret_not_allowed"]


def test_no_secret_stands_in_names_ids_needs_and_keys() -> None:
    text = SECRETS + (
        "pipelines:\n"
        '  "p${{ secrets.db }}": {}\n'
        "  q:\n"
        "    needs: ['${{ secrets.db }}']\n"
        "    phases:\n"
        "      extract: {steps: [{plugin: '${{ secrets.db }}'}, {plugin: a, id: 'x${{ secrets.db }}'}]}\n"
        "      load: {steps: [{plugin: a, args: {'${{ secrets.db }}': 1}}]}\n"
    )
    with pytest.raises(ConfigError) as caught:
        config.load(text)
    assert {problem.code for problem in caught.value.problems} == {"config.secret_not_allowed"}
    assert len(caught.value.problems) == 5


def test_a_secret_manager_takes_only_secrets_that_stand_before_it() -> None:
    a = "  a: {plugin: env, args: {variable: x}}\n"
    b = "  b: {plugin: env, args: {variable: '${{ secrets.a }}'}}\n"
    text = "config.secret_not_allowed: the secret `b` uses `a`, which does not stand before it"
    assert problems("1", f"secrets:\n{b}{a}") == [text]


# ------------------------------------------------------------------------------------------------------- problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${{ variables.m }}", "config.unresolved: there is no variable `m`"),
        ("${{ variables.db.hots }}", "config.unresolved: `db` is a mapping and has no `hots`"),
        ("${{ variables.list.9 }}", "config.unresolved: `list` is a list of 2 and has no `9`"),
        ("${{ variables.n.x }}", "config.unresolved: `n` is a number and has no `x`"),
        ("${{ env.NOPE }}", "config.unresolved: the environment variable `NOPE` is not set"),
        ("${{ secrets.x }}", "config.unresolved: there is no secret `x` under `secrets`"),
        ("${{ run.x }}", "config.unresolved: a run has no `x`"),
        ("${{ github.sha }}", "config.unresolved: `github` is nothing that a placeholder can name"),
        ("${{ variables.n", "config.malformed_reference: `${{` without its `}}`"),
        ("a ${{ b ${{ variables.n }}", "config.malformed_reference: `${{` without its `}}`"),
        ("${{ }}", "config.malformed_reference: an empty placeholder"),
        ("${{ env }}", "config.malformed_reference: `env` alone names nothing"),
        ("${{ env. }}", "config.malformed_reference: `env` alone names nothing"),
        ("${{ 'x' }}", "config.malformed_reference: `'x'` is not root.name"),
        (
            "a ${{ variables.none }}",
            "config.wrong_type: `variables.none` is null and cannot stand inside text",
        ),
    ],
)
def test_what_names_nothing_is_told(text: str, expected: str) -> None:
    assert problems(text, VARIABLES) == [expected]


def test_a_later_variable_is_not_there_yet() -> None:
    assert problems("1", "variables: {a: '${{ variables.b }}', b: 1}") == [
        "config.unresolved: there is no variable `b`"
    ]


@pytest.mark.parametrize(
    ("lines", "line", "column"),
    [
        ("x: ${{ env.NO }}", 8, 18),
        ("x: a ${{ env.NO }}", 8, 20),
        ("x: 'é ''q'' ${{ env.NO }}'", 8, 27),
        ('x: "\\t\\u00e9 ${{ env.NO }}"', 8, 28),
        ("x: |\n  one\n  two ${{ env.NO }}", 10, 21),
        ("x: >-\n  one\n\n  two ${{ env.NO }}", 11, 21),
        ("x: one\n  ${{ env.NO }}", 9, 17),
        ("x: [a, {b: '${{ env.HOME }}${{ env.NO }}'}]", 8, 42),
        ('x: "\\x24{{ env.NO }}"', 8, 18),
        ("k${{ env.NO }}: 1", 8, 16),
    ],
)
def test_a_problem_points_into_the_string(lines: str, line: int, column: int) -> None:
    with pytest.raises(ConfigError) as caught:
        arguments(lines)
    (problem,) = caught.value.problems
    assert problem.position is not None
    assert (problem.position.line, problem.position.column) == (line + 1, column)


def test_all_placeholders_of_a_string_are_told_at_once() -> None:
    assert len(problems("${{ env.A }} ${{ variables.b }} ${{ x }}")) == 3
