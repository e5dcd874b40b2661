"""A plan as people and programs see it, whatever is in its names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_flow import entrypoint
from pipeline_flow.core import text as words
from pipeline_flow.plan import graph, lanes, render, svg, view

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
PLUGINS = """
from pipeline_flow import load
from pipeline_flow.plugins import IAtomicLoadPlugin, IPreProcessPlugin, IPostProcessPlugin

class Remembers(IAtomicLoadPlugin, plugin_name="remembers"):
    def __init__(self, plugin_id):
        raise AssertionError("a plan constructs no custom plugin")
    destination = property(lambda self: "x")
    async def begin(self): ...
    async def stage(self, data, transaction): ...

class Prepares(IPreProcessPlugin, plugin_name="prepares"):
    async def __call__(self): ...

class Tidies(IPostProcessPlugin, plugin_name="tidies"):
    async def __call__(self, data): ...

@load
async def sends(data): ...
"""


def _csv(path: str = "in.csv", **keys: Any) -> dict[str, Any]:
    return {"plugin": "csv", "args": {"path": path}, **keys}


ODD: dict[str, Any] = {
    "name": "Größe <b>&amp;\x1b[2J",
    "secrets": {"warehouse": {"plugin": "file", "args": {"path": "not_there"}}},
    "plugins": {"custom": {"files": ["plugs.py"]}},
    "retry": {"attempts": 3, "on": ["ConnectionError"]},
    "timeout": 90,
    "pipelines": {
        '"quoted" `ticks` #35; [x](y)': {
            "description": "A line\nand another \x1b]0;title\x07",
            "phases": {
                "extract": {
                    "pre": [{"plugin": "prepares"}],
                    "steps": [_csv(id="数据\u202e"), _csv("b.csv", id="<script>alert(1)</script>")],
                    "merge": {"plugin": "concat"},
                    "post": [{"plugin": "tidies"}],
                },
                "transform": {
                    "steps": [{"plugin": "sql", "args": {"query": "from data"}, "on_bad_row": "skip"}]
                },
                "load": {
                    "steps": [
                        {
                            "id": "one",
                            "plugin": "sql",
                            "args": {"url": "duckdb:///x.duckdb", "table": "t", "mode": "append"},
                        },
                        {
                            "id": "two",
                            "plugin": "sql",
                            "args": {"url": "duckdb:///./x.duckdb", "table": "u", "mode": "replace"},
                        },
                        {
                            "id": "hidden",
                            "plugin": "sql",
                            "args": {"url": "${{ secrets.warehouse }}", "table": "v", "mode": "replace"},
                        },
                        {"plugin": "remembers"},
                        {"plugin": "sends", "retry": 1, "timeout": None},
                    ],
                    "post": [{"plugin": "tidies"}],
                },
            },
        },
        "</text><script>": {
            "needs": ['"quoted" `ticks` #35; [x](y)'],
            "phases": {
                "extract": {"steps": [_csv(["a.csv", "b.csv", "c.csv", "d.csv"], id="a"), _csv(id="b")]},  # type: ignore[arg-type] # paths are a list here
                "load": {"steps": [{**_csv("o.csv"), "input": "b"}]},
                "transform_at_load": {
                    "steps": [
                        {"id": "x", "plugin": "sql", "args": {"url": "sqlite:///x.db", "query": "select 1"}},
                        {"id": "y", "plugin": "sql", "args": {"url": "sqlite:///x.db", "query": "select 2"}},
                    ]
                },
            },
        },
        "a_very_long_name_that_no_card_has_room_for_and_no_terminal_either": {
            "needs": ['"quoted" `ticks` #35; [x](y)', "</text><script>"],
            "phases": {"extract": {"steps": [_csv()]}, "load": {"steps": [_csv("p.csv")]}},
        },
    },
}


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> view.PlanView:
    """Names that try to break out of what they are shown in, and every kind of step."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugs.py").write_text(PLUGINS)
    prepared = entrypoint.prepare(ODD)
    return view.of(prepared.plan, prepared.catalog)


@pytest.fixture
def flights(monkeypatch: pytest.MonkeyPatch) -> view.PlanView:
    monkeypatch.chdir(ROOT)
    prepared = entrypoint.prepare("examples/flights.yaml")
    return view.of(prepared.plan, prepared.catalog)


@pytest.fixture(params=["odd", "flights"])
def shown(request: pytest.FixtureRequest) -> tuple[str, view.PlanView]:
    return request.param, request.getfixturevalue(request.param)


# ---------------------------------------------------------------------------------------------- as they were


def test_the_text_is_as_it_was(shown: tuple[str, view.PlanView], golden: Callable[[str, str], None]) -> None:
    name, plan = shown
    golden(f"plan-{name}.txt", render.text(plan))
    golden(f"plan-{name}-narrow.txt", render.text(plan, width=50, ascii_only=True))


def test_the_json_is_as_it_was(shown: tuple[str, view.PlanView], golden: Callable[[str, str], None]) -> None:
    name, plan = shown
    text = json.dumps(plan.as_dict(), indent=2).replace(Path.cwd().resolve().as_posix(), "/here")
    golden(f"plan-{name}.json", text.replace(Path.cwd().as_posix(), "/here") + "\n")


def test_the_flowchart_is_as_it_was(
    shown: tuple[str, view.PlanView], golden: Callable[[str, str], None]
) -> None:
    golden(f"plan-{shown[0]}.mmd", render.mermaid(shown[1]))


def test_the_picture_is_as_it_was(
    shown: tuple[str, view.PlanView], golden: Callable[[str, str], None]
) -> None:
    golden(f"plan-{shown[0]}.svg", svg.draw(shown[1]))


# ---------------------------------------------------------------------------------------------- hostile names


def test_nothing_in_a_name_steers_the_terminal(odd: view.PlanView) -> None:
    for text in (render.text(odd), render.mermaid(odd), svg.draw(odd)):
        assert all(character.isprintable() or character == "\n" for character in text)
    assert render.text(odd, ascii_only=True).count("\n") == render.text(odd).count("\n")
    assert all(words.width(line) <= 50 for line in render.text(odd, width=50).splitlines())


def test_a_name_stays_text_in_the_picture(odd: view.PlanView) -> None:
    drawn = ET.fromstring(svg.draw(odd))
    tags = {element.tag.rpartition("}")[2] for element in drawn.iter()}
    assert tags == {"svg", "title", "style", "defs", "marker", "path", "rect", "g", "text"}
    texts = [element.text for element in drawn.iter() if element.tag.endswith("text")]
    assert "</text><script>" in texts


def test_a_name_stays_text_in_the_flowchart(odd: view.PlanView) -> None:
    for line in render.mermaid(odd).splitlines():
        label = line.partition('["')[2]
        if label:
            assert label.endswith('"]')
            assert not set(label[:-2]) & set('"<>`[]&#\\') - {"#"}


# ---------------------------------------------------------------------------------------------- what it says


def _step(plan: view.PlanView, pipeline: int, phase: str, name: str) -> view.StepView:
    (found,) = [
        step
        for item in plan.pipelines[pipeline].phases
        if item.name == phase
        for step in item.steps
        if step.id == name
    ]
    return found


def test_loads_into_the_same_destination_commit_together(odd: view.PlanView) -> None:
    load = odd.pipelines[0].phases[-1]
    assert [commit.loads for commit in load.commits] == [("one", "two"), ("hidden",), ("remembers",)]
    assert load.commits[1].destination == "${{ secrets.warehouse }}"
    assert load.commits[2].destination is None
    assert _step(odd, 0, "load", "one").guarantee == "all or nothing with two; a second run appends again"
    assert _step(odd, 0, "load", "two").guarantee == "all or nothing with one"
    assert _step(odd, 0, "load", "sends").guarantee == "cannot roll back: at least once"


def test_a_step_says_whose_data_it_takes_and_what_it_waits_for(odd: view.PlanView) -> None:
    assert _step(odd, 0, "extract", "merge").takes == (
        "extract.数据\u202e",
        "extract.<script>alert(1)</script>",
    )
    assert _step(odd, 0, "extract", "数据\u202e").waits_for == ("extract.pre.prepares",)
    assert _step(odd, 0, "transform", "sql").takes == ("extract.merge",)
    assert _step(odd, 0, "load", "sends").waits_for == (
        "load.one",
        "load.two",
        "load.hidden",
        "load.remembers",
    )
    assert _step(odd, 1, "load", "csv").takes == ("extract.b",)
    assert _step(odd, 1, "transform_at_load", "x").waits_for == ("load",)
    assert _step(odd, 1, "transform_at_load", "y").waits_for == ("transform_at_load.x",)


def test_no_secret_is_fetched_and_none_is_shown(odd: view.PlanView) -> None:
    assert [secret.name for secret in odd.secrets] == ["warehouse"]
    assert "${{ secrets.warehouse }}" in render.text(odd)


def test_no_password_of_a_url_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        view._about({"url": "https://user:hunter2@example.com/x?token=hunter2"})
        == "https://user:***@example.com/x"
    )


def test_what_is_to_know_of_a_database_stands_beside_its_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL is untested, SQLAlchemy is slow, and a database without transactions cannot roll back."""
    monkeypatch.chdir(tmp_path)

    def sql(id_: str, url: str, **args: Any) -> dict[str, Any]:
        return {"id": id_, "plugin": "sql", "args": {"url": url, **args}}

    into = {"table": "t", "mode": "replace"}
    steps = {
        "extract": {"steps": [sql("e", "mysql://h/x", query="select 1 as a")]},
        "load": {
            "steps": [
                sql("a", "mariadb://h/x", **into),
                sql("b", "oracle+oracledb://${{ secrets.pw }}@h/?service_name=x", **into),
                sql("c", "bigquery://p/d", **into),
            ]
        },
    }
    secrets = {"pw": {"plugin": "file", "args": {"path": "pw"}}}  # other tests declare an `env`
    prepared = entrypoint.prepare({"secrets": secrets, "pipelines": {"p": {"phases": steps}}})
    plan = view.of(prepared.plan, prepared.catalog)
    (e,), loads = (phase.steps for phase in plan.pipelines[0].phases)
    assert e.caution == "MySQL is untested here, MariaDB is tested"
    assert [step.caution.partition("; ")[2] for step in loads] == [
        "",
        "Oracle is untested here",
        "BigQuery is untested here",
    ]
    assert [step.guarantee for step in loads] == [
        view.ALL_OR_NOTHING,
        view.ALL_OR_NOTHING,
        view.AT_LEAST_ONCE,
    ]
    assert e.caution in render.text(plan)


def test_levels_are_how_deep_a_pipeline_stands(odd: view.PlanView) -> None:
    assert [pipeline.level for pipeline in odd.pipelines] == [0, 1, 2]
    needs = {"a": (), "b": ("a",), "c": ("a", "gone"), "d": ("b", "a"), "e": ()}
    assert graph.levels(needs) == (("a", "e"), ("b", "c"), ("d",))


def test_a_plan_is_shown_without_the_libraries_that_open_or_draw_things() -> None:
    """DuckDB is there all the same: it reads the SQL of a transform when that is checked."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipeline_flow.cli import plan\n"
        "plan.plan(Path('examples/flights.yaml'), plan.Form(), select=(), variables={})\n"
        "sys.stderr.write(' '.join(sorted({'rich', 'httpx2', 'pandas', 'polars'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("flights: 3 pipelines")


# ---------------------------------------------------------------------------------------------- the graph


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    number = draw(st.integers(0, 25))
    return {
        f"p{index}": draw(st.lists(st.integers(0, index - 1), max_size=4, unique=True).map(_named))
        if index
        else []
        for index in range(number)
    }


def _named(numbers: list[int]) -> list[str]:
    return [f"p{number}" for number in numbers]


@settings(deadline=None, max_examples=300)
@given(graphs())
def test_the_lines_of_the_graph_lead_from_each_pipeline_to_what_it_needs(needs: dict[str, list[str]]) -> None:
    """Followed upwards from a pipeline, the lines end at exactly what it needs."""
    drawn = list(lanes.draw(graph.order(needs), needs))
    assert [name for _, name in drawn if name is not None] == list(graph.order(needs))
    rows = [line for line, _ in drawn]
    at = {(row, line.index(lanes.NODE)): name for row, (line, name) in enumerate(drawn) if name}
    for (row, column), name in at.items():
        assert name is not None
        assert _above(rows, at, row, column) == set(needs[name])


def _above(rows: list[str], at: dict[tuple[int, int], str], row: int, column: int) -> set[str]:
    """The pipelines whose lines lead into the one at this place: a level line belongs to the pipeline below it."""
    if row == 0 or any(line == row - 1 for line, _ in at):
        return set()  # without a line between, nothing leads in
    joint = rows[row - 1].ljust(column + 1)
    first = last = column
    while first > 0 and joint[first - 1] != " ":
        first -= 1
    while last + 1 < len(joint) and joint[last + 1] != " ":
        last += 1
    found = set()
    for place in range(first, last + 1):
        passes = joint[place] == "│" and place != column
        if joint[place] not in "│├┤┴┼╰╯" or passes:
            continue
        line = row - 2
        while (line, place) not in at:
            assert rows[line][place] in "│├┤┼┬╭╮", rows
            line -= 1
        found.add(str(at[line, place]))
    return found


@settings(deadline=None, max_examples=100)
@given(graphs())
def test_cards_of_the_picture_do_not_overlap(needs: dict[str, list[str]]) -> None:
    pipelines = tuple(
        view.PipelineView(name, "ETL", "", tuple(needs[name]), level, ())
        for level, names in enumerate(graph.levels(needs))
        for name in names
    )
    plan = view.PlanView(1, "", 2, 32, False, 0, None, "UTC", (), graph.levels(needs), pipelines)
    drawn = ET.fromstring(svg.draw(plan))
    cards = [
        tuple(float(element.attrib[key]) for key in ("x", "y", "width", "height"))
        for element in drawn.iter()
        if element.attrib.get("class") == "card"
    ]
    assert len(cards) == len(needs)
    size = float(drawn.attrib["width"]), float(drawn.attrib["height"])
    for index, (x, y, width, height) in enumerate(cards):
        assert x >= 0
        assert y >= 0
        assert x + width <= size[0]
        assert y + height <= size[1]
        for x2, y2, width2, height2 in cards[:index]:
            assert x + width <= x2 or x2 + width2 <= x or y + height <= y2 or y2 + height2 <= y
