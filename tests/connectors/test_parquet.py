"""Parquet as source and destination."""

from __future__ import annotations

import datetime as dt
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline_flow.errors import ConversionFailed, SourceMalformed, SourceUnreadable, TargetUnwritable
from tests.connectors.conftest import every_type, nested
from tests.connectors.suites import DestinationSuite, SourceSuite

if TYPE_CHECKING:
    from tests.connectors.conftest import Bench


class TestSource(SourceSuite):
    plugin = "parquet"

    def args(self) -> dict[str, Any]:
        return {"path": "in/data.parquet"}

    def put(self, bench: Bench, table: pa.Table) -> Path:
        path = Path("in/data.parquet")
        path.parent.mkdir(exist_ok=True)
        pq.write_table(table, path)
        return path

    def test_nested_values_come_back(self, bench: Bench) -> None:
        self.put(bench, nested())
        assert self.read(bench).equals(nested())

    def test_columns_are_chosen_and_ordered(self, bench: Bench) -> None:
        self.put(bench, every_type())
        assert bench.extract("parquet", path="in/data.parquet", columns=["word", "whole"]).column_names == [
            "word",
            "whole",
        ]

    def test_a_missing_column_is_named_with_the_nearest(self, bench: Bench) -> None:
        self.put(bench, every_type())
        with pytest.raises(SourceMalformed, match="no column `wrd`") as caught:
            bench.extract("parquet", path="in/data.parquet", columns=["wrd"])
        assert "did you mean `word`?" in caught.value.hint

    def test_several_files_follow_in_the_order_of_their_names(self, bench: Bench) -> None:
        for name, value in (("b", 2), ("a", 1), ("c", 3)):
            pq.write_table(pa.table({"n": [value]}), f"{name}.parquet")
        assert bench.extract("parquet", path="*.parquet")["n"].to_pylist() == [1, 2, 3]
        assert bench.extract("parquet", path=["c.parquet", "a.parquet"])["n"].to_pylist() == [3, 1]

    def test_a_file_with_another_type_is_an_error(self, bench: Bench) -> None:
        pq.write_table(pa.table({"n": [1]}), "a.parquet")
        pq.write_table(pa.table({"n": ["x"]}), "b.parquet")
        with pytest.raises(SourceMalformed, match=r"`n` is string in b.parquet and int64 in the first file"):
            bench.extract("parquet", path="*.parquet")

    def test_a_pattern_without_match_is_an_error(self, bench: Bench) -> None:
        with pytest.raises(SourceUnreadable, match="no file matches"):
            bench.extract("parquet", path="nothing-*.parquet")

    def test_csv_called_parquet_is_an_error(self, bench: Bench) -> None:
        Path("x.parquet").write_text("a,b\n1,2\n")
        with pytest.raises(SourceMalformed, match="x.parquet is not a Parquet file"):
            bench.extract("parquet", path="x.parquet")


class TestDestination(DestinationSuite):
    plugin = "parquet"

    def args(self) -> dict[str, Any]:
        return {"path": "lake/data.parquet"}

    def read(self, bench: Bench) -> pa.Table:
        return pq.read_table("lake/data.parquet")

    def file(self, bench: Bench) -> Path:
        return Path("lake/data.parquet").absolute()

    def test_a_failure_half_way_leaves_no_new_target(self, bench: Bench) -> None:
        """The folder that was made for it goes too."""
        from tests.connectors.suites import Broken, breaking

        with pytest.raises(Broken):
            self.load(bench, breaking(every_type()))
        assert not Path("lake").exists()

    def test_nested_values_round_trip(self, bench: Bench) -> None:
        self.load(bench, nested())
        assert self.read(bench).equals(nested())

    def test_permissions_and_links_stay(self, bench: Bench) -> None:
        Path("lake").mkdir()
        real = Path("real.parquet")
        real.write_bytes(b"old")
        real.chmod(0o640)
        Path("lake/data.parquet").symlink_to(real.absolute())
        self.load(bench, every_type())
        assert Path("lake/data.parquet").is_symlink()
        assert stat.S_IMODE(real.stat().st_mode) == 0o640
        assert pq.read_table(real).num_rows == 3

    def test_a_folder_as_target_is_an_error(self, bench: Bench) -> None:
        Path("lake/data.parquet").mkdir(parents=True)
        with pytest.raises(TargetUnwritable, match="is a folder"):
            self.load(bench, every_type())

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
    def test_a_pipe_or_device_is_never_replaced(self, bench: Bench) -> None:
        Path("lake").mkdir()
        os.mkfifo("lake/data.parquet")
        with pytest.raises(TargetUnwritable, match="a pipe"):
            self.load(bench, every_type())
        assert Path("lake/data.parquet").is_fifo()

    @pytest.mark.parametrize("compression", ["snappy", "zstd", "gzip", "lz4", "none"])
    def test_compressions(self, bench: Bench, compression: str) -> None:
        bench.load("parquet", every_type(), path="x.parquet", compression=compression)
        assert pq.read_table("x.parquet").num_rows == 3
        found = pq.ParquetFile("x.parquet").metadata.row_group(0).column(0).compression.lower()
        assert found == {"none": "uncompressed"}.get(compression, found)

    def test_a_zone_and_nanoseconds_and_categories_stay(self, bench: Bench) -> None:
        table = pa.table(
            {
                "berlin": pa.array(
                    [dt.datetime(2024, 1, 1, tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Berlin")
                ),
                "nano": pa.array([123456789], pa.timestamp("ns")),
                "kind": pa.array(["a"]).dictionary_encode(),
                "id": pa.ExtensionArray.from_storage(
                    pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16))
                ),
            }
        )
        self.load(bench, table)
        assert self.read(bench).schema.equals(table.schema)
        assert bench.extract("parquet", path="lake/data.parquet").schema.equals(table.schema)

    def test_what_parquet_does_not_have_is_an_error(self, bench: Bench) -> None:
        with pytest.raises(ConversionFailed, match="`i` is an interval"):
            self.load(bench, pa.table({"i": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}))


def test_small_batches_are_written_together_and_large_ones_are_not_gathered(bench: Bench) -> None:
    def rows_per_group(batches: list[pa.RecordBatch]) -> list[int]:
        bench.load("parquet", pa.RecordBatchReader.from_batches(batches[0].schema, batches), path="x.parquet")
        found = pq.ParquetFile("x.parquet").metadata
        return [found.row_group(index).num_rows for index in range(found.num_row_groups)]

    small = pa.record_batch({"a": range(50_000)})
    assert rows_per_group([small] * 4) == [150_000, 50_000]
    wide = pa.record_batch({"a": ["x" * 20_000_000]})
    assert rows_per_group([wide] * 3) == [2, 1]
