"""The kubelet's protobuf, encoded by protobuf's library and read by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.kubelet import claimed, encode, pod

from wattshed_exporter.allocations.podresources_v1 import Dynamic, PodDevices, parse
from wattshed_exporter.errors import SourceError

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


def outcome(message: bytes) -> str:
    """Return that a message is read, or the reason why not; anything else is raised."""
    try:
        parse(message)
    except SourceError as error:
        return error.reason
    return "read"


def test_devices_and_claims_are_read_and_the_rest_is_skipped() -> None:
    topology = {"nodes": [{"ID": 1}]}
    held = {"resource_name": "nvidia.com/gpu", "device_ids": ["a", "b"], "topology": topology}
    message = encode([{**pod("p"), "containers": [{"devices": [held], "cpu_ids": [1, 300]}]},
                      claimed("q", "gpu-0")])  # fmt: skip
    assert parse(message) == [
        PodDevices("ml", "p", (("nvidia.com/gpu", "a"), ("nvidia.com/gpu", "b"))),
        PodDevices("ml", "q", (), (Dynamic("gpu.nvidia.com", "n1", "gpu-0"),)),
    ]


def test_an_empty_answer_is_no_pods() -> None:
    assert parse(b"") == []


@given(st.lists(st.tuples(TEXT, TEXT, st.lists(TEXT, max_size=3)), max_size=4))
def test_whatever_protobuf_writes_is_read_back(pods: list[tuple[str, str, list[str]]]) -> None:
    message = encode([
        {**pod(name, *ids, resource=resource), "namespace": "n"} for name, resource, ids in pods
    ])  # fmt: skip
    assert parse(message) == [
        PodDevices("n", name, tuple((resource, each) for each in ids))
        for name, resource, ids in pods
    ]


@given(st.binary(max_size=200))
def test_nonsense_is_read_or_malformed(message: bytes) -> None:
    assert outcome(message) in ("read", "malformed")


@given(st.data())
def test_an_answer_that_was_cut_or_changed_is_read_or_malformed(data: st.DataObject) -> None:
    message = bytearray(encode([pod("p", "GPU-1", "GPU-2"), claimed("q", "gpu-0")]))
    message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    cut = message[: data.draw(st.integers(0, len(message)))]
    assert outcome(bytes(cut)) in ("read", "malformed")


@pytest.mark.parametrize(
    "message",
    [b"\x0a", b"\x0a\x05abc", b"\x0a\x04\x0a\x02\xff\xfe", b"\x0b", b"\xff" * 11, b"\x02\x00",
     b"\x0d\x00\x00", b"\x08"],
    ids=["no length", "too short", "no text", "group", "endless", "no number", "cut", "no value"],
)  # fmt: skip
def test_what_is_no_protobuf_is_malformed(message: bytes) -> None:
    with pytest.raises(SourceError, match="not protobuf") as refused:
        parse(message)
    assert refused.value.reason == "malformed"
