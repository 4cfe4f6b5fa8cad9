"""What the kubelet's ``PodResourcesLister.List`` answers, read from protobuf by hand.

The package protobuf would take 4 MiB for six messages (``python -m bench.kubelet``). Fields that
are not used here are skipped, whatever they are. Source: kubelet's
``pkg/apis/podresources/v1/api.proto``; the wire format as in "Encoding" of Protocol Buffers'
documentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wattshed_exporter.errors import SourceError

LIST = "/v1.PodResourcesLister/List"
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}
VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Dynamic:
    """A device that a resource claim was given: the names under which its driver published it."""

    driver: str
    pool: str
    device: str


@dataclass(frozen=True, slots=True)
class PodDevices:
    """One pod and what its containers were given: (resource, device id) of a device plugin."""

    namespace: str
    name: str
    devices: tuple[tuple[str, str], ...] = ()
    dynamic: tuple[Dynamic, ...] = ()


def parse(message: bytes) -> list[PodDevices]:
    """Return the pods of a ``ListPodResourcesResponse``.

    Raises:
        SourceError: ``malformed``.
    """
    try:
        return [_pod(part) for number, part in _fields(message) if number == 1]
    except (IndexError, ValueError) as error:
        told = f"the kubelet's list of pods is not protobuf: {error!s:.120}"
        raise SourceError(told, "malformed") from error


def _pod(message: bytes) -> PodDevices:
    name = namespace = ""
    devices: list[tuple[str, str]] = []
    dynamic: list[Dynamic] = []
    for number, part in _fields(message):
        if number == 1:
            name = part.decode()
        elif number == 2:
            namespace = part.decode()
        elif number == 3:
            for inner, held in _fields(part):
                if inner == 2:
                    devices += _devices(held)
                elif inner == 5:
                    dynamic += _dynamic(held)
    return PodDevices(namespace, name, tuple(devices), tuple(dynamic))


def _devices(message: bytes) -> list[tuple[str, str]]:
    """Read ``ContainerDevices``."""
    resource, ids = "", []
    for number, part in _fields(message):
        if number == 1:
            resource = part.decode()
        elif number == 2:
            ids.append(part.decode())
    return [(resource, each) for each in ids]


def _dynamic(message: bytes) -> Iterator[Dynamic]:
    """Read the ``ClaimResource``s of a ``DynamicResource``."""
    for number, part in _fields(message):
        if number == 4:
            told = {inner: text.decode() for inner, text in _fields(part) if inner in (2, 3, 4)}
            yield Dynamic(told.get(2, ""), told.get(3, ""), told.get(4, ""))


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and content of the fields that have a length, and step over the others."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if not number:
            raise ValueError("a field has no number")
        if kind == BYTES:
            size, at = _varint(message, at)
            at += size
            if at > end:
                raise ValueError("a field is longer than its message")
            yield number, message[at - size : at]
        elif kind == VARINT:
            _, at = _varint(message, at)
        elif kind in FIXED:
            at += FIXED[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if at > end:
            raise ValueError("a field has no end")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a number and where it ends; ``IndexError`` where the message ends before."""
    value = 0
    for place in range(VARINT_BYTES):
        byte = message[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number has no end")
