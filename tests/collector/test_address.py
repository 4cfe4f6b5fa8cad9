"""Where the collector on a folder answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wattshed_collector.address import FILE, announced, find


def test_it_is_told_while_it_runs(tmp_path: Path) -> None:
    assert find(tmp_path) == ""
    with announced(tmp_path, "http://127.0.0.1:9740"):
        assert find(tmp_path) == "http://127.0.0.1:9740"
    assert find(tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_also_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), announced(tmp_path, "http://x"):
        raise KeyError
    assert find(tmp_path) == ""


def test_one_that_was_killed_is_not_found(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / FILE).write_text(f'{{"url": "http://x", "pid": {gone.pid}}}')
    assert find(tmp_path) == ""


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"url": "x"}', '{"pid": 1}', '{"url": "x", "pid": "one"}']
)
def test_a_damaged_file_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert find(tmp_path) == ""


def test_the_file_says_whose_it_is(tmp_path: Path) -> None:
    with announced(tmp_path, "http://x"):
        assert f'"pid": {os.getpid()}' in (tmp_path / FILE).read_text()


def test_one_process_may_be_asked_for(tmp_path: Path) -> None:
    with announced(tmp_path, "http://x"):
        assert find(tmp_path, os.getpid()) == "http://x"
        assert find(tmp_path, os.getpid() + 1) == ""
