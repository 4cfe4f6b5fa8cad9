"""From measured costs to a layout: what fleets of a thousand to a million GPUs need.

``python -m bench.sizing --ingest-us 0.5 --ledger-us 2.8 --tick-bytes 20 ...`` prints the table of
docs/SCALING.md. Every cost is an argument, named there with the command that measured it; the rest
is arithmetic, written down here. Nothing here is measured.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

HOUR_S, DAY_S, YEAR_DAYS = 3600, 86_400, 365
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SAMPLES = 15
"""Of a GPU at each reading."""
GPUS_PER_NODE = 8


@dataclass(frozen=True)
class Costs:
    """``ingest_us`` of CPU a sample, stored; ``ledger_us`` of CPU a reading of an hour that is
    computed; bytes on disk a reading and an hour of charges a GPU; bytes on the wire a body."""

    ingest_us: float
    ledger_us: float
    tick_bytes: float
    minute_bytes: float
    hour_bytes: float
    body_bytes: float
    step_s: float
    interval_s: float
    busy: float
    raw_days: int
    minute_days: int


@dataclass(frozen=True)
class Layout:
    """What one size needs. Cores are those of the machine that measured."""

    gpus: int
    samples_per_s: float
    ingest_cores: float
    ledger_cores: float
    raw_gb: float
    minutes_gb: float
    hours_gb: float
    network_mbit: float
    requests_per_s: float
    collectors: int
    shards: int


def layout(gpus: int, costs: Costs, collector_cores: float, shard_cores: float) -> Layout:
    """Return the layout of ``gpus``; a collector and a shard are busy to at most ``busy``."""
    readings = gpus / costs.step_s
    samples = readings * SAMPLES
    ingest = samples * costs.ingest_us / 1e6
    # Each run computes the hour as far as it has come: half of it on average.
    ledger = readings * HOUR_S / 2 * costs.ledger_us / 1e6 / costs.interval_s
    requests = gpus / GPUS_PER_NODE / costs.step_s
    return Layout(
        gpus,
        samples,
        ingest,
        ledger,
        readings * DAY_S * costs.raw_days * costs.tick_bytes / 1e9,
        gpus * 1440 * costs.minute_days * costs.minute_bytes / 1e9,
        gpus * 24 * YEAR_DAYS * costs.hour_bytes / 1e9,
        requests * costs.body_bytes * 8 / 1e6,
        requests,
        max(1, -(-int(ingest * 100) // int(collector_cores * costs.busy * 100))),
        max(1, -(-int(ledger * 100) // int(shard_cores * costs.busy * 100))),
    )


def table(layouts: list[Layout]) -> str:
    """Return the rows as Markdown."""
    rows = [
        ("GPUs", [f"{x.gpus:,}" for x in layouts]),
        ("samples a second", [f"{x.samples_per_s:,.0f}" for x in layouts]),
        ("requests a second", [f"{x.requests_per_s:,.1f}" for x in layouts]),
        ("network, Mbit/s", [f"{x.network_mbit:,.2f}" for x in layouts]),
        ("cores that take in", [f"{x.ingest_cores:,.2f}" for x in layouts]),
        ("cores of the ledger", [f"{x.ledger_cores:,.2f}" for x in layouts]),
        ("raw readings, GB", [f"{x.raw_gb:,.0f}" for x in layouts]),
        ("charges by the minute, GB", [f"{x.minutes_gb:,.0f}" for x in layouts]),
        ("charges by the hour, GB a year", [f"{x.hours_gb:,.1f}" for x in layouts]),
        ("collectors", [str(x.collectors) for x in layouts]),
        ("shards", [str(x.shards) for x in layouts]),
    ]
    head, *rest = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join([head, "|---" * (len(layouts) + 1) + "|", *rest])


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sizing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, meaning in (
        ("ingest-us", "CPU of a sample, taken in and stored (bench.ingest)"),
        ("ledger-us", "CPU of a reading in an hour that is computed (bench.scale)"),
        ("tick-bytes", "bytes of a reading's samples on disk (bench.query)"),
        ("minute-bytes", "bytes of a minute of a GPU, measured and charged (bench.scale)"),
        ("hour-bytes", "bytes of an hour of a GPU, charged (bench.scale)"),
        ("body-bytes", "bytes of a request of one machine, compressed (bench.ingest)"),
    ):
        parser.add_argument(f"--{name}", type=float, required=True, help=meaning)
    parser.add_argument("--step", type=float, default=10.0, help="seconds between readings (10)")
    parser.add_argument("--interval", type=float, default=60.0, help="between ledger runs (60)")
    parser.add_argument("--busy", type=float, default=0.5, help="share of a machine in use (0.5)")
    parser.add_argument("--raw-days", type=int, default=30)
    parser.add_argument("--minute-days", type=int, default=180)
    parser.add_argument("--collector-cores", type=float, default=2.0, help="of one collector (2)")
    parser.add_argument("--shard-cores", type=float, default=16.0, help="of one shard (16)")
    told = parser.parse_args()
    costs = Costs(
        told.ingest_us, told.ledger_us, told.tick_bytes, told.minute_bytes, told.hour_bytes,
        told.body_bytes, told.step, told.interval, told.busy, told.raw_days, told.minute_days,
    )  # fmt: skip
    cores = told.collector_cores, told.shard_cores
    print(table([layout(gpus, costs, *cores) for gpus in SIZES]))


if __name__ == "__main__":
    main()
