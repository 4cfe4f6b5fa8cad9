"""DRA's published devices, in each version of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.kube import Kube, serving

from wattshed_exporter.allocations.kube_api import KubeApi
from wattshed_exporter.allocations.podresources_v1 import Dynamic
from wattshed_exporter.allocations.resource_slices import (
    FRESH_SECONDS,
    RETRY_SECONDS,
    ResourceSlices,
    devices,
)
from wattshed_exporter.errors import SourceError

GPU = Dynamic("gpu.nvidia.com", "n1", "gpu-0")


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def kube() -> Iterator[Kube]:
    with serving(Kube()) as server:
        yield server


def slices(kube: Kube, clock: Clock) -> ResourceSlices:
    return ResourceSlices(KubeApi(kube.url, Path("/nonexistent")), "n1", clock)


def piece(uuid: str, generation: int = 1, *, basic: bool = False) -> dict[str, Any]:
    attributes = {
        "type": {"string": "gpu"},
        "gpu.nvidia.com/uuid": {"string": uuid},
        "index": {"int": 0},
    }
    told = {"basic": {"attributes": attributes}} if basic else {"attributes": attributes}
    return {
        "spec": {
            "driver": "gpu.nvidia.com",
            "pool": {"name": "n1", "generation": generation},
            "devices": [{"name": "gpu-0", **told}],
        }
    }


@pytest.mark.parametrize("version", ["v1", "v1beta2", "v1beta1"])
def test_each_version_of_the_api(kube: Kube, version: str) -> None:
    path = f"/apis/resource.k8s.io/{version}/resourceslices"
    kube.resources[path] = {"items": [piece("GPU-a", basic=version == "v1beta1")]}
    clock = Clock()
    found = slices(kube, clock)
    expected = {"name": "gpu-0", "type": "gpu", "uuid": "GPU-a"}
    assert found.find(GPU) == expected
    clock.seconds += FRESH_SECONDS
    asked = len(kube.asked)
    assert found.find(GPU) == expected
    assert [path for path, _ in kube.asked[asked:]] == [path]  # it knows which one it is


def test_a_server_without_any_version_says_so(kube: Kube) -> None:
    with pytest.raises(SourceError) as raised:
        slices(kube, Clock()).find(GPU)
    assert raised.value.reason == "vanished"
    assert [path.split("/")[3] for path, _ in kube.asked] == ["v1", "v1beta2", "v1beta1"]


def test_only_the_latest_generation_of_a_pool_counts() -> None:
    answer = {"items": [piece("GPU-new", 2), piece("GPU-old", 1)]}
    assert [told["uuid"] for _, told in devices(answer)] == ["GPU-new"]


def test_it_is_asked_again_after_a_while_and_when_it_does_not_help(kube: Kube) -> None:
    kube.resources["/apis/resource.k8s.io/v1/resourceslices"] = {"items": [piece("GPU-a")]}
    clock = Clock()
    found = slices(kube, clock)

    def uuid(*, again: bool = False) -> str:
        return dict(found.find(GPU, again=again) or {})["uuid"]

    assert uuid() == "GPU-a"
    kube.resources["/apis/resource.k8s.io/v1/resourceslices"] = {"items": [piece("GPU-b")]}
    assert uuid(again=True) == "GPU-a"
    clock.seconds += RETRY_SECONDS
    assert (uuid(), uuid(again=True)) == ("GPU-a", "GPU-b")
    kube.resources["/apis/resource.k8s.io/v1/resourceslices"] = {"items": [piece("GPU-c")]}
    clock.seconds += FRESH_SECONDS
    assert uuid() == "GPU-c"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["items", "spec", "pool", "devices", "basic", "attributes", "string"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_answer_is_devices_or_none(value: object) -> None:
    answer = {"items": [{"spec": value}, value]}
    assert all(isinstance(held, Dynamic) for held, _ in devices(answer))
