"""Targets in files of JSON or YAML, read again when they change.

Source: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config
"""

from __future__ import annotations

import asyncio
import glob
import json
import os
from typing import Any

import yaml

from wattshed_collector.config import FileSd
from wattshed_exporter.settings import NOT_YAML

from . import Failing, Labels, Put, groups

LARGEST_BYTES = 64 * 2**20
Stamp = tuple[int, int, int]
Seen = dict[str, tuple[Stamp, list[Labels] | Exception]]


class Files:
    """Looks at some globs every ``refresh_seconds``; a file that cannot be read changes nothing."""

    name = "file_sd"

    def __init__(self, options: FileSd) -> None:
        self._options = options
        self._seen: Seen = {}

    async def run(self, put: Put, failing: Failing) -> None:
        while True:
            await self.look(put, failing)
            await asyncio.sleep(self._options.refresh_seconds)

    async def look(self, put: Put, failing: Failing) -> None:
        """Read what changed since the last look."""
        before = self._seen
        self._seen = await asyncio.to_thread(_look, self._options.files, before)
        for file in before.keys() - self._seen.keys():
            put(file, [])
        for file, known in self._seen.items():
            if isinstance(known[1], Exception):
                failing("file", f"{file}: {known[1]}")
            elif before.get(file) != known:
                put(file, known[1])


def _look(patterns: tuple[str, ...], before: Seen) -> Seen:
    found = {file for pattern in patterns for file in glob.glob(pattern)}
    return {file: _read(file, before.get(file)) for file in sorted(found)}


def _read(
    file: str, known: tuple[Stamp, list[Labels] | Exception] | None
) -> tuple[Stamp, list[Labels] | Exception]:
    stamp = (0, 0, 0)
    try:
        said = os.stat(file)
        stamp = said.st_mtime_ns, said.st_size, said.st_ino
        if known is not None and known[0] == stamp:
            return known
        if said.st_size > LARGEST_BYTES:
            raise ValueError(f"is beyond {LARGEST_BYTES} bytes")
        return stamp, list(groups(_parsed(file), "__meta_filepath", file))
    except (OSError, ValueError) as error:
        return stamp, error
    except RecursionError:
        return stamp, ValueError("is nested too deeply")


def _parsed(file: str) -> Any:
    with open(file, encoding="utf-8") as stream:
        if file.endswith(".json"):
            return json.load(stream)
        try:
            return yaml.safe_load(stream)
        except (yaml.YAMLError, *NOT_YAML) as error:
            raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error
