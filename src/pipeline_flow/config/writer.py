"""The tree → YAML text that means the same: placeholders stay, comments and anchors do not.

What PyYAML writes follows YAML 1.1, and we read 1.2's core schema: text is put in quotes where either would take it
for something else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from pipeline_flow.config.source import Map, Node, Scalar, Seq, scalar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BLOCK = re.compile(
    r"[^\s](?:[^\n]*[^\s])?(?:\n+[^\n]*[^\s])+\n?"
)  # lines that a block scalar keeps as they are


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - anchors are not needed to mean the same
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, False)  # lists stand further in than their key


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text and _BLOCK.fullmatch(text) and text.replace("\n", "").isprintable():
        style = "|"
    elif text == "<<" or scalar(text) is not text or not text.isprintable():
        style = '"'  # where characters that end a line for YAML, or that nobody sees, are written as escapes
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def text(documents: Iterable[Map], refuse: Callable[[str, Node], Any]) -> str:
    """YAML text of ``documents``.

    Args:
        documents: the configuration.
        refuse: called with a message and the node of a value that YAML cannot hold; raises.
    """
    plain = [_plain(document, refuse) for document in documents] or [{}]
    return yaml.dump_all(
        plain,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=1_000_000,
    )


def _plain(node: Node, refuse: Callable[[str, Node], Any]) -> Any:
    if isinstance(node, Map):
        return {_scalar(key, node, refuse): _plain(item, refuse) for key, item in node.items.items()}
    if isinstance(node, Seq):
        return [_plain(item, refuse) for item in node.items]
    assert isinstance(node, Scalar)  # there are no others
    return _scalar(node.value, node, refuse)


def _scalar(value: Any, node: Node, refuse: Callable[[str, Node], Any]) -> Any:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            refuse("YAML cannot hold half of a character (a lone surrogate)", node)
        return str(value)
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is not None:
        refuse(
            f"YAML cannot hold an object of {type(value).__name__}: it has text, numbers, true and false, null, "
            "lists and mappings",
            node,
        )
    return value
