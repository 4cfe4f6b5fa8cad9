"""``wattshed import csv|nvidia-smi|tegrastats|ipmi|mlperf``: what each is told, how it reads."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import answers
from .import_run import Job, mlperf, run

if TYPE_CHECKING:
    from wattshed_collector.receivers.files import Place, Reading, Tally
    from wattshed_collector.receivers.files.lines import Lines
    from wattshed_collector.receivers.files.mapping import Meaning

Subparsers = argparse._SubParsersAction
Command = argparse.ArgumentParser
STATUS = """exit status: 0 done, 1 nothing could be used, or the store or a file cannot be read,
2 the file is of another kind, or the command line is wrong
"""
COMMON = """Files may be compressed (gzip, zstd) and are read as a stream; - is standard input.
Goes through the collector that runs on the data folder, else straight into its store. Importing the
same twice changes nothing. What cannot be used is counted by reason; readings older than the store
keeps raw ones are refused."""
CSV = """A table with a time, a power or an energy counter, and perhaps more, by a mapping of its
columns. A field is time (or time_s, time_ms, time_us, time_ns), a quantity with its unit
(power_watts, energy_kilowatt_hours, utilization_percent, ...) or a text of the device (device,
node, kind, name, model, ...). quantity:name is the quantity of one of several devices side by side.
A column is named by its header or its number from 1.

"""
CSV_EXAMPLES = """examples:
  wattshed import csv power.csv --map time=timestamp --map power_watts=gpu_power \\
      --map device=uuid --set node=host1
  wattshed import csv wide.csv.gz --map time=t --map power_watts:gpu0=p0 \\
      --map power_watts:gpu1=p1 --set node=host1 --timezone Europe/Berlin
  wattshed import csv meter.csv --mapping meter.yaml --dry-run
"""
SMI = """Logs of nvidia-smi --query-gpu=... --format=csv, with or without header and units, and of
nvidia-smi dmon. Times are local: --timezone says where.

"""
SMI_EXAMPLES = """examples:
  nvidia-smi --query-gpu=timestamp,uuid,index,name,power.draw,utilization.gpu \\
      --format=csv -l 1 > gpus.csv
  wattshed import nvidia-smi gpus.csv --node gpu1 --timezone Europe/Berlin
  wattshed import nvidia-smi old.csv --node gpu1 --columns timestamp,index,power.draw \\
      --gpu 0=GPU-5c1f8a6e-7d1b-4f0a-9a53-0c2f6f1d2b3e
  nvidia-smi dmon -s pum -o DT | wattshed import nvidia-smi - --node gpu1
"""
TEGRA = """Logs of tegrastats, with or without times; the rails are the meters that a scrape of
jetson_stats_node_exporter has.

"""
TEGRA_EXAMPLES = """examples:
  wattshed import tegrastats tegra.log --node orin1 --timezone UTC
  wattshed import tegrastats old.log --node nano1 --start 2026-01-31T08:00:00Z --interval 1
"""
IPMI = """Logs of ipmitool dcmi power reading, and of rows of ipmitool sdr or sensor. Only the
machine's own power is read: DCMI's instantaneous one, or the sensor that is named like a total.
Tables have no times of their own.

"""
IPMI_EXAMPLES = """examples:
  while sleep 10; do date -Is; ipmitool dcmi power reading; done > dcmi.log
  wattshed import ipmi dcmi.log --node host1
  wattshed import ipmi sdr.log --node host1 --sensor 'PS1 Input' --sensor 'PS2 Input' \\
      --start 2026-01-31T08:00:00Z --interval 10
"""
MLPERF = """Result folders of MLPerf Inference, Training (with power logs) and Tiny: readings, runs
as workloads, and what they produced.

"""
MLPERF_EXAMPLES = """examples:
  wattshed import mlperf results/h200x8/llama2-70b/Server
  wattshed validate results/h200x8/llama2-70b/Server   the figures alone, without a store
"""


def register(sources: Subparsers[Command]) -> None:
    """Add the commands."""
    csv = _command(sources, "csv", "tables of readings", CSV + COMMON, CSV_EXAMPLES)
    _add_columns(csv)
    smi = _command(sources, "nvidia-smi", "logs of nvidia-smi", SMI + COMMON, SMI_EXAMPLES)
    smi.add_argument("--columns", default="", help="fields of a log without a header, by commas")
    smi.add_argument("--device", default="", help="name of the GPU, where no column says it")
    smi.add_argument(
        "--gpu",
        action="append",
        default=[],
        metavar="NAME=UUID",
        help="which GPU is meant by an index, serial or bus id (may be repeated)",
    )
    tegra = _command(sources, "tegrastats", "logs of Jetsons", TEGRA + COMMON, TEGRA_EXAMPLES)
    ipmi = _command(sources, "ipmi", "logs of ipmitool", IPMI + COMMON, IPMI_EXAMPLES)
    ipmi.add_argument(
        "--sensor",
        action="append",
        default=[],
        metavar="NAME",
        help="sensor of the machine's power; of several the sum counts",
    )
    for command in (smi, tegra, ipmi):
        command.add_argument("--start", metavar="TIME", help="first instant of a log without times")
    for command in (csv, smi, tegra, ipmi):
        _add_place(command)
    for command, reads in ((csv, table), (smi, nvidia_smi), (tegra, tegrastats), (ipmi, ipmitool)):
        command.set_defaults(run=partial(_run, reads))
    folders = sources.add_parser(
        "mlperf",
        help="MLPerf result folders",
        description=MLPERF + COMMON,
        epilog=MLPERF_EXAMPLES + STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    folders.add_argument("files", metavar="DIR", nargs="+", help="MLPerf result folders")
    _add_how(folders)
    folders.set_defaults(run=lambda arguments: mlperf(_job(arguments)))


def _command(
    sources: Subparsers[Command], name: str, title: str, description: str, examples: str
) -> Command:
    command = sources.add_parser(
        name,
        help=title,
        description=description,
        epilog=examples + STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("files", metavar="FILE", nargs="*", help="- is standard input (default)")
    return command


def _add_columns(csv: Command) -> None:
    csv.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="FIELD=COLUMN",
        help="what a column is (may be repeated)",
    )
    csv.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=TEXT",
        help="what is the same in all rows, such as kind=host",
    )
    csv.add_argument("--mapping", type=Path, metavar="FILE", help="all of this as YAML; flags win")
    csv.add_argument("--delimiter", default="", help="between columns (default: found out)")
    csv.add_argument("--decimal", default="", help="decimal mark: . (default) or ,")
    csv.add_argument(
        "--time-format", default="", help="as of strptime, such as '%%d.%%m.%%Y %%H:%%M'"
    )
    csv.add_argument(
        "--missing", action="append", default=[], metavar="TEXT", help="stands for no value, too"
    )
    csv.add_argument("--no-header", action="store_true", help="the first row is data")


def _add_place(command: Command) -> None:
    for name, title in (
        ("node", "machine that was measured"),
        ("cluster", "cluster of the machine"),
        ("site", "site of the machine"),
        ("tier", "tier of the machine: datacenter, edge, ..."),
    ):
        command.add_argument(f"--{name}", default="", help=title)
    command.add_argument(
        "--timezone",
        default="",
        metavar="TZ",
        help="zone of times without one (default: this machine's)",
    )
    command.add_argument(
        "--interval",
        type=float,
        metavar="SECONDS",
        help="nominal time between readings (default: the median of the file's own)",
    )
    _add_how(command)


def _add_how(command: Command) -> None:
    command.add_argument("--dry-run", action="store_true", help="check everything, write nothing")
    command.add_argument("--json", action="store_true", help="print the summary as JSON")
    answers.add_place(command)


Reads = Callable[[argparse.Namespace, "Place", "Lines", "Tally"], Iterator["Reading"]]


def _run(reads: Reads, arguments: argparse.Namespace) -> int:
    from wattshed_collector.errors import InvalidInput
    from wattshed_collector.receivers.files import Place

    if arguments.interval is not None and not 0 < arguments.interval < 1e6:
        raise InvalidInput("--interval is a number of seconds above 0", "interval")
    place = Place(arguments.node, arguments.cluster, arguments.site, arguments.tier)
    return run(_job(arguments), lambda lines, tally: reads(arguments, place, lines, tally))


def _job(arguments: argparse.Namespace) -> Job:
    interval = getattr(arguments, "interval", None)
    return Job(
        files=tuple(arguments.files or ["-"]),
        remote=answers.connect(arguments),
        data=arguments.data,
        dry_run=arguments.dry_run,
        json=arguments.json,
        interval_ms=None if interval is None else max(1, round(interval * 1000)),
    )


def table(
    arguments: argparse.Namespace, place: Place, lines: Lines, tally: Tally
) -> Iterator[Reading]:
    from wattshed_collector.receivers.files.table import Table

    return Table(meaning(arguments), place, tally).read(lines)


def meaning(arguments: argparse.Namespace) -> Meaning:
    """Return what the command line and the mapping file say of a table."""
    from wattshed_collector.receivers.files.mapping import Meaning, load, over, pairs

    return over(
        load(arguments.mapping) if arguments.mapping else Meaning(),
        map=pairs(arguments.map, "--map"),
        set=pairs(arguments.set, "--set"),
        delimiter={"\\t": "\t", "tab": "\t"}.get(arguments.delimiter, arguments.delimiter),
        decimal=arguments.decimal,
        time_format=arguments.time_format,
        timezone=arguments.timezone,
        missing=tuple(arguments.missing),
        header=False if arguments.no_header else None,
    )


def nvidia_smi(
    arguments: argparse.Namespace, place: Place, lines: Lines, tally: Tally
) -> Iterator[Reading]:
    from wattshed_collector.receivers.files.mapping import pairs
    from wattshed_collector.receivers.files.nvidia_smi import Gpus, Log
    from wattshed_collector.receivers.files.times import Clock, zone

    gpus = Gpus(arguments.device, pairs(arguments.gpu, "--gpu"))
    columns = [name for name in arguments.columns.split(",") if name]
    clock = Clock(zone(arguments.timezone))
    return Log(place, clock, _beats(arguments), tally, gpus, columns).read(lines)


def tegrastats(
    arguments: argparse.Namespace, place: Place, lines: Lines, tally: Tally
) -> Iterator[Reading]:
    from wattshed_collector.receivers.files.tegrastats import read
    from wattshed_collector.receivers.files.times import Clock, zone

    return read(lines, place, Clock(zone(arguments.timezone)), _beats(arguments), tally)


def ipmitool(
    arguments: argparse.Namespace, place: Place, lines: Lines, tally: Tally
) -> Iterator[Reading]:
    from wattshed_collector.receivers.files.ipmitool import Log
    from wattshed_collector.receivers.files.times import Clock, zone

    clock, own_times = Clock(zone(arguments.timezone)), arguments.start is None
    beats = _beats(arguments)
    return Log(place, clock, beats, tally, arguments.sensor, own_times).read(lines)


def _beats(arguments: argparse.Namespace) -> Iterator[int]:
    from wattshed_collector.receivers.files.times import Clock, beats, zone

    start = arguments.start and Clock(zone(arguments.timezone)).read(arguments.start)
    interval = arguments.interval
    return beats(start or None, interval and max(1, round(interval * 1000)))
