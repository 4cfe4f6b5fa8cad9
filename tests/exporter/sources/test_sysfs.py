"""Small files of sysfs, whatever is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.sysfs import (
    MOST_BYTES,
    asleep,
    find_number,
    list_folder,
    read_file,
    read_integer,
    read_number,
    read_text,
)

CONTENTS = st.binary(max_size=30) | st.integers().map(lambda n: str(n).encode())
NUMBERS = st.integers(-(10**20) + 1, 10**20 - 1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sysfs") / "file"


@pytest.mark.parametrize(
    ("state", "sleeps"),
    [("suspended", True), ("suspending", True), ("active", False), ("resuming", False)],
)
def test_who_sleeps_is_told_by_path_or_open_file(tmp_path: Path, state: str, sleeps: bool) -> None:
    status = tmp_path / "runtime_status"
    status.write_text(f"{state}\n")
    assert asleep(status) is sleeps
    with status.open("rb") as opened:
        assert asleep(opened.fileno()) is sleeps
    status.unlink()
    assert not asleep(status)


@given(CONTENTS)
def test_any_bytes_are_a_number_or_malformed(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    if re.fullmatch(rb"\s*-?[0-9]{1,20}\s*", content):
        assert read_integer(file) == int(content)
        assert find_number(file) == (int(content) if int(content) >= 0 else None)
    else:
        with pytest.raises(SourceError, match="is not a number"):
            read_integer(file)
        assert find_number(file) is None


@given(NUMBERS)
def test_numbers_keep_every_digit(file: Path, number: int) -> None:
    file.write_text(f"{number}\n")
    assert read_integer(file) == number
    if number < 0:
        with pytest.raises(SourceError, match="is negative") as caught:
            read_number(file)
        assert caught.value.reason == "malformed"
    else:
        assert read_number(file) == number


@given(st.binary(max_size=400))
def test_any_bytes_give_a_text_that_can_be_shown(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    text = read_text(file)
    assert text.isprintable()
    assert text == text.strip()
    assert len(text.encode()) <= 4 * 256


def test_a_file_without_end_is_cut(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"9" * 10_000_000)
    assert len(read_file(tmp_path / "long")) == MOST_BYTES
    assert find_number(tmp_path / "long") is None
    assert len(read_text(tmp_path / "long")) == 256


def test_the_first_text_that_is_there_counts(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("b\n")
    assert read_text(tmp_path / "a", tmp_path / "b") == "b"
    assert read_text(tmp_path / "a", tmp_path) == ""


def test_folders(tmp_path: Path) -> None:
    assert list_folder(tmp_path / "none") == []
    (tmp_path / "file").touch()
    assert list_folder(tmp_path) == [tmp_path / "file"]
    with pytest.raises(SourceError) as caught:
        list_folder(tmp_path / "file")
    assert caught.value.reason == "io_error"
