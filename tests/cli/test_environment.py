"""`--profile`, `--env-file`, and what the environment says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pipeline_flow as pf
from pipeline_flow import entrypoint
from pipeline_flow.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.shell import Shell

TEXT = """\
variables: { source: in.csv, target: test.csv }
profiles: { prod: { variables: { target: prod.csv } } }
pipelines:
  p:
    phases:
      extract: { steps: [{ plugin: csv, args: { path: "${{ variables.source }}" } }] }
      load: { steps: [{ plugin: csv, args: { path: "${{ variables.target }}" } }] }
"""
FROM_ENVIRONMENT = TEXT.replace("in.csv", '"${{ env.PF_SOURCE }}"').replace(
    "test.csv", '"${{ env.PF_TARGET }}"'
)


def test_a_profile_is_laid_over_the_file_by_option_and_by_environment(shell: Shell) -> None:
    shell.write("p.yaml", TEXT)
    shell("run", "-q", "p.yaml", "--profile", "prod").assert_told(0)
    assert (shell.folder / "prod.csv").exists()
    assert not (shell.folder / "test.csv").exists()
    (shell.folder / "prod.csv").unlink()
    shell("run", "-q", "p.yaml", env={"PIPELINE_FLOW_PROFILE": "prod"}).assert_told(0)
    assert (shell.folder / "prod.csv").exists()
    shell("run", "-q", "p.yaml", env={"PIPELINE_FLOW_PROFILE": ""}).assert_told(0)
    assert (shell.folder / "test.csv").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("run", "p.yaml"),
        ("validate", "p.yaml"),
        ("plan", "p.yaml"),
        ("preview", "p.yaml", "p.extract.csv"),
        ("plugins", "list", "-f", "p.yaml"),
        ("plugins", "show", "parquet", "-f", "p.yaml"),
    ],
    ids=" ".join,
)
def test_a_profile_that_is_not_there_is_refused_by_every_command(
    shared: Shell, command: tuple[str, ...]
) -> None:
    shared.write("p.yaml", TEXT)
    done = shared(*command, "--profile", "prdo")
    done.assert_told(2, "--profile prdo: there is no profile of this name", "did you mean `prod`?")


def test_the_names_of_an_env_file_are_added_and_what_is_set_already_stays(shell: Shell) -> None:
    shell.write("p.yaml", FROM_ENVIRONMENT)
    shell.write(".env", '# a comment\nexport PF_SOURCE="in.csv"\nPF_TARGET=$HOME.csv\nPF_NOTHING\n')
    shell("run", "-q", "p.yaml").assert_told(2, "PF_SOURCE")
    shell("run", "-q", "p.yaml", "--env-file", ".env").assert_told(0)
    assert (shell.folder / "$HOME.csv").exists()
    shell("run", "-q", "p.yaml", "--env-file", ".env", env={"PF_TARGET": "mine.csv"}).assert_told(0)
    assert (shell.folder / "mine.csv").exists()


def test_a_secret_manager_and_the_profile_see_the_env_file(shell: Shell) -> None:
    text = TEXT.replace("prod.csv", '"${{ secrets.target }}"')
    shell.write("p.yaml", "secrets: { target: { plugin: env, args: { variable: PF_TARGET } } }\n" + text)
    shell.write(".env", "PF_TARGET=secret.csv\nPIPELINE_FLOW_PROFILE=prod\n")
    shell("run", "-q", "p.yaml", "--env-file", ".env").assert_told(0)
    assert (shell.folder / "secret.csv").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, ("there is no file x.env",)),
        ("A=1\n\nfoo bar\nB=2\n", ("x.env:3:1  config.file_unreadable", "foo bar", "is not NAME=value")),
        (b"A=\xff\n", ("x.env:1:3  config.file_unreadable", "UTF-8")),
    ],
    ids=["missing", "a line that is none", "not UTF-8"],
)
def test_an_env_file_that_cannot_be_read_is_named(
    shell: Shell, content: str | bytes | None, told: tuple[str, ...]
) -> None:
    shell.write("p.yaml", TEXT)
    if content is not None:
        shell.write("x.env", content)
    shell("run", "p.yaml", "--env-file", "x.env").assert_told(2, *told, "nothing has run")
    assert not (shell.folder / "test.csv").exists()


def test_the_call_that_runs_what_is_left_says_the_profile_and_the_env_file_again(shell: Shell) -> None:
    shell.write("p.yaml", TEXT.replace("in.csv", "nope.csv"))
    shell.write("x y.env", "")
    done = shell("run", "p.yaml", "--profile", "prod", "--env-file", "x y.env")
    done.assert_told(1, "--profile prod --env-file 'x y.env'")


def test_python_takes_a_profile_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("id\n1\n")
    pf.run(TEXT, profile="prod")
    flow = pf.Flow.from_yaml(TEXT)
    flow.run()
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["in.csv", "prod.csv", "test.csv"]
    assert flow.plan(profile="prod").pipelines[0].phases[-1].steps[0].args == {"path": "prod.csv"}
    assert [problem.code for problem in flow.validate(profile="nope")] == ["config.unresolved"]
    with pytest.raises(ConfigError, match="no profile"):
        entrypoint.prepare(TEXT, profile="nope")
