"""Programs of ours as processes of their own: started, waited for, and stopped with us."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

from . import address
from .errors import CollectorError

START_SECONDS = 60.0


class ChildError(CollectorError):
    """One of the programs did not start or ended by itself."""


def check_free(flag: str, listen: str) -> None:
    """Raise ChildError where another program listens at ``host:port``; ``flag`` names another port.

    Whatever else is wrong with it is said by the program that is to listen there.
    """
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, int(port)))
        except (ValueError, OverflowError):
            return
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                said = f"{flag}: another program listens on {listen}"
                raise ChildError(f"{said}; stop it, or name another port") from None


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
def running(
    name: str,
    module: str,
    flags: Sequence[str],
    logs: Path,
    stop_seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Child]:
    """Run ``python -m module`` for the length of the block; it does not outlive this process."""
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


def wait_for(collector: Child, data: Path) -> str:
    """Return the URL of a collector that has just been started; raises ChildError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        collector.check()
        url = address.find(data, collector.process.pid)
        if url and get(url, "/healthz") is not None:
            return url
        time.sleep(0.1)
    raise ChildError(f"the collector did not answer within {START_SECONDS:.0f} s")


def get(url: str, path: str, token: str = "") -> Any:
    """Return a JSON answer, None where there is none."""
    request = Request(url + path)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with urlopen(request, timeout=5) as response:
            return json.load(response)
    except (URLError, TimeoutError, OSError, ValueError):
        return None
