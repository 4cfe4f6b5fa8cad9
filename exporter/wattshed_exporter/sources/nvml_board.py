"""What one GPU is asked at every interval: energy, power, utilisation, memory and temperature.

The energy counter (Volta and newer; millijoules since the driver was loaded) is the measurement
wherever it exists. Power is the mean of the last second, which misses least between two reads:
the field for it where the board has it (Ampere and newer, GA100 excepted), else
``nvmlDeviceGetPowerUsage``, else the field for instant power. The whole module (GPU and CPU of a
superchip) is taken only where neither power nor energy of the GPU itself can be had. Both fields
come with one call. Source: NVML API reference, "Device Queries" and "Field Value Queries".
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from .nvml_library import (
    MEMORY_V2,
    NOT_SUPPORTED,
    U32_MAX,
    U64_MAX,
    UNSIGNED_INT,
    UNSIGNED_LONG_LONG,
    UNSUPPORTED,
    Fields,
    Library,
    Question,
    number,
)

ENERGY, POWER_AVERAGE, POWER_INSTANT = 83, 185, 186
SCOPE_GPU, SCOPE_MODULE, SCOPE_MEMORY = 0, 1, 2
PLAIN_ENERGY, PLAIN_POWER = (UNSIGNED_LONG_LONG, 0), (UNSIGNED_INT, 0)
"""Value type and code of an energy and a power as nearly every board answers them."""
SAYS_NOTHING = (0, *UNSUPPORTED)
"""Codes of one of two questions after which the other one's tells why there is no answer."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask for power: a field and its scope, or ``nvmlDeviceGetPowerUsage``."""

    scope: str
    field: Question | None = None


CALL = Way("gpu")
GPU_WAYS = (
    Way("gpu", (POWER_AVERAGE, SCOPE_GPU)),
    CALL,
    Way("gpu", (POWER_INSTANT, SCOPE_GPU)),
)
MODULE_WAYS = (
    Way("module", (POWER_AVERAGE, SCOPE_MODULE)),
    Way("module", (POWER_INSTANT, SCOPE_MODULE)),
)


class Board:
    """One GPU behind its handle, whose value changes when the handle has to be renewed.

    ``counter`` says whether it has an energy counter and ``power`` how its power is asked, both as
    found at discovery. ``memory_total_bytes`` and ``memory_activity_ratio`` are by-products of the
    last ``state``; ``activity_ratio`` and ``contexts`` are what the last details said.
    """

    def __init__(self, library: Library, handle: ctypes.c_void_p) -> None:
        self.handle = handle
        self._memory_total = U64_MAX
        self._memory_activity = U32_MAX
        self.activity_ratio: float | None = None
        self.contexts: int | None = None
        self._prepare(library)
        self.counter = self._has_counter(library)
        self.power = self._choose(library)
        self._combine(library)

    @property
    def memory_total_bytes(self) -> int | None:
        return self._memory_total if 0 < self._memory_total < U64_MAX else None

    @property
    def memory_activity_ratio(self) -> float | None:
        return self._memory_activity / 100 if self._memory_activity <= 100 else None

    @property
    def scope(self) -> str:
        return self.power.scope if self.power else "gpu"

    def measure(self) -> tuple[int | None, float | None, int]:
        """Return microjoules, watts, and the code that says why where there is neither."""
        failed, answers = self._ask(), self._answers()
        if not failed and answers[:2] == PLAIN_ENERGY and answers[3:5] == PLAIN_POWER:
            millijoules, milliwatts = answers[2], answers[5] & U32_MAX
            if millijoules != U64_MAX and 0 < milliwatts != U32_MAX:
                return millijoules * 1000, milliwatts / 1000, 0
        return self._sort_out(failed, answers)

    def _sort_out(
        self, failed: int, answers: tuple[int, ...]
    ) -> tuple[int | None, float | None, int]:
        energy: float | None = None
        power: float | None = None
        code = power_code = NOT_SUPPORTED
        if self._energy_at is not None:
            kind, code, bits = answers[:3]
            code = failed or code
            energy = None if code else number(kind, bits)
        elif self.counter:
            energy, code = self._ask_energy()
        if self._power_at is not None:
            kind, power_code, bits = answers[self._power_at :]
            power_code = failed or power_code
            power = None if power_code else number(kind, bits) or None
        elif self.power is CALL:
            power, power_code = self._ask_power()
        return (
            None if energy is None else int(energy) * 1000,
            None if power is None else power / 1000,
            power_code or NOT_SUPPORTED if code in SAYS_NOTHING else code,
        )

    def state(self) -> tuple[float | None, int | None, float | None]:
        """Return the utilisation as a ratio, bytes of memory in use, and degrees Celsius."""
        ratio = used = celsius = None
        self._memory_activity = U32_MAX
        if not self._get_rates():
            busy, self._memory_activity = self._rates()
            if busy <= 100:
                ratio = busy / 100
        if not self._get_celsius() and (degrees := self._degrees.value) != U32_MAX:
            celsius = float(degrees)
        if not self._get_memory() or self._falls_back():
            self._memory_total, used = self._total_and_used()
            if used == U64_MAX:
                used = None
        return ratio, used, celsius

    def _prepare(self, library: Library) -> None:
        function, handle = library.function, self.handle
        rates = ctypes.create_string_buffer(8)
        self._rates = partial(struct.Struct("=II").unpack_from, rates)
        self._get_rates = partial(function("nvmlDeviceGetUtilizationRates"), handle, rates)
        self._degrees = ctypes.c_uint32()
        degrees = ctypes.byref(self._degrees)
        self._get_celsius = partial(function("nvmlDeviceGetTemperature"), handle, 0, degrees)
        self._millijoules = ctypes.c_uint64()
        energy = ctypes.byref(self._millijoules)
        self._get_energy = partial(function("nvmlDeviceGetTotalEnergyConsumption"), handle, energy)
        self._milliwatts = ctypes.c_uint32()
        power = ctypes.byref(self._milliwatts)
        self._get_power = partial(function("nvmlDeviceGetPowerUsage"), handle, power)
        memory = ctypes.create_string_buffer(40)
        struct.pack_into("=I", memory, 0, MEMORY_V2)
        self._get_memory = partial(function("nvmlDeviceGetMemoryInfo_v2"), handle, memory)
        self._get_memory_1 = partial(function("nvmlDeviceGetMemoryInfo"), handle, memory)
        self._total_and_used = partial(struct.Struct("=8xQ16xQ").unpack_from, memory)
        self._total_and_used_1 = partial(struct.Struct("=Q8xQ").unpack_from, memory)

    def _has_counter(self, library: Library) -> bool:
        millijoules, code = library.field(self.handle, (ENERGY, SCOPE_GPU))
        # A field of 0 may be one that the board does not have; the call knows.
        self._energy_at = 0 if millijoules or code not in SAYS_NOTHING else None
        return self._energy_at == 0 or self._ask_energy()[1] not in UNSUPPORTED

    def _choose(self, library: Library) -> Way | None:
        ways = GPU_WAYS if self.counter else GPU_WAYS + MODULE_WAYS
        codes = {}
        for way in ways:
            watts, codes[way] = self._try(library, way)
            if watts is not None:
                return way
        return _open(codes)

    def _try(self, library: Library, way: Way) -> tuple[float | None, int]:
        if way.field is None:
            return self._ask_power()
        milliwatts, code = library.field(self.handle, way.field)
        # Drivers answer 0 for a field of power that the board does not have.
        return (milliwatts, code) if milliwatts else (None, code or NOT_SUPPORTED)

    def _combine(self, library: Library) -> None:
        questions = [] if self._energy_at is None else [(ENERGY, SCOPE_GPU)]
        self._power_at: int | None = None
        if self.power and self.power.field:
            self._power_at = 3 * len(questions)
            questions.append(self.power.field)
        # No questions are answered without the driver.
        fields = Fields(library, self.handle, questions)
        self._ask = fields.ask if questions else int
        self._answers = fields.answers

    def _ask_energy(self) -> tuple[int | None, int]:
        code = self._get_energy()
        value = self._millijoules.value
        return (None, code or NOT_SUPPORTED) if code or value == U64_MAX else (value, 0)

    def _ask_power(self) -> tuple[int | None, int]:
        code = self._get_power()
        value = self._milliwatts.value
        return (None, code or NOT_SUPPORTED) if code or value == U32_MAX else (value, 0)

    def _falls_back(self) -> bool:
        """Return whether the first version of the call answers where the second does not.

        It counts the driver's own reserve as used, so it is used only where there is no other.
        """
        if self._get_memory() not in UNSUPPORTED or self._get_memory_1():
            return False
        self._get_memory, self._total_and_used = self._get_memory_1, self._total_and_used_1
        return True


def _open(codes: dict[Way, int]) -> Way | None:
    """Choose where no way answers now: an error that may pass does not say that it is closed."""
    order: Sequence[Way] = (CALL, *(way for way in codes if way is not CALL))
    return next((way for way in order if codes[way] not in UNSUPPORTED), None)
