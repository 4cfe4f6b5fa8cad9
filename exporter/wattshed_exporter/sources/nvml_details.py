"""What a GPU is asked now and then, one row per question: power by scope, limits, clocks, engines,
throttling, memory errors, traffic.

All fields come with one call. A question that the board or the driver does not know is left out
from then on, until ``forget``; a value that there is not has no detail, and never 0. The byte
counters of the links are read, never ``nvmlDeviceGetPcieThroughput``, which blocks for 20 ms. Some
counters are of 32 bits on some drivers and then wrap in seconds to minutes: those are left out.
Source: NVML API reference, "Field Value Enums", "Device Queries", "Clocks Event Reasons"; for the
identities that changed with the driver 580: ``nvml.h`` of CUDA 12.9 and 13.0.
"""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Container, Iterator
from dataclasses import dataclass

from .nvml_board import POWER_AVERAGE, POWER_INSTANT, SCOPE_GPU, SCOPE_MEMORY, SCOPE_MODULE
from .nvml_library import NEVER, U32_MAX, UNSUPPORTED, WIDE, Fields, Library, Question, number

Key = tuple[str, tuple[str, ...]]
Said = tuple[str, tuple[str, ...], float]
"""A metric of ``semconv.DETAIL_METRICS``, the values of its own labels, and its value."""

POWER, BOUND = "wattshed_power_reading_watts", "wattshed_power_limit_bound_watts"
THROTTLED, THROTTLED_TIME = "wattshed_throttled", "wattshed_throttled_seconds_total"
ECC, ROWS = "wattshed_ecc_errors_total", "wattshed_remapped_rows"
LINK, CLOCK = "wattshed_link_bytes_total", "wattshed_clock_hertz"
ENGINE, SENSOR = "wattshed_engine_utilization_ratio", "wattshed_sensor_temperature_celsius"

MILLI, PERCENT, NANO, MEGA, KIBI = 1e-3, 1e-2, 1e-9, 1e6, 1024.0
MOST_WATTS, MOST_HERTZ, MOST_CELSIUS = 100e3, 100e9, 250.0
"""What is above these is garbage of the driver and not said."""
ALL_LINKS = U32_MAX


@dataclass(frozen=True, slots=True)
class Field:
    """A field and what it is in base units.

    ``absent`` is a value that says: I have none. ``wide`` is a counter that is believed only where
    it comes with 64 bits.
    """

    metric: str
    attributes: tuple[str, ...]
    question: Question
    scale: float = 1.0
    most: float = math.inf
    absent: int | None = None
    wide: bool = False

    @property
    def key(self) -> Key:
        return self.metric, self.attributes

    def value(self, kind: int, bits: int) -> float | None:
        """Return what an answer of this type says, None where it says nothing."""
        found = None if self.wide and kind not in WIDE else number(kind, bits)
        if found is None or found == self.absent or found * self.scale > self.most:
            return None
        return found * self.scale


@dataclass(frozen=True, slots=True)
class Call:
    """A function that writes ``outputs`` unsigned integers, of which ``item`` is meant."""

    metric: str
    attributes: tuple[str, ...]
    function: str
    arguments: tuple[int, ...] = ()
    outputs: int = 1
    item: int = 0
    scale: float = 1.0
    most: float = math.inf

    @property
    def key(self) -> Key:
        return self.metric, self.attributes


def _power(scope: str, window: str, question: Question) -> Field:
    # Drivers answer 0 for a field of power that the board does not have.
    return Field(POWER, (scope, window), question, MILLI, MOST_WATTS, absent=0)


def _bound(bound: str, field: int) -> Field:
    return Field(BOUND, (bound,), (field, SCOPE_GPU), MILLI, MOST_WATTS, absent=0)


FIELDS: tuple[Field, ...] = (
    _power("gpu", "average", (POWER_AVERAGE, SCOPE_GPU)),
    _power("gpu", "instant", (POWER_INSTANT, SCOPE_GPU)),
    _power("module", "average", (POWER_AVERAGE, SCOPE_MODULE)),
    _power("module", "instant", (POWER_INSTANT, SCOPE_MODULE)),
    _power("memory", "average", (POWER_AVERAGE, SCOPE_MEMORY)),
    _power("memory", "instant", (POWER_INSTANT, SCOPE_MEMORY)),
    _bound("requested", 192),
    _bound("default", 189),
    _bound("min", 187),
    _bound("max", 188),
    # Boards without the sensor answer 0; memory at the freezing point is not expected.
    Field(SENSOR, ("memory",), (82, 0), most=MOST_CELSIUS, absent=0),
    Field(THROTTLED_TIME, ("sw_power_cap",), (74, 0), NANO),
    Field(THROTTLED_TIME, ("thermal",), (75, 0), NANO),
    Field(THROTTLED_TIME, ("sync_boost",), (76, 0), NANO),
    Field(THROTTLED_TIME, ("board_limit",), (77, 0), NANO),
    Field(THROTTLED_TIME, ("low_utilization",), (78, 0), NANO),
    Field(THROTTLED_TIME, ("reliability",), (79, 0), NANO),
    Field(ECC, ("corrected",), (3, 0)),
    Field(ECC, ("uncorrected",), (4, 0)),
    Field(ROWS, ("corrected",), (142, 0)),
    Field(ROWS, ("uncorrected",), (143, 0)),
    Field(ROWS, ("pending",), (144, 0)),
    Field(ROWS, ("failed",), (145, 0)),
    Field(LINK, ("pcie", "transmit"), (197, 0), wide=True),
    Field(LINK, ("pcie", "receive"), (198, 0), wide=True),
    Field(LINK, ("nvlink", "transmit"), (138, ALL_LINKS), KIBI),
    Field(LINK, ("nvlink", "receive"), (139, ALL_LINKS), KIBI),
)
THERMAL = (THROTTLED_TIME, ("thermal",))
SW_THERMAL = (THROTTLED_TIME, ("sw_thermal_slowdown",))
"""May be one counter under two names, so the first is not said beside the second."""
SLOWDOWNS = ("sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown")
NEW_IDS_SINCE, SLOWDOWN_ID, SLOWDOWN_ID_BEFORE = 580, 269, 251
"""Driver since which the first of these three has another identity: CUDA 13 gave the old one, and
an older driver gives the new one, to fields that mean something else."""

LIMIT = "nvmlDeviceGetPowerManagement"
CALLS: tuple[Call, ...] = (
    Call(BOUND, ("requested",), f"{LIMIT}Limit", scale=MILLI, most=MOST_WATTS),
    Call(BOUND, ("default",), f"{LIMIT}DefaultLimit", scale=MILLI, most=MOST_WATTS),
    Call(BOUND, ("min",), f"{LIMIT}LimitConstraints", (), 2, 0, MILLI, MOST_WATTS),
    Call(BOUND, ("max",), f"{LIMIT}LimitConstraints", (), 2, 1, MILLI, MOST_WATTS),
    *(
        Call(CLOCK, (domain,), "nvmlDeviceGetClockInfo", (number,), 1, 0, MEGA, MOST_HERTZ)
        for number, domain in enumerate(("graphics", "sm", "memory", "video"))
    ),
    *(
        Call(ENGINE, (name,), f"nvmlDeviceGet{title}Utilization", (), 2, 0, PERCENT, 1.0)
        for name, title in (
            ("encoder", "Encoder"),
            ("decoder", "Decoder"),
            ("jpeg", "Jpg"),
            ("ofa", "Ofa"),
        )
    ),
)
"""Asked where no field says the same."""

CLOCK_REASONS = (
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetCurrentClocksThrottleReasons",
)
"""The name since the driver 535, and the one before."""
REASON_BITS = {
    0x02: "applications_clocks_setting",
    0x04: "sw_power_cap",
    0x08: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Without bit 0, ``gpu_idle``: an idle GPU is not held down."""


class Questions:
    """The rows above for one GPU; those that it cannot answer are asked once."""

    def __init__(self, library: Library, handle: ctypes.c_void_p) -> None:
        self._library = library
        self._handle = handle
        self.forget()

    def forget(self) -> None:
        """Ask everything again: the GPU may have learnt or lost something."""
        driver, _ = self._library.text("nvmlSystemGetDriverVersion")
        self._keep(FIELDS + slowdowns(driver))
        self._calls = CALLS
        self._reasons: str | None = CLOCK_REASONS[0]

    def read(self) -> Iterator[Said]:
        fields = self._read_fields()
        yield from ((*key, value) for key, value in fields.items())
        yield from self._read_calls(fields)
        yield from self._read_reasons()

    def _keep(self, rows: tuple[Field, ...]) -> None:
        self._rows = rows
        questions = [row.question for row in rows]
        self._fields = Fields(self._library, self._handle, questions) if rows else None

    def _read_fields(self) -> dict[Key, float]:
        if self._fields is None:
            return {}
        failed, answers = self._fields.ask(), self._fields.answers()
        if failed in UNSUPPORTED:
            self._keep(())
        if failed:
            return {}
        known, said = [], {}
        for row, at in zip(self._rows, range(0, len(answers), 3), strict=True):
            kind, code, bits = answers[at : at + 3]
            if code not in NEVER:
                known.append(row)
            value = None if code else row.value(kind, bits)
            if value is not None:
                said[row.key] = value
        if SW_THERMAL in said:
            said.pop(THERMAL, None)
            known = [row for row in known if row.key != THERMAL]
        if len(known) < len(self._rows):
            self._keep(tuple(known))
        return said

    def _read_calls(self, fields: Container[Key]) -> Iterator[Said]:
        closed = []
        for row in self._calls:
            if row.key in fields:
                continue
            outputs = (ctypes.c_uint32 * row.outputs)()
            places = [ctypes.byref(outputs, 4 * place) for place in range(row.outputs)]
            code = self._library.function(row.function)(self._handle, *row.arguments, *places)
            value = outputs[row.item]
            if code in NEVER:
                closed.append(row)
            elif not code and value != U32_MAX and value * row.scale <= row.most:
                yield row.metric, row.attributes, value * row.scale
        if closed:
            self._calls = tuple(row for row in self._calls if row not in closed)

    def _read_reasons(self) -> Iterator[Said]:
        if self._reasons is None:
            return
        mask, code = self._library.u64(self._reasons, self._handle)
        if code in UNSUPPORTED and self._reasons == CLOCK_REASONS[0]:
            self._reasons = CLOCK_REASONS[1]
            mask, code = self._library.u64(self._reasons, self._handle)
        if code in NEVER:
            self._reasons = None
        if mask is not None:
            for bit, name in REASON_BITS.items():
                yield THROTTLED, (name,), float(bool(mask & bit))


def slowdowns(driver: str) -> tuple[Field, ...]:
    """Return how long the clocks were slowed down, by the identities that this driver gives that.

    Args:
        driver: its version, such as ``580.65.06``; of one that cannot be told nothing is asked.
    """
    major = re.match(r"([0-9]{1,6})\.[0-9]", driver)
    if major is None:
        return ()
    first = SLOWDOWN_ID if int(major[1]) >= NEW_IDS_SINCE else SLOWDOWN_ID_BEFORE
    return tuple(
        Field(THROTTLED_TIME, (name,), (first + index, 0), NANO, wide=True)
        for index, name in enumerate(SLOWDOWNS)
    )
