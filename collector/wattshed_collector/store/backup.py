"""Backups of the embedded store in a folder, beside a collector that runs, and back again.

The engine copies its immutable parts (BACKUP DATABASE). It looks at one table after the other, so
what was written meanwhile may be in one and not yet in another; a restore therefore says the facts
of that time again, which every table takes as a sender's repetition. A backup may be based on a
full one and holds then only what is not in that. ``wattshed.json``, written last, says that a
backup is whole: how many rows each table has, and size and CRC-32 of each file.
Source: https://clickhouse.com/docs/operations/backup.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from wattshed_collector.errors import InvalidInput, Permanent
from wattshed_exporter import __version__

from .client import Client, Store

MANIFEST = "wattshed.json"
CONTENTS = ".backup"
STAGING = ".restoring"
CHUNK = 1 << 20
MARGIN_S = 120
"""Facts are stamped before they can be seen; so far back they are said again."""

Progress = Callable[[int, int], None]
"""Told how many bytes are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """``base`` is the folder of the full backup that this one needs, "" where it needs none.

    Times are Unix seconds, ``tables`` rows by table, ``files`` size and CRC-32 by path.
    """

    version: str
    started: float
    finished: float
    base: str
    tables: dict[str, int]
    files: dict[str, tuple[int, int]]

    def summary(self) -> dict[str, Any]:
        """Return what people want to know of it."""
        return {
            "version": self.version,
            "started": self.started,
            "seconds": round(self.finished - self.started, 3),
            "base": self.base or None,
            "files": len(self.files),
            "bytes": sum(size for size, _ in self.files.values()),
            "rows": sum(self.tables.values()),
            "tables": self.tables,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as the engine lists it; ``path`` is where it lies, None where the base has it."""

    name: str
    size: int
    checksum: str
    path: Path | None


def read(folder: Path) -> Manifest:
    """Return what a backup says of itself. Raises InvalidInput where it is none, or not whole."""
    try:
        told = json.loads((folder / MANIFEST).read_bytes())
        told["files"] = {name: (int(s), int(c)) for name, (s, c) in told["files"].items()}
        return Manifest(**told)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"{folder} is no complete backup of wattshed", "backup") from error


def make(client: Client, folder: Path, base: Path | None = None) -> Manifest:
    """Back the store up into an empty folder, and read back what was written.

    Raises InvalidInput where the folder is not empty or ``base`` cannot serve, and StoreError; what
    was begun is deleted then.
    """
    _check_empty(folder)
    if base is not None and read(base).base:
        raise InvalidInput(f"{base} needs another backup itself: name a full one", "base")
    started = time.time()
    sql = "BACKUP DATABASE default TO File({folder:String})"
    parameters = {"folder": str(folder)}
    if base is not None:
        sql += " SETTINGS base_backup = File({base:String})"
        parameters["base"] = str(base)
    try:
        client.command(sql, parameters)
        _sync(folder)
        files = dict(_inventory(folder))
        made = Manifest(
            __version__,
            started,
            time.time(),
            str(base or ""),
            _rows(folder, base),
            files,
        )
        _write(folder / MANIFEST, json.dumps(asdict(made)).encode())
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return made


def restore(folder: Path, target: Path, progress: Progress | None = None) -> Manifest:
    """Make the store of a data folder from a backup; all of it or nothing.

    Raises InvalidInput where the folder has a store already or the backup is damaged, and
    StoreError, among them StoreLocked where a collector runs on the folder.
    """
    made = read(folder)
    base = _base_of(folder, made)
    _verify([(folder, made), *([(base, read(base))] if base else [])], progress)
    lock = Store(target)
    try:
        if (target / "chdb").exists():
            raise InvalidInput(f"{target} has a store already: name an empty folder", "target")
        staging = target / STAGING
        shutil.rmtree(staging, ignore_errors=True)
        _restore_into(staging, folder, base, made)
        _sync(staging)
        os.rename(staging / "chdb", target / "chdb")
        _sync(target)
        shutil.rmtree(staging, ignore_errors=True)
    finally:
        lock.close()
    return made


def _restore_into(staging: Path, folder: Path, base: Path | None, made: Manifest) -> None:
    store = Store(staging, backup_folder=Path("/"))
    try:
        client = store.client()
        try:
            _load(client, folder, base, made)
        finally:
            client.close()
    finally:
        store.close()


def _load(client: Client, folder: Path, base: Path | None, made: Manifest) -> None:
    sql = "RESTORE DATABASE default FROM File({folder:String}) SETTINGS structure_only = %s"
    parameters = {"folder": str(folder)}
    if base is not None:
        sql += ", base_backup = File({base:String})"
        parameters["base"] = str(base)
    client.command(sql % "true", parameters)
    # Rows are counted before anything is merged: until then they are those of the backup.
    client.command("SYSTEM STOP MERGES")
    client.command(sql % "false", parameters)
    counted = client.rows(
        "SELECT table, sum(rows) FROM system.parts "
        "WHERE database = 'default' AND active GROUP BY table HAVING sum(rows) > 0"
    )
    found = {str(table): int(rows) for table, rows in counted}
    if found != made.tables:
        differ = sorted(t for t in found.keys() | made.tables if found.get(t) != made.tables.get(t))
        raise Permanent(f"the restored tables have other rows than the backup: {', '.join(differ)}")
    client.command("SYSTEM START MERGES")
    _say_again(client, made)


def _say_again(client: Client, made: Manifest) -> None:
    """Insert once more what came while the backup was made, for the tables that hang on it.

    Its hours are marked as well, because the marks may have been copied before it came.
    """
    rows = client.rows(
        """
        SELECT table, groupArray(name) FROM system.columns
        WHERE database = 'default' AND default_kind NOT IN ('MATERIALIZED', 'ALIAS')
          AND table IN (SELECT name FROM system.tables
                        WHERE database = 'default' AND notEmpty(dependencies_table))
        GROUP BY table HAVING has(groupArray(name), 'ingested_at') ORDER BY table
        """
    )
    since = {"since": round((made.started - MARGIN_S) * 1000), "to": round(made.finished)}
    for table, names in rows:
        columns = ", ".join(f"`{name}`" for name in names if name != "ingested_at")
        client.command(
            f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} FINAL "
            "WHERE ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')",
            since,
        )
    client.command(
        "INSERT INTO dirty (hour) SELECT DISTINCT toStartOfHour(ts) FROM tick "
        "WHERE ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')",
        since,
    )
    client.command(
        """
        INSERT INTO dirty (hour) SELECT DISTINCT toDateTime(arrayJoin(range(
            toUInt32(toUnixTimestamp(toStartOfHour(start_ts))),
            greatest(toUInt32(toUnixTimestamp(end_ts)), {to:UInt32}) + 1, 3600)), 'UTC')
        FROM allocation FINAL
        WHERE ingested_at >= fromUnixTimestamp64Milli({since:Int64}, 'UTC')
        """,
        since,
    )


def _check_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is not empty: name a new folder", "folder")


def _base_of(folder: Path, made: Manifest) -> Path | None:
    """Return where the full backup is: where it was, or beside this one if both were moved."""
    if not made.base:
        return None
    for place in (Path(made.base), folder.parent / Path(made.base).name):
        if (place / MANIFEST).is_file():
            return place
    raise InvalidInput(f"{folder} needs the backup {made.base}, which is not there", "base")


def _verify(backups: list[tuple[Path, Manifest]], progress: Progress | None) -> None:
    total = sum(size for _, made in backups for size, _ in made.files.values())
    done = 0
    for folder, made in backups:
        for name, (size, crc) in made.files.items():
            try:
                found = _sum(folder / name)
            except OSError as error:
                raise InvalidInput(f"{folder / name}: {error.strerror}", "damaged") from error
            if found != (size, crc):
                raise InvalidInput(f"{folder / name} is damaged", "damaged")
            done += size
            if progress:
                progress(done, total)


def _inventory(folder: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Give size and CRC-32 of each file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), _sum(path)


def _sync(folder: Path) -> None:
    """Have all that was written reach the disk: thousands of small files, in one go (syncfs(2))."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)


def _sum(path: Path) -> tuple[int, int]:
    size = crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            size += len(chunk)
            crc = zlib.crc32(chunk, crc)
    return size, crc


def _rows(folder: Path, base: Path | None) -> dict[str, int]:
    """Return the rows of each table, from the count that each part carries."""
    entries = list(_entries(folder))
    held = {(e.size, e.checksum): e.path for e in _entries(base) if e.path} if base else {}
    held |= {(e.size, e.checksum): e.path for e in entries if e.path}
    found: Counter[str] = Counter()
    for entry in entries:
        match entry.name.split("/"):
            case ["data", "default", table, _part, "count.txt"]:
                found[table] += int(held[entry.size, entry.checksum].read_text(encoding="ascii"))
            case _:
                pass
    return {table: rows for table, rows in found.items() if rows}


def _entries(folder: Path) -> Iterator[Entry]:
    for file in ElementTree.parse(folder / CONTENTS).iter("file"):
        name = file.findtext("name", "")
        told = file.findtext("data_file") or name
        path = None if file.findtext("use_base") == "true" else folder / told
        yield Entry(name, int(file.findtext("size", "0")), file.findtext("checksum", ""), path)


def _write(path: Path, data: bytes) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
