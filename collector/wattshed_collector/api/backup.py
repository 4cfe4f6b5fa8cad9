"""``/v1/backup``: a backup of the embedded store while the collector runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput, Retryable
from wattshed_collector.ledger_job import LedgerJob
from wattshed_collector.openapi import ADMIN, Operation, by_name, maybe, number, record, text, whole
from wattshed_collector.store import backup

from .documents import answered, read_object

_MADE = {
    "folder": text(),
    "version": text("Of the program"),
    "started": number("Unix seconds"),
    "seconds": number("How long it took"),
    "base": maybe(text("The full backup that it builds on")),
    "files": whole(),
    "bytes": whole(),
    "rows": whole(),
    "tables": by_name(whole(), "Rows by table"),
}
OPERATIONS = (
    Operation(
        "POST",
        "/v1/backup",
        "Back up the embedded store; answers when done, with what it holds",
        {openapi.JSON: record(_MADE)},
        takes={
            openapi.JSON: record(
                {
                    "folder": text("Below durability.backup_folder"),
                    "base": maybe(text("A full backup of which only what changed is kept")),
                },
                optional=("base",),
            )
        },
        role=ADMIN,
        refusals=(400,),
        note="Only a collector with the embedded store answers here.",
    ),
    Operation(
        "GET",
        "/v1/backup",
        "Which backup is being made, and how far it is",
        {openapi.JSON: record({"folder": maybe(text()), "bytes": maybe(whole())})},
        note="Only a collector with the embedded store answers here.",
    ),
)


class BackupApi:
    """Writes below ``root`` alone; None: nowhere. For administrators.

    A backup is made between two runs of the ledger, so that no half of one is in it; what is
    received meanwhile is written as ever.
    """

    def __init__(self, job: LedgerJob, root: Path | None) -> None:
        self._job = job
        self._root = root
        self._folder: Path | None = None

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/backup", self.make), web.get("/v1/backup", self.state)]

    async def make(self, request: web.Request) -> web.Response:
        """Back up into ``{"folder", "base"}``; answers when done, with what it holds."""
        folder, base = self._asked(await request.read())
        if self._folder is not None:
            raise Retryable("another backup is being made")
        self._folder = folder
        try:
            answer = self._job.ask(lambda ledger: backup.make(ledger.client, folder, base))
            made = await asyncio.wrap_future(answer)
        finally:
            self._folder = None
        return answered({"folder": str(folder), **made.summary()})

    async def state(self, request: web.Request) -> web.Response:
        """Say which backup is being made, and how many bytes it has."""
        folder = self._folder
        size = await asyncio.to_thread(written, folder) if folder else None
        return answered({"folder": folder and str(folder), "bytes": size})

    def _asked(self, body: bytes) -> tuple[Path, Path | None]:
        said = read_object(body, "folder and base")
        if "folder" not in said:
            raise InvalidInput("name the folder of the backup", "malformed")
        base = said.get("base")
        return self._below(said["folder"]), None if base is None else self._below(base)

    def _below(self, told: Any) -> Path:
        if self._root is None:
            raise InvalidInput(
                "the collector may not write backups: name a folder for them with "
                "durability.backup_folder, or stop the collector and run wattshed backup again",
                "backup_folder",
            )
        if not isinstance(told, str) or "\0" in told:
            raise InvalidInput("folder and base must be paths", "malformed")
        root = self._root.resolve()
        folder = Path(told).resolve()
        if folder == root or not folder.is_relative_to(root):
            raise InvalidInput(f"{folder} is not below durability.backup_folder, {root}", "folder")
        return folder


def written(folder: Path) -> int:
    """Return how many bytes the files in a folder have, while others may come and go."""
    size = 0
    for path in folder.rglob("*"):
        try:
            size += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return size
