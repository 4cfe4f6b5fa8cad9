"""``wattshed up`` and ``wattshed demo``: exporter and collector of this machine, in the foreground.

Each runs as a process of its own, so that neither can take the other down; their logs go to the
data folder and the terminal keeps one line of status. They stop when this process does.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from wattshed_collector import address
from wattshed_collector.children import Child, ChildError, check_free, get, running, wait_for
from wattshed_collector.present import units

from . import demo_facts
from .access import Key
from .answers import Remote

Subparsers = argparse._SubParsersAction

EXPORTER_STOP_SECONDS = 2.5
COLLECTOR_STOP_SECONDS = 4.5
RATE_SECONDS = 10.0
"""Readings arrive in portions, seconds apart: their rate is a mean over this time."""
BACKUPS = "WATTSHED_COLLECTOR_DURABILITY_BACKUP_FOLDER", "WATTSHED_COLLECTOR_CONFIG"
"""Where somebody may have said where backups may be."""
QUIET_STATUS_SECONDS = 10.0
"""Time between two status lines where the output is not a terminal."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    up = commands.add_parser(
        "up",
        help="measure this machine: exporter, collector and page, until Ctrl-C",
        epilog="example:\n  wattshed up --data /var/lib/wattshed --listen 0.0.0.0:9740 --anonymous",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(up, "wattshed-data")
    up.set_defaults(run=lambda arguments: run(arguments, demo=False))
    demo = commands.add_parser(
        "demo",
        help="the same, plus a simulated fleet with a day of history",
        epilog="example: wattshed demo --history-hours 48",
    )
    _add_arguments(demo, "wattshed-demo-data")
    demo.add_argument(
        "--history-hours",
        type=float,
        default=24.0,
        help="hours of the past to make up (default: %(default)s)",
    )
    demo.set_defaults(run=lambda arguments: run(arguments, demo=True))


def _add_arguments(command: argparse.ArgumentParser, data: str) -> None:
    command.add_argument(
        "--data", default=data, metavar="FOLDER", help="data folder, kept (default: %(default)s)"
    )
    command.add_argument(
        "--listen", default="127.0.0.1:9740", help="where the page is (default: %(default)s)"
    )
    command.add_argument(
        "--anonymous",
        action="store_true",
        help="where other machines reach it, let anybody see and send everything",
    )
    command.add_argument(
        "--exporter-listen",
        default="127.0.0.1:9741",
        help="where the exporter's /metrics is (default: %(default)s)",
    )


def run(arguments: argparse.Namespace, *, demo: bool) -> int:
    """Run until Ctrl-C or SIGTERM; 0 stopped on purpose, 1 something ended by itself."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = Path(arguments.data).absolute()
    try:
        with ExitStack() as stack:
            url, children = _start(stack, arguments, data, demo=demo)
            print(f"data     {data}")
            print(f"page     {url}")
            print(f"metrics  http://{arguments.exporter_listen}/metrics", flush=True)
            try:
                token, _ = address.key(data, url)
                for line in _statuses(url, children, token):
                    _show(line)
            except ChildError:
                if sys.stdout.isatty():
                    print()
                raise
    except KeyboardInterrupt:
        print("\nstopped" if sys.stdout.isatty() else "stopped")
    return 0


def _anonymous(arguments: argparse.Namespace) -> list[str]:
    return ["--security.anonymous"] if arguments.anonymous else []


def _start(
    stack: ExitStack, arguments: argparse.Namespace, data: Path, *, demo: bool
) -> tuple[str, list[Child]]:
    logs = data / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    _check_ports(arguments, data)
    collector = stack.enter_context(
        running(
            "collector",
            "wattshed_collector",
            [
                *("--data", str(data), "--listen", arguments.listen),
                *_anonymous(arguments),
                *_backups(data, os.environ),
                *(_objectives(data) if demo else ()),
            ],
            logs,
            COLLECTOR_STOP_SECONDS,
        )
    )
    url = wait_for(collector, data)
    environment = _environment(data, url)
    push = ["--otlp.endpoint", url]
    exporter = ["--web.listen-address", arguments.exporter_listen, *push]
    exporter += ["--state-dir", str(data / "exporter")]
    children = [
        collector,
        stack.enter_context(
            running(
                "exporter", "wattshed_exporter", exporter, logs, EXPORTER_STOP_SECONDS, environment
            )
        ),
    ]
    if demo:
        remote = Remote(url, Key(environment.get("WATTSHED_OTLP_TOKEN", "")))
        demo_facts.tell(remote, time.time(), arguments.history_hours)
        fleet = ["--sources", "simulate", "--web.listen-address", "", "--node", "demo", *push]
        fleet += ["--simulate.history-hours", f"{arguments.history_hours:g}"]
        children.append(
            stack.enter_context(
                running(
                    "fleet", "wattshed_exporter", fleet, logs, EXPORTER_STOP_SECONDS, environment
                )
            )
        )
    return url, children


def _check_ports(arguments: argparse.Namespace, data: Path) -> None:
    try:
        check_free("--listen", arguments.listen)
        check_free("--exporter-listen", arguments.exporter_listen)
    except ChildError as error:
        if url := address.find(data):
            raise ChildError(f"{error} (on {data} wattshed runs already, at {url})") from None
        raise


def _backups(data: Path, environment: Mapping[str, str]) -> list[str]:
    """Return the setting by which `wattshed backup` works while this runs."""
    is_said = any(map(environment.get, BACKUPS))
    return [] if is_said else ["--durability.backup-folder", str(data / "backups")]


def _objectives(data: Path) -> list[str]:
    """Write the demo's objectives, and return the setting that names them."""
    file = data / "demo-slos.yaml"
    file.write_text(demo_facts.SLOS, encoding="utf-8")
    return ["--slo.file", str(file)]


def _environment(data: Path, url: str) -> dict[str, str]:
    """Return what the exporter is given where a security.file in the environment asks who it is."""
    if url.startswith("https:"):
        raise ChildError(
            "this speaks http on one machine; for https run wattshed-collector and "
            "wattshed-exporter by themselves"
        )
    token, _ = address.key(data, url)
    return {"WATTSHED_OTLP_TOKEN": token} if token else {}


def _statuses(url: str, children: Sequence[Child], token: str) -> Iterator[str]:
    seen: deque[tuple[float, int]] = deque()
    while True:
        for child in children:
            child.check()
        status = get(url, "/v1/status", token)
        if status is None:
            yield "waiting for the collector"
        else:
            seen.append((time.monotonic(), int(status["ticks_written"])))
            yield _status(status["devices"], status["power_watts"], _rate(seen))
        time.sleep(1.0 if sys.stdout.isatty() else QUIET_STATUS_SECONDS)


def _rate(seen: deque[tuple[float, int]]) -> float:
    """Return readings per second over the last ``RATE_SECONDS``; drops what is older."""
    (newest, total) = seen[-1]
    while len(seen) > 2 and newest - seen[1][0] >= RATE_SECONDS:
        seen.popleft()
    (oldest, before) = seen[0]
    return (total - before) / (newest - oldest) if newest > oldest else 0.0


def _status(devices: int, power_watts: float | None, rate: float) -> str:
    plural = "" if devices == 1 else "s"
    power = units.watts(power_watts)
    return f"{devices} device{plural}, {power} now, {rate:.0f} readings/s, Ctrl-C stops"


def _show(line: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[2K{line}")
        sys.stdout.flush()
    else:
        print(line, flush=True)
