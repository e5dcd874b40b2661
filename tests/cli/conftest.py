from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.shell import Shell, Warm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    process = Warm()
    yield process
    process.end()


@pytest.fixture
def shell(tmp_path: Path, warm: Warm) -> Shell:
    """The command line in an empty folder with ``in.csv``, two rows."""
    return new_shell(tmp_path / "work", warm)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, warm: Warm) -> Shell:
    """The same for all tests of a module that change nothing in it but the file that they read."""
    return new_shell(tmp_path_factory.mktemp("shared") / "work", warm)


def new_shell(folder: Path, warm: Warm) -> Shell:
    folder.mkdir()
    shell = Shell(folder, warm)
    shell.write("in.csv", "id,name\n1,x\n2,y\n")
    return shell
