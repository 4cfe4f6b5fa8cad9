"""What a machine draws from its battery or UPS, from the kernel's power_supply class.

Only while a battery says ``Discharging`` is its power that of the machine: charging is energy put
aside, a full battery is not asked, and neither means that the machine draws nothing. All other
states are therefore gaps, and so is 0 W. ``power_now`` counts, or else ``current_now`` times
``voltage_now``; drivers disagree about the sign of a discharge, so the status gives the direction.
``energy_now`` is the charge that is left, not a meter, and is not read. Mains and USB supplies are
left out: what they say is negotiated or includes the charging of the battery; so are the
batteries of peripherals (``scope`` is ``Device``). Source: Documentation/ABI/testing/
sysfs-class-power and Documentation/power/power_supply_class.rst of the Linux kernel.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import MICRO, Device, Kind, Method, Overlap, Reading

from . import Sample
from .sysfs import list_folder, printable, read_file, read_integer, read_text

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

TYPES = ("Battery", "UPS")
IDLE_STATES = ("Charging", "Not charging", "Full")
WAYS = (("power_now",), ("current_now", "voltage_now"))
"""Microwatts, or microamperes and microvolts."""


@dataclass(frozen=True, slots=True)
class Supply:
    """One battery and the files whose product is its power."""

    device: Device
    directory: Path
    power: tuple[str, ...]


class PowerSupply:
    """The batteries below ``config.roots.sysfs`` as a ``Source``."""

    name = "power_supply"

    def __init__(self, config: Config, clock: Callable[[], int] = time.time_ns) -> None:
        self.interval_seconds = config.interval_seconds
        self._config = config
        self._clock = clock
        self._root = config.roots.sysfs / "class/power_supply"
        self._supplies: tuple[Supply, ...] = ()

    def discover(self) -> Sequence[Device]:
        """List the batteries that measure their power.

        Raises:
            NoData: there is none.
            SourceError: there are some, but none may be read (``reason="permission"``).
        """
        self._supplies = ()
        found = ((entry, _way(entry)) for entry in _batteries(self._root))
        supplies = tuple(self._supply(entry, way) for entry, way in found if way)
        if not supplies:
            raise NoData(f"{self._root} has no battery that measures its power")
        if all(self._read(supply).gap == "permission" for supply in supplies):
            raise SourceError(
                f"{supplies[0].directory} may not be read: run the exporter as root, or make its "
                "files group-readable with chmod or a udev rule",
                "permission",
            )
        self._supplies = supplies
        return [supply.device for supply in supplies]

    def read(self) -> Sample:
        """Read every battery, or say why it tells nothing of the machine.

        The reasons are ``not_discharging``, ``no_data`` (discharging, but at a power that it does
        not know or calls 0), ``vanished``, ``permission``, ``malformed`` and ``io_error``.

        Raises:
            DevicesChanged: no battery is left, or none was discovered.
        """
        readings = [self._read(supply) for supply in self._supplies]
        if all(reading.gap == "vanished" for reading in readings):
            raise DevicesChanged(f"no battery is left below {self._root}")
        return Sample(readings)

    def close(self) -> None:
        self._supplies = ()

    def _read(self, supply: Supply) -> Reading:
        now_ms = self._clock() // 1_000_000
        try:
            return Reading(supply.device.key, now_ms, power_watts=read_watts(supply))
        except SourceError as error:
            return Reading(supply.device.key, now_ms, gap=error.reason)

    def _supply(self, entry: Path, power: tuple[str, ...]) -> Supply:
        name, config = printable(entry.name), self._config
        device = Device(
            key=f"{config.node}/power_supply/{name}",
            kind=Kind.BATTERY,
            node=config.node,
            source=self.name,
            name=name,
            vendor=read_text(entry / "manufacturer"),
            model=read_text(entry / "model_name"),
            serial=read_text(entry / "serial_number"),
            site=config.site,
            tier=config.tier,
            cluster=config.cluster,
            scope="discharge",
            method=Method.INTEGRAL,
            overlap=Overlap.OUTER,
        )
        return Supply(device, entry, power)


def create(config: Config) -> PowerSupply:
    """Build the source; nothing is opened before ``discover``."""
    return PowerSupply(config)


def read_watts(supply: Supply) -> float:
    """Return what a discharging battery gives; ``SourceError.reason`` says why it is not known."""
    status = read_file(supply.directory / "status").decode(errors="replace").strip()
    if status in IDLE_STATES:
        raise SourceError(f"{supply.directory} is {status}", "not_discharging")
    if status == "Unknown":
        raise SourceError(f"{supply.directory} does not know its status", "no_data")
    if status != "Discharging":
        raise SourceError(f"{supply.directory}: {status[:32]!r} is no status", "malformed")
    values = [abs(_value(supply.directory / file)) / MICRO for file in supply.power]
    watts = math.prod(values)
    if watts == 0:
        raise SourceError(f"{supply.directory} gives 0 W to a running machine", "no_data")
    return watts


def _batteries(root: Path) -> list[Path]:
    return [
        entry
        for entry in list_folder(root)
        if read_text(entry / "type") in TYPES and read_text(entry / "scope") != "Device"
    ]


def _way(entry: Path) -> tuple[str, ...]:
    present = (way for way in WAYS if all((entry / file).exists() for file in way))
    return next(present, ())


def _value(path: Path) -> int:
    try:
        return read_integer(path)
    except SourceError as error:
        # A driver answers ENODEV for a value that it does not know while the battery is there.
        if error.reason == "vanished" and path.exists():
            raise SourceError(str(error), "no_data") from error
        raise
