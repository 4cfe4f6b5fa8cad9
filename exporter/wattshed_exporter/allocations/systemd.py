"""Units of systemd as workloads: what services, sessions and virtual machines are called.

Units are found by their cgroups, so that neither the bus nor a program is asked. A section
``[X-Wattshed]`` in a unit's file or drop-in sets team, project and the like, and a GPU whose device
file ``DeviceAllow=`` names is held by the unit while it runs.

Sources: systemd.unit(5), systemd.slice(5), systemd-machined.service(8) and libvirt's cgroups page.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wattshed_exporter.errors import NoData, SourceError
from wattshed_exporter.sources.sysfs import printable, read_file

from . import Claim, Meters, Ref, Told
from .cgroup_paths import Rank
from .cgroup_tree import Layout, Tree
from .gpu_requests import Finder, device_file
from .options import UNLABELLED
from .unit_files import UnitFile, read_unit

if TYPE_CHECKING:
    from wattshed_exporter.config import Config

METHOD = "systemd"
ROUNDS = 30
"""After so many, a unit's files are read again: ``systemctl edit`` may have changed them."""
ESCAPED = re.compile(r"(?:\\x[0-9a-f]{2})+")
USER = re.compile(r"/user-([0-9]{1,10})\.slice/")
SESSION = re.compile(r"session-.+\.scope")
VM = re.compile(r"machine-qemu-[0-9]+-(.+)\.scope")
MACHINE = re.compile(r"machine-(.+)\.scope|systemd-nspawn@(.+)\.service")


@dataclass(slots=True)
class Known:
    """What the files of a unit said, and for how many rounds that is believed."""

    said: UnitFile
    rounds: int = ROUNDS


class Systemd:
    """Implements ``Allocator``.

    Args:
        root: where the host's ``etc``, ``run`` and ``usr`` are; elsewhere only names are known.
    """

    name = "systemd"

    def __init__(self, config: Config, root: Path = Path("/")) -> None:
        self._roots = config.roots
        self._root = root
        self._tree: Tree | None = None
        self._known: dict[Ref, Known] = {}
        self._users: dict[str, str] = {}

    def read(self, meters: Meters) -> Told:
        """Look up what runs.

        Raises:
            NoData: there is no unit: another init, or the host's cgroups are not mounted here.
            SourceError: ``vanished``: the tree itself is gone.
        """
        if self._tree is None:
            self._tree = Tree(Layout(str(find_tree(self._roots.cgroupfs)), 2, None, None))
        self._tree.walk()
        units = dict(self._units(self._tree))
        if not units:
            raise NoData(f"{self._tree.layout.cpu} has no cgroups of systemd's units")
        self._users = self._users if self._known else read_users(self._root)
        self._look_up(units)
        rejected: Counter[str] = Counter()
        about = {ref: self._about(ref, path, rejected) for ref, path in units.items()}
        claims = list(self._claims(meters, rejected))
        return Told(claims, about, rejected=+rejected)

    def close(self) -> None:
        self._tree, self._known = None, {}

    def _units(self, tree: Tree) -> Iterator[tuple[Ref, str]]:
        for group in tree.groups():
            if group.begins_holder and group.place.rank is Rank.UNIT:
                yield group.place.holder, group.path

    def _look_up(self, units: Mapping[Ref, str]) -> None:
        known, self._known = self._known, {}
        for ref in units:
            found = known.get(ref)
            if found is None or not found.rounds:
                manager, slash, name = ref.removeprefix("unit:").rpartition("/")
                found = Known(read_unit(self._root, name, user=bool(manager and slash)))
            found.rounds -= 1
            self._known[ref] = found

    def _about(self, ref: Ref, path: str, rejected: Counter[str]) -> Mapping[str, str]:
        told = called(ref.rpartition("/")[2].removeprefix("unit:"))
        user = USER.search(path)
        if user:
            told["owner"] = self._users.get(user[1], user[1])
            if told["kind"] == "session":
                told["name"] = told["owner"]
        for key, value in self._known[ref].said.fields.items():
            if key in settable():
                told[key] = value
            else:
                rejected["unknown_field"] += 1
        return told

    def _claims(self, meters: Meters, rejected: Counter[str]) -> Iterator[Claim]:
        finder = Finder(meters, self._roots.procfs, self._roots.sysfs)
        for ref, known in self._known.items():
            keys: dict[str, None] = {}
            for path in known.said.devices:
                if wanted := device_file(path):
                    found = finder.find(wanted)
                    rejected["unknown_device"] += not found
                    keys |= dict.fromkeys(found)
            yield from (Claim(key, ref, 1.0, None, METHOD) for key in keys)


def create(config: Config) -> Systemd:
    """Build the plug-in; nothing is opened before ``read``."""
    return Systemd(config)


def find_tree(cgroupfs: Path) -> Path:
    """Return the hierarchy in which systemd keeps units: of its own, or that of version 2."""
    for name in ("systemd", "unified"):
        if (cgroupfs / name / "system.slice").is_dir():
            return cgroupfs / name
    return cgroupfs


def called(unit: str) -> dict[str, str]:
    """Return name, kind and instance of a unit; a machine is called as its operator called it."""
    plain = unescape(unit)
    told = {"name": plain.removesuffix(".service"), "kind": "unit", "instance": plain}
    if SESSION.fullmatch(plain):
        told["kind"] = "session"
    elif found := VM.fullmatch(plain):
        told |= {"name": found[1], "kind": "vm"}
    elif found := MACHINE.fullmatch(plain):
        told |= {"name": found[1] or found[2], "kind": "machine"}
    return told


def unescape(name: str) -> str:
    """Undo systemd's escaping: ``\\x2d`` is a dash. What is not UTF-8 is replaced."""
    plain = ESCAPED.sub(
        lambda found: bytes.fromhex(found[0].replace("\\x", "")).decode(errors="replace"), name
    )
    return printable(plain)


def read_users(root: Path) -> dict[str, str]:
    """Return names of users by number, by the host's ``/etc/passwd``; {} where it is not seen."""
    try:
        lines = read_file(root / "etc/passwd").decode(errors="replace").splitlines()
    except SourceError:
        return {}
    parts = (line.split(":") for line in lines)
    return {fields[2]: printable(fields[0]) for fields in parts if len(fields) > 3}


def settable() -> frozenset[str]:
    """Return the fields of a workload that the section ``[X-Wattshed]`` may set."""
    # Only here, because the table is data of the contract.
    from wattshed_exporter.semconv import WORKLOAD_ATTRIBUTES

    return frozenset(a.name for a in WORKLOAD_ATTRIBUTES) - UNLABELLED | {"name"}
