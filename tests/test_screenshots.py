"""The pictures of the documentation are what the code draws."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_pictures_are_what_the_code_draws(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/screenshots.py", "--check"],
        cwd=ROOT,
        env={**os.environ, "PIPELINE_FLOW_TMP": str(tmp_path), "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_pictures_hold_no_place_of_this_machine_and_fetch_nothing() -> None:
    pictures = sorted((ROOT / "docs/images").glob("*.svg"))
    assert [picture.name for picture in pictures] == ["live.svg", "plan.svg", "summary.svg"]
    for picture in pictures:
        text = picture.read_text(encoding="utf-8")
        assert "@font-face" not in text
        assert "url(http" not in text
        assert str(Path.home()) not in text
        assert "/tmp" not in text
