"""What the ids of device plugins and the attributes of DRA drivers mean on this node.

An id names a whole GPU, an instance of one in MIG mode, or one of several replicas of either; a
driver's device is told by attributes. What nobody here meters has no meaning. Sources: NVIDIA's
k8s-device-plugin (``GPU-...``, ``MIG-...``, ``::n``), GKE's (``nvidia0/gi3/vgpu2``), ROCm's
(PCI address, ``-slice-n``); the attributes of ``gpu.nvidia.com`` and ``gpu.amd.com``;
"Supported MIG Profiles" and "Supported GPUs" of NVIDIA's MIG user guide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wattshed_exporter.model import Device, Instance

from . import Meters

REPLICA = re.compile(r"(?:::[0-9]+|/vgpu[0-9]+|-slice-[0-9]+)$")
OLD_MIG = re.compile(r"MIG-(GPU-[0-9a-f-]+)/([0-9]+)/([0-9]+)")
MINOR = re.compile(r"nvidia([0-9]{1,4})(?:/gi([0-9]{1,4}))?")
PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
INFORMATION = re.compile(r"^(GPU UUID|Device Minor)\s*:\s*(\S+)\s*$", re.MULTILINE)
SLICES = 7
FEWER_SLICES = (("A30", 4), ("RTX PRO 6000", 4), ("RTX PRO 5000", 2), ("RTX PRO 4500", 2))
"""Boards by a part of their model's name that are cut into fewer compute slices than seven."""


@dataclass(frozen=True, slots=True)
class Part:
    """A whole board, or a part of one that can be held by itself.

    ``share`` is its part of the board, 0..1, None where it is not known; ``activity`` the mean part
    of the whole board that worked in it, None where only the board as a whole is known.
    """

    device: str
    name: str = ""
    share: float | None = 1.0
    activity: float | None = None


class Names:
    """Makes sense of names with what is metered in one round.

    Args:
        meters: what is known in this round; the key of an NVIDIA GPU is its UUID.
        procfs, sysfs: where the kernel says which minor number and which address is which GPU.
    """

    def __init__(self, meters: Meters, procfs: Path, sysfs: Path) -> None:
        self._devices = meters.devices
        self._instances = meters.instances
        self._by_uuid = {instance.uuid: instance for instance in meters.instances}
        self._folder = procfs / "driver/nvidia/gpus"
        self._pci = sysfs / "bus/pci/devices"
        self._minors: Mapping[int, str] | None = None

    def plugin(self, device_id: str) -> Part | None:
        """Return what a device plugin's id stands for, None where it is not metered here."""
        name = REPLICA.sub("", device_id)
        if name in self._devices:
            return Part(name)
        if name in self._by_uuid:
            return self._of([self._by_uuid[name]])
        if old := OLD_MIG.fullmatch(name):
            return self._of(self._named(old[1], f"{old[2]}/{old[3]}"))
        if numbered := MINOR.fullmatch(name):
            return self._by_minor(int(numbered[1]), numbered[2])
        return self._by_address(name.lower())

    def driver(self, attributes: Mapping[str, str]) -> Part | None:
        """Return what a DRA driver's attributes stand for, None where it is not metered here."""
        if uuid := attributes.get("uuid"):
            return self.plugin(uuid)
        found = self._by_address(attributes.get("pciBusID", "").lower())
        if found is None or attributes.get("type") != "amdgpu-partition":
            return found
        # How many partitions the board has is not said; each has a part of what is left.
        return Part(found.device, attributes.get("name", ""), None)

    def _by_minor(self, minor: int, gpu_instance: str | None) -> Part | None:
        if self._minors is None:
            self._minors = minors(self._folder)
        uuid = self._minors.get(minor, "")
        if uuid not in self._devices:
            return None
        if gpu_instance is None:
            return Part(uuid)
        return self._of(self._named(uuid, gpu_instance))

    def _named(self, device: str, name: str) -> list[Instance]:
        """Return the instances of a board in this GPU instance, or this one compute instance."""
        return [
            each
            for each in self._instances
            if each.device == device and name in (each.name, each.name.partition("/")[0])
        ]

    def _of(self, instances: Sequence[Instance]) -> Part | None:
        if not instances or instances[0].device not in self._devices:
            return None
        device = self._devices[instances[0].device]
        name = "+".join(sorted(each.name for each in instances))
        share = activity = 0.0
        known = True
        for each in instances:
            if each.slices is None:
                return Part(device.key, name, None)
            ratio = min(1.0, each.slices / slices(device))
            share += ratio
            known &= each.activity_ratio is not None
            activity += ratio * (each.activity_ratio or 0.0)
        return Part(device.key, name, min(1.0, share), min(1.0, activity) if known else None)

    def _by_address(self, address: str) -> Part | None:
        """Find an AMD GPU, whose meter is named after its card, by its PCI address."""
        if not PCI.fullmatch(address):
            return None
        cards: set[str] = set()
        with suppress(OSError):
            cards.update(os.listdir(self._pci / address / "drm"))
        keys = [d.key for d in self._devices.values() if d.vendor == "AMD" and d.name in cards]
        return Part(keys[0]) if len(keys) == 1 else None


def slices(board: Device) -> int:
    """Return how many compute slices a board in MIG mode is cut into."""
    return next((count for model, count in FEWER_SLICES if model in board.model), SLICES)


def minors(folder: Path) -> dict[int, str]:
    """Return the UUID of each GPU by its minor number, from ``/proc/driver/nvidia/gpus``."""
    found: dict[int, str] = {}
    with suppress(OSError):
        for name in os.listdir(folder):
            with suppress(OSError, ValueError, KeyError):
                text = (folder / name / "information").read_text(errors="replace")
                told = dict(INFORMATION.findall(text))
                found[int(told["Device Minor"])] = told["GPU UUID"]
    return found
