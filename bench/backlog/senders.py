"""Exporters with a backlog, many in one process: ``python -m bench.backlog.senders URL FIRST ...``

Of each there is what pushes: the sender's thread, its connection and its store, in memory here. It
says so when all of them have what they kept; a line on its standard input is the moment in which
the collector is back. What they were answered is told in JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter

from bench.backlog import kept, node
from bench.fleetgen import Fleet
from wattshed_exporter.config import Otlp
from wattshed_exporter.outputs.otlp_client import Client
from wattshed_exporter.outputs.otlp_sender import Sender
from wattshed_exporter.spool import Memory
from wattshed_exporter.telemetry import Telemetry

STORE_BYTES = 1 << 26
STEP_S = 0.2
READY = "ready"
FOR_NOW = frozenset((429, 503))


class Noting(Client):
    """The exporter's client, whose answers are counted."""

    def __init__(self, config: Otlp, answers: Counter[str]) -> None:
        super().__init__(config)
        self._answers = answers
        self.slowest_seconds = 0.0

    def post(self, body: bytes) -> tuple[int, bytes, float]:
        began, said = time.monotonic(), "no answer"
        try:
            status, answer, after = super().post(body)
            said = str(status)
            if status in FOR_NOW and not after:
                said += " without Retry-After"
            return status, answer, after
        finally:
            self._answers[said] += 1
            self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)


def main(url: str, first: int, count: int, each: int, first_ms: int, most_seconds: float) -> None:
    """Fill the stores of ``count`` exporters, wait for a line, and send until nothing is left."""
    stores = filled(range(first, first + count), each, first_ms)
    put = sum(store.level().ticks for store in stores)
    print(READY, flush=True)
    sys.stdin.readline()
    answers: Counter[str] = Counter()
    config, began = Otlp(endpoint=url), time.monotonic()
    clients = [Noting(config, answers) for _ in stores]
    senders = [
        Sender(client, store, Telemetry(), threading.Condition(), config.drain_per_second)
        for client, store in zip(clients, stores, strict=True)
    ]
    for sender in senders:
        sender.wake(live=False)
    half = left = put
    seconds = drained_half = 0.0
    while left and seconds < most_seconds:
        time.sleep(STEP_S)
        seconds = time.monotonic() - began
        left = sum(store.level().ticks for store in stores)
        if left <= put / 2 < half:
            half, drained_half = left, seconds
    for sender in senders:
        sender.close(0.0)
    told = {
        "put": put,
        "left": left,
        "seconds": seconds,
        "half": drained_half,
        "slowest": max(client.slowest_seconds for client in clients),
        "answers": answers,
    }
    print(json.dumps(told))


def filled(numbers: range, each: int, first_ms: int) -> list[Memory]:
    """Return a store for each node, with as many requests."""
    step = 3600 // max(each * kept.BATCH_SECONDS, 1)
    fleet = Fleet(numbers.stop, kept.GPUS, 1, step, 7)
    (hour,) = fleet.each_hour()
    stores: list[Memory] = []
    for number in numbers:
        stores.append(Memory(STORE_BYTES, node.lost))
        own = kept.encoder(number)
        for request in kept.requests(fleet, hour, number, own, first_ms, each):
            stores[-1].put(*request)
    return stores


if __name__ == "__main__":
    url, *numbers, most = sys.argv[1:]
    first, count, each, first_ms = map(int, numbers)
    main(url, first, count, each, first_ms, float(most))
