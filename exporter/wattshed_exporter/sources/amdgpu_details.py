"""What an amdgpu card says beside power and energy: clocks, memory, temperatures, limits, errors.

The caller sees to it that the card is awake, because each of these files but that of the memory's
size would resume one that sleeps. ``pcie_bw`` is left alone: the driver counts for a whole second
before it answers. The reasons of throttling are those of gpu_metrics 1.3, whose bits are the same
for every chip, by their four groups. Sources: "GPU Power/Thermal Controls and Monitoring" and "RAS
Error Count sysfs Interface" of the Linux kernel's documentation; pm/swsmu/inc/amdgpu_smu.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from wattshed_exporter.errors import SourceError
from wattshed_exporter.model import Detail

from .amdgpu_card import MOST_CELSIUS, Card, Taken, sensor_number
from .sysfs import read_file, read_text

SENSORS, CLOCKS = range(1, 5), {"sclk": "graphics", "mclk": "memory"}
MOST_HERTZ = 100_000_000_000
ERRORS = re.compile(rb"^(ue|ce): ([0-9]{1,18})$", re.MULTILINE)
SEVERITIES = {b"ue": "uncorrected", b"ce": "corrected"}
THROTTLERS = {"power": 0xFFFF, "current": 0xFFFF << 16, "thermal": 0xFFFF << 32}
THROTTLERS["other"] = 0xFFFF << 48
"""Groups of bits: PPT and SPL, TDC and EDC, temperatures with VRHOT and PROCHOT, PPM and FIT."""

Value = tuple[str, float, str]
"""Metric, value, and the value of the metric's own label ("" where it has none)."""


def details(card: Card, key: str, now: Taken) -> list[Detail]:
    """Return what a card that is awake says; what it does not say is left out."""
    ts_ms = now.ts_ns // 1_000_000
    return [
        Detail(key, metric, ts_ms, value, (label,) if label else ())
        for metric, value, label in _values(card, now)
    ]


def _values(card: Card, now: Taken) -> Iterator[Value]:
    hwmon = card.hwmon()
    total = sensor_number(f"{card.folder}/mem_info_vram_total")
    if total:
        yield "wattshed_memory_total_bytes", total, ""
    percent = sensor_number(f"{card.folder}/mem_busy_percent")
    if percent is not None and percent <= 100:
        yield "wattshed_memory_activity_ratio", percent / 100, ""
    for number in SENSORS:
        yield from _clock(hwmon, number)
        yield from _temperature(hwmon, number)
    yield from _limits(hwmon)
    yield from _errors(card)
    throttlers = now.metrics.throttlers
    if throttlers is not None:
        for reason, bits in THROTTLERS.items():
            yield "wattshed_throttled", float(bool(throttlers & bits)), reason


def _clock(hwmon: str, number: int) -> Iterator[Value]:
    domain = CLOCKS.get(read_text(f"{hwmon}/freq{number}_label"))
    hertz = sensor_number(f"{hwmon}/freq{number}_input") if domain else None
    if domain and hertz is not None and hertz <= MOST_HERTZ:
        yield "wattshed_clock_hertz", hertz, domain


def _temperature(hwmon: str, number: int) -> Iterator[Value]:
    sensor = read_text(f"{hwmon}/temp{number}_label")
    millidegrees = sensor_number(f"{hwmon}/temp{number}_input") if sensor else None
    if millidegrees is not None and millidegrees <= MOST_CELSIUS * 1000:
        yield "wattshed_sensor_temperature_celsius", millidegrees / 1000, sensor


def _limits(hwmon: str) -> Iterator[Value]:
    for bound in ("default", "min", "max"):
        microwatts = sensor_number(f"{hwmon}/power1_cap_{bound}")
        if microwatts is not None:
            yield "wattshed_power_limit_bound_watts", microwatts / 1e6, bound


def _errors(card: Card) -> Iterator[Value]:
    """Yield the errors of the memory controller (UMC), where the card has RAS."""
    try:
        text = read_file(f"{card.folder}/ras/umc_err_count")
    except SourceError:
        return
    for match in ERRORS.finditer(text):
        yield "wattshed_ecc_errors_total", int(match[2]), SEVERITIES[match[1]]
