"""Several gzipped requests as one: the same bytes to any receiver, and never too many of them."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from tests.exporter.outputs.conftest import ticks

from wattshed_exporter.model import Batch
from wattshed_exporter.outputs.joined import (
    MOST_BYTES,
    MOST_UNPACKED_BYTES,
    fitting,
    gzipped,
    joined,
)
from wattshed_exporter.outputs.protobuf import Encoder
from wattshed_exporter.spool import Record


def record(body: bytes) -> Record:
    return Record(body, 1, 1, (1, 0))


@settings(max_examples=60)
@given(
    st.lists(
        st.builds(
            lambda said, times: [said * times, said[:3]], st.binary(), st.sampled_from([1, 9, 5000])
        ),
        min_size=1,
        max_size=6,
    )
)
def test_they_unpack_to_what_was_packed_in_their_order(bodies: list[list[bytes]]) -> None:
    made = [gzipped(parts) for parts in bodies]
    whole = b"".join(part for parts in bodies for part in parts)
    assert fitting([record(body) for body in made]) == [record(body) for body in made]
    assert gzip.decompress(joined(made)) == whole
    # One member, because some receivers read no further than the first.
    unpacker = zlib.decompressobj(31)
    assert unpacker.decompress(joined(made)) == whole
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")


def test_requests_are_one_request() -> None:
    encoder = Encoder({"host.name": "n"}, "0")
    bodies = [gzipped(encoder.pieces(Batch(ticks=ticks(ts)))) for ts in (1, 2, 3)]
    request = ExportMetricsServiceRequest.FromString(gzip.decompress(joined(bodies)))
    assert len(request.resource_metrics) == 3
    alone = [ExportMetricsServiceRequest.FromString(gzip.decompress(body)) for body in bodies]
    assert [list(one.resource_metrics) for one in alone] == [[r] for r in request.resource_metrics]


def test_a_single_one_is_what_it_is() -> None:
    assert joined([b"whatever it may be"]) == b"whatever it may be"


@pytest.mark.parametrize(
    "other", [gzip.compress(b"abc", mtime=0), b"", b"no gzip at all, but long enough"]
)
def test_what_was_not_made_here_goes_alone(other: bytes) -> None:
    ours, theirs = record(gzipped([b"abc"])), record(other)
    assert fitting([theirs, ours]) == [theirs]
    assert fitting([ours, ours, theirs, ours]) == [ours, ours]
    assert fitting([]) == []


def test_they_are_bounded_as_sent_and_unpacked() -> None:
    large = record(gzipped([bytes(MOST_UNPACKED_BYTES // 3)]))
    assert len(fitting([large] * 5)) == 3
    dense = record(b"\x1f\x8b\x08\x00" + bytes(MOST_BYTES // 4) + gzipped([b""])[-14:])
    assert len(fitting([dense] * 6)) == 3
    alone = record(gzipped([bytes(2 * MOST_UNPACKED_BYTES)]))
    assert fitting([alone, large]) == [alone]
