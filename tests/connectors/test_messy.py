"""Messy files: the table of messy.py holds, its page is true, and the public csv-spectrum cases are read as they say."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline_flow.errors import SourceMalformed, WrongArgument
from pipeline_flow.sql import type_name
from tests.connectors import messy

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench

ROOT = Path(__file__).parents[2]
SPECTRUM = ROOT / "tests/data/csv-spectrum"


@pytest.mark.parametrize("case", messy.CASES, ids=lambda case: case.name)
def test_a_messy_file_gives_the_right_rows_or_one_clear_message(bench: Bench, case: messy.Case) -> None:
    Path("t.csv").write_bytes(case.data)
    if isinstance(case.found, str):
        with pytest.raises(SourceMalformed) as caught:
            bench.extract("csv", path="t.csv", **case.args)
        assert str(caught.value).startswith(case.found)
        assert len(str(caught.value)) < 200
        assert "\n" not in str(caught.value)
    else:
        assert bench.extract("csv", path="t.csv", **case.args).to_pydict() == case.found
    assert bench.leftovers() == []


def test_the_page_of_messy_files_is_the_table(request: pytest.FixtureRequest) -> None:
    page = ROOT / "docs/messy-files.md"
    if request.config.getoption("--rewrite-golden"):
        page.write_text(messy.page(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == messy.page()


def test_names_of_cases_differ() -> None:
    names = [case.name for case in messy.CASES]
    assert len(set(names)) == len(names)


# ---------------------------------------------------------------------------------------------- csv-spectrum


def spectrum(bench: Bench, name: str) -> tuple[list[dict[str, Any]], Any]:
    path = SPECTRUM / f"csvs/{name}.csv"
    names = path.read_text(encoding="utf-8").splitlines()[0].split(",")
    found = bench.extract("csv", path=str(path), columns=dict.fromkeys(names, "VARCHAR"))
    return found.to_pylist(), json.loads((SPECTRUM / f"json/{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "name", sorted(path.stem for path in SPECTRUM.glob("csvs/*") if path.stem != "location_coordinates")
)
def test_csv_spectrum(bench: Bench, name: str) -> None:
    """11 of its 12 cases are read exactly as its JSON says; see below for the twelfth."""
    found, expected = spectrum(bench, name)
    assert found == expected


def test_the_csv_spectrum_case_whose_json_has_another_number_than_its_csv(bench: Bench) -> None:
    """Every other field is as its JSON says."""
    (row,), expected = spectrum(bench, "location_coordinates")
    assert row.pop("Contact Phone Number") == "2095257564"
    assert expected.pop("Contact Phone Number") == "1234567890"
    assert row == expected


# ---------------------------------------------------------------------------------------------- any file

FIELD = st.text(alphabet='ab,"\n\r 1', max_size=4)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(FIELD, FIELD, st.sampled_from(["\n", "\r\n", "\r"])), max_size=6),
    ends=st.sampled_from(["any", "\n", "\r\n", "\r"]),
)
def test_any_file_gives_the_rows_that_python_reads(
    bench: Bench, rows: list[tuple[str, str, str]], ends: str
) -> None:
    """Whatever stands in quotes, and however lines end."""
    text = "a,b\n" if ends == "any" else f"a,b{ends}"
    for first, second, end in rows:
        quoted = ['"' + field.replace('"', '""') + '"' for field in (first, second)]
        text += ",".join(quoted) + (end if ends == "any" else ends)
    Path("t.csv").write_bytes(text.encode())
    found = bench.extract("csv", path="t.csv", columns={"a": "VARCHAR", "b": "VARCHAR"})
    assert found.to_pylist() == [{"a": first, "b": second} for first, second, _ in rows]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet='ab,"\n\r1', max_size=25))
def test_any_bytes_give_the_rows_that_python_reads_or_one_message(bench: Bench, text: str) -> None:
    Path("t.csv").write_bytes(f"a,b\n{text}".encode())
    try:
        found = bench.extract("csv", path="t.csv", columns={"a": "VARCHAR", "b": "VARCHAR"})
    except SourceMalformed:
        return
    expected = [row[:2] for row in csv.reader(io.StringIO(text, newline="")) if row]
    assert [[row["a"] or "", row["b"] or ""] for row in found.to_pylist()] == expected


# ---------------------------------------------------------------------------------------------- types


@pytest.mark.parametrize(
    "text",
    [
        "integer",
        " BIGINT ",
        "DECIMAL",
        "DECIMAL(10,2)",
        "numeric ( 38 , 38 )",
        "VARCHAR(10)",
        "timestamp with time zone",
        "DOUBLE PRECISION",
        "INTEGER[]",
        "INTEGER[][3]",
        'STRUCT(a INTEGER, "b "" c" VARCHAR[])',
        "MAP(VARCHAR, STRUCT(x DATE))[]",
        "ENUM('a', 'it''s')",
        "UNION(n INTEGER, s VARCHAR)",
    ],
)
def test_a_type_of_duckdb_is_a_type(bench: Bench, text: str) -> None:
    import duckdb

    assert type_name.check(text) == text
    duckdb.connect().execute(f"select null::{text}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "INTEGER; drop table x",
        "int) from x --",
        "int /* */",
        "int -- x",
        "INTEGER, b INTEGER",
        "DECIMAL(39,2)",
        "DECIMAL(2,3)",
        "DECIMAL(a)",
        "STRUCT()",
        "STRUCT(a)",
        "STRUCT(a INTEGER",
        "MAP(VARCHAR)",
        "ENUM(a)",
        "ENUM('a)",
        "INTEGER[",
        "INTEGER]",
        "varchar collate x",
        "x.y",
        "(select 1)",
        "INTEGER\0",
        "int'",
        '"int"',
    ],
)
def test_what_is_not_one_type_is_refused_before_anything_runs(bench: Bench, text: str) -> None:
    (fault,) = bench.faults("extract", "csv", path="x", columns={"a": text})
    assert "is no type" in fault


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="INTVARCHDEMAPSTRUCTinta()[],'\";- /*\n0123456789", max_size=40))
def test_what_is_taken_for_a_type_is_one_expression_for_duckdb(text: str) -> None:
    import duckdb

    try:
        type_name.check(text)
    except ValueError:
        return
    statements = duckdb.extract_statements(f"select null::{text} as found")
    assert len(statements) == 1


# ---------------------------------------------------------------------------------------------- on_type_error, file_column


@pytest.mark.parametrize(
    ("values", "widen", "text"),
    [
        (["1", "2"], pa.int64(), pa.int64()),
        (["1", "1.5"], pa.float64(), pa.string()),
        (["1", "9223372036854775808"], pa.decimal128(38, 0), pa.string()),
        (["1.5", "1e400"], pa.string(), pa.string()),
        (["1.5", "x"], pa.string(), pa.string()),
        (["2024-01-01", "2024-01-01 10:00:00"], pa.string(), pa.string()),
        (["1", "007"], pa.string(), pa.string()),
        (["1", "-0"], pa.float64(), pa.string()),
        (["1", ""], pa.int64(), pa.int64()),
        (["true", "x"], pa.string(), pa.string()),
    ],
)
def test_a_type_that_breaks_behind_the_sample(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, values: list[str], widen: pa.DataType, text: pa.DataType
) -> None:
    monkeypatch.setattr("pipeline_flow.plugins.extract.csv.SAMPLE_ROWS", 1)
    monkeypatch.setattr("pipeline_flow.plugins.extract.csv._QUICK_ROWS", 1)
    Path("t.csv").write_text("a,b\n" + "".join(f"{value},x\n" for value in values))
    for mode, type_ in (("widen", widen), ("text", text)):
        found = bench.extract("csv", path="t.csv", on_type_error=mode)
        assert found.schema.field("a").type == type_
        if type_ == pa.string():
            assert found["a"].to_pylist() == values


NUMBERS = st.sampled_from(
    ["0", "1", "-1", "007", "1.5", "-0", "1e5", " 1", "", "12345678901234567890", "0.1", "1.", "-", "NaN", "2024-01-01",
     "true", "0.30000000000000004", "1.10", "9" * 38, "9" * 39]
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(NUMBERS, min_size=1, max_size=6), mode=st.sampled_from(["widen", "text"]))
def test_widened_or_not_a_value_is_the_same_number_or_the_same_text(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, values: list[str], mode: str
) -> None:
    monkeypatch.setattr("pipeline_flow.plugins.extract.csv.SAMPLE_ROWS", 1)
    Path("t.csv").write_text("a,b\n" + "".join(f"{value},x\n" for value in values))
    for text, value in zip(
        values, bench.extract("csv", path="t.csv", on_type_error=mode)["a"].to_pylist(), strict=True
    ):
        if value is None:
            assert text == ""
        elif isinstance(value, float):
            assert float(text) == value
        else:
            assert str(value) in (text, text.capitalize())


def test_the_file_of_each_row_is_named(bench: Bench) -> None:
    Path("d").mkdir()
    Path("d/1.csv").write_text("a\n1\n2\n")
    Path("d/2.csv").write_text("a\n007\n")
    found = bench.extract("csv", path="d/*.csv", file_column="file")
    assert found.to_pydict() == {"a": ["1", "2", "007"], "file": ["d/1.csv", "d/1.csv", "d/2.csv"]}
    assert bench.extract("csv", path="d", file_column="file")["a"].to_pylist() == ["1", "2", "007"]
    with pytest.raises(WrongArgument, match="`file_column` is `a`"):
        bench.extract("csv", path="d/*.csv", file_column="a")


def test_the_file_of_a_row_is_the_one_that_was_named_not_a_copy(bench: Bench) -> None:
    Path("1.csv").write_bytes("a\nü\n".encode("utf-16"))
    assert bench.extract("csv", path="1.csv", file_column="file").to_pylist() == [{"a": "ü", "file": "1.csv"}]
    assert bench.leftovers() == []


def test_files_whose_headers_stand_in_different_lines(bench: Bench) -> None:
    Path("1.csv").write_text("a,b\n1,2\n")
    Path("2.csv").write_text("sep=,\na,b\n3,4\n")
    Path("3.csv").write_text("\n\na,b\n5,6\n")
    assert bench.extract("csv", path="?.csv").to_pydict() == {"a": [1, 3, 5], "b": [2, 4, 6]}


@pytest.mark.parametrize(
    "type_", ["INT4", "INT64", "SHORT", "DECIMAL", "DEC(5)", "TIMESTAMP_S", "TIMESTAMP_MS"]
)
def test_other_names_of_types_do_not_round_either(bench: Bench, type_: str) -> None:
    value = "2024-01-01 10:00:00.1234" if type_.startswith("TIME") else "1.2345"
    Path("t.csv").write_text(f"a\n{value}\n")
    with pytest.raises(SourceMalformed, match="line 2: the column `a` is declared"):
        bench.extract("csv", path="t.csv", columns={"a": type_})


def test_a_last_row_that_is_too_long_is_not_lost_in_a_packed_file(bench: Bench) -> None:
    import gzip

    Path("t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n3," + messy.BIG + b"\n", 1))
    with pytest.raises(SourceMalformed, match="line 3, has a row of more than"):
        bench.extract("csv", path="t.csv.gz")
