"""Code pages that only the start needed are given back, and what runs goes on running."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from wattshed_collector.store.trim import drop_code_pages

PROGRAM = """
import re
from wattshed_collector.store.trim import drop_code_pages
import chdb
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = resident()
dropped = drop_code_pages()
print(before, resident(), dropped, chdb.query("SELECT 42").bytes().decode().strip())
"""


def test_memory_falls_and_the_engine_answers_afterwards(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    before, after, dropped, answer = (int(part) for part in run.stdout.split())
    assert after < before
    assert dropped > 100 * 2**20
    assert answer == 42


@pytest.mark.parametrize("text", ["", "garbage\n", "1000-2000 rw-p 0 08:01 7 /lib/data.so\n"])
def test_what_is_no_code_is_left_alone(tmp_path: Path, text: str) -> None:
    maps = tmp_path / "maps"
    maps.write_text(text)
    assert drop_code_pages(maps) == 0


def test_without_procfs_nothing_happens(tmp_path: Path) -> None:
    assert drop_code_pages(tmp_path / "absent") == 0


def test_only_code_matches() -> None:
    from wattshed_collector.store.trim import CODE

    mine = Path("/proc/self/maps").read_text()
    lines = [line for line in mine.splitlines() if CODE.match(line)]
    assert lines
    assert all(re.search(r" r-xp .* /", line) for line in lines)
