"""``wattshed backup`` and ``wattshed restore``: the embedded store in a folder, and back."""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wattshed_collector.errors import CollectorError, InvalidInput, StoreError

from . import answers
from .bars import Progressed, counted

Subparsers = argparse._SubParsersAction

POLL_SECONDS = 0.5
BACKUP_EXAMPLES = """examples:
  wattshed backup /mnt/backups/2026-01-31
  wattshed backup /mnt/backups/2026-02-01 --base /mnt/backups/2026-01-31 --json

A collector that runs on the data folder makes the backup itself and goes on receiving; it may write
below durability.backup_folder. With --base only what the full backup lacks is copied, and restoring
needs both. docs/DURABILITY.md shows how to do it every night."""
RESTORE_EXAMPLES = """examples:
  wattshed restore /mnt/backups/2026-02-01 --data /var/lib/wattshed

Every file is checked first. The data folder must not have a store."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    backup = commands.add_parser(
        "backup",
        help="copy the embedded store into a folder, also while it runs",
        epilog=BACKUP_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    backup.add_argument("folder", metavar="FOLDER", help="new or empty folder for the backup")
    backup.add_argument("--base", metavar="FOLDER", help="full backup to build on")
    backup.add_argument("--json", action="store_true", help="print what it holds as JSON")
    answers.add_place(backup)
    backup.set_defaults(run=run_backup)
    restore = commands.add_parser(
        "restore",
        help="make an embedded store from a backup",
        epilog=RESTORE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    restore.add_argument("folder", metavar="FOLDER", help="the backup")
    restore.add_argument("--data", required=True, metavar="FOLDER", help="data folder to be")
    restore.add_argument("--json", action="store_true", help="print what it held as JSON")
    restore.set_defaults(run=run_restore)


def run_backup(arguments: argparse.Namespace) -> None:
    """Make a backup, by the running collector or ourselves."""
    folder = Path(arguments.folder).absolute()
    base = Path(arguments.base).absolute() if arguments.base else None
    with _progress("copying") as progress:
        if remote := answers.connect(arguments):
            document = _remote(remote, folder, base, progress)
        else:
            document = {"folder": str(folder), **_local(arguments.data, folder, base)}
    _print("backed up", document, as_json=arguments.json)


def run_restore(arguments: argparse.Namespace) -> None:
    """Check a backup and make a store of it."""
    from wattshed_collector.store import backup

    with _progress("checking") as progress:
        folder = Path(arguments.folder).absolute()
        made = backup.restore(folder, Path(arguments.data).absolute(), progress)
    _print("restored", {"folder": str(folder), **made.summary()}, as_json=arguments.json)


def _remote(
    remote: answers.Remote, folder: Path, base: Path | None, progress: Progressed
) -> dict[str, Any]:
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_SECONDS):
            try:
                size = remote.get("/v1/backup")["bytes"]
            except CollectorError:
                continue  # whoever waits for the answer says what is wrong
            if size:
                progress(int(size), 0)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        asked = {"folder": str(folder), "base": base and str(base)}
        return dict(remote.post("/v1/backup", asked))
    finally:
        done.set()
        watcher.join()


def _local(data: str, folder: Path, base: Path | None) -> dict[str, Any]:
    from wattshed_collector.store import backup
    from wattshed_collector.store.client import Store

    if "://" in data:
        raise InvalidInput("a server is backed up with its own BACKUP statement", "data")
    if not (Path(data) / "chdb").is_dir():
        raise StoreError(f"there is no data in {data}; name a folder with --data")
    store = Store(data, backup_folder=Path("/"))
    try:
        client = store.client()
        try:
            return backup.make(client, folder, base).summary()
        finally:
            client.close()
    finally:
        store.close()


def _print(what: str, document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, indent=2))
        return
    on = f", on {document['base']}" if document["base"] else ""
    print(
        f"{what} {document['rows']} rows of {len(document['tables'])} tables, "
        f"{document['bytes'] / 2**20:.1f} MiB in {document['files']} files: "
        f"{document['folder']}{on}"
    )


@contextmanager
def _progress(title: str) -> Iterator[Progressed]:
    from rich.progress import BarColumn, DownloadColumn, TextColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True)
    with counted(title, *columns) as advance:
        yield advance
