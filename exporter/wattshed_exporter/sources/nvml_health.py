"""Whether a GPU is well: errors that the driver announces, and one word for its state.

* ``failed``: the GPU is lost, a memory row could not be replaced, or the driver announced that
  memory cannot be retired, that poisoned data was used, or that the GPU is unavailable.
* ``degraded``: memory had uncorrected errors since the driver was loaded, a row waits to be
  replaced, or heat, a power brake or a fault of the hardware holds the clocks down.
* ``ok``: neither.

Announcements are waited for without any time, so that they never hold up a reading. Source: NVML
API reference, "Event Types" and "Event Handling Methods"; XID errors: NVIDIA's XID catalogue.
"""

from __future__ import annotations

import ctypes
import struct
from collections import Counter
from collections.abc import Iterator, Mapping

from .nvml_details import ECC, ROWS, THROTTLED, Said
from .nvml_library import Library

STATUS, XID = "wattshed_device_status", "wattshed_xid_errors_total"
STATES = ("ok", "degraded", "failed")

XID_EVENT = 0x8
ANNOUNCED = {0x2: "degraded", 0x800: "failed", 0x2000: "failed", 0x4000: "failed"}
"""Uncorrected memory error; memory that cannot be retired, fatal poison, GPU unavailable."""
EVENTS = XID_EVENT | sum(ANNOUNCED)
EVENT = struct.Struct("@PQQII")
MOST_EVENTS = 64
"""Events taken in one round: a storm of them may not hold up the readings."""

DEGRADED = (
    (ECC, ("uncorrected",)),
    (ROWS, ("pending",)),
    (THROTTLED, ("hw_slowdown",)),
    (THROTTLED, ("hw_thermal_slowdown",)),
    (THROTTLED, ("hw_power_brake_slowdown",)),
    (THROTTLED, ("sw_thermal_slowdown",)),
)
FAILED = ((ROWS, ("failed",)),)


class Events:
    """The driver's announcements about all GPUs, since this was made."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._set = ctypes.c_void_p()
        if library.function("nvmlEventSetCreate")(ctypes.byref(self._set)):
            self._set = ctypes.c_void_p()

    def register(self, handle: ctypes.c_void_p) -> None:
        mask, _ = self._library.u64("nvmlDeviceGetSupportedEventTypes", handle)
        if self._set and mask and mask & EVENTS:
            types = ctypes.c_uint64(mask & EVENTS)
            self._library.function("nvmlDeviceRegisterEvents")(handle, types, self._set)

    def take(self) -> Iterator[tuple[str, int, int]]:
        """Yield UUID of the GPU, type and datum of each event since the last time."""
        wait = self._library.function("nvmlEventSetWait_v2")
        event = ctypes.create_string_buffer(EVENT.size)
        for _ in range(MOST_EVENTS if self._set else 0):
            if wait(self._set, event, 0):
                return
            device, kind, datum, _, _ = EVENT.unpack(event.raw)
            uuid, code = self._library.text("nvmlDeviceGetUUID", ctypes.c_void_p(device))
            if not code:
                yield uuid, kind, datum

    def close(self) -> None:
        if self._set:
            self._library.function("nvmlEventSetFree")(self._set)
            self._set = ctypes.c_void_p()


class Health:
    """What was announced, by UUID: XID errors for ever, states until NVML is set up anew."""

    def __init__(self) -> None:
        self.xids: dict[str, Counter[int]] = {}
        self.states: dict[str, str] = {}

    def note(self, uuid: str, kind: int, datum: int) -> None:
        if kind == XID_EVENT:
            self.xids.setdefault(uuid, Counter())[datum] += 1
        elif kind in ANNOUNCED:
            self.states[uuid] = max(ANNOUNCED[kind], self.states.get(uuid, "ok"), key=STATES.index)

    def status(self, uuid: str, said: Mapping[tuple[str, tuple[str, ...]], float]) -> str:
        """Return the state by the rule above, from what the details said of the GPU."""
        announced = self.states.get(uuid, "ok")
        if announced == "failed" or any(said.get(question) for question in FAILED):
            return "failed"
        if announced == "degraded" or any(said.get(question) for question in DEGRADED):
            return "degraded"
        return "ok"


def say_status(state: str) -> Iterator[Said]:
    """Yield 1 for the state and 0 for the others."""
    for name in STATES:
        yield STATUS, (name,), float(name == state)
