"""Plugin files that a configuration names."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_flow.errors import ConfigError
from pipeline_flow.events import Notice
from pipeline_flow.testing import Recorder
from tests.compat.conftest import etl, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.compat.plugins import Shelf

HELLO = """
from pipeline_flow.plugins import IExtractPlugin

class Hello(IExtractPlugin, plugin_name="{name}"):
    async def __call__(self):
        return "{says}"
"""


def custom(plugins: str, plugin: str = "hello") -> str:
    return f"plugins: {{custom: {plugins}}}" + etl(plugin=plugin)


@pytest.fixture
def hello(plugin_file: Callable[..., Path]) -> Callable[..., Path]:
    """Writes a file with the extract plugin `hello`."""

    def write(file: str = "custom.py", says: str = "hello", name: str = "hello") -> Path:
        return plugin_file(HELLO.format(name=name, says=says), file)

    return write


@pytest.mark.parametrize(
    "plugins",
    [
        "{files: [more/custom.py]}",
        "{files: [./more/../more/custom.py]}",
        "{files: [HERE/more/custom.py]}",
        "{dirs: [more]}",
        "{dirs: [HERE/more/]}",
        "{dirs: [more], files: [more/custom.py, HERE/more/custom.py]}",
        "{files: [more]}",
        "{dirs: [more/custom.py]}",
    ],
)
def test_files_and_folders_are_named_from_the_working_folder_or_absolutely_and_a_file_may_be_named_twice(
    shelf: type[Shelf], hello: Callable[..., Path], plugins: str
) -> None:
    hello("more/custom.py")
    run(custom(plugins.replace("HERE", str(Path.cwd()))))
    assert shelf.kept["end"] == "hello"


def test_a_file_named_twice_is_executed_once(plugin_file: Callable[..., Path], shelf: type[Shelf]) -> None:
    plugin_file(
        HELLO.format(name="hello", says="hello")
        + "from tests.compat.plugins import Shelf\nShelf.log.append(1)"
    )
    run(custom("{dirs: [.], files: [custom.py]}"))
    assert shelf.log == [1, "end"]


def test_all_python_files_of_a_folder_are_read_and_others_are_not(
    shelf: type[Shelf], hello: Callable[..., Path]
) -> None:
    hello("more/a.py", name="from_a", says="a")
    hello("more/b.py", name="from_b", says="b")
    Path("more/notes.txt").write_text("this is not Python")
    run(custom("{dirs: [more]}", "from_a"))
    first = shelf.kept["end"]
    run(custom("{dirs: [more]}", "from_b"))
    assert (first, shelf.kept["end"]) == ("a", "b")


def test_two_runs_in_one_process_see_the_same_file_and_what_was_changed_in_it(
    shelf: type[Shelf], hello: Callable[..., Path]
) -> None:
    text = custom("{files: [custom.py]}")
    said = []
    for says in ("first", "first", "second"):
        hello(says=says)
        run(text)
        said.append(shelf.kept["end"])
    assert said == ["first", "first", "second"]


def test_two_runs_in_one_process_may_have_different_files_with_plugins_of_one_name(
    shelf: type[Shelf], hello: Callable[..., Path]
) -> None:
    hello("a.py", says="a")
    hello("b.py", says="b")
    said = []
    for file in ("a.py", "b.py", "a.py"):
        run(custom(f"{{files: [{file}]}}"))
        said.append(shelf.kept["end"])
    assert said == ["a", "b", "a"]


def test_what_one_run_loaded_is_not_there_in_another_that_does_not_name_it(
    hello: Callable[..., Path],
) -> None:
    hello(name="only_where_named")
    run(custom("{files: [custom.py]}", "only_where_named"))
    with pytest.raises(ConfigError, match="only_where_named"):
        run(etl(plugin="only_where_named"))


def test_a_plugin_file_may_import_a_helper_that_declares_plugins(
    shelf: type[Shelf], plugin_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    plugin_file(HELLO.format(name="of_the_helper", says="helped"), "compat_helper.py")
    plugin_file("import compat_helper\n" + HELLO.format(name="of_the_file", says="filed"))
    run(custom("{files: [custom.py]}", "of_the_file"))
    first = shelf.kept["end"]
    run(custom("{files: [custom.py]}", "of_the_helper"))
    assert (first, shelf.kept["end"]) == ("filed", "helped")


def test_a_module_that_the_process_imported_itself_stays_visible_after_a_run_named_its_file(
    shelf: type[Shelf], plugin_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path.cwd()))
    plugin_file(
        HELLO.format(name="imported_and_named", says="hello")
        + "from tests.compat.plugins import Shelf\nShelf.log.append('executed')",
        "compat_imported.py",
    )
    __import__("compat_imported")
    run(custom("{files: [compat_imported.py]}", "imported_and_named"))
    run(etl(plugin="imported_and_named"))
    assert shelf.log == ["executed", "end", "end"]


def test_a_custom_plugin_with_the_name_of_a_built_in_wins_with_one_warning(
    shelf: type[Shelf], hello: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    hello(name="csv", says="mine")
    recorder = Recorder()
    with caplog.at_level(logging.INFO, "pipeline_flow"):
        text = custom("{files: [custom.py]}", "csv")
        text += text.partition("pipelines:\n")[2].replace("  p:", "  q:")
        run(text, listeners=[recorder])
    assert shelf.kept["end"] == "mine"
    notices = [event for event in recorder.events if isinstance(event, Notice)]
    assert len(notices) == 1
    assert "`csv`" in notices[0].text
    assert "custom.py" in notices[0].text
    assert notices[0].level == "warning"
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


@pytest.mark.parametrize(
    ("plugins", "message"),
    [
        ("{files: [nowhere.py]}", "nowhere.py"),
        ("{dirs: [nowhere]}", "nowhere"),
        ("{files: [broken.py]}", "line 2"),
    ],
)
def test_what_is_not_there_or_broken_is_an_error_that_names_it(plugins: str, message: str) -> None:
    Path("broken.py").write_text("x = 1\nimport not_installed_anywhere\n")
    with pytest.raises(ConfigError, match=message):
        run(custom(plugins))
    assert not [name for name in sys.modules if name.startswith("pipeline_flow_custom_broken")]


def test_plugins_may_be_declared_in_the_process_after_an_earlier_run(shelf: type[Shelf]) -> None:
    def say(what: str) -> Any:
        namespace: dict[str, Any] = {"__name__": f"{__name__}.declared"}
        exec(HELLO.format(name="declared_again", says=what), namespace)
        run(etl(plugin="declared_again"))
        return shelf.kept["end"]

    assert [say("one"), say("two")] == ["one", "two"]
