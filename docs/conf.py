# ruff: noqa: INP001 - read by Sphinx, imported by nobody
"""How Sphinx builds these pages: ``sphinx-build -W --keep-going -n docs build/docs``. Nothing is fetched."""

import re
from pathlib import Path
from typing import Any

_package = Path(__file__).parents[1] / "src" / "pipeline_flow" / "__init__.py"
_version = re.search(r'__version__ = "([^"]+)"', _package.read_text(encoding="utf-8"))

project = "pipeline-flow"
author = "The pipeline-flow authors"
copyright = author  # noqa: A001 - Sphinx's name for it
release = version = _version[1] if _version else ""

extensions = ["myst_parser", "sphinx_design"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["reference/language.head.md"]
myst_heading_anchors = 4
nitpicky = True

html_theme = "furo"
html_title = f"pipeline-flow {release}"
html_show_sourcelink = False
html_show_copyright = False


def _name_files(_app: object, _page: str, source: list[str]) -> None:
    """Shows the name of a file above its block; in the pages it stands in a comment (tests/pages.py)."""
    source[0] = re.sub(
        r"^<!-- (?:file|included): (.+?) -->\n(?=```)", r"`\1`\n\n", source[0], flags=re.MULTILINE
    )


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _name_files)
