"""Remote write of a running collector: the wire as Prometheus speaks it, and what is refused."""

from __future__ import annotations

import http.client
import math
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

import cramjam
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.prompb import request, time_series

from wattshed_collector.config import Config, Ingest, Ledger
from wattshed_collector.normalise.dialect import Sample, Series
from wattshed_collector.receivers.known_writes import STALE_BITS
from wattshed_collector.receivers.remote_write import RequestReader, is_stale

if TYPE_CHECKING:
    from tests.collector.conftest import Answer, Running

MIB = 2**20
NOW_MS = int(time.time() * 1000)
POWER = "DCGM_FI_DEV_POWER_USAGE"
STALE = struct.unpack("<d", struct.pack("<Q", STALE_BITS))[0]
HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}

Values = list[tuple[float, int]]


@pytest.fixture(scope="module")
def collector(
    tmp_path_factory: pytest.TempPathFactory,
    collect: Callable[[Config], AbstractContextManager[Running]],
) -> Iterator[Running]:
    config = Config(
        listen="127.0.0.1:0",
        data=str(tmp_path_factory.mktemp("store")),
        ingest=Ingest(max_body_bytes=MIB, max_decoded_bytes=4 * MIB, group_seconds=0.0),
        ledger=Ledger(interval_seconds=3600.0),
    )
    with collect(config) as running:
        yield running


def message(name: str, values: Values, **labels: str) -> bytes:
    series = Series(name, {"instance": "n1:9400", **labels})
    return request([time_series(*(Sample(series, value, ts_ms) for value, ts_ms in values))])


def write(collector: Running, body: bytes, **headers: str) -> Answer:
    from tests.collector.conftest import Answer

    connection = http.client.HTTPConnection(collector.host, collector.port, timeout=120)
    told = {**HEADERS, **{name.replace("_", "-"): text for name, text in headers.items()}}
    try:
        connection.request("POST", "/api/v1/write", body, told)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def packed(raw: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(raw))


def powers(collector: Running, device: str) -> list[tuple[int, float]]:
    return [
        (int(ts), float(uw) / 1e6)
        for ts, uw in collector.rows(
            "SELECT toUnixTimestamp64Milli(ts), power_uw FROM tick FINAL INNER JOIN "
            f"(SELECT device_id, key FROM device FINAL) AS d USING (device_id) "
            f"WHERE key = '{device}' ORDER BY ts"
        )
    ]


def test_what_is_answered_with_204_is_kept(collector: Running) -> None:
    body = packed(message(POWER, [(71.5, NOW_MS - 30_000), (72.5, NOW_MS)], UUID="GPU-kept"))
    for _ in range(2):
        answer = write(collector, body)
        assert (answer.status, answer.body) == (204, b"")
    assert powers(collector, "GPU-kept") == [(NOW_MS - 30_000, 71.5), (NOW_MS, 72.5)]


def test_metadata_exemplars_and_histograms_are_passed_over(collector: Running) -> None:
    raw = message(POWER, [(5.0, NOW_MS)], UUID="GPU-meta")
    # Field 3 of the request is metadata; fields 3 and 4 of a series are exemplars and histograms.
    raw += b"\x1a\x05\x08\x01\x12\x01m"
    series = message("DCGM_FI_DEV_GPU_TEMP", [(40.0, NOW_MS)], UUID="GPU-meta")[2:]
    series += b"\x1a\x02\x12\x00" + b"\x22\x02\x09\x00"[:2] + b"\x08\x01"
    raw += request([series])
    assert write(collector, packed(raw)).status == 204
    assert powers(collector, "GPU-meta") == [(NOW_MS, 5.0)]


def test_the_end_of_a_series_is_no_value_and_another_nan_is_counted_by_its_reason(
    collector: Running,
) -> None:
    assert is_stale(STALE)
    assert not is_stale(math.nan)
    raw = message(POWER, [(STALE, 1), (math.nan, 2), (3.0, 3)])
    read = RequestReader().read(raw, Counter())
    assert ([said.ts_ms for said in read.samples], read.unwanted) == ([2, 3], 0)


def test_points_that_cannot_be_used_leave_their_neighbours_alone(collector: Running) -> None:
    values = [(60.0, NOW_MS), (61.0, NOW_MS + 3_600_000), (62.0, 0)]
    before = {
        reason: collector.counter("rejected_total", receiver="remote_write", reason=reason)
        for reason in ("future_timestamp", "no_timestamp")
    }
    assert write(collector, packed(message(POWER, values, UUID="GPU-some"))).status == 204
    assert powers(collector, "GPU-some") == [(NOW_MS, 60.0)]
    for reason, count in before.items():
        now = collector.counter("rejected_total", receiver="remote_write", reason=reason)
        assert now == count + 1


def test_what_says_nothing_of_energy_is_counted_apart(collector: Running) -> None:
    before = collector.counter("ignored_total", receiver="remote_write")
    assert write(collector, packed(message("my_own", [(1.0, NOW_MS)]))).status == 204
    assert collector.counter("ignored_total", receiver="remote_write") == before + 1


@pytest.mark.parametrize(
    ("status", "reason", "body", "headers"),
    [
        (400, "malformed", b"\xff\xff\xff", {}),
        (400, "malformed", b"", {}),
        (400, "malformed", packed(b"\x0a\xff"), {}),
        (400, "malformed", packed(b"x" * 50)[:-9], {}),
        (413, "body_too_large", b"x" * (MIB + 1), {}),
        (413, "decoded_too_large", packed(b"\x00" * (4 * MIB + 1)), {}),
        (413, "decoded_too_large", b"\xff\xff\xff\xff\x0f" + packed(b"x")[1:], {}),
        (400, "malformed", b"\x05" + packed(b"x" * 50)[1:], {}),
        (400, "malformed", packed(b"\x0b\x00"), {}),
        (400, "malformed", packed(b"\x0a" + b"\xff" * 10), {}),
        (413, "too_many_samples", packed(b"\x0a\x00" * 100_002), {}),
        (415, "unknown_encoding", packed(b""), {"Content_Encoding": "gzip"}),
        (415, "content_type", packed(b""), {"Content_Type": "application/json"}),
        (
            *(415, "content_type", packed(b"")),
            {"Content_Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
        ),
    ],
)
def test_what_is_refused(
    collector: Running, status: int, reason: str, body: bytes, headers: dict[str, str]
) -> None:
    before = collector.counter("rejected_total", receiver="remote_write", reason=reason)
    answer = write(collector, body, **headers)
    assert answer.status == status
    assert answer.body, "it says why"
    assert collector.counter("rejected_total", receiver="remote_write", reason=reason) == before + 1
    assert write(collector, packed(message(POWER, [(1.0, NOW_MS)], UUID="GPU-x"))).status == 204


BOMB = """
import resource
from collections import Counter
from wattshed_collector.receivers.body import TooLarge
from wattshed_collector.receivers.remote_write import RequestReader

bomb = b"\\x0a\\x00" * 2**23
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    RequestReader().read(bomb, Counter())
except TooLarge as error:
    print(error.reason, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_request_of_nothing_but_empty_messages_takes_no_memory() -> None:
    """Two bytes a series, of which a parser of messages makes an object of 40 each."""
    command = [sys.executable, "-c", BOMB]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[0] == "too_many_samples"
    assert int(said[1]) < 16 * 1024, "KiB"


def test_series_that_are_too_large_are_counted_and_leave_the_others_alone() -> None:
    rejected: Counter[str] = Counter()
    raw = message(POWER, [(1.0, 1)] * 90_000, UUID="GPU-long")
    raw += message(POWER, [(1.0, 1)], UUID="x" * 8192)
    raw += message(POWER, [(2.0, 1)], UUID="GPU-good")
    found, others, unwanted = RequestReader().read(raw, rejected)
    assert [(said.value, said.series.labels["UUID"]) for said in found] == [(2.0, "GPU-good")]
    assert others == []
    assert rejected == {"series_too_long": 1, "labels_too_long": 1}
    assert unwanted == 0


def test_a_series_is_known_again() -> None:
    reader = RequestReader()
    one, other = (
        reader.read(message(POWER, [(1.0, at)], UUID="GPU-a"), Counter())[0] for at in (1, 2)
    )
    assert one[0].series is other[0].series
    assert (one[0].ts_ms, other[0].ts_ms) == (1, 2)


@given(st.binary(max_size=60))
def test_bytes_are_a_request_or_are_refused(raw: bytes) -> None:
    with suppress(DecodeError):
        RequestReader().read(raw, Counter())
    with suppress(DecodeError):
        RequestReader().read(request([raw]), Counter())


def test_version_1_may_be_named(collector: Running) -> None:
    body = packed(message(POWER, [(1.0, NOW_MS)], UUID="GPU-v1"))
    named = "application/x-protobuf;proto=prometheus.WriteRequest"
    assert write(collector, body, Content_Type=named).status == 204
