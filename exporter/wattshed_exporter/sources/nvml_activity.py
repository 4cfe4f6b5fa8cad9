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
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .nvml_library import (
    INSUFFICIENT_SIZE,
    NEVER,
    NOT_FOUND,
    U32_MAX,
    U64_MAX,
    UNSUPPORTED,
    Library,
)

SM_UTIL = 2
PIPES = {5: "tensor", 11: "fp64", 12: "fp32", 13: "fp16", 4: "integer"}
GPM_METRICS = (SM_UTIL, *PIPES)
GPM_VERSION, GPM_HEAD, GPM_METRIC, GPM_MOST = 1, 24, 40, 477
"""Version and bytes of the question, bytes of a metric, and how many metrics a driver may clear."""

UTILIZATION = "nvmlDeviceGetProcessUtilization"
SAMPLE = struct.Struct("=I4xQI12x")
CONTEXT_KINDS = ("Compute", "Graphics", "MPSCompute")
LIST_VERSIONS = (("_v3", 24), ("_v2", 24), ("", 16))
"""Names of the process lists, newest first, and the bytes of one entry."""
ENTRY = struct.Struct("=I4xQ")
"""What every entry begins with: the pid and the bytes that it uses of the device's memory."""
PLACE = struct.Struct("=16xII")
"""What follows in one of 24 bytes: GPU and compute instance, 2**32 - 1 where there is none."""
Process = tuple[int, tuple[int, int] | None]
"""A pid, and the GPU and compute instance that it runs in."""
Contexts = dict[Process, int | None]
"""Bytes of device memory by process."""
HOST_PIDS = "pid:[4026531836]"
"""Name of the first PID namespace, which the kernel fixes (PROC_PID_INIT_INO)."""


def sees_all_processes(procfs: Path) -> bool:
    """Return whether this process is in the host's PID namespace."""
    try:
        return os.readlink(procfs / "self/ns/pid") == HOST_PIDS
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class Use:
    """What one process uses of one GPU: its mean part of the SMs, 0..1, and bytes of memory.

    ``place`` is the GPU and the compute instance that it runs in, None where there is none. One
    without a context has ended, and worked before it did.
    """

    pid: int
    sm_ratio: float | None
    memory_bytes: int | None
    place: tuple[int, int] | None = None
    has_context: bool = True


class Gpm:
    """The two samples of one GPU, or of one GPU instance of it, named by its number.

    ``closed`` collects what it cannot answer.
    """

    def __init__(
        self,
        library: Library,
        handle: ctypes.c_void_p,
        closed: set[str],
        instance: int | None = None,
    ) -> None:
        self._library = library
        self._handle = handle
        self._closed = closed
        self._name = "gpm" if instance is None else "gpm_mig"
        if instance is None:
            self._take = partial(library.function("nvmlGpmSampleGet"), handle)
        else:
            self._take = partial(library.function("nvmlGpmMigSampleGet"), handle, instance)
        self._samples: list[ctypes.c_void_p] = []
        self._begun = False

    def read(self) -> dict[int, float]:
        """Return ratios by metric for the time since the last read; the first one has none."""
        if self._name in self._closed or not (self._samples or self._supported()):
            return {}
        code = self._take(self._samples[1])
        if code in NEVER:
            self._closed.add(self._name)
            self.close()
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
            self._closed.add(self._name)
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
        self.utilization: float | None = None
        """What all processes use of the SMs, by the latest sample of each, at most 1."""
        self._library = library
        self._handle = handle
        self._closed = closed

    def read(self, since_us: int) -> list[Use] | None:
        """Return every process that has a context, None where the compute ones are not told.

        What each used of the SMs is its mean since a time in microseconds; the driver has no
        samples of who did nothing. ``utilization`` is renewed as well.
        """
        samples = self._samples(since_us)
        self.utilization = None if samples is None else _latest(samples)
        found = self._contexts()
        if found is None:
            return None
        means = {} if samples is None else _means(samples)
        idle = None if samples is None else 0.0
        running = {pid for pid, _ in found}
        return [
            *(Use(pid, means.get(pid, idle), memory, place)
              for (pid, place), memory in found.items()),
            *(Use(pid, ratio, None, has_context=False)
              for pid, ratio in means.items() if pid not in running),
        ]  # fmt: skip

    def _samples(self, since_us: int) -> bytes | None:
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
            return b""
        if code in NEVER:
            self._closed.add(UTILIZATION)
        return None if code else samples

    def _contexts(self) -> Contexts | None:
        found: Contexts = {}
        for kind in CONTEXT_KINDS:
            running = self._running(kind)
            if running is None and kind == CONTEXT_KINDS[0]:
                return None
            for process, memory in (running or {}).items():
                known = found.get(process)
                found[process] = memory if known is None else max(known, memory or 0)
        return found

    def _running(self, kind: str) -> Contexts | None:
        for version, size in LIST_VERSIONS:
            name = f"nvmlDeviceGet{kind}RunningProcesses{version}"
            if name in self._closed:
                continue
            running, code = self._list(name, size)
            if code in UNSUPPORTED:
                self._closed.add(name)
            else:
                return running
        return None

    def _list(self, name: str, size: int) -> tuple[Contexts | None, int]:
        count = ctypes.c_uint32(0)
        ask = self._library.function(name)
        code = ask(self._handle, ctypes.byref(count), None)
        if code != INSUFFICIENT_SIZE:
            return (None, code) if code else ({}, 0)
        count.value = 2 * count.value + 5  # more may start in the meantime
        buffer = ctypes.create_string_buffer(size * count.value)
        code = ask(self._handle, ctypes.byref(count), buffer)
        if code:
            return None, code
        return dict(_entry(buffer.raw, size * n, size) for n in range(count.value)), 0


def _entry(buffer: bytes, at: int, size: int) -> tuple[Process, int | None]:
    pid, memory = ENTRY.unpack_from(buffer, at)
    place = PLACE.unpack_from(buffer, at) if size >= PLACE.size else (U32_MAX, U32_MAX)
    return (pid, None if U32_MAX in place else place), None if memory == U64_MAX else memory


def _means(samples: bytes) -> dict[int, float]:
    """Return the mean of each process: where it has fewer samples than others, it did nothing."""
    used: dict[int, list[int]] = {}
    for pid, _, percent in SAMPLE.iter_unpack(samples):
        if percent <= 100:
            used.setdefault(pid, []).append(percent)
    most = max(map(len, used.values()), default=1)
    return {pid: sum(percents) / most / 100 for pid, percents in used.items()}


def _latest(samples: bytes) -> float:
    """Return what all processes use of the SMs, by the latest sample of each, at most 1."""
    newest: dict[int, tuple[int, int]] = {}
    for pid, time, percent in SAMPLE.iter_unpack(samples):
        if percent <= 100 and time >= newest.get(pid, (0, 0))[0]:
            newest[pid] = time, percent
    return min(sum(percent for _, percent in newest.values()) / 100, 1.0)
