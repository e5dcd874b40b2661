"""Excel workbooks for tests, written cell by cell: what decides what a cell is, and nothing else."""

from __future__ import annotations

import datetime as dt
import zipfile
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DAY_ZERO = dt.datetime(1899, 12, 30)
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
STYLES = {"date": 1, "moment": 2, "clock": 3, "span": 4}
STYLE_SHEET = (
    f'<styleSheet xmlns="{MAIN}"><numFmts count="1"><numFmt numFmtId="164" formatCode="[h]:mm:ss"/></numFmts><cellXfs count="5">'
    '<xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="22"/><xf numFmtId="21"/><xf numFmtId="164"/></cellXfs></styleSheet>'
)


class Fault(str):
    """An error cell: ``#DIV/0!``."""

    __slots__ = ()


def _cell(value: Any, at: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, Fault):
        return f'<c r="{at}" t="e"><v>{value}</v></c>'
    if isinstance(value, str):
        text = f'<t xml:space="preserve">{escape(value)}</t>'
        return f'<c r="{at}" t="inlineStr"><is>{text}</is></c>'
    style, number = "", value
    if isinstance(value, dt.datetime):
        style, number = "moment", (value - DAY_ZERO) / dt.timedelta(days=1)
    elif isinstance(value, dt.date):
        style, number = "date", (value - DAY_ZERO.date()).days
    elif isinstance(value, dt.time):
        style, number = "clock", (value.hour * 3600 + value.minute * 60 + value.second) / 86400
    elif isinstance(value, dt.timedelta):
        style, number = "span", value / dt.timedelta(days=1)
    return f'<c r="{at}" s="{STYLES.get(style, 0)}"><v>{number!r}</v></c>'


def write(path: str, sheets: Mapping[str, Sequence[Sequence[Any]]]) -> None:
    """A workbook with these sheets; a row is its cells from column A on (26 at most)."""
    numbered = dict(enumerate(sheets, 1))
    listed = "".join(f'<sheet name="{escape(n)}" sheetId="{i}" r:id="r{i}"/>' for i, n in numbered.items())
    links = "".join(
        f'<Relationship Id="r{i}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i in numbered
    )
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{PACKAGE}/relationships">{links}<Relationship Id="s" Type="{OFFICE}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": STYLE_SHEET,
    }
    for number, name in numbered.items():
        rows = "".join(
            f'<row r="{r}">' + "".join(_cell(v, f"{chr(65 + c)}{r}") for c, v in enumerate(row)) + "</row>"
            for r, row in enumerate(sheets[name], 1)
            if any(value is not None for value in row)
        )
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData></worksheet>'
        )
    with zipfile.ZipFile(path, "w") as file:
        for part, text in parts.items():
            file.writestr(part, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
