"""Columns that a step names and that cannot be there are found before anything runs; what could run is not refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow import config, entrypoint, plan
from pipeline_flow.core import discovery
from pipeline_flow.core.columns import Given
from pipeline_flow.errors import ConfigError, NoSuchColumn
from pipeline_flow.plugins import ILoadPlugin, ITransformPlugin, PluginConfig

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = "{plugin: parquet, args: {path: x.parquet, columns: [id, amount, day]}}"


def problems(extract: str, *transform: str, merge: str = "", load: str = "") -> list[str]:
    """What is wrong with a pipeline of these steps, each as ``line:column text (suggestion)``."""
    lines = [
        "pipelines:",
        "  demo:",
        "    phases:",
        "      extract:",
        f"        steps: [{extract}]",
        *([f"        merge: {merge}"] if merge else ()),
        *(
            ["      transform:", "        steps:", *(f"          - {step}" for step in transform)]
            if transform
            else ()
        ),
        "      load:",
        f"        steps: [{load or '{plugin: parquet, args: {path: out.parquet}}'}]",
    ]
    text = "\n".join(lines)
    try:
        plan.build(config.load(text, keep_going=True), discovery.catalog())
    except ConfigError as error:
        found = error.problems
    else:
        return []
    shown = []
    for problem in found:
        assert problem.code == NoSuchColumn.code, problem.text
        assert problem.position is not None
        line, start = text.splitlines()[problem.position.line - 1], problem.position.column - 1
        place = line[start : start + problem.position.length]
        shown.append(f"{place} → {problem.text} ({problem.suggestion})")
    return shown


@pytest.mark.parametrize(
    ("step", "found"),
    [
        (
            "{plugin: select, args: {columns: [id, amuont]}}",
            "amuont → there is no column `amuont` here (amount)",
        ),
        (
            "{plugin: select, args: {columns: {x: amuont * 2}}}",
            "amuont * 2 → there is no column `amuont` here (amount)",
        ),
        ("{plugin: rename, args: {columns: {dya: when}}}", "dya → there is no column `dya` here (day)"),
        ("{plugin: drop, args: {columns: [dya]}}", "dya → there is no column `dya` here (day)"),
        (
            "{plugin: cast, args: {columns: {amuont: DOUBLE}}}",
            "amuont → there is no column `amuont` here (amount)",
        ),
        (
            "{plugin: derive, args: {columns: {x: amuont + 1}}}",
            "amuont + 1 → there is no column `amuont` here (amount)",
        ),
        (
            "{plugin: filter, args: {where: amuont > 1}}",
            "amuont > 1 → there is no column `amuont` here (amount)",
        ),
        ("{plugin: fill_null, args: {columns: {dya: 1}}}", "dya → there is no column `dya` here (day)"),
        (
            "{plugin: fill_null, args: {columns: [dya], strategy: forward}}",
            "dya → there is no column `dya` here (day)",
        ),
        ("{plugin: mask, args: {columns: {dya: redact}}}", "dya → there is no column `dya` here (day)"),
        ("{plugin: sort, args: {by: [id, -dya]}}", "-dya → there is no column `dya` here (day)"),
        ("{plugin: sort, args: {by: [{column: dya}]}}", "dya → there is no column `dya` here (day)"),
        ("{plugin: deduplicate, args: {by: [dya]}}", "dya → there is no column `dya` here (day)"),
        ("{plugin: deduplicate, args: {order_by: -dya}}", "-dya → there is no column `dya` here (day)"),
        ("{plugin: flatten, args: {columns: [dya]}}", "dya → there is no column `dya` here (day)"),
        ("{plugin: explode, args: {column: dya}}", "dya → there is no column `dya` here (day)"),
        ("{plugin: explode, args: {column: day, keep: [ix]}}", "ix → there is no column `ix` here (id)"),
        (
            "{plugin: validate, args: {checks: [{not_null: [id, dya]}]}}",
            "dya → there is no column `dya` here (day)",
        ),
        (
            "{plugin: validate, args: {checks: [{range: {column: dya, min: 1}}]}}",
            "dya → there is no column `dya` here (day)",
        ),
        (
            "{plugin: validate, args: {checks: [{sql: dya > 1}]}}",
            "dya > 1 → there is no column `dya` here (day)",
        ),
        (
            "{plugin: sql, args: {query: select dya from data}}",
            "select dya from data → there is no column `dya` here (day)",
        ),
        (
            "{plugin: sql, args: {query: select d.dya from data d where d.id in (select id from data)}}",
            "select d.dya from data d where d.id in (select id from data) → there is no column `dya` here (day)",
        ),
    ],
)
def test_a_verb_that_names_a_column_that_cannot_be_there_is_told_so_at_its_place(
    step: str, found: str
) -> None:
    assert problems(KNOWN, step) == [found]


@pytest.mark.parametrize(
    "step",
    [
        "{plugin: select, args: {columns: [ID, day]}}",
        "{plugin: select, args: {columns: {x: 'amount * 2', today: current_date}}}",
        "{plugin: drop, args: {columns: [zip], ignore_missing: true}}",
        "{plugin: filter, args: {where: \"date_trunc('month', Day) > current_date and amount::int between 1 and 2\"}}",
        "{plugin: derive, args: {columns: {x: 'day.year', y: 'list_transform(amount, z -> z.price + id)'}}}",
        "{plugin: sort, args: {by: [-AMOUNT]}}",
        "{plugin: sql, args: {query: 'select sum(amount) as total, rowid, year(day) as y from data group by all order by total'}}",
        "{plugin: sql, args: {query: 'with q as (select d.*, x.k from data d, (select unnest(amount, recursive := true) from data) x) select k from q'}}",
        "{plugin: sql, args: {query: 'select columns(c -> c like ''a%'') from data'}}",
        "{plugin: sql, args: {query: 'select data, day.hour.of from data'}}",
        "{plugin: sql, args: {query: 'select street from (select unnest(day) from data)'}}",
        "{plugin: sql, args: {query: 'pivot data on day in (1, 2) using sum(amount)'}}",
    ],
)
def test_what_could_run_is_not_refused(step: str) -> None:
    assert problems(KNOWN, step) == []


def test_columns_are_followed_from_step_to_step() -> None:
    found = problems(
        KNOWN,
        "{plugin: rename, args: {columns: {day: ordered_on}}}",
        "{plugin: derive, args: {columns: {total: amount * 2}}}",
        "{plugin: drop, args: {columns: [id]}}",
        "{plugin: cast, args: {columns: {total: INTEGER, ordered_on: DATE, day: DATE}}}",
        "{plugin: sql, args: {query: 'select *, total + 1 as more from data'}}",
        "{plugin: sql, args: {query: 'select * exclude (amount), row_number() over () as n from data'}}",
        "{plugin: select, args: {columns: [n, more, ordered_on, amount, id]}}",
    )
    assert found == [
        "day → there is no column `day` here ()",
        "amount → there is no column `amount` here ()",
        "id → there is no column `id` here ()",
    ]


@pytest.mark.parametrize(
    "extract",
    [
        "{plugin: csv, args: {path: x.csv, columns: {id: BIGINT}}}",
        "{plugin: parquet, args: {path: x.parquet}}",
        "{plugin: sql, args: {url: 'duckdb:///x.db', query: select * from t}}",
        "{plugin: sql, args: {url: 'duckdb:///x.db', query: 'select id, count(*) from t group by 1'}}",
        "{plugin: sql, args: {url: 'duckdb:///x.db', query: 'select id, unnest(s) as s from t'}}",
        "{plugin: sql, args: {url: 'sqlite:///x.db', query: 'select \"id\" from t'}}",
        "{plugin: sql, args: {url: 'sqlite:///x.db', query: select rowid from t}}",
    ],
)
def test_what_only_the_data_tells_is_not_known(extract: str) -> None:
    assert problems(extract, "{plugin: select, args: {columns: [zip]}}") == []


@pytest.mark.parametrize(
    "extract",
    [
        "{plugin: sql, args: {url: 'duckdb:///x.db', query: 'select t.id, a + b as amount from t union all select 1, 2'}}",
        "{plugin: sql, args: {url: 'sqlite:///x.db', query: 'select id, a as amount from t where day > :since', params: {since: 1}}}",
        "{plugin: sql, args: {url: '${{ env.URL || ''duckdb:///x.db'' }}', query: 'with q as (select 1) select id, amount from q'}}",
    ],
)
def test_a_query_that_lists_its_columns_tells_them(extract: str) -> None:
    assert problems(extract, "{plugin: select, args: {columns: [amonut]}}") == [
        "amonut → there is no column `amonut` here (amount)"
    ]


def test_a_secret_beside_the_query_hides_nothing() -> None:
    text = """
secrets: {db: {plugin: env, args: {name: DB}}}
pipelines:
  demo:
    phases:
      extract: {steps: [{plugin: parquet, args: {path: "${{ secrets.db }}", columns: [id]}}]}
      transform: {steps: [{plugin: drop, args: {columns: [ix]}}]}
      load: {steps: [{plugin: parquet, args: {path: y}}]}
"""
    with pytest.raises(ConfigError, match="no column `ix`"):
        plan.build(config.load(text), discovery.catalog())


A = "{id: a, plugin: parquet, args: {path: a, columns: [id, x]}}"
B = "{id: b, plugin: parquet, args: {path: b, columns: [id, x, y]}}"
OPEN = "{id: b, plugin: parquet, args: {path: b}}"


@pytest.mark.parametrize(
    ("steps", "merge", "transform", "found"),
    [
        (f"{A}, {B}", "{plugin: join, args: {on: [id, y]}}", None, ["y → `a` has no column `y` ()"]),
        (f"{A}, {OPEN}", "{plugin: join, args: {on: [idd]}}", None, ["idd → `a` has no column `idd` (id)"]),
        (
            f"{A}, {B}",
            "{plugin: join, args: {on: [id], rename_duplicates: true}}",
            "{plugin: drop, args: {columns: [x, x_b, z]}}",
            ["z → there is no column `z` here ()"],
        ),
        (
            f"{A}, {B}",
            "{plugin: concat, args: {source_column: came_from}}",
            "{plugin: drop, args: {columns: [y, came_form]}}",
            ["came_form → there is no column `came_form` here (came_from)"],
        ),
        (f"{A}, {OPEN}", "{plugin: concat}", "{plugin: drop, args: {columns: [z]}}", []),
        (
            f"{A}, {B}",
            "",
            "{plugin: sql, args: {query: 'select a.y from a join b using (id)'}}",
            ["select a.y from a join b using (id) → there is no column `y` here ()"],
        ),
        (f"{A}, {OPEN}", "", "{plugin: sql, args: {query: 'select zip from a join b using (id)'}}", []),
        (
            f"{A}, {B}",
            "",
            "{plugin: drop, input: b, args: {columns: [y, yy]}}",
            ["yy → there is no column `yy` here (y)"],
        ),
    ],
)
def test_several_extract_steps(steps: str, merge: str, transform: str | None, found: list[str]) -> None:
    # A column that another table has may be meant: `select a.y` is left to the run.
    expected = [item for item in found if not item.startswith("select a.y")]
    assert problems(steps, *([transform] if transform else ()), merge=merge) == expected


class OwnVerb(ITransformPlugin, plugin_name="own_verb_of_columns"):
    class Config(PluginConfig):
        key: str

        def follow_columns(self, given: Given) -> tuple[str, ...] | None:
            given.need(self.key, "key")
            return (self.key, "found")

    def __call__(self, data: Any) -> Any:
        return data


class OwnLoad(ILoadPlugin, plugin_name="own_load_of_columns"):
    def __init__(self, plugin_id: str, key: str) -> None:
        self.id, self.key = plugin_id, key

    @classmethod
    def follow_columns(cls, args: dict[str, Any], given: Given) -> None:
        given.need(args["key"], "key")

    async def __call__(self, data: list[dict[str, Any]]) -> None:
        pass


class Faulty(ITransformPlugin, plugin_name="faulty_verb_of_columns"):
    class Config(PluginConfig):
        def follow_columns(self, _: Given) -> tuple[str, ...]:
            raise RuntimeError("a mistake of its author")

    def __call__(self, data: Any) -> Any:
        return data


def test_a_load_that_makes_folders_of_a_column_needs_it() -> None:
    load = "{plugin: parquet, args: {path: lake/, mode: replace, partition_by: [dya]}}"
    assert problems(KNOWN, load=load) == ["dya → there is no column `dya` here (day)"]


def test_the_column_of_file_names_is_there_too() -> None:
    extract = "{plugin: parquet, args: {path: x, columns: [id], file_column: came_from}}"
    found = problems(extract, "{plugin: drop, args: {columns: [came_from, other]}}")
    assert found == ["other → there is no column `other` here ()"]


def test_plugins_of_ones_own_take_part() -> None:
    load = "{plugin: own_load_of_columns, args: {key: fuond}}"
    verb = "{plugin: own_verb_of_columns, args: {key: di}}"
    assert problems(KNOWN, verb, load=load) == [
        "di → there is no column `di` here (id)",
        "fuond → there is no column `fuond` here (found)",
    ]


def test_what_a_plugin_raises_while_its_columns_are_followed_counts_as_not_known() -> None:
    assert problems(KNOWN, "{plugin: faulty_verb_of_columns}", "{plugin: drop, args: {columns: [zip]}}") == []


def test_a_hook_behind_extract_may_change_the_columns() -> None:
    text = """
pipelines:
  demo:
    phases:
      extract:
        steps: [{plugin: parquet, args: {path: x, columns: [id]}}]
        post: [{plugin: hook_of_columns}]
      load: {steps: [{plugin: own_load_of_columns, args: {key: zip}}]}
"""
    from pipeline_flow.plugins import IPostProcessPlugin

    class Hook(IPostProcessPlugin, plugin_name="hook_of_columns"):
        async def __call__(self, data: Any) -> Any:
            return data

    assert plan.build(config.load(text), discovery.catalog()).plan.pipelines


# --------------------------------------------------------------------------- a pipeline that runs is never reported

names = st.sampled_from(["id", "ID", "amount", "day", "s", "l", "total", "zip"])
some = st.lists(names, min_size=1, max_size=3, unique=True)
terms = st.sampled_from(
    [
        "id + 1",
        "amount * 2",
        "s.a",
        "s",
        "l[1]",
        "zip",
        "len(l)",
        "total",
        "coalesce(id, amount)",
        "upper(day)",
        "current_date",
    ]
)
conditions = st.sampled_from(["id > 1", "s.a = 1", "zip is null", "day > 'a'", "total > 0", "len(l) > 0"])
queries = st.sampled_from(
    [
        "select * from data",
        "select id, amount as total from data",
        "select * exclude (id) from data",
        "select d.s.a as zip, d.day from data d",
        "select unnest(l) as id from data",
        "select s.* from data",
        "select unnest(s) from data",
        "select a from (select unnest(s) from data)",
        "select max(id) as id, day from data group by all",
        "select x.id from data x join data y using (id)",
        "select total + 1 as total from (select amount as total from data)",
        "select * replace (id + 1 as id), l as zip from data",
        "with q as (select id, day as zip from data) select zip from q order by id",
        "select columns('i.*') from data",
        "select id, (select max(amount) from data) as amount from data",
    ]
)
verbs = st.one_of(
    st.builds(
        lambda c: {"plugin": "select", "args": {"columns": c}},
        some | st.dictionaries(names, terms, min_size=1, max_size=2),
    ),
    st.builds(
        lambda c: {"plugin": "rename", "args": {"columns": c}},
        st.dictionaries(names, names, min_size=1, max_size=2),
    ),
    st.builds(
        lambda c, m: {"plugin": "drop", "args": {"columns": c, "ignore_missing": m}}, some, st.booleans()
    ),
    st.builds(
        lambda c: {"plugin": "derive", "args": {"columns": c}},
        st.dictionaries(names, terms, min_size=1, max_size=2),
    ),
    st.builds(lambda c: {"plugin": "filter", "args": {"where": c}}, conditions),
    st.builds(lambda c: {"plugin": "sort", "args": {"by": c}}, some),
    st.builds(lambda c: {"plugin": "deduplicate", "args": {"by": c}}, some),
    st.builds(lambda c: {"plugin": "flatten", "args": {"columns": [c]}}, names),
    st.builds(lambda c: {"plugin": "explode", "args": {"column": c}}, names),
    st.builds(lambda q: {"plugin": "sql", "args": {"query": q}}, queries),
    st.builds(
        lambda c: {
            "plugin": "validate",
            "args": {"checks": [{"sql": c, "on_failure": "warn"}, {"unique": ["id"], "on_failure": "warn"}]},
        },
        conditions,
    ),
)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    chosen=st.lists(st.sampled_from(["id", "amount", "day", "s", "l"]), min_size=1, unique=True),
    steps=st.lists(verbs, min_size=1, max_size=4),
)
def test_a_pipeline_that_runs_is_never_reported(
    tmp_path: Path, chosen: list[str], steps: list[dict[str, Any]]
) -> None:
    """The other way round: where a column is reported, the run without the check fails."""
    source = tmp_path / "x.parquet"
    if not source.exists():
        table = pa.table(
            {
                "id": [1, 2],
                "amount": [1.5, None],
                "day": ["a", "b"],
                "s": [{"a": 1, "zip": "x"}, None],
                "l": [[1, 2], []],
            }
        )
        pq.write_table(table, source)
    extract: dict[str, Any] = {"plugin": "parquet", "args": {"path": str(source), "columns": chosen}}
    load = {"plugin": "parquet", "args": {"path": str(tmp_path / "out.parquet")}}
    phases = {"extract": {"steps": [extract]}, "transform": {"steps": steps}, "load": {"steps": [load]}}
    text = yaml.safe_dump({"pipelines": {"demo": {"phases": phases}}})
    try:
        entrypoint.prepare(text)
    except ConfigError as error:
        if {problem.code for problem in error.problems} != {NoSuchColumn.code}:
            return
    else:
        return
    # The same, with the columns out of the check's sight.
    extract["args"].pop("columns")
    hidden = {"plugin": "python", "args": {"function": f"{tmp_path}/pick.py:pick", "args": {"names": chosen}}}
    (tmp_path / "pick.py").write_text(
        "import pyarrow as pa\ndef pick(data: pa.Table, names):\n    return data.select(names)\n"
    )
    phases["transform"]["steps"] = [hidden, *_blind(steps, tmp_path)]
    result = entrypoint.run(
        yaml.safe_dump({"pipelines": {"demo": {"phases": phases}}}), raise_on_failure=False
    )
    assert not result.succeeded, text


def _blind(steps: list[dict[str, Any]], tmp_path: Path) -> list[dict[str, Any]]:
    """The steps with one between each two of which nothing is known."""
    (tmp_path / "same.py").write_text("def same(data):\n    return data\n")
    nothing = {"plugin": "python", "args": {"function": f"{tmp_path}/same.py:same"}}
    return [item for step in steps for item in (step, nothing)]
