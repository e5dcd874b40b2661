"""What can be told of SQL without a database's parser, which takes long to import."""

from __future__ import annotations

import re

from pipeline_flow.core.suggest import nearest

# What is no part of a statement's own text: texts (after an `e` with escapes), quoted names, comments, dollar quotes.
_TOKEN = re.compile(
    r"""(?P<text>(?<!\w)[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(?P<tag>\$\w*\$).*?(?P=tag))|(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<open>['"]|/\*)""",
    re.DOTALL,
)
_GIVES_ROWS = (
    "select", "with", "from", "values", "table", "pivot", "unpivot", "show", "describe", "desc", "summarize", "pragma",
)  # fmt: skip
_OTHERS = (
    "insert", "update", "delete", "merge", "create", "drop", "alter", "truncate", "copy", "attach", "detach", "use",
    "set", "reset", "call", "begin", "commit", "rollback", "install", "load", "export", "import", "vacuum",
    "analyze", "checkpoint", "explain", "prepare", "execute", "grant", "revoke", "comment",
)  # fmt: skip
_PAIRS = {")": "(", "]": "[", "}": "{"}


_NESTED_COMMENT = re.compile(r"/\*(?:(?!\*/).)*/\*", re.DOTALL)  # databases differ about those
_TYPES = (
    "array", "bigint", "bignum", "binary", "bit", "bitstring", "blob", "bool", "boolean", "bpchar", "bytea", "char",
    "date", "datetime", "dec", "decimal", "double", "enum", "float", "float4", "float8", "geometry", "guid", "hugeint",
    "int", "int1", "int128", "int16", "int2", "int32", "int4", "int64", "int8", "integer", "integral", "interval",
    "json", "list", "logical", "long", "map", "null", "numeric", "nvarchar", "oid", "real", "row", "short", "signed",
    "smallint", "string", "struct", "text", "time", "time_ns", "timestamp", "timestamp_ms", "timestamp_ns",
    "timestamp_s", "timestamp_us", "timestamptz", "timetz", "tinyint", "type", "ubigint", "uhugeint", "uint128",
    "uint16", "uint32", "uint64", "uint8", "uinteger", "union", "usmallint", "utinyint", "uuid", "varbinary", "varchar",
    "variant", "varint",
)  # fmt: skip


def query_fault(query: str) -> str | None:
    """Why ``query`` cannot be one SELECT, or ``None`` where nothing speaks against it: only a parser knows.

    What it says is true of every query; that it says nothing means little.
    """
    if _NESTED_COMMENT.search(query):
        return None
    kept, problem = _without_texts(query)
    if problem is not None:
        return f"the query cannot be read: {problem}"
    statements = [part for part in kept.split(";") if part.strip()]
    if not statements:
        return "the query is empty: write one SELECT"
    if len(statements) > 1:
        return f"the query must be exactly one SELECT, and here are {len(statements)} statements"
    if problem := _unbalanced(statements[0]):
        return f"the query cannot be read: {problem}"
    found = re.match(r"[\s(]*([A-Za-z_]\w*)", statements[0])
    word = found[1].lower() if found else ""
    if word in _OTHERS:
        return f"the query must be a SELECT, and this is {word.upper()}"
    if word not in _GIVES_ROWS:
        near = nearest(word, _GIVES_ROWS) if word else None
        begins = f"begins with `{found[1]}`" if found else "begins with no word"
        return f"the query {begins}" + (
            f": did you mean `{near}`?" if near else ", and a SELECT was expected"
        )
    return None


def expression_fault(text: str) -> str | None:
    """Why ``text`` cannot be one expression, or ``None``; as little as :func:`query_fault` knows."""
    if _NESTED_COMMENT.search(text):
        return None
    kept, problem = _without_texts(text)
    problem = problem or _unbalanced(kept)
    if problem is None and not kept.strip():
        problem = "it is empty"
    elif problem is None and ";" in kept:
        problem = "it holds a `;`"
    return None if problem is None else f"`{' '.join(text.split())}` is not an expression of SQL: {problem}"


def type_fault(text: str) -> str | None:
    """Why ``text`` cannot be a type, or ``None``: a word that no type begins with, and that one nearly is."""
    kept, problem = _without_texts(text)
    problem = problem or _unbalanced(kept)
    found = re.match(r"\s*([A-Za-z_]\w*)", text)
    near = nearest(found[1], _TYPES) if found and found[1].lower() not in _TYPES else None
    if near is not None:
        problem = f"did you mean `{near.upper()}`?"
    elif not text.strip():
        problem = "it is empty"
    return None if problem is None else f"`{' '.join(text.split())}` is no type of DuckDB's: {problem}"


def _unbalanced(text: str) -> str | None:
    opened: list[str] = []
    for character in text:
        if character in "([{":
            opened.append(character)
        elif character in _PAIRS and (not opened or opened.pop() != _PAIRS[character]):
            return f"`{character}` closes nothing"
    return f"`{opened[-1]}` is not closed" if opened else None


def _without_texts(query: str) -> tuple[str, str | None]:
    """``query`` with texts as `''` and without comments, or why that cannot be told."""
    kept, at = "", 0
    for match in _TOKEN.finditer(query):
        kept += query[at : match.start()] + ("''" if match["text"] else " ")
        at = match.end()
        if match["open"]:
            what = "a comment" if match["open"] == "/*" else f"a `{match['open']}`"
            return "", f"{what} is not closed"
    return kept + query[at:], None
