"""A mistake in the call or the YAML: exit code 2, what and where, no traceback, and nothing has run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.shell import etl

if TYPE_CHECKING:
    from tests.cli.shell import Shell

GOOD = """\
pipelines:
  p:
    phases:
      extract:
        steps:
          - {plugin: csv, args: {path: in.csv}}
      load:
        steps:
          - {plugin: parquet, args: {path: out.parquet}}
"""
EXTRACT = "{plugin: csv, args: {path: in.csv}}"
CYCLE = """\
pipelines:
  a: {needs: c, phases: &phases {extract: {steps: [{plugin: csv, args: {path: in.csv}}]}, load: {steps: [{plugin: csv, args: {path: o.csv}}]}}}
  b: {needs: a, phases: *phases}
  c: {needs: [b], phases: *phases}
"""


def _with(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


FILES: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": ("", ("p.yaml:1:1  config.missing_key", "empty")),
    "only a comment": ("# later\n", ("p.yaml:1:1  config.missing_key",)),
    "not closed": ("pipelines:\n  p: [\n", ("p.yaml:2:6  config.yaml_syntax",)),
    "a tab": ("pipelines:\n\tp: 1\n", ("p.yaml:2:1  config.yaml_syntax", "indent with spaces")),
    "not UTF-8": (b"pipelines:\n  p\xe9: 1\n", ("p.yaml:2:4  config.file_unreadable", "UTF-8")),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\xff\xfe", ("p.yaml:1:1  config.", "UTF-8")),
    "a zero byte": (b"pipelines: \x00\n", ("p.yaml:1:12  config.yaml_syntax",)),
    "no mapping": ("hello\n", ("p.yaml:1:1  config.wrong_type",)),
    "no pipelines": ("pipelines: {}\n", ("p.yaml:1:1  config.missing_key",)),
    "unknown key": (
        _with("    phases:", "    fases: {}\n    phases:"),
        ("p.yaml:3:5  config.unknown_key", "fases"),
    ),
    "key twice": (_with("  p:\n", "  p: {}\n  p:\n"), ("p.yaml:3:3  config.duplicate_key",)),
    "unknown plugin": (
        _with("plugin: csv", "plugin: cvs"),
        ("p.yaml:6:22  plugin.unknown", "did you mean `csv`?"),
    ),
    "plugin of another phase": (_with("plugin: csv", "plugin: concat"), ("p.yaml:6:22  plugin.", "concat")),
    "missing argument": (
        _with(", args: {path: in.csv}", ""),
        ("p.yaml:6:22  plugin.missing_argument", "`path`"),
    ),
    "unknown argument": (
        _with("in.csv}", "in.csv, skipp: 1}"),
        ("p.yaml:6:48  plugin.unknown_argument", "`skip`?"),
    ),
    "wrong argument": (
        _with("in.csv}", "in.csv, skip: no}"),
        ("p.yaml:6:54  plugin.wrong_argument", "`skip`"),
    ),
    "unknown needs": (
        _with("    phases:", "    needs: q\n    phases:"),
        ("p.yaml:3:12  config.unknown_needs", "`q`"),
    ),
    "cycle": (CYCLE, ("config.cycle", "a → c → b → a")),
    "phases of another type": (
        _with("    phases:", "    type: ELT\n    phases:"),
        ("p.yaml:2:3  config.phases_of_type",),
    ),
    "two steps of one id": (
        _with(
            f"- {EXTRACT}",
            "- {id: x, plugin: csv, args: {path: a}}\n          - {id: x, plugin: csv, args: {path: b}}",
        ),
        ("p.yaml:7:18  config.duplicate_id", "line 6"),
    ),
    "unknown variable": (
        _with("in.csv", '"${{ variables.nope }}"'),
        ("p.yaml:6:41  config.unresolved", "`nope`"),
    ),
    "variable not in the environment": (
        _with("in.csv", '"${{ env.PF_NOPE }}"'),
        ("p.yaml:6:41  config.unresolved", "export PF_NOPE="),
    ),
    "a secret that nobody defined": (
        _with("in.csv", '"${{ secrets.s }}"'),
        ("p.yaml:6:41  config.unresolved", "`s`"),
    ),
    "a secret that is not there": (
        "secrets: {s: {plugin: env, args: {variable: PF_NOPE}}}\n" + _with("in.csv", '"${{ secrets.s }}"'),
        ("p.yaml:7:41  secret.unavailable", "`PF_NOPE` is not set", "nothing has run"),
    ),
    "SQL that is none": (
        _with(
            "      load:", "      transform: {steps: [{plugin: sql, args: {query: selec 1}}]}\n      load:"
        ),
        ("p.yaml:7:55  plugin.wrong_argument", "selec"),
    ),
    "an unknown database": (
        _with(EXTRACT, "{plugin: sql, args: {url: 'oracel://x', query: select 1}}"),
        ("p.yaml:6:39  plugin.wrong_argument", "did you mean `oracle`?"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_wrong_is_refused_with_its_place(shared: Shell, name: str) -> None:
    text, told = FILES[name]
    shared.write("p.yaml", text)
    done = shared("run", "p.yaml")
    done.assert_told(2, *told)
    assert "nothing has run" in done.err
    assert done.out == ""
    assert not (shared.folder / "out.parquet").exists()


def test_all_mistakes_of_a_file_are_told_at_once(shared: Shell) -> None:
    text = _with("plugin: csv", "plugin: cvs").replace("path: out.parquet", "paht: out.parquet")
    shared.write("p.yaml", text)
    done = shared("validate", "p.yaml")
    done.assert_told(2, "p.yaml:6:22", "p.yaml:9:", "3 problems")


def test_windows_line_ends_and_a_byte_order_mark_are_no_mistake_and_do_not_move_places(shared: Shell) -> None:
    shared.write("p.yaml", b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    shared("validate", "p.yaml").assert_told(0, "fine: 1 pipeline, 2 steps")
    shared.write(
        "p.yaml", b"\xef\xbb\xbf" + _with("plugin: csv", "plugin: cvs").replace("\n", "\r\n").encode()
    )
    done = shared("validate", "p.yaml")
    done.assert_told(2, "p.yaml:6:22")
    assert "\r" not in done.err


CALLS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no such file": (("run", "nope.yaml"), ("there is no file nope.yaml",)),
    "a folder": (("run", "folder"), ("folder is a folder",)),
    "a device": (("validate", "/dev/null"), ("/dev/null",)),
    "a file in a file": (("run", "good.yaml/x.yaml"), ("good.yaml/x.yaml",)),
    "no file at all": (("run",), ("FILE",)),
    "unknown command": (("rum", "good.yaml"), ("rum",)),
    "unknown option": (("run", "good.yaml", "--selct", "p"), ("--selct", "--select")),
    "--var without =": (("run", "good.yaml", "--var", "x"), ("--var takes NAME=VALUE", "'x'")),
    "--var without a name": (("run", "good.yaml", "--var", "=1"), ("--var takes NAME=VALUE",)),
    "--var of no variable": (("run", "good.yaml", "--var", "x=1"), ("--var x", "config.unresolved")),
    "unknown selection": (("run", "good.yaml", "--select", "pp"), ("--select pp", "did you mean `p`?")),
    "a glob that matches nothing": (("run", "good.yaml", "--select", "x*"), ("--select x*",)),
    "-q and -v": (("run", "good.yaml", "-q", "-v"), ("--quiet",)),
    "no concurrency": (("run", "good.yaml", "--concurrency", "0"), ("--concurrency",)),
    "unknown plugin": (("plugins", "show", "cvs"), ("did you mean `csv`?",)),
    "a control character": (("run", "\x1b[31m.yaml"), ("\\x1b[31m.yaml",)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_wrong_is_refused(shared: Shell, name: str) -> None:
    arguments, told = CALLS[name]
    shared.write("good.yaml", GOOD)
    (shared.folder / "folder").mkdir(exist_ok=True)
    done = shared(*arguments)
    done.assert_told(2, *told)
    assert done.out == ""
    assert "\x1b" not in done.err
    assert not (shared.folder / "out.parquet").exists()


def test_a_file_that_may_not_be_read_is_named(shared: Shell) -> None:
    # Tests may run as root, who may read everything but this.
    done = shared("run", "/proc/self/mem")
    done.assert_told(2, "/proc/self/mem")


PLUGIN_FILES = {
    "missing": (None, "plugs.py does not exist"),
    "a syntax error": ("def x(:\n", "SyntaxError"),
    "an error at its import": ("\n\n1 / 0\n", "ZeroDivisionError: division by zero (line 3)"),
    "an exit at its import": ("import sys\nsys.exit(0)\n", "SystemExit: 0 (line 2)"),
    "an odd error at its import": ("class Odd(BaseException): ...\nraise Odd('odd')\n", "Odd: odd (line 2)"),
    "a missing module": ("import no_such_module\n", "no_such_module"),
    "a class without a name": (
        "from pipeline_flow.plugins import IExtractPlugin\nclass X(IExtractPlugin): ...\n",
        'plugin_name="…"',
    ),
}


@pytest.mark.parametrize("name", PLUGIN_FILES)
def test_a_plugin_file_that_cannot_be_imported_is_named(shared: Shell, name: str) -> None:
    code, told = PLUGIN_FILES[name]
    (shared.folder / "plugs.py").unlink(missing_ok=True)
    if code is not None:
        shared.write("plugs.py", code)
    shared.write("p.yaml", "plugins: {custom: {files: [plugs.py]}}\n" + GOOD)
    done = shared("run", "p.yaml")
    done.assert_told(2, "plugin.not_imported", "plugs.py", told)
    assert not (shared.folder / "out.parquet").exists()


def test_a_mistake_of_one_pipeline_stops_all_before_they_start(shared: Shell) -> None:
    pipelines: dict[str, Any] = {"good": etl(), "bad": etl({"plugin": "nope"})}
    shared.configure(pipelines=pipelines)
    shared("run", "p.yaml", "--select", "good").assert_told(2, "plugin.unknown", "nothing has run")
    assert not (shared.folder / "out.parquet").exists()
