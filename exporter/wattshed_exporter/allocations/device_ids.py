"""What the ids of device plugins and the attributes of DRA drivers mean on this node.

An id names a whole GPU, an instance of one in MIG mode, or one of several replicas of either; a
driver's device is told by attributes. What nobody here meters has no meaning. Sources: NVIDIA's
k8s-device-plugin (``GPU-...``, ``MIG-...``, ``::n``), GKE's (``nvidia0/gi3/vgpu2``), ROCm's
(PCI address, ``-slice-n``); the attributes of ``gpu.nvidia.com`` and ``gpu.amd.com``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import Meters
from .nvidia_minors import minors

REPLICA = re.compile(r"(?:::[0-9]+|/vgpu[0-9]+|-slice-[0-9]+)$")
OLD_MIG = re.compile(r"MIG-(GPU-[0-9a-f-]+)/([0-9]+)/([0-9]+)")
MINOR = re.compile(r"nvidia([0-9]{1,4})(?:/gi([0-9]{1,4}))?")
PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True, slots=True)
class Part:
    """What one id or claim stands for: a board by its key, or an instance of MIG by its UUID.

    ``whole`` is False where it is a part of that, of unknown size.
    """

    device: str
    whole: bool = True


class Names:
    """Makes sense of names with what is metered in one round.

    Args:
        meters: what is known in this round; the key of an NVIDIA GPU is its UUID.
        procfs, sysfs: where the kernel says which minor number and which address is which GPU.
    """

    def __init__(self, meters: Meters, procfs: Path, sysfs: Path) -> None:
        self._devices = meters.devices
        self._instances = [i for i in meters.instances if i.device in meters.devices]
        self._uuids = {instance.uuid for instance in self._instances}
        self._procfs = procfs
        self._pci = sysfs / "bus/pci/devices"
        self._minors: Mapping[int, str] | None = None

    def plugin(self, device_id: str) -> tuple[Part, ...]:
        """Return what a device plugin's id stands for, nothing where it is not metered here."""
        name = REPLICA.sub("", device_id)
        if name in self._devices or name in self._uuids:
            return (Part(name),)
        if old := OLD_MIG.fullmatch(name):
            return self._named(old[1], f"{old[2]}/{old[3]}")
        if numbered := MINOR.fullmatch(name):
            return self._by_minor(int(numbered[1]), numbered[2])
        return self._by_address(name.lower())

    def driver(self, attributes: Mapping[str, str]) -> tuple[Part, ...]:
        """Return what a DRA driver's attributes stand for, nothing where it is not metered here."""
        if uuid := attributes.get("uuid"):
            return self.plugin(uuid)
        # How many partitions a board has is not said.
        whole = attributes.get("type") != "amdgpu-partition"
        return self._by_address(attributes.get("pciBusID", "").lower(), whole=whole)

    def _by_minor(self, minor: int, gpu_instance: str | None) -> tuple[Part, ...]:
        if self._minors is None:
            self._minors = minors(self._procfs) or {}
        uuid = self._minors.get(minor, "")
        if uuid not in self._devices:
            return ()
        return (Part(uuid),) if gpu_instance is None else self._named(uuid, gpu_instance)

    def _named(self, device: str, name: str) -> tuple[Part, ...]:
        """Return the instances of a board in this GPU instance, or this one compute instance."""
        return tuple(
            Part(each.uuid)
            for each in self._instances
            if each.device == device and name in (each.name, each.name.partition("/")[0])
        )

    def _by_address(self, address: str, *, whole: bool = True) -> tuple[Part, ...]:
        """Find an AMD GPU, whose meter is named after its card, by its PCI address."""
        if not PCI.fullmatch(address):
            return ()
        cards: set[str] = set()
        with suppress(OSError):
            cards.update(os.listdir(self._pci / address / "drm"))
        keys = [d.key for d in self._devices.values() if d.vendor == "AMD" and d.name in cards]
        return (Part(keys[0], whole),) if len(keys) == 1 else ()
