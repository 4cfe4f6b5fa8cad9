"""Chromium, told what to photograph: pages that finish, that break, that never finish."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from wattshed_collector.pictures import browser

pytestmark = pytest.mark.browser
ROOT = os.geteuid() == 0


@pytest_asyncio.fixture
async def tab() -> AsyncIterator[browser.Browser]:
    if not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))):
        pytest.skip("Chromium is not installed (Debian package chromium)")
    async with browser.running(browser.program(), not ROOT, draw_seconds=20.0) as opened:
        yield opened


def _page(folder: Path, script: str) -> str:
    file = folder / "page.html"
    board = '<div id="board" style="height: 3000px">here</div>'
    file.write_text(f'<body style="margin: 0">{board}<script>{script}</script>')
    return file.as_uri()


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


async def test_the_whole_page_is_on_the_picture(tab: browser.Browser, tmp_path: Path) -> None:
    url = _page(tmp_path, "setTimeout(() => window.problems = ['Cost: no such column'], 100)")
    png, problems = await tab.picture(url, 640)
    assert _size(png) == (640, 3000)
    assert problems == ["Cost: no such column"]
    small, _ = await tab.picture(url, 640, 0.5)
    assert _size(small) == (320, 1500)


async def test_an_error_of_the_page_is_said(tab: browser.Browser, tmp_path: Path) -> None:
    url = _page(tmp_path, "window.problems = []; null.x")
    _, problems = await tab.picture(url, 640)
    assert len(problems) == 1
    assert "TypeError" in problems[0]
    _, after = await tab.picture(_page(tmp_path, "window.problems = []"), 640)
    assert after == []


async def test_a_page_that_never_ends_is_given_up(tmp_path: Path) -> None:
    if not shutil.which("chromium"):
        pytest.skip("Chromium is not installed (Debian package chromium)")
    async with browser.running(browser.program(), not ROOT, draw_seconds=1.0) as tab:
        with pytest.raises(browser.BrowserError, match=r"not drawn in 1 s: .*ReferenceError"):
            await tab.picture(_page(tmp_path, "nothing.there"), 640)


async def test_what_does_not_start_is_said() -> None:
    with pytest.raises(browser.BrowserError, match="ended with status 1 as it started"):
        async with browser.running(shutil.which("false") or "false"):
            raise AssertionError("it runs")
