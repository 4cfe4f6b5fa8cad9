"""Signs of work that utilisation does not give: SM activity, and the processes on a GPU.

Utilisation says that something ran; GPM (Hopper and newer) says how much of the chip did, between
two samples that the driver keeps for us. Process lists are complete only in the host's PID
namespace: a container without it sees none, which would look like an idle GPU, so there they are
not asked. Source: NVML API reference, "GPM Functions" and "Device Queries".
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from .nvml_library import INSUFFICIENT_SIZE, NEVER, NOT_FOUND, UNSUPPORTED, Library

SM_UTIL = 2
PIPES = {5: "tensor", 11: "fp64", 12: "fp32", 13: "fp16", 4: "integer"}
GPM_METRICS = (SM_UTIL, *PIPES)
GPM_VERSION, GPM_HEAD, GPM_METRIC, GPM_MOST = 1, 24, 40, 477
"""Version and bytes of the question, bytes of a metric, and how many metrics a driver may clear."""

UTILIZATION = "nvmlDeviceGetProcessUtilization"
SAMPLE = struct.Struct("=I4xQI12x")
CONTEXT_KINDS = ("Compute", "Graphics", "MPSCompute")
LIST_VERSIONS = (("_v3", 24), ("_v2", 24), ("", 16))
"""Names of the process lists, newest first, and the bytes of one entry; it begins with the pid."""
HOST_PIDS = "pid:[4026531836]"
"""Name of the first PID namespace, which the kernel fixes (PROC_PID_INIT_INO)."""


def sees_all_processes(procfs: Path) -> bool:
    """Return whether this process is in the host's PID namespace."""
    try:
        return os.readlink(procfs / "self/ns/pid") == HOST_PIDS
    except OSError:
        return False


class Gpm:
    """The two samples of one GPU. ``closed`` collects what it cannot answer."""

    def __init__(self, library: Library, handle: ctypes.c_void_p, closed: set[str]) -> None:
        self._library = library
        self._handle = handle
        self._closed = closed
        self._samples: list[ctypes.c_void_p] = []
        self._begun = False

    def read(self) -> dict[int, float]:
        """Return ratios by metric for the time since the last read; the first one has none."""
        if "gpm" in self._closed or not (self._samples or self._supported()):
            return {}
        code = self._library.function("nvmlGpmSampleGet")(self._handle, self._samples[1])
        if code in NEVER:
            self._closed.add("gpm")
        if code:
            self._begun = False
            return {}
        self._samples.reverse()
        begun, self._begun = self._begun, True
        return dict(self._compare()) if begun else {}

    def close(self) -> None:
        while self._samples:
            self._library.function("nvmlGpmSampleFree")(self._samples.pop())
        self._begun = False

    def _supported(self) -> bool:
        support = (ctypes.c_uint32 * 2)(GPM_VERSION)
        code = self._library.function("nvmlGpmQueryDeviceSupport")(self._handle, support)
        if code in NEVER or not (code or support[1]):
            self._closed.add("gpm")
        if code or not support[1]:
            return False
        for _ in range(2):
            sample = ctypes.c_void_p()
            if self._library.function("nvmlGpmSampleAlloc")(ctypes.byref(sample)):
                self.close()
                return False
            self._samples.append(sample)
        return True

    def _compare(self) -> Iterator[tuple[int, float]]:
        newest, older = self._samples
        question = ctypes.create_string_buffer(GPM_HEAD + GPM_METRIC * GPM_MOST)
        count = len(GPM_METRICS)
        struct.pack_into("@IIPP", question, 0, GPM_VERSION, count, older.value, newest.value)
        for place, metric in enumerate(GPM_METRICS):
            struct.pack_into("@I", question, GPM_HEAD + GPM_METRIC * place, metric)
        if self._library.function("nvmlGpmMetricsGet")(question):
            return
        for place in range(count):
            at = GPM_HEAD + GPM_METRIC * place
            metric, code, percent = struct.unpack_from("@IId", question, at)
            if not code and 0 <= percent <= 101:  # false for what is not a number
                yield metric, min(percent / 100, 1.0)


class Processes:
    """The processes on one GPU. ``closed`` collects what it cannot answer."""

    def __init__(self, library: Library, handle: ctypes.c_void_p, closed: set[str]) -> None:
        self._library = library
        self._handle = handle
        self._closed = closed

    def utilization(self, since_us: int) -> float | None:
        """Return what all processes use of the SMs, by the latest sample of each, at most 1."""
        if UTILIZATION in self._closed:
            return None
        count, since = ctypes.c_uint32(0), ctypes.c_uint64(since_us)
        ask = self._library.function(UTILIZATION)
        samples, code = b"", ask(self._handle, None, ctypes.byref(count), since)
        if code == INSUFFICIENT_SIZE:
            count.value += 8
            buffer = ctypes.create_string_buffer(SAMPLE.size * count.value)
            code = ask(self._handle, buffer, ctypes.byref(count), since)
            samples = buffer.raw[: SAMPLE.size * count.value]
        if code == NOT_FOUND:  # nobody was active
            return 0.0
        if code in NEVER:
            self._closed.add(UTILIZATION)
        return None if code else _latest(samples)

    def contexts(self) -> int | None:
        """Return how many processes keep a context, None where the compute ones are not told."""
        found: set[int] = set()
        for kind in CONTEXT_KINDS:
            pids = self._pids(kind)
            if pids is None and kind == CONTEXT_KINDS[0]:
                return None
            found.update(pids or ())
        return len(found)

    def _pids(self, kind: str) -> set[int] | None:
        for version, size in LIST_VERSIONS:
            name = f"nvmlDeviceGet{kind}RunningProcesses{version}"
            if name in self._closed:
                continue
            pids, code = self._list(name, size)
            if code in UNSUPPORTED:
                self._closed.add(name)
            else:
                return pids
        return None

    def _list(self, name: str, size: int) -> tuple[set[int] | None, int]:
        count = ctypes.c_uint32(0)
        ask = self._library.function(name)
        code = ask(self._handle, ctypes.byref(count), None)
        if code != INSUFFICIENT_SIZE:
            return (None, code) if code else (set(), 0)
        count.value = 2 * count.value + 5  # more may start in the meantime
        buffer = ctypes.create_string_buffer(size * count.value)
        code = ask(self._handle, ctypes.byref(count), buffer)
        if code:
            return None, code
        return {struct.unpack_from("=I", buffer, size * n)[0] for n in range(count.value)}, 0


def _latest(samples: bytes) -> float:
    newest: dict[int, tuple[int, int]] = {}
    for pid, time, percent in SAMPLE.iter_unpack(samples):
        if percent <= 100 and time >= newest.get(pid, (0, 0))[0]:
            newest[pid] = time, percent
    return min(sum(percent for _, percent in newest.values()) / 100, 1.0)
