"""An import waits for a collector that is busy. The collector is a stand-in that only answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceResponse,
)

from wattshed_collector.cli.answers import Remote
from wattshed_collector.cli.sending import OTHER, Sender, refused
from wattshed_collector.errors import InvalidInput, Retryable, StoreError
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick

BATCH = Batch(
    devices=(Device("GPU-1", Kind.GPU, "n1", "csv"),),
    ticks=(Tick("GPU-1", 1_764_126_245_000, 1000, Method.INTEGRAL, power_watts=1.0),),
)


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Serve these answers in order; gives the URL and the bodies that came."""
    left, bodies = list(answers), list[bytes]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, body = left.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", bodies
        server.shutdown()
        thread.join()


def test_the_same_bytes_until_they_are_taken() -> None:
    slept: list[float] = []
    answers: list[tuple[int, dict[str, str], bytes]] = [
        (429, {"Retry-After": "7"}, b""),
        (503, {}, b""),
        (503, {}, b""),
        (200, {}, b""),
    ]
    with answering(*answers) as (url, bodies):
        assert not Sender(Remote(url), sleep=slept.append).deliver(BATCH)
    assert slept == [7, 2, 4]
    assert len(bodies) == 4
    assert len(set(bodies)) == 1


def test_patience_ends() -> None:
    slept: list[float] = []
    with (
        answering(*[(503, {"Retry-After": "1"}, b"\x12\x04full")] * 3) as (url, _),
        pytest.raises(Retryable, match="full"),
    ):
        Sender(Remote(url), patience_seconds=4, sleep=slept.append).deliver(BATCH)
    assert slept == [1, 2]


def test_what_will_never_be_taken_is_not_sent_again() -> None:
    long = "x" * 200
    said = b"\x12" + bytes((len(long) & 0x7F | 0x80, len(long) >> 7)) + long.encode()
    with answering((400, {}, said)) as (url, _), pytest.raises(InvalidInput, match=f"^{long}$"):
        Sender(Remote(url)).deliver(BATCH)
    with answering((404, {}, b"")) as (url, _), pytest.raises(StoreError, match="no collector"):
        Sender(Remote(url)).deliver(BATCH)


def test_nothing_is_not_sent() -> None:
    with answering() as (url, bodies):
        assert not Sender(Remote(url)).deliver(Batch(devices=BATCH.devices))
    assert bodies == []


@pytest.mark.parametrize(
    ("count", "message", "expected"),
    [
        (0, "", {}),
        (3, "rejected 2 too_old, 1 negative", {"too_old": 2, "negative": 1}),
        (3, "rejected 2 too_old; quarantined 5 overlong", {"too_old": 2, OTHER: 1}),
        (0, "quarantined 5 overlong", {}),
        (4, "the exporter is too chatty", {OTHER: 4}),
    ],
)
def test_refusals(count: int, message: str, expected: dict[str, int]) -> None:
    partial = ExportMetricsPartialSuccess(rejected_data_points=count, error_message=message)
    assert refused(ExportMetricsServiceResponse(partial_success=partial)) == expected
