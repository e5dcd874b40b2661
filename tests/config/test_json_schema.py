"""The schema that editors check with says what `validate` says, of a corpus of good and bad files.

A file under `bad` whose first line says `# only validate: reason` is one of those that a schema cannot refuse.
"""

from __future__ import annotations

import functools
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pipeline_flow import entrypoint
from pipeline_flow.config import schema as language
from pipeline_flow.config.source import Map, Node, Seq, Source, Sources, parse
from pipeline_flow.core import discovery, spec
from pipeline_flow.errors import ConfigError
from pipeline_flow.plan import json_schema
from tests.config import typos

jsonschema = pytest.importorskip("jsonschema", reason="the schema is checked with the package jsonschema")

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests/config/corpus"
GOOD = sorted([*(ROOT / "examples").glob("*.yaml"), *CORPUS.glob("*.yaml"), *CORPUS.glob("good/*.yaml")])
BAD = sorted(CORPUS.glob("bad/*.yaml"))
ONLY = "# only validate: "


@functools.cache
def _made() -> dict[str, Any]:
    found = json_schema.of(discovery.catalog(), closed=True)
    jsonschema.Draft7Validator.check_schema(found)
    return found


@pytest.fixture
def made() -> dict[str, Any]:
    """Made inside of a test, which sees no plugins of other tests."""
    return _made()


@pytest.fixture
def validator(made: dict[str, Any]) -> Any:
    return jsonschema.Draft7Validator(made)


def plain(node: Node) -> Any:
    """A tree as what an editor's schema check sees: names are texts."""
    if isinstance(node, Map):
        return {str(key): plain(item) for key, item in node.items.items()}
    if isinstance(node, Seq):
        return [plain(item) for item in node.items]
    return node.value  # type: ignore[attr-defined] # the rest are scalars


def refused(validator: Any, text: str) -> list[str]:
    documents = parse(Source(text, "x.yaml"), Sources()).documents
    return [error.message for document in documents for error in validator.iter_errors(plain(document))]


def told(text: str) -> list[str]:
    try:
        entrypoint.prepare(text + "\n", thorough=False)
    except ConfigError as error:
        return [problem.text for problem in error.problems if not problem.warning]
    return []


# ------------------------------------------------------------------------------------------------------ agreement


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_both_take_a_good_file(validator: Any, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert told(text) == []
    assert refused(validator, text) == []


def test_the_good_files_hold_every_plugin() -> None:
    text = (CORPUS / "good/every_plugin.yaml").read_text(encoding="utf-8")
    source = discovery.BuiltIn()
    for kind in source.kinds():
        for name in source.names(kind):
            assert f"plugin: {name}" in text, f"{kind} {name}"


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_both_refuse_a_bad_file_or_the_file_says_why_a_schema_cannot(validator: Any, file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert told(text)
    assert bool(refused(validator, text)) is not text.startswith(ONLY), "is it one that a schema can refuse?"


def test_the_figures() -> None:
    """13 good files and 65 of 82 bad ones are judged alike; the other 17 say why."""
    only = [file for file in BAD if file.read_text(encoding="utf-8").startswith(ONLY)]
    assert len(BAD) >= 80
    assert len(only) <= 0.25 * len(BAD)


# Names that the file itself defines; keys of the top level, of which an unknown one is only warned about, are left out too.
_OWN = ("needs", "input", "name")


def test_both_say_the_same_of_a_typo_in_a_key_a_plugin_or_an_argument(validator: Any) -> None:
    random = Random(0)
    alike = tried = 0
    different = []
    for file in typos.FILES:
        text = file.read_text(encoding="utf-8")
        chosen = [
            word
            for word in typos.words(text)
            if word.kind not in _OWN and text[: word.start].rpartition("\n")[2].strip()
        ]
        for word in random.sample(chosen, min(40, len(chosen))):
            typo = next(typos.typos(word.text, random))
            broken = text[: word.start] + typo + text[word.start + len(word.text) :]
            tried += 1
            if bool(told(broken)) == bool(refused(validator, broken)):
                alike += 1
            else:
                different.append(
                    f"{file.name}: {word.text} → {typo}: {told(broken)}, {refused(validator, broken)}"
                )
    assert tried > 80
    assert alike / tried >= 0.97, different


# --------------------------------------------------------------------------------------------------- what is in it


def test_every_type_of_the_language_has_a_schema() -> None:
    of_place = {"mapping", "step", "list of steps"}
    tables = [item for item in vars(language).values() if isinstance(item, dict)]
    keys = [key for table in tables for key in table.values() if isinstance(key, language.Key)]
    keys += [key for table in language.PHASE.values() for key in table.values()]
    for key in keys:
        assert key.type in of_place or json_schema._of_type(key.type) or key.type == "any value", key


def test_keys_and_arguments_carry_what_they_mean(made: dict[str, Any]) -> None:
    step = made["definitions"]["step.load"]["properties"]
    assert step["timeout"]["description"].startswith(language.STEP["timeout"].meaning)
    assert made["properties"]["concurrency"]["description"].endswith("; 2 by default")
    argument = made["definitions"]["args.extract.csv"]["properties"]["delimiter"]
    assert argument["description"].startswith("One character between the fields.")
    assert (argument["default"], argument["examples"]) == (None, [";"])
    assert made["definitions"]["args.extract.csv"]["description"].startswith("Reads CSV files")


def test_plugins_are_listed_and_any_name_may_stand_there_where_more_may_come() -> None:
    closed = json_schema.of(discovery.catalog(), closed=True)
    open_ = json_schema.of(discovery.catalog(), closed=False)
    text = "pipelines: { p: { phases: { extract: { steps: [{ plugin: mine, args: { a: 1 } }] }, load: { steps: [{ plugin: csv, args: { path: a } }] } } } }"
    assert "csv" in closed["definitions"]["step.extract"]["properties"]["plugin"]["anyOf"][0]["enum"]
    assert refused(jsonschema.Draft7Validator(closed), text)
    assert not refused(jsonschema.Draft7Validator(open_), text)


def test_plugins_of_ones_own_are_checked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugs.py").write_text(
        "from pipeline_flow import extract\nfrom typing import Literal\n\n"
        "@extract\nasync def numbers(how_many: int, step: float = 1.5, kind: Literal['a', 'b'] = 'a', data: object = None):\n"
        '    """Counts."""\n'
    )
    head = "plugins: { custom: { files: [plugs.py] } }\n"
    line = "pipelines: { p: { phases: { extract: { steps: [{ plugin: numbers, args: ARGS }] }, load: { steps: [{ plugin: csv, args: { path: a } }] } } } }\n"
    _, catalog = entrypoint.load(head + line.replace("ARGS", "{}"))
    validator = jsonschema.Draft7Validator(json_schema.of(catalog, closed=True))
    for args, good in [
        ("{ how_many: 3 }", True),
        ('{ how_many: "${{ variables.n }}" }', True),
        ('{ how_many: "3", step: 2, kind: b, data: { any: [thing] } }', True),
        ("{}", False),
        ("{ how_many: many }", False),
        ("{ how_many: 3, kind: c }", False),
        ("{ how_many: 3, stepp: 2 }", False),
    ]:
        text = head + line.replace("ARGS", args)
        assert (refused(validator, text) == []) is good, args
        if "variables" not in args:
            assert (told(text) == []) is good, args


def test_what_has_no_schema_counts_as_any() -> None:
    assert spec.adapter_of(object) is not None
    maker = json_schema._Maker(discovery.catalog(), closed=True)
    assert maker._value(object, "x") == {}
    assert maker._value(type("Odd", (), {}), "x") == {}
