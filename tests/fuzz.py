"""Whatever a file holds: problems with places, never a traceback: ``python -m tests.fuzz --inputs 10000``.

Each input is a configuration of the examples, the documentation, the templates, the tests or the public YAML test suite,
mutated by its number: bytes, tokens, lines, or the structure. It is read, checked and planned; nothing runs.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
import traceback
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import yaml

from pipeline_flow import entrypoint
from pipeline_flow.core import discovery
from pipeline_flow.errors import ConfigError
from tests import pages
from tests.config.samples import ENVIRON, OF_108, SHOP
from tests.config.test_any_bytes import PIECES, mutate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline_flow.errors import Problem

ROOT = Path(__file__).parents[1]
_FOLDERS = ("examples", "src/pipeline_flow/cli/templates", "tests/compat", "tests/config", "tests/newcomer")
_KEYS = (
    "args",
    "plugin",
    "steps",
    "needs",
    "matrix",
    "include",
    "profiles",
    "defaults",
    "version",
    "id",
    "retry",
)
_JUNK: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1e308,
    float("nan"),
    "",
    " ",
    [],
    {},
    [[]],
    {"a": None},
    "x" * 300,
    "é\u2028\x00",
    10**30,
    "~nobody/x",
    "x" * 5000,
    "\x00",
    "\ud800",
)
_ENCODINGS = ("utf-8", "utf-8", "utf-8", "utf-16", "utf-32", "latin-1")


@cache
def seeds() -> tuple[str, ...]:
    """The configurations that are mutated; those of people come more often than those of the YAML suite."""
    files = [path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*.yaml"))]
    texts = [path.read_text(encoding="utf-8") for path in files]
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        texts += [block.text for block in pages.blocks(page) if block.language == "yaml"]
    suite = json.loads((ROOT / "tests/data/yaml-test-suite/cases.json").read_text(encoding="utf-8"))
    ours = [*dict.fromkeys([*texts, SHOP, OF_108])]
    return (*ours, *ours, *ours, *(case["yaml"] for case in suite))


def made(number: int) -> bytes:
    """The input of this number, always the same."""
    random = Random(number)
    text = random.choice(seeds())
    kind = random.randrange(4)
    if kind == 0:
        text = _restructured(text, random)
    elif kind == 1:
        text = _retokened(text, random)
    else:
        text = mutate(text, random)
    content = bytearray(text.encode(random.choice(_ENCODINGS), "replace"))
    if kind == 2:
        for _ in range(random.randint(1, 8)):
            at = random.randrange(len(content) + 1)
            content[at : at + random.randrange(3)] = random.randbytes(random.randrange(3))
    return bytes(content)


def _retokened(text: str, random: Random) -> str:
    """Words in the place of others, such as stand elsewhere in the same file."""
    words = text.split(" ")
    for _ in range(random.randint(1, 5)):
        at = random.randrange(len(words))
        words[at] = random.choice((random.choice(words), random.choice(PIECES), random.choice(_KEYS), ""))
    return " ".join(words)


def _restructured(text: str, random: Random) -> str:
    """The same data with some keys, values and branches taken out, moved or replaced, and written anew."""
    try:
        documents = [item for item in yaml.safe_load_all(text) if isinstance(item, dict)]
    except (yaml.YAMLError, ValueError):
        return mutate(text, random)
    if not documents:
        return mutate(text, random)
    for _ in range(random.randint(1, 3)):
        spots = [spot for document in documents for spot in _spots(document)]
        if not spots:
            break
        holder, key = random.choice(spots)
        other, other_key = random.choice(spots)
        what = random.randrange(4)
        if what == 0:
            del holder[key]
        elif what == 1:
            holder[key] = copy.deepcopy(random.choice(_JUNK))
        elif what == 2:
            holder[key] = json.loads(json.dumps(other[other_key], default=str))
        elif isinstance(holder, dict):
            holder[random.choice((*_KEYS, f"{key}s", 1))] = holder.pop(key)
    return yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=bool(random.randrange(2)))


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _spots(value[key])


def check(content: bytes) -> int:
    """Prepares ``content`` and shows what is wrong in every form; gives the number of problems."""
    problems: tuple[Problem, ...]
    try:
        problems = entrypoint.prepare(content).warnings
    except ConfigError as error:
        problems = error.problems
        assert problems, "an error without a problem"
    for problem in problems:
        assert problem.text
        assert problem.render()
        assert str(problem)
        assert json.dumps(problem.as_dict())
        if problem.position is not None:
            assert min(problem.position.line, problem.position.column, problem.position.length) >= 1
    return len(problems)


@contextmanager
def safely() -> Iterator[None]:
    """An empty folder, a known environment, and no file of plugins: a mutated path may lead to any file."""
    built_in = discovery.catalog()
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            with (
                patch.object(discovery, "catalog", lambda **_: built_in),
                patch.dict(os.environ, ENVIRON, clear=True),
            ):
                yield
        finally:
            os.chdir(before)


def main() -> int:
    """Tries the inputs and prints how many there were; gives the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    problems, failed = 0, []
    with safely():
        for number in range(options.first, options.first + options.inputs):
            try:
                problems += check(made(number))
            except Exception:  # noqa: BLE001 - any is a finding
                failed.append(number)
                sys.stderr.write(
                    f"python -m tests.fuzz --first {number} --inputs 1\n{traceback.format_exc()}\n"
                )
    sys.stdout.write(
        f"{options.inputs:,} inputs, {len(failed)} tracebacks; {problems:,} problems told, "
        f"{len(set(seeds())):,} configurations mutated\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
