"""CSV as source and destination."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import SourceMalformed, WrongArgument
from tests.connectors.conftest import nested
from tests.connectors.suites import DestinationSuite, SourceSuite

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

TYPES = {
    "whole": "BIGINT",
    "real": "DOUBLE",
    "truth": "BOOLEAN",
    "word": "VARCHAR",
    "odd": "VARCHAR",
    "price": "DECIMAL(10,2)",
    "huge": "DECIMAL(38,10)",
    "day": "DATE",
    "clock": "TIME",
    "moment": "TIMESTAMP",
    "instant": "TIMESTAMPTZ",
    "bytes": "BLOB",
}
NESTED = {"list": "VARCHAR[]", "struct": "STRUCT(n DECIMAL(20,2), d DATE)", "map": "MAP(VARCHAR, BIGINT)"}


def declared(names: list[str]) -> dict[str, str]:
    return {name: type_ for name, type_ in {**TYPES, **NESTED}.items() if name in names}


class TestSource(SourceSuite):
    plugin = "csv"
    names: ClassVar[list[str]] = []

    def args(self) -> dict[str, Any]:
        return {"path": "data.csv", "columns": declared(self.names)}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        type(self).names = table.column_names
        bench.load("csv", table, path="data.csv")
        return Path("data.csv")


class TestDestination(DestinationSuite):
    plugin = "csv"

    def args(self) -> dict[str, Any]:
        return {"path": "data.csv"}

    def read(self, bench: Bench) -> pa.Table:
        header = Path("data.csv").read_text().split("\n")[0].split(",")
        return bench.extract("csv", path="data.csv", columns=declared(header))

    def file(self, bench: Bench) -> Path:
        return Path("data.csv").absolute()

    def test_nested_values_round_trip_under_declared_types(self, bench: Bench) -> None:
        self.load(bench, nested())
        assert self.read(bench).to_pylist() == nested().to_pylist()

    def test_null_and_empty_text_differ(self, bench: Bench) -> None:
        bench.load("csv", pa.table({"a": ["", None, "x"], "b": [1, 2, 3]}), path="data.csv")
        assert Path("data.csv").read_text() == 'a,b\n"",1\n,2\nx,3\n'
        assert bench.extract("csv", path="data.csv")["a"].to_pylist() == ["", None, "x"]

    def test_header_and_delimiter(self, bench: Bench) -> None:
        bench.load("csv", pa.table({"a": ["x;y"], "b": [1]}), path="data.csv", header=False, delimiter=";")
        assert Path("data.csv").read_text() == '"x;y";1\n'


def read(bench: Bench, text: str | bytes, **args: Any) -> pa.Table:
    Path("t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return bench.extract("csv", path="t.csv", **args)


def column(bench: Bench, *values: str, **args: Any) -> pa.ChunkedArray:
    return read(bench, "c,x\n" + "".join(f"{value},x\n" for value in values), **args)["c"]


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (["1", "-20", "0"], pa.int64()),
        (["999999999999999999"], pa.int64()),
        (["9999999999999999999"], pa.string()),
        (["007", "1"], pa.string()),
        (["+5"], pa.string()),
        (["-0"], pa.float64()),
        ([" 5"], pa.string()),
        (["5 "], pa.string()),
        (["1_000"], pa.string()),
        (["0x10"], pa.string()),
        (["1.5", "2"], pa.float64()),
        (["1.50"], pa.float64()),
        (["-0.25", ".5"], pa.float64()),
        (["1e-05", "2.5"], pa.float64()),
        (["007.5"], pa.string()),
        (["1.2345678901234567890"], pa.string()),
        (["10.357019999999999"], pa.float64()),
        (["1.10000000000000000000"], pa.float64()),
        (["nan"], pa.string()),
        (["inf"], pa.string()),
        (["-inf"], pa.string()),
        (["."], pa.string()),
        (["true", "FALSE"], pa.bool_()),
        (["t"], pa.string()),
        (["2024-02-29"], pa.date32()),
        (["2024-02-30"], pa.string()),
        (["2024-2-9"], pa.string()),
        (["29.02.2024"], pa.string()),
        (["2024-02-29 10:00:00", "2024-02-29T10:00:00.123456"], pa.timestamp("us")),
        (["2024-02-29 10:00:00.123456789"], pa.string()),
        (["2024-02-29T10:00:00Z", "2024-02-29 10:00:00+02:00"], pa.timestamp("us", "UTC")),
        (["2024-02-29T10:00:00Z", "2024-02-29 10:00:00"], pa.string()),
        (["", ""], pa.string()),
    ],
)
def test_the_type_is_found_only_where_no_value_would_change(
    bench: Bench, values: list[str], type_: pa.DataType
) -> None:
    found = column(bench, *values)
    assert found.type == type_
    if type_ == pa.string():
        assert found.to_pylist() == [value or None for value in values]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        *(
            ("1", value)
            for value in (
                "007",
                "1.5",
                "+5",
                " 5",
                "5 ",
                "-0",
                "-007",
                "1e2",
                "12e2",
                "1_0",
                "0x10",
                "5.",
                "abc",
                "99999999999999999999",
            )
        ),
        *(
            ("1.5", value)
            for value in (
                "007",
                "-007.5",
                " 1",
                "+1",
                "1_0.5",
                "nan",
                "inf",
                "-inf",
                "x",
                "1.2345678901234567890",
            )
        ),
        *(("true", value) for value in ("1", "t", "yes")),
        *(
            ("2024-01-01", value)
            for value in ("2024-01-01 10:00:00", "2024/01/01 x", "01.02.2024", "2024-1-5 1", "2024-01-5x")
        ),
        *(
            ("2024-01-01 10:00:00", value)
            for value in (
                "2024-01-01 10:00:00+02",
                "2024-01-01 10:00:00Z",
                "2024-01-01 10:00:00.123456789",
                "2024-13-01 10:00:00",
            )
        ),
        *(
            ("2024-01-01T10:00:00Z", value)
            for value in ("2024-01-01T10:00:00", "2024-01-01", "2024-01-01 10:00:00 Europe/Berlin")
        ),
    ],
)
def test_a_value_after_the_sample_that_would_change_is_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, first: str, last: str
) -> None:
    monkeypatch.setattr("pipeline_flow.plugins.extract.csv.SAMPLE_ROWS", 2)
    with pytest.raises(SourceMalformed) as caught:
        column(bench, first, first, first, last, first)
    assert "t.csv, line 5: the column `c` is" in str(caught.value)
    assert repr(last) in str(caught.value)
    assert "columns: {c: VARCHAR}" in caught.value.hint


def test_values_after_the_sample_that_fit_are_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.plugins.extract.csv.SAMPLE_ROWS", 1)
    found = read(
        bench,
        "i,f,d\n1,1.5,2024-01-01\n-9223372036854775808,-10.357019999999999,2024-02-29\n0,0,\n,,1999-12-31\n",
    )
    assert found["i"].to_pylist() == [1, -(2**63), 0, None]
    assert found["f"].to_pylist() == [1.5, -10.357019999999999, 0.0, None]


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("BIGINT", "1.5"),
        ("BIGINT", "1e2"),
        ("TINYINT", "300"),
        ("DECIMAL(5,2)", "1.239"),
        ("DECIMAL(5,2)", "12345.00"),
        ("DOUBLE", "9007199254740993"),
        ("DOUBLE", "0.12345678901234567890"),
        ("DOUBLE", "1_000"),
        ("DOUBLE", "1e400"),
        ("DOUBLE", "1e-400"),
        ("DOUBLE", "1.2345678e-320"),
        ("FLOAT", "16777217"),
        ("REAL", "3.14159265"),
        ("DATE", "2024-01-01 10:00:00"),
        ("TIMESTAMP", "2024-01-01 10:00:00+02"),
        ("TIMESTAMPTZ", "2024-01-01 10:00:00"),
        ("TIME", "10:00:00.1234567"),
        ("BOOLEAN", "perhaps"),
        ("UUID", "not-a-uuid"),
    ],
)
def test_a_declared_type_never_rounds_or_cuts(bench: Bench, type_: str, value: str) -> None:
    with pytest.raises(SourceMalformed, match=f"line 2: the column `c` is declared .*{re.escape(value)}"):
        column(bench, value, columns={"c": type_})


def test_declared_types(bench: Bench) -> None:
    found = read(
        bench,
        "a,b,c,d\n007, 1.5 ,31.12.2024,24/12/2024 10:30\n",
        columns={"a": "INTEGER", "b": "DECIMAL(4,1)", "c": "DATE", "d": "TIMESTAMP"},
        date_format="%d.%m.%Y",
        timestamp_format="%d/%m/%Y %H:%M",
    )
    assert [str(value) for value in found.to_pylist()[0].values()] == [
        "7",
        "1.5",
        "2024-12-31",
        "2024-12-24 10:30:00",
    ]


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("DOUBLE", " +1.50 ", 1.5),
        ("DOUBLE", "007", 7.0),
        ("DOUBLE", "0.30000000000000004", 0.1 + 0.2),
        ("DOUBLE", "1e-300", 1e-300),
        ("DOUBLE", "5e-324", 5e-324),
        ("DOUBLE", "0e-400", 0.0),
        ("DOUBLE", "-inf", -math.inf),
        ("DOUBLE", "9007199254740992", 2.0**53),
        ("FLOAT", "16777216", 16777216.0),
        ("FLOAT", "0.5", 0.5),
    ],
)
def test_a_declared_float_takes_what_it_holds(bench: Bench, type_: str, text: str, value: float) -> None:
    assert column(bench, text, columns={"c": type_}).to_pylist() == [value]


def test_unknown_columns_and_types_are_named(bench: Bench) -> None:
    with pytest.raises(WrongArgument, match="declares `ccc`"):
        column(bench, "1", columns={"ccc": "BIGINT"})
    (fault,) = bench.faults("extract", "csv", path="t.csv", columns={"c": "BIGGINT"})
    assert "there is no type BIGGINT (did you mean `BIGINT`?" in fault


def test_null_texts_count_only_without_quotes(bench: Bench) -> None:
    found = read(bench, 'a,b\nNA,"NA"\n,""\n5,x\n', null=["", "NA"])
    assert found["a"].to_pylist() == [None, None, 5]
    assert found["b"].to_pylist() == ["NA", "", "x"]


def test_quoted_line_breaks_crlf_and_bom(bench: Bench) -> None:
    found = read(bench, b'\xef\xbb\xbfid,text\r\n1,"two\r\nlines"\r\n2,"say ""hi"""\r\n')
    assert found.to_pylist() == [{"id": 1, "text": "two\r\nlines"}, {"id": 2, "text": 'say "hi"'}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(bench: Bench, delimiter: str) -> None:
    text = f'id{delimiter}"a,b;c"{delimiter}x\n1{delimiter}y{delimiter}2\n'
    assert read(bench, text).column_names == ["id", "a,b;c", "x"]


def test_one_column(bench: Bench) -> None:
    assert read(bench, "a\n1\n2\n")["a"].to_pylist() == [1, 2]


def test_without_a_header(bench: Bench) -> None:
    assert read(bench, "1,x\n2,y\n", header=False).to_pydict() == {"column_1": [1, 2], "column_2": ["x", "y"]}


def test_skipped_lines_escape_and_other_quote(bench: Bench) -> None:
    found = read(bench, "# made by hand\na|b\n'x\\'y|'|1\n", skip=1, quote="'", escape="\\", delimiter="|")
    assert found.to_pylist() == [{"a": "x'y|", "b": 1}]


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16"])
def test_encodings(bench: Bench, encoding: str) -> None:
    found = read(bench, "näme,x\nMüller ß,1\n".encode(encoding), encoding=encoding)
    assert found.to_pylist() == [{"näme": "Müller ß", "x": 1}]
    assert bench.leftovers() == []


def test_a_wrong_encoding_is_an_error(bench: Bench) -> None:
    with pytest.raises(SourceMalformed, match="t.csv.* is not UTF-8") as caught:
        read(bench, "a,b\n1,2\nMüller,1\n".encode("cp1252"))
    assert "encoding" in caught.value.hint
    with pytest.raises(
        SourceMalformed, match="t.csv is not ascii|t.csv.* is not UTF-8|t.csv is not shift_jis"
    ):
        read(bench, b"a,b\n\x80\xff,1\n", encoding="shift_jis")


def test_ragged_rows_name_the_line(bench: Bench) -> None:
    with pytest.raises(SourceMalformed, match=r"t\.csv, line 3 has 3 fields instead of 2"):
        read(bench, "a,b\n1,2\n1,2,3\n")
    with pytest.raises(SourceMalformed, match=r"t\.csv, line 4 has 1 fields instead of 2"):
        read(bench, "a,b\n1,2\n1,2\n1\n")


def test_a_quote_that_does_not_end_is_an_error(bench: Bench) -> None:
    with pytest.raises(SourceMalformed, match="t.csv"):
        read(bench, 'a,b\n1,2\n1,"2\n3,4\n')


def test_names_twice_are_an_error_and_missing_names_are_made(bench: Bench) -> None:
    with pytest.raises(SourceMalformed, match="2 columns called `a`"):
        read(bench, "a,b,a\n1,2,3\n")
    assert read(bench, "a,,c\n1,2,3\n").column_names == ["a", "column_2", "c"]


def test_an_empty_file_is_an_error(bench: Bench) -> None:
    with pytest.raises(SourceMalformed, match="t.csv is empty"):
        read(bench, "")


def test_packed_files(bench: Bench) -> None:
    for name in ("t.csv.gz", "T.CSV.GZ", "t.gzip"):
        Path(name).write_bytes(gzip.compress(b"a,b\n007,1\n"))
        assert bench.extract("csv", path=name).to_pylist() == [{"a": "007", "b": 1}]
    Path("u.csv").write_bytes(b"a,b\n008,2\n")
    both = bench.extract("csv", path=["t.csv.gz", "u.csv", "T.CSV.GZ"])
    assert both.column("a").to_pylist() == ["007", "008", "007"]


def _cut_gzip(rows: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(rows) + packer.flush(zlib.Z_FULL_FLUSH)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        pytest.param("t.csv.gz", _cut_gzip(b"a,b\n1,2\n3,4\n"), id="gzip, cut between two rows"),
        pytest.param("t.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-8], id="gzip, without its end"),
        pytest.param(
            "t.csv.gz", gzip.compress(b"a,b\n1,2\n")[:-8] + bytes(8), id="gzip, with a wrong checksum"
        ),
        pytest.param("t.csv.gz", b"a,b\n1,2\n", id="no gzip"),
        pytest.param(
            "t.csv.zst",
            pa.Codec("zstd").compress(b"a,b\n" + b"1,2\n" * 90_000, asbytes=True)[:-3],
            id="zstd, cut",
        ),
    ],
)
def test_a_damaged_packed_file_is_an_error_and_never_fewer_rows(bench: Bench, name: str, raw: bytes) -> None:
    Path(name).write_bytes(raw)
    with pytest.raises(SourceMalformed, match=rf"{re.escape(name)} is (damaged|not gzip)"):
        bench.extract("csv", path=name)


def test_several_files(bench: Bench) -> None:
    Path("d").mkdir()
    Path("d/2.csv").write_text("a,b\n3,z\n")
    Path("d/1.csv").write_text("a,b\n1,x\n2,y\n")
    assert bench.extract("csv", path="d/*.csv").to_pydict() == {"a": [1, 2, 3], "b": ["x", "y", "z"]}
    assert bench.extract("csv", path=["d/2.csv", "d/1.csv"])["a"].to_pylist() == [3, 1, 2]


def test_several_files_decide_a_type_together(bench: Bench) -> None:
    Path("1.csv").write_text("a\n1\n")
    Path("2.csv").write_text("a\n007\n")
    assert bench.extract("csv", path="?.csv")["a"].to_pylist() == ["1", "007"]


def test_swapped_columns_in_a_later_file_are_an_error(bench: Bench) -> None:
    Path("1.csv").write_text("a,b\n1,2\n")
    Path("2.csv").write_text("b,a\n1,2\n")
    with pytest.raises(SourceMalformed, match=r"2\.csv has other columns than 1\.csv: b, a instead of a, b"):
        bench.extract("csv", path="?.csv")


def test_columns_that_differ_only_in_case(bench: Bench) -> None:
    assert read(bench, "Id,ID,id\n1,2,3\n").to_pylist() == [{"Id": 1, "ID": 2, "id": 3}]


def test_wrong_arguments_are_found_beforehand(bench: Bench) -> None:
    assert "is not one character" in bench.faults("extract", "csv", path="x", delimiter="ab")[0]
    assert "not a text encoding" in bench.faults("extract", "csv", path="x", encoding="utf-9")[0]


TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.none() | TEXT, st.none() | TEXT, st.integers(0, 9)), min_size=1, max_size=8)
)
def test_any_text_round_trips(bench: Bench, rows: list[tuple[str | None, str | None, int]]) -> None:
    table = pa.table(
        {
            "a": pa.array([row[0] for row in rows], pa.string()),
            "b": pa.array([row[1] for row in rows], pa.string()),
            "n": [row[2] for row in rows],
        }
    )
    bench.load("csv", table, path="h.csv")
    found = bench.extract("csv", path="h.csv", columns={"a": "VARCHAR", "b": "VARCHAR"})
    assert found.to_pylist() == table.to_pylist()


NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "-1",
        "007",
        "1.5",
        "-0",
        "1e5",
        " 1",
        "",
        "12345678901234567890",
        "0.1",
        "1.",
        ".1",
        "-",
        "NaN",
        "2024-01-01",
        "true",
        "0.30000000000000004",
        "1.10",
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(NUMBERS, min_size=1, max_size=6), sample=st.integers(1, 6))
def test_a_text_is_kept_or_is_the_same_number_or_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, values: list[str], sample: int
) -> None:
    """Whatever is in the sample and behind it: nothing is silently another value."""
    monkeypatch.setattr("pipeline_flow.plugins.extract.csv.SAMPLE_ROWS", sample)
    try:
        found = column(bench, *values)
    except SourceMalformed:
        return
    for text, value in zip(values, found.to_pylist(), strict=True):
        if isinstance(value, bool):
            assert text.lower() == str(value).lower()
        elif isinstance(value, int):
            assert str(value) == text
        elif isinstance(value, float):
            assert float(text) == value
            assert not text.startswith(("00", "+", " "))
        elif value is None:
            assert text == ""
        else:
            assert str(value) == text
