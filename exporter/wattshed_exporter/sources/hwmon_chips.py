"""What the chips of the kernel's hwmon class measure, and which meters contain which.

A channel is ``power*`` in microwatts, ``energy*`` (a counter in microjoules) or, on chips whose
documentation says which pin is which, a bus voltage times a current; an INA3221's in4 to in6 are
shunt voltages and in7 their sum, never rails. The mean (``*_average``) goes before the momentary
``*_input``, because it misses least between two reads, unless it is taken over a long time. The
rails of a Jetson overlap as they are wired: VDD_IN contains the module's other rails, and where no
rail contains them, they add up to the module. An ACPI meter contains the machine. A chip whose
place is not known counts as inside, so that it is shown and never added. Source: Documentation/
hwmon/{sysfs-interface,ina2xx,ina238,ina3221,max20730,acpi_power_meter,amd_energy}.rst,
Documentation/ABI/testing/sysfs-driver-intel-{i915,xe}-hwmon and the device trees tegra210-p2597,
tegra186-p3310, tegra234-p3701 and tegra234-p3767 of the Linux kernel; the wiring: topics 73608,
201037 and 223111 of forums.developer.nvidia.com and, for VIN, jetson_stats pull request 900.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wattshed_exporter.errors import SourceError
from wattshed_exporter.model import Kind, Overlap

from .sysfs import find_number, list_folder, printable, read_integer, read_text

SHORT_MEAN_MS, LONGEST_MEAN_MS = 10_000, 300_000
"""Up to the first a mean beats a momentary value; beyond the second it says nothing about now."""
UNKNOWN_UW = 0xFFFFFFFF * 1000
"""What ACPI says instead of milliwatts that it does not know; older kernels pass it on."""

CHANNEL = re.compile(r"(power|energy(?=[0-9]+_input))([0-9]{1,4})_(?:input|average)")
GPU_CHIPS = ("i915", "xe", "nouveau")
CPU_CHIPS = ("amd_energy", "amd_hsmp_hwmon", "fam15h_power")
INA = tuple(f"ina{n}" for n in (209, 219, 220, 226, 228, 230, 231, 234, 237, 238, 260, 700, 780))
RAIL_CHIPS = (*INA, "sq52206", "ina3221")
BUS_VOLTAGES: Mapping[str, Mapping[int, int]] = {
    **{name: {1: 1} for name in RAIL_CHIPS},
    "ina3221": {1: 1, 2: 2, 3: 3},
    **{f"max{n}": {1: 2} for n in (20710, 20730, 20734, 20743)},
}
"""Which ``in*`` is the supply behind which ``curr*``."""

MODULE_RAILS = ("VDD_IN", "POM_5V_IN")
CARRIER_RAILS = (
    *("VDD_5V0_IO_SYS", "VDD_5V_IO_SYS", "VDD_3V3_SYS", "VDD_3V3_IO", "VDD_3V3_IO_SLP"),
    *("VDD_1V8_IO", "VDD_M2_IN", "VDD_3V3_SYS_M2"),
)
FED_FROM: Mapping[str, tuple[str, ...]] = {
    "VIN": (),
    **dict.fromkeys((*MODULE_RAILS, "VDD_MUX"), ("VIN",)),
    **dict.fromkeys(CARRIER_RAILS, ("VDD_MUX", "VIN")),
    "VDDQ_VDD2_1V8AO": ("VIN_SYS_5V0", *MODULE_RAILS, "VIN"),
}
"""Rails that contain a Jetson's rail, the nearest first; those not named here are the module's."""
RAIL_KINDS = dict.fromkeys(MODULE_RAILS, Kind.MODULE) | dict.fromkeys(
    ("VIN", "VDD_MUX", *CARRIER_RAILS), Kind.BOARD
)
PART_KINDS = {"GPU": Kind.GPU, "CPU": Kind.CPU, "DDR": Kind.MEMORY, "VDDRQ": Kind.MEMORY}
PARTS = {*PART_KINDS, "SOC", "CV", "MSS", "VDDQ"}


@dataclass(frozen=True, slots=True)
class Chip:
    """One hwmon directory. ``id`` stays the same over reboots where the chip names its device."""

    entry: Path
    directory: Path
    """Where its files are: ``entry`` or, for old drivers, the device behind it."""
    id: str
    name: str
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class Channel:
    """One thing that a chip measures; the numbers in ``power`` multiply to microwatts."""

    chip: Chip
    stem: str
    label: str
    power: tuple[Path, ...] = ()
    energy: Path | None = None


def find_chips(root: Path) -> list[Chip]:
    """List the chips that may measure power, each with an identity of its own."""
    entries = list_folder(root)
    names = {entry: read_text(entry / "name", entry / "device/name") for entry in entries}
    ids = {entry: "-".join(filter(None, (names[entry], _device(entry)))) for entry in entries}
    counts = Counter(ids.values())
    chips = []
    for entry in entries:
        identity = ids[entry]
        if not identity or counts[identity] > 1:
            identity = "@".join(filter(None, (identity, printable(entry.name))))
        for directory in (entry, entry / "device"):
            files = _files(directory)
            if any(CHANNEL.fullmatch(file) or file.startswith("curr") for file in files):
                chips.append(Chip(entry, directory, identity, names[entry], files))
                break
    return chips


def find_channels(chip: Chip) -> Iterator[Channel]:
    """Yield what a chip measures: powers and energies, or else voltages times currents."""
    found = {(m[1], int(m[2])) for file in chip.files if (m := CHANNEL.fullmatch(file))}
    powers = {n: power_file(chip, f"power{n}") for stem, n in sorted(found) if stem == "power"}
    energies = {n for stem, n in found if stem == "energy" and _is_on(chip, f"energy{n}")}
    for n, file in powers.items():
        if file is not None:
            # An INA chip has one sensor, so its power and its energy are one meter.
            both = chip.name in RAIL_CHIPS and n in energies
            energies -= {n} if both else set()
            energy = chip.directory / f"energy{n}_input" if both else None
            yield Channel(chip, f"power{n}", _label(chip, f"power{n}"), (file,), energy)
    for n in sorted(energies):
        energy = chip.directory / f"energy{n}_input"
        yield Channel(chip, f"energy{n}", _label(chip, f"energy{n}"), energy=energy)
    if not found:
        yield from _rails(chip)


def power_file(chip: Chip, stem: str) -> Path | None:
    """Choose between the mean and the momentary power; None where neither is of use."""
    if not _is_on(chip, stem):
        return None
    interval_ms = find_number(chip.directory / f"{stem}_average_interval") or 0
    mean, momentary = f"{stem}_average", f"{stem}_input"
    ways = [mean, momentary] if interval_ms <= SHORT_MEAN_MS else [momentary, mean]
    if interval_ms > LONGEST_MEAN_MS:
        ways.remove(mean)
    return next((chip.directory / way for way in ways if way in chip.files), None)


def place(channel: Channel, channels: Sequence[Channel]) -> tuple[Kind, Overlap, Channel | None]:
    """Say what a channel measures, how it overlaps others, and which of them contains it."""
    name = channel.chip.name
    if name == "power_meter":
        return Kind.HOST, Overlap.OUTER, None
    if name in RAIL_CHIPS:
        rails = {other.label: other for other in channels if other.chip.name in RAIL_CHIPS}
        return _place_rail(channel.label, rails)
    if name in GPU_CHIPS:
        # The card's counter comes first where there is one, then that of the package on it.
        card = next(other for other in channels if other.chip is channel.chip)
        inside = None if card is channel else card
        return Kind.GPU, Overlap.INNER if inside else Overlap.NONE, inside
    if name in CPU_CHIPS:
        inner = channel.label.startswith("Ecore")
        return Kind.CPU, Overlap.INNER if inner else Overlap.NONE, None
    return Kind.GPU if name.startswith("i915_gt") else Kind.BOARD, Overlap.INNER, None


def _rails(chip: Chip) -> Iterator[Channel]:
    for current, voltage in BUS_VOLTAGES.get(chip.name, {}).items():
        stems = (f"in{voltage}", f"curr{current}")
        # A mean times a momentary value is the power of no moment, so both or neither.
        ways = ([f"{stem}_{item}" for stem in stems] for item in ("average", "input"))
        files = next((way for way in ways if chip.files.issuperset(way)), [])
        label = _label(chip, stems[0])
        if files and label != "NC" and all(_is_on(chip, stem) for stem in stems):
            yield Channel(chip, stems[0], label, tuple(chip.directory / file for file in files))


def _place_rail(label: str, rails: Mapping[str, Channel]) -> tuple[Kind, Overlap, Channel | None]:
    parts = PARTS.intersection(label.split("_"))
    kind = RAIL_KINDS.get(label, Kind.MODULE if parts else Kind.BOARD)
    if len(parts) == 1:
        kind = PART_KINDS.get(parts.pop(), kind)
    if not label:
        # Beside a module's rails nobody knows what a nameless one feeds.
        known = any(other in RAIL_KINDS or other == "VIN_SYS_5V0" for other in rails)
        return kind, Overlap.INNER if known else Overlap.NONE, None
    containers = FED_FROM.get(label, (*MODULE_RAILS, "VIN"))
    inside = next((rails[name] for name in containers if name in rails), None)
    return kind, Overlap.INNER if inside else Overlap.NONE, inside


def read_product(files: Sequence[Path]) -> int:
    """Return the product of the numbers in some files; it is never negative."""
    value = math.prod(read_integer(file) for file in files)
    if value == UNKNOWN_UW:
        raise SourceError(f"{files[0]} says that it does not know", "no_data")
    if value < 0:
        raise SourceError(f"{files[0]} is negative", "negative")
    return value


def _label(chip: Chip, stem: str) -> str:
    return read_text(chip.directory / f"{stem}_label", chip.entry / "label")


def _is_on(chip: Chip, stem: str) -> bool:
    return find_number(chip.directory / f"{stem}_enable") != 0


def _files(directory: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(directory))
    except OSError:
        return frozenset()


def _device(entry: Path) -> str:
    try:
        return printable(os.path.basename(os.readlink(entry / "device")))
    except OSError:
        return ""
