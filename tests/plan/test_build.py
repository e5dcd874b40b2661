"""Configuration and plugins → plan: what is in it, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline_flow import config, plan
from pipeline_flow.config.models import Retry
from pipeline_flow.core.inventory import BUILT_IN, Catalog, Declaration
from pipeline_flow.errors import ConfigError
from pipeline_flow.plan.model import PipelinePlan
from pipeline_flow.secret import SecretReference
from tests.plan.plugins import AtomicWriter, Changer, catalog

READ, WRITE = "{plugin: reader, args: {path: x}}", "{plugin: writer, args: {url: y}}"


def one(
    extract: str = READ,
    transform: str | None = None,
    load: str = WRITE,
    at_load: str | None = None,
    rest: str = "",
    around: str = "",
) -> str:
    """A configuration of one pipeline; the arguments are flow lists' insides."""
    text = f"pipelines:\n  demo:\n    phases:\n      extract: {{steps: [{extract}]{around}}}\n"
    text += f"      transform: {{steps: [{transform}]}}\n" if transform is not None else ""
    text += f"      load: {{steps: [{load}]}}\n"
    text += f"      transform_at_load: {{steps: [{at_load}]}}\n" if at_load is not None else ""
    return text + (f"    {rest}\n" if rest else "")


def build(text: str, view: Catalog | None = None, **options: Any) -> plan.Plan:
    return plan.build(config.load(text), view or catalog(), **options).plan


def pipeline(text: str) -> PipelinePlan:
    return build(text).pipelines[0]


def problems(text: str, view: Catalog | None = None, **options: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        plan.build(config.load(text, keep_going=True), view or catalog(), **options)
    return [f"{problem.code}: {problem.text}" for problem in caught.value.problems]


def codes(text: str, **options: Any) -> list[str]:
    return [problem.split(":")[0] for problem in problems(text, **options)]


# -------------------------------------------------------------------------------------------------------- the plan


def test_a_plan_holds_what_the_engine_needs() -> None:
    text = "name: shop\nconcurrency: 3\nretry: 2\ntimeout: 9\n" + one(
        "{id: orders, plugin: reader, args: {path: x, rows: 5}, description: All, on_bad_row: skip}",
        "{plugin: changer}",
        "{plugin: atomic_writer}",
        "{plugin: finisher, retry: 1, timeout: null}",
    )
    made = build(text)
    assert (made.name, made.concurrency, made.parallelism, made.fail_fast) == ("shop", 3, 32, False)
    (demo,) = made.pipelines
    assert (demo.name, demo.type, [phase.name for phase in demo.phases]) == (
        "demo",
        "ETLT",
        ["extract", "transform", "load", "transform_at_load"],
    )
    read, change, write, finish = (phase.steps[0] for phase in demo.phases)
    assert str(read.address) == "demo.extract.orders"
    assert (read.kind, read.plugin, read.mode, read.args) == (
        "extract",
        "reader",
        "async",
        {"path": "x", "rows": 5},
    )
    assert (read.on_bad_row, read.description, read.retry, read.timeout) == ("skip", "All", Retry(2), 9.0)
    assert (change.mode, change.atomic, write.mode, write.atomic, finish.mode) == (
        "sync",
        False,
        "async",
        True,
        "sync",
    )
    assert (finish.retry.attempts, finish.timeout) == (1, None)


def test_every_call_of_a_phase_has_an_address_of_its_own() -> None:
    text = one(
        "{plugin: reader, args: {path: x}}, {plugin: reader, args: {path: y}}",
        around=", merge: {plugin: merger, id: mine}, pre: [{plugin: before}, {plugin: before}], post: [{plugin: after, id: x}]",
    )
    phase = pipeline(text).phases[0]
    assert [step.address.step for step in phase.all_steps()] == [
        "pre.before",
        "pre.before_2",
        "reader",
        "reader_2",
        "merge",
        "post.x",
    ]
    assert [step.kind for step in phase.all_steps()] == ["pre", "pre", "extract", "extract", "merge", "post"]


def test_an_empty_transform_is_no_phase() -> None:
    assert [phase.name for phase in pipeline(one(transform="")).phases] == ["extract", "load"]


@pytest.mark.parametrize(
    ("transform", "at_load", "expected"),
    [
        (None, None, "ETL"),
        ("{plugin: changer}", None, "ETL"),
        (None, "{plugin: finisher}", "ELT"),
        ("", "{plugin: finisher}", "ELT"),
        ("{plugin: changer}", "{plugin: finisher}", "ETLT"),
    ],
)
def test_the_type_follows_from_the_phases(transform: str | None, at_load: str | None, expected: str) -> None:
    assert pipeline(one(transform=transform, at_load=at_load)).type == expected


@pytest.mark.parametrize(
    ("kind", "transform", "at_load", "told"),
    [
        ("ETL", None, None, []),
        ("ETL", "", None, []),
        ("ELT", None, "{plugin: finisher}", []),
        ("ETLT", None, "{plugin: finisher}", []),
        ("ETL", None, "{plugin: finisher}", ["ETL has no transform_at_load"]),
        ("ELT", None, None, ["ELT needs transform_at_load"]),
        ("ELT", "{plugin: changer}", "{plugin: finisher}", ["ELT has no transform"]),
        ("ELT", "", "{plugin: finisher}", ["ELT has no transform"]),
        ("ETLT", "{plugin: changer}", None, ["ETLT needs transform_at_load"]),
    ],
)
def test_a_type_says_which_phases_there_are(
    kind: str, transform: str | None, at_load: str | None, told: list[str]
) -> None:
    text = one(transform=transform, at_load=at_load, rest=f"type: {kind}")
    if told:
        assert problems(text) == [f"config.phases_of_type: {item}" for item in told]
    else:
        assert pipeline(text).type == kind


def test_every_pipeline_extracts_and_loads() -> None:
    assert (
        codes("pipelines: {a: {phases: {extract: {plugin: generator}}}, b: {phases: {}}}")
        == ["config.phases_of_type"] * 2
    )


def test_secrets_are_those_that_the_selected_pipelines_use() -> None:
    text = "secrets: {a: {plugin: env, args: {name: A}}, b: {plugin: env, args: {name: B}}}\n"
    text += one(load="{plugin: writer, args: {url: '${{ secrets.b.url }}', token: 'x ${{ secrets.b }}'}}")
    made = build(text)
    assert list(made.secrets) == ["b"]
    assert (made.secrets["b"].plugin, made.secrets["b"].args) == ("env", {"name": "B"})
    url = made.pipelines[0].phases[1].steps[0].args["url"]
    assert isinstance(url, SecretReference)
    assert (url.name, url.key) == ("b", "url")


def test_a_needed_pipeline_that_is_not_selected_counts_as_satisfied() -> None:
    text = one(rest="needs: other") + one().split("\n", 1)[1].replace("demo", "other")
    assert [item.needs for item in build(text).pipelines] == [("other",), ()]
    assert [(item.name, item.needs) for item in build(text, select=["demo"]).pipelines] == [("demo", ())]
    assert [item.name for item in build(text, select=["+demo"]).pipelines] == ["demo", "other"]


def test_concurrency_may_be_given_with_the_call() -> None:
    assert build(one(), concurrency=7).concurrency == 7
    assert codes(one(), concurrency=0) == ["config.wrong_value"]


def test_warnings_come_with_the_plan() -> None:
    made = plan.build(config.load("colour: red\n" + one()), catalog())
    assert [warning.code for warning in made.warnings] == ["config.unknown_key"]


# --------------------------------------------------------------------------------------------------------- plugins


def test_an_unknown_plugin_is_told_with_the_nearest_and_where_else_it_exists() -> None:
    with pytest.raises(ConfigError) as caught:
        build(one("{plugin: raeder}, {plugin: changer}", around=", merge: {plugin: merger}"))
    first, second = caught.value.problems
    assert (first.code, first.text) == ("plugin.unknown", "no extract plugin is called `raeder`")
    assert "did you mean `reader`?" in first.hint
    assert "`changer` is a plugin for transform" in second.hint


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (one("{plugin: sync_reader}"), "@extract(threaded=True)"),
        (one(load="{plugin: sync_writer}"), "@load(threaded=True)"),
        (one(transform="{plugin: async_changer}"), "def __call__(self, data)"),
        (one(at_load="{plugin: async_finisher}"), "def __call__(self)"),
    ],
)
def test_a_plugin_of_the_wrong_mode_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(text)
    (problem,) = caught.value.problems
    assert problem.code == "plugin.wrong_mode"
    assert remedy in problem.hint


def test_an_async_generator_counts_as_async() -> None:
    assert pipeline(one("{plugin: generator}")).phases[0].steps[0].mode == "async"


def test_arguments_are_checked_where_they_stand() -> None:
    text = one("{plugin: reader, args: {pth: x, rows: many, params: {a: 1}}}", load="{plugin: writer}")
    with pytest.raises(ConfigError) as caught:
        build(text)
    assert [(problem.code, str(problem.position)) for problem in caught.value.problems] == [
        ("plugin.missing_argument", "<string>:4:42"),
        ("plugin.unknown_argument", "<string>:4:49"),
        ("plugin.wrong_argument", "<string>:4:63"),
        ("plugin.missing_argument", "<string>:5:31"),
    ]


def test_an_argument_that_holds_a_secret_counts_as_any() -> None:
    text = "secrets: {a: {plugin: env, args: {name: A}}}\n" + one(
        "{plugin: reader, args: {path: x, rows: '${{ secrets.a }}'}}"
    )
    assert build(text).pipelines


def test_the_arguments_of_secret_managers_are_checked() -> None:
    assert codes("secrets: {a: {plugin: env}, b: {plugin: evn}}\n" + one()) == [
        "plugin.missing_argument",
        "plugin.unknown",
    ]


def test_a_catalog_that_raises_is_told_as_a_problem() -> None:
    class Broken(Catalog):
        def find(self, kind: str, name: str) -> Declaration:
            if name == "reader":
                raise ImportError("no module named x")
            return super().find(kind, name)

    own = catalog()
    view = Broken([own.find("load", "writer")])
    assert problems(one(), view) == [
        "plugin.not_imported: the extract plugin `reader` cannot be imported: ImportError: no module named x"
    ]


# ------------------------------------------------------------------------------------------------- ids and needs


def test_two_steps_of_one_phase_cannot_have_one_id() -> None:
    double = "{plugin: reader, id: a, args: {path: x}}, {plugin: reader, id: a, args: {path: y}}"
    assert codes(one(double, around=", merge: {plugin: merger}")) == ["config.duplicate_id"]
    named = "{plugin: reader, id: merge, args: {path: x}}, {plugin: reader, args: {path: y}}"
    assert codes(one(named, around=", merge: {plugin: merger}")) == ["config.duplicate_id"]


def test_one_id_may_stand_in_several_phases() -> None:
    assert build(
        one("{plugin: reader, id: a, args: {path: x}}", load="{plugin: writer, id: a, args: {url: x}}")
    ).pipelines


def test_unknown_needs_and_circles_are_told_with_their_path() -> None:
    base = one(rest="needs: [b, ohter]") + "".join(
        one(rest=f"needs: {need}").split("\n", 1)[1].replace("demo:", f"{name}:")
        for name, need in (("b", "c"), ("c", "demo"), ("other", "other"))
    )
    assert problems(base) == [
        "config.cycle: these pipelines need each other: demo → b → c → demo",
        "config.unknown_needs: there is no pipeline `ohter`",
        "config.cycle: the pipeline `other` needs itself: other → other",
    ]


# --------------------------------------------------------------------------------------------------------- tables

TWO = "{plugin: reader, id: a, args: {path: x}}, {plugin: reader, id: b, args: {path: y}}"
MERGED = ", merge: {plugin: merger}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (one(TWO, around=MERGED), []),
        (one(TWO), ["config.tables_need_merge"]),
        (one(TWO, load="{plugin: tables_writer}"), []),
        (one(TWO, load="{plugin: writer, args: {url: x}, input: b}, {plugin: tables_writer}"), []),
        (one(TWO, load="{plugin: atomic_writer}"), ["config.tables_need_merge"]),
        (one(TWO, load="{plugin: writer, args: {url: x}, input: c}"), ["config.unknown_input"]),
        (one(TWO, "{plugin: changer}"), []),
        (one(TWO, "{plugin: stream_changer}"), ["config.tables_need_merge"]),
        (one(TWO, "{plugin: stream_changer, input: a}, {plugin: stream_changer}"), []),
        (one(TWO, "{plugin: changer}, {plugin: changer, input: a}"), ["config.unknown_input"]),
        (
            one(TWO, "{plugin: changer}", "{plugin: writer, args: {url: x}, input: a}"),
            ["config.unknown_input"],
        ),
        (one(TWO, "", "{plugin: writer, args: {url: x}, input: a}"), []),
        (
            one(TWO, load="{plugin: tables_writer}", around=", post: [{plugin: after}]"),
            ["config.tables_need_merge"],
        ),
        (
            one(TWO, load="{plugin: tables_writer}], post: [{plugin: after}"),
            ["config.tables_need_merge"],
        ),
        (
            one(TWO, "{plugin: changer}", load="{plugin: tables_writer}], post: [{plugin: after}"),
            [],
        ),
        (
            one(TWO, load="{plugin: writer, args: {url: x}, input: a}", around=MERGED),
            ["config.unknown_input"],
        ),
        (one(load="{plugin: writer, args: {url: x}, input: reader}"), []),
        (one("{plugin: generator, input: x}"), ["config.unknown_input"]),
        (one(around=MERGED), ["config.wrong_value"]),
    ],
)
def test_tables_go_only_to_who_takes_them(text: str, expected: list[str]) -> None:
    if expected:
        assert codes(text) == expected
    else:
        assert build(text).pipelines


def test_input_of_the_only_extract_step_picks_nothing_at_run_time() -> None:
    assert (
        pipeline(one(load="{plugin: writer, args: {url: x}, input: reader}")).phases[1].steps[0].input is None
    )
    assert (
        pipeline(one(TWO, load="{plugin: writer, args: {url: x}, input: b}")).phases[1].steps[0].input == "b"
    )


def test_a_built_in_without_an_annotation_takes_one_stream_unless_it_says_otherwise() -> None:
    own = catalog()
    rest = [own.find("extract", "reader"), own.find("load", "writer")]
    text = one(TWO, "{plugin: changer}")
    view = Catalog([*rest, Declaration("transform", "changer", Changer, BUILT_IN, "")])
    assert [item.split(":")[0] for item in problems(text, view)] == ["config.tables_need_merge"]

    class Tables(Changer, plugin_name="tables_changer"):
        takes_tables = True

    assert build(text, Catalog([*rest, Declaration("transform", "changer", Tables, BUILT_IN, "")])).pipelines


def test_two_built_in_loads_cannot_write_one_file() -> None:
    class File(AtomicWriter, plugin_name="file_writer"):
        def __init__(self, plugin_id: str, path: str) -> None:
            self.id, self.path = plugin_id, path

    view = Catalog([catalog().find("extract", "reader"), Declaration("load", "file", File, BUILT_IN, "")])
    text = one(
        load="{plugin: file, args: {path: out/a.csv}}, {plugin: file, args: {path: ./out/b/../a.csv}}, {plugin: file, args: {path: out/b.csv}}"
    )
    assert problems(text, view) == ["config.same_target: `file_2` writes the same file as `file`"]


def test_two_built_in_loads_may_append_to_one_folder() -> None:
    class Folder(AtomicWriter, plugin_name="folder_writer"):
        def __init__(self, plugin_id: str, path: str, mode: str) -> None:
            self.id, self.path, self.mode = plugin_id, path, mode

    view = Catalog(
        [
            catalog().find("extract", "reader"),
            *(Declaration("load", name, Folder, BUILT_IN, "") for name in ("lake", "other")),
        ]
    )

    def text(*loads: str) -> str:
        pairs = [load.split() for load in loads]
        return one(
            load=", ".join(f"{{plugin: {name}, args: {{path: out/, mode: {mode}}}}}" for name, mode in pairs)
        )

    assert build(text("lake append", "lake append"), view).pipelines
    for loads in (("lake append", "lake replace"), ("lake append", "other append")):
        assert len(problems(text(*loads), view)) == 1


# ----------------------------------------------------------------------------------------------- all at once


def test_problems_of_shape_and_of_plugins_are_told_together_in_the_order_of_the_file() -> None:
    text = "concurrency: x\n" + one("{plugin: raeder, retires: 1}", rest="needs: nobody")
    assert codes(text) == [
        "config.wrong_type",
        "plugin.unknown",
        "config.unknown_key",
        "config.unknown_needs",
    ]


def test_what_is_broken_in_shape_causes_no_second_problem() -> None:
    text = one(
        "{plugin: reader, args: {path: '${{ env.NOT_THERE_AT_ALL }}', rows: x}}",
        load="{id: x}",
        rest="type: ELT",
    )
    assert codes(text) == ["config.unresolved", "config.missing_key"]


# ------------------------------------------------------------------------------------------------ what may not show


def test_what_is_secret_by_nature_shows_in_no_problem_and_columns_stay() -> None:
    text = one(
        "{plugin: reader, args: {path: 'pg://me:hunter2-url@h', params: {password: hunter2-clear}, rows: hunter2-clear}}",
        load="{plugin: writer, args: {url: x, tokn: hunter2-clear}}",
        rest="retires: hunter2-clear",
    )
    with pytest.raises(ConfigError) as caught:
        plan.build(config.load(text, keep_going=True), catalog())
    assert len(caught.value.problems) == 3
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.problems)
    for problem in caught.value.problems:
        assert problem.position is not None
        line = text.splitlines()[problem.position.line - 1]
        assert len(problem.source_line) == len(line)
    assert "found '***'" in str(caught.value)


def test_a_plan_knows_what_its_run_has_to_mask_and_does_not_print_it() -> None:
    text = """
variables: {db_password: of-a-variable, name: harmless}
pipelines:
  demo:
    phases:
      extract: {steps: [{plugin: reader, args: {path: "pg://me:of-a-url@h/${{ variables.name }}", params: {key: "${{ env.API_KEY }}"}}}]}
      load: {steps: [{plugin: writer, args: {url: x, token: of-an-argument}}]}
"""
    made = plan.build(config.load(text, environ={"API_KEY": "of-the-environment"}), catalog()).plan
    assert set(made.confidential) == {"of-a-variable", "of-the-environment", "of-a-url", "of-an-argument"}
    assert not any(item in repr(made) for item in made.confidential)


def test_an_extract_step_that_nobody_reads_is_worth_a_warning() -> None:
    def told(text: str) -> list[str]:
        return [problem.text for problem in plan.build(config.load(text), catalog()).warnings]

    writers = (
        "{id: x, plugin: writer, args: {url: x}, input: a}, {id: y, plugin: writer, args: {url: y}, input: b}"
    )
    unread = one(f"{TWO}, {{id: c, plugin: reader, args: {{path: z}}}}", load=writers)
    assert told(unread) == ["nobody gets the data of `c`: every load picks another `input`"]
    assert told(one(TWO, load=writers)) == []
    assert told(one(f"{TWO}", load="{plugin: tables_writer}")) == []


@pytest.mark.parametrize("extract", [READ, f"{READ}, {{plugin: reader, id: other, args: {{path: y}}}}"])
def test_a_load_is_not_asked_about_arguments_that_are_wrong(extract: str) -> None:
    text = one(extract=extract, load="{plugin: trusting}")
    assert problems(text) == ["plugin.missing_argument: the argument `table` is missing (text)"]
