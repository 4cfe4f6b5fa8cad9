"""Power and energy of NVIDIA GPUs from a dcgm-exporter that already runs on the node.

One device per GPU UUID, the key that the nvml source uses too; how the page is understood is said
in ``dcgm_page``. The page is renewed every 30 seconds unless told otherwise, so an energy counter
that has not moved since the last read is no new reading. Where the profiling fields say zero of a
GPU that works, its activity is unknown, and that is counted (``silent_zero``). Source:
dcgm-exporter's issue 655.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Detail, Device, Kind, Method, Reading

from . import Sample
from .beat import Beat
from .dcgm_details import History, details
from .dcgm_page import ENERGY, LIMIT, POWER, TEMPERATURE, Board, boards
from .exposition import fetch

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

URL = "http://127.0.0.1:9400/metrics"
TIMEOUT_SECONDS = 3.0
LEAST_INTERVAL_SECONDS = 5.0
"""The page changes every 30 s by default, and each read makes dcgm-exporter write it anew."""
STALE_SECONDS = 120.0
"""A counter that stands still for longer is a gap: a GPU that is on draws power."""
UNCERTAINTY_RATIO = 0.05


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
        self._histories: dict[str, History] = {}
        self._beat = Beat(config.detail_seconds)

    def discover(self) -> Sequence[Device]:
        """List the GPUs that the page gives power or energy of.

        Raises:
            NoData: no URL is set, or the page has no power and no energy of a GPU.
            SourceError: ``unreachable``, ``timeout``, ``http_error``, ``too_large`` or
                ``malformed``.
        """
        self._devices, self._moved = {}, {}
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
        silent = sum(found[key].unprofiled for key in found.keys() & devices.keys())
        return Sample(
            [reading for reading in readings if reading is not None],
            self._details(found, now_ms),
            rejected={"silent_zero": silent} if silent else {},
        )

    def close(self) -> None:
        self._devices, self._moved, self._histories = {}, {}, {}

    def _details(self, found: Mapping[str, Board], now_ms: int) -> list[Detail]:
        """Count what is new of every GPU, and say all of it every ``config.detail_seconds``."""
        here = {key: found[key] for key in self._devices if key in found}
        for key, board in here.items():
            self._histories.setdefault(key, History(now_ms, now_ms)).take(board, now_ms)
        if not self._beat.due(now_ms):
            return []
        told = (details(key, board, self._histories[key]) for key, board in here.items())
        return [said for of_one in told for said in of_one]

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
            activity_ratio=board.activity_ratio(),
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
            driver=board.labels.get("DCGM_FI_DRIVER_VERSION", ""),
            firmware=board.labels.get("DCGM_FI_DEV_VBIOS_VERSION", ""),
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
