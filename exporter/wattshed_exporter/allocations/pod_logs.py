"""Pods by the folders that the kubelet keeps for their logs: names and uids without any API.

Each is called ``<namespace>_<name>_<uid>`` and is there from before the first container starts
until after the last has ended. Source: "Logging Architecture" of Kubernetes' documentation.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from wattshed_exporter.errors import NoData, SourceError

from .pod import Pod

FOLDER = re.compile(r"([a-z0-9.-]{1,253})_([a-z0-9.-]{1,253})_([0-9a-f]{32}|[0-9a-f-]{36})")


class PodLogs:
    """Reads the folder again and again, so that of two pods of one name the later is known."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[str, int] = {}
        self._round = 0

    def read(self) -> list[Pod]:
        """Return the pods, those that came later after those that were there before.

        What has come since the last time is in the order in which the folders were last written.

        Raises:
            NoData: there is no such folder.
            SourceError: it cannot be read (``permission``, ``io_error``).
        """
        try:
            with os.scandir(self._folder) as entries:
                found = [(m, _written(e)) for e in entries if (m := FOLDER.fullmatch(e.name))]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoData(f"there is no folder {self._folder}") from error
        except PermissionError as error:
            raise SourceError(f"{self._folder} may not be read", "permission") from error
        except OSError as error:
            raise SourceError(f"{self._folder}: {error}", "io_error") from error
        self._round += 1
        self._seen = {m[3]: self._seen.get(m[3], self._round) for m, _ in found}
        found.sort(key=lambda each: (self._seen[each[0][3]], each[1]))
        return [Pod(m[3], m[1], m[2], _fields(m[1], m[2])) for m, _ in found]


def _written(entry: os.DirEntry[str]) -> float:
    """Return when a folder was last written, 0 where it has gone in the meantime."""
    try:
        return entry.stat().st_mtime
    except OSError:
        return 0.0


def _fields(namespace: str, name: str) -> dict[str, str]:
    return {"name": name, "instance": name, "namespace": namespace, "kind": "pod"}
