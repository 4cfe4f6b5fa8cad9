"""The NVML source in a process of its own, against a compiled stand-in for the driver's library."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

DRIVE = Path(__file__).parents[3] / "fixtures/nvml/drive.py"
HOST_PIDS = "pid:[4026531836]"
Answer = dict[str, Any]
Details = dict[tuple[str, ...], float]
"""Values by metric, its own labels, and ``@device`` where there is more than one."""


class Process:
    """A process that holds the source, and the scenario that its library answers from.

    ``sysfs`` may hold PCI devices; by default there are none. The process sees the host's PIDs.
    ``driver`` is where ``drive.py`` listens.
    """

    def __init__(
        self, driver: Path, folder: Path, *, detail_seconds: float = 0.001, pids: str = HOST_PIDS
    ) -> None:
        self._scenario = folder / "scenario"
        self._log = folder / "calls"
        self.sysfs = folder / "sys"
        namespace = folder / "proc/self/ns"
        if not namespace.exists():
            namespace.mkdir(parents=True)
            (namespace / "pid").symlink_to(pids)
        roots = {"sysfs": str(self.sysfs), "procfs": str(folder / "proc")}
        self.tell()
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(driver))
            self._stream = link.makefile("rw")
        self._pid = int(self._stream.readline())
        environ = {"FAKE_NVML_SCENARIO": str(self._scenario)}
        told = {**roots, "detail_seconds": detail_seconds, "environ": environ}
        print(json.dumps(told), file=self._stream, flush=True)

    def tell(self, *lines: str) -> None:
        """Have the library answer by these lines from now on; one write, so never by half."""
        text = "".join(f"{line}\n" for line in (*lines, f"log {self._log}"))
        draft = self._scenario.with_suffix(".draft")
        draft.write_text(text, errors="surrogateescape")
        draft.replace(self._scenario)

    def calls(self) -> list[str]:
        """Return the calls since the last time, as key and index of the GPU."""
        try:
            lines = self._log.read_text().splitlines()
        except FileNotFoundError:
            return []
        self._log.unlink()
        return lines

    def ask(self, command: str) -> Answer:
        print(command, file=self._stream, flush=True)
        answer: Answer = json.loads(self._stream.readline())
        return answer

    def discover(self) -> list[Answer]:
        answer = self.ask("discover")
        assert "devices" in answer, answer
        devices: list[Answer] = answer["devices"]
        return devices

    def read(self) -> list[Answer]:
        readings: list[Answer] = self.ask("read")["readings"]
        return readings

    def sample(self) -> tuple[list[Answer], Details]:
        """Return readings and details; asks until details are due."""
        for _ in range(100):
            answer = self.ask("sample")
            if answer["details"]:
                break
        else:
            raise AssertionError("no details come")
        many = len({row[0] for row in answer["details"]}) > 1
        details = {
            (metric, *own, *([f"@{device}"] if many else [])): value
            for device, metric, own, value, _ in answer["details"]
        }
        assert len(details) == len(answer["details"]), "a detail is said twice"
        return answer["readings"], details

    def uses(self) -> Answer:
        """Return processes and instances; asks until they are due."""
        for _ in range(100):
            answer = self.ask("uses")
            if answer["instances"] is not None:
                return answer
        raise AssertionError("no instances come")

    def details(self) -> Details:
        return self.sample()[1]

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._stream.close()


Start = Callable[..., Process]
Drivers = Callable[[dict[str, str]], Path]


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """Give the socket of a ``drive.py`` with an environment; one serves all tests."""
    sockets: dict[str, Path] = {}
    with ExitStack() as stack:

        def driver(environ: dict[str, str]) -> Path:
            known = json.dumps(environ, sort_keys=True)
            if known not in sockets:
                path = tmp_path_factory.mktemp("driver") / "socket"
                command = [sys.executable, "-W", "error", str(DRIVE), str(path)]
                process = stack.enter_context(
                    subprocess.Popen(
                        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
                    )
                )
                stack.callback(process.kill)
                assert process.stdout is not None
                assert process.stdout.readline() == "listening\n"
                sockets[known] = path
            return sockets[known]

        yield driver


@pytest.fixture
def start(fake_nvml: Path, tmp_path: Path, drivers: Drivers) -> Iterator[Start]:
    """Start processes with the stand-in, or with the libraries in another folder."""
    with ExitStack() as stack:

        def start(
            library: Path = fake_nvml, environ: dict[str, str] | None = None, **how: Any
        ) -> Process:
            driver = drivers({"LD_LIBRARY_PATH": str(library), **(environ or {})})
            return stack.enter_context(Process(driver, tmp_path, **how))

        yield start


@pytest.fixture
def nvml(start: Start) -> Process:
    return start()
