"""The DCGM source against pages served over HTTP, some recorded and some written here."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from tests.fixtures.dcgm import NOW_MS, A, B, Exporter, energy, power, read_one, row, source

from wattshed_exporter.config import Config
from wattshed_exporter.errors import DevicesChanged, NoData
from wattshed_exporter.model import Kind, Method, Reading
from wattshed_exporter.sources.dcgm import Dcgm
from wattshed_exporter.sources.dcgm_page import BLANKS, FIELDS, LIMIT, boards
from wattshed_exporter.sources.exposition import rows

T4 = "GPU-20c56d28-0da5-6d26-a36a-e7af1ce2586e"
MIG_BOARD = """\
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3"} 52.636
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 52.746
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3"} 1000
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 1003
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3",pod="p"} 100
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3",pod="q"} 100
DCGM_FI_DEV_FB_USED{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 11
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="3"} 0.25
DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",UUID="GPU-aaaa",GPU_I_ID="4"} 0.5
"""


def test_recorded_page_of_two_hosts(exporter: Exporter, data: Path) -> None:
    page = data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt"
    text = page.read_text()
    assert not text.endswith("\n")
    assert "\n# NOTE " in text
    exporter.say(text)
    reader = source(exporter)
    (device,) = reader.discover()
    assert (device.key, device.kind, device.vendor) == (T4, Kind.GPU, "NVIDIA")
    assert (device.name, device.model, device.node) == ("gpu0", "Tesla T4", "node1")
    assert (device.source, device.site, device.scope) == ("dcgm", "here", "gpu")
    assert (device.method, device.uncertainty_ratio) == (Method.COUNTER, 0.05)
    assert reader.read().readings == [
        Reading(
            T4,
            NOW_MS,
            power_watts=8.969,
            energy_uj=128_996_013_000,
            utilization_ratio=0.0,
            memory_used_bytes=0,
            temperature_celsius=25.0,
        )
    ]


def test_recorded_second_host_has_a_limit_but_no_meter(data: Path) -> None:
    page = data / "recordings/dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt"
    found = boards(page.read_text())
    other = found["GPU-9ef1b6d0-3643-5dd7-b823-c0ec20dcf2d5"]
    assert (found[T4].host, other.host) == ("424773df46e0", "551bdf382151")
    assert (found[T4].metered, other.metered) == (True, False)
    assert other.value(LIMIT) == 70
    assert other.labels["DCGM_FI_DEV_SERIAL"] == "1565220008176"


def test_recorded_mig_rows_are_not_added(exporter: Exporter, data: Path) -> None:
    figures = data / "recordings/dcgm-exporter/a30_mig_figures/power_rows.csv"
    with figures.open(newline="") as file:
        text = "".join(
            power(told["power_usage_w"], f"GPU-{told['gpu']}", GPU_I_ID=told["GPU_I_ID"])
            for told in csv.DictReader(file)
        )
    exporter.say(text)
    reader = source(exporter)
    assert [device.key for device in reader.discover()] == ["GPU-0", "GPU-1"]
    assert [reading.power_watts for reading in reader.read().readings] == [52.746, 56.127]


@pytest.mark.parametrize("file", ["default-counters", "dcp-metrics-included", "1.x-compatibility"])
def test_recorded_defaults_name_what_is_read(data: Path, file: str) -> None:
    folder = data / "recordings/dcgm-exporter/counters"
    lines = next(folder.glob(f"{file}*.csv")).read_text().splitlines()
    names = {line.partition(",")[0].strip(" #") for line in lines}
    found = {FIELDS[name].name for name in names & FIELDS.keys()}
    assert found >= {"energy_mj", "power_watts", "gpu_percent", "used_mib", "celsius"}


def test_recorded_page_of_another_exporter_has_no_data(exporter: Exporter, data: Path) -> None:
    page = data / "recordings/amd-device-metrics-exporter/metricutil/metrics_mini.txt"
    exporter.say(page.read_bytes())
    with pytest.raises(NoData, match="neither power nor energy"):
        source(exporter).discover()
    usual, average = rows(page.read_text(), ("gpu_power_usage", "gpu_average_package_power"))
    assert usual.value == average.value == 41
    assert usual.labels["SERIAL_NUMBER"] == "692247001282"


def test_mig_rows_are_one_board() -> None:
    reading = read_one(MIG_BOARD)
    assert (reading.power_watts, reading.energy_uj) == (52.746, 1_003_000)
    assert reading.memory_used_bytes == 111 << 20
    assert reading.utilization_ratio == 0.5


def test_row_of_the_board_wins_over_its_instances() -> None:
    page = power(50, GPU_I_ID="") + energy(990) + row("DCGM_FI_DEV_FB_USED", 7) + MIG_BOARD
    reading = read_one(page)
    assert (reading.power_watts, reading.energy_uj) == (50.0, 990_000)
    assert reading.memory_used_bytes == 7 << 20


@pytest.mark.parametrize(
    ("page", "ratio"),
    [
        (row("DCGM_FI_DEV_GPU_UTIL", 40), 0.4),
        (row("DCGM_FI_DEV_GPU_UTIL", 99) + row("DCGM_FI_PROF_GR_ENGINE_ACTIVE", 0), 0.99),
        (row("DCGM_FI_DEV_GPU_UTIL", 0) + row("DCGM_FI_PROF_SM_ACTIVE", 0.7), 0.7),
        (row("DCGM_FI_DEV_GPU_UTIL", 0) + row("DCGM_FI_PROF_SM_ACTIVE", 1.2), 0.0),
        (row("DCGM_FI_DEV_GPU_UTIL", 0, GPU_I_ID="3"), None),
        (row("DCGM_FI_DEV_GPU_UTIL", 0) + power(5, GPU_I_ID="3"), None),
        (row("DCGM_FI_DEV_GPU_UTIL", 101), None),
        ("", None),
    ],
)
def test_utilization_is_the_largest_signal_that_can_be_meant(page: str, ratio: object) -> None:
    assert read_one(power(5) + page).utilization_ratio == ratio


@pytest.mark.parametrize("blank", [*sorted(BLANKS), "NaN", "+Inf", "-1", "9.223372036854776e18"])
def test_blank_values_are_none(blank: object) -> None:
    page = power(5) + "".join(
        row(name, blank)
        for name in FIELDS
        if name.startswith("DCGM") and name != "DCGM_FI_DEV_POWER_USAGE"
    )
    assert read_one(page) == Reading(A, NOW_MS, power_watts=5.0)


def test_blank_meters_are_no_device(exporter: Exporter) -> None:
    exporter.say(power(2147483632) + energy(9223372036854775794) + power(7, B))
    reader = source(exporter)
    assert [device.key for device in reader.discover()] == [B]
    exporter.say(power(6) + power(7, B))
    with pytest.raises(DevicesChanged, match=A):
        reader.read()
    assert len(reader.discover()) == 2
    exporter.say(power(140737488355328) + power(7, B))
    assert [reading.gap for reading in reader.read().readings] == ["not_supported", ""]


def test_old_names_and_labels() -> None:
    page = "dcgm_power_usage{gpu='0'} 9\n" + "".join(
        f'{name}{{gpu="1",uuid="{A}"}} {value}\n'
        for name, value in (
            ("dcgm_power_usage", 31.5),
            ("dcgm_total_energy_consumption", 12),
            ("dcgm_gpu_utilization", 50),
            ("dcgm_fb_used", 2),
            ("dcgm_gpu_temp", 40),
        )
    )
    assert read_one(page) == Reading(A, NOW_MS, 31.5, 12_000, None, 0.5, 2 << 20, 40.0)


def test_hosts_name_the_node_only_where_there_are_several(exporter: Exporter) -> None:
    exporter.say(power(1, Hostname="h1", modelName="T4", DCGM_FI_DEV_SERIAL="7"))
    (device,) = source(exporter).discover()
    assert (device.node, device.model, device.serial) == ("node1", "T4", "7")
    exporter.say(power(1, Hostname="h1") + power(2, B, hostname="h2"))
    assert [device.node for device in source(exporter).discover()] == ["h1", "h2"]


def test_limit_and_integral(exporter: Exporter) -> None:
    exporter.say(power(1) + row("DCGM_FI_DEV_POWER_MGMT_LIMIT", 70.0))
    (device,) = source(exporter).discover()
    assert (device.power_limit_watts, device.method) == (70.0, Method.INTEGRAL)


def test_rows_without_a_board_are_left_out(exporter: Exporter) -> None:
    exporter.say(
        'DCGM_FI_DEV_POWER_USAGE{gpu="0"} 1\n' + power(2, "MIG-cccc") + power(3, "") + power(4, B)
    )
    assert [device.key for device in source(exporter).discover()] == [B]


def test_counter_that_stands_still_is_no_reading(exporter: Exporter) -> None:
    now_ms = NOW_MS
    reader = source(exporter, clock=lambda: now_ms * 1_000_000)
    exporter.say(power(5) + energy(10) + power(6, B))
    reader.discover()
    assert [reading.device for reading in reader.read().readings] == [A, B]
    now_ms += 120_000
    assert [reading.device for reading in reader.read().readings] == [B]
    now_ms += 1
    assert [reading.gap for reading in reader.read().readings] == ["stale", ""]
    exporter.say(power(5) + energy(11) + power(6, B))
    assert reader.read().readings[0].energy_uj == 11_000
    exporter.say(power(5) + energy(1) + power(6, B))
    assert reader.read().readings[0].energy_uj == 1_000


@pytest.mark.parametrize(("configured", "used"), [(1.0, 5.0), (60.0, 60.0)])
def test_interval(configured: float, used: float) -> None:
    assert Dcgm(Config(node="node1", interval_seconds=configured)).interval_seconds == used
