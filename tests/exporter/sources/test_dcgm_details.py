"""What a dcgm-exporter's page says beside power and energy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fixtures.dcgm import NOW_MS, A, B, Exporter, power, read_one, row, source

from wattshed_exporter import semconv
from wattshed_exporter.config import Config
from wattshed_exporter.model import Detail
from wattshed_exporter.sources.dcgm import Dcgm
from wattshed_exporter.sources.dcgm_details import History, details
from wattshed_exporter.sources.dcgm_page import BLANKS, FIELDS, Board, boards
from wattshed_exporter.sources.nvml_details import REASON_BITS

T4 = "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
Said = dict[tuple[str, ...], float]


def said(told: list[Detail]) -> Said:
    for detail in told:
        assert len(detail.attributes) == len(semconv.DETAIL_METRICS[detail.metric].own)
    return {(d.metric.removeprefix("wattshed_"), *d.attributes): d.value for d in told}


def of_page(page: str) -> Said:
    (board,) = boards(page).values()
    return said(details(A, board, History(NOW_MS, NOW_MS)))


def test_recorded_page(exporter: Exporter, data: Path) -> None:
    page = data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt"
    exporter.say(page.read_bytes())
    reader = source(exporter)
    (device,) = reader.discover()
    assert device.driver == "460.106.00"
    told = list(reader.read().details)
    assert {(d.device, d.ts_ms) for d in told} == {(T4, NOW_MS)}
    assert said(told) == {
        ("memory_activity_ratio",): 0.0,
        ("clock_hertz", "sm"): 300e6,
        ("clock_hertz", "memory"): 405e6,
        ("engine_utilization_ratio", "encoder"): 0.0,
        ("engine_utilization_ratio", "decoder"): 0.0,
    }


FULL = "".join(
    row(name, value)
    for name, value in (
        ("DCGM_FI_DEV_POWER_USAGE", 300),
        ("DCGM_FI_DEV_GPU_UTIL", 99),
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.9),
        ("DCGM_FI_PROF_SM_ACTIVE", 0.75),
        ("DCGM_FI_PROF_DRAM_ACTIVE", 0.5),
        ("DCGM_FI_DEV_MEM_COPY_UTIL", 40),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 0.25),
        ("DCGM_FI_DEV_FB_USED", 70_000),
        ("DCGM_FI_DEV_FB_FREE", 11_000),
        ("DCGM_FI_DEV_FB_RESERVED", 559),
        ("DCGM_FI_DEV_MEMORY_TEMP", 55),
        ("DCGM_FI_DEV_SM_CLOCK", 1980),
        ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", 3),
        ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", 0),
        ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", 1),
        ("DCGM_FI_DEV_ROW_REMAP_FAILURE", 0),
        ("DCGM_FI_PROF_PCIE_TX_BYTES", 1e6),
        ("DCGM_FI_PROF_NVLINK_RX_BYTES", 2e9),
    )
)
SAID = {
    ("sm_activity_ratio",): 0.75,
    ("memory_activity_ratio",): 0.5,
    ("pipe_activity_ratio", "tensor"): 0.25,
    ("memory_total_bytes",): 81_559 << 20,
    ("sensor_temperature_celsius", "memory"): 55,
    ("clock_hertz", "sm"): 1.98e9,
    ("ecc_errors_total", "corrected"): 3,
    ("ecc_errors_total", "uncorrected"): 0,
    ("remapped_rows", "uncorrected"): 1,
    ("remapped_rows", "failed"): 0,
}
BYTES = ("link_bytes_total", "pcie", "transmit"), ("link_bytes_total", "nvlink", "receive")


def test_a_full_page(exporter: Exporter) -> None:
    now_ms = NOW_MS
    reader = source(exporter, clock=lambda: now_ms * 1_000_000)
    exporter.say(FULL)
    reader.discover()
    first = reader.read()
    assert first.readings[0].activity_ratio == 0.75
    assert said(list(first.details)) == SAID | dict.fromkeys(BYTES, 0.0)
    now_ms += 4_000
    assert reader.read().details == [], "not before detail_seconds"
    now_ms += 1_000
    later = list(reader.read().details)
    assert said(later) == SAID | dict(zip(BYTES, (5e6, 1e10), strict=True))
    assert {d.start_ms for d in later if d.metric == "wattshed_link_bytes_total"} == {NOW_MS}


def test_a_pause_of_reading_is_not_bridged(exporter: Exporter) -> None:
    now_ms = NOW_MS
    reader = source(exporter, clock=lambda: now_ms * 1_000_000)
    exporter.say(FULL)
    reader.discover()
    reader.read()
    now_ms += 120_001
    assert said(list(reader.read().details))[BYTES[0]] == 0.0
    reader.discover()
    now_ms += 10_000
    assert said(list(reader.read().details))[BYTES[0]] == 1e7, "found again it goes on"


@pytest.mark.parametrize("silent", ["DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_SM_ACTIVE"])
def test_a_profiler_that_does_not_look_is_not_believed(exporter: Exporter, silent: str) -> None:
    page = power(300) + row("DCGM_FI_DEV_GPU_UTIL", 99) + row(silent, 0)
    page += row("DCGM_FI_PROF_DRAM_ACTIVE", 0) + row("DCGM_FI_PROF_PCIE_TX_BYTES", 0)
    exporter.say(page + power(70, B))
    reader = source(exporter)
    reader.discover()
    sample = reader.read()
    assert sample.rejected == {"silent_zero": 1}
    assert (sample.readings[0].utilization_ratio, sample.readings[0].activity_ratio) == (0.99, None)
    assert list(sample.details) == []


@pytest.mark.parametrize(
    "page",
    [
        row("DCGM_FI_DEV_GPU_UTIL", 99) + row("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0.001),
        row("DCGM_FI_DEV_GPU_UTIL", 49) + row("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0),
        row("DCGM_FI_DEV_GPU_UTIL", 99),
        row("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0),
        row("DCGM_FI_DEV_GPU_UTIL", 99) + row("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0, GPU_I_ID="3"),
    ],
)
def test_a_zero_that_may_be_one(exporter: Exporter, page: str) -> None:
    exporter.say(power(300) + page + row("DCGM_FI_PROF_SM_ACTIVE", 0.0, B) + power(1, B))
    reader = source(exporter)
    reader.discover()
    sample = reader.read()
    assert sample.rejected == {}
    assert sample.readings[1].activity_ratio == 0.0


def test_errors_are_counted_by_their_changes() -> None:
    history, seen, board = History(NOW_MS, NOW_MS), [], Board()
    for number in (31, 31, 43, 43, 0, 43, 31):
        (board,) = boards(row("DCGM_FI_DEV_XID_ERRORS", number)).values()
        history.take(board, NOW_MS)
        seen.append(dict(history.errors))
    assert seen == [{}, {}, {43: 1}, {43: 1}, {43: 1}, {43: 2}, {43: 2, 31: 1}]
    told = details(A, board, history)
    assert [(d.attributes, d.value, d.start_ms) for d in told] == [
        (("43",), 2, NOW_MS),
        (("31",), 1, NOW_MS),
    ]


@pytest.mark.parametrize(
    ("name", "bits", "reasons"),
    [
        ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", 0, []),
        ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", 1, []),
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", 0x48, ["hw_slowdown", "hw_thermal_slowdown"]),
    ],
)
def test_why_the_clocks_are_held_down(name: str, bits: int, reasons: list[str]) -> None:
    told = of_page(row(name, bits))
    assert [label for (_, label), value in told.items() if value] == reasons
    assert len(told) == len(REASON_BITS)


def test_instances_do_not_multiply_the_board() -> None:
    page = "".join(
        row("DCGM_FI_PROF_SM_ACTIVE", ratio, GPU_I_ID=instance)
        + row("DCGM_FI_DEV_FB_FREE", 5, GPU_I_ID=instance)
        + row("DCGM_FI_DEV_MEM_COPY_UTIL", 0, GPU_I_ID=instance)
        for instance, ratio in (("1", 0.25), ("2", 0.5))
    )
    assert of_page(page) == {("sm_activity_ratio",): 0.5}


def test_a_reading_has_the_second_signal() -> None:
    assert read_one(power(5) + row("DCGM_FI_PROF_SM_ACTIVE", 0.5)).activity_ratio == 0.5
    assert read_one(power(5)).activity_ratio is None


VALUES = st.floats() | st.integers() | st.sampled_from(sorted(BLANKS))
ROWS = st.builds(
    lambda name, value, instance: row(name, value, GPU_I_ID=instance),
    st.sampled_from(sorted(FIELDS)),
    VALUES,
    st.sampled_from(["", "1", "2"]),
)


@given(st.lists(st.lists(ROWS, max_size=12).map("".join), min_size=1, max_size=3))
def test_any_values_give_details_that_can_be(pages: list[str]) -> None:
    reader = Dcgm(Config(node="node1"))
    now_ms = NOW_MS
    for page in pages:
        now_ms += 30_000
        found = boards(page)
        reader._devices = {key: reader._device(key, found[key], False) for key in found}
        for (metric, *_), value in said(reader._details(found, now_ms)).items():
            assert 0 <= value < 2**62
            assert value <= 1 or not metric.endswith("_ratio")
