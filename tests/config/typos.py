"""One-edit typos of real configurations, and whether the first suggestion is the right word.

``python -m tests.config.typos`` prints the figure and what was answered wrongly; the test holds it. A typo is one letter
left out, doubled, changed to a neighbour on the keyboard, or swapped with the next, in a word that the language, a plugin
or the file itself defines: keys, plugin names, arguments, values of a fixed set, `needs`, `input`, variables.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pipeline_flow import entrypoint
from pipeline_flow.config.source import Map, Node, Scalar, Seq, Source, Sources, Template, parse
from pipeline_flow.errors import ConfigError, Problem

ROOT = Path(__file__).parents[2]
FILES = (*sorted((ROOT / "examples").glob("*.yaml")), *sorted(Path(__file__).parent.glob("corpus/*.yaml")))
WANTED = 0.95
PER_WORD = 6
_FREE = {"variables", "secrets", "params", "columns", "profiles"}  # below these, names are the writer's own
_NAMED = re.compile(r"\$\{\{ *(?:variables|env|matrix|secrets)\.(\w+)")
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a file that may be mistyped: where it stands, and what it is."""

    start: int
    text: str
    kind: str


def words(text: str) -> list[Word]:
    """The words of a configuration that something defines."""
    sources = Sources()
    tree = parse(Source(text, "x.yaml"), sources)
    found: dict[int, Word] = {}

    def add(node: Node | int, kind: str) -> None:
        raw = sources.raw(node)
        span = node if isinstance(node, int) else node.span
        start = span >> 32
        if raw[:1] in "'\"":
            raw, start = raw[1:-1], start + 1
        if re.fullmatch(r"[A-Za-z_]\w{2,}", raw):
            found[start] = Word(start, raw, kind)

    def walk(node: Node, path: tuple[str, ...]) -> None:
        if isinstance(node, Map):
            for key, item in node.items.items():
                below = (*path, str(key))
                if not _is_free(path):
                    add(node.keys[key], "argument" if "args" in path else "key")
                if key in ("plugin", "type", "mode", "input"):
                    add(item, str(key))
                elif key == "needs":
                    for each in item.items if isinstance(item, Seq) else [item]:
                        add(each, "needs")
                walk(item, below)
        elif isinstance(node, Seq):
            for item in node.items:
                walk(item, (*path, "-"))
        elif isinstance(node, Template):
            raw, start = sources.raw(node), node.span >> 32
            for match in _NAMED.finditer(raw):
                found[start + match.start(1)] = Word(start + match.start(1), match[1], "name")

    for document in tree.documents:
        walk(document, ())
    assert isinstance(tree.documents[0], Map | Scalar)
    return [found[start] for start in sorted(found)]


def _is_free(path: tuple[str, ...]) -> bool:
    """Whether the keys of the mapping at ``path`` are names of the writer's own."""
    if not path:
        return False
    if path[-1] in ("pipelines", "x-", "matrix") or path[-1].startswith("x-"):
        return True
    if path[0] in ("variables", "secrets", "profiles") and len(path) == 1:
        return True
    return any(part in _FREE for part in path[1:]) or (path[0] == "variables")


def typos(word: str, random: Random) -> Iterator[str]:
    """Words one edit away, the first letter kept as people do."""
    made: dict[str, None] = {}
    for index in range(1, len(word)):
        made[word[:index] + word[index + 1 :]] = None
        made[word[:index] + word[index] + word[index:]] = None
        made[word[:index] + _neighbour(word[index], random) + word[index + 1 :]] = None
        if index + 1 < len(word):
            made[word[:index] + word[index + 1] + word[index] + word[index + 2 :]] = None
    made.pop(word, None)
    candidates = list(made)
    yield from random.sample(candidates, min(PER_WORD, len(candidates)))


def _neighbour(letter: str, random: Random) -> str:
    for row in _ROWS:
        at = row.find(letter.lower())
        if at >= 0:
            return random.choice([row[max(0, at - 1)], row[min(len(row) - 1, at + 1)]])
    return "-" if letter == "_" else letter


def problems(text: str) -> tuple[Problem, ...]:
    """What checking the text says."""
    try:
        entrypoint.prepare(text + "\n")
    except ConfigError as error:
        return error.problems
    return ()


@dataclass(slots=True)
class Score:
    """How many typos were tried, how many of them were answered rightly, and the others."""

    tried: int
    right: int
    by_kind: Counter[str]
    wrong: list[str]

    @property
    def share(self) -> float:
        """The part that was answered rightly."""
        return self.right / self.tried


def measure(seed: int = 0, per_file: int | None = None) -> Score:
    """Tries typos in every file; a typo that leaves a correct file does not count."""
    random = Random(seed)
    score = Score(0, 0, Counter(), [])
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        assert not problems(text), f"{file} itself is wrong: {problems(text)[0]}"
        pairs = [(word, typo) for word in words(text) for typo in typos(word.text, random)]
        if per_file is not None:
            pairs = random.sample(pairs, min(per_file, len(pairs)))
        for word, typo in pairs:
            broken = text[: word.start] + typo + text[word.start + len(word.text) :]
            told = problems(broken)
            if not told:
                continue
            score.tried += 1
            if any(problem.suggestion == word.text for problem in told):
                score.right += 1
            else:
                score.by_kind[word.kind] += 1
                first = told[0]
                score.wrong.append(
                    f"{file.name} {word.kind} {word.text} → {typo}: {first.text} ({first.hint})"
                )
    return score


def main() -> int:
    """Prints the figure; gives 1 where it is below what is wanted."""
    os.chdir(ROOT)
    score = measure()
    for line in score.wrong:
        sys.stdout.write(f"  {line}\n")
    sys.stdout.write(f"{score.tried:,} typos, the first suggestion is right in {100 * score.share:.1f} %\n")
    return 0 if score.share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
