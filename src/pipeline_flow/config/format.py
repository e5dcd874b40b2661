"""A configuration's text in one form, its comments and values as they were: ``pipeline-flow fmt``."""

from __future__ import annotations

import re

from pipeline_flow.config.source import Map, Node, Seq, Source, Sources, Template, parse
from pipeline_flow.errors import ConfigError, InternalError

_MOST_EMPTY = 1  # lines in a row
_END = re.compile("\r\n|\r|\n")


def formatted(source: Source) -> str:
    """The text of ``source`` without what nobody sees: spaces at the ends of lines, line ends of other systems, runs of empty lines.

    Lines inside of block scalars and of quoted texts stay as they are, whatever they end with.

    Raises:
        ConfigError: the text is not YAML of ours; it has to be mended first.
    """
    tree = parse(source, Sources())
    if tree.problems:
        raise ConfigError(tree.problems)
    lines = _END.split(source.text)
    kept = _inside_values(source)
    result: list[str] = []
    empty = 0
    for number, line in enumerate(lines):
        if number in kept:
            result.append(line)
            empty = 0
            continue
        text = line.rstrip(" \t")
        empty = 0 if text else empty + 1
        if empty <= _MOST_EMPTY and (text or result):
            result.append(text)
    if len(lines) - 1 in kept:  # the end of the text belongs to a block scalar
        text = "\n".join(result)
    else:
        text = "\n".join(result).rstrip("\n")
        text += "\n" if text else ""
    again = parse(Source(text, source.name), Sources())
    if again.problems or [_data(node) for node in again.documents] != [
        _data(node) for node in tree.documents
    ]:
        raise InternalError(f"formatting would change what {source.name} says; it was left as it is")
    return text


def _inside_values(source: Source) -> set[int]:
    """The numbers of the lines, from 0, whose end belongs to a value.

    Of a text in quotes these are all but its last; of a block scalar also the last, and the empty ones behind it.
    """
    import yaml

    found: set[int] = set()
    lines = _END.split(source.text)
    for event in yaml.parse(source.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if not isinstance(event, yaml.ScalarEvent) or event.start_mark is None or event.end_mark is None:
            continue
        first, last = event.start_mark.line, event.end_mark.line
        if event.style in ("|", ">"):
            while last < len(lines) and not lines[last].strip(" \t"):
                last += 1
            at_end = event.end_mark.column and last == event.end_mark.line
            found.update(range(first + 1, last + 1 if at_end else last))
        elif event.style:
            found.update(range(first, last))
    return found


def _data(node: Node) -> object:
    if isinstance(node, Map):
        return [(key, _data(item)) for key, item in node.items.items()]
    if isinstance(node, Seq):
        return [_data(item) for item in node.items]
    value = node.value  # type: ignore[attr-defined] # the rest are scalars
    return (isinstance(node, Template), type(value).__name__, repr(value))
