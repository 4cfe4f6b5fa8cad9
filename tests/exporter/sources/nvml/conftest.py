"""The NVML source in a process of its own, against a compiled stand-in for the driver's library."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
    """

    def __init__(
        self, folder: Path, *, detail_seconds: float = 0.001, pids: str = HOST_PIDS, **environ: str
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
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "error",
                str(DRIVE),
                json.dumps({**roots, "detail_seconds": detail_seconds}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ, "FAKE_NVML_SCENARIO": str(self._scenario)},
        )

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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        answer: Answer = json.loads(self._process.stdout.readline())
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
        with self._process:
            self._process.kill()


Start = Callable[..., Process]


@pytest.fixture
def start(fake_nvml: Path, tmp_path: Path) -> Iterator[Start]:
    """Start processes with the stand-in, or with the libraries in another folder."""
    with ExitStack() as stack:
        yield lambda library=fake_nvml, **how: stack.enter_context(
            Process(tmp_path, LD_LIBRARY_PATH=str(library), **how)
        )


@pytest.fixture
def nvml(start: Start) -> Process:
    return start()
