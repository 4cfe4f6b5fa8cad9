"""The tree of cgroups, walked again each round at the cost of one ``stat`` for each of them.

A folder is listed only when its number of links says that one below came or went, or when one below
is gone; where a file system does not count links it is listed each time. A cgroup is the same as
before only with the same inode, so that one made anew under a name that was used before starts from
zero.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cgroups.rst of the Linux kernel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from wattshed_exporter.errors import NoData, SourceError

from .cgroup_paths import ROOT, Place, step

MOST_GROUPS = 8192
DEEPEST = 32
"""What lies deeper belongs to whom it is in."""
CPUACCT = ("cpuacct", "cpu,cpuacct", "cpuacct,cpu")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where what is counted: ``cpu`` is the hierarchy that is walked, ``version`` its version.

    ``memory`` and ``cpuset`` have the same folders below them, None where there is none.
    """

    cpu: str
    version: int
    memory: str | None
    cpuset: str | None


@dataclass(slots=True)
class Group:
    """One cgroup, ``path`` relative to its hierarchy. It begins with what its parent is not."""

    path: str
    place: Place
    begins_holder: bool = False
    begins_container: bool = False
    new: bool = False
    """It was not there at the walk before."""
    inode: int = 0
    children: dict[str, Group] = field(default_factory=dict)
    links: int = -1
    usage_ns: int | None = None


def find_layout(root: Path) -> Layout:
    """Return how cgroups are mounted below ``root`` (``/sys/fs/cgroup``).

    A hybrid host has controllers in version 1 and processes in both. CPU time is then taken from
    version 1, because a container engine may have placed processes only there; never from both.

    Raises:
        NoData: there are no cgroups, or none that count CPU time.
    """
    if (root / "cgroup.controllers").exists():
        return Layout(str(root), 2, str(root), str(root))
    memory, cpuset = (_mounted(root / name) for name in ("memory", "cpuset"))
    for name in CPUACCT:
        if (root / name / "cpuacct.usage").exists():
            return Layout(str(root / name), 1, memory, cpuset)
    if (root / "unified/cgroup.controllers").exists():
        return Layout(str(root / "unified"), 2, None, None)
    raise NoData(
        f"{root} has no cgroups that count CPU time; in a container the host's have to be "
        "mounted and roots.cgroupfs has to point to them"
    )


class Tree:
    """All cgroups of one layout, as of the last walk."""

    def __init__(self, layout: Layout, most: int = MOST_GROUPS) -> None:
        self.layout = layout
        self._most = most
        self.top = Group("", ROOT)
        self.left_out = 0
        self._count = 1
        self._whole = False

    def walk(self) -> None:
        """Find what came and went since the walk before; ``left_out`` counts what was too much.

        Raises:
            SourceError: ``vanished``: the tree itself is gone.
        """
        self.left_out = 0
        if not self._visit(self.top):
            raise SourceError(f"{self.layout.cpu} is gone", "vanished")
        self._whole = not self.left_out

    def groups(self) -> Iterator[Group]:
        """Yield every cgroup, parents first."""
        return _with_all_below(self.top)

    def _visit(self, group: Group) -> bool:
        """Look at a cgroup and those below; return whether it is the one that it was."""
        try:
            seen = os.stat(self.layout.cpu + group.path)
        except OSError:
            return False
        if group.inode not in (0, seen.st_ino) and group is not self.top:
            return False
        group.inode = seen.st_ino
        if seen.st_nlink != group.links or seen.st_nlink < 2:
            self._list(group, seen.st_nlink)
        gone = [name for name, child in group.children.items() if not self._visit(child)]
        if gone:
            self._replace(group, gone, seen.st_nlink)
        return True

    def _replace(self, group: Group, gone: list[str], links: int) -> None:
        """Forget who is gone; another may have come meanwhile, so that the links are as before."""
        for name in gone:
            self._drop(group, name)
        self._list(group, links)
        for name, child in list(group.children.items()):
            if not child.inode and not self._visit(child):
                self._drop(group, name)

    def _drop(self, group: Group, name: str) -> None:
        self._count -= sum(1 for _ in _with_all_below(group.children.pop(name)))

    def _list(self, group: Group, links: int) -> None:
        try:
            with os.scandir(self.layout.cpu + group.path) as entries:
                found = {entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
        except OSError:
            return
        group.links = links
        for name in group.children.keys() - found:
            self._drop(group, name)
        if group.path.count("/") >= DEEPEST:
            return
        for name in sorted(found - group.children.keys()):
            if self._count < self._most:
                group.children[name] = _child(group, name, self._whole)
                self._count += 1
            else:
                self.left_out += 1
                group.links = -1


def _with_all_below(top: Group) -> Iterator[Group]:
    waiting = [top]
    while waiting:
        group = waiting.pop()
        yield group
        waiting.extend(group.children.values())


def _child(group: Group, name: str, new: bool) -> Group:
    place, above = step(group.place, name), group.place
    return Group(
        f"{group.path}/{name}",
        place,
        bool(place.holder) and place.holder != above.holder,
        bool(place.container) and place.container != above.container,
        new,
    )


def _mounted(folder: Path) -> str | None:
    return str(folder) if folder.is_dir() else None
