"""Facts to a running collector: OTLP requests that are sent until they are taken.

A collector that is busy says when to come back; an import waits for it, because its data are old
anyway. What the collector refuses is told by reason in ``partial_success``.
"""

from __future__ import annotations

import gzip
import re
import time
from collections import Counter
from collections.abc import Callable
from urllib.error import HTTPError

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from wattshed_collector.errors import Retryable
from wattshed_collector.otlp_request import Requests
from wattshed_exporter.model import Batch

from .answers import Remote

PATH = "/v1/metrics"
HEADERS = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
PATIENCE_S = 600.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
REJECTED = re.compile(r"rejected ((?:\d+ \w+(?:, )?)+)")
REASON = re.compile(r"(\d+) (\w+)")
OTHER = "refused_by_collector"


class Sender:
    """Sends batches one after the other; ``patience_seconds`` is how long one may be put off."""

    def __init__(
        self,
        remote: Remote,
        patience_seconds: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._remote = remote
        self._requests = Requests()
        self._patience, self._sleep = patience_seconds, sleep

    def deliver(self, batch: Batch) -> Counter[str]:
        """Return what was refused, by reason; raises StoreError where nothing can be sent."""
        request = self._requests.request(batch)
        if not request.resource_metrics[0].scope_metrics[0].metrics:
            return Counter()
        body = gzip.compress(request.SerializeToString(), 1, mtime=0)
        return refused(ExportMetricsServiceResponse.FromString(self._send(body)))

    def _send(self, body: bytes) -> bytes:
        waited, wait = 0.0, FIRST_WAIT_S
        while True:
            try:
                return self._remote.send(PATH, body, HEADERS)
            except Retryable as error:
                pause = max(wait, _asked(error))
                if waited + pause > self._patience:
                    raise
                self._sleep(pause)
                waited, wait = waited + pause, min(LONGEST_WAIT_S, wait * 2)


def refused(answer: ExportMetricsServiceResponse) -> Counter[str]:
    """Return the points that an answer refuses, by reason."""
    partial = answer.partial_success
    found = REJECTED.search(partial.error_message)
    counted = Counter({reason: int(n) for n, reason in REASON.findall(found[1] if found else "")})
    if rest := partial.rejected_data_points - counted.total():
        counted[OTHER] += rest
    return counted


def _asked(error: Retryable) -> float:
    cause = error.__cause__
    said = cause.headers.get("Retry-After", "") if isinstance(cause, HTTPError) else ""
    return float(said) if said.isdecimal() else 0.0
