"""Several files, profiles, matrices and defaults: what a configuration is put together from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline_flow import config
from pipeline_flow.config.models import Retry
from pipeline_flow.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

PIPELINE = "{phases: {extract: {steps: [{plugin: a, args: {x: VALUE}}]}, load: {steps: [{plugin: b}]}}}"


def pipeline(value: str = "1") -> str:
    quoted = f'"{value}"' if "${{" in value and not value.startswith("'") else value
    return PIPELINE.replace("VALUE", quoted)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / "main.yaml"


def argument(found: config.Config, name: str = "p") -> object:
    return found.pipelines[name].phases["extract"].steps[0].args["x"]


def told(source: object, **options: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(source, **options)  # type: ignore[arg-type] # tests give what each needs
    return [f"{problem.code}: {problem.text}" for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------------------ included files


def test_an_included_file_brings_variables_secrets_pipelines_plugins_and_defaults(tmp_path: Path) -> None:
    main = written(
        tmp_path,
        main=f"include: more/common.yaml\nplugins: {{custom: {{files: [own.py]}}}}\npipelines:\n  p: {pipeline('${{ variables.day }}')}\n",
        more__common="variables: {day: monday}\nsecrets: {s: {plugin: env, args: {variable: S}}}\n"
        f"plugins: {{custom: {{files: [theirs.py]}}}}\ndefaults: {{load: {{timeout: 5}}}}\npipelines:\n  q: {pipeline()}\n",
    )
    found = config.load(main)
    assert argument(found) == "monday"
    assert sorted(found.pipelines) == ["p", "q"]
    assert list(found.secrets) == ["s"]
    assert set(found.plugins.files) == {"own.py", "theirs.py"}
    assert found.pipelines["p"].phases["load"].steps[0].timeout == 5


def test_paths_start_from_the_including_file_and_may_be_patterns(tmp_path: Path) -> None:
    main = written(
        tmp_path,
        main=f"include: [parts/*.yaml]\npipelines:\n  p: {pipeline()}\n",
        parts__a=f"include: inner/b.yaml\npipelines:\n  a: {pipeline()}\n",
        parts__inner__b=f"pipelines:\n  b: {pipeline()}\n",
    )
    assert sorted(config.load(main).pipelines) == ["a", "b", "p"]


def test_a_variable_of_the_file_itself_takes_the_place_of_an_included_one(tmp_path: Path) -> None:
    """Also in what the included file makes of it."""
    main = written(
        tmp_path,
        main=f"include: common.yaml\nvariables: {{schema: shop}}\npipelines:\n  p: {pipeline('${{ variables.table }}')}\n",
        common='variables: {schema: public, table: "${{ variables.schema }}.sales"}\n',
    )
    assert argument(config.load(main)) == "shop.sales"


def test_a_pipeline_that_stands_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    main = written(
        tmp_path,
        main=f"include: other.yaml\npipelines:\n  p: {pipeline()}\n",
        other=f"pipelines:\n  p: {pipeline()}\n",
    )
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    (problem,) = caught.value.problems
    assert problem.text == "the pipeline `p` stands in two places"
    assert "other.yaml:2:3" in problem.hint
    assert problem.position is not None
    assert problem.position.file == str(main)


def test_a_mistake_in_an_included_file_is_shown_in_that_file(tmp_path: Path) -> None:
    main = written(
        tmp_path,
        main=f"include: other.yaml\npipelines:\n  p: {pipeline()}\n",
        other="pipelines:\n  q:\n    phasess: {}\n",
    )
    with pytest.raises(ConfigError) as caught:
        config.load(main)
    assert {problem.position.file for problem in caught.value.problems if problem.position} == {
        str(tmp_path / "other.yaml")
    }
    assert "did you mean `phases`" in caught.value.problems[-1].hint + caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({"main": "include: nowhere.yaml"}, "config.file_unreadable: there is no file"),
        ({"main": "include: 'no*.yaml'"}, "config.file_unreadable: no file matches"),
        ({"main": "include: {a: b}"}, "config.wrong_type: `include` takes a path"),
        ({"main": "include: a.yaml", "a": "include: main.yaml"}, "files include each other in a circle: main.yaml → a.yaml → main.yaml"),
        ({"main": "include: a.yaml", "a": "concurrency: 3"}, "config.wrong_value: `concurrency` stands in an included file"),
        ({"main": "include: a.yaml", "a": "[1]"}, "config.wrong_type: a configuration is a mapping, and this is a list"),
        ({"main": "include: a.yaml", "a": "a: [1"}, "config.yaml_syntax"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_included_file_is_told(
    tmp_path: Path, files: dict[str, str], text: str
) -> None:
    files["main"] += f"\npipelines:\n  p: {pipeline()}\n"
    assert any(text in problem for problem in told(written(tmp_path, **files)))


def test_two_files_may_include_a_third(tmp_path: Path) -> None:
    main = written(
        tmp_path,
        main=f"include: [a.yaml, b.yaml]\npipelines:\n  p: {pipeline('${{ variables.x }}')}\n",
        a="include: c.yaml",
        b="include: c.yaml",
        c=f"variables: {{x: 7}}\npipelines:\n  q: {pipeline()}\n",
    )
    assert argument(config.load(main)) == 7


# ------------------------------------------------------------------------------------------------------------ profiles

PROFILES = f"""
variables: {{db: dev, url: "x/${{{{ variables.db }}}}", size: 1}}
concurrency: 2
profiles:
  prod:
    variables: {{db: 'prod-${{{{ variables.region }}}}', region: eu}}
    concurrency: 8
    secrets: {{s: {{plugin: file, args: {{path: p}}}}}}
  empty:
secrets: {{s: {{plugin: env, args: {{variable: S}}}}}}
pipelines:
  p: {pipeline("${{ variables.url }} ${{ variables.size }}")}
"""


def test_a_profile_lies_over_variables_secrets_and_settings() -> None:
    found = config.load(PROFILES, profile="prod")
    assert argument(found) == "x/prod-eu 1"
    assert (found.concurrency, found.secrets["s"].plugin, found.profile) == (8, "file", "prod")


def test_without_a_profile_and_with_an_empty_one_the_file_is_what_it_says() -> None:
    for profile in (None, "empty"):
        found = config.load(PROFILES, profile=profile)
        assert (argument(found), found.concurrency, found.secrets["s"].plugin) == ("x/dev 1", 2, "env")


def test_a_given_variable_goes_before_that_of_a_profile() -> None:
    assert argument(config.load(PROFILES, profile="prod", variables={"db": "mine"})) == "x/mine 1"


def test_what_is_wrong_with_profiles_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(PROFILES, profile="prd")
    assert "did you mean `prod`" in caught.value.problems[0].hint
    assert told(PROFILES.replace("    concurrency: 8", "    concurency: 8")) == [
        "config.unknown_key: unknown key in a profile"
    ]
    assert told(PROFILES.replace("    concurrency: 8", "    pipelines: {}")) == [
        "config.wrong_value: `pipelines` cannot stand in a profile"
    ]
    assert told(PROFILES.replace("  empty:", "  empty: [1]")) == [
        "config.wrong_type: the profile `empty` is a mapping, and this is a list"
    ]


# -------------------------------------------------------------------------------------------------------------- matrix


def test_a_matrix_makes_one_pipeline_of_each_combination() -> None:
    text = f"pipelines:\n  p:\n    matrix: {{region: [eu, us], year: [2023, 2024]}}\n    phases: {pipeline('${{ matrix.region }}/${{ matrix.year }}')[9:-1]}\n"
    found = config.load(text)
    assert list(found.pipelines) == ["p-eu-2023", "p-eu-2024", "p-us-2023", "p-us-2024"]
    assert argument(found, "p-us-2023") == "us/2023"
    assert {pipeline.group for pipeline in found.pipelines.values()} == {"p"}


def test_a_matrix_of_mappings_is_those_combinations_and_keeps_types() -> None:
    text = f"variables: {{all: [{{region: eu, n: 1}}, {{region: us, n: 2}}]}}\npipelines:\n  p:\n    matrix: ${{{{ variables.all }}}}\n    phases: {pipeline('${{ matrix.n }}')[9:-1]}\n"
    found = config.load(text)
    assert [argument(found, name) for name in ("p-eu", "p-us")] == [1, 2]


def test_needs_on_a_matrix_are_needs_on_all_of_it_and_may_name_one() -> None:
    phases = pipeline()[9:-1]
    text = f"""
pipelines:
  a: {{matrix: {{r: [x, y]}}, phases: {phases}}}
  b: {{needs: a, phases: {phases}}}
  c: {{needs: a-y, phases: {phases}}}
  d: {{matrix: {{r: [x, y]}}, needs: "a-${{{{ matrix.r }}}}", phases: {phases}}}
"""
    found = config.load(text)
    assert found.pipelines["b"].needs == ("a-x", "a-y")
    assert found.pipelines["c"].needs == ("a-y",)
    assert found.pipelines["d-y"].needs == ("a-y",)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        ("5", "`matrix` takes a mapping of lists"),
        ("{}", "the matrix has no combination"),
        ("{r: []}", "the matrix has no combination"),
        ("{r: [a, a]}", "two combinations of the matrix are called `a`"),
        ("{r: [a b, a_b]}", "two combinations of the matrix are called `a_b`"),
        ("{r: [{a: 1}]}", "`r` of the matrix holds a mapping or a list"),
        ("[1]", "each item of the matrix is a mapping"),
        ("[{r: [1]}]", "the first key of each combination names it"),
        ("{" + ", ".join(f"k{n}: [1, 2, 3, 4]" for n in range(6)) + "}", "1,000 is the most"),
        ("${{ variables.no }}", "there is no variable `no`"),
    ],
)
def test_a_matrix_that_cannot_be_read_is_told_once(matrix: str, text: str) -> None:
    source = f"pipelines:\n  p:\n    matrix: {matrix}\n    phases: {pipeline()[9:-1]}\n"
    problems = [problem for problem in told(source) if text in problem]
    assert len(problems) == 1


def test_a_mistake_in_a_matrix_pipeline_is_told_once_and_unknown_names_say_what_there_is() -> None:
    text = f"pipelines:\n  p:\n    matrix: {{region: [eu, us]}}\n    phases: {pipeline('${{ matrix.regoin }}')[9:-1]}\n"
    assert told(text) == ["config.unresolved: the matrix has no `regoin`"]
    assert told(f"pipelines:\n  p: {pipeline('${{ matrix.x }}')}\n") == [
        "config.unresolved: there is no matrix here"
    ]


def test_a_name_that_a_matrix_makes_must_be_free() -> None:
    phases = pipeline()[9:-1]
    text = f"pipelines:\n  p-a: {{phases: {phases}}}\n  p: {{matrix: {{r: [a]}}, phases: {phases}}}\n"
    assert told(text) == ["config.duplicate_key: two pipelines are called `p-a`"]


# ------------------------------------------------------------------------------------------------------------ defaults


def test_defaults_by_kind_go_before_the_top_level_and_after_the_step() -> None:
    text = """
retry: 2
timeout: 1
defaults:
  load: {retry: {attempts: 5, wait: 2s}, on_bad_row: skip}
  merge: {timeout: 9}
pipelines:
  p:
    phases:
      extract: {steps: [{plugin: a}, {plugin: a, timeout: 3}], merge: {plugin: m}}
      load: {steps: [{plugin: b}, {plugin: b, retry: 1}]}
"""
    found = config.load(text).pipelines["p"].phases
    assert [step.timeout for step in found["extract"].steps] == [1, 3]
    assert found["extract"].merge is not None
    assert found["extract"].merge.timeout == 9
    assert [step.retry for step in found["load"].steps] == [Retry(5, 2.0), Retry(1, 2.0)]
    assert [step.on_bad_row for step in found["load"].steps] == ["skip", "skip"]
    assert told(text.replace("  merge: {timeout: 9}", "  merge: {timout: 9}")) == [
        "config.unknown_key: unknown key in defaults.merge"
    ]


# ----------------------------------------------------------------------------------------------------- behind the bars


@pytest.mark.parametrize(
    ("placeholder", "expected"),
    [
        ("${{ env.NO || 'eu' }}", "eu"),
        ("${{ env.YES || 'eu' }}", "set"),
        ("${{ env.EMPTY || 'eu' }}", ""),
        ("${{ env.NO || 5 }}", 5),
        ("${{ env.NO || true }}", True),
        ("${{ env.NO || null }}", None),
        ('${{ env.NO || "a || b" }}', "a || b"),
        ("${{ env.NO || 'it''s' }}", "it's"),
        ("${{ env.NO || variables.v }}", 7),
        ("${{ env.NO || variables.no || '' }}", ""),
        ("${{ variables.none || 'x' }}", "x"),
        ("${{ variables.map.b || 'x' }}", "x"),
        ("a-${{ env.NO || 'b' }}-c", "a-b-c"),
        ("${{ secrets.no || 'x' }}", "x"),
        ("${{ run.key || 'none' }}", "<run.key>"),
    ],
)
def test_what_stands_behind_two_bars_is_taken_where_the_name_is_not_there(
    placeholder: str, expected: object
) -> None:
    quoted = "'" + placeholder.replace("'", "''") + "'"
    text = f"variables: {{v: 7, none: null, map: {{a: 1}}}}\npipelines:\n  p: {pipeline(quoted)}\n"
    assert argument(config.load(text, environ={"YES": "set", "EMPTY": ""})) == expected


@pytest.mark.parametrize(
    ("placeholder", "text"),
    [
        ("${{ env.NO || variables.no }}", "there is no variable `no`"),
        ("${{ env.NO || }}", "nothing stands behind `||`"),
        ("${{ env.NO || eu }}", "`eu` behind `||` is no name and no value"),
        ("${{ || 'x' }}", "nothing stands behind `||`"),
        ("${{ 'x' || env.NO }}", "`'x' || env.NO` begins with a value"),
        ("${{ evn.NO || 'x' }}", "`evn` is nothing that a placeholder can name"),
    ],
)
def test_what_cannot_stand_behind_two_bars_is_told(placeholder: str, text: str) -> None:
    quoted = "'" + placeholder.replace("'", "''") + "'"
    (problem,) = told(f"pipelines:\n  p: {pipeline(quoted)}\n", environ={})
    assert text in problem


# --------------------------------------------------------------------------------------------------------- connections


def test_a_connection_stands_once_and_is_used_by_name() -> None:
    text = f"""
variables: {{file: x.db}}
secrets: {{login: {{plugin: env, args: {{variable: L}}}}}}
connections:
  plain: "sqlite:///${{{{ variables.file }}}}"
  long: {{url: "postgresql://${{{{ secrets.login }}}}@host/db", description: the warehouse}}
profiles:
  prod: {{connections: {{plain: "sqlite:////prod.db", more: duckdb:///m}}}}
pipelines:
  p: {pipeline("${{ connections.plain }}")}
  q: {pipeline("${{ connections.long }}")}
"""
    found = config.load(text)
    assert argument(found) == "sqlite:///x.db"
    assert str(argument(found, "q")) == "postgresql://${{ secrets.login }}@host/db"
    assert argument(config.load(text, profile="prod")) == "sqlite:////prod.db"
    assert set(config.load(text, profile="prod").connections) == {"plain", "long", "more"}


@pytest.mark.parametrize(
    ("connections", "text"),
    [
        ("{a: [1]}", "config.wrong_type: the connection `a` takes a URL, and this is a list"),
        ("{a: 5}", "config.wrong_type: the connection `a` takes a URL, and this is a number"),
        ("{a: {}}", "config.missing_key: the connection `a` needs `url`"),
        ("{a: {url: x, usr: y}}", "config.unknown_key: unknown key in a connection"),
        ("{a: }", "config.wrong_type: the connection `a` takes a URL, and this is null"),
        ("[]", "config.wrong_type: `connections` takes a mapping, and this is a list"),
    ],
)
def test_what_is_wrong_with_connections_is_told(connections: str, text: str) -> None:
    assert told(f"connections: {connections}\npipelines:\n  p: {pipeline()}\n") == [text]


def test_a_connection_that_is_not_there_is_told_with_the_nearest() -> None:
    text = f"connections: {{warehouse: x}}\npipelines:\n  p: {pipeline('${{ connections.warehose }}')}\n"
    with pytest.raises(ConfigError) as caught:
        config.load(text)
    assert caught.value.problems[0].suggestion == "warehouse"


@pytest.mark.parametrize("path", ["a\\0b", "~nobody-of-this-name/x.yaml", "x" * 5000])
def test_what_cannot_be_a_path_is_a_problem(path: str) -> None:
    found = told(f'include: "{path}"\npipelines: {{p: {pipeline()}}}')
    assert [text.split(":")[0] for text in found] == ["config.file_unreadable"]
