"""What the documentation says is true: the reference is made from the code, pages are followed, nothing is left out."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import pipeline_flow
from pipeline_flow import entrypoint, errors, events
from pipeline_flow.cli import exit as exits
from pipeline_flow.cli.app import app
from pipeline_flow.config import schema
from pipeline_flow.core import discovery, spec
from tests import pages

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    path for path in [*ROOT.glob("*.md"), *DOCS.glob("**/*.md")] if path.name != "language.head.md"
)
EXAMPLES = sorted(ROOT.glob("examples/*.yaml"))


def _text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def _section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    level = "#" * (len(title) - len(title.lstrip("#")))
    _, found, rest = f"\n{_text(page)}".partition(f"\n{title}\n")
    assert found, f"{page} has no heading {title!r}"
    return re.split(rf"^{level} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


# ---------------------------------------------------------------------------------------------- nothing is left out


def test_the_reference_pages_are_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/reference.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_plugin_and_each_of_its_arguments_has_its_place() -> None:
    built_in = discovery.BuiltIn()
    for kind in built_in.kinds():
        for name in built_in.names(kind):
            assert f"[`{name}`]({kind}.md#" in _section(
                "reference/plugins/index.md", f"## [`{kind}`]({kind}.md)"
            )
            told = _section(f"reference/plugins/{kind}.md", f"## `{name}`")
            (declaration,) = built_in.find(kind, name)
            for argument in spec.of(declaration.cls).arguments:
                assert f"\n| `{argument.name}` |" in told, (kind, name, argument.name)
                assert argument.description, f"{kind} {name}: `{argument.name}` does not say what it means"


def test_every_key_has_its_place() -> None:
    tables = schema.LEVELS
    known = [
        table
        for value in vars(schema).values()
        for table in (value.values() if value is schema.PHASE else [value])
        if isinstance(table, dict) and table and all(isinstance(key, schema.Key) for key in table.values())
    ]
    assert {id(table) for table in known} == {id(table) for table in tables.values()}, "a table has no place"
    for title, table in tables.items():
        told = _section("reference/language.md", f"## {title}")
        for name in table:
            assert f"\n| `{name}` |" in told, (title, name)


def test_every_error_code_has_its_place() -> None:
    told = _text("reference/errors.md")
    codes = {cls.__name__: cls.code for cls in errors.tree() if cls is not errors.PipelineFlowError}
    for name, code in {**codes, errors.RunFailed.__name__: errors.RunFailed.code}.items():
        assert f"\n## `{code}`\n" in told, name
        assert f"In Python: `{name}`" in told


def test_every_code_that_is_no_class_has_its_place() -> None:
    written = re.compile(r"Failure\(\s*\"([a-z]+\.[a-z_]+)\"")
    sources = (ROOT / "src").rglob("*.py")
    codes = {code for path in sources for code in written.findall(path.read_text(encoding="utf-8"))}
    assert codes
    for code in codes:
        assert f"\n## `{code}`\n" in _text("reference/errors.md")


def test_codes_are_the_same_for_no_two_errors() -> None:
    codes = [cls.code for cls in errors.tree()]
    assert len(codes) == len(set(codes))


def test_every_event_and_each_of_its_fields_has_its_place() -> None:
    for name in {cls.__name__ for cls in events.Event.__subclasses__() if cls.__module__ == events.__name__}:
        told = _section("reference/events.md", f"## `{name}`")
        for field in getattr(events, name).__dataclass_fields__:
            assert field == "at" or f"`{field}`" in told, (name, field)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(f"{path} {name}", inner)


def test_every_command_and_option_has_its_place() -> None:
    for path, command in _commands("pipeline-flow", typer.main.get_command(app)):
        told = _section("reference/cli.md", f"## {path}")
        for item in command.params:
            assert item.help, f"{path}: {item.name} does not say what it means"
            for name in item.opts if any(name.startswith("-") for name in item.opts) else [item.metavar]:
                assert re.search(rf"[`\s]{re.escape(name)}[`, ]", told), (path, name)


def test_every_exit_code_and_environment_variable_has_its_place() -> None:
    told = _text("reference/settings.md")
    codes = {value for name, value in vars(exits).items() if name.isupper() and type(value) is int}
    for code in codes:
        assert f"\n| {code} |" in told, code
    read = re.compile(r"environ(?:\.get\(|\[)\s*\"(\w+)\"|\bgetenv\(\s*\"(\w+)\"")
    sources = (ROOT / "src").rglob("*.py")
    names = {a or b for path in sources for a, b in read.findall(path.read_text(encoding="utf-8"))}
    assert "PIPELINE_FLOW_TMP" in names
    for name in names:
        assert f"\n| `{name}` |" in told, name


PACKAGES = [
    "pipeline_flow",
    "pipeline_flow.config",
    "pipeline_flow.data",
    "pipeline_flow.engine",
    "pipeline_flow.listeners",
    "pipeline_flow.plan",
    "pipeline_flow.plugins",
    "pipeline_flow.testing",
]


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_offers_can_be_imported(name: str) -> None:
    module = importlib.import_module(name)
    for public in module.__all__:
        assert getattr(module, public) is not None


@pytest.mark.parametrize("name", ["pipeline_flow", "pipeline_flow.plugins", "pipeline_flow.testing"])
def test_every_public_python_name_has_its_place_and_says_what_it_is(name: str) -> None:
    told = _section("reference/python.md", f"## {name}")
    module = importlib.import_module(name)
    for public in module.__all__:
        if not public.startswith("__"):
            assert f"\n### {public}\n" in told, public
            assert getattr(module, public).__doc__, public


# ---------------------------------------------------------------------------------------------- the pages are true


def _marked(page: Path) -> Any:
    slow = [pytest.mark.slow] if any(block.mark == "run" for block in pages.blocks(page)) else []
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=slow)


@pytest.mark.skipif(os.name == "nt", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize("page", [_marked(page) for page in PAGES])
def test_every_page_can_be_followed(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its YAML validates, its files and commands do what it shows: see tests/pages.py."""
    if missing := pages.lacks(page):
        pytest.skip(f"{page.name} is about what is not there yet: {', '.join(missing)}")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    pages.follow(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_validates(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    entrypoint.prepare(path)


def test_the_readmes_first_pipeline_is_the_example_of_its_name() -> None:
    block = next(block for block in pages.blocks(ROOT / "README.md") if block.language == "yaml")
    example = (ROOT / "examples/orders.yaml").read_text(encoding="utf-8")
    assert block.text in example
    assert len(block.text.splitlines()) <= 15


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs_and_gives_the_same_twice(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    found = []
    for _ in range(2):
        result = pipeline_flow.run(f"examples/{path.name}")
        assert result.succeeded
        found.append(
            [
                (str(step.address), step.rows_in, step.rows_out)
                for p in result.pipelines.values()
                for step in p.steps
            ]
        )
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx is not installed")
def test_sphinx_builds_the_pages_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-W",
            "--keep-going",
            "-n",
            "-q",
            "-d",
            tmp_path / "trees",
            "docs",
            tmp_path / "html",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fonts.googleapis" not in (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
