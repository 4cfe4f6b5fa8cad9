"""Pages of the engine that only the start needed are given back, and it goes on answering."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import re
from wattshed_exporter.trim import drop_file_pages
import chdb
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = resident()
dropped = drop_file_pages()
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
