"""SM activity by GPM, processes, contexts: the second opinion on whether a GPU works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.exporter.sources.nvml.conftest import Process, Start

SM, USED = ("wattshed_sm_activity_ratio",), ("wattshed_process_utilization_ratio",)
CONTEXTS = ("wattshed_contexts",)


def samples(*rows: tuple[int, float, int]) -> str:
    """Samples of the process, of so many seconds ago, with so many percent."""
    now_us = time.time_ns() // 1000
    text = " ".join(f"{pid},{now_us - int(ago * 1e6)},{percent}" for pid, ago, percent in rows)
    return f"util {text}"


def test_gpm_needs_two_samples(nvml: Process) -> None:
    nvml.tell("gpm_2 87.5", "gpm_5 40", "gpm_12 0")
    nvml.discover()
    readings, first = nvml.sample()
    assert SM not in first
    assert readings[0]["activity_ratio"] is None
    details = nvml.details()
    assert details[SM] == 0.875
    pipes = {key[1]: value for key, value in details.items() if "pipe" in key[0]}
    assert pipes == {"tensor": 0.4, "fp32": 0.0}
    assert nvml.read()[0]["activity_ratio"] == 0.875


@pytest.mark.parametrize("garbage", ["nan", "inf", "-1", "1e9", "101.5"])
def test_gpm_garbage_is_absent(nvml: Process, garbage: str) -> None:
    nvml.tell(f"gpm_2 {garbage}")
    nvml.discover()
    nvml.details()
    assert SM not in nvml.details()
    assert nvml.read()[0]["activity_ratio"] is None


def test_a_gpm_sample_that_fails_starts_the_pair_anew(nvml: Process) -> None:
    nvml.tell("gpm_2 50")
    nvml.discover()
    nvml.details()
    nvml.tell("gpm_2 50", "gpm_sample_rc 999")
    assert SM not in nvml.details()
    nvml.tell("gpm_2 50")
    assert SM not in nvml.details()
    assert nvml.details()[SM] == 0.5


def test_gpm_that_is_not_supported_is_asked_once(nvml: Process) -> None:
    nvml.discover()
    nvml.details()
    assert "gpm 0" in nvml.calls()
    nvml.details()
    assert "gpm 0" not in nvml.calls()


def test_gpm_samples_are_given_back(nvml: Process) -> None:
    nvml.tell("count 2", "gpm_2 50", "events 8")
    nvml.discover()
    nvml.details()
    assert nvml.ask("held") == {"held": True, "samples": 4, "event_sets": 1}
    nvml.discover()
    nvml.details()
    nvml.details()
    assert nvml.ask("held") == {"held": True, "samples": 4, "event_sets": 1}
    assert nvml.ask("close") == {"held": False, "samples": 0, "event_sets": 0}
    assert nvml.ask("read")["error"] == "DevicesChanged"
    nvml.discover()
    assert nvml.read()[0]["gap"] == ""


def test_processes_by_the_latest_sample_of_each(start: Start) -> None:
    nvml = start(detail_seconds=600.0)
    nvml.tell(samples((7, 3, 90), (7, 1, 20), (8, 2, 35), (8, 2.5, 60), (9, 1, 4294967295)))
    nvml.discover()
    assert nvml.details()[USED] == 0.55
    assert nvml.read()[0]["activity_ratio"] == 0.55


def test_processes_together_are_at_most_1(start: Start) -> None:
    nvml = start(detail_seconds=600.0)
    nvml.tell(samples((7, 1, 90), (8, 1, 80)))
    nvml.discover()
    assert nvml.details()[USED] == 1.0


def test_samples_from_before_the_interval_do_not_count(start: Start) -> None:
    nvml = start(detail_seconds=60.0)
    nvml.tell(samples((7, 3600, 90)))
    nvml.discover()
    assert nvml.details()[USED] == 0.0


@pytest.mark.parametrize("answer", ["none", "empty"])
def test_nobody_is_active(nvml: Process, answer: str) -> None:
    nvml.tell(f"util {answer}")
    nvml.discover()
    assert nvml.details()[USED] == 0.0
    assert nvml.details()[USED] == 0.0


def test_gpm_goes_before_processes(nvml: Process) -> None:
    nvml.tell("gpm_2 31", "util none")
    nvml.discover()
    nvml.details()
    assert nvml.details()[USED] == 0.0
    assert nvml.read()[0]["activity_ratio"] == 0.31


def test_an_error_leaves_activity_and_contexts_unknown(nvml: Process) -> None:
    nvml.tell("util none", "compute 7")
    nvml.discover()
    nvml.details()
    reading = nvml.read()[0]
    assert (reading["activity_ratio"], reading["contexts"]) == (0.0, 1)
    nvml.tell("util none", "util_rc 999", "compute 7", "compute_rc 999")
    assert not {USED, CONTEXTS} & nvml.details().keys()
    reading = nvml.read()[0]
    assert (reading["activity_ratio"], reading["contexts"]) == (None, None)
    nvml.tell("util none", "compute 7")
    assert {USED, CONTEXTS} <= nvml.details().keys()


@pytest.mark.parametrize(
    ("lines", "contexts"),
    [
        (("compute none", "graphics none"), 0),
        (("compute 7 8 9",), 3),
        (("compute 7 8", "graphics 8 10", "mps 11"), 4),
        (("graphics 8 10",), None),
    ],
)
def test_contexts_are_distinct_processes(
    nvml: Process, lines: tuple[str, ...], contexts: int | None
) -> None:
    nvml.tell(*lines)
    nvml.discover()
    assert nvml.details().get(CONTEXTS) == contexts
    assert nvml.read()[0]["contexts"] == contexts


def test_outside_the_hosts_pid_namespace_processes_are_unknown(start: Start) -> None:
    nvml = start(pids="pid:[4026532281]")
    nvml.tell("util none", "compute 7", "gpm_2 31")
    nvml.discover()
    nvml.details()
    assert not {USED, CONTEXTS} & nvml.details().keys()
    reading = nvml.read()[0]
    assert (reading["activity_ratio"], reading["contexts"]) == (0.31, None)
    assert not [call for call in nvml.calls() if call.startswith(("util ", "compute"))]
