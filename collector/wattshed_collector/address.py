"""Where the collector on a data folder answers: a small file that it leaves there while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "collector.json"


@contextmanager
def announced(folder: Path, url: str) -> Iterator[None]:
    """Leave ``url`` in the data folder for the length of the block."""
    file = folder / FILE
    file.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def find(folder: Path, process: int | None = None) -> str:
    """Return the URL of the collector that runs on the data folder, "" where none does.

    With ``process`` only a collector with that process id counts.
    """
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
        url, pid = str(said["url"]), int(said["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    if process not in (None, pid):
        return ""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return url
    except OSError:
        return ""
    return url
