"""What every test may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline_flow.core import inventory
from tests.connectors.mariadb_server import mariadb, mariadb_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["mariadb", "mariadb_database"]  # here, and so once in a session: it is one database


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite-golden", action="store_true", help="write golden files anew instead of comparing with them"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with ``golden/NAME`` beside the test; ``pytest --rewrite-golden`` writes the file."""

    def compare(name: str, text: str) -> None:
        file = request.path.parent / "golden" / name
        if request.config.getoption("--rewrite-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        expected = file.read_text(encoding="utf-8") if file.exists() else ""
        assert text == expected, f"{file} differs; pytest --rewrite-golden writes it anew"

    return compare


_declared_by_tests_of: dict[type, str] = {}


@pytest.fixture(autouse=True)
def _only_own_plugins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plugins that tests of other folders declare are not seen: declarations stand in one list for the process."""
    own = ".".join(request.module.__name__.split(".")[:2])
    declared = inventory._declared_by_process
    before = {item.cls for item in declared(())}

    def visible(hidden_modules: Iterable[str]) -> list[inventory.Declaration]:
        return [item for item in declared(hidden_modules) if _folder_of(item.cls, own) == own]

    monkeypatch.setattr(inventory, "_declared_by_process", visible)
    yield
    for item in declared(()):
        if item.cls not in before:
            _declared_by_tests_of[item.cls] = own


def _folder_of(cls: type, own: str) -> str:
    if cls.__module__.startswith("tests."):
        return ".".join(cls.__module__.split(".")[:2])
    return _declared_by_tests_of.get(cls, own)
