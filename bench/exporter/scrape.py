"""A client that scrapes as Prometheus does: one connection per target, kept where it may be."""

from __future__ import annotations

import heapq
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection

from .processes import Server


@dataclass
class Scraper:
    """Scrapes one server and keeps how long each scrape took, in seconds."""

    server: Server
    took: list[float] = field(default_factory=list)
    size: int = 0
    series: int = 0

    def __post_init__(self) -> None:
        self._connection = HTTPConnection("127.0.0.1", self.server.port, timeout=10)

    def scrape(self) -> None:
        began = time.perf_counter()
        self._connection.request("GET", "/metrics")
        answer = self._connection.getresponse()
        body = answer.read()
        self.took.append(time.perf_counter() - began)
        if answer.status != 200:
            raise RuntimeError(f"{self.server.name}: status {answer.status}")
        if not self.series:
            self.size = len(body)
            self.series = sum(line[:1] not in (b"#", b"") for line in body.split(b"\n"))

    def close(self) -> None:
        self._connection.close()


def visit(due: Mapping[str, tuple[Scraper, float]], seconds: float) -> None:
    """Scrape each target at its own interval for so long, one after the other, spread evenly."""
    began = time.monotonic()
    beats = [
        (began + interval * (index + 0.5) / len(due), name)
        for index, (name, (_, interval)) in enumerate(due.items())
    ]
    heapq.heapify(beats)
    while beats and beats[0][0] < began + seconds:
        at, name = heapq.heappop(beats)
        time.sleep(max(0.0, at - time.monotonic()))
        scraper, interval = due[name]
        scraper.scrape()
        heapq.heappush(beats, (at + interval, name))
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that ``share`` of the others do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
