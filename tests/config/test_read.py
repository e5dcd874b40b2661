"""What a configuration may be given as."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from pipeline_flow import config
from pipeline_flow.errors import ConfigError, FileUnreadable, LimitExceeded

TEXT = "pipelines:\n  demo: {phases: {extract: {steps: [{plugin: a}]}, load: {steps: [{plugin: b}]}}}\n"
ONE_LINE = "{pipelines: {demo: {phases: {extract: {steps: [{plugin: a}]}, load: {steps: [{plugin: b}]}}}}}"
DATA = {
    "pipelines": {
        "demo": {"phases": {"extract": {"steps": [{"plugin": "a"}]}, "load": {"steps": [{"plugin": "b"}]}}}
    }
}


def problems(stream: object) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        config.load(stream)
    return [(problem.code, problem.text) for problem in caught.value.problems]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_bytes_and_files_may_have_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_bytes(TEXT.replace("demo", "żółw").encode(encoding))
    for stream in (file, str(file), file.read_bytes(), bytearray(file.read_bytes())):
        assert list(config.load(stream).pipelines) == ["żółw"]


def test_text_may_be_one_line_and_a_path_may_look_like_anything_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a: b").write_text(TEXT, encoding="utf-8")
    for stream in (TEXT, ONE_LINE, "a: b", DATA):
        assert list(config.load(stream).pipelines) == ["demo"]


def test_an_open_file_is_read_and_closed_as_in_1_0_8(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(TEXT, encoding="utf-8")
    with file.open(encoding="utf-8") as text, file.open("rb") as binary:
        for stream in (text, binary, io.StringIO(TEXT), io.BytesIO(TEXT.encode())):
            assert list(config.load(stream).pipelines) == ["demo"]
            assert stream.closed


def test_the_name_is_that_of_the_file_unless_the_file_says_one(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(TEXT, encoding="utf-8")
    assert config.load(file).name == "shop"
    file.write_text("name: store\n" + TEXT, encoding="utf-8")
    assert config.load(file).name == "store"
    assert config.load(TEXT).name == "pipelines"


def test_a_missing_file_is_named_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yaml").write_text(TEXT, encoding="utf-8")
    with pytest.raises(FileUnreadable) as caught:
        config.load(tmp_path / "pipeline.yaml")
    assert "there is no file" in caught.value.problems[0].text
    assert "pipelines.yaml" in caught.value.problems[0].hint


def test_a_string_without_a_newline_is_a_path() -> None:
    assert problems("nowhere.yaml") == [("config.file_unreadable", "there is no file nowhere.yaml")]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert problems(tmp_path) == [("config.file_unreadable", f"{tmp_path} is a folder, not a file")]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_told(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(TEXT, encoding="utf-8")
    file.chmod(0)
    assert problems(file) == [("config.file_unreadable", f"no permission to read {file}")]


def test_permission_is_asked_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert problems(tmp_path / "x.yaml") == [
        ("config.file_unreadable", f"no permission to read {tmp_path / 'x.yaml'}")
    ]


@pytest.mark.parametrize("stream", ["a\0b", "x" * 5000, Path("a/\0")])
def test_paths_that_no_system_can_have_are_told(stream: object) -> None:
    assert [code for code, _ in problems(stream)] == ["config.file_unreadable"]


def test_text_that_is_not_utf_8_is_told_with_its_place() -> None:
    with pytest.raises(FileUnreadable) as caught:
        config.load("a: 1\nb: é\n".encode("latin-1"))
    (problem,) = caught.value.problems
    assert str(problem.position) == "<bytes>:2:4"
    assert "0xe9" in problem.text


def test_a_closed_file_and_a_thing_that_is_none_are_told() -> None:
    closed = io.StringIO(TEXT)
    closed.close()
    for stream in (closed, 5, None, object(), io.BytesIO):
        assert [code for code, _ in problems(stream)] == ["config.file_unreadable"]


def test_a_text_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_bytes(b"a: \xff\n")
    assert [code for code, _ in problems(file.open(encoding="utf-8"))] == ["config.file_unreadable"]


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_flow.config.source.MAX_BYTES", 100)
    with pytest.raises(LimitExceeded):
        config.load("#" * 101 + "\n")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n---\n", "null\n", "~\n", b""])
def test_an_empty_configuration_is_told(text: str | bytes) -> None:
    ((code, words),) = problems(text)
    assert code == "config.missing_key"
    assert "is empty" in words


@pytest.mark.parametrize("text", ["name: x\n", "pipelines:\n", "pipelines: {}\n", "pipelines: null\n"])
def test_a_configuration_without_pipelines_is_told(text: str) -> None:
    assert [code for code, _ in problems(text)] == ["config.missing_key"]


@pytest.mark.parametrize("text", ["hello\n", "- a\n", "5\n"])
def test_a_configuration_is_a_mapping(text: str) -> None:
    assert [code for code, _ in problems(text)] == ["config.wrong_type"]
