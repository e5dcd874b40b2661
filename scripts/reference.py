"""Write the reference pages from the code: ``python scripts/reference.py`` writes, ``--check`` compares.

Everything under docs/reference except settings.md: the language from the tables that the reader of configurations uses,
errors from the error tree, events from the event classes, plugins from the specs of the built-in ones, the types of
databases from the tables that readers and writers use, commands from the command line itself, the shape of a plan's JSON from its classes, Python names from signatures and docstrings.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import typer

from pipeline_flow import events
from pipeline_flow.cli import explain
from pipeline_flow.cli.app import app
from pipeline_flow.cli.explain import plain
from pipeline_flow.config import schema
from pipeline_flow.core import discovery, spec
from pipeline_flow.plan import Retry, view
from pipeline_flow.sql import duckdb_type, extremes, mariadb_type, postgres_type, sqlite_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline_flow.core.inventory import Declaration

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Made by scripts/reference.py. Change the code, then run `make reference`. -->\n"

KINDS = {
    "extract": "read data; the steps of the phase run concurrently",
    "merge": "make one of what several extract steps read: `merge` of the phase `extract`",
    "transform": "change data; the steps of the phase run one after the other",
    "load": "write data; the steps of the phase run concurrently",
    "transform_at_load": "change data in the destination, after every load has committed",
    "pre": "run before the steps of extract or load: `pre` of the phase",
    "post": "run after the steps of extract or load: `post` of the phase",
    "secret_manager": "fetch a secret when a run starts: `secrets.<name>`",
}
"""What the plugins of a kind do, after `The built-in … plugins`; those of any other kind are `_NESTED`."""

_NESTED = "stand in the arguments of other plugins"

# Packages whose whole `__all__` is for users, and single names of others.
PYTHON: dict[str, tuple[str, ...]] = {
    "pipeline_flow": (),
    "pipeline_flow.plugins": (),
    "pipeline_flow.testing": (),
    "pipeline_flow.data": (
        "BatchStream",
        "Tables",
        "convert",
        "is_iterator",
        "is_tabular",
        "producer_errors",
        "to_stream",
    ),
    "pipeline_flow.engine": ("PipelineResult", "RunResult", "StepResult"),
    "pipeline_flow.listeners": ("Listener",),
    "pipeline_flow.secret": ("Secret",),
}


# ---------------------------------------------------------------------------------------------- language


def language() -> str:
    """Every key of the YAML: level, type, default, meaning."""
    parts = [MADE, "# The language\n", (REFERENCE / "language.head.md").read_text(encoding="utf-8")]
    for title, table in schema.LEVELS.items():
        rows = ((f"`{key.name}`", key.type, key.default, key.meaning) for key in table.values())
        parts.append(f"\n## {title}\n\n{_table(('key', 'type', 'default', 'meaning'), rows)}")
    return "".join(parts)


# ---------------------------------------------------------------------------------------------- errors, events


def error_codes() -> str:
    """Every error code with its explanation."""
    parts = [
        MADE,
        "# Error codes\n\nA message carries one of these codes; this page says more about each, and so does ",
        "`pipeline-flow explain CODE`.\n",
    ]
    parts += [f"\n## `{page.code}`\n\n{_prose(str(page))}\n" for page in explain.pages().values()]
    return "".join(parts)


def event_classes() -> str:
    """Every event with its fields."""
    parts = [
        MADE,
        "# Events\n\n",
        "What happens in a run is told as events; `pipeline-flow run --json` writes each as one line of JSON. ",
        "Every event has `at`, seconds since the epoch.\n",
    ]
    for cls in _subclasses(events.Event):
        names = ", ".join(f"`{field.name}`" for field in fields(cls) if field.name != "at")
        parts.append(f"\n## `{cls.__name__}`\n\n{_markdown(cls)}\n\nFields: {names}\n")
    return "".join(parts)


def plan_shape() -> str:
    """What ``plan --json`` writes, class by class."""
    parts = [
        MADE,
        "# The plan as JSON\n\n",
        "`pipeline-flow plan FILE --json` writes one object, a `PlanView`. Lists and objects in it are the classes below; ",
        "new keys may come, and `format` is raised when one changes its meaning or goes.\n",
    ]
    for cls in (
        view.PlanView,
        view.SecretView,
        view.PipelineView,
        view.PhaseView,
        view.StepView,
        view.CommitView,
        Retry,
    ):
        rows = "".join(
            f"| `{field.name}` | {_cell(_json_type(str(field.type)))} |\n" for field in fields(cls)
        )
        parts.append(f"\n## `{cls.__name__}`\n\n{_markdown(cls)}\n\n| key | type |\n| --- | --- |\n{rows}")
    return "".join(parts)


def _json_type(text: str) -> str:
    while (shorter := re.sub(r"tuple\[([^\[\]]*|.*\]), \.\.\.\]", r"list[\1]", text)) != text:
        text = shorter
    return text.replace("None", "null")


def _subclasses(cls: type[events.Event]) -> Iterable[type[events.Event]]:
    for child in cls.__subclasses__():
        # A dataclass with slots stands twice in the list: once as it was written, once remade.
        if getattr(events, child.__name__, None) is child:
            yield child


# ---------------------------------------------------------------------------------------------- plugins


def plugin_index() -> str:
    """A table of the built-in plugins of each kind."""
    parts = [
        MADE,
        "# Plugins\n\nWhat is built in. `pipeline-flow plugins list` shows the same, and with it what is installed; ",
        "`pipeline-flow plugins show NAME` shows what a plugin takes.\n\n",
        "A plugin is known by kind and name: the phase gives the kind, `plugin:` the name.\n",
    ]
    for kind, found in _built_in().items():
        rows = (
            (f"[`{item.name}`]({kind}.md#{item.name.lower()})", _inline(spec.of(item.cls).summary))
            for item in found
        )
        parts.append(f"\n## [`{kind}`]({kind}.md)\n\n{_table(('plugin', 'what it does'), rows)}")
    names = "\n".join(_built_in())
    parts.append(f"\n```{{toctree}}\n:hidden:\n\n{names}\n```\n")
    return "".join(parts)


def plugin_page(kind: str) -> str:
    """The built-in plugins of one kind with their arguments."""
    parts = [MADE, f"# `{kind}` plugins\n\nThe built-in `{kind}` plugins {KINDS.get(kind, _NESTED)}.\n"]
    parts += [f"\n## `{item.name}`\n\n{_plugin(item)}" for item in _built_in()[kind]]
    return "".join(parts)


def _built_in() -> dict[str, list[Declaration]]:
    source = discovery.BuiltIn()
    return {
        kind: [item for name in sorted(source.names(kind)) for item in source.find(kind, name)]
        for kind in source.kinds()
    }


def _plugin(declaration: Declaration) -> str:
    read = spec.of(declaration.cls)
    text = f"{_prose(read.summary)}\n"
    if read.description:
        text += f"\n{_prose(read.description)}\n"
    if not read.arguments:
        return f"{text}\nTakes no arguments.\n"
    rows = (
        (
            f"`{item.name}`",
            _inline(item.type_text),
            "**required**" if item.required else f"`{spec.yaml_text(item.default)}`",
            _inline(item.description)
            + (f" Example: `{item.name}: {spec.yaml_text(item.examples[0])}`" if item.examples else ""),
        )
        for item in read.arguments
    )
    return f"{text}\n{_table(('argument', 'takes', 'default', 'meaning'), rows)}"


# ---------------------------------------------------------------------------------------------- commands


def commands() -> str:
    """Every command with its arguments and options, as ``--help`` has them."""
    parts = [
        MADE,
        "# Commands\n\n`pipeline-flow COMMAND --help` says the same on the spot. Data goes to stdout, talk to stderr; ",
        "[what the exit codes mean](settings.md#exit-codes).\n",
    ]
    for path, command in _commands("pipeline-flow", typer.main.get_command(app)):
        usage = " ".join([path, *_arguments(command), *(["COMMAND"] if _inner(command) else [])])
        parts.append(
            f"\n## {path}\n\n{_prose(inspect.cleandoc(command.help or ''))}\n\n```text\n{usage}\n```\n"
        )
        rows = [
            (f"`{item.metavar or item.name.upper()}`", _inline(item.help or ""))
            for item in command.params
            if not _is_option(item)
        ] + [(_option(item), _inline(item.help or "")) for item in command.params if _is_option(item)]
        if rows:
            parts.append(f"\n{_table(('argument or option', 'meaning'), rows)}")
    return "".join(parts)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in _inner(command).items():
        if not inner.hidden:
            yield from _commands(f"{path} {name}", inner)


def _inner(command: Any) -> dict[str, Any]:
    return dict(getattr(command, "commands", {}))


def _is_option(item: Any) -> bool:
    return any(name.startswith("-") for name in item.opts)


def _arguments(command: Any) -> list[str]:
    names = [
        (item.metavar or item.name.upper()) if item.required else f"[{item.metavar or item.name.upper()}]"
        for item in command.params
        if not _is_option(item)
    ]
    return [*names, *(["[OPTIONS]"] if any(_is_option(item) for item in command.params) else [])]


def _option(item: Any) -> str:
    value = item.metavar or ("" if isinstance(item.default, bool) else item.name.upper())
    names = sorted([*item.opts, *item.secondary_opts], key=len)
    return "`" + ", ".join(f"{name} {value}".strip() for name in names) + "`"


# ---------------------------------------------------------------------------------------------- Python


def python_names() -> str:
    """The public Python names with their signatures and docstrings."""
    parts = [
        MADE,
        "# Python\n\nThe names that are for users. What is not on this page may change between two versions.\n\n",
        "Errors are on [a page of their own](errors.md), and so are [events](events.md).\n",
    ]
    for module_name, chosen in PYTHON.items():
        module = importlib.import_module(module_name)
        parts.append(f"\n## {module_name}\n")
        for name in chosen or sorted(module.__all__, key=str.lower):
            parts += [] if name.startswith("__") else [_name(name, getattr(module, name))]
    return "".join(parts)


def _name(name: str, value: Any) -> str:
    text = f"\n### {name}\n\n```py\n{_signature(name, value)}\n```\n\n{_docstring(inspect.getdoc(value) or '')}\n"
    if not inspect.isclass(value):
        return text
    for member, found in vars(value).items():
        inner = found.__func__ if isinstance(found, classmethod | staticmethod) else found
        function = inner.fget if isinstance(inner, property) else inner
        shown = not member.startswith("_") or member == "__call__"
        if not shown or (not inspect.isroutine(function) and not isinstance(inner, property)):
            continue
        doc = inspect.getdoc(function)
        if doc is None:
            continue
        head = member if isinstance(inner, property) else _signature(member, function).removesuffix(":")
        text += f"\n```py\n{_class_name(name, head)}\n```\n\n{_docstring(doc)}\n"
    return text


def _class_name(cls: str, head: str) -> str:
    for word in ("async def ", "def "):
        head = head.removeprefix(word)
    return f"{cls}.{head}"


def _signature(name: str, value: Any) -> str:
    word = (
        "class " if inspect.isclass(value) else "async def " if inspect.iscoroutinefunction(value) else "def "
    )
    if inspect.isclass(value) and hasattr(value, "model_fields"):
        return f"{word}{name}"
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return f"{word}{name}"
    shown: list[str] = []
    parameters = [item for item in found.parameters.values() if item.name != "self"]
    for number, item in enumerate(parameters):
        if item.kind is item.KEYWORD_ONLY and not any(
            other.kind in (item.KEYWORD_ONLY, item.VAR_POSITIONAL) for other in parameters[:number]
        ):
            shown.append("*")
        stars = "*" if item.kind is item.VAR_POSITIONAL else "**" if item.kind is item.VAR_KEYWORD else ""
        annotated = "" if item.annotation is item.empty else f": {_annotation(item.annotation)}"
        default = (
            "" if item.default is item.empty else f"{' = ' if annotated else '='}{_default(item.default)}"
        )
        shown.append(f"{stars}{item.name}{annotated}{default}")
        if item.kind is item.POSITIONAL_ONLY and not any(
            other.kind is item.POSITIONAL_ONLY for other in parameters[number + 1 :]
        ):
            shown.append("/")
    returns = (
        ""
        if inspect.isclass(value) or found.return_annotation is found.empty
        else f" -> {_annotation(found.return_annotation)}"
    )
    return f"{word}{name}({', '.join(shown)}){returns}"


def _annotation(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, "__name__", None) or str(annotation)


def _default(value: Any) -> str:
    return "…" if " at 0x" in repr(value) else repr(value)


_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Class keywords):$", re.MULTILINE)
_TITLES = {"Args": "Takes", "Returns": "Gives", "Yields": "Yields", "Raises": "Raises"}
_ITEM = re.compile(r"^    (\w+): ", re.MULTILINE)


def _docstring(doc: str) -> str:
    """A docstring in Google's style as Markdown."""
    before, *sections = _SECTION.split(doc)
    parts = [_prose(plain(before).strip())]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        inner, _, after = plain(body).partition("\n\n")
        text = re.sub(r"\s*\n {5,}", " ", inner.strip("\n"))
        if title in ("Returns", "Yields"):
            parts.append(f"**{_TITLES[title]}**: {_inline(' '.join(text.split()))}")
        else:
            items = _ITEM.sub(r"- `\1`: ", text)
            parts.append(f"**{_TITLES.get(title, title)}**\n\n{_inline(items)}")
        if after.strip():
            parts.append(_prose(inspect.cleandoc(after)))
    return "\n\n".join(part for part in parts if part)


# ---------------------------------------------------------------------------------------------- Markdown


def _markdown(cls: type) -> str:
    return _prose(plain(inspect.getdoc(cls) or ""))


_CODE = re.compile(r"(```.*?```|`[^`]+`)", re.DOTALL)


def _prose(text: str) -> str:
    """Text whose angle brackets are no tags; what stands in backticks stays."""
    return "".join(
        part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(_CODE.split(text))
    )


def _inline(text: str) -> str:
    return _prose(plain(text))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# ---------------------------------------------------------------------------------------------- types of databases


def postgres_types() -> str:
    """PostgreSQL's types to Arrow's and back."""
    read = [
        (
            ", ".join(f"`{name}`" for name in rule.names),
            f"`{rule.arrow}`" if rule.arrow is not None else "decimal or text",
            rule.note or "exact",
        )
        for rule in postgres_type.RULES
    ]
    written = [(f"`{type_}`", f"`{declared}`") for type_, declared in postgres_type.SIMPLE.items()]
    return f"""{MADE}
# Types of PostgreSQL

What the `sql` plugins make of PostgreSQL's types and of Arrow's. A value that has no exact form is an error that names
column, row and value; none is rounded or cut. Read such a column as text: `columns: {{name: VARCHAR}}`.

## From PostgreSQL

{_table(("type", "Arrow", "what to know"), read)}
Domains are what they stand for. {postgres_type.ARRAYS[0].upper()}{postgres_type.ARRAYS[1:]}.

Text, as PostgreSQL writes it: {postgres_type.AS_TEXT}. Such a column, `jsonb`, `varchar(n)` and the like keep a note of their type
(the metadata `{postgres_type.NOTE.decode()}`), and a load into PostgreSQL makes the column of that type again, unless a
transform has changed it.

Types that `columns` may ask for: `DECIMAL(p, s)`, `BIGINT`, `INTEGER`, `SMALLINT`, `VARCHAR`.

Dates and times are read and written with the time zone UTC, so `now()::date` in a query is a day in UTC.

## Into PostgreSQL

The type of a column in a table that a load makes:

{_table(("Arrow", "PostgreSQL"), [*written, *postgres_type.WRITTEN])}
A table that is there keeps its types. They must hold every value of the data, or the load is refused before a row is
written: an integer may go into another integer (one out of range is an error), a decimal into a `numeric` of at least as
many digits behind the point, a `float32` into `double precision`, text into `varchar(n)`, `uuid`, `json`, `xml` or an enum.

Refused: text with a null character, dates before year 1, nanoseconds that are not whole microseconds, intervals of months
and days, unions.
"""


# ---------------------------------------------------------------------------------------------- the pages


def mariadb_types() -> str:
    """Every type of MariaDB as Arrow's, and back."""
    read = [
        (", ".join(f"`{name}`" for name in rule.names), f"`{rule.arrow}`", rule.note)
        for rule in mariadb_type.RULES
    ]
    written = [
        (f"`{type_}`", f"`{mariadb_type.writer(pa.field('', type_)).declared}`", note)
        for type_, note in mariadb_type.WRITTEN
    ]
    parts = [
        MADE,
        "# Types of MariaDB\n",
        "What the `sql` plugins make of MariaDB's types, and of which types a load makes the columns of a table that is not there.",
        "Values are exact, or an error names column, row and value. MariaDB is tested; MySQL is spoken to in the same way, and",
        "is not tested.\n",
        "## Reading\n",
        *_type_table(("MariaDB", "Arrow", ""), read),
        "\nThe argument `columns` of the extract gives a column another type, such as `{a: VARCHAR}` for a value that has no form",
        "in its own.\n",
        "## Writing\n",
        *_type_table(("Arrow", "MariaDB", ""), written),
        "\nTables are made with InnoDB in utf8mb4 with the collation utf8mb4_bin, so that texts that differ are two. A table that is",
        "there takes the data where its columns keep every value. Sessions are strict, and what MariaDB would change with a mere",
        "warning is an error, too: spaces that a CHAR drops, zeros that a BINARY adds, digits behind the seconds, labels of an ENUM.",
        "Names have up to 64 characters, none beyond U+FFFF, and do not end in a space.\n",
        "MariaDB commits by itself at CREATE TABLE and its like. A load makes a missing table first, which is seen empty until the",
        "rows are committed, and drops it again where the load fails. In `transform_at_load`, statements of that kind commit what",
        "stands before them; put them into a step of their own, so that the others are one transaction.",
    ]
    return "\n".join(parts) + "\n"


def duckdb_types() -> str:
    """Every type of DuckDB as Arrow's, and back."""
    rows = [
        (
            ", ".join(f"`{name}`" for name in rule.names),
            f"`{rule.arrow}`" if rule.arrow else "refused",
            f"`{rule.back or rule.names[0]}`" if rule.arrow else "",
            rule.note or "exact",
        )
        for rule in duckdb_type.RULES
    ]
    written = [(f"`{type_}`", f"`{back}`", note) for type_, back, note in duckdb_type.WRITTEN]
    parts = [
        MADE,
        "# Types of DuckDB\n",
        "What the `sql` plugins make of DuckDB's types in Arrow, and what a load into DuckDB makes of that. Values are exact, or an",
        "error names column and row.\n",
        *_type_table(("DuckDB", "Arrow", "back", "what to know"), rows),
        "\nOther types of Arrow become:\n",
        *_type_table(("Arrow", "DuckDB", "what to know"), written),
        "\nRefused: decimals of more than 38 digits, and text that is no UTF-8.\n",
        "A table that is there, with constraints, indexes or defaults, or in the mode `append`, keeps its types. They must hold every",
        "value of the data, or the load is refused before a row is written.",
    ]
    return "\n".join(parts) + "\n"


def sqlite_types() -> str:
    """Every declared type of SQLite as Arrow's, and back."""
    rows = [
        (
            ", ".join(f"`{name}`" if name else "none" for name in rule.names),
            f"`{rule.arrow}`",
            f"`{rule.back}`",
            rule.note or "exact",
        )
        for rule in sqlite_type.RULES
    ]
    written = [
        (f"`{type_}`", f"`{back}`" if back else "refused", note) for type_, back, note in sqlite_type.WRITTEN
    ]
    parts = [
        MADE,
        "# Types of SQLite\n",
        "In SQLite, values have types and columns only say which they would like. The `sql` extract goes by what the column declares,",
        "and a value of another kind is an error that names column and row: an integer column with a text in it, a DATE that is no",
        "date. Read such a column as text: `cast(a as text) as a`. A load declares types that the extract brings back.\n",
        *_type_table(("declared", "Arrow", "back", "what to know"), rows),
        "\nOther types of Arrow become:\n",
        *_type_table(("Arrow", "SQLite", "what to know"), written),
        "\nRefused as values, with column and row: NaN, dates outside of the years 1 to 9999, 24:00:00, text that is no UTF-8.\n",
        "A table that is there keeps its declared types. Their affinity must keep every value as it is, or the load is refused before a",
        "row is written.",
    ]
    return "\n".join(parts) + "\n"


def extreme_values() -> str:
    """What becomes of values at the edges, database by database."""
    parts = [
        MADE,
        "# Extremes\n",
        "What the `sql` plugins do about values at the edges of types. *Kept*: the value arrives as it is. *Refused*: the step ends",
        "with a message that names column, row and value, and nothing is written. No value is changed without a word. A dash: the",
        "database has no such value, or Arrow cannot bring it one.\n",
        "## Read from\n",
        *_type_table(
            ("value", *extremes.DATABASES, ""),
            [(item.value, *item.read, item.note) for item in extremes.EXTREMES],
        ),
        "\n## Loaded into\n",
        *_type_table(
            ("value", *extremes.DATABASES), [(item.value, *item.written) for item in extremes.EXTREMES]
        ),
        "\nWhat is refused can be made null, or text, in the query of the extract or in a transform before the load.",
    ]
    return "\n".join(parts) + "\n"


def _type_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def pages() -> dict[str, str]:
    """The text of every page, by its path under docs/reference."""
    return {
        "language.md": language(),
        "errors.md": error_codes(),
        "events.md": event_classes(),
        "plan.md": plan_shape(),
        "cli.md": commands(),
        "python.md": python_names(),
        "extremes.md": extreme_values(),
        "types-duckdb.md": duckdb_types(),
        "types-mariadb.md": mariadb_types(),
        "types-postgresql.md": postgres_types(),
        "types-sqlite.md": sqlite_types(),
        "plugins/index.md": plugin_index(),
        **{f"plugins/{kind}.md": plugin_page(kind) for kind in _built_in()},
    }


def main() -> int:
    """Writes the pages, or with ``--check`` says which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = []
    for name, text in pages().items():
        path = REFERENCE / name
        if options.check:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                stale.append(f"docs/reference/{name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run `make reference`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
