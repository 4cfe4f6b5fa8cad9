"""What a row of details takes in the store: a node of 8 GPUs for some hours, column by column.

``python bench/samples.py --hours 6`` makes up 39 details of each GPU every 5 seconds, fills a
temporary embedded store with them through the migrations and the columns that the collector writes,
lets it merge and prints the bytes per row of each column as ``system.parts_columns`` tells them.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from wattshed_collector.store.client import Client, Store
from wattshed_collector.store.migrate import Layout, migrate
from wattshed_collector.store.rows import Ids, detail_columns
from wattshed_exporter.model import Detail

START_MS = 1_768_435_200_000  # 2026-01-15T00:00:00Z
STARTED_MS = START_MS - 86_400_000
GPUS = 8
EVERY_MS = 5000
SERIES: dict[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "wattshed_power_reading_watts": (
        "noise",
        (("gpu", "instant"), ("module", "instant"), ("memory", "instant")),
    ),
    "wattshed_power_limit_bound_watts": ("fixed", (("requested",), ("default",), ("min",))),
    "wattshed_memory_total_bytes": ("fixed", ((),)),
    "wattshed_memory_activity_ratio": ("percent", ((),)),
    "wattshed_process_utilization_ratio": ("percent", ((),)),
    "wattshed_engine_utilization_ratio": (
        "zero",
        (("encoder",), ("decoder",), ("jpeg",), ("ofa",)),
    ),
    "wattshed_contexts": ("fixed", ((),)),
    "wattshed_clock_hertz": ("clock", (("graphics",), ("sm",), ("memory",), ("video",))),
    "wattshed_sensor_temperature_celsius": ("slow", (("memory",),)),
    "wattshed_throttled": ("zero", (("power_cap",), ("thermal",))),
    "wattshed_throttled_seconds_total": (
        "rising",
        (("power_cap",), ("thermal",), ("idle",), ("hardware",)),
    ),
    "wattshed_ecc_errors_total": ("fixed", (("corrected",), ("uncorrected",))),
    "wattshed_link_bytes_total": ("rising", (("pcie", "transmit"), ("pcie", "receive"))),
    "wattshed_activity_start_timestamp_seconds": ("fixed", ((),)),
    "wattshed_activity_seconds_total": ("rising", (("busy",), ("parked",), ("unknown",))),
    "wattshed_activity_joules_total": ("rising", (("busy",), ("parked",), ("unknown",))),
    "wattshed_idle_baseline_watts": ("fixed", (("bare",), ("context",))),
    "wattshed_energy_agreement_ratio": ("slow", ((),)),
}
"""By metric, how its values go and the values of its own labels."""


class Node:
    """Details of made-up GPUs, the same ones each time."""

    def __init__(self) -> None:
        self._dice = random.Random(1)
        self._values: dict[tuple[str, str, tuple[str, ...]], float] = {}

    def hour(self, first_ms: int) -> Iterator[Detail]:
        for at in range(first_ms, first_ms + 3_600_000, EVERY_MS):
            for number in range(GPUS):
                device = f"GPU-{number:08x}-1234-4c1e-9f00-{number:012x}"
                ts_ms = at + self._dice.randrange(40)
                for metric, (how, labels) in SERIES.items():
                    start_ms = STARTED_MS if metric.endswith("_total") else None
                    for own in labels:
                        value = self._next(how, (device, metric, own))
                        yield Detail(device, metric, ts_ms, value, own, start_ms)

    def _next(self, how: str, series: tuple[str, str, tuple[str, ...]]) -> float:
        dice, last = self._dice, self._values.get(series)
        if how == "zero":
            value = 0.0
        elif how == "noise":
            value = round(dice.uniform(300, 400), 3)
        elif how == "percent":
            value = dice.randrange(100) / 100
        elif how == "rising":
            value = (last or 0.0) + round(dice.uniform(0, 3500), 3)
        elif last is None or (how != "fixed" and dice.random() < 1 / 6):
            value = 1e6 * (1980 - 15 * dice.randrange(8)) if how == "clock" else dice.randrange(90)
        else:
            value = last
        self._values[series] = value
        return value


def fill(client: Client, hours: int) -> None:
    """Write the hours in the order in which they come, as requests that take 150 ms each."""
    node, ids = Node(), Ids()
    for number in range(hours):
        columns = detail_columns(tuple(node.hour(START_MS + number * 3_600_000)), ids)
        taken = (ts // EVERY_MS * EVERY_MS + 150 for ts in columns["ts"])
        client.insert("sample", {**columns, "ingested_at": [ms * 1000 + ms % 977 for ms in taken]})
    client.command("OPTIMIZE TABLE sample FINAL")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=6)
    hours = parser.parse_args().hours
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        client = store.client()
        migrate(client, Layout(raw_days=0, minute_days=0))
        fill(client, hours)
        ((rows,),) = client.rows("SELECT count() FROM sample")
        sizes = client.rows(
            "SELECT column, sum(column_data_compressed_bytes) AS bytes FROM system.parts_columns "
            "WHERE table = 'sample' AND active GROUP BY column ORDER BY bytes DESC"
        )
        client.close()
        store.close()
    series = sum(len(labels) for _, labels in SERIES.values())
    print(f"{GPUS} GPUs x {series} details x {EVERY_MS / 1000:g} s x {hours} h: {rows} rows")
    for column, size in sizes:
        print(f"{column:12} {size / rows:6.3f} bytes per row")
    print(f"{'all':12} {sum(size for _, size in sizes) / rows:6.3f} bytes per row")


if __name__ == "__main__":
    main()
