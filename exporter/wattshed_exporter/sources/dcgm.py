"""Power and energy of NVIDIA GPUs from a dcgm-exporter that already runs on the node.

One device per GPU UUID, the key that the nvml source uses too. In MIG mode every row of an
instance repeats the value of the whole board, with small differences, so a board's rows are never
added: the row without ``GPU_I_ID`` counts if there is one, else the largest; only the memory of
instances is their own and adds up. Utilisation is the largest of what the board says of itself,
because each signal is known to stay at zero under load: ``GPU_UTIL`` in MIG mode (where it is not
used), profiling fields when profiling is taken over. DCGM's blank values are None. The page is
renewed every 30 seconds unless told otherwise, so an energy counter that has not moved since the
last read is no new reading. Sources: dcgm-exporter's ``etc/*.csv``, ``dcgm_fields.h`` and
``dcgm_structs.h``, and its issues 50, 216, 317, 655 and 662.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Method, Reading

from . import Sample
from .exposition import fetch, rows

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

URL = "http://127.0.0.1:9400/metrics"
TIMEOUT_SECONDS = 3.0
LEAST_INTERVAL_SECONDS = 5.0
"""The page changes every 30 s by default, and each read makes dcgm-exporter write it anew."""
STALE_SECONDS = 120.0
"""A counter that stands still for longer is a gap: a GPU that is on draws power."""
UNCERTAINTY_RATIO = 0.05

BLANKS = frozenset(
    base + code for base in (0x7FFF_FFF0, 0x7FFF_FFFF_FFFF_FFF0, 1 << 47) for code in range(4)
)
"""Blank, not found, not supported, no permission: of 32-bit and 64-bit integers and of doubles."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Field:
    """What a metric says, and the largest value that can be meant."""

    name: str
    most: int


ENERGY = Field("energy_mj", 1 << 53)
POWER, LIMIT = Field("power_watts", 1_000_000), Field("limit_watts", 1_000_000)
PERCENT, ENGINE, CORES = Field("gpu_percent", 100), Field("engine_ratio", 1), Field("sm_ratio", 1)
MEMORY, TEMPERATURE = Field("used_mib", 1 << 32), Field("celsius", 200)
FIELDS = {
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ENERGY,
    "DCGM_FI_DEV_POWER_USAGE": POWER,
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": LIMIT,
    "DCGM_FI_DEV_GPU_UTIL": PERCENT,
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ENGINE,
    "DCGM_FI_PROF_SM_ACTIVE": CORES,
    "DCGM_FI_DEV_FB_USED": MEMORY,
    "DCGM_FI_DEV_GPU_TEMP": TEMPERATURE,
    "dcgm_total_energy_consumption": ENERGY,
    "dcgm_power_usage": POWER,
    "dcgm_gpu_utilization": PERCENT,
    "dcgm_fi_prof_gr_engine_active": ENGINE,
    "dcgm_fi_prof_sm_active": CORES,
    "dcgm_fb_used": MEMORY,
    "dcgm_gpu_temp": TEMPERATURE,
}
"""Metrics that are read; the lower-case names are those of dcgm-exporter 1.x."""


@dataclass(slots=True)
class Board:
    """What the page says of one GPU: values by field and MIG instance ("" is the whole board)."""

    labels: dict[str, str] = field(default_factory=dict)
    values: dict[Field, dict[str, int | float]] = field(default_factory=dict)
    mig: bool = False

    @property
    def host(self) -> str:
        return self.labels.get("Hostname") or self.labels.get("hostname") or ""

    @property
    def metered(self) -> bool:
        return ENERGY in self.values or POWER in self.values

    def value(self, of: Field) -> int | float | None:
        said = self.values.get(of)
        return None if said is None else said.get("", max(said.values()))

    def energy_uj(self) -> int | None:
        millijoules = self.value(ENERGY)
        return None if millijoules is None else int(millijoules * 1000)

    def memory_bytes(self) -> int | None:
        said = self.values.get(MEMORY)
        return None if said is None else int(said.get("", sum(said.values())) * MIB)

    def utilization_ratio(self) -> float | None:
        percent = None if self.mig else self.value(PERCENT)
        said = (percent and percent / 100, self.value(ENGINE), self.value(CORES))
        return max((float(ratio) for ratio in said if ratio is not None), default=None)


class Dcgm:
    """The GPUs on a dcgm-exporter's page as a ``Source``."""

    name = "dcgm"

    def __init__(
        self,
        config: Config,
        url: str = URL,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.interval_seconds = max(config.interval_seconds, LEAST_INTERVAL_SECONDS)
        self._config = config
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._devices: dict[str, Device] = {}
        self._moved: dict[str, tuple[int, int]] = {}

    def discover(self) -> Sequence[Device]:
        """List the GPUs that the page gives power or energy of.

        Raises:
            NoData: no URL is set, or the page has no power and no energy of a GPU.
            SourceError: ``unreachable``, ``timeout``, ``http_error``, ``too_large`` or
                ``malformed``.
        """
        self.close()
        if not self._url:
            raise NoData("no dcgm-exporter is configured: set dcgm.url")
        found = {key: board for key, board in self._boards().items() if board.metered}
        if not found:
            raise NoData(f"{self._url} has neither power nor energy of a GPU")
        several = len({board.host for board in found.values()}) > 1
        self._devices = {key: self._device(key, found[key], several) for key in sorted(found)}
        return list(self._devices.values())

    def read(self) -> Sample:
        """Read the page: microjoules, watts, ratio, bytes, degrees Celsius of each GPU.

        A GPU whose counter has not moved is left out; it is a gap after two minutes (``stale``),
        and where the page no longer has the GPU (``vanished``) or its meters (``not_supported``).

        Raises:
            DevicesChanged: a GPU came.
            SourceError: as ``discover``; ``vanished`` where the page has none of the GPUs.
        """
        found, devices = self._boards(), self._devices
        new = [key for key, board in found.items() if board.metered and key not in devices]
        if new or not devices:
            raise DevicesChanged(f"{self._url} has other GPUs: {', '.join(new) or 'none known'}")
        if not found.keys() & devices.keys():
            raise SourceError(f"{self._url} no longer has any of the GPUs", "vanished")
        now_ms = self._clock() // 1_000_000
        readings = [self._reading(key, found.get(key), now_ms) for key in devices]
        return Sample([reading for reading in readings if reading is not None])

    def close(self) -> None:
        self._devices, self._moved = {}, {}

    def _boards(self) -> dict[str, Board]:
        return boards(fetch(self._url, self._timeout_seconds))

    def _reading(self, key: str, board: Board | None, now_ms: int) -> Reading | None:
        if board is None or not board.metered:
            return Reading(key, now_ms, gap="not_supported" if board else "vanished")
        energy = board.energy_uj()
        if energy is not None:
            before, since_ms = self._moved.get(key, (None, now_ms))
            if energy == before:
                stale = now_ms - since_ms > STALE_SECONDS * 1000
                return Reading(key, now_ms, gap="stale") if stale else None
            self._moved[key] = energy, now_ms
        power, celsius = board.value(POWER), board.value(TEMPERATURE)
        return Reading(
            key,
            now_ms,
            power_watts=None if power is None else float(power),
            energy_uj=energy,
            utilization_ratio=board.utilization_ratio(),
            memory_used_bytes=board.memory_bytes(),
            temperature_celsius=None if celsius is None else float(celsius),
        )

    def _device(self, key: str, board: Board, several: bool) -> Device:
        limit = board.value(LIMIT)
        return Device(
            key=key,
            kind=Kind.GPU,
            node=board.host if several and board.host else self._config.node,
            source=self.name,
            name=f"gpu{board.labels.get('gpu', '')}",
            vendor="NVIDIA",
            model=board.labels.get("modelName") or board.labels.get("DCGM_FI_DEV_NAME", ""),
            serial=board.labels.get("DCGM_FI_DEV_SERIAL", ""),
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope="gpu",
            method=Method.COUNTER if ENERGY in board.values else Method.INTEGRAL,
            uncertainty_ratio=UNCERTAINTY_RATIO,
            power_limit_watts=float(limit) if limit else None,
        )


def create(config: Config) -> Dcgm:
    """Build the source; nothing is connected before ``discover``."""
    return Dcgm(config, config.dcgm.url)


def boards(page: str) -> dict[str, Board]:
    """Return what the page says of each GPU by UUID; rows of nothing with a UUID are left out."""
    found: dict[str, Board] = {}
    for row in rows(page, FIELDS):
        key = row.labels.get("UUID") or row.labels.get("uuid") or ""
        if not key or key.startswith("MIG-"):
            continue
        board = found.setdefault(key, Board())
        board.labels.update(_told(row.labels))
        instance = row.labels.get("GPU_I_ID", "")
        board.mig = board.mig or bool(instance)
        of = FIELDS[row.name]
        if _meant(row.value, of):
            said = board.values.setdefault(of, {})
            said[instance] = max(row.value, said.get(instance, row.value))
    return found


def _told(labels: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if value}


def _meant(value: int | float, of: Field) -> bool:
    return 0 <= value <= of.most and value not in BLANKS
