"""The script that draws boards: what is missing, when it is built, what a page holds."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path

import pytest

from wattshed_collector.errors import CollectorError
from wattshed_collector.pictures.front_end import INSTALLED, FrontEnd, FrontEndMissing, page

HOSTILE = '</script><script>alert("1")</script><!-- & {page} {}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout's folder with its packages installed and nothing built."""
    at = tmp_path / "preview"
    (at / "node_modules").mkdir(parents=True)
    (at / INSTALLED).write_text("{}")
    (at / "src").mkdir()
    for name in ("build.mjs", "package-lock.json", "src/main.tsx"):
        (at / name).write_text(name)
    return at


def _node(folder: Path, script: str) -> str:
    """Return a program that stands in for node and counts how often it was run."""
    node = folder.parent / "node"
    node.write_text(f"#!/bin/sh\nset -e\necho ran >> {folder.parent}/runs\ncd {folder}\n{script}\n")
    node.chmod(0o755)
    return str(node)


def _runs(folder: Path) -> int:
    return (folder.parent / "runs").read_text().count("ran")


BUILDING = "mkdir -p dist; echo script > dist/preview.js; echo style > dist/preview.css"


def test_it_is_built_once_and_again_when_a_source_is_newer(folder: Path, tmp_path: Path) -> None:
    drawing = FrontEnd(folder, _node(folder, BUILDING))
    drawing.put(tmp_path)
    drawing.put(tmp_path)
    assert (tmp_path / "preview.js").read_text() == "script\n"
    assert (tmp_path / "preview.css").read_text() == "style\n"
    assert _runs(folder) == 1
    later = (folder / "dist" / "preview.js").stat().st_mtime + 1
    os.utime(folder / "src" / "main.tsx", (later, later))
    drawing.put(tmp_path)
    assert _runs(folder) == 2


def test_what_does_not_build_says_why(folder: Path, tmp_path: Path) -> None:
    drawing = FrontEnd(folder, _node(folder, "echo 'main.tsx:3: no such name' >&2; exit 1"))
    with pytest.raises(CollectorError, match=r"does not build:\nmain\.tsx:3: no such name"):
        drawing.put(tmp_path)


def test_without_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(FrontEndMissing, match=r"in a checkout.*shows the same boards at /boards"):
        FrontEnd(tmp_path / "preview", "node").put(tmp_path)


def test_without_node(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FrontEndMissing, match=r"install Node\.js 20"):
        FrontEnd(folder, "").put(tmp_path)


def test_without_the_packages(folder: Path, tmp_path: Path) -> None:
    (folder / INSTALLED).unlink()
    with pytest.raises(FrontEndMissing, match=f"npm ci --prefix {re.escape(str(folder))}"):
        FrontEnd(folder, _node(folder, BUILDING)).put(tmp_path)


def test_a_page_holds_what_it_was_given_and_no_markup_of_it() -> None:
    content = {"board": {"title": HOSTILE}, "answers": {}}
    made = page(HOSTILE, content)
    told = re.search(r"window\.page = (.*);</script>", made)
    assert told is not None
    assert json.loads(told[1]) == content
    assert "<" not in told[1]
    assert f"<title>{html.escape(HOSTILE)}</title>" in made
    assert made.count("<script") == 2
