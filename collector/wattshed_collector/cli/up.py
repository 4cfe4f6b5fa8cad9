"""``wattshed up`` and ``wattshed demo``: exporter and collector of this machine, in the foreground.

Each runs as a process of its own, so that neither can take the other down; their logs go to the
data folder and the terminal keeps one line of status. They stop when this process does.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from wattshed_collector import address
from wattshed_collector.errors import CollectorError
from wattshed_collector.present import units

Subparsers = argparse._SubParsersAction

START_SECONDS = 60.0
EXPORTER_STOP_SECONDS = 2.5
COLLECTOR_STOP_SECONDS = 4.5
RATE_SECONDS = 10.0
"""Readings arrive in portions, seconds apart: their rate is a mean over this time."""
QUIET_STATUS_SECONDS = 10.0
"""Time between two status lines where the output is not a terminal."""


class ChildError(CollectorError):
    """One of the two programs did not start or ended by itself."""


def register(commands: Subparsers[argparse.ArgumentParser]) -> None:
    """Add both commands."""
    up = commands.add_parser(
        "up",
        help="measure this machine: exporter, collector and page, until Ctrl-C",
        epilog="example: wattshed up --data /var/lib/wattshed --listen 0.0.0.0:9740 --anonymous",
    )
    _add_arguments(up, "wattshed-data")
    up.set_defaults(run=lambda arguments: run(arguments, demo=False))
    demo = commands.add_parser(
        "demo",
        help="the same, plus a simulated fleet with a day of history",
        epilog="example: wattshed demo --history-hours 48",
    )
    _add_arguments(demo, "wattshed-demo-data")
    demo.add_argument("--history-hours", default="24", help="hours of the past to make up")
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
    collector = stack.enter_context(
        _running(
            "collector",
            "wattshed_collector",
            ["--data", str(data), "--listen", arguments.listen, *_anonymous(arguments)],
            logs,
            COLLECTOR_STOP_SECONDS,
        )
    )
    url = _wait_for(collector, data)
    environment = _environment(data, url)
    push = ["--otlp.endpoint", url]
    exporter = ["--web.listen-address", arguments.exporter_listen, *push]
    exporter += ["--state-dir", str(data / "exporter")]
    children = [
        collector,
        stack.enter_context(
            _running(
                "exporter", "wattshed_exporter", exporter, logs, EXPORTER_STOP_SECONDS, environment
            )
        ),
    ]
    if demo:
        fleet = ["--sources", "simulate", "--web.listen-address", "", "--node", "demo", *push]
        fleet += ["--simulate.history-hours", arguments.history_hours]
        children.append(
            stack.enter_context(
                _running(
                    "fleet", "wattshed_exporter", fleet, logs, EXPORTER_STOP_SECONDS, environment
                )
            )
        )
    return url, children


def _environment(data: Path, url: str) -> dict[str, str]:
    """Return what the exporter is given where a security.file in the environment asks who it is."""
    if url.startswith("https:"):
        raise ChildError(
            "this speaks http on one machine; for https run wattshed-collector and "
            "wattshed-exporter by themselves"
        )
    token, _ = address.key(data, url)
    return {"WATTSHED_OTLP_TOKEN": token} if token else {}


class Child:
    """One of the programs; ``check`` raises ChildError with the end of its log if it ended.

    ``start`` is where in the log what it says begins.
    """

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path, start: int) -> None:
        self.name = name
        self.process = process
        self._log = log
        self._start = start

    def check(self) -> None:
        status = self.process.poll()
        if status is not None:
            log = self._log.read_bytes()[self._start :].decode(errors="replace")
            tail = log.strip().splitlines()[-3:]
            said = "\n  ".join(tail) or "it said nothing"
            raise ChildError(f"the {self.name} ended with status {status}:\n  {said}")


@contextmanager
def _running(
    name: str,
    module: str,
    flags: Sequence[str],
    logs: Path,
    stop_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    path = logs / f"{name}.log"
    # Appended to: another wattshed may be running on this folder and writing to the same file.
    with path.open("ab") as log:
        # A session of its own, so that Ctrl-C reaches only us and we stop them in order.
        process = subprocess.Popen(
            [sys.executable, "-m", module, *flags],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent,
            env={**os.environ, **(environment or {})},
        )
        try:
            yield Child(name, process, path, log.tell())
        finally:
            process.terminate()
            try:
                process.wait(stop_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    import ctypes

    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _wait_for(collector: Child, data: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        collector.check()
        url = address.find(data, collector.process.pid)
        if url and _get(url, "/healthz") is not None:
            return url
        time.sleep(0.1)
    raise ChildError(f"the collector did not answer within {START_SECONDS:.0f} s")


def _statuses(url: str, children: Sequence[Child], token: str) -> Iterator[str]:
    seen: deque[tuple[float, int]] = deque()
    while True:
        for child in children:
            child.check()
        status = _get(url, "/v1/status", token)
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


def _get(url: str, path: str, token: str = "") -> Any:
    request = Request(url + path)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=5) as response:
            return json.load(response)
    except (URLError, TimeoutError, OSError, ValueError):
        return None
