"""Pages of the documentation as tests: their blocks in order, and what a comment before a block says of it.

A comment stands on the line before the fence. Sphinx and GitHub show neither it nor its effect:

``<!-- file: NAME -->``       the block is written to NAME in the page's own folder
``<!-- included: NAME -->``   the same, and it is only part of a configuration: a file that includes it is checked
``<!-- part of: NAME -->``    the block stands in NAME, line by line, whatever its indentation
``<!-- shows: NAME -->``      the block is what NAME holds now
``<!-- run -->``              each ``$ command`` is run there; what follows it is what it prints; ``<!-- run: 2 -->``
                              expects that exit code. A line ``…`` stands for any lines, ``…`` in a line for any text,
                              and durations are not compared.

Blocks of YAML without a comment are checked as they stand. ``<!-- needs: extract.jsonl, pipeline-flow plan -->`` anywhere
in a page says which plugins and commands it is about; without them it cannot be followed.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import typer

from pipeline_flow import entrypoint
from pipeline_flow.cli.app import app
from pipeline_flow.core import discovery

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>file|included|part of|shows|run)(?:: (?P<value>.+?))? -->\n)?"
    r"^(?P<fence>```+)(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_DURATION = re.compile(r"\b(?:\d+\.\d+s|\d+m \d\ds|\d+h \d\dm)(?!\w)")
_MARK = re.compile(r"^<!-- (?!Made by|needs: )(.*?) -->$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, its line in the page, and the comment before it."""

    language: str
    text: str
    line: int
    mark: str = ""
    value: str = ""


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start()) + 1,
            match["mark"] or "",
            match["value"] or "",
        )
        for match in _BLOCK.finditer(text)
    ]
    marks = [mark for mark in _MARK.findall(text) if not mark.startswith(("prettier", "markdownlint"))]
    marked = sum(bool(block.mark) for block in found)
    assert marked == len(marks), f"{page}: a comment is not understood, or no block follows it: {marks}"
    return found


def lacks(page: Path) -> list[str]:
    """What the page needs and is not there."""
    (named,) = re.findall(r"^<!-- needs: (.*?) -->$", page.read_text(encoding="utf-8"), re.MULTILINE) or [""]
    catalog, commands = discovery.catalog(), typer.main.get_command(app)
    missing = []
    for need in filter(None, named.split(", ")):
        program, _, command = need.partition(" ")
        kind, _, name = need.partition(".")
        known = getattr(commands, "commands", {}) if program == "pipeline-flow" else catalog.names(kind)
        if (command if program == "pipeline-flow" else name) not in known:
            missing.append(need)
    return missing


def follow(page: Path) -> None:
    """Does in the current folder what the page says, and fails where it says something untrue."""
    for block in blocks(page):
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if block.mark in ("file", "included"):
            path = Path(block.value)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.mark == "part of":
            whole = [line.strip() for line in Path(block.value).read_text(encoding="utf-8").splitlines()]
            part = [line.strip() for line in dedent(block.text).splitlines() if line.strip()]
            starts = [number for number in range(len(whole)) if whole[number : number + len(part)] == part]
            assert starts, f"{where}: this is not in {block.value}"
        elif block.mark == "shows":
            assert Path(block.value).read_text(encoding="utf-8") == block.text, f"{where}: {block.value}"
        elif block.mark == "run":
            _run(block, where)
        if block.language == "yaml" and block.mark not in ("part of", "included"):
            assert "pipelines:" in block.text, (
                f"{where}: YAML without pipelines: make it whole, or `part of` a file of the page"
            )
            entrypoint.prepare(block.text)
        elif block.language == "python":
            compile(block.text, where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def _run(block: Block, where: str) -> None:
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]).strip(
            os.pathsep
        ),
        "COLUMNS": "110",
        "NO_COLOR": "1",
    }
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        done = subprocess.run(
            ["bash", "-c", command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        wanted = int(block.value or 0)
        assert done.returncode == wanted, f"{where}: {command} ended with {done.returncode}\n{done.stdout}"
        if expected.strip():
            assert re.fullmatch(_pattern(expected), _plain(done.stdout)), (
                f"{where}: {command} prints\n{done.stdout}\nand not\n{expected}"
            )


def _plain(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.strip().splitlines()]
    return "\n".join(_DURATION.sub("0.00s", line) for line in lines) + "\n"


def _pattern(expected: str) -> str:
    pattern = ""
    for line in _plain(expected).splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("…")) + r"\n"
    return pattern
