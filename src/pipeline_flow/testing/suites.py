"""What must hold for every source and every destination; a connector fills in how it is reached.

A test class under :class:`SourceSuite` or :class:`DestinationSuite` inherits the tests. What a connector cannot do it
says with a reason, which pytest shows as a skip::

    class TestSource(SourceSuite):
        plugin = "sensors"
        unreadable = not_applicable("the service knows no permissions")
"""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pyarrow as pa
import pytest

from pipeline_flow.data import BatchStream, to_stream
from pipeline_flow.errors import SourceMalformed, SourceUnreadable, TargetUnwritable
from pipeline_flow.testing.bench import Bench
from pipeline_flow.testing.samples import Broken, breaking, every_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def not_applicable(reason: str) -> Any:
    """What stands in the place of a suite's hook or test that a connector has no use for; pytest shows ``reason``."""

    def skip(_self: object, bench: Bench) -> NoReturn:  # noqa: ARG001 - a test's fixture, a hook's parameter
        pytest.skip(f"not applicable: {reason}")

    return skip


def _names(text: str) -> str:
    return f"(?i){re.escape(text)}"


def is_root() -> bool:
    """Whether this process may read and write everything, so that permissions cannot be tested."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


class _Suite:
    plugin: ClassVar[str]
    many_rows: ClassVar[int]

    @pytest.fixture
    def bench(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
        """A bench whose working folder is a folder of this test."""
        monkeypatch.chdir(tmp_path)
        with Bench(tmp_path / "run-folder") as made:
            yield made

    def args(self) -> dict[str, Any]:
        """The plugin's arguments."""
        raise NotImplementedError

    def sample(self) -> pa.Table:
        """Three rows that must come back exactly: by default every type that our own connectors carry.

        Leave out columns of types that the connector has not; `whole` (int64) must stay.
        """
        return every_type()

    def many(self) -> pa.Table:
        """``many_rows`` rows, `whole` counting from 0."""
        return pa.table(
            {
                "whole": pa.array(range(self.many_rows), pa.int64()),
                "word": pa.repeat("007", self.many_rows),
            }
        )

    def check_same(self, found: pa.Table) -> None:
        """Fails unless ``found`` holds the sample, types and values."""
        for field in self.sample().schema:
            assert found.schema.field(field.name).type == field.type, field.name
            assert found[field.name].to_pylist() == self.sample()[field.name].to_pylist(), field.name


class SourceSuite(_Suite):
    """The tests of an extract plugin.

    Fill in ``plugin`` (its name), ``args`` and ``put``. Where ``put`` gives no file, fill in ``missing``, ``malformed``
    and ``unreadable`` too, or declare them :func:`not_applicable`.
    """

    many_rows: ClassVar[int] = 300_000

    def put(self, bench: Bench, table: pa.Table) -> Path | None:
        """Makes the source hold ``table``; gives its file, if it is one."""
        raise NotImplementedError

    def read(self, bench: Bench) -> pa.Table:
        """What the plugin reads."""
        return bench.extract(self.plugin, **self.args())

    def missing(self, bench: Bench) -> str:
        """Makes the source not exist; gives what the error must name."""
        path = self._file(bench, "missing")
        path.unlink()
        return path.name

    def malformed(self, bench: Bench) -> str:
        """Makes the source something else than it says; gives what the error must name."""
        path = self._file(bench, "malformed")
        path.write_bytes(b"\x00\x01\x02 this is nothing of the kind \xff" * 1000)
        return path.name

    def unreadable(self, bench: Bench) -> str:
        """Makes the source one that may not be read; gives what the error must name."""
        if is_root():
            pytest.skip("root may read and write everything")
        self._file(bench, "unreadable").chmod(0)
        return "permission"

    def _file(self, bench: Bench, hook: str) -> Path:
        path = self.put(bench, self.sample())
        bench.close()
        if path is None:
            raise NotImplementedError(
                f"{type(self).__name__}.put gives no file: fill in `{hook}`, or {hook} = not_applicable(reason)"
            )
        return path

    def test_every_type_comes_back_exactly(self, bench: Bench) -> None:
        """What was put there is read, types and values."""
        self.put(bench, self.sample())
        self.check_same(self.read(bench))

    def test_an_empty_source_has_its_columns_and_no_rows(self, bench: Bench) -> None:
        """Empty means columns and no rows, not an error."""
        self.put(bench, self.sample().slice(0, 0))
        found = self.read(bench)
        assert found.num_rows == 0
        assert found.column_names == self.sample().column_names

    def test_reading_twice_gives_the_same(self, bench: Bench) -> None:
        """Reading changes nothing."""
        self.put(bench, self.sample())
        assert self.read(bench).equals(self.read(bench))

    def test_more_rows_than_a_batch_keep_their_order(self, bench: Bench) -> None:
        """No row is lost or moved where one batch ends and the next begins."""
        self.put(bench, self.many())
        found = self.read(bench)
        assert found.num_rows == self.many_rows
        assert found["whole"].to_pylist() == list(range(self.many_rows))

    def test_a_stream_closed_half_way_leaves_nothing_open(self, bench: Bench) -> None:
        """A reader may stop early: no temporary file stays, and the source can be read again."""
        self.put(bench, self.sample())

        async def run() -> None:
            result = bench.plugin("extract", self.plugin, **self.args())()
            if not hasattr(result, "__aiter__"):
                result = await result
            async with to_stream(result) as stream:
                async for _ in stream:
                    break

        asyncio.run(run())
        assert bench.leftovers() == []
        assert self.read(bench).num_rows == 3

    def test_a_missing_source_is_named(self, bench: Bench) -> None:
        """The error is SourceUnreadable and names what is missing."""
        named = self.missing(bench)
        with pytest.raises(SourceUnreadable, match=_names(named)):
            self.read(bench)

    def test_a_source_that_is_not_what_it_says_is_named(self, bench: Bench) -> None:
        """The error is SourceMalformed and names the source."""
        named = self.malformed(bench)
        with pytest.raises(SourceMalformed, match=_names(named)):
            self.read(bench)

    def test_a_source_without_permission_is_named(self, bench: Bench) -> None:
        """The error is SourceUnreadable and says that it is a matter of permission."""
        named = self.unreadable(bench)
        with pytest.raises(SourceUnreadable, match=_names(named)):
            self.read(bench)


class DestinationSuite(_Suite):
    """The tests of a load plugin that replaces its target.

    Fill in ``plugin`` (its name), ``args``, ``read`` and ``file``. Where the target is no file, fill in ``exists``
    instead of ``file``, and ``traces`` and ``unwritable`` too or declare the latter :func:`not_applicable`. The tests
    of rolling back are skipped, with the reason, for a load that cannot.
    """

    many_rows: ClassVar[int] = 50_000

    def read(self, bench: Bench) -> pa.Table:
        """What the target holds."""
        raise NotImplementedError

    def file(self, bench: Bench) -> Path | None:  # noqa: ARG002 - a hook's parameter
        """The file in which the target is, if it is in one."""
        return None

    def exists(self, bench: Bench) -> bool:
        """Whether there is a target at all."""
        return self._file(bench, "exists").exists()

    def traces(self, bench: Bench) -> list[str]:
        """What is left where nothing must be: by default what stands in the file's folder."""
        path = self.file(bench)
        if path is None or not path.parent.exists():
            return []
        return [item.name for item in path.parent.iterdir() if item != bench.folder]

    def unwritable(self, bench: Bench) -> str:
        """Makes the target one that may not be written; gives what the error must name."""
        if is_root():
            pytest.skip("root may read and write everything")
        folder = self._file(bench, "unwritable").parent
        folder.mkdir(exist_ok=True)
        bench.at_end(lambda: folder.chmod(0o700))
        folder.chmod(0o500)
        return "permission"

    def _file(self, bench: Bench, hook: str) -> Path:
        path = self.file(bench)
        if path is None:
            raise NotImplementedError(
                f"{type(self).__name__} names no `file`: fill in `{hook}`, or {hook} = not_applicable(reason)"
            )
        return path

    def load(self, bench: Bench, data: Any) -> Any:
        """Loads ``data``; gives the number of rows where the load is atomic."""
        return bench.load(self.plugin, data, **self.args())

    def stage(self, bench: Bench, data: Any, check: Callable[[], object] | None = None) -> None:
        """Stages, calls ``check``, and aborts, twice."""

        async def run() -> None:
            plugin = bench.plugin("load", self.plugin, **self.args())
            transaction = await plugin.begin()
            try:
                await plugin.stage(to_stream(data), transaction)
                if check is not None:
                    await asyncio.to_thread(check)
            finally:
                await transaction.abort()
                await transaction.abort()

        asyncio.run(run())

    def can_roll_back(self, bench: Bench) -> None:
        """Skips the test where the load cannot."""
        if not bench.is_atomic(self.plugin):
            pytest.skip(f"not applicable: `{self.plugin}` has only __call__ and cannot roll back")

    def test_every_type_round_trips(self, bench: Bench) -> None:
        """What was loaded is there, types and values."""
        assert self.load(bench, self.sample()) == (3 if bench.is_atomic(self.plugin) else None)
        self.check_same(self.read(bench))

    def test_an_empty_load_makes_an_empty_target(self, bench: Bench) -> None:
        """No rows make a target with columns and no rows."""
        self.load(bench, self.sample().slice(0, 0))
        found = self.read(bench)
        assert found.num_rows == 0
        assert found.column_names == self.sample().column_names

    def test_loading_twice_gives_the_same_rows(self, bench: Bench) -> None:
        """A repeated load doubles nothing."""
        self.load(bench, self.sample())
        self.load(bench, self.sample())
        assert self.read(bench).num_rows == 3

    def test_new_rows_replace_all_old_ones(self, bench: Bench) -> None:
        """What a later load does not hold is gone."""
        self.load(bench, self.sample())
        self.load(bench, self.sample().slice(1, 1))
        assert self.read(bench)["whole"].to_pylist() == self.sample()["whole"].slice(1, 1).to_pylist()

    def test_a_failure_half_way_leaves_the_old_target(self, bench: Bench) -> None:
        """A source that breaks takes nothing away from what was there."""
        self.can_roll_back(bench)
        self.load(bench, self.sample())
        with pytest.raises(Broken, match="half-way"):
            self.load(bench, breaking(self.sample(), after=3))
        assert self.read(bench).equals(self.reloaded(bench))

    def reloaded(self, bench: Bench) -> pa.Table:
        """What the target holds after the sample was loaded again."""
        self.load(bench, self.sample())
        return self.read(bench)

    def test_a_failure_half_way_leaves_no_new_target(self, bench: Bench) -> None:
        """A source that breaks leaves no target, and nothing beside it."""
        self.can_roll_back(bench)
        with pytest.raises(Broken):
            self.load(bench, breaking(self.sample()))
        bench.close()
        assert not self.exists(bench)
        assert bench.leftovers() == []
        assert self.traces(bench) == []

    def test_nothing_is_seen_before_the_commit(self, bench: Bench) -> None:
        """Others see the old rows while new ones are staged."""
        self.can_roll_back(bench)
        self.load(bench, self.sample())
        seen = []
        self.stage(bench, self.sample().slice(0, 1), lambda: seen.append(self.read(bench).num_rows))
        assert seen == [3]
        assert self.read(bench).num_rows == 3

    def test_what_was_staged_can_be_taken_back(self, bench: Bench) -> None:
        """Aborting leaves no target and no temporary file."""
        self.can_roll_back(bench)
        self.stage(bench, self.sample())
        bench.close()
        assert not self.exists(bench)
        assert bench.leftovers() == []

    def test_many_batches_and_rows_arrive(self, bench: Bench) -> None:
        """Every batch of a stream arrives, in order."""
        table = self.many()
        stream = BatchStream(table.schema, iter(table.to_batches(max_chunksize=7_777)))
        assert self.load(bench, stream) == (self.many_rows if bench.is_atomic(self.plugin) else None)
        assert self.read(bench)["whole"].to_pylist() == list(range(self.many_rows))

    def test_a_target_without_permission_is_named(self, bench: Bench) -> None:
        """The error is TargetUnwritable and says that it is a matter of permission."""
        named = self.unwritable(bench)
        with pytest.raises(TargetUnwritable, match=_names(named)):
            self.load(bench, self.sample())
