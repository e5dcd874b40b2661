"""The suites that we ship: a sound connector passes them, a faulty one does not, and what does not apply says why."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

CONNECTORS = '''
"""A store that is no file: a dict of this process."""
import pyarrow as pa
from pipeline_flow.errors import SourceUnreadable
from pipeline_flow.plugins import IAtomicLoadPlugin, IExtractPlugin, ILoadPlugin, Transaction
from pipeline_flow.testing import DestinationSuite, SourceSuite, breaking, not_applicable

STORE = {}

class Read(IExtractPlugin, plugin_name="shelf"):
    async def __call__(self):
        if "t" not in STORE:
            raise SourceUnreadable("the shelf `t` does not exist")
        return STORE["t"]LOSES_A_ROW

class Change(Transaction):
    async def commit(self):
        STORE["t"] = self.staged
    async def abort(self):
        pass

class Write(IAtomicLoadPlugin, plugin_name="shelf"):
    destination = "shelf://"
    async def begin(self):
        return Change()
    async def stage(self, data, transaction):
        transaction.staged = await data.read_table()
        SHOWS_TOO_EARLY
        return transaction.staged.num_rows

class WriteAtOnce(ILoadPlugin, plugin_name="shelf_at_once"):
    async def __call__(self, data: pa.Table):
        STORE["t"] = data

class TestSource(SourceSuite):
    plugin = "shelf"
    malformed = not_applicable("a dict holds what it holds")
    unreadable = not_applicable("a dict has no permissions")
    def args(self):
        return {}
    def put(self, bench, table):
        STORE["t"] = table
    def missing(self, bench):
        STORE.clear()
        return "the shelf `t`"

class TestDestination(DestinationSuite):
    plugin = "shelf"
    unwritable = not_applicable("a dict has no permissions")
    def args(self):
        STORE.setdefault("fresh", True)
        return {}
    def read(self, bench):
        return STORE["t"]
    def exists(self, bench):
        return "t" in STORE
    def setup_method(self):
        STORE.clear()

class TestAtOnce(TestDestination):
    plugin = "shelf_at_once"
'''


def _pytest(folder: Path, text: str) -> tuple[int, str]:
    (folder / "test_shelf.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rsf", "-p", "no:cacheprovider", "test_shelf.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _failed(output: str) -> set[str]:
    return set(re.findall(r"^FAILED test_shelf\.py::(\w+::\w+)", output, re.MULTILINE))


def test_a_sound_connector_that_is_no_file_passes_and_says_what_does_not_apply(tmp_path: Path) -> None:
    code, output = _pytest(tmp_path, CONNECTORS.replace("LOSES_A_ROW", "").replace("SHOWS_TOO_EARLY", ""))
    assert code == 0, output
    assert "not applicable: a dict holds what it holds" in output
    assert "not applicable: `shelf_at_once` has only __call__ and cannot roll back" in output


@pytest.mark.parametrize(
    ("fault", "text", "noticed"),
    [
        (
            "LOSES_A_ROW",
            ".slice(1)",
            {
                "TestSource::test_every_type_comes_back_exactly",
                "TestSource::test_more_rows_than_a_batch_keep_their_order",
                "TestSource::test_a_stream_closed_half_way_leaves_nothing_open",
            },
        ),
        (
            "SHOWS_TOO_EARLY",
            'STORE["t"] = transaction.staged',
            {
                "TestDestination::test_nothing_is_seen_before_the_commit",
                "TestDestination::test_what_was_staged_can_be_taken_back",
            },
        ),
    ],
)
def test_a_faulty_connector_is_noticed_and_the_values_are_shown(
    tmp_path: Path, fault: str, text: str, noticed: set[str]
) -> None:
    broken = CONNECTORS.replace(fault, text).replace("LOSES_A_ROW", "").replace("SHOWS_TOO_EARLY", "")
    code, output = _pytest(tmp_path, broken)
    assert code == 1, output
    assert _failed(output) == noticed
    assert "At index 0 diff" in output or "assert [" in output or "where" in output


def test_a_hook_that_is_not_filled_in_says_which(tmp_path: Path) -> None:
    text = CONNECTORS.replace("LOSES_A_ROW", "").replace("SHOWS_TOO_EARLY", "")
    text = text.replace('    unreadable = not_applicable("a dict has no permissions")\n', "")
    code, output = _pytest(tmp_path, text)
    assert code == (1 if "put gives no file: fill in `unreadable`" in output else 0)
    assert "put gives no file: fill in `unreadable`, or unreadable = not_applicable(reason)" in output or (
        "root may read and write everything" in output
    )
