"""Which GPUs a container or a unit was given, and which devices those are on this machine.

A container asks by ``--gpus`` (a number, all, indices or UUIDs), by the name of a CDI device, by a
device file, or by an environment variable that only the vendor's own runtime obeys: the images of
CUDA set it, so that it says nothing elsewhere. One that may look at GPUs but not compute on them
(the capability ``utility``) holds none.

Sources: Docker's ``nvidia_linux.go`` (a number means the first so many), NVIDIA Container Toolkit
(``NVIDIA_VISIBLE_DEVICES``, ``NVIDIA_DRIVER_CAPABILITIES``), CDI specification, ROCm in Docker.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattshed_exporter.model import Kind

from . import Meters
from .nvidia_minors import minors

NVIDIA, AMD, ANY = "NVIDIA", "AMD", ""
ALL = "all"
VENDORS = {"nvidia": NVIDIA, "amd": AMD}
CDI = re.compile(r"(nvidia|amd)\.com/[\w-]+=(.+)")
NVIDIA_FILE = re.compile(r"/dev/nvidia([0-9]{1,4})")
RENDER_FILE = re.compile(r"/dev/dri/(renderD[0-9]{1,4}|card[0-9]{1,4})")
INDEX = re.compile(r"(?:gpu|mig)?([0-9]{1,4})(?::([0-9]{1,3}))?")
WATCHING = frozenset({"utility"})
NO_DEVICE = frozenset({"", "none", "void"})


@dataclass(frozen=True, slots=True)
class Asked:
    """What a container asked for: an index, a UUID, all, a device file, or the first so many."""

    vendor: str
    name: str = ""
    count: int = 0


def asked(inspected: object) -> tuple[Asked, ...]:
    """Return what a container was given, by what ``/containers/<id>/json`` says."""
    host, environment = _dig(inspected, "HostConfig"), _environment(inspected)
    said = environment.get("NVIDIA_DRIVER_CAPABILITIES", "")
    if said and set(said.replace(" ", "").split(",")) <= WATCHING:
        return ()
    found = [*_requests(host), *_files(host), *_visible(host, environment)]
    return tuple(dict.fromkeys(found))


def _requests(host: object) -> Iterator[Asked]:
    for request in _list(host, "DeviceRequests"):
        names = [name for name in _list(request, "DeviceIDs") if isinstance(name, str)]
        driver = _dig(request, "Driver")
        if driver == "cdi":
            yield from (found for name in names if (found := _cdi(name)))
            continue
        groups = [g for g in _list(request, "Capabilities") if isinstance(g, list)]
        may = {word for group in groups for word in group if isinstance(word, str)}
        if not may & {"gpu", *VENDORS} or may - {"gpu", *VENDORS} == WATCHING:
            continue
        vendor = VENDORS.get(str(driver), ANY)
        count = _dig(request, "Count")
        if names:
            yield from (Asked(vendor, name) for name in names)
        elif isinstance(count, int):
            yield Asked(vendor, ALL) if count < 0 else Asked(vendor, count=count)


def _files(host: object) -> Iterator[Asked]:
    for file in _list(host, "Devices"):
        path = str(_dig(file, "PathOnHost"))
        if found := _cdi(path) or device_file(path):
            yield found


def device_file(path: str) -> Asked | None:
    """Return which GPU a device file gives; None where it gives none, as ``/dev/nvidiactl``."""
    if NVIDIA_FILE.fullmatch(path):
        return Asked(NVIDIA, path)
    if RENDER_FILE.fullmatch(path):
        return Asked(AMD, path)
    return Asked(AMD, ALL) if path.rstrip("/") == "/dev/dri" else None


def _visible(host: object, environment: Mapping[str, str]) -> Iterator[Asked]:
    runtime = str(_dig(host, "Runtime"))
    for word, vendor in VENDORS.items():
        said = environment.get(f"{word.upper()}_VISIBLE_DEVICES", "")
        if word in runtime and said not in NO_DEVICE:
            yield from (_cdi(name) or Asked(vendor, name) for name in said.split(","))


def _cdi(name: str) -> Asked | None:
    found = CDI.fullmatch(name)
    return Asked(VENDORS[found[1]], found[2]) if found else None


class Finder:
    """Finds devices of one round by how containers ask for them.

    Args:
        procfs: where NVIDIA's driver says which device file is which GPU.
        sysfs: where the kernel says which render node belongs to which card.
    """

    def __init__(self, meters: Meters, procfs: Path, sysfs: Path) -> None:
        self._meters = meters
        self._procfs = procfs
        self._drm = sysfs / "class/drm"
        self._gpus = {vendor: _by_number(meters, vendor) for vendor in (NVIDIA, AMD)}

    def find(self, wanted: Asked) -> Sequence[str]:
        """Return keys of devices, or UUIDs of instances of MIG; none where nothing is metered."""
        vendor = wanted.vendor or (NVIDIA if self._gpus[NVIDIA] else AMD)
        gpus = self._gpus[vendor]
        name = wanted.name.strip()
        if name == ALL:
            return list(gpus.values())
        if wanted.count:
            return list(gpus.values())[: wanted.count]
        if name.startswith("/dev/"):
            key = self._nvidia_file(name) if vendor == NVIDIA else self._render_file(name)
        elif match := INDEX.fullmatch(name):
            key = self._numbered(gpus.get(int(match[1])), match[2])
        else:
            key = self._named(name)
        return [key] if key else []

    def _numbered(self, key: str | None, instance: str | None) -> str | None:
        if key is None or instance is None:
            return key
        within = [i.uuid for i in self._meters.instances if i.device == key]
        return within[int(instance)] if int(instance) < len(within) else None

    def _named(self, name: str) -> str | None:
        """Find a UUID; what is long enough to be told from others may be its beginning."""
        uuids = [*self._meters.devices, *(i.uuid for i in self._meters.instances)]
        if name in uuids:
            return name
        found = [uuid for uuid in uuids if uuid.startswith(name)] if len(name) > 7 else []
        return found[0] if len(found) == 1 else None

    def _nvidia_file(self, path: str) -> str | None:
        number = int(path.removeprefix("/dev/nvidia"))
        known = minors(self._procfs)
        if known is None:
            return self._gpus[NVIDIA].get(number)
        return self._named(known[number]) if number in known else None

    def _render_file(self, path: str) -> str | None:
        board = os.path.realpath(self._drm / path.rpartition("/")[2] / "device")
        for number, key in self._gpus[AMD].items():
            if os.path.realpath(self._drm / f"card{number}" / "device") == board:
                return key
        return None


def _by_number(meters: Meters, vendor: str) -> dict[int, str]:
    """Return the GPUs of a vendor by the number in their names, ``gpu0`` or ``card0``."""
    found = {}
    for device in meters.devices.values():
        match = re.fullmatch(r"(?:gpu|card)([0-9]{1,4})", device.name)
        if match and device.kind is Kind.GPU and device.vendor == vendor:
            found[int(match[1])] = device.key
    return dict(sorted(found.items()))


def _environment(inspected: object) -> dict[str, str]:
    pairs = (str(line).partition("=") for line in _list(_dig(inspected, "Config"), "Env"))
    return {name: value for name, _, value in pairs}


def _dig(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _list(value: object, name: str) -> Sequence[object]:
    found = _dig(value, name)
    return found if isinstance(found, list) else ()
