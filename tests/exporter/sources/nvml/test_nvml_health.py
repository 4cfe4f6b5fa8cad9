"""XID errors, ECC, remapped rows, and the one word for the state of a GPU."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from wattshed_exporter.sources.nvml_health import EVENTS, MOST_EVENTS, STATES

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Details, Process

XID = "wattshed_xid_errors_total"
XID_TYPE = 0x8


def state(details: Details, device: str = "") -> str:
    """Return the state that is 1; exactly one is, and all are said."""
    own = [f"@{device}"] if device else []
    said = {name: details[("wattshed_device_status", name, *own)] for name in STATES}
    assert sorted(said.values()) == [0.0, 0.0, 1.0]
    return max(said, key=lambda name: said[name])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("field_3_0 12", "ok"),
        ("field_4_0 0", "ok"),
        ("field_4_0 1", "degraded"),
        ("field_142_0 2", "ok"),
        ("field_143_0 2", "ok"),
        ("field_144_0 1", "degraded"),
        ("field_145_0 1", "failed"),
        ("reasons 0x1", "ok"),
        ("reasons 0x4", "ok"),
        ("reasons 0x8", "degraded"),
        ("reasons 0x20", "degraded"),
        ("reasons 0x40", "degraded"),
        ("reasons 0x80", "degraded"),
    ],
)
def test_the_rule_of_the_state(nvml: Process, line: str, expected: str) -> None:
    nvml.tell(line)
    nvml.discover()
    assert state(nvml.details()) == expected
    nvml.tell()
    assert state(nvml.details()) == "ok"


def test_ecc_and_rows_are_said_by_kind(nvml: Process) -> None:
    nvml.tell("field_3_0 12", "field_4_0 1", "field_142_0 3", "field_143_0 2", "field_144_0 0")
    nvml.discover()
    details = nvml.details()
    assert details[("wattshed_ecc_errors_total", "corrected")] == 12.0
    assert details[("wattshed_ecc_errors_total", "uncorrected")] == 1.0
    rows = {key[1]: value for key, value in details.items() if "rows" in key[0]}
    assert rows == {"corrected": 3.0, "uncorrected": 2.0, "pending": 0.0}


def test_a_lost_gpu_has_failed_and_the_others_have_not(nvml: Process) -> None:
    nvml.tell("count 2")
    nvml.discover()
    nvml.tell("count 2", "device_rc.0 15")
    details = nvml.details()
    assert state(details, "GPU-fake-0") == "failed"
    assert state(details, "GPU-fake-1") == "ok"
    assert len([key for key in details if key[-1] == "@GPU-fake-0"]) == len(STATES)


@pytest.mark.parametrize("code", [4, 27, 999])
def test_a_gap_for_another_reason_has_no_state(nvml: Process, code: int) -> None:
    nvml.discover()
    nvml.tell(f"device_rc {code}")
    assert not nvml.ask("sample")["details"]


def test_xid_errors_are_counted_since_the_start(nvml: Process) -> None:
    before_ms = time.time_ns() // 1_000_000 - 60_000
    nvml.tell("count 2", f"events {EVENTS}")
    nvml.discover()
    nvml.details()
    events = [
        f"event_{n} {gpu},8,{xid}" for n, (gpu, xid) in enumerate([(1, 31), (1, 31), (0, 79)])
    ]
    nvml.tell("count 2", f"events {EVENTS}", *events)
    counted = {(XID, "79", "@GPU-fake-0"): 1.0, (XID, "31", "@GPU-fake-1"): 2.0}
    assert {k: v for k, v in nvml.details().items() if k[0] == XID} == counted
    nvml.discover()  # NVML anew: what was counted stays
    answer = nvml.ask("sample")
    said = [row for row in answer["details"] if row[1] == XID]
    assert [row[3] for row in said] == [1.0, 2.0]
    assert all(before_ms < row[4] <= answer["readings"][0]["ts_ms"] for row in said)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(0x2, "degraded"), (0x800, "failed"), (0x2000, "failed"), (0x4000, "failed"), (0x10, "ok")],
)
def test_announcements_mark_the_gpu_until_nvml_is_set_up_anew(
    nvml: Process, kind: int, expected: str
) -> None:
    nvml.tell(f"events {EVENTS}", f"event_0 0,{kind},0", "event_1 0,2,0" if kind == 0x800 else "")
    nvml.discover()
    assert state(nvml.details()) == expected
    assert state(nvml.details()) == expected
    nvml.discover()
    assert state(nvml.details()) == "ok"


def test_a_storm_of_events_is_taken_in_parts(nvml: Process) -> None:
    storm = [f"event_{n} 0,{XID_TYPE},63" for n in range(MOST_EVENTS + 3)]
    nvml.tell(f"events {EVENTS}", *storm)
    nvml.discover()
    assert nvml.details()[(XID, "63")] == MOST_EVENTS
    assert nvml.details()[(XID, "63")] == MOST_EVENTS + 3


@pytest.mark.parametrize("line", ["event_set_rc 3", "register_rc 999", "wait_rc 15", "events_rc 3"])
def test_without_events_the_rest_is_said(nvml: Process, line: str) -> None:
    nvml.tell(f"events {EVENTS}", line, "event_0 0,8,79")
    nvml.discover()
    details = nvml.details()
    assert state(details) == "ok"
    assert nvml.ask("close") == {"held": False, "samples": 0, "event_sets": 0}


def test_events_are_registered_again_for_a_new_handle(nvml: Process) -> None:
    nvml.tell(f"events {EVENTS}")
    nvml.discover()
    after = ("generation 1", f"events {EVENTS}", "event_0 0,8,79")
    nvml.tell(*after)
    assert nvml.read()[0]["gap"] == "driver_error"
    assert nvml.details()[(XID, "79")] == 1.0


def test_only_supported_events_are_registered(nvml: Process) -> None:
    nvml.tell("events 9", "event_0 0,8,13")
    nvml.discover()
    assert "register 0" in nvml.calls()
    assert nvml.details()[(XID, "13")] == 1.0
