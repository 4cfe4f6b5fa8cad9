"""Who holds which GPU, as a real gRPC server in the kubelet's place tells it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.kube import Kube
from tests.fixtures.kube import serving as api_serving
from tests.fixtures.kubelet import Kubelet, claimed, pod, running

from wattshed_exporter.allocations import ALLOCATORS, Claim, Meters, Told, create
from wattshed_exporter.allocations.device_ids import Part
from wattshed_exporter.allocations.options import Allocations, Kubernetes
from wattshed_exporter.allocations.podresources import PodResources, claims
from wattshed_exporter.config import Config, Roots
from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.model import Device, Instance, Kind
from wattshed_exporter.sources.sysfs import MOST_TEXT

BOARDS = {key: Device(key, Kind.GPU, "n1", "nvml") for key in ("GPU-a", "GPU-b")}
MIG = Instance("GPU-b", "3/0", "MIG-c", 0, 3, 0.5)
METERS = Meters(0, BOARDS, (MIG, Instance("GPU-b", "5/0", "MIG-d", 0, 1, 1.0)))
SLICES = "/apis/resource.k8s.io/v1/resourceslices"


@pytest.fixture
def kubelet(tmp_path: Path) -> Iterator[Kubelet]:
    with running(tmp_path / "kubelet.sock") as server:
        yield server


Make = Callable[..., PodResources]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(**options: object) -> PodResources:
        kubernetes = Kubernetes(
            podresources_socket=tmp_path / "kubelet.sock",
            credentials=tmp_path / "account",
            **options,  # type: ignore[arg-type]
        )
        roots = Roots(procfs=tmp_path / "proc", sysfs=tmp_path / "sys")
        config = Config(node="n1", roots=roots, allocations=Allocations(kubernetes=kubernetes))
        return PodResources(config, {}, 2.0)

    return build


def shares(told: Told) -> dict[tuple[str, str], float | None]:
    return {(c.holder.rpartition("/")[2], c.device): c.share for c in told.claims}


def test_a_whole_gpu_and_what_the_pod_is_called(kubelet: Kubelet, make: Make) -> None:
    kubelet.pods = [pod("train-0", "GPU-a", "GPU-b"), pod("without")]
    told = make().read(METERS)
    assert list(told.claims) == [
        Claim("GPU-a", "pod:ml/train-0", 1.0, None, "podresources"),
        Claim("GPU-b", "pod:ml/train-0", 1.0, None, "podresources"),
    ]
    assert told.about == {
        "pod:ml/train-0": {
            "name": "train-0", "instance": "train-0", "namespace": "ml", "kind": "pod"
        }
    }  # fmt: skip
    assert told.rejected == {}


def test_replicas_are_equal_parts_of_what_is_held(kubelet: Kubelet, make: Make) -> None:
    shared = "nvidia.com/gpu.shared"
    kubelet.pods = [
        pod("one", "GPU-a::0", resource=shared),
        pod("two", "GPU-a::1", "GPU-a::3", resource=shared),
    ]
    assert shares(make().read(METERS)) == {("one", "GPU-a"): 1 / 3, ("two", "GPU-a"): 2 / 3}


def test_an_instance_is_claimed_by_its_own_uuid(kubelet: Kubelet, make: Make) -> None:
    kubelet.pods = [
        pod("alone", "MIG-c", resource="nvidia.com/mig-3g.40gb"),
        pod("one", "MIG-d::0", resource="nvidia.com/mig-1g.10gb"),
        pod("two", "MIG-d::1", resource="nvidia.com/mig-1g.10gb"),
    ]
    told = make().read(METERS)
    assert shares(told) == {("alone", "MIG-c"): 1.0, ("one", "MIG-d"): 0.5, ("two", "MIG-d"): 0.5}
    assert {claim.activity for claim in told.claims} == {None}


def test_several_containers_of_a_pod_are_one_holder(kubelet: Kubelet, make: Make) -> None:
    devices = [{"resource_name": "nvidia.com/gpu", "device_ids": ["GPU-a"]}]
    kubelet.pods = [
        {"name": "p", "namespace": "ml", "containers": [{"devices": devices}, {"devices": devices}]}
    ]
    assert shares(make().read(METERS)) == {("p", "GPU-a"): 1.0}


def test_only_resources_that_are_named_are_devices(kubelet: Kubelet, make: Make) -> None:
    kubelet.pods = [
        pod("net", "eth0", resource="example.com/nic"),
        pod("own", "GPU-a", resource="example.com/gpu"),
    ]
    assert make().read(METERS).claims == []
    assert make().read(METERS).rejected == {}
    assert shares(make(resources=("example.com/g*",)).read(METERS)) == {("own", "GPU-a"): 1.0}


def test_what_is_not_metered_is_counted_and_said_once(
    kubelet: Kubelet, make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    kubelet.pods = [pod("p", "GPU-a", "GPU-z", "nvidia7", "\n2026 ERROR " + 999 * "y")]
    plugin = make()
    for _ in range(2):
        told = plugin.read(METERS)
        assert (shares(told), told.rejected) == ({("p", "GPU-a"): 1.0}, {"unknown_device": 3})
    said = [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    unprintable = "nvidia.com/gpu 2026 ERROR ".ljust(MOST_TEXT, "y")
    assert sorted(said) == [
        f"{unprintable} is no device that is metered here",
        "nvidia.com/gpu GPU-z is no device that is metered here",
        "nvidia.com/gpu nvidia7 is no device that is metered here",
    ]


class TestClaims:
    """DRA: the device is told by what its driver published."""

    @pytest.fixture
    def api(self, tmp_path: Path) -> Iterator[Kube]:
        with api_serving(Kube()) as server:
            yield server

    def test_a_gpu_and_an_instance(self, kubelet: Kubelet, make: Make, api: Kube) -> None:
        api.resources[SLICES] = published(gpu="GPU-a", mig="MIG-c")
        kubelet.pods = [claimed("whole", "gpu"), claimed("part", "mig"), claimed("both", "gpu")]
        told = make(api=api.url).read(METERS)
        assert shares(told) == {
            ("whole", "GPU-a"): 0.5,
            ("both", "GPU-a"): 0.5,
            ("part", "MIG-c"): 1.0,
        }
        assert api.asked == [
            (SLICES, {"fieldSelector": "spec.nodeName=n1", "resourceVersion": "0"})
        ]

    def test_other_drivers_are_not_asked_for(self, kubelet: Kubelet, make: Make, api: Kube) -> None:
        kubelet.pods = [claimed("p", "eth0", driver="dra.net")]
        told = make(api=api.url).read(METERS)
        assert (told.claims, told.rejected, api.asked) == ([], {}, [])

    def test_one_that_was_not_published_is_counted(
        self, kubelet: Kubelet, make: Make, api: Kube
    ) -> None:
        api.resources[SLICES] = published(gpu="GPU-a")
        kubelet.pods = [claimed("p", "gpu-9"), claimed("q", "gpu")]
        told = make(api=api.url).read(METERS)
        assert (shares(told), told.rejected) == ({("q", "GPU-a"): 1.0}, {"unknown_device": 1})

    def test_without_an_api_it_is_counted(self, kubelet: Kubelet, make: Make) -> None:
        kubelet.pods = [claimed("p", "gpu"), pod("q", "GPU-b")]
        told = make().read(METERS)
        assert (shares(told), told.rejected) == ({("q", "GPU-b"): 1.0}, {"unknown_device": 1})

    def test_an_api_that_refuses_costs_nobody_else(
        self, kubelet: Kubelet, make: Make, api: Kube, caplog: pytest.LogCaptureFixture
    ) -> None:
        api.refuse = 403
        kubelet.pods = [claimed("p", "gpu"), pod("q", "GPU-b")]
        told = make(api=api.url).read(METERS)
        assert (shares(told), told.rejected) == ({("q", "GPU-b"): 1.0}, {"forbidden": 1})
        assert "verbs get, list and watch on resourceslices" in caplog.text


class TestTrouble:
    def test_no_kubelet_is_no_data(self, make: Make) -> None:
        with pytest.raises(NoData):
            make().read(METERS)

    def test_nonsense_is_malformed(self, kubelet: Kubelet, make: Make) -> None:
        kubelet.answer = lambda context: b"\x0a\x7f"
        with pytest.raises(SourceError) as raised:
            make().read(METERS)
        assert raised.value.reason == "malformed"

    def test_a_socket_that_goes_away_is_a_kubelet_that_will_be_back(
        self, kubelet: Kubelet, make: Make, tmp_path: Path
    ) -> None:
        plugin = make()
        plugin.read(METERS)
        kubelet.stop()
        (tmp_path / "kubelet.sock").unlink(missing_ok=True)
        with pytest.raises(SourceError) as raised:
            plugin.read(METERS)
        assert (raised.value.reason, isinstance(raised.value, NoData)) == ("unavailable", False)

    def test_a_kubelet_that_comes_back_is_read_again(self, kubelet: Kubelet, make: Make) -> None:
        plugin = make()
        kubelet.stop()
        with pytest.raises(SourceError):
            plugin.read(METERS)
        kubelet.start()
        kubelet.pods = [pod("p", "GPU-a")]
        plugin.close()
        plugin.close()
        assert shares(plugin.read(METERS)) == {("p", "GPU-a"): 1.0}


def published(**uuids: str) -> dict[str, object]:
    """Make slices of one pool that publish devices by these names."""
    devices = [
        {"name": name, "attributes": {"uuid": {"string": uuid}, "index": {"int": 0}}}
        for name, uuid in uuids.items()
    ]
    pool = {"name": "n1", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": "gpu.nvidia.com", "pool": pool, "nodeName": "n1", "devices": devices}
    told: dict[str, object] = json.loads(json.dumps({"items": [{"spec": spec}]}))
    return told


HELD = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 5),
        st.sampled_from([Part("g"), Part("m")]),
    ),
    unique=True,
)


@given(HELD)
def test_what_is_held_is_divided_and_nothing_else(held: list[tuple[str, int, Part]]) -> None:
    """All of what anybody holds is given out once, and the order of holders does not matter."""
    tickets = [(holder, str(number), part) for holder, number, part in held]
    found = {(c.device, c.holder): Fraction(c.share or 0) for c in claims(tickets)}
    assert found.keys() == {(p.device, h) for h, _, p in tickets}
    for device in {device for device, _ in found}:
        total = sum((s for (each, _), s in found.items() if each == device), Fraction(0))
        assert float(total) == pytest.approx(1, rel=1e-9)
    again = {(c.device, c.holder): Fraction(c.share or 0) for c in claims(reversed(tickets))}
    assert again == found


def test_a_share_that_is_not_known_of_one_part_is_not_known_of_both() -> None:
    held = [("h", "1", Part("m")), ("h", "2", Part("m", whole=False)), ("i", "3", Part("m"))]
    assert claims(held) == [
        Claim("m", "h", None, None, "podresources"),
        Claim("m", "i", 1 / 3, None, "podresources"),
    ]


def test_it_is_built_by_name_and_after_the_one_that_knows_pods_better() -> None:
    names = list(ALLOCATORS)
    assert names.index("pods") < names.index("podresources")
    plugin = create("podresources", Config(node="n1"))
    assert plugin.name == "podresources"
    plugin.close()
