"""One card of the amdgpu driver: what its files in sysfs say, or why they say nothing.

Power is hwmon's ``power1_average``, else ``power1_input`` (never both), else the socket power in
``gpu_metrics``. Of a card that is runtime-suspended only that state is read, because its sensors
would resume it; what does not change (identity, model, serial number) comes from memory and may
always be read. Sources: "GPU Power/Thermal Controls and Monitoring" and "Runtime Power Management"
of the Linux kernel's documentation.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from wattshed_exporter.errors import SourceError

from .gpu_metrics import NOTHING, Metrics, parse
from .sysfs import REASONS, asleep, failure, read_file, read_number, read_text

CARD = re.compile(r"card[0-9]+")
DRIVER = "amdgpu"
FACTOR, DOCUMENTED_FACTOR = 2.0, 10.0
"""How far counter and power may be apart; where the unit is documented, only nonsense fails."""
MOST_WATTS, MOST_CELSIUS, MOST = 65_535, 200, 10**19 - 1
"""Drivers hand through the all-ones value of a 16-bit field as if it were watts or degrees."""
UNTOLD = ("", "0", "n/a", "none", "unknown")
APU_IDS = ("0x74a0",)
"""MI300A, which has no sensor of the northbridge's voltage as other APUs have."""
SENSOR_REASONS = {
    **REASONS,
    **dict.fromkeys((errno.EPERM, errno.EBUSY), "not_ready"),
    **dict.fromkeys((errno.EOPNOTSUPP, errno.EINVAL, errno.ENODATA), "not_supported"),
}
"""The kernel refuses sensors with EPERM while a GPU is being reset or falls asleep."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What one card said at one instant; ``gap`` is why it said neither power nor energy."""

    ts_ns: int
    power_watts: float | None = None
    metrics: Metrics = NOTHING
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    temperature_celsius: float | None = None
    gap: str = ""

    @property
    def silent(self) -> bool:
        """Whether this is how a card without a meter of its own answers."""
        nothing = not self.power_watts and not self.metrics.energy_uj
        return nothing and self.gap in ("", "vanished", "not_supported")


@dataclass(frozen=True, slots=True)
class Card:
    """One card by its folder, such as ``/sys/class/drm/card1/device``."""

    name: str
    folder: str

    def take(self, now_ns: int) -> Taken:
        if self.asleep():
            return Taken(now_ns, gap="suspended")
        hwmon = self.hwmon()
        power, gap = _power(hwmon)
        metrics = self._metrics()
        power = metrics.power_watts if power is None else power
        if power is None and metrics.energy_uj is None:
            return Taken(now_ns, gap=gap)
        return Taken(
            now_ns, power, metrics, self._utilization(), self._memory_used(), _celsius(hwmon)
        )

    def asleep(self) -> bool:
        """Return whether reading a sensor would wake the card."""
        return asleep(f"{self.folder}/power/runtime_status")

    def key(self, node: str) -> str:
        """Return the identity of the chip, or else of the slot that it is in."""
        unique = self._text("unique_id").lower().removeprefix("0x")
        if re.fullmatch(r"[0-9a-f]{1,32}", unique) and unique.strip("0"):
            return f"AMD-{unique}"
        return f"{node}/amdgpu/{self._slot() or self.name}"

    def model(self) -> str:
        ids = (self._text(name).removeprefix("0x") for name in ("vendor", "device"))
        return self._text("product_name") or ":".join(filter(None, ids))

    def serial(self) -> str:
        return self._text("serial_number")

    def firmware(self) -> str:
        """Return the version of the VBIOS, which the driver has in memory."""
        return self._text("vbios_version")

    def is_apu(self) -> bool:
        """Return whether the power is that of a package with CPU cores in it."""
        return self._text("device") in APU_IDS or os.path.exists(f"{self.hwmon()}/in1_input")

    def limit_watts(self) -> float | None:
        microwatts = sensor_number(f"{self.hwmon()}/power1_cap")
        return microwatts / 1e6 if microwatts else None

    def _utilization(self) -> float | None:
        percent = sensor_number(f"{self.folder}/gpu_busy_percent")
        return None if percent is None or percent > 100 else percent / 100

    def _memory_used(self) -> int | None:
        return sensor_number(f"{self.folder}/mem_info_vram_used")

    def _metrics(self) -> Metrics:
        try:
            return parse(read_file(f"{self.folder}/gpu_metrics", SENSOR_REASONS))
        except SourceError:
            return NOTHING

    def _slot(self) -> str:
        try:
            told = read_file(f"{self.folder}/uevent").decode(errors="replace")
        except SourceError:
            return ""
        slot = re.search(r"^PCI_SLOT_NAME=([0-9a-fA-F:.]+)$", told, re.MULTILINE)
        return slot[1] if slot else ""

    def hwmon(self) -> str:
        """Return the folder of sensors, whose number changes when the driver is loaded anew."""
        try:
            return f"{self.folder}/hwmon/{min(os.listdir(f'{self.folder}/hwmon'))}"
        except (OSError, ValueError):
            return f"{self.folder}/hwmon/none"

    def _text(self, name: str) -> str:
        text = read_text(f"{self.folder}/{name}")
        return "" if text.lower() in UNTOLD else text


def list_cards(root: Path) -> tuple[Card, ...]:
    """Return the cards of the driver below ``class/drm``, in order of their numbers."""
    try:
        names = [name for name in os.listdir(root) if CARD.fullmatch(name)]
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise failure(root, error) from error
    cards = (Card(name, f"{root}/{name}/device") for name in sorted(names, key=_number_last))
    return tuple(card for card in cards if _driver(card) == DRIVER)


def agree(before: Taken, after: Taken) -> bool:
    """Return whether the energy counter gained what the power says; alone, it need only gain."""
    if before.metrics.energy_uj is None or after.metrics.energy_uj is None:
        return False
    gained = (after.metrics.energy_uj - before.metrics.energy_uj) / 1e6
    if before.power_watts is None or after.power_watts is None:
        return gained > 0
    watts = (before.power_watts + after.power_watts) / 2
    joules = watts * (after.ts_ns - before.ts_ns) / 1e9
    factor = DOCUMENTED_FACTOR if after.metrics.range_uj is None else FACTOR
    return gained > 0 and joules / factor <= gained <= joules * factor


def _number_last(name: str) -> tuple[int, str]:
    return len(name), name


def _driver(card: Card) -> str:
    try:
        return os.path.basename(os.readlink(f"{card.folder}/driver"))
    except OSError:
        return ""


def _power(hwmon: str) -> tuple[float | None, str]:
    """Return the power in watts, or None and why there is none."""
    gap = "vanished"
    for name in ("power1_average", "power1_input"):
        try:
            microwatts = _sensor(f"{hwmon}/{name}")
        except SourceError as error:
            gap = gap if error.reason == "vanished" else error.reason
            continue
        if microwatts < MOST_WATTS * 1_000_000:
            return microwatts / 1e6, ""
        gap = "not_supported"
    return None, gap


def _celsius(hwmon: str) -> float | None:
    """Return the temperature at the die's edge, or at its junction where it has no other."""
    for name in ("temp1_input", "temp2_input"):
        millidegrees = sensor_number(f"{hwmon}/{name}")
        if millidegrees is not None and millidegrees <= MOST_CELSIUS * 1000:
            return millidegrees / 1000
    return None


def sensor_number(path: str) -> int | None:
    """Return the number that a sensor gives, None where it gives none."""
    try:
        return _sensor(path)
    except SourceError:
        return None


def _sensor(path: str) -> int:
    number = read_number(path, SENSOR_REASONS)
    if number > MOST:
        raise SourceError(f"{path}: {number} is no measurement", "malformed")
    return number
