"""Requests that hold several resources, as an exporter sends a backlog: one after the other.

Each is a request by itself, with the layout that it has when it comes alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError

from wattshed_collector.normalise import wire
from wattshed_collector.store.dimensions import merged

from .otlp_decoding import Decoded

RESOURCE = 1
"""The only field of an ``ExportMetricsServiceRequest``."""
ONLY = wire.encoded(RESOURCE << 3 | wire.MESSAGE)
MOST = 1000
"""What has more is read as a whole: to begin with each costs time, however small it is."""


def apart(body: bytes) -> Sequence[bytes]:
    """Return a request for each resource of one; the body alone where it is not made of several."""
    found = list[bytes]()
    try:
        if body.startswith(ONLY) and sum(wire.varint(body, len(ONLY))) == len(body):
            return (body,)  # as nearly all are
        for field in wire.fields(body):
            found.append(body[field.start : field.end])
            if len(found) > MOST or (field.number, field.kind) != (RESOURCE, wire.MESSAGE):
                return (body,)
    except DecodeError:
        return (body,)
    return found or (body,)


def together(parts: Sequence[Decoded]) -> Decoded:
    """Return what several requests say, in their order."""
    if len(parts) == 1:
        return parts[0]
    batches = list({id(batch): batch for batch, _ in parts}.values())
    rows = tuple(row for _, frames in parts for row in frames)
    if len(batches) == 1:
        return batches[0], rows
    rejected: Counter[str] = Counter()
    for batch, _ in parts:
        rejected.update(batch.rejected)
    return replace(merged(batches), rejected=dict(rejected)), rows
