"""Holders that are written down in a file, which is read again when it changes.

A file that is broken leaves in force what was, and is logged once with all its problems; as long as
it is broken each round counts them as errors of this plug-in.
"""

from __future__ import annotations

import fnmatch
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import ConfigError, NoData, SourceError

from . import Claim, Meters, Ref, Told
from .static_file import Entry, load

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)

METHOD = "static"
Stamp = tuple[int, int, int, int] | None
"""Device, inode, size and time of change of a file; None where it is absent."""


class Static:
    """Implements ``Allocator``."""

    name = "static"

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._stamp: Stamp = (0, 0, 0, 0)
        self._entries: tuple[Entry, ...] | None = None
        self._problems: tuple[str, ...] = ()

    def read(self, meters: Meters) -> Told:
        """Return who holds what at this time.

        Raises:
            NoData: no file is named.
            SourceError: ``config``: the file has problems, and none without was read before.
        """
        if self._file is None:
            raise NoData("allocations.static.file names no file")
        self._reload(self._file)
        if self._entries is None:
            raise SourceError("; ".join(self._problems), "config")
        rejected: Counter[str] = Counter({"bad_file": len(self._problems)})
        now = [entry for entry in self._entries if entry.holds_at(meters.ts_ms)]
        about: dict[Ref, Mapping[str, str]] = {}
        for entry in now:
            about[entry.holder] = {**entry.fields, **about.get(entry.holder, {})}
        claims = list(_claims(now, meters, rejected))
        return Told(claims, about, rejected=+rejected)

    def close(self) -> None:
        """Do nothing: no file is open between two rounds, and what was read stays in force."""

    def _reload(self, file: Path) -> None:
        stamp = _stamp(file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._entries, self._problems = load(file), ()
        except ConfigError as error:
            self._problems = error.problems
            for problem in error.problems:
                log.warning("%s; what was in force stays", problem)


def create(config: Config) -> Static:
    """Build the plug-in; nothing is opened before ``read``."""
    return Static(config.allocations.static.file)


def _claims(entries: list[Entry], meters: Meters, rejected: Counter[str]) -> Iterator[Claim]:
    for entry in entries:
        found = _matching(entry.device, meters)
        rejected["unknown_device"] += not found
        yield from (Claim(key, entry.holder, entry.share, None, METHOD) for key in found)


def _matching(pattern: str, meters: Meters) -> list[str]:
    """Return devices by key or name; an instance of MIG only where the pattern is for such."""
    if pattern.startswith("MIG-"):
        return [i.uuid for i in meters.instances if fnmatch.fnmatchcase(i.uuid, pattern)]
    return [
        key
        for key, device in meters.devices.items()
        if fnmatch.fnmatchcase(key, pattern) or fnmatch.fnmatchcase(device.name, pattern)
    ]


def _stamp(file: Path) -> Stamp:
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_dev, told.st_ino, told.st_size, told.st_mtime_ns
