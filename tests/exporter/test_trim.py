"""Pages that only the start needed are given back, and what runs goes on running."""

from __future__ import annotations

import _ctypes
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wattshed_exporter.trim import MAPPING, drop_file_pages, held, mappings

PROGRAM = """
import re, ssl
from wattshed_exporter.trim import drop_file_pages
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
context = ssl.create_default_context()
before = resident()
dropped = drop_file_pages()
after = resident()
print(before, after, dropped, len(ssl.create_default_context().get_ciphers()), sum(range(10**6)))
"""
SMAPS = Path("/proc/self/smaps")
CODE = "7f00-8f00 r-xp 00001000 08:01 7    /lib/libc.so.6\nSize: 4 kB\nAnonymous:   {} kB\n"


def test_memory_falls_and_everything_works_afterwards() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, after, dropped, ciphers, total = (int(part) for part in run.stdout.split())
    assert after < before
    assert dropped > 2**20
    assert ciphers > 0
    assert total == 499_999_500_000


@pytest.mark.parametrize(
    "text",
    [
        "", "garbage\n", CODE.format(4), CODE.format(0).replace("r-xp", "rw-p"),
        CODE.format(0).replace("r-xp", "r-xs"), CODE.format(0).replace("08:01 7", "00:00 0"),
        CODE.format(0).replace("/lib/libc.so.6", "[vdso]"),
    ],
)  # fmt: skip
def test_what_is_not_a_file_as_it_is_is_left_alone(tmp_path: Path, text: str) -> None:
    smaps = tmp_path / "smaps"
    smaps.write_text(text)
    assert drop_file_pages(smaps) == 0


SOURCE = "int wattshed_answer(void) { return 42; }"


def library(folder: Path, name: str) -> Path:
    file = folder / name
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(file)],
        input=SOURCE, text=True, check=True,
    )  # fmt: skip
    return file


def mapped(file: Path) -> bool:
    return str(file) in Path("/proc/self/maps").read_text()


def test_a_library_is_held_while_its_pages_are_dropped(tmp_path: Path) -> None:
    file = library(tmp_path, "libanswer.so")
    handle = _ctypes.dlopen(str(file), os.RTLD_NOW)
    with held(SMAPS) as libraries:
        assert str(file) in libraries
        _ctypes.dlclose(handle)  # as another thread may do in between
        assert mapped(file)
    assert not mapped(file)


def test_what_is_mapped_but_no_library_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "table"
    file.write_bytes(bytes(1 << 20))
    with file.open("rb") as table:
        for protection in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_EXEC):
            with mmap.mmap(table.fileno(), 0, mmap.MAP_PRIVATE, protection) as view:
                assert view[0] == 0
                assert str(file) in {path for _, _, path in mappings(SMAPS)}
                with held(SMAPS) as libraries:
                    assert str(file) not in libraries


def test_code_and_tables_are_found() -> None:
    text = CODE.format(4) + CODE.format(0).replace("7f00", "7e00").replace("r-xp", "r--p")
    assert [m[1] for m in MAPPING.finditer(text)] == ["7e00"]
    mine = MAPPING.findall(Path("/proc/self/smaps").read_text())
    assert mine


def test_without_procfs_nothing_happens(tmp_path: Path) -> None:
    assert drop_file_pages(tmp_path / "absent") == 0
