"""A quality gate that falls: what it says, which exit code, and that nothing was loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.cli.shell import Shell

GATE = {"plugin": "validate", "args": {"checks": [{"sql": "id > 1", "name": "ids"}]}}
BROKEN = {"plugin": "sql", "args": {"query": "select nothing from data"}}


def pipeline(transform: dict[str, Any], out: str, **keys: Any) -> dict[str, Any]:
    return {
        **keys,
        "phases": {
            "extract": {"steps": [{"plugin": "csv", "args": {"path": "in.csv"}}]},
            "transform": {"steps": [transform]},
            "load": {"steps": [{"plugin": "parquet", "args": {"path": out}}]},
        },
    }


def test_a_failed_check_ends_with_3_and_loads_nothing(shell: Shell) -> None:
    shell.configure(pipelines={"p": pipeline(GATE, "out.parquet")})
    done = shell("run", "p.yaml")
    done.assert_told(3, "data.quality", "the check failed: `ids`: 1 of 2 rows, such as {id: 1, name: 'x'}")
    assert not (shell.folder / "out.parquet").exists()


@pytest.mark.parametrize(
    ("others", "code"),
    [
        ({"well": ({"plugin": "limit", "args": {"rows": 1}}, {})}, 3),
        ({"after": ({"plugin": "limit", "args": {"rows": 1}}, {"needs": "gate"})}, 3),
        ({"broken": (BROKEN, {})}, 1),
    ],
)
def test_what_else_happens_decides_only_where_it_is_worse(
    shell: Shell, others: dict[str, Any], code: int
) -> None:
    pipelines = {"gate": pipeline(GATE, "gate.parquet")}
    for name, (transform, keys) in others.items():
        pipelines[name] = pipeline(transform, f"{name}.parquet", **keys)
    shell.configure(pipelines=pipelines)
    shell("run", "p.yaml").assert_told(code, "data.quality")


def test_a_warning_lets_the_data_pass(shell: Shell) -> None:
    check = {"sql": "id > 1", "on_failure": "warn"}
    shell.configure(
        pipelines={"p": pipeline({"plugin": "validate", "args": {"checks": [check]}}, "out.parquet")}
    )
    done = shell("run", "p.yaml")
    done.assert_told(0, "check failed: sql `id > 1`: 1 of 2 rows")
    assert (shell.folder / "out.parquet").exists()
