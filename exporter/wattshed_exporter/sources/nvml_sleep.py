"""Which NVIDIA GPUs the kernel has put to sleep, told without waking them.

A GPU in runtime suspend wakes for any call of the driver's library that concerns it, and stays up
for seconds: measuring it would be what costs. Its state is in ``power/runtime_status`` of its PCI
device; where ``power/control`` is "on" it never sleeps and is not looked at. Source: the kernel's
Documentation/ABI/testing/sysfs-devices-power.
"""

from __future__ import annotations

import os
from pathlib import Path

NVIDIA, DISPLAY = "0x10de", "0x03"
ASLEEP = (b"suspended", b"suspending")


class Sleep:
    """The PCI devices of NVIDIA GPUs under ``sysfs``, by address such as ``0000:01:00.0``.

    ``watches`` says whether any of them may sleep.
    """

    def __init__(self, sysfs: Path) -> None:
        self._status: dict[str, int] = {}
        self.watches = False
        self.gpus: set[str] = set()
        for folder in sorted(sysfs.glob("bus/pci/devices/*")):
            if _read(folder / "vendor") == NVIDIA and _read(folder / "class").startswith(DISPLAY):
                self._add(folder)

    def asleep(self, address: str) -> bool:
        """Return whether this GPU sleeps; one that cannot be told from here does not."""
        file = self._status.get(address)
        if file is None:
            return False
        try:
            return os.pread(file, 32, 0).strip() in ASLEEP
        except OSError:  # the device is gone: the driver says how
            return False

    def sleepers(self) -> set[str]:
        return {address for address in self._status if self.asleep(address)}

    def close(self) -> None:
        while self._status:
            os.close(self._status.popitem()[1])

    def _add(self, folder: Path) -> None:
        self.gpus.add(folder.name)
        if _read(folder / "power/control") == "on":
            return
        try:
            self._status[folder.name] = os.open(
                folder / "power/runtime_status", os.O_RDONLY | os.O_CLOEXEC
            )
        except OSError:  # a kernel without runtime power management
            return
        self.watches = True


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
