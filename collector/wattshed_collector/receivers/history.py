"""POST /v1/history/slurm: a portion of Slurm's jobs, for a collector that has the store open.

The body is a JSON list of jobs with the fields of ``sacct.Job``; ``?cluster=`` and ``?dry_run=1``
are as for ``wattshed import sacct``. The answer says what was done, by count. 200 means durable.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from aiohttp import web

from wattshed_collector import openapi
from wattshed_collector.errors import InvalidInput
from wattshed_collector.history import History
from wattshed_collector.openapi import (
    ADMIN,
    Operation,
    Parameter,
    by_name,
    listed,
    maybe,
    record,
    text,
    whole,
)
from wattshed_collector.store.client import Client
from wattshed_collector.store.read import Reader
from wattshed_exporter.model import Batch

from .documents import document, refused
from .intake import Arrival, Intake
from .sacct import LATEST_S, Job

RECEIVER = "history"
PATH = "/v1/history/slurm"
MOST_GPUS = 10**9
TEXTS = ("id", "name", "user", "account", "partition", "cluster")


_JOB = record(
    {
        **{name: text() for name in TEXTS},
        "nodes": listed(text()),
        "start_ms": whole("Unix milliseconds"),
        "end_ms": maybe(whole("Unix milliseconds; null while it runs")),
        "gpus": maybe(whole()),
    }
)
OPERATIONS = (
    Operation(
        "POST",
        PATH,
        "Take over a portion of Slurm's accounting; durable when answered",
        {openapi.JSON: by_name(whole(), "What was done, by count")},
        (
            Parameter("cluster", "Of jobs that name none"),
            Parameter("dry_run", "1: only say what would be done", text("", "0", "1")),
        ),
        takes={openapi.JSON: listed(_JOB)},
        role=ADMIN,
        refusals=(400, 413, 415),
    ),
)


class HistoryReceiver:
    """Sets jobs against the store on the reading thread, and writes through the one writer."""

    def __init__(self, intake: Intake, reader: Reader) -> None:
        self._intake = intake
        self._reader = reader

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.take)]

    async def take(self, request: web.Request) -> web.Response:
        """Take over one portion."""
        return await self._intake.answer(request, self._take, refused)

    async def _take(self, arrival: Arrival) -> web.Response:
        jobs = await document(self._intake, arrival, load)
        query = arrival.said.query
        counted = await self._reader.ask(
            self._import,
            jobs,
            query.get("cluster", ""),
            query.get("dry_run") == "1",
            arrival,
        )
        return web.json_response(counted)

    def _import(
        self, client: Client, jobs: list[Job], cluster: str, dry_run: bool, arrival: Arrival
    ) -> Counter[str]:
        def deliver(batch: Batch) -> None:
            if dry_run:
                return
            queued = self._intake.submit(arrival, batch)
            if queued.future is not None:
                queued.future.result()
            self._intake.counted(queued)

        history = History(client, deliver, cluster)
        history.take(jobs)
        return history.counted


def documents(jobs: list[Job]) -> list[dict[str, Any]]:
    """Return what a request says, before it becomes JSON."""
    return [asdict(job) for job in jobs]


def load(raw: bytes) -> list[Job]:
    """Return the jobs of a body; raises InvalidInput with a sentence."""
    try:
        return [_job(document) for document in json.loads(raw)]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput(f"the body is no list of jobs: {error!r}", "malformed") from error


def _job(document: dict[str, Any]) -> Job:
    texts = {name: document[name] for name in TEXTS}
    nodes, start, end, gpus = (document[name] for name in ("nodes", "start_ms", "end_ms", "gpus"))
    if not all(isinstance(text, str) for text in (*texts.values(), *nodes)):
        raise TypeError(f"{document['id']!r} has a name that is no text")
    if not (_whole(start) and 0 < start <= (start if end is None else end) < LATEST_S * 1000):
        raise ValueError(f"{document['id']!r} has times that cannot be")
    if (
        not all(number is None or _whole(number) for number in (end, gpus))
        or not 0 <= (gpus or 0) < MOST_GPUS
    ):
        raise ValueError(f"{document['id']!r} has a number that cannot be")
    return Job(**texts, nodes=tuple(nodes), start_ms=start, end_ms=end, gpus=gpus)


def _whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool)
