"""Files as they lie about: compressed, from Windows, cut off, with lines that are too long."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.receivers.files import Tally
from wattshed_collector.receivers.files.lines import LONGEST, Lines, opened, size

TEXT = "a,b\n1,2\n3,4"
EXPECTED = [(1, "a,b"), (2, "1,2"), (3, "3,4")]


def read(raw: bytes) -> tuple[list[tuple[int, str]], Tally, Lines]:
    tally = Tally()
    tally.file = "log"
    lines = Lines(io.BytesIO(raw), tally)
    return list(lines), tally, lines


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_every_way_to_lie_on_disk(ending: str, encoding: str, pack: type[bytes]) -> None:
    raw = pack(TEXT.replace("\n", ending).encode(encoding))
    found, tally, lines = read(raw)
    assert found == EXPECTED
    assert lines.bytes_read == len(raw)
    assert tally.document() == {}


def test_several_members_are_one_file() -> None:
    for pack in (gzip.compress, zstandard.compress):
        assert read(pack(b"a,b\n1,") + pack(b"2\n3,4"))[0] == EXPECTED


def test_empty() -> None:
    for raw in (b"", gzip.compress(b""), zstandard.compress(b"")):
        assert read(raw)[0] == []


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_what_is_whole_before_a_cut_is_taken(pack: type[bytes]) -> None:
    text = "".join(f"{i},{i * i}\n" for i in range(50_000))
    raw = pack(text.encode())
    found, tally, _ = read(raw[: len(raw) // 2])
    assert found[:2] == [(1, "0,0"), (2, "1,1")]
    assert tally.counts == {"cut_off": 1}
    assert read(raw[:6])[1].counts == {"cut_off": 1}


def test_a_line_without_an_end_costs_only_itself() -> None:
    raw = b"a\n" + b"x" * (3 * LONGEST) + b"\nb\n"
    found, tally, _ = read(raw)
    assert found == [(1, "a"), (3, "b")]
    assert tally.document() == {"line_too_long": {"count": 1, "file": "log", "line": 2}}


@given(st.binary(max_size=200))
def test_any_bytes_are_some_lines(raw: bytes) -> None:
    found, tally, _ = read(raw)
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert set(tally.counts) <= {"cut_off"}


def test_size_is_known_of_files_alone(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"12345")
    assert (size(str(file)), size("-"), size(str(tmp_path))) == (5, None, None)
    with opened(str(file)) as stream:
        assert stream.read() == b"12345"
