"""The keys of the language: what they mean, their defaults, and what is told where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline_flow import config
from pipeline_flow.config import schema, shape, unit
from pipeline_flow.config.models import Retry
from pipeline_flow.errors import ConfigError

DEMO = """
pipelines:
  demo:
    phases:
      extract: {steps: [{plugin: a}]}
      load: {steps: [{plugin: b}]}
"""


def step(lines: str, top: str = "") -> config.Step:
    """The extract step that `lines` make, beside its plugin."""
    text = f"{top}\npipelines:\n  demo:\n    phases:\n      load: {{steps: [{{plugin: b}}]}}\n      extract:\n        steps:\n          - plugin: a\n"
    text += "\n".join(f"            {line}" for line in lines.split("\n")) + "\n"
    return config.load(text).pipelines["demo"].phases["extract"].steps[0]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(text)
    return [f"{problem.code} {problem.position}" for problem in caught.value.problems]


def texts(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(text)
    return [problem.text for problem in caught.value.problems]


# ------------------------------------------------------------------------------------------------------ top level


def test_everything_has_its_default() -> None:
    found = config.load(DEMO)
    assert (found.version, found.name, found.concurrency, found.parallelism) == (1, "pipelines", 2, 32)
    assert (found.fail_fast, found.spill_limit, found.timezone, found.timeout) == (False, None, "UTC", None)
    assert found.retry == Retry()
    assert 0 < found.memory_limit <= 512 * 1024 * 1024
    assert (found.plugins.files, found.plugins.dirs, found.plugins.community) == ((), (), ())
    assert not found.warnings


def test_null_is_as_good_as_nothing() -> None:
    nulls = "".join(f"{key}:\n" for key in schema.TOP if key != "pipelines")
    found, bare = config.load(nulls + DEMO), config.load(DEMO)
    assert found.pipelines.keys() == bare.pipelines.keys()
    assert found.concurrency == bare.concurrency
    assert found.plugins == bare.plugins


def test_the_top_level_is_read() -> None:
    found = config.load(
        "version: 1\nname: shop\nconcurrency: 4\nparallelism: 8\nfail_fast: true\nmemory_limit: 1GB\nspill_limit: 2GiB\n"
        "timezone: Europe/Warsaw\nretry: 3\ntimeout: 1h30m\n"
        "plugins: {custom: {files: [a.py], dirs: plugins}, community: [x, y]}\n" + DEMO
    )
    assert (found.name, found.concurrency, found.parallelism, found.fail_fast) == ("shop", 4, 8, True)
    assert (found.memory_limit, found.spill_limit, found.timezone) == (10**9, 2 * 2**30, "Europe/Warsaw")
    assert (found.retry.attempts, found.timeout) == (3, 5400.0)
    assert found.plugins == config.Plugins(("a.py",), ("plugins",), ("x", "y"))


def test_memory_follows_the_container(monkeypatch: pytest.MonkeyPatch) -> None:
    shape.default_memory_limit.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: str(256 * 2**20))
    assert shape.default_memory_limit() == 64 * 2**20
    shape.default_memory_limit.cache_clear()
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "max")
    assert shape.default_memory_limit() == 512 * 2**20
    shape.default_memory_limit.cache_clear()


def test_an_environment_variable_may_give_a_number() -> None:
    text = "concurrency: ${{ env.N }}\nfail_fast: ${{ env.B }}\nmemory_limit: ${{ env.M }}\n" + DEMO
    found = config.load(text, environ={"N": "7", "B": "true", "M": "1MiB"})
    assert (found.concurrency, found.fail_fast, found.memory_limit) == (7, True, 2**20)


def test_an_unknown_key_at_the_top_is_a_warning_and_x_is_for_everyone() -> None:
    found = config.load("x-mine: {a: '${{ nothing }}'}\nconcurency: 3\n" + DEMO)
    (warning,) = found.warnings
    assert (warning.code, warning.warning, str(warning.position)) == (
        "config.unknown_key",
        True,
        "<string>:2:1",
    )
    assert warning.hint.startswith("did you mean `concurrency`?")


def test_documents_are_united_and_only_variables_and_secrets_may_stand_in_several() -> None:
    text = "variables: {a: 1, b: 1}\nsecrets: {s: {plugin: env}}\n---\nvariables: {b: 2}\nsecrets: {t: {plugin: env}}\n---\nconcurrency: 3"
    found = config.load(text + DEMO)
    assert found.variables == {"a": 1, "b": 2}
    assert list(found.secrets) == ["s", "t"]
    assert found.concurrency == 3
    assert problems("concurrency: 1\n---\nconcurrency: 2" + DEMO) == ["config.duplicate_key <string>:3:1"]


def test_a_number_and_a_text_are_one_name() -> None:
    """The second would take the first one's place without a word."""
    pipeline = "{phases: {extract: {steps: [{plugin: a}]}, load: {steps: [{plugin: b}]}}}"
    twice = f"pipelines:\n  1: {pipeline}\n  '1': {pipeline}"
    assert problems(twice) == ["config.duplicate_key <string>:3:3"]
    assert problems(f"variables: {{1: a, '1': b}}{DEMO}") == ["config.duplicate_key <string>:1:19"]
    secret = "{plugin: env, args: {name: A}}"
    assert problems(f"secrets: {{1: {secret}, '1': {secret}}}{DEMO}") == [
        "config.duplicate_key <string>:1:46"
    ]


@pytest.mark.parametrize(
    "line",
    [
        *(
            "version: 2",
            "version: '1'",
            "version: 1.0",
            "concurrency: 0",
            "concurrency: -1",
            "concurrency: 1.5",
        ),
        *("concurrency: '2'", "concurrency: true", "concurrency: [1]", "parallelism: none", "fail_fast: yes"),
        *("fail_fast: 1", "memory_limit: 0", "memory_limit: 5M", "memory_limit: 1.5", "memory_limit: true"),
        *(
            "spill_limit: lots",
            "timezone: Mars/Olympus",
            "timezone: Europe",
            "timezone: ../etc/passwd",
            "timezone: [a]",
        ),
        *(
            "retry: 0",
            "retry: many",
            "retry: [1]",
            "retry: {attempts: x}",
            "retry: {wait: -1}",
            "retry: {foo: 1}",
        ),
        *(
            "timeout: 0",
            "timeout: -1",
            "timeout: 5 min",
            "timeout: ''",
            "timeout: true",
            "timeout: .nan",
            "timeout: .inf",
        ),
        *("plugins: [a]", "plugins: {custom: [a]}", "plugins: {custm: {}}", "plugins: {custom: {file: a}}"),
        *(
            "plugins: {community: {a: b}}",
            "plugins: {custom: {files: [{a: b}]}}",
            "name: [a]",
            "name: {a: b}",
        ),
        *(
            "variables: [a]",
            "secrets: [a]",
            "secrets: {a: 1}",
            "secrets: {a: {args: {}}}",
            "secrets: {a: {plugin: x, arg: {}}}",
        ),
        *("secrets: {a.b: {plugin: x}}", "secrets: {a: {plugin: x, args: [1]}}"),
    ],
)
def test_a_wrong_value_at_the_top_is_told_where_it_stands(line: str) -> None:
    (found,) = problems(line + DEMO)
    assert found.split(":")[1] == "1"


def test_a_number_as_a_name_is_the_text_that_stands_there() -> None:
    text = DEMO.replace("demo:", "1.0:").replace("plugin: a", "plugin: a, id: 007")
    found = config.load("name: 2024\n" + text)
    assert found.name == "2024"
    assert found.pipelines["1.0"].phases["extract"].steps[0].id == "007"


# --------------------------------------------------------------------------------------------------------- steps


def test_a_step_is_read() -> None:
    found = step(
        "id: orders\nargs: {x: 1}\ndescription: Orders\ninput: a\non_bad_row: skip\ntimeout: 500ms\n"
        "retry: {attempts: 4, wait: 2, max_wait: 1m, jitter: 0, on: ConnectionError}"
    )
    assert (found.id, found.named, found.args, found.description) == ("orders", True, {"x": 1}, "Orders")
    assert (found.input, found.on_bad_row, found.timeout) == ("a", "skip", 0.5)
    assert found.retry == Retry(4, 2.0, 60.0, 0.0, ("ConnectionError",))


def test_a_step_takes_the_defaults_of_the_top_level_key_by_key() -> None:
    top = "retry: {attempts: 3, wait: 5s, on: [all]}\ntimeout: 10s"
    assert step("", top).retry == Retry(3, 5.0, 30.0, 1.0, ("all",))
    assert step("retry: 5", top).retry == Retry(5, 5.0, 30.0, 1.0, ("all",))
    assert step("retry: {wait: 1s}", top).retry == Retry(3, 1.0, 30.0, 1.0, ("all",))
    assert step("retry:", top).retry.attempts == 3
    assert step("", top).timeout == 10.0
    assert step("timeout: 1", top).timeout == 1.0
    assert step("timeout: null", top).timeout is None


def test_empty_args_are_no_args() -> None:
    for lines in ("args:", "args: null", "args: {}", "args: ~"):
        assert step(lines).args == {}


def test_plugin_id_is_another_name_of_id() -> None:
    assert step("plugin_id: some unique id here").id == "some unique id here"


@pytest.mark.parametrize(
    "lines",
    [
        *(
            "args: [1]",
            "args: text",
            "args: 5",
            "args: {1: a}",
            "args: {null: a}",
            "id: ''",
            "id: '  '",
            "id: [a]",
        ),
        *(
            'id: "a\\nb"',
            "id: {a: b}",
            "on_bad_row: ignore",
            "on_bad_row: 1",
            "timeout: soon",
            "retry: {on: {a: b}}",
        ),
        *("input: [a]", "description: [a]", "arg: {}", "x-own: 1", "id: a\nplugin_id: b", "plugins: x"),
    ],
)
def test_a_wrong_value_in_a_step_is_told(lines: str) -> None:
    with pytest.raises(ConfigError) as caught:
        step(lines)
    assert len(caught.value.problems) == 1


def test_what_a_plugin_takes_written_beside_it_is_explained() -> None:
    with pytest.raises(ConfigError) as caught:
        step("path: x.csv")
    assert "under `args`" in caught.value.problems[0].hint


def test_steps_without_an_id_are_called_like_their_plugin_and_numbered() -> None:
    text = (
        "pipelines:\n  p:\n    phases:\n      load: {steps: [{plugin: b}]}\n      extract:\n        steps:\n"
    )
    for item in ("{plugin: a}", "{plugin: a}", "{plugin: x, id: a_2}", "{plugin: a}", "{plugin: b}"):
        text += f"          - {item}\n"
    found = config.load(text).pipelines["p"].phases["extract"].steps
    assert [item.id for item in found] == ["a", "a_3", "a_2", "a_4", "b"]


# ------------------------------------------------------------------------------------------------------ pipelines


def test_phases_hold_steps_hooks_and_merge() -> None:
    text = """
pipelines:
  p:
    type: ETLT
    description: All of it
    needs: [q, r, q]
    phases:
      extract:
        pre: [{plugin: a}]
        steps: [{plugin: b}, {plugin: c}]
        merge: {plugin: d}
        post: [{plugin: e}]
      transform: {steps: []}
      load: {pre: null, steps: [{plugin: f}], post: []}
      transform_at_load: {steps: [{plugin: g}]}
"""
    found = config.load(text).pipelines["p"]
    assert (found.type, found.description, found.needs) == ("ETLT", "All of it", ("q", "r"))
    extract = found.phases["extract"]
    assert [item.plugin for item in (*extract.pre, *extract.steps, *extract.post)] == ["a", "b", "c", "e"]
    assert extract.merge is not None
    assert extract.merge.plugin == "d"
    assert found.phases["transform"].steps == ()
    assert list(found.phases) == ["extract", "transform", "load", "transform_at_load"]


def test_a_phase_may_be_one_step_as_1_0_8_documents_it() -> None:
    text = "pipelines:\n  p:\n    phases:\n      extract:\n        plugin: a\n        args: {x: 1}\n      load: {plugin: b, pre: [{plugin: c}]}\n"
    phases = config.load(text).pipelines["p"].phases
    assert phases["extract"].steps[0].args == {"x": 1}
    assert phases["load"].pre[0].plugin == "c"


@pytest.mark.parametrize(
    "empty", ["transform:", "transform: {}", "transform: {steps: }", "transform: {steps: []}"]
)
def test_transform_may_be_empty(empty: str) -> None:
    assert config.load(DEMO + f"      {empty}\n").pipelines["demo"].phases["transform"].steps == ()


@pytest.mark.parametrize(
    ("pipeline", "codes"),
    [
        ("", ["wrong_type"]),
        ("5", ["wrong_type"]),
        ("{}", ["missing_key"]),
        ("{phases: }", ["wrong_type"]),
        ("{phases: [a]}", ["wrong_type"]),
        ("{phases: {extract: }}", ["wrong_type"]),
        ("{phases: {extract: {}}}", ["missing_key"]),
        ("{phases: {extract: {steps: }}}", ["missing_key"]),
        ("{phases: {load: {steps: []}}}", ["missing_key"]),
        ("{phases: {load: {steps: {plugin: a}}}}", ["wrong_type"]),
        (
            "{phases: {load: {steps: [a, {}, {plugin: }, {plugin: []}, null]}}}",
            ["wrong_type", "missing_key", "missing_key", "wrong_type", "wrong_type"],
        ),
        ("{phases: {load: {steps: [{plugin: a}], merge: {plugin: b}}}}", ["unknown_key"]),
        (
            "{phases: {extract: {steps: [{plugin: a}], merge: [{plugin: b}], pre: {plugin: c}}}}",
            ["wrong_type", "wrong_type"],
        ),
        ("{phases: {transfrom: {}}}", ["unknown_key"]),
        ("{type: etl, phases: {}}", ["wrong_value"]),
        (
            "{type: 1, phases: {}, needs: {a: b}, description: []}",
            ["wrong_value", "wrong_type", "wrong_type"],
        ),
        ("{extract: {}, phases: {}}", ["unknown_key"]),
        ("{phases: {}, need: a}", ["unknown_key"]),
    ],
)
def test_a_wrong_shape_is_told(pipeline: str, codes: list[str]) -> None:
    found = problems(f"pipelines:\n  p: {pipeline}\n")
    assert [item.split()[0] for item in found] == [f"config.{code}" for code in codes]


def test_a_missing_key_is_told_at_the_key_of_its_mapping() -> None:
    text = "pipelines:\n  p:\n    type: ETL\n  q:\n    phases:\n      load:\n        pre: []\n      extract:\n        steps:\n          - id: x\n"
    assert problems(text) == [
        "config.missing_key <string>:2:3",
        "config.missing_key <string>:6:7",
        "config.missing_key <string>:10:13",
    ]


def test_one_mistake_does_not_hide_the_next() -> None:
    text = "concurrency: x\npipelines:\n  p:\n    type: x\n    phases:\n      extract: {steps: [{}, {plugin: a, retires: 1}]}\n      load: 5\n"
    assert len(problems(text)) == 5


def test_keep_going_gives_what_could_be_read() -> None:
    found = config.load("concurrency: x\n" + DEMO, keep_going=True)
    assert [problem.code for problem in found.problems] == ["config.wrong_type"]
    assert found.concurrency == 2
    assert list(found.pipelines) == ["demo"]
    assert config.load("a: [", keep_going=True).problems


def test_positions_are_found_by_path() -> None:
    found = config.load(DEMO)
    path = ("pipelines", "demo", "phases", "extract", "steps", 0, "plugin")
    assert str(found.position(path)) == "<string>:5:34"
    assert str(found.position(path, key=True)) == "<string>:5:26"
    assert str(found.position((*path, "deeper", 3))) == "<string>:5:34"
    assert found.source_line(found.position(path)) == "      extract: {steps: [{plugin: a}]}"  # type: ignore[arg-type] # there is one


def test_a_python_mapping_is_checked_like_a_text() -> None:
    with pytest.raises(ConfigError) as caught:
        config.load({"pipelines": {"p": {"phases": {"extract": {"steps": [{"plugin": "a", "retires": 3}]}}}}})
    (problem,) = caught.value.problems
    assert problem.code == "config.unknown_key"
    assert problem.source_line.strip() == "retires: 3"


def test_python_values_in_args_stay_what_they_are() -> None:
    thing = object()
    given = {
        "pipelines": {
            "p": {
                "phases": {
                    "extract": {"steps": [{"plugin": "a", "args": {"x": thing, "y": Path("a")}}]},
                    "load": {"plugin": "b"},
                }
            }
        }
    }
    args = config.load(given).pipelines["p"].phases["extract"].steps[0].args
    assert args == {"x": thing, "y": Path("a")}


# --------------------------------------------------------------------------------------------------------- amounts


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (30, 30),
        (0.5, 0.5),
        ("500ms", 0.5),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        ("1h 30m", 5400),
        ("1.5h", 5400),
    ],
)
def test_durations(given: object, seconds: float) -> None:
    assert unit.duration(given) == seconds


@pytest.mark.parametrize(
    "given", ["", "5", "m", "5 min", "-5s", "0s", 0, -1, "5s!", float("inf"), float("nan"), 10**40]
)
def test_what_is_no_duration(given: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the caller knows what it gave
        unit.duration(given)


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (1, 1),
        ("1B", 1),
        ("1kB", 1000),
        ("512MiB", 512 * 2**20),
        ("1GB", 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("2tib", 2**41),
    ],
)
def test_sizes(given: object, size: int) -> None:
    assert unit.size(given) == size


def test_every_key_of_the_language_is_described() -> None:
    tables = [
        schema.TOP,
        schema.PIPELINE,
        schema.STEP,
        schema.RETRY,
        schema.SECRET,
        schema.VARIABLE,
        *schema.PHASE.values(),
    ]
    assert all(key.meaning and key.type for table in tables for key in table.values())
