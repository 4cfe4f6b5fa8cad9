"""Power and energy from the sensor chips of the kernel's hwmon class, such as a Jetson's rails.

What a chip measures and how its channels overlap is said in ``hwmon_chips``. What another source
owns is left to it: amdgpu, and the CPU's counters where powercap has them. Nothing is held between
two reads, so a chip that comes back is read again, and a GPU that sleeps is not woken. Source:
Documentation/hwmon/sysfs-interface.rst of the Linux kernel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import MICRO, Device, Kind, Method, Reading

from . import Sample
from .hwmon_chips import (
    CPU_CHIPS,
    RAIL_CHIPS,
    Channel,
    find_channels,
    find_chips,
    place,
    read_product,
)
from .sysfs import asleep, board_model

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

LONGEST_INTERVAL_SECONDS = 60.0
"""Intel's drivers extend a 32-bit register (262 kJ) when read: it wraps after 262 s at 1 kW."""


class Hwmon:
    """The channels below ``config.roots.sysfs`` as a ``Source``."""

    name = "hwmon"

    def __init__(self, config: Config, clock: Callable[[], int] = time.time_ns) -> None:
        self.interval_seconds = min(config.interval_seconds, LONGEST_INTERVAL_SECONDS)
        self._config = config
        self._clock = clock
        self._root = config.roots.sysfs / "class/hwmon"
        self._meters: tuple[tuple[Device, Channel], ...] = ()

    def discover(self) -> Sequence[Device]:
        """List the channels.

        Raises:
            NoData: no chip measures power or energy.
            SourceError: there are channels, but none may be read (``reason="permission"``).
        """
        self._meters = ()
        owned = {"amdgpu"}
        if any((self._config.roots.sysfs / "class/powercap").glob("intel-rapl:*")):
            owned.update(CPU_CHIPS)
        chips = (chip for chip in find_chips(self._root) if chip.name not in owned)
        channels = [channel for chip in chips for channel in find_channels(chip)]
        if not channels:
            raise NoData(f"{self._root} has no chip that measures power or energy")
        meters = tuple((self._device(channel, channels), channel) for channel in channels)
        if all(self._read(*meter).gap == "permission" for meter in meters):
            raise SourceError(
                f"{channels[0].chip.directory} may not be read: run the exporter as root, or make "
                "its power and energy files group-readable with chmod or a udev rule",
                "permission",
            )
        self._meters = meters
        return [device for device, _ in meters]

    def read(self) -> Sample:
        """Read every channel, or say why not.

        The reasons are ``vanished``, ``permission``, ``malformed``, ``io_error``, ``no_data`` (the
        chip is switched off or does not know), ``negative`` and ``suspended`` (a sleeping GPU,
        which reading would wake).

        Raises:
            DevicesChanged: no channel is left, or none was discovered.
        """
        readings = [self._read(*meter) for meter in self._meters]
        if all(reading.gap == "vanished" for reading in readings):
            raise DevicesChanged(f"no channel is left below {self._root}")
        return Sample(readings)

    def close(self) -> None:
        self._meters = ()

    def _read(self, device: Device, channel: Channel) -> Reading:
        now_ms = self._clock() // 1_000_000
        status = channel.chip.entry / "device/power/runtime_status"
        try:
            if device.kind is Kind.GPU and asleep(status):
                return Reading(device.key, now_ms, gap="suspended")
            energy = None if channel.energy is None else read_product((channel.energy,))
            watts = read_product(channel.power) / MICRO if channel.power else None
            return Reading(device.key, now_ms, watts, energy)
        except SourceError as error:
            return Reading(device.key, now_ms, gap=error.reason)

    def _device(self, channel: Channel, channels: Sequence[Channel]) -> Device:
        kind, overlap, container = place(channel, channels)
        config, chip = self._config, channel.chip
        unique = sum(other.label == channel.label for other in channels) == 1
        return Device(
            key=self._key(channel),
            kind=kind,
            node=config.node,
            source=self.name,
            name=channel.label if channel.label and unique else f"{chip.id}/{channel.stem}",
            vendor="Intel" if chip.name.startswith(("i915", "xe")) else "",
            model=board_model(config.roots.sysfs) if chip.name in RAIL_CHIPS else "",
            parent=self._key(container) if container else "",
            site=config.site,
            tier=config.tier,
            cluster=config.cluster,
            scope=channel.label or channel.stem,
            method=Method.INTEGRAL if channel.energy is None else Method.COUNTER,
            overlap=overlap,
        )

    def _key(self, channel: Channel) -> str:
        return f"{self._config.node}/hwmon/{channel.chip.id}/{channel.stem}"


def create(config: Config) -> Hwmon:
    """Build the source; nothing is opened before ``discover``."""
    return Hwmon(config)
