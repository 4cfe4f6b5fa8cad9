"""Power and energy of NVIDIA GPUs through NVML (the ``nvidia-ml-py`` package, extra ``[nvidia]``).

The energy counter (Volta and newer; millijoules since the driver was loaded) is the measurement
wherever it exists. Power is ``nvmlDeviceGetPowerUsage``, which from Ampere on (GA100 excepted) is
the mean of the last second and so misses least between two reads; where the driver lacks it, the
field values answer for the GPU (average, then instant). The whole module (GPU and CPU of a
superchip) is taken only where neither power nor energy of the GPU itself can be had. A board in
MIG mode is one device: its instances have no meters. A field that NVML does not give is None,
never 0, and any error of one device leaves the others alone. Source: NVML API reference, "Device
Queries" and "Field Value Queries".
"""

from __future__ import annotations

import ctypes
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading

from . import Sample

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)

LIBRARY = "libnvidia-ml.so.1"
UNCERTAINTY_RATIO = 0.05
"""Gain and offset of an uncalibrated board's sensor, as measured against external meters."""
REINIT_ROUNDS = 10
"""Rounds in which every GPU fails before NVML is set up anew; the setup is slow, so not at once."""

UNINITIALIZED, NOT_SUPPORTED, FUNCTION_NOT_FOUND, MISMATCH, UNKNOWN = 1, 3, 13, 18, 999
UNSUPPORTED = (NOT_SUPPORTED, FUNCTION_NOT_FOUND)
NOTHING_HERE = (6, 9, 12, 28)
"""Not found, driver not loaded, library not found, GPU not found."""
REASONS = {4: "permission", 6: "gpu_lost", 15: "gpu_lost", 18: "driver_mismatch", 28: "gpu_lost"}
REASONS |= dict.fromkeys(UNSUPPORTED, "not_supported") | {27: "not_ready"}
U32_MAX, U64_MAX = 2**32 - 1, 2**64 - 1
VALUE_FIELDS = dict(enumerate(("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")))
MEMORY_V2 = 0x02000028


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask for power: a field and its scope, or ``nvmlDeviceGetPowerUsage``."""

    scope: str
    field: tuple[int, int] | None = None


POWER_AVERAGE, POWER_INSTANT, SCOPE_GPU, SCOPE_MODULE = 185, 186, 0, 1
GPU_WAYS = (
    Way("gpu"),
    Way("gpu", (POWER_AVERAGE, SCOPE_GPU)),
    Way("gpu", (POWER_INSTANT, SCOPE_GPU)),
)
MODULE_WAYS = (
    Way("module", (POWER_AVERAGE, SCOPE_MODULE)),
    Way("module", (POWER_INSTANT, SCOPE_MODULE)),
)


@dataclass(slots=True)
class Gpu:
    """One GPU: its present handle, and what it was found to answer at discovery."""

    index: int
    handle: Any
    device: Device
    power: Way | None


class Nvml:
    """The GPUs of the driver's NVML library as a ``Source``."""

    name = "nvml"

    def __init__(self, config: Config, clock: Callable[[], int] = time.time_ns) -> None:
        self.interval_seconds = config.interval_seconds
        self._config = config
        self._clock = clock
        self._nvml: Any = None
        self._gpus: list[Gpu] = []
        self._silent: dict[int, int] = {}
        self._count = 0
        self._failed_rounds = 0

    def discover(self) -> Sequence[Device]:
        """Initialise NVML, anew where it was before, and list the GPUs.

        Raises:
            NoData: no Python package, no driver, or no GPU with a meter.
            SourceError: the driver is there but fails; after an upgrade of the driver
                (``driver_mismatch``) only a restart of the process helps.
        """
        self.close()
        self._initialise()
        try:
            self._find()
        except SourceError:
            self.close()
            raise
        return [gpu.device for gpu in self._gpus]

    def read(self) -> Sample:
        """Read every GPU: microjoules, watts, ratio, bytes, degrees Celsius.

        A GPU that gives neither energy nor power is a gap: ``gpu_lost``, ``not_supported``,
        ``not_ready``, ``permission``, ``driver_mismatch`` or ``driver_error``.

        Raises:
            DevicesChanged: the number or the order of the GPUs changed, NVML is no longer
                initialised, no GPU answered for a while, or a power limit was raised.
        """
        count, code = self._ask("nvmlDeviceGetCount")
        if code:
            raise DevicesChanged(f"NVML has to be initialised anew: {self._error(code)}")
        if count != self._count:
            raise DevicesChanged(f"NVML now sees {count} GPUs")
        for index in self._silent:
            if self._identify(index)[1]:
                raise DevicesChanged(f"GPU {index} answers again")
        readings = [self._read(gpu) for gpu in self._gpus]
        failed = all(reading.gap for reading in readings)
        self._failed_rounds = self._failed_rounds + 1 if failed else 0
        if self._failed_rounds > REINIT_ROUNDS:
            raise DevicesChanged("no GPU answers: NVML is initialised anew")
        return Sample(readings)

    def close(self) -> None:
        """Shut NVML down, so that the driver can be unloaded; the library itself stays mapped."""
        nvml, self._nvml = self._nvml, None
        self._gpus, self._silent, self._failed_rounds = [], {}, 0
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                log.debug("nvmlShutdown: %s", error)

    def _initialise(self) -> None:
        try:
            ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise NoData(f"no NVIDIA driver here: {error}") from error
        try:
            # Only now: importing it takes 2 MB, which a node without a GPU need not give.
            import pynvml
        except ImportError as error:
            raise NoData(
                "NVIDIA GPUs are read with nvidia-ml-py: pip install 'wattshed[nvidia]'"
            ) from error
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise _no_start(error.value, str(error)) from error
        self._nvml = pynvml

    def _find(self) -> None:
        count, code = self._ask("nvmlDeviceGetCount")
        if code:
            raise SourceError(f"GPUs cannot be counted: {self._error(code)}", _reason(code))
        for index in range(count):
            handle, uuid, code = self._identify(index)
            if not uuid:
                self._silent[index] = code
                log.warning("GPU %d is left out: %s", index, self._error(code))
            elif gpu := self._gpu(index, handle, uuid):
                self._gpus.append(gpu)
            else:
                log.info("GPU %d (%s) is left out: it has no meter", index, uuid)
        self._count = count
        if not self._gpus and self._silent:
            code = next(iter(self._silent.values()))
            raise SourceError(f"no GPU answers: {self._error(code)}", _reason(code))
        if not self._gpus:
            raise NoData("no GPU here reports power or energy")

    def _identify(self, index: int) -> tuple[Any, str, int]:
        handle, code = self._ask("nvmlDeviceGetHandleByIndex", index)
        if code:
            return None, "", code
        uuid, code = self._ask("nvmlDeviceGetUUID", handle)
        return handle, uuid or "", code

    def _gpu(self, index: int, handle: Any, uuid: str) -> Gpu | None:
        _, code = self._energy_uj(handle)
        counter = code not in UNSUPPORTED
        power = self._choose(handle, GPU_WAYS if counter else GPU_WAYS + MODULE_WAYS)
        if not counter and power is None:
            return None
        scope = power.scope if power else "gpu"
        device = Device(
            key=uuid,
            kind=Kind.GPU if scope == "gpu" else Kind.MODULE,
            node=self._config.node,
            source=self.name,
            name=f"gpu{index}",
            vendor="NVIDIA",
            model=self._ask("nvmlDeviceGetName", handle)[0] or "",
            serial=self._ask("nvmlDeviceGetSerial", handle)[0] or "",
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope=scope,
            method=Method.COUNTER if counter else Method.INTEGRAL,
            uncertainty_ratio=UNCERTAINTY_RATIO,
            power_limit_watts=self._limit_watts(handle) if scope == "gpu" else None,
        )
        return Gpu(index, handle, device, power)

    def _choose(self, handle: Any, ways: Sequence[Way]) -> Way | None:
        # An error that may pass (lost, not ready) does not say that the way is closed.
        return next((way for way in ways if self._watts(handle, way)[1] not in UNSUPPORTED), None)

    def _read(self, gpu: Gpu) -> Reading:
        now_ms = self._clock() // 1_000_000
        energy, power, code = None, None, NOT_SUPPORTED
        if gpu.device.method is Method.COUNTER:
            energy, code = self._energy_uj(gpu.handle)
        if gpu.power:
            power, power_code = self._watts(gpu.handle, gpu.power)
            code = power_code if code in UNSUPPORTED else code
        limit = gpu.device.power_limit_watts
        if power and limit and power > limit and self._limit_watts(gpu.handle) not in (None, limit):
            raise DevicesChanged(f"the power limit of GPU {gpu.index} is no longer {limit:g} W")
        if energy is None and power is None:
            self._renew(gpu)
            return Reading(gpu.device.key, now_ms, gap=_reason(code))
        return Reading(
            gpu.device.key,
            now_ms,
            power_watts=power,
            energy_uj=energy,
            utilization_ratio=self._utilization(gpu.handle),
            memory_used_bytes=self._memory_used(gpu.handle),
            temperature_celsius=self._celsius(gpu.handle),
        )

    def _renew(self, gpu: Gpu) -> None:
        """Take the handle that this index has now: the old one may be stale for good."""
        handle, uuid, _ = self._identify(gpu.index)
        if uuid and uuid != gpu.device.key:
            raise DevicesChanged(f"GPU {gpu.index} is now {uuid}")
        if uuid:
            gpu.handle = handle

    def _energy_uj(self, handle: Any) -> tuple[int | None, int]:
        millijoules, code = self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        if code or millijoules == U64_MAX:
            return None, code or NOT_SUPPORTED
        return millijoules * 1000, 0

    def _watts(self, handle: Any, way: Way) -> tuple[float | None, int]:
        if way.field is None:
            milliwatts, code = self._ask("nvmlDeviceGetPowerUsage", handle)
        else:
            milliwatts, code = self._field(handle, way.field)
        if code or milliwatts == U32_MAX:
            return None, code or NOT_SUPPORTED
        return milliwatts / 1000, 0

    def _limit_watts(self, handle: Any) -> float | None:
        milliwatts, _ = self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)
        return None if milliwatts in (None, U32_MAX) else float(milliwatts / 1000)

    def _field(self, handle: Any, field: tuple[int, int]) -> tuple[float | None, int]:
        values, code = self._ask("nvmlDeviceGetFieldValues", handle, [field])
        if code or values[0].nvmlReturn:
            return None, code or values[0].nvmlReturn
        number = getattr(values[0].value, VALUE_FIELDS.get(values[0].valueType, ""), 0)
        # Drivers answer 0 for a field of power that the board does not have.
        return (number, 0) if number else (None, NOT_SUPPORTED)

    def _utilization(self, handle: Any) -> float | None:
        rates, _ = self._ask("nvmlDeviceGetUtilizationRates", handle)
        return rates.gpu / 100 if rates and rates.gpu <= 100 else None

    def _memory_used(self, handle: Any) -> int | None:
        # The first version of this call counts the driver's own reserve as used.
        memory, code = self._ask("nvmlDeviceGetMemoryInfo", handle, MEMORY_V2)
        if code in UNSUPPORTED:
            memory, _ = self._ask("nvmlDeviceGetMemoryInfo", handle)
        return memory.used if memory and memory.used != U64_MAX else None

    def _celsius(self, handle: Any) -> float | None:
        degrees, _ = self._ask("nvmlDeviceGetTemperature", handle, 0)
        return None if degrees in (None, U32_MAX) else float(degrees)

    def _ask(self, function: str, *arguments: Any) -> tuple[Any, int]:
        """Call NVML and return the answer and 0, or None and the error code."""
        nvml = self._nvml
        if nvml is None:
            return None, UNINITIALIZED
        call = getattr(nvml, function, None)
        if call is None:
            return None, FUNCTION_NOT_FOUND
        try:
            return call(*arguments), 0
        except nvml.NVMLError as error:
            return None, int(error.value)
        except UnicodeDecodeError:  # the bindings decode names and serial numbers as UTF-8
            return None, UNKNOWN

    def _error(self, code: int) -> str:
        return str(self._nvml.NVMLError(code)) if self._nvml else f"NVML error {code}"


def create(config: Config) -> Nvml:
    """Build the source; NVML is neither imported nor loaded before ``discover``."""
    return Nvml(config)


def _reason(code: int) -> str:
    return REASONS.get(code, "driver_error")


def _no_start(code: int, message: str) -> SourceError:
    if code in NOTHING_HERE:
        return NoData(f"no NVIDIA driver here: {message}")
    if code == MISMATCH:
        return SourceError(
            f"{message}: the driver was upgraded; restart the exporter, because a process keeps "
            "the library that it has loaded",
            "driver_mismatch",
        )
    return SourceError(f"NVML does not start: {message}", _reason(code))
