"""What the package imports is what its installation brings."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

SOURCES = sorted(Path("src/pipeline_flow").rglob("*.py"))
USERS = {"pandas", "polars", "pytest"}  # taken only where the user has them already


def distribution(requirement: str) -> str:
    """The name that a requirement begins with."""
    found = re.match(r"[\w.-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


@cache
def declared() -> set[str]:
    """The distributions that pyproject.toml names, for everybody or as an extra, and what these need themselves."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [
        *project["dependencies"],
        *(item for extra in project["optional-dependencies"].values() for item in extra),
    ]
    direct = {distribution(item) for item in named} - {"tzdata", "pipeline-flow"}
    behind = {
        distribution(item) for name in direct for item in requires(name) or () if "extra ==" not in item
    }
    return direct | behind


installed = cache(packages_distributions)


def imported(file: Path) -> set[str]:
    """The modules from elsewhere that a file imports anywhere, by the first part of their names."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"pipeline_flow"}


@pytest.mark.parametrize("file", SOURCES, ids=str)
def test_every_import_is_of_a_declared_distribution(file: Path) -> None:
    distributions, known = installed(), declared()
    for module in imported(file) - USERS:
        assert {distribution(name) for name in distributions[module]} & known, f"{module} is not declared"
