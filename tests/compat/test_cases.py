"""Whole configurations with their plugin files. What they must give is what 1.0.8 gave: `scripts/compare_with_1_0_8.py`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.compat.conftest import run

CASES = sorted(
    path for path in (Path(__file__).parent / "cases").iterdir() if (path / "pipelines.yaml").exists()
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_configuration_and_its_plugins_give_what_they_gave_under_1_0_8(
    case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPAT_HOME", "/data")
    monkeypatch.setenv("COMPAT_DAY", "2024-01-31")
    shutil.copytree(case, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("expected.json"))
    text = Path("pipelines.yaml").read_text(encoding="utf-8")
    if "plugins:" not in text:  # the calling script declares them
        spec = importlib.util.spec_from_file_location(f"compat_case_{case.name}", tmp_path / "plugins.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
    run(text)
    written = json.loads(Path("out.json").read_text(encoding="utf-8"))
    assert written == json.loads((case / "expected.json").read_text(encoding="utf-8"))
