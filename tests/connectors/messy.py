"""Messy CSV files as people meet them, and what the `csv` extract makes of each: the right rows, or one clear message.

:func:`page` renders the table as docs/messy-files.md.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A file and the arguments that read it; ``found`` are the rows by column, or the message's text."""

    name: str
    data: bytes
    found: dict[str, list[Any]] | str
    args: dict[str, Any] = field(default_factory=dict)


BIG = b"x" * 10_000_000
SHORT = "`short_rows: null` takes rows with too few"
GROUPS: dict[str, list[Case]] = {
    "Rows of different lengths": [
        Case("too many fields", b"a,b\n1,2\n1,2,3\n", "t.csv, line 3 has 3 fields instead of 2"),
        Case("too few fields", b"a,b\n1,2\n1\n", "t.csv, line 3 has 1 fields instead of 2"),
        Case(
            "too few fields behind line breaks in quotes",
            b'a,b\n"x\ny",2\n"p\n\nq",3\n1\n',
            "t.csv, line 7 has 1 fields instead of 2",
        ),
        Case(
            "too few fields, wanted as null",
            b'a,b\n1\n2,"x\ny"\n',
            {"a": [1, 2], "b": [None, "x\ny"]},
            {"short_rows": "null"},
        ),
        Case(
            "too many fields where short ones are wanted",
            b"a,b\n1\n1,2,3\n",
            "t.csv, line 3 has 3 fields instead of 2",
            {"short_rows": "null"},
        ),
        Case("a delimiter behind each row", b"a,b\n1,2,\n3,4,\n", {"a": [1, 3], "b": [2, 4]}),
        Case(
            "a delimiter behind each row and the header",
            b"a,b,\n1,2,\n",
            {"a": [1], "b": [2], "column_3": [None]},
        ),
        Case("blank lines", b"\n\na,b\n\n1,2\n\n\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
        Case("blank lines in one column alone are nulls", b"a\n1\n\n2\n", {"a": [1, None, 2]}),
        Case("a line of spaces", b"a,b\n1,2\n  \n", "t.csv, line 3 has 1 fields instead of 2"),
        Case("the delimiter of another program", b"a;b\n1,5;2,5\n", {"a": ["1,5"], "b": ["2,5"]}),
        Case("Excel's first line", b"sep=;\r\na;b\r\n1;x\r\n", {"a": [1], "b": ["x"]}),
    ],
    "Headers": [
        Case("header only", b"a,b\n", {"a": [], "b": []}),
        Case("header only, without a line break", b"a,b", {"a": [], "b": []}),
        Case("nothing at all", b"", "t.csv is empty"),
        Case("only blank lines", b"\n\n", "t.csv is empty"),
        Case("a name twice", b"a,b,a\n1,2,3\n", "t.csv has 2 columns called `a`"),
        Case(
            "a name twice, the names left out",
            b"a,b,a\n1,2,3\n",
            {"column_1": [1], "column_2": [2], "column_3": [3]},
            {"header": False, "skip": 1},
        ),
        Case("a column without a name", b"a,,c\n1,2,3\n", {"a": [1], "column_2": [2], "c": [3]}),
        Case("spaces around names and values", b"a , b\n 1 , x \n", {"a": [" 1 "], "b": [" x "]}),
        Case("a line break in a name", b'"a\nb",c\n1,2\n', {"a\nb": [1], "c": [2]}),
        Case("lines before the header", b"made by hand\n\na,b\n1,2\n", {"a": [1], "b": [2]}, {"skip": 1}),
    ],
    "Comments": [
        Case(
            "comments",
            b"# a, b and c\na,b\n# x\n1,#2\n3,4#\n#",
            {"a": [1, 3], "b": ["#2", "4#"]},
            {"comment": "#"},
        ),
        Case(
            "no comment inside of quotes",
            b'a,b\n1,"x\n# y"\n"# z",2\n',
            {"a": ["1", "# z"], "b": ["x\n# y", "2"]},
            {"comment": "#"},
        ),
        Case(
            "the line of an error counts the comments",
            b"# x\na,b\n# y\n\n1,2,3\n",
            "t.csv, line 5 has 3 fields instead of 2",
            {"comment": "#"},
        ),
    ],
    "Line ends": [
        Case("no line break at the end", b"a,b\n1,2", {"a": [1], "b": [2]}),
        Case("CR LF", b"a,b\r\n1,x\r\n", {"a": [1], "b": ["x"]}),
        Case("CR alone", b"a,b\r1,x\r2,y\r", {"a": [1, 2], "b": ["x", "y"]}),
        Case("LF, then CR LF", b"a,b\n1,x\r\n2,y\n", {"a": [1, 2], "b": ["x", "y"]}),
        Case(
            "CR LF, then LF, and line breaks in quotes",
            b'a,b\r\n1,"x\ny"\n2,"p\r\nq"\r\n',
            {"a": [1, 2], "b": ["x\ny", "p\r\nq"]},
        ),
        Case("all three", b"a,b\r1,x\n2,y\r\n", {"a": [1, 2], "b": ["x", "y"]}),
        Case("CR in quotes", b'a,b\n1,"x\ry"\n', {"a": [1], "b": ["x\ry"]}),
        Case("CR inside of a field", b"a,b\n1,x\ry\n", "t.csv, line 3 has 1 fields instead of 2"),
        Case(
            "other line ends behind the sample",
            b"a,b\n" + b"1,x\n" * 30_000 + b"2,y\r\n3,z\n",
            "t.csv has lines that end in different ways (LF, CR LF, CR)",
        ),
        Case("the end mark of CP/M", b"a,b\n1,2\n\x1a", "t.csv, line 3 has 1 fields instead of 2"),
    ],
    "Quotes": [
        Case("a quote that does not end", b'a,b\n1,"x\n2,y\n', "t.csv, line 2: a quoted field does not end"),
        Case("more behind the quote", b'a,b\n1,x\n2,"p"q\n', "t.csv, line 3: a quoted field does not end"),
        Case("a quote inside of a field", b'a,b\n1,5" disk\n', {"a": [1], "b": ['5" disk']}),
        Case("doubled quotes", b'a,b\n1,"say ""hi"""\n', {"a": [1], "b": ['say "hi"']}),
        Case("a backslash before a quote", b'a,b\n1,"x\\"y"\n', "t.csv, line 2: a quoted field does not end"),
        Case(
            "a backslash before a quote, declared", b'a,b\n1,"x\\"y"\n', {"a": [1], "b": ['x"y']}, {"escape": "\\"}
        ),
        Case("a space before a quote", b'a,b\n1, "x, y"\n', {"a": [1], "b": ["x, y"]}),
        Case("empty, and empty in quotes", b'a,b\n,""\n"",x\n', {"a": [None, ""], "b": ["", "x"]}),
        Case(
            "a text that means null, unless in quotes",
            b'a,b\nNA,"NA"\n1,x\n',
            {"a": [None, 1], "b": ["NA", "x"]},
            {"null": ["NA"]},
        ),
    ],
    "Encodings": [
        Case("UTF-8 with a byte order mark", b"\xef\xbb\xbfa,b\n1,\xc3\xbc\n", {"a": [1], "b": ["ü"]}),
        Case("UTF-16 with a byte order mark", "a,b\n1,ü\n".encode("utf-16"), {"a": [1], "b": ["ü"]}),
        Case(
            "UTF-16, the other way round",
            b"\xfe\xff" + "a,b\n1,ü\n".encode("utf-16-be"),
            {"a": [1], "b": ["ü"]},
        ),
        Case("Latin-1 taken for UTF-8", b"a,b\n1,x\n2,\xfc\n", "t.csv, line 3, is not UTF-8"),
        Case(
            "Latin-1 taken for UTF-8, far behind",
            b"a,b\n" + b"1,x\n" * 30_000 + b"2,\xfc\n",
            "t.csv, line 30002, is not UTF-8",
        ),
        Case("Latin-1", b"a,b\n1,\xfc\n", {"a": [1], "b": ["ü"]}, {"encoding": "latin-1"}),
        Case("half of a character", b"a,b\nx\xc3,2\n", "t.csv, line 2, is not UTF-8"),
        Case("a null character", b"a,b\n1,x\0y\n", {"a": [1], "b": ["x\0y"]}),
        Case("a null character in the header", b"a\0,b\n1,x\n", "t.csv is not CSV: its first line holds null characters"),
    ],
    "Values": [
        Case("007", b"a\n007\n1\n", {"a": ["007", "1"]}),
        Case("2^63", b"a\n9223372036854775808\n", {"a": ["9223372036854775808"]}),
        Case("0.1 + 0.2", b"a\n0.30000000000000004\n", {"a": [0.1 + 0.2]}),
        Case("a digit more than a double holds", b"a\n0.300000000000000041\n", {"a": ["0.300000000000000041"]}),
        Case("separators of thousands", b'a,b\n"1,000",1.000\n', {"a": ["1,000"], "b": [1.0]}),
        Case("dates in mixed forms", b"a\n2024-01-01\n01.02.2024\n", {"a": ["2024-01-01", "01.02.2024"]}),
        Case("a date and a time", b"a\n2024-01-01\n2024-01-01 10:00:00\n", {"a": ["2024-01-01", "2024-01-01 10:00:00"]}),
        Case("yes and no", b"a,b\nyes,true\nno,false\n", {"a": ["yes", "no"], "b": [True, False]}),
        Case("ISO dates", b"a\n2024-02-29\n\n", {"a": [dt.date(2024, 2, 29), None]}),
        Case(
            "text behind the sample",
            b"a\n" + b"1\n" * 30_000 + b"x\n",
            "t.csv, line 30002: the column `a` is BIGINT in the first 20,480 rows, and here is 'x'",
        ),
    ],
    "Long fields": [
        Case("10 MB", b"a,b\n1," + BIG + b"\n", "t.csv, line 2, has a row of more than 2,097,152 bytes"),
        Case("10 MB in quotes", b'a,b\n1,"' + BIG + b'"\n2,y\n', "t.csv, line 2, has a row of more than 2,097,152 bytes"),
        Case("10 MB, declared", b"a,b\n1," + BIG + b"\n", {"a": [1], "b": [BIG.decode()]}, {"longest_row": 12_000_000}),
    ],
}  # fmt: skip
CASES = [case for cases in GROUPS.values() for case in cases]

_HEAD = """<!-- Made by tests/connectors/messy.py: pytest tests/connectors/test_messy.py --rewrite-golden -->
# Messy CSV files

What the `csv` extract makes of files as people meet them: the right rows, or one message that names file and line. Each
line of these tables is a test. In the files, `\\n` and `\\r` are line breaks, `\\x..` other bytes.
"""


def page() -> str:
    """The cases as a page of Markdown."""
    parts = [_HEAD]
    for title, cases in GROUPS.items():
        parts.append(
            f"\n## {title}\n\n| file | its bytes | arguments | rows or message |\n| --- | --- | --- | --- |\n"
        )
        for case in cases:
            cells = (case.name, _code(_bytes(case.data)), _code(_args(case.args)), _found(case.found))
            parts.append(f"| {' | '.join(cells)} |\n")
    return "".join(parts)


def _bytes(data: bytes) -> str:
    text = repr(data)[2:-1] if b"'" in data and b'"' in data else repr(data)[2:-1].replace("\\'", "'")
    return text if len(text) <= 80 else f"{text[:30]}… ({len(data):,} bytes)"


def _args(args: dict[str, Any]) -> str:
    return ", ".join(f"{name}: {_value(value)}" for name, value in args.items())


def _found(found: dict[str, list[Any]] | str) -> str:
    if isinstance(found, str):
        return f"error: {_code(found, quotes=False)}"
    columns = [f"{name!r}: {', '.join(map(_value, values)) or 'no rows'}" for name, values in found.items()]
    return _code("; ".join(columns))


def _value(value: Any) -> str:
    text = str(value) if isinstance(value, dt.date) else repr(value)
    text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 40 else f"{text[:10]}… ({len(text) - 2:,} characters)"


def _code(text: str, *, quotes: bool = True) -> str:
    if not text:
        return ""
    fence = "``" if "`" in text and quotes else "`"
    shown = text if quotes else text.replace("`", "'")
    return f"{fence}{shown}{fence}".replace("|", "\\|")
