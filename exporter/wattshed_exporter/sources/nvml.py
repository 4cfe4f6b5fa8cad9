"""Power and energy of NVIDIA GPUs through NVML (the ``nvidia-ml-py`` package, extra ``[nvidia]``).

What is measured at every interval is said in ``nvml_board``, what is asked now and then in
``nvml_details``. A board in MIG mode is one device: its instances have no meters. A field that
NVML does not give is None, never 0, any error of one device leaves the others alone, and a GPU
that the kernel has suspended is a gap without a call that would wake it. Source: NVML API
reference.
"""

from __future__ import annotations

import ctypes
import logging
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import (
    Detail,
    Device,
    Instance,
    Kind,
    Method,
    ProcessUse,
    Reading,
)

from . import Sample
from .nvml_activity import sees_all_processes
from .nvml_board import Board
from .nvml_health import XID, Events, Health, say_status
from .nvml_library import (
    INVALID_ARGUMENT,
    NO_PERMISSION,
    NOT_FOUND,
    Library,
    load_library,
    open_library,
    reason,
)
from .nvml_sleep import Sleep
from .nvml_survey import Survey

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

log = logging.getLogger(__name__)

UNCERTAINTY_RATIO = 0.05
"""Gain and offset of an uncalibrated board's sensor, as measured against external meters."""
REINIT_SECONDS = 10.0
"""For so long every GPU fails before NVML is set up anew; the setup is slow, so not at once."""
NOT_GIVEN = (NOT_FOUND, INVALID_ARGUMENT, NO_PERMISSION)
"""Codes for the address of a GPU that is not given to this container."""
SUSPENDED, LOST = "suspended", "gpu_lost"
PCI_INFO = struct.Struct("=16xIII8x32x")

Place = int | str
"""How a GPU is looked up: by its index, or by its PCI address where another one sleeps."""


@dataclass(slots=True)
class Gpu:
    """One GPU that answered at discovery; ``address`` is the one of its PCI device."""

    index: int
    board: Board
    survey: Survey
    device: Device
    address: str


class Nvml:
    """The GPUs of the driver's NVML library as a ``Source``.

    Args:
        config: names, intervals, and the roots of sysfs and procfs.
        clock: the time of day in nanoseconds.
        monotonic: a clock for intervals in seconds.
    """

    name = "nvml"

    def __init__(
        self,
        config: Config,
        clock: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.interval_seconds = config.interval_seconds
        self._config = config
        self._clock = clock
        self._monotonic = monotonic
        self._library: Library | None = None
        self._sleep: Sleep | None = None
        self._events: Events | None = None
        self._gpus: list[Gpu] = []
        self._silent: dict[Place, int] = {}
        self._sleepers: set[str] = set()
        self._known: dict[str, Device] = {}
        self._health = Health()
        self._began_ms = clock() // 1_000_000
        self._next_details = 0.0
        self._count = 0
        self._counted = ctypes.c_uint32()
        self._get_count: Callable[[], int] = int
        self._failing_since: float | None = None

    def discover(self) -> Sequence[Device]:
        """Initialise NVML, anew where it was before, and list the GPUs.

        A GPU that sleeps is listed only where it was seen awake before.

        Raises:
            NoData: no Python package, no driver, or no GPU with a meter.
            SourceError: the driver is there but fails, or every GPU sleeps (``suspended``); after
                an upgrade of the driver (``driver_mismatch``) only a restart of the process helps.
        """
        self.close()
        load_library()
        self._sleep = Sleep(self._config.roots.sysfs)
        self._sleepers = self._sleep.sleepers()
        try:
            if self._sleepers and self._sleepers == self._sleep.gpus:
                raise SourceError("every GPU here sleeps, and is left to", SUSPENDED)
            self._library = open_library()
            self._find(self._library)
        except SourceError:
            self.close()
            raise
        return [gpu.device for gpu in self._gpus] + list(self._dozing())

    def read(self) -> Sample:
        """Read every GPU: microjoules, watts, ratio, bytes, degrees Celsius; details when due.

        A GPU that gives neither energy nor power is a gap: ``gpu_lost``, ``not_supported``,
        ``not_ready``, ``permission``, ``suspended``, ``driver_mismatch`` or ``driver_error``.

        Raises:
            DevicesChanged: the number or the order of the GPUs changed, NVML is no longer
                initialised, no GPU answered for a while, a GPU woke that slept at discovery, or a
                power limit was raised.
        """
        library, sleep = self._library, self._sleep
        if library is None or sleep is None:
            raise DevicesChanged("NVML was shut down and has to be initialised anew")
        self._look_for_changes(library, sleep)
        readings = [self._read(gpu, library, sleep) for gpu in self._gpus]
        if readings and not readings[0].gap:
            self._failing_since = None
        else:
            self._look_for_failure({reading.gap for reading in readings})
        is_due = self._monotonic() >= self._next_details
        details = tuple(self._details(readings)) if is_due else ()
        answering = [
            gpu for gpu, reading in zip(self._gpus, readings, strict=True)
            if is_due and not reading.gap
        ]  # fmt: skip
        uses = (self._processes(answering), self._instances(answering)) if is_due else (None, None)
        if self._sleepers:
            now_ms = self._clock() // 1_000_000
            readings += [Reading(d.key, now_ms, gap=SUSPENDED) for d in self._dozing()]
        return Sample(readings, details, processes=uses[0], instances=uses[1])

    def close(self) -> None:
        """Give back samples, events and NVML itself, so that the driver can be unloaded."""
        library, self._library = self._library, None
        for gpu in self._gpus:
            gpu.survey.close()
        if self._events is not None:
            self._events.close()
        if self._sleep is not None:
            self._sleep.close()
        if library is not None:
            library.close()
        self._gpus, self._silent, self._failing_since = [], {}, None
        self._events = self._sleep = None
        self._health.states.clear()

    def _find(self, library: Library) -> None:
        count, code = library.u32("nvmlDeviceGetCount_v2")
        if count is None:
            message = f"GPUs cannot be counted: {library.error(code)}"
            raise SourceError(message, reason(code))
        self._count, self._next_details = count, 0.0
        get_count = library.function("nvmlDeviceGetCount_v2")
        self._get_count = partial(get_count, ctypes.byref(self._counted))
        self._events = Events(library)
        driver, _ = library.text("nvmlSystemGetDriverVersion")
        for place, index, handle, uuid, code in self._candidates(library, count):
            if not uuid:
                self._silent[place] = code
                log.warning("GPU %s is left out: %s", place, library.error(code))
            elif gpu := self._gpu(library, index, handle, uuid, driver):
                self._adopt(gpu)
            else:
                log.info("GPU %d (%s) is left out: it has no meter", index, uuid)
        if not self._gpus and self._silent:
            code = next(iter(self._silent.values()))
            raise SourceError(f"no GPU answers: {library.error(code)}", reason(code))
        if not self._gpus:
            raise NoData("no GPU here reports power or energy")

    def _candidates(
        self, library: Library, count: int
    ) -> Iterator[tuple[Place, int, ctypes.c_void_p, str, int]]:
        """Yield place, index, handle, UUID and code of each GPU; where some sleep, of the others.

        A handle by index would wake the GPU that it belongs to.
        """
        if not self._sleepers or self._sleep is None:
            yield from ((index, index, *_identify(library, index)) for index in range(count))
            return
        for address in sorted(self._sleep.gpus - self._sleepers):
            index, handle, uuid, code = _identify_at(library, address)
            if code not in NOT_GIVEN:
                yield address, index, handle, uuid, code

    def _adopt(self, gpu: Gpu) -> None:
        self._gpus.append(gpu)
        if gpu.address:
            self._known[gpu.address] = gpu.device
        if self._events is not None:
            self._events.register(gpu.board.handle)

    def _gpu(
        self, library: Library, index: int, handle: ctypes.c_void_p, uuid: str, driver: str
    ) -> Gpu | None:
        board = Board(library, handle)
        if not board.counter and board.power is None:
            return None
        device = Device(
            key=uuid,
            kind=Kind.GPU if board.scope == "gpu" else Kind.MODULE,
            node=self._config.node,
            source=self.name,
            name=f"gpu{index}",
            vendor="NVIDIA",
            model=library.text("nvmlDeviceGetName", handle)[0],
            serial=library.text("nvmlDeviceGetSerial", handle)[0],
            driver=driver,
            firmware=library.text("nvmlDeviceGetVbiosVersion", handle)[0],
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope=board.scope,
            method=Method.COUNTER if board.counter else Method.INTEGRAL,
            uncertainty_ratio=UNCERTAINTY_RATIO,
            power_limit_watts=_limit_watts(library, handle) if board.scope == "gpu" else None,
        )
        complete = sees_all_processes(self._config.roots.procfs)
        survey = Survey(library, board, all_processes=complete)
        return Gpu(index, board, survey, device, _address(library, handle))

    def _dozing(self) -> Iterator[Device]:
        yield from (self._known[at] for at in sorted(self._sleepers) if at in self._known)

    def _look_for_changes(self, library: Library, sleep: Sleep) -> None:
        code, count = self._get_count(), self._counted.value
        if code:
            raise DevicesChanged(f"NVML has to be initialised anew: {library.error(code)}")
        if count != self._count:
            raise DevicesChanged(f"NVML now sees {count} GPUs")
        for address in self._sleepers:
            if not sleep.asleep(address):
                raise DevicesChanged(f"the GPU at {address} woke")
        for place in self._silent:
            if _answers(library, sleep, place):
                raise DevicesChanged(f"GPU {place} answers again")

    def _look_for_failure(self, gaps: set[str]) -> None:
        now = self._monotonic()
        if "" in gaps or gaps <= {SUSPENDED}:
            self._failing_since = None
        elif self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since >= REINIT_SECONDS:
            raise DevicesChanged("no GPU answers: NVML is initialised anew")

    def _read(self, gpu: Gpu, library: Library, sleep: Sleep) -> Reading:
        now_ms = self._clock() // 1_000_000
        device, board = gpu.device, gpu.board
        if sleep.watches and sleep.asleep(gpu.address):
            return Reading(device.key, now_ms, gap=SUSPENDED)
        energy_uj, watts, code = board.measure()
        limit = device.power_limit_watts
        if watts and limit and watts > limit:
            self._check_limit(gpu, library, limit)
        if energy_uj is None and watts is None:
            self._renew(gpu, library)
            return Reading(device.key, now_ms, gap=reason(code))
        utilization, memory, celsius = board.state()
        return Reading(
            device.key,
            now_ms,
            watts,
            energy_uj,
            None,
            utilization,
            memory,
            celsius,
            board.activity_ratio,
            board.contexts,
        )

    def _renew(self, gpu: Gpu, library: Library) -> None:
        """Take the handle that this index has now: the old one may be stale for good."""
        handle, uuid, _ = _identify(library, gpu.index)
        if uuid and uuid != gpu.device.key:
            raise DevicesChanged(f"GPU {gpu.index} is now {uuid}")
        if not uuid or gpu.board.handle.value == handle.value:
            return
        gpu.board.handle.value = handle.value
        if self._events is not None:
            self._events.register(gpu.board.handle)

    def _check_limit(self, gpu: Gpu, library: Library, limit: float) -> None:
        if _limit_watts(library, gpu.board.handle) not in (None, limit):
            raise DevicesChanged(f"the power limit of GPU {gpu.index} is no longer {limit:g} W")

    def _details(self, readings: Sequence[Reading]) -> Iterator[Detail]:
        self._next_details = self._monotonic() + self._config.detail_seconds
        for event in self._events.take() if self._events else ():
            self._health.note(*event)
        for gpu, reading in zip(self._gpus, readings, strict=True):
            yield from self._details_of(gpu, reading)

    def _processes(self, gpus: Sequence[Gpu]) -> list[ProcessUse] | None:
        """Return what processes use of GPUs and MIG instances, None where one does not tell."""
        now_ms = self._clock() // 1_000_000
        found = []
        for gpu in gpus:
            if gpu.survey.uses is None:
                return None
            uuids = {part.place: part.uuid for part, _ in gpu.survey.parts}
            for use in gpu.survey.uses:
                key = uuids.get(use.place, gpu.device.key) if use.place else gpu.device.key
                found.append(ProcessUse(key, use.pid, now_ms, use.sm_ratio, use.memory_bytes))
        return found

    def _instances(self, gpus: Sequence[Gpu]) -> list[Instance]:
        now_ms = self._clock() // 1_000_000
        return [
            Instance(gpu.device.key, part.name, part.uuid, now_ms, part.slices, worked)
            for gpu in gpus
            for part, worked in gpu.survey.parts
        ]

    def _details_of(self, gpu: Gpu, reading: Reading) -> Iterator[Detail]:
        key, now_ms = gpu.device.key, self._clock() // 1_000_000
        state = "failed" if reading.gap == LOST else ""
        if not reading.gap:
            since_us = int(now_ms * 1000 - self._config.detail_seconds * 1e6)
            said = gpu.survey.read(since_us)
            state = self._health.status(key, said)
            for (metric, own), value in said.items():
                yield Detail(key, metric, now_ms, value, own)
        for xid, count in self._health.xids.get(key, {}).items():
            yield Detail(key, XID, now_ms, float(count), (str(xid),), self._began_ms)
        for metric, own, value in say_status(state) if state else ():
            yield Detail(key, metric, now_ms, value, own)


def create(config: Config) -> Nvml:
    """Build the source; NVML is neither imported nor loaded before ``discover``."""
    return Nvml(config)


def _identify(library: Library, index: int) -> tuple[ctypes.c_void_p, str, int]:
    handle = ctypes.c_void_p()
    code = library.function("nvmlDeviceGetHandleByIndex_v2")(index, ctypes.byref(handle))
    if code:
        return handle, "", code
    return handle, *library.text("nvmlDeviceGetUUID", handle)


def _identify_at(library: Library, address: str) -> tuple[int, ctypes.c_void_p, str, int]:
    """Return the same for a PCI address, with the index first; -1 where that is not told."""
    handle = ctypes.c_void_p()
    get = library.function("nvmlDeviceGetHandleByPciBusId_v2")
    if code := get(address.encode(), ctypes.byref(handle)):
        return -1, handle, "", code
    index, code = library.u32("nvmlDeviceGetIndex", handle)
    if index is None:
        return -1, handle, "", code
    return index, handle, *library.text("nvmlDeviceGetUUID", handle)


def _answers(library: Library, sleep: Sleep, place: Place) -> bool:
    """Return whether a silent GPU answers again; it is not asked where that would wake one."""
    if isinstance(place, str):
        return not sleep.asleep(place) and bool(_identify_at(library, place)[2])
    return not sleep.sleepers() and bool(_identify(library, place)[1])


def _limit_watts(library: Library, handle: ctypes.c_void_p) -> float | None:
    milliwatts, _ = library.u32("nvmlDeviceGetEnforcedPowerLimit", handle)
    return None if milliwatts is None else milliwatts / 1000


def _address(library: Library, handle: ctypes.c_void_p) -> str:
    """Return the address as sysfs has it, such as ``0000:01:00.0``; "" where unknown."""
    info = ctypes.create_string_buffer(PCI_INFO.size)
    if library.function("nvmlDeviceGetPciInfo_v3")(handle, info):
        return ""
    domain, bus, device = PCI_INFO.unpack(info.raw)
    return f"{domain:04x}:{bus:02x}:{device:02x}.0"
