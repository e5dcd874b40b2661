"""``pipeline-flow plugins``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pipeline_flow.cli import exit as exits
from pipeline_flow.cli.problems import show as show_problems
from pipeline_flow.core import discovery, spec
from pipeline_flow.core.inventory import Declaration
from pipeline_flow.core.suggest import hint
from pipeline_flow.entrypoint import prepare
from pipeline_flow.errors import ConfigError, UnknownPlugin
from pipeline_flow.listeners.text import one_line, printable
from pipeline_flow.secret import Redactor

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline_flow.core.inventory import Catalog

_WIDTH = 26


def _catalog(file: Path | None, profile: str | None) -> Catalog:
    if file is None:
        return discovery.catalog()
    return prepare(str(file), profile=profile, thorough=False).catalog


def list_all(file: Path | None, profile: str | None = None) -> int:
    """Prints every plugin, by kind, with its summary and origin."""
    try:
        view = _catalog(file, profile)
    except ConfigError as error:
        show_problems(error, Redactor())
        return exits.WRONG_CONFIGURATION
    kind_before = None
    for kind, name, found in discovery.listing(view):
        if kind != kind_before:
            sys.stdout.write(f"{'' if kind_before is None else chr(10)}{one_line(kind)}\n")
            kind_before = kind
        if isinstance(found, Declaration):
            summary = spec.of(found.cls).summary
            origin = "" if found.origin == "built-in" else f"  [{discovery.origin_text(found)}]"
            sys.stdout.write(f"  {one_line(f'{name:<{_WIDTH}}{summary}{origin}')}\n")
        else:
            sys.stdout.write(f"  {printable(f'{name:<{_WIDTH}}cannot be imported: {found}')}\n")
    return exits.FINE


def show(name: str, file: Path | None, profile: str | None = None) -> int:
    """Prints what the plugins of this name do and take."""
    try:
        view = _catalog(file, profile)
        found = _named(view, name)
    except ConfigError as error:
        show_problems(error, Redactor())
        return exits.WRONG_CONFIGURATION
    sys.stdout.write(printable("\n\n".join(describe(declaration) for declaration in found)) + "\n")
    return exits.FINE


def _named(view: Catalog, name: str) -> list[Declaration]:
    kind, dot, bare = name.partition(".")
    kinds = [kind] if dot else view.kinds()
    wanted = bare if dot else name
    found = [view.find(kind, wanted) for kind in kinds if wanted in view.names(kind)]
    if not found:
        known = sorted({known for kind in view.kinds() for known in view.names(kind)})
        raise UnknownPlugin(f"no plugin is called `{name}`", hint=hint(wanted, known, "plugins"))
    return found


def describe(declaration: Declaration) -> str:
    """A plugin as text: what it does, its mode, its arguments."""
    read = spec.of(declaration.cls)
    lines = [
        f"{declaration.kind}: {declaration.name}   ({discovery.origin_text(declaration)}, {read.mode})",
        "",
    ]
    lines += [read.summary] if read.summary else []
    lines += ["", read.description] if read.description else []
    lines += ["", "args:" if read.arguments else "takes no args"]
    for argument in read.arguments:
        default = "required" if argument.required else f"default {spec.yaml_text(argument.default)}"
        lines.append(f"  {argument.name}: {argument.type_text}, {default}")
        if argument.description:
            lines.append(f"      {argument.description}")
        if argument.examples:
            lines.append(f"      for example {argument.name}: {spec.yaml_text(argument.examples[0])}")
    if read.accepts_any:
        lines.append("  and any other")
    return "\n".join(lines)
