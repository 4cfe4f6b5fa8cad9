"""Raw readings of NVML beside the work: fast ones at 10 Hz, once a phase all fields."""

from __future__ import annotations

import ctypes
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pynvml

FIELD_BYTES, BATCH = 40, 32
NOT_SUPPORTED = 3
SCOPES = {0: range(1, 300), 1: (185, 186), 2: (185, 186)}
PERIOD_SECONDS = 0.1
CALLS = {
    "nvmlDeviceGetPowerUsage": ctypes.c_uint32,
    "nvmlDeviceGetTotalEnergyConsumption": ctypes.c_uint64,
    "nvmlDeviceGetCurrentClocksEventReasons": ctypes.c_uint64,
}
TRIES = 20


@dataclass(slots=True)
class Readings:
    """What was read so far; ``rows`` are (Unix ms, mW, mJ, percent busy)."""

    rows: list[tuple[int, int, int, int]] = field(default_factory=list)
    states: dict[str, dict[str, Any]] = field(default_factory=dict)
    cpu_microseconds: dict[str, int] = field(default_factory=dict)


class Recorder(threading.Thread):
    """Reads GPU 0 until ``stop``; ``phase`` names what it is doing."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        pynvml.nvmlInit()
        self._gpu = pynvml.nvmlDeviceGetHandleByIndex(0)
        self._ended = threading.Event()
        self.readings = Readings()
        self.phase = ""

    def run(self) -> None:
        seen, since = "", time.monotonic()
        while not self._ended.wait(PERIOD_SECONDS):
            if self.phase != seen:
                seen, since = self.phase, time.monotonic()
            self.readings.rows.append(self._fast())
            if seen and seen not in self.readings.states and time.monotonic() - since > 4:
                self.readings.states[seen] = {"fields": self._fields()}
        self.readings.cpu_microseconds = {name: self._cost(name) for name in CALLS}

    def stop(self) -> None:
        self._ended.set()
        self.join()

    def joules(self, start_ms: int, end_ms: int) -> float:
        """Return what the counter gained between the readings next to both times."""
        rows = self.readings.rows
        first, last = (min(rows, key=lambda row: abs(row[0] - at)) for at in (start_ms, end_ms))
        return (last[2] - first[2]) / 1000

    def _fast(self) -> tuple[int, int, int, int]:
        busy = pynvml.nvmlDeviceGetUtilizationRates(self._gpu).gpu
        power, energy = (self._call(name) for name in list(CALLS)[:2])
        return round(time.time() * 1000), power, energy, busy

    def _call(self, name: str) -> int:
        value = CALLS[name]()
        code = pynvml.nvmlLib[name](self._gpu, ctypes.byref(value))
        if code:
            raise pynvml.NVMLError(code)
        return int(value.value)

    def _cost(self, name: str) -> int:
        before = time.thread_time()
        for _ in range(TRIES):
            self._call(name)
        return round(1e6 * (time.thread_time() - before) / TRIES)

    def _fields(self) -> dict[str, dict[str, int]]:
        """Return code, value type and bytes of every field that is known here."""
        asked = [(number, scope) for scope, all_of in SCOPES.items() for number in all_of]
        found: dict[str, dict[str, int]] = {}
        for at in range(0, len(asked), BATCH):
            some = asked[at : at + BATCH]
            buffer = ctypes.create_string_buffer(FIELD_BYTES * len(some))
            for index, question in enumerate(some):
                struct.pack_into("=II20xI", buffer, FIELD_BYTES * index, *question, NOT_SUPPORTED)
            if pynvml.nvmlLib["nvmlDeviceGetFieldValues"](self._gpu, len(some), buffer):
                continue
            answers = struct.iter_unpack("=II16xIIQ", buffer.raw)
            found |= {
                f"{number}.{scope}": {"code": code, "type": kind, "bits": bits}
                for number, scope, kind, code, bits in answers
                if not code
            }
        return found
