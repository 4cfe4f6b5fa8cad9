"""The containment tree: always a forest, whatever devices and operators say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattshed_collector.store.tree import OUTERMOST_FIRST, Containment, Meter, Place, places
from wattshed_exporter.model import Batch, Device, Kind, Overlap

if TYPE_CHECKING:
    from tests.collector.conftest import Bed

KEYS = [f"d{n}" for n in range(8)]
METERS = st.lists(
    st.builds(
        Meter,
        st.sampled_from(KEYS),
        st.sampled_from(["", "n", "m"]),
        st.sampled_from([*OUTERMOST_FIRST, "other"]),
        st.sampled_from(["host", "gpu", "site"]),
        st.sampled_from(["", "", "outer", "outer", "inner"]),
        st.sampled_from(["", "", *KEYS, "nobody"]),
    ),
    max_size=8,
    unique_by=lambda meter: meter.key,
)
TOPOLOGIES = st.dictionaries(
    st.sampled_from([*KEYS, "d*", "d[0-3]", "?"]),
    st.sampled_from([*KEYS, "nobody", None, ""]),
    max_size=4,
)


def of(places_: list[Place]) -> dict[str, Place]:
    return {place.key: place for place in places_}


@given(METERS, TOPOLOGIES)
def test_it_is_a_forest(meters: list[Meter], topology: dict[str, str | None]) -> None:
    found = of(places(meters, topology))
    assert set(found) == {meter.key for meter in meters}
    for key, place in found.items():
        seen, at = {key}, place.parent
        while at:
            assert at not in seen
            seen.add(at)
            at = found[at].parent
        assert place.depth == len(seen) - 1
        assert len(set(place.path)) == len(place.path)
        assert place.group not in place.path
        for inner, outer in zip(place.path, place.path[1:], strict=False):
            assert found[inner].path[0] == outer  # one group lies in one group, for all of them
        assert all(found[group].role == "outer" for group in place.path)


@given(METERS, TOPOLOGIES)
def test_order_changes_nothing_and_what_is_one_sum_hangs_at_one_place(
    meters: list[Meter], topology: dict[str, str | None]
) -> None:
    found = places(meters, topology)
    assert places(meters[::-1], topology) == found
    paths: dict[str, tuple[str, ...]] = {}
    for place in found:
        if place.role == "outer":
            assert paths.setdefault(place.group, place.path) == place.path


NODE = [
    Meter("gpu", "n", "nvml", "gpu"),
    Meter("pkg", "n", "rapl", "cpu"),
    Meter("core", "n", "rapl", "cpu", "inner", "pkg"),
    Meter("psys", "n", "rapl", "host", "outer"),
    Meter("bmc", "n", "ipmi", "host", "outer"),
    Meter("plug-a", "n", "smartplug", "host", "outer"),
    Meter("plug-b", "n", "smartplug", "host", "outer"),
    Meter("house", "n", "smartplug", "site", "outer"),
]


def test_by_node() -> None:
    found = of(places(NODE))
    assert {key: place.parent for key, place in found.items()} == {
        "gpu": "bmc",
        "pkg": "psys",
        "core": "pkg",
        "psys": "bmc",
        "bmc": "plug-a",
        "plug-a": "house",
        "plug-b": "house",
        "house": "",
    }
    assert found["core"].path == ("psys", "bmc", "plug-a", "house")
    assert found["plug-b"].group == "plug-a"
    assert {place.why for place in found.values()} == {"node", "said", ""}


def test_a_chassis_in_another_is_in_no_sum_unless_somebody_says_what_it_contains() -> None:
    chassis = [
        Meter("box", "n", "redfish", "host", "outer"),
        Meter("tray", "n", "redfish", "host", "outer", "box"),
        Meter("gpu", "n", "nvml", "gpu"),
    ]
    found = of(places(chassis))
    assert (found["gpu"].path, found["tray"].role) == (("box",), "aside")
    found = of(places(chassis, {"gp*": "tray"}))
    assert (found["gpu"].path, found["tray"].role) == (("tray", "box"), "outer")


def test_two_feeds_are_one_sum_all_the_way_up() -> None:
    strips = [Meter(f"strip-{x}", "rack", "snmp", "host", "outer") for x in "ab"]
    found = of(places([*NODE, *strips], {"plug-a": "strip-a", "plug-b": "strip-b"}))
    assert found["strip-b"].group == "strip-a"
    assert found["gpu"].path == ("bmc", "plug-a", "strip-a")


@pytest.mark.parametrize(
    ("parent", "problem"),
    [("nobody", "parent_unknown"), ("a", "parent_itself"), ("b", "cycle")],
)
def test_a_wrong_parent_is_ignored_and_told(parent: str, problem: str) -> None:
    found = of(places([Meter("b", parent="a"), Meter("a", parent=parent)]))
    told = [place for place in found.values() if place.problem]
    assert [place.problem for place in told] == [problem]
    assert found["a"].parent == "" or found["b"].parent == ""


def test_what_a_device_says_goes_before_what_the_operator_says_and_null_sets_apart() -> None:
    meters = [*NODE, Meter("nas", "n", "smartplug", "host", "outer"), Meter("x", parent="gpu")]
    found = of(places(meters, {"x": "pkg", "nas": None, "gpu": "psys"}))
    assert found["x"].parent == "gpu"
    assert (found["gpu"].parent, found["gpu"].why) == ("psys", "topology")
    assert (found["nas"].parent, found["nas"].group, found["nas"].why) == ("", "nas", "topology")
    assert found["bmc"].parent == "plug-a"


class TestTable:
    def test_is_written_only_where_it_changes(self, bed: Bed) -> None:
        gpu = Device("gpu", Kind.GPU, "n", "nvml")
        bmc = Device("bmc", Kind.HOST, "n", "ipmi", overlap=Overlap.OUTER)
        tree = Containment()
        tree.refresh(bed.client)
        assert bed.client.rows("SELECT count() FROM tree") == [(0,)]
        bed.write(Batch(devices=(gpu,)))
        tree.refresh(bed.client)
        bed.write(Batch(devices=(bmc,)))
        for _ in range(2):
            tree.refresh(bed.client)
            Containment().refresh(bed.client)
        assert bed.client.rows("SELECT count() FROM tree") == [(3,)]
        rows = bed.client.rows(
            "SELECT device, parent, depth, root, role, why FROM v_tree ORDER BY device"
        )
        assert rows == [
            ("bmc", "", 0, "bmc", "outer", ""),
            ("gpu", "bmc", 1, "bmc", "counted", "node"),
        ]
        Containment({"gpu": None}).refresh(bed.client)
        rows = bed.client.rows("SELECT parent, root, why FROM v_tree WHERE device = 'gpu'")
        assert rows == [("", "", "topology")]
