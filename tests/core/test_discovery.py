"""Where plugins are found, and which of two wins."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from pipeline_flow.core import discovery, inventory
from pipeline_flow.errors import AmbiguousPlugin, CommunityPluginMissing, PluginNotImported, UnknownPlugin

if TYPE_CHECKING:
    from collections.abc import Iterable


def _file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text))
    return path


def _extract(path: Path, name: str, result: str) -> Path:
    return _file(
        path,
        f"""
        from pipeline_flow.plugins import IExtractPlugin

        class It(IExtractPlugin, plugin_name="{name}"):
            async def __call__(self):
                return "{result}"
        """,
    )


def _package(folder: Path, distribution: str, module: str, entry_point: str, text: str) -> None:
    """An installed package with one entry point, as pip would leave it."""
    _file(folder / f"{module}.py", text)
    info = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    _file(info / "METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    _file(info / "entry_points.txt", f"[pipeline_flow.plugins]\n{entry_point}\n")


PACKAGE_PLUGIN = """
    from pipeline_flow.plugins import IExtractPlugin

    class It(IExtractPlugin, plugin_name="from_package"):
        async def __call__(self):
            return 1
"""


def test_a_built_in_is_found_by_folder_and_file_and_imported_only_when_named() -> None:
    catalog = discovery.catalog()
    assert "csv" in catalog.names("extract")
    found = catalog.find("extract", "csv")
    assert (found.origin, found.cls.__name__) == ("built-in", "CsvExtract")
    assert catalog.find("load", "csv").cls is not found.cls


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UnknownPlugin, match="no extract plugin is called `cvs`"):
        discovery.catalog().find("extract", "cvs")


def test_a_custom_file_is_this_runs_alone_and_executed_once(tmp_path: Path) -> None:
    one = _extract(tmp_path / "one.py", "mine", "one")
    two = _extract(tmp_path / "two.py", "mine", "two")
    first = discovery.catalog(files=[one]).find("extract", "mine")
    second = discovery.catalog(files=[two]).find("extract", "mine")
    assert first.cls is not second.cls
    assert discovery.catalog(files=[one]).find("extract", "mine").cls is first.cls
    with pytest.raises(UnknownPlugin):
        discovery.catalog().find("extract", "mine")


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = _extract(tmp_path / "mine.py", "mine", "old")
    old = discovery.catalog(files=[path]).find("extract", "mine").cls
    _extract(path, "mine", "new")
    import os

    os.utime(path, ns=(1, 1))
    assert discovery.catalog(files=[path]).find("extract", "mine").cls is not old


def test_a_folder_gives_all_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    _extract(tmp_path / "b.py", "second", "b")
    _extract(tmp_path / "a.py", "first", "a")
    _file(tmp_path / "notes.txt", "no plugin")
    catalog = discovery.catalog(dirs=[tmp_path])
    assert {"first", "second"} <= set(catalog.names("extract"))


def test_a_custom_plugin_beats_the_built_in_of_its_name_and_that_is_noted(tmp_path: Path) -> None:
    catalog = discovery.catalog(files=[_extract(tmp_path / "mine.py", "csv", "mine")])
    found = catalog.find("extract", "csv")
    assert found.origin == "custom"
    assert catalog.shadowed == {("extract", "csv"): found}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("x = 1\nraise RuntimeError('at import')\n", "at import (line 2)"),
    ],
)
def test_a_file_that_cannot_be_imported_says_why_and_where(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PluginNotImported) as caught:
        discovery.catalog(files=[_file(tmp_path / "bad.py", text)])
    assert says in str(caught.value)
    assert "bad.py" in str(caught.value)


def test_what_a_broken_file_declared_before_its_error_is_nobody_s_plugin(tmp_path: Path) -> None:
    path = _extract(tmp_path / "half.py", "ghost", "x")
    path.write_text(f"{path.read_text()}\nraise RuntimeError\n")
    with pytest.raises(PluginNotImported):
        discovery.catalog(files=[path])
    with pytest.raises(UnknownPlugin):
        discovery.catalog().find("extract", "ghost")


def test_a_missing_file_or_folder_says_where_paths_start(tmp_path: Path) -> None:
    for arguments in ({"files": ["nowhere.py"]}, {"dirs": ["nowhere"]}):
        with pytest.raises(PluginNotImported, match="does not exist"):
            discovery.catalog(**arguments)


def test_an_installed_package_offers_plugins_through_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _package(tmp_path, "flow-extras", "flow_extras", "extract.from_package = flow_extras:It", PACKAGE_PLUGIN)
    monkeypatch.syspath_prepend(tmp_path)
    catalog = discovery.catalog(community=["flow-extras"])
    assert "from_package" in catalog.names("extract")
    found = catalog.find("extract", "from_package")
    assert (found.origin, found.where) == ("package", "flow-extras")
    assert discovery.catalog(community=["from_package"]).find("extract", "from_package").cls is found.cls


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of packages."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


def _install(folder: Path, name: str) -> Path:
    text = PACKAGE_PLUGIN.replace("from_package", name)
    _package(folder, f"flow-{name}", f"flow_{name}", f"extract.{name} = flow_{name}:It", text)
    return folder / f"flow_{name}-1.0.dist-info" / "entry_points.txt"


def _later(file: Path) -> None:
    """Makes the file as old as one that was written a second later."""
    written = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(written, written))


def test_metadata_is_read_once_while_nothing_is_installed(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(packages, "once")
    assert "once" in discovery.catalog().names("extract")
    monkeypatch.setattr(importlib.metadata, "entry_points", None)
    (packages / "out.csv").touch()
    assert "once" in discovery.catalog().names("extract")


def test_a_package_that_is_installed_later_is_found_in_the_next_run(packages: Path) -> None:
    assert "later" not in discovery.catalog().names("extract")
    points = _install(packages, "later")
    _later(packages)  # what the standard library remembers a folder by
    assert "later" in discovery.catalog().names("extract")
    points.unlink()
    assert "later" not in discovery.catalog().names("extract")


def test_entry_points_that_are_written_anew_are_read_anew(packages: Path) -> None:
    points = _install(packages, "renamed")
    assert "renamed" in discovery.catalog().names("extract")
    points.write_text(points.read_text().replace("extract.renamed", "extract.anew"))
    _later(points)
    assert "anew" in discovery.catalog().names("extract")


def test_another_finder_of_packages_is_asked(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hidden" not in discovery.catalog().names("extract")
    hidden = packages / "hidden"
    _install(hidden, "hidden")

    class Finder(importlib.metadata.DistributionFinder):
        def find_distributions(
            self, context: importlib.metadata.DistributionFinder.Context | None = None
        ) -> Iterable[importlib.metadata.Distribution]:
            del context
            return (importlib.metadata.PathDistribution(path) for path in hidden.glob("*.dist-info"))

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert "hidden" in discovery.catalog().names("extract")


def test_a_working_folder_that_is_gone_hides_no_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert discovery.catalog().find("extract", "csv").origin == "built-in"


def test_a_community_plugin_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(CommunityPluginMissing, match="nobody-has-this"):
        discovery.catalog(community=["nobody-has-this"])


def test_two_packages_with_one_name_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in ("one", "two"):
        text = PACKAGE_PLUGIN.replace("from_package", "both")
        _package(
            tmp_path / number, f"flow-{number}", f"flow_{number}", f"extract.both = flow_{number}:It", text
        )
        monkeypatch.syspath_prepend(tmp_path / number)
    with pytest.raises(AmbiguousPlugin, match=r"flow-(one|two).*flow-(one|two)"):
        discovery.catalog().find("extract", "both")


def test_a_plugin_of_a_package_is_the_packages_also_in_a_later_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PACKAGE_PLUGIN.replace("from_package", "again")
    _package(tmp_path, "flow-again", "flow_again", "extract.again = flow_again:It", text)
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        catalog = discovery.catalog()
        assert catalog.find("extract", "again").origin == "package"
        assert catalog.shadowed == {}


def test_an_entry_point_that_is_no_plugin_of_its_kind_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PACKAGE_PLUGIN.replace("from_package", "confused")
    _package(tmp_path, "flow-confused", "flow_confused", "load.confused = flow_confused:It", text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginNotImported, match="no load plugin"):
        discovery.catalog().find("load", "confused")


def test_a_name_of_several_kinds_is_ambiguous_without_its_kind() -> None:
    with pytest.raises(AmbiguousPlugin, match="extract, load"):
        discovery.catalog().find_any("csv")


def test_pagination_handlers_of_1_0_8_are_found_without_being_imported_by_hand() -> None:
    catalog = discovery.catalog()
    assert catalog.find_any("page_based_pagination").kind == "pagination"
    assert catalog.find_any("hateoas_pagination").kind == "pagination"


def test_the_kind_of_an_own_interface_follows_from_its_name() -> None:
    from abc import ABC

    from pipeline_flow.plugins import IPlugin

    class IRateLimiter(ABC, IPlugin, interface=True):
        pass

    class Slow(IRateLimiter, plugin_name="slow_limiter"):
        pass

    assert inventory.kinds_of(Slow) == ("rate_limiter",)
    assert discovery.catalog().find("rate_limiter", "slow_limiter").cls is Slow


@pytest.mark.parametrize("kind", ["files", "dirs"])
def test_a_name_that_is_too_long_for_a_file_is_told(kind: str) -> None:
    with pytest.raises(PluginNotImported, match="cannot be read"):
        discovery.catalog(**{kind: ("x" * 5000,)})
