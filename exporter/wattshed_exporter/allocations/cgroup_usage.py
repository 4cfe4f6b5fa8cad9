"""What cgroups of one tree have used: CPU time, memory, and the CPUs that they were given.

The kernel counts a cgroup with all that lies below it, so what belongs to another holder below is
taken out of the one above.

Sources: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cpuacct.rst, memory.rst, cpusets.rst
of the Linux kernel; the working set is that of the kubelet.
"""

from __future__ import annotations

import os

from . import Ref
from .cgroup_paths import Rank
from .cgroup_tree import Group, Layout, Tree

MOST_BYTES = 8192
NANOS_PER_USEC = 1000


class CpuTime:
    """CPU time by holder between two looks at one tree."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._used_ns: dict[Ref, int] = {}

    def look(self) -> tuple[dict[Ref, int], int]:
        """Return nanoseconds by holder since the look before, and of all of them together.

        A holder is given what lies in its cgroups and in none of another holder below them.
        Nothing is said of a cgroup that was there before the first look. What one used before it
        went is lost from the look before on.
        """
        self._used_ns = {}
        total_ns = sum([self._passed(child) for child in self._tree.top.children.values()])
        return self._used_ns, total_ns

    def _passed(self, group: Group) -> int:
        # Those below first, so that what passes meanwhile is not taken from the holder above.
        inside_ns = sum([self._passed(child) for child in group.children.values()])
        if not group.begins_holder or (usage_ns := self._usage_ns(group)) is None:
            return inside_ns
        last_ns = group.usage_ns
        if last_ns is None:
            last_ns = 0 if group.new else usage_ns
        group.usage_ns = usage_ns
        # A counter that fell has started anew.
        passed_ns = usage_ns - last_ns if usage_ns >= last_ns else usage_ns
        own_ns = max(passed_ns - inside_ns, 0)
        if own_ns:
            holder = group.place.holder
            self._used_ns[holder] = self._used_ns.get(holder, 0) + own_ns
        return inside_ns + own_ns

    def _usage_ns(self, group: Group) -> int | None:
        folder = self._tree.layout.cpu + group.path
        if self._tree.layout.version == 1:
            return _number(_read(f"{folder}/cpuacct.usage"))
        usec = _field(_read(f"{folder}/cpu.stat"), b"usage_usec")
        return None if usec is None else usec * NANOS_PER_USEC


def working_sets(tree: Tree) -> dict[Ref, int] | None:
    """Return bytes of memory in use by holder, without cached files that nobody used lately.

    None where no controller counts memory. A cgroup without processes has none: what it left in
    the cache is nobody's.
    """
    if tree.layout.memory is None:
        return None
    used: dict[Ref, int] = {}
    for child in tree.top.children.values():
        _working_set(child, tree.layout, tree.layout.memory, used)
    return used


def _working_set(group: Group, layout: Layout, root: str, used: dict[Ref, int]) -> int:
    inside = sum([_working_set(child, layout, root, used) for child in group.children.values()])
    if not group.begins_holder or not _populated(group, layout):
        return inside
    folder = root + group.path
    if layout.version == 2:
        usage, cached = _number(_read(f"{folder}/memory.current")), b"inactive_file"
    else:
        usage, cached = _number(_read(f"{folder}/memory.usage_in_bytes")), b"total_inactive_file"
    if usage is None:
        return inside
    unused = _field(_read(f"{folder}/memory.stat"), cached) or 0
    own = max(usage - unused - inside, 0)
    used[group.place.holder] = used.get(group.place.holder, 0) + own
    return inside + own


def _populated(group: Group, layout: Layout) -> bool:
    folder = layout.cpu + group.path
    if layout.version == 2:
        return _field(_read(f"{folder}/cgroup.events"), b"populated") != 0
    if _read(f"{folder}/cgroup.procs"):
        return True
    return any(_populated(child, layout) for child in group.children.values())


def given_cpus(tree: Tree, group: Group) -> frozenset[int]:
    """Return the CPUs that ``cpuset.cpus`` names for a cgroup; none where it does not say."""
    if tree.layout.cpuset is None:
        return frozenset()
    return parse_cpus(_read(f"{tree.layout.cpuset}{group.path}/cpuset.cpus"))


def parse_cpus(text: bytes) -> frozenset[int]:
    """Parse a list such as ``0-3,8``; what is none has no CPUs."""
    cpus: set[int] = set()
    for part in text.strip().split(b","):
        first, dash, last = part.partition(b"-")
        try:
            cpus.update(range(int(first), min(int(last if dash else first), 65535) + 1))
        except ValueError:
            return frozenset()
    return frozenset(cpus)


def holds_cpus(group: Group) -> bool:
    """Return whether CPUs may be given to this cgroup: a container of a pod, or a job."""
    if group.place.rank is not Rank.POD_OR_JOB:
        return False
    return group.begins_container or (
        group.begins_holder and not group.place.holder.startswith("pod:")
    )


def _read(path: str) -> bytes:
    """Return what a small file holds, b"" where it is gone or refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, MOST_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _number(text: bytes) -> int | None:
    text = text.strip()
    return int(text) if text.isdigit() and len(text) <= 20 else None


def _field(text: bytes, name: bytes) -> int | None:
    """Return the number after a name at the beginning of a line."""
    at = 0 if text.startswith(name + b" ") else text.find(b"\n" + name + b" ") + 1
    if not at and not text.startswith(name + b" "):
        return None
    return _number(text[at + len(name) + 1 :].partition(b"\n")[0])
