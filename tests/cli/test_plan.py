"""``pipeline-flow plan``: its forms, its exit codes, and that it does nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.shell import etl

if TYPE_CHECKING:
    from tests.cli.shell import Shell


def _configure(shell: Shell) -> None:
    shell.configure(
        name="shop",
        variables={"out": "out.parquet"},
        pipelines={
            "orders": etl(load={"plugin": "parquet", "args": {"path": "${{ variables.out }}"}}),
            "report": {**etl(load={"plugin": "csv", "args": {"path": "r.csv"}}), "needs": "orders"},
        },
    )


def test_the_plan_goes_to_stdout_and_nothing_is_done(shell: Shell) -> None:
    _configure(shell)
    done = shell("plan", "p.yaml")
    assert (done.code, done.err) == (0, "")
    assert "│\n●  report   needs orders\n" in done.out
    assert sorted(path.name for path in shell.folder.iterdir()) == ["in.csv", "p.yaml"]


def test_select_and_var_mean_what_they_mean_elsewhere(shell: Shell) -> None:
    _configure(shell)
    done = shell("plan", "p.yaml", "--json", "--select", "orders", "--var", "out=other.parquet")
    plan = json.loads(done.out)
    assert (done.code, plan["format"], plan["levels"]) == (0, 1, [["orders"]])
    (load,) = plan["pipelines"][0]["phases"][1]["steps"]
    assert load["destination"] == (shell.folder / "other.parquet").resolve().as_uri()


def test_the_picture_is_written_to_its_file(shell: Shell) -> None:
    _configure(shell)
    done = shell("plan", "p.yaml", "--svg", "plan.svg")
    assert (done.code, done.out, done.err) == (0, "", "plan.svg: written\n")
    assert (shell.folder / "plan.svg").read_text().startswith("<svg ")
    done = shell("plan", "p.yaml", "--svg", "missing/plan.svg")
    assert (done.code, done.err) == (2, "missing/plan.svg cannot be written: no such file or directory\n")


@pytest.mark.parametrize(
    "forms", [("--json", "--mermaid"), ("--json", "--svg", "x.svg"), ("--mermaid", "--svg", "x.svg")]
)
def test_only_one_form_at_a_time(shell: Shell, forms: tuple[str, ...]) -> None:
    _configure(shell)
    done = shell("plan", "p.yaml", *forms)
    assert done.code == 2
    assert "exclude each other" in done.err
    assert not (shell.folder / "x.svg").exists()


def test_a_configuration_with_problems_has_no_plan(shell: Shell) -> None:
    shell.configure(pipelines={"p": {**etl(), "needs": "nobody"}})
    done = shell("plan", "p.yaml")
    done.assert_told(2, "there is no pipeline `nobody`", "1 problem; nothing has run")
    assert done.out == ""


def test_what_validate_warns_of_is_told_here_too(shell: Shell) -> None:
    shell.configure(
        plugins="@extract\nasync def csv():\n    return []\n", pipelines={"p": etl({"plugin": "csv"})}
    )
    done = shell("plan", "p.yaml")
    assert done.code == 0
    assert "warning: " in done.err
    assert "custom plugs.py" in done.out
