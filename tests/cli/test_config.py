"""`config`: the whole as it counts, and where one value comes from."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.config.test_resolved import TEXT

if TYPE_CHECKING:
    from tests.cli.shell import Shell

ROOT = Path(__file__).parents[2]


def test_the_command_prints_yaml_or_json_and_says_that_it_masked(shell: Shell) -> None:
    shell.write("p.yaml", TEXT)
    done = shell("config", "p.yaml", "--profile", "prod", "--var", "login=eve")
    assert done.code == 0
    assert re.fullmatch(r"\d+ values are masked\n", done.err)
    found = yaml.safe_load(done.out)
    assert found["variables"]["table"] == "prod_table"
    assert "hunter" not in done.out
    assert (
        json.loads(shell("config", "p.yaml", "--profile", "prod", "--var", "login=eve", "--json").out)
        == found
    )


def test_what_the_command_prints_validates(shell: Shell) -> None:
    shell.write("p.yaml", (ROOT / "tests/config/corpus/everything.yaml").read_text(encoding="utf-8"))
    (shell.folder / "again.yaml").write_text(shell("config", "p.yaml").out, encoding="utf-8")
    shell("validate", "again.yaml").assert_told(0, "fine: 4 pipelines")


def test_a_wrong_file_is_refused(shell: Shell) -> None:
    shell.write("p.yaml", TEXT.replace("rest_api", "rest_ipa"))
    done = shell("config", "p.yaml")
    done.assert_told(2, "did you mean `rest_api`?")
    assert done.out == ""


def test_the_way_of_a_value_is_told(shell: Shell) -> None:
    shell.write("p.yaml", TEXT)
    done = shell("config", "p.yaml", "--profile", "prod", "--explain", "p-eu.load.sql.args.table")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        '"${{ variables.table }}"               p.yaml:32:66',
        "  variables.table: the profile `prod`  p.yaml:13:24",
        "    prod_table                         p.yaml:13:31",
    ]
    other_way = shell("config", "explain", "p.yaml", "p-eu.load.sql.args.table", "--profile", "prod")
    assert other_way.out == done.out
    shell("config", "p.yaml", "--explain", "p-eu.load.sql.args.tabel").assert_told(2, "did you mean `table`?")


def test_the_way_of_a_secret_value_does_not_show_it(shell: Shell) -> None:
    shell.write("p.yaml", TEXT)
    for path in ("p-eu.extract.rest_api.args.auth.password", "variables.db_password", "connections.shop"):
        done = shell("config", "p.yaml", "--explain", path)
        assert done.code == 0, done.err
        assert "hunter" not in done.out
        assert "***" in done.out
    done = shell("config", "p.yaml", "--explain", "p-eu.extract.rest_api.args.auth.username")
    assert "ann" not in done.out


def test_the_way_is_told_of_a_broken_file_too(shell: Shell) -> None:
    assert "PF_NOPE" not in os.environ
    shell.write("p.yaml", TEXT.replace("table: ann", 'table: "${{ env.PF_NOPE }}"'))
    done = shell("config", "p.yaml", "--explain", "p-eu.load.sql.args.table")
    assert done.code == 0
    assert "env.PF_NOPE: not set" in done.out
    assert "1 problem in the configuration: pipeline-flow validate" in done.err
