"""``pipeline-flow explain``: what an error code means. The page of error codes is made from the same texts."""

from __future__ import annotations

import inspect
import re
import sys
from typing import NamedTuple

from pipeline_flow import errors
from pipeline_flow.cli import exit as exits
from pipeline_flow.core.suggest import hint
from pipeline_flow.core.text import printable


class Page(NamedTuple):
    """A code, what it means (Markdown), and how its class is called in Python, if it has one."""

    code: str
    text: str
    python: str = ""

    def __str__(self) -> str:
        return "\n\n".join(part for part in (self.text, self.python) if part)


_NO_CLASS = (
    Page(
        "step.raised", "A plugin raised an error that is not one of ours; the message has its class and text."
    ),
    Page("run.cancelled", "The run was stopped while the step ran."),
)


def pages() -> dict[str, Page]:
    """Every code with its page, in the order of the tree."""
    found = [
        Page(
            cls.code,
            plain(inspect.getdoc(cls) or ""),
            f"In Python: `{cls.__name__}`, a `{cls.__bases__[0].__name__}`.",
        )
        for cls in errors.tree()
        if "code" in cls.__dict__ and cls is not errors.PipelineFlowError and _is_ours(cls)
    ]
    group = errors.RunFailed
    found.append(
        Page(
            group.code,
            plain(inspect.getdoc(group) or ""),
            f"In Python: `{group.__name__}`, an `ExceptionGroup`.",
        )
    )
    return {page.code: page for page in (*found, *_NO_CLASS)}


def _is_ours(cls: type) -> bool:
    return cls.__module__ == errors.__name__


def plain(text: str) -> str:
    """A docstring as Markdown: Sphinx's roles and double backticks as single ones, examples as code blocks."""
    text = re.sub(
        r":(?:class|func|meth|mod|data):`~?\.?([\w.]+)`",
        lambda match: f"`{match[1].rpartition('.')[2]}`",
        text,
    )
    text = text.replace("``", "`")
    return re.sub(
        r"(^>>> .*(?:\n(?!\n).*)*)", lambda match: f"```pycon\n{match[1]}\n```", text, flags=re.MULTILINE
    )


def explain(code: str | None) -> int:
    """Prints the page of ``code``, or every code with its first sentence, and gives the exit code."""
    known = pages()
    if code is None:
        width = max(map(len, known))
        for page in known.values():
            sys.stdout.write(
                f"{page.code:<{width}}  {' '.join(page.text.partition(chr(10) * 2)[0].split())}\n"
            )
        return exits.FINE
    if code not in known:
        sys.stderr.write(printable(f"there is no error code `{code}`\n{hint(code, known, 'codes')}\n"))
        return exits.WRONG_CONFIGURATION
    sys.stdout.write(f"{code}\n\n{known[code]}\n")
    return exits.FINE
