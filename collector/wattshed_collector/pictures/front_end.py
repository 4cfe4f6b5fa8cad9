"""The script that draws a board: built once from a checkout's sources and installed packages."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wattshed_collector.errors import CollectorError

BUILD_SECONDS = 300
INSTALLED = "node_modules/.package-lock.json"
"""npm writes it when all packages are there."""
MADE = ("preview.js", "preview.css")
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="preview.css">
<div id="board"></div>
<script>window.page = {page};</script>
<script src="preview.js"></script>
</html>
"""


class FrontEndMissing(CollectorError):
    """Something that draws is not installed; the message says what to do."""


class FrontEnd:
    """What lies in ``folder``, the checkout's ``dashboards/preview``."""

    def __init__(self, folder: Path, node: str | None = None) -> None:
        self._folder = folder
        self._node = shutil.which("node") or "" if node is None else node

    def put(self, out: Path) -> None:
        """Write the script and its style into a folder. Raises FrontEndMissing."""
        self._require()
        made = [self._folder / "dist" / name for name in MADE]
        if not all(file.exists() for file in made) or self._is_stale(made[0]):
            self._build()
        for file in made:
            shutil.copyfile(file, out / file.name)

    def _require(self) -> None:
        if not (self._folder / "build.mjs").is_file():
            raise FrontEndMissing(
                f"pictures are drawn in a checkout of wattshed: there is no {self._folder}. "
                "A running collector shows the same boards at /boards"
            )
        if not self._node:
            raise FrontEndMissing("node is missing: install Node.js 20 or newer, with npm")
        if not (self._folder / INSTALLED).is_file():
            raise FrontEndMissing(
                "the packages that draw are not installed (440 MB, for development): "
                f"npm ci --prefix {self._folder}"
            )

    def _is_stale(self, made: Path) -> bool:
        built = made.stat().st_mtime
        return any(file.stat().st_mtime > built for file in self._sources())

    def _sources(self) -> Iterator[Path]:
        yield from (self._folder / "src").iterdir()
        yield from (self._folder / name for name in ("build.mjs", "package-lock.json"))

    def _build(self) -> None:
        command = [self._node, str(self._folder / "build.mjs")]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
        )
        if done.returncode:
            raise CollectorError(f"the front end does not build:\n{done.stderr.strip()}")


def page(title: str, content: dict[str, Any]) -> str:
    """Return a page that draws one board; it wants what ``FrontEnd.put`` writes beside it."""
    # Within a script element only these could end it or begin another state of its reader.
    told = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    return PAGE.format(title=html.escape(title), page=told)
