"""`validate` with its options, and `fmt`: what they write, and what they leave as it is."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow import entrypoint
from pipeline_flow.config.source import Source, Sources, parse, read
from tests import pages
from tests.config.test_yaml_suite import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.cli.shell import Shell

GOOD = """\
# a comment
pipelines:
  p:
    phases:   # odd   spacing stays
      extract:
        steps:
          - plugin: csv
            args: {path: "in.csv",  'delimiter': ";"}
      load:
        steps:
          - { plugin: parquet, args: { path: out.x, compression: zstd } }
"""
WRONG = (
    GOOD.replace("steps:\n          - plugin:", "stepss:\n          - plugn:")
    .replace("parquet,", "parqet,")
    .replace("zstd", "zstdd")
    .replace("delimiter", "delimitr")
)


ROOT = Path(__file__).parents[2]


# -------------------------------------------------------------------------------------------------------------- plain


def _one_step_each() -> dict[str, Any]:
    """Each plugin call of the file that has them all in a pipeline of its own: nobody asks for anybody's columns."""
    (tree,) = parse(read(ROOT / "tests/config/corpus/good/every_plugin.yaml"), Sources()).documents
    data: Any = plain(tree)
    csv = {"plugin": "csv", "args": {"path": "x.csv"}}
    found: dict[str, Any] = {}
    for pipeline in data["pipelines"].values():
        if any("tables" in step.get("args", {}) for step in pipeline["phases"]["extract"]["steps"]):
            found[f"p{len(found)}"] = pipeline  # whoever takes tables must be given some
            continue
        for name, phase in pipeline["phases"].items():
            for step in phase["steps"]:
                phases = {"extract": {"steps": [csv]}, "load": {"steps": [csv]}, name: {"steps": [step]}}
                found[f"p{len(found)}"] = {"phases": phases}
        if "merge" in pipeline["phases"]["extract"]:
            merge = {"steps": [csv, csv], "merge": pipeline["phases"]["extract"]["merge"]}
            found[f"p{len(found)}"] = {"phases": {"extract": merge, "load": {"steps": [csv]}}}
    return {**data, "pipelines": found}


def test_nothing_heavy_is_imported_whatever_the_plugins(shell: Shell) -> None:
    """Neither the engine nor what plugins work with; only to follow the columns of queries DuckDB is asked for them."""
    shell.write("p.yaml", json.dumps(_one_step_each()))
    code = """
import sys
sys.argv = ["pipeline-flow", "validate", "p.yaml"]
from pipeline_flow.cli import main
from pipeline_flow.plan import columns
columns.lacks = lambda *_: ()
try:
    main()
finally:
    heavy = {"pyarrow", "duckdb", "pandas", "polars", "numpy", "httpx2", "sqlglot", "rich", "boto3", "dotenv", "fastexcel",
             "fastavro", "sqlalchemy", "psycopg", "asyncpg", "pymysql", "pipeline_flow.engine", "pipeline_flow.data"}
    sys.stderr.write("imported: " + " ".join(sorted(heavy & set(sys.modules))))
"""
    done = shell.python("-c", code)
    assert done.code == 0, done.err
    assert re.fullmatch(r"p.yaml: fine: \d\d pipelines, \d+ steps\nimported: ", done.err), done.err


def test_a_thousand_pipelines_are_checked_in_a_few_times_what_reading_their_text_takes() -> None:
    text = "pipelines:\n" + "".join(
        GOOD.partition("pipelines:\n")[2].replace("  p:", f"  p{number}:", 1) for number in range(1000)
    )
    source = Source(text, "p.yaml")

    def seconds(work: Callable[[], object]) -> float:
        times = []
        for _ in range(3):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    reading = seconds(lambda: parse(source, Sources()))
    checking = seconds(lambda: entrypoint.prepare(source, thorough=False))
    assert checking < 5 * reading


@pytest.mark.skipif(os.name == "nt", reason="the page is written for a POSIX shell")
def test_the_page_of_typical_mistakes_shows_exactly_what_is_printed(shell: Shell) -> None:
    shown = 0
    for block in pages.blocks(ROOT / "docs/howto/typical-mistakes.md"):
        if block.mark == "file":
            shell.write(block.value, block.text.encode())
            continue
        command, _, expected = block.text.partition("\n")
        done = shell(*command.split()[2:])
        assert done.code == int(block.value)
        assert done.err.replace(str(shell.folder), "…") == expected
        shown += 1
    assert shown >= 12


# ------------------------------------------------------------------------------------------------------------ --json


def test_the_problems_are_data(shell: Shell) -> None:
    shell.write("p.yaml", "nmae: x\n" + GOOD.replace("parquet,", "parqet,"))
    done = shell("validate", "p.yaml", "--json")
    assert (done.code, done.err) == (2, "")
    found = json.loads(done.out)
    assert found == {
        "ok": False,
        "problems": [
            {
                "code": "plugin.unknown",
                "file": "p.yaml",
                "line": 12,
                "column": 23,
                "length": 6,
                "text": "no load plugin is called `parqet`",
                "hint": found["problems"][0]["hint"],
                "suggestion": "parquet",
                "warning": False,
            }
        ],
        "warnings": [found["warnings"][0]],
    }
    assert found["warnings"][0]["suggestion"] == "name"


def test_a_good_file_is_fine_as_data_too_whatever_its_plugins_print(shell: Shell) -> None:
    shell.write("plugs.py", "print('printed at the import')\n")
    shell.write("p.yaml", GOOD + "plugins: { custom: { files: [plugs.py] } }\n")
    done = shell("validate", "p.yaml", "--json")
    assert json.loads(done.out) == {"ok": True, "problems": [], "warnings": []}
    assert "printed at the import" in done.err


def test_a_file_that_is_not_there_is_a_problem_like_any_other(shell: Shell) -> None:
    done = shell("validate", "nope.yaml", "--json")
    (problem,) = json.loads(done.out)["problems"]
    assert (done.code, problem["code"], problem["file"]) == (2, "config.file_unreadable", None)


# ------------------------------------------------------------------------------------------------------------- --fix


def test_what_has_one_right_answer_is_mended_round_after_round(shell: Shell) -> None:
    file = shell.write("p.yaml", WRONG)
    done = shell("validate", "p.yaml", "--fix")
    assert done.code == 0, done.err
    assert file.read_text() == GOOD
    assert done.err.splitlines() == [
        "p.yaml:6:9  stepss → steps",
        "p.yaml:11:23  parqet → parquet",
        "p.yaml:7:13  plugn → plugin",
        "p.yaml:11:66  zstdd → zstd",
        "p.yaml:8:38  delimitr → delimiter",
        "p.yaml: fine: 1 pipeline, 2 steps",
    ]
    assert shell("validate", "p.yaml", "--fix").err == "p.yaml: fine: 1 pipeline, 2 steps\n"


def test_what_is_left_is_reported_and_nothing_else_changes(shell: Shell) -> None:
    file = shell.write("p.yaml", "name: ${{ env.PF_NOPE }}\n" + WRONG)
    done = shell("validate", "p.yaml", "--fix", "--json")
    found = json.loads(done.out)
    assert done.code == 2
    assert [problem["text"] for problem in found["problems"]] == [
        "the environment variable `PF_NOPE` is not set"
    ]
    assert found["fixed"][0] == {
        "file": "p.yaml",
        "line": 7,
        "column": 9,
        "wrong": "stepss",
        "right": "steps",
    }
    assert file.read_text() == "name: ${{ env.PF_NOPE }}\n" + GOOD


def test_included_files_are_mended_too(shell: Shell) -> None:
    shell.write("p.yaml", "include: more/*.yaml\nvariables: { path: in.csv }\n" + GOOD.replace("p:", "a:", 1))
    shell.write("more/b.yaml", WRONG.replace("  p:", "  b:").replace("out.x", "b.x"))
    before = (shell.folder / "p.yaml").read_bytes()
    done = shell("validate", "p.yaml", "--fix")
    assert done.code == 0, done.err
    assert "more/b.yaml:6:9  stepss → steps" in done.err
    assert (shell.folder / "p.yaml").read_bytes() == before
    assert (shell.folder / "more/b.yaml").read_text() == GOOD.replace("  p:", "  b:").replace("out.x", "b.x")


def test_line_ends_the_encoding_and_the_permissions_stay(shell: Shell) -> None:
    text = GOOD.replace("a comment", "łódź").replace("\n", "\r\n")
    content = b"\xff\xfe" + text.replace("parquet,", "parqet,").encode("utf-16-le")
    file = shell.write("p.yaml", content)
    file.chmod(0o640)
    shell("validate", "p.yaml", "--fix").assert_told(0)
    assert file.read_bytes() == b"\xff\xfe" + text.encode("utf-16-le")
    assert file.stat().st_mode & 0o777 == 0o640
    assert shell.left_behind() == []


def test_nothing_is_changed_that_leaves_as_many_problems(shell: Shell) -> None:
    """`retyr` is surely `retry`; but what stands there is no retry, and another problem is no progress."""
    text = GOOD.replace("- plugin: csv\n", "- plugin: csv\n            retyr: often\n")
    file = shell.write("p.yaml", text)
    done = shell("validate", "p.yaml", "--fix")
    done.assert_told(2, "did you mean `retry`?", "1 problem")
    assert file.read_text() == text


def test_a_key_of_the_top_level_that_nobody_reads_is_mended_only_where_that_helps(shell: Shell) -> None:
    own = "default: &steps { a: 1 }\n" + GOOD
    file = shell.write("p.yaml", own)
    shell("validate", "p.yaml", "--fix").assert_told(0, "did you mean `defaults`?")
    assert file.read_text() == own
    file.write_text("variabels: { path: in.csv }\n" + GOOD.replace("in.csv", "${{ variables.path }}"))
    shell("validate", "p.yaml", "--fix").assert_told(0, "p.yaml:1:1  variabels → variables")
    assert file.read_text().startswith("variables: {")


@pytest.mark.skipif(os.name == "nt", reason="ulimit is POSIX's")
def test_a_file_that_cannot_be_written_is_named_and_stays(shell: Shell) -> None:
    file = shell.write("p.yaml", WRONG)
    shell.line("ulimit -f 0; pf validate p.yaml --fix 2>&1 | cat >&2; exit ${PIPESTATUS[0]}").assert_told(
        2, "p.yaml cannot be written: file too large"
    )
    assert file.read_text() == WRONG
    assert shell.left_behind() == []


# --------------------------------------------------------------------------------------------------------------- fmt


def test_fmt_changes_what_nobody_sees_and_check_only_names_it(shell: Shell) -> None:
    odd = shell.write("odd.yaml", "a: 1  \n\n\n\nb: |\n  x  \n\n# c\t\nc: 2")
    tidy = shell.write("tidy.yaml", GOOD)
    done = shell("fmt", "--check", "odd.yaml", "tidy.yaml")
    assert (done.code, done.out, done.err) == (1, "", "odd.yaml: would change\n")
    assert odd.read_text().startswith("a: 1  \n")
    done = shell("fmt", "odd.yaml", "tidy.yaml")
    assert (done.code, done.out, done.err) == (0, "", "odd.yaml: formatted\n")
    assert odd.read_text() == "a: 1\n\nb: |\n  x  \n\n# c\nc: 2\n"
    assert tidy.read_text() == GOOD
    assert shell("fmt", "--check", "odd.yaml", "tidy.yaml").code == 0


def test_fmt_leaves_a_file_that_is_no_yaml_and_does_the_others(shell: Shell) -> None:
    bad, odd = shell.write("bad.yaml", "a: [1  \n"), shell.write("odd.yaml", "a: 1  \n")
    shell("fmt", "bad.yaml", "nope.yaml", "odd.yaml").assert_told(
        2,
        "bad.yaml:1:5  config.yaml_syntax",
        "bad.yaml is as it was",
        "no file nope.yaml",
        "odd.yaml: formatted",
    )
    assert bad.read_text() == "a: [1  \n"
    assert odd.read_text() == "a: 1\n"
