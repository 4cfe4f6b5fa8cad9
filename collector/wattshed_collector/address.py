"""Where the collector on a data folder answers: a small file that it leaves there while it runs.

Only the folder's owner may read it: he could read the store as well, so he is its administrator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "collector.json"


@contextmanager
def announced(
    folder: Path, url: str, token: str = "", certificate: Path | None = None
) -> Iterator[None]:
    """Leave ``url`` in the data folder for the length of the block.

    ``token`` lets whoever may read the file, which is the folder's owner alone, do everything;
    ``certificate`` is how he knows this collector by https, whatever name it has.
    """
    file = folder / FILE
    said = {"url": url, "pid": os.getpid(), "token": token}
    said["certificate"] = str(certificate.absolute()) if certificate else ""
    new = folder / f"{FILE}.new"
    new.unlink(missing_ok=True)
    with open(new, "x", encoding="utf-8", opener=_private) as opened:
        json.dump(said, opened)
    new.replace(file)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def key(folder: Path, url: str) -> tuple[str, str]:
    """Return the token and the certificate that the collector at ``url`` left in the folder.

    Both are "" where another one is at that URL, none runs here, or its owner is somebody else.
    """
    if not url or find(folder) != url:
        return "", ""
    try:
        said = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "", ""
    return str(said.get("token", "")), str(said.get("certificate", ""))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


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
