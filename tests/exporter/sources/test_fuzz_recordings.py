"""Recorded answers, spoiled: each source reads what is left, or says what is wrong with it.

Whatever a foreign machine says ends as a reading that can be, as a gap or as a ``SourceError``.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.fixtures.amdgpu import table
from tests.fixtures.mutate import refused, spoiled_bytes, spoiled_json
from tests.fixtures.published import DATA
from tests.fixtures.rpi import PUBLISHED

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.dcgm_details import History, details
from wattshed_exporter.sources.dcgm_page import POWER, boards
from wattshed_exporter.sources.gpu_metrics import parse as parse_metrics
from wattshed_exporter.sources.http_json import Json, parse
from wattshed_exporter.sources.redfish import control, environment, inputs, supply_metrics
from wattshed_exporter.sources.replay import ReplaySource
from wattshed_exporter.sources.rpi import parse_rails
from wattshed_exporter.sources.smartplug_families import gen1, gen2, homewizard, tasmota

RECORDINGS = DATA / "recordings"
pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}")
many = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MOST_WATTS, MOST_UJ = 1e14, 2**63


def documents(folder: str, pattern: str = "*.json", part: str = "") -> list[Any]:
    files = [
        file for file in sorted((RECORDINGS / folder).glob(pattern)) if "invalid" not in str(file)
    ]
    told = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return [one[part] if part else one for one in told] or [{}]


def texts(*files: str) -> list[bytes]:
    return [path.read_bytes() for file in files if (path := RECORDINGS / file).exists()] or [b""]


def through(document: Any) -> Json:
    """Return the document as it comes over the wire."""
    return parse(json.dumps(document).encode(), "recording")


def believable(watts: float | None, energy_uj: int | None) -> bool:
    power = watts is None or (math.isfinite(watts) and 0 <= watts <= MOST_WATTS)
    return power and (energy_uj is None or 0 <= energy_uj < MOST_UJ)


SHELLY = documents("smart-plug/shelly_aioshelly", part="status")
HOMEWIZARD = documents("smart-plug/homewizard_v1", "*/data*.json")


@many
@given(spoiled_json(SHELLY + HOMEWIZARD))
def test_plugs(document: Any) -> None:
    try:
        answer = through(document)
    except SourceError:
        return
    for understand in (gen1, gen2, tasmota, homewizard):
        for name, said in understand(answer).items():
            assert name.isprintable()
            assert believable(said.watts, said.energy_uj)
            assert bool(said.gap) == (said.watts is None and said.energy_uj is None)


REDFISH = documents("redfish/dell_idrac_telegraf") + documents("redfish/hpe_ilo_telegraf")
REDFISH += documents("redfish/hpe_ilo_telegraf/power_subsys") + documents(
    "redfish/dmtf-style_sushy"
)


@many
@given(spoiled_json(REDFISH))
def test_controllers(document: Any) -> None:
    try:
        answer = through(document)
    except SourceError:
        return
    for understand in (environment, control, inputs):
        said = understand([answer])
        assert believable(said.watts, said.energy_uj)
    capacity = answer.get("PowerCapacityWatts")
    assert believable(supply_metrics([capacity], [answer]).watts, None)


BODIES = texts(
    "redfish/dell_idrac_telegraf/dell_power.json",
    "smart-plug/shelly_aioshelly_rpc/shelly2pmg3/Shelly.GetStatus",
    "smart-plug/homewizard_v1/HWE-SKT/data.json",
)


@many
@given(spoiled_bytes(BODIES))
def test_bodies(body: bytes) -> None:
    with refused("malformed"):
        answer = parse(body, "body")
        assert isinstance(answer, dict)


PAGES = texts(
    "dcgm-exporter/tesla-t4_driver-460_datadog/metrics.txt",
    "dcgm-exporter/readme_blank-sentinel/kubernetes.txt",
)


@many
@given(spoiled_bytes(PAGES))
def test_pages(page: bytes) -> None:
    with refused("malformed"):
        found = boards(page.decode(errors="replace"))
        for key, board in found.items():
            assert believable(float(board.value(POWER) or 0), board.energy_uj())
            history = History(0, 0)
            history.take(board, 1000)
            assert all(
                math.isfinite(d.value) and d.value >= 0 for d in details(key, board, history)
            )


@many
@given(spoiled_bytes([table(n, 200, 5_000_000) for n in range(10)]))
def test_metrics_of_amd(packed: bytes) -> None:
    with refused("malformed"):
        said = parse_metrics(packed)
        assert believable(said.power_watts, said.energy_uj and said.energy_uj % MOST_UJ)
        assert said.throttlers is None or 0 <= said.throttlers < 2**64


@many
@given(spoiled_bytes([PUBLISHED.encode()]))
def test_rails(answer: bytes) -> None:
    with refused("malformed"):
        watts = parse_rails(answer.decode(errors="replace"))
        assert all(believable(value, None) for value in watts.values())


CSV = b"ts,power_watts,energy_joules,device,utilization_ratio,temperature_celsius,gap\n" + b"".join(
    b"%d,%d.5,%d,gpu%d,0.5,40,\n" % (1_700_000_000 + n, n, 100 + n, n % 2) for n in range(8)
)
JSON_LINES = b"".join(
    b'{"device":"g","kind":"gpu","ts_ms":%d,"power_watts":%d.25,"energy_uj":%d}\n' % (n, n, n)
    for n in range(1, 9)
)


@settings(parent=many, max_examples=60)
@given(spoiled_bytes([CSV, JSON_LINES]))
def test_replayed_logs(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "spoiled.csv"
    file.write_bytes(content)
    source = ReplaySource(file)
    with refused("format", "local_time"):
        devices = {device.key for device in source.discover()}
        sample = source.read()
        for reading in sample.readings:
            assert reading.device in devices
            assert believable(reading.power_watts, reading.energy_uj)
            assert reading.utilization_ratio is None or 0 <= reading.utilization_ratio <= 1
