"""What is plainly written is read by Arrow, and comes out as the general reader gives it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import SourceMalformed
from pipeline_flow.files import csv_plain
from pipeline_flow.files.csv_plain import Layout, NotPlain
from pipeline_flow.plugins.extract import csv as extract_csv

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.connectors.conftest import Bench

LENGTH = int(os.environ.get("PIPELINE_FLOW_TEST_LENGTH", "4"))
TYPES = {
    "n": "BIGINT", "i": "INTEGER", "u": "UTINYINT", "x": "DOUBLE", "t": "VARCHAR", "d": "DATE",
    "m": "TIMESTAMP", "b": "BOOLEAN", "p": "DECIMAL(6,2)",
}  # fmt: skip


def layout(text: str, *types: str, declared: bool = False, **more: object) -> Layout:
    """How ``text`` is written."""
    names = text.partition("\n")[0].rstrip("\r").split(",")
    converts = {
        name: None if type_ == "VARCHAR" else csv_plain.convert(type_, declared=declared)
        for name, type_ in zip(names, types, strict=True)
    }
    given = {"delimiter": ",", "quotes": True, "header": True, "nulls": [""], "longest": 1 << 20, **more}
    return Layout(names, converts, **given)  # type: ignore[arg-type] # the fields, whatever a test gives


def plainly(
    text: str, *types: str, declared: bool = False, skip: int = 0, **more: object
) -> list[dict[str, object]]:
    """The rows of ``text``, read by Arrow alone."""
    Path("t.csv").write_bytes(text.encode())
    return [
        row
        for batch in csv_plain.batches(layout(text, *types, declared=declared, **more), Path("t.csv"), skip)
        for row in batch.to_pylist()
    ]


@contextmanager
def small_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(csv_plain, "_BLOCK", size)
        patched.setattr(csv_plain, "_LEAST", 1)
        yield


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n", "\r\n"])
def test_ordinary_files_are_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, last: str
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [
        "id,price,day,comment",
        '1,0.04,1996-03-13,", ""egular"", courts,"',
        "2,,,",
        '-30,1e-7,0001-01-01,""',
        '4,17,2024-02-29,"two\nlines"',
    ]
    text = ends.join(line.replace("\n", ends) for line in lines) + (ends if last else "")
    assert [tuple(row.values()) for row in plainly(text, "BIGINT", "DOUBLE", "VARCHAR", "VARCHAR")] == [
        (1, 0.04, "1996-03-13", ', "egular", courts,'),
        (2, None, None, None),
        (-30, 1e-7, "0001-01-01", ""),
        (4, 17.0, "2024-02-29", f"two{ends}lines"),
    ]


@pytest.mark.parametrize(
    "row",
    [
        '"a"b,c', 'a"b,c', 'a,b"', 'a","b', '"a,"b,c', '"a', "a", "a,b,c", "a,\0", 'a, "b"', '"a" ,b', "a\r,b",
        '""x"",b', '"a",b\r',
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_not_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotPlain):
        plainly(f"a,b\n1,2\n{row}\n", "VARCHAR", "VARCHAR")


MISWRITTEN = {
    "BIGINT": ["007", "+5", "-0", " 5", "5 ", "0x1F", "1.0", "1e2", "00", "-01", "9223372036854775808", "1_0", ""],
    "UTINYINT": ["256", "-1", "01"],
    "DOUBLE": ["007", "+1.5", "1,5", "nan", "inf", "-Infinity", "1e400", "1e-400", "00.5", "-00.5", "1_0.5", "1e-310", " 1.5", "1.5 ", "0x1p3", "0.10000000000000001", "12345678901234567", "0.1000000000000000055", "0.000003923643785872912", "1.023795977252221e+10"],
    "DATE": ["2024-1-5", "20240105", "2024-01-05T00:00:00", "0000-01-01", "-0001-01-01", "10000-01-01", "2023-02-29"],
    "TIMESTAMP": ["2024-01-01", "2024-01-01 10", "2024-01-01 10:00:00Z", "2024-01-01 10:00:00.1234567", "0000-01-01 00:00:00"],
    "BOOLEAN": ["1", "0", "t", "yes"],
    "DECIMAL(6,2)": ["1.234", "1e2", "12345.6", "+1.5"],
    "DECIMAL(38,37)": ["109", "9" * 39],
    "DECIMAL(38,0)": ["9" * 39],
}  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "text"), [(type_, text) for type_, texts in MISWRITTEN.items() for text in texts]
)
def test_a_text_that_is_not_written_as_its_type_is_not_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotPlain):
        plainly(f'a,b\n"{text}",x\n', type_, "VARCHAR")


@pytest.mark.parametrize("header", ['A,H"', 'A,"H"I', '"A" ,H'])
def test_an_odd_header_loses_no_row(bench: Bench, header: str) -> None:
    Path("t.csv").write_text(f"{header}\n1,x\n2,y\n")
    assert bench.extract("csv", path="t.csv").num_rows == 2


@pytest.mark.parametrize(
    ("text", "skip"),
    [
        ('"two\nA,B\n1,2\n3,4\n', 1),
        ('"q1" q2\nA,B\n1,2\n3,4\n', 1),
        ('A,"H\nI"\r\n1,2\r\n3,4\r\n', 0),
        ('A,"H\r\nI"\n1,2\n3,4\n', 0),
        ('A,"H\rI"\n1,2\n3,4\n', 0),
        ('\ufeff"H\nI",B\n1,2\n3,4\n', 0),
    ],
)
def test_quotes_before_the_rows_lose_none(bench: Bench, text: str, skip: int) -> None:
    Path("t.csv").write_bytes(text.encode())
    rows = bench.extract("csv", path="t.csv", skip=skip).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(1, 2), (3, 4)]


def test_a_mark_at_the_beginning_of_a_row_is_text(bench: Bench) -> None:
    Path("t.csv").write_text("A,B\n\ufeff,b\nx,c\n")
    assert bench.extract("csv", path="t.csv").column("A").to_pylist() == ["\ufeff", "x"]


def test_a_stray_quote_costs_no_time_that_grows_with_the_square() -> None:
    def seconds(lines: int) -> float:
        data = bytearray(b'\n1,5" pipe\n' + b'1,"x"\n' * lines)
        start = time.process_time()
        assert csv_plain._end(data, layout("a,b\n", "VARCHAR", "VARCHAR")) == 1
        return time.process_time() - start

    assert seconds(80_000) < 40 * max(min(seconds(8_000) for _ in range(3)), 1e-3)


def test_types_of_other_ways_of_reading_are_refused() -> None:
    for type_ in ("TIMESTAMPTZ", "HUGEINT", "DECIMAL(39,2)", "DECIMAL(2,3)", "FLOAT", "TIME", "INTEGER[]"):
        with pytest.raises(NotPlain):
            csv_plain.convert(type_, declared=True)


WORDS = {
    "n": ["0", "-7", "12", "999999999999999999", "007", "-0", "1.0", "", "x", '"8"', '""'],
    "i": ["1", "-2147483648", "2147483648", "+3", " 4", ""],
    "u": ["0", "255", "256", "-1", ""],
    "x": ["0.5", "-0", "1e3", "1E-5", ".5", "5.", "007.5", "+1", "nan", "1e400", "1e-400", "0.1000000000000000055", "0.30000000000000004", "-1.7976931348623157e308", "", "0.0", "1234567890123456"],
    "t": ["a", "é", '"a,b"', '"two\nlines"', '""', "", "NA", '"NA"', 'x"y', '"x""y"', '"x"y', " a", '" a"', "\u2028", "a\tb", '","'],
    "d": ["2024-02-29", "0001-01-01", "9999-12-31", "2023-02-29", "2024-1-5", "0000-01-01", "", "2024-01-05 "],
    "m": ["2024-02-29 10:11:12", "2024-02-29T10:11:12.123456", "2024-02-29 10:11", "2024-02-29", "2024-02-29 10:11:12Z", "2024-02-29 24:00:00", "2024-02-29 10:11:12.1234567", ""],
    "b": ["true", "FALSE", "True", "1", "t", "yes", ""],
    "p": ["1.50", "-0.01", "9999.99", "10000", "1.234", "1.230", "1e2", "+1", "", ".5", "5.", "."],
}  # fmt: skip


@st.composite
def files(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """The text of a file of columns of several types, mostly plain, and the types that are declared."""
    kinds = draw(st.lists(st.sampled_from(sorted(WORDS)), min_size=2, max_size=4, unique=True))
    ends = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    values = [st.one_of(st.sampled_from(WORDS[kind][:3]), st.sampled_from(WORDS[kind])) for kind in kinds]
    rows = draw(st.lists(st.tuples(*values), min_size=1, max_size=12))
    quotes = draw(st.lists(st.booleans(), min_size=len(kinds), max_size=len(kinds)))
    header = [f'"{kind}"' if quoted else kind for kind, quoted in zip(kinds, quotes, strict=True)]
    lines = [",".join(header), *(",".join(row) for row in rows)]
    odd = draw(
        st.sampled_from(["", "", "", "", "1,2,3,4,5", "1", "trailing", "blank", "mixed", "bom", "no end"])
    )
    at = draw(st.integers(1, len(lines)))
    if odd == "trailing":
        lines[-1] += ","
    elif odd == "blank":
        lines.insert(at, "")
    elif odd[:1] == "1":
        lines.insert(at, odd)
    text = ends.join(lines) + ("" if odd == "no end" else ends)
    if odd == "mixed":
        text = text.replace(ends, "\r\n" if ends == "\n" else "\n", 1)
    declared = {kind: TYPES[kind] for kind in draw(st.lists(st.sampled_from(kinds), unique=True))}
    return ("\ufeff" if odd == "bom" else "") + text, declared


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(file=files(), size=st.integers(20, 200), nulls=st.sampled_from([[], ["NA"]]))
def test_any_file_comes_out_as_the_general_reader_gives_it(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    file: tuple[str, dict[str, str]],
    size: int,
    nulls: list[str],
) -> None:
    text, declared = file
    Path("t.csv").write_bytes(text.encode())
    monkeypatch.setattr(extract_csv, "SAMPLE_ROWS", 2)

    def read() -> pa.Table | str:
        try:
            return bench.extract("csv", path="t.csv", columns=declared, null=nulls)
        except SourceMalformed as error:
            return f"{error}\n{error.hint}"

    with small_blocks(monkeypatch, size):
        found = read()
    with monkeypatch.context() as patched:
        patched.setattr(extract_csv._Reading, "layout", lambda *_: None)
        expected = read()
    if isinstance(found, pa.Table) and isinstance(expected, pa.Table):
        assert found.schema == expected.schema
        for one, other in zip(found.columns, expected.columns, strict=True):  # as texts: -0 is not 0
            assert one.cast(pa.string()).to_pylist() == other.cast(pa.string()).to_pylist()
    else:
        assert found == expected


def test_every_arrangement_of_quotes_that_is_plain_is_what_the_general_reader_sees(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PIPELINE_FLOW_TEST_LENGTH=8` tries 87,380 of them, in four minutes."""
    monkeypatch.setattr(extract_csv._Reading, "layout", lambda *_: None)
    plain = 0
    for length in range(1, LENGTH + 1):
        for characters in itertools.product('a,"\n', repeat=length):
            text = "x,y\n" + "".join(characters)
            try:
                rows = plainly(text, "VARCHAR", "VARCHAR")
            except NotPlain:
                continue
            plain += 1
            found = bench.extract("csv", path="t.csv", columns={"x": "VARCHAR", "y": "VARCHAR"})
            assert found.to_pylist() == rows, text
    assert plain >= 61


def test_the_largest_numbers_of_each_type_are_plain() -> None:
    for name, type_ in csv_plain._INTEGERS.items():
        bits = int(str(type_).lstrip("uint"))
        least, most = (
            (0, 2**bits - 1) if str(type_).startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        texts = pa.array([str(most), None, str(least), "7"])
        assert csv_plain._integers(texts, type_).to_pylist() == [most, None, least, 7], name


def test_no_pandas_is_imported_to_read_a_file(tmp_path: Path) -> None:
    """It takes longer than many a file."""
    (tmp_path / "in.csv").write_text("n,x,day,text\n" + "12,0.5,2024-01-01,a\n" * 1000)
    code = """
import sys
from pipeline_flow.entrypoint import run
extract = {"plugin": "csv", "args": {"path": "in.csv"}}
load = {"plugin": "parquet", "args": {"path": "out.parquet"}}
run({"pipelines": {"p": {"phases": {"extract": {"steps": [extract]}, "load": {"steps": [load]}}}}})
assert "pyarrow" in sys.modules
assert "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
