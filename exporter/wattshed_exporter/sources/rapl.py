"""CPU and memory energy from the kernel's powercap zones (RAPL; AMD uses the same zone names).

Each zone holds a counter in microjoules that wraps at a range of its own, within minutes on a busy
server, so the source asks to be read at least every ten seconds and hands out the raw counter. The
zones overlap: a package contains its core and uncore zones, psys contains the packages, and the
mmio zones repeat the package; DRAM is measured beside the package. Files are opened for every read
and nothing is held, so a zone that the kernel registers anew is read again. Source:
Documentation/power/powercap/powercap.rst of the Linux kernel.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import DevicesChanged, NoData, SourceError
from wattshed_exporter.model import Device, Kind, Overlap, Reading

from . import Sample
from .cpu_time import PackageLoad
from .sysfs import find_number, list_folder, printable, read_number, read_text

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

LONGEST_INTERVAL_SECONDS = 10.0
"""A 65.5 kJ range, the smallest seen, wraps after 66 s at 1 kW: several reads must fit in."""

PACKAGE = re.compile(r"package-([0-9]{1,6})(?![0-9])")
NO_LOADS: Mapping[int, float] = {}
ZONE = re.compile(r"intel-rapl(?:-mmio)?:.+")
KINDS = {
    "package": Kind.CPU,
    "core": Kind.CPU,
    "uncore": Kind.CPU,
    "dram": Kind.MEMORY,
    "psys": Kind.HOST,
}
VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


@dataclass(frozen=True, slots=True)
class Zone:
    """One powercap zone: the device that it is and the directory that it is read from."""

    device: Device
    directory: Path
    package: int | None = None
    """The number of the package that it measures as a whole, or a die of which it measures."""


class Rapl:
    """The powercap zones below ``config.roots.sysfs`` as a ``Source``."""

    name = "rapl"

    def __init__(self, config: Config, clock: Callable[[], int] = time.time_ns) -> None:
        self.interval_seconds = min(config.interval_seconds, LONGEST_INTERVAL_SECONDS)
        self._config = config
        self._clock = clock
        self._root = config.roots.sysfs / "class/powercap"
        self._zones: tuple[Zone, ...] = ()
        self._load: PackageLoad | None = None

    def discover(self) -> Sequence[Device]:
        """List the zones.

        Raises:
            NoData: there is no zone.
            SourceError: the zones are there, but none may be read (``reason="permission"``).
        """
        self._zones = ()
        paths = _without_repeats(zone_paths(_zone_names(self._root)))
        if not paths:
            raise NoData(
                f"{self._root} has no RAPL zone; a container sees one only where the host's sysfs "
                "is mounted and roots.sysfs points to it"
            )
        cpu = cpu_model(self._config.roots.procfs)
        zones = tuple(self._zone(directory, paths, *cpu) for directory in sorted(paths))
        if all(self._read(zone).gap == "permission" for zone in zones):
            raise SourceError(_no_permission(zones[0].directory / "energy_uj"), "permission")
        self._zones = zones
        numbers = [zone.package for zone in zones if zone.package is not None]
        roots = self._config.roots
        self._load = PackageLoad(roots.procfs, roots.sysfs, numbers) if numbers else None
        return [zone.device for zone in zones]

    def read(self) -> Sample:
        """Read every zone: raw counters in microjoules, or the reason why there is none.

        A package also says how busy its CPUs were since the read before, by ``/proc/stat``; the
        parts of a package, its memory and psys do not.

        The reasons are ``vanished``, ``permission``, ``malformed`` and ``io_error``.

        Raises:
            DevicesChanged: no zone is left, or none was discovered.
        """
        loads = self._load.look() if self._load is not None else {}
        readings = [self._read(zone, loads) for zone in self._zones]
        if all(reading.gap == "vanished" for reading in readings):
            raise DevicesChanged(f"no zone is left below {self._root}")
        return Sample(readings)

    def close(self) -> None:
        self._zones, self._load = (), None

    def _read(self, zone: Zone, loads: Mapping[int, float] = NO_LOADS) -> Reading:
        now_ms = self._clock() // 1_000_000
        used = None if zone.package is None else loads.get(zone.package)
        try:
            energy_uj = read_number(zone.directory / "energy_uj")
            return Reading(zone.device.key, now_ms, energy_uj=energy_uj, utilization_ratio=used)
        except SourceError as error:
            return Reading(zone.device.key, now_ms, gap=error.reason)

    def _zone(self, directory: str, paths: Mapping[str, str], vendor: str, model: str) -> Zone:
        path = paths[directory]
        parent, _, name = path.rpartition("/")
        scope = re.split(r"[-@]", name)[0]
        device = Device(
            key=f"{self._config.node}/rapl/{path}",
            kind=KINDS.get(scope, Kind.CPU if parent else Kind.HOST),
            node=self._config.node,
            source=self.name,
            name=path,
            vendor=vendor,
            model=model,
            parent=f"{self._config.node}/rapl/{parent}" if parent else "",
            site=self._config.site,
            tier=self._config.tier,
            cluster=self._config.cluster,
            scope=scope,
            overlap=_overlap(scope, bool(parent), set(paths.values())),
            counter_range_uj=find_number(self._root / directory / "max_energy_range_uj") or None,
        )
        match = None if parent else PACKAGE.match(name)
        return Zone(device, self._root / directory, int(match[1]) if match else None)


def create(config: Config) -> Rapl:
    """Build the source; nothing is opened before ``discover``."""
    return Rapl(config)


def zone_paths(names: Mapping[str, str]) -> dict[str, str]:
    """Map zone directories to unique names from the top down, such as ``package-0/core``.

    Zones of one name side by side (a psys per socket) also carry their number: ``psys@1``. Only a
    zone of the mmio interface may have the path of one of the registers.
    """
    groups = {directory: _group(directory, names) for directory in names}
    twins = Counter((groups[directory], name) for directory, name in names.items())
    paths: dict[str, str] = {}
    taken: set[tuple[str, str]] = set()
    for directory in sorted(names, key=lambda directory: directory.count(":")):
        group, name, interface = groups[directory], names[directory], directory.partition(":")[0]
        number = directory[len(group) :].lstrip(":")
        label = name if twins[group, name] == 1 else f"{name}@{number}"
        path = f"{paths[group]}/{label}" if group in paths else label
        if (interface, path) in taken:
            path = f"{path}@{directory}"
        taken.add((interface, path))
        paths[directory] = path
    return paths


def _group(directory: str, names: Mapping[str, str]) -> str:
    """Return the zone that contains this one, or else the interface that both belong to."""
    parent = directory.rpartition(":")[0]
    return parent if parent in names else directory.partition(":")[0]


def cpu_model(procfs: Path) -> tuple[str, str]:
    """Return vendor and model of the first CPU in ``cpuinfo``; "" for what it does not say."""
    try:
        with (procfs / "cpuinfo").open(errors="replace") as file:
            text = file.read(4096)
    except OSError:
        return "", ""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    told = {key.strip(): printable(value) for key, _, value in lines}
    vendor = told.get("vendor_id", "")
    return VENDORS.get(vendor, vendor), told.get("model name", "")


def _zone_names(root: Path) -> dict[str, str]:
    return {
        entry.name: read_text(entry / "name") or entry.name
        for entry in list_folder(root)
        if ZONE.fullmatch(entry.name) and (entry / "energy_uj").exists()
    }


def _without_repeats(paths: Mapping[str, str]) -> dict[str, str]:
    registers = {path for name, path in paths.items() if not name.startswith("intel-rapl-mmio")}
    return {
        directory: path
        for directory, path in paths.items()
        if not (directory.startswith("intel-rapl-mmio") and path in registers)
    }


def _overlap(scope: str, inside: bool, paths: set[str]) -> Overlap:
    if scope in ("package", "dram"):
        return Overlap.NONE
    if inside:
        return Overlap.INNER
    packages = any(path.startswith("package") for path in paths)
    return Overlap.OUTER if packages else Overlap.NONE


def _no_permission(path: Path) -> str:
    return (
        f"{path} may not be read (the kernel leaves it to root): run the exporter as root, "
        "give it CAP_DAC_READ_SEARCH, or make the file group-readable with chmod or a udev rule"
    )
