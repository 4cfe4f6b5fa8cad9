"""What unit files and their drop-ins say: fields of a workload, and device files that are allowed.

``[X-Wattshed]`` holds fields by their names (``team=vision``); systemd leaves out every section
that begins with ``X-``. Source: systemd.unit(5), systemd.syntax(7), systemd.resource-control(5).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wattshed_exporter.errors import SourceError
from wattshed_exporter.sources.sysfs import list_folder, printable, read_file

SECTION = "X-Wattshed"
FOLDERS = (
    "usr/lib/systemd/{}",
    "lib/systemd/{}",
    "usr/local/lib/systemd/{}",
    "run/systemd/{}",
    "run/systemd/transient",
    "etc/systemd/{}",
    "run/systemd/{}.control",
    "etc/systemd/{}.control",
)
"""From the weakest to the strongest; ``{}`` is ``system`` or ``user``."""
MOST_DROP_INS = 64


@dataclass(slots=True)
class UnitFile:
    """What all files of a unit say together."""

    fields: dict[str, str] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)
    """Paths of ``DeviceAllow=``."""


def read_unit(root: Path, name: str, *, user: bool = False) -> UnitFile:
    """Read the strongest file of a unit and all its drop-ins, those of its template first.

    Args:
        root: where the host's ``etc``, ``run`` and ``usr`` are.
        name: such as ``train@3.service``.
        user: it is a unit of a user's manager; what is in homes is not looked at.
    """
    said = UnitFile()
    for path in _files(root, name, "user" if user else "system"):
        try:
            _parse(read_file(path).decode(errors="replace"), said)
        except SourceError:
            continue
    return said


def _files(root: Path, name: str, manager: str) -> Iterator[Path]:
    folders = [root / folder.format(manager) for folder in FOLDERS]
    prefix, at, rest = name.partition("@")
    template = f"{prefix}@.{rest.rpartition('.')[2]}" if at else ""
    names = [n for n in (name, template) if n]
    found = [f / n for n in names for f in reversed(folders) if (f / n).is_file()]
    yield from found[:1]
    drop_ins: dict[str, Path] = {}
    for each in reversed(names):
        for folder in folders:
            for path in _listed(folder / f"{each}.d"):
                drop_ins[path.name] = path
    yield from (drop_ins[key] for key in sorted(drop_ins)[:MOST_DROP_INS])


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in list_folder(folder) if path.name.endswith(".conf")]
    except SourceError:
        return []


def _parse(text: str, said: UnitFile) -> None:
    section = ""
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            key, _, value = (part.strip() for part in line.partition("="))
            if section == SECTION:
                said.fields[key] = printable(value.strip('"'))
            elif key == "DeviceAllow" and not value:
                said.devices.clear()
            elif key == "DeviceAllow":
                said.devices.append(value.split()[0])
