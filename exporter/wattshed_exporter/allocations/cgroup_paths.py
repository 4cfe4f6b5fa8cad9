"""Whose a cgroup is, by its path: pods, containers, jobs of Slurm and Torque, units of systemd.

A path is read from the root to the leaf, a name at a time, so that a walk down a tree and a line of
``/proc/<pid>/cgroup`` are judged by the same rule. The deepest pod or job wins, as for a Kubernetes
node that is itself a container (kind); a container inside a pod or a job belongs to that, also one
that a container there started (Docker in Docker); among containers alone the deepest wins; a unit
counts only outside of all of these.

Sources: the kubelet's and the container engines' own naming (``kubepods.slice`` by the driver
systemd, ``kubepods`` by the driver cgroupfs, ``:cri-containerd:`` where kubelet and containerd
disagree), Slurm's cgroup plug-ins, systemd.unit(5), and cgroups(7) for ``/proc/<pid>/cgroup``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import reduce

from . import Ref

HEX = "[0-9a-f]"
UID = rf"{HEX}{{8}}([-_]{HEX}{{4}}){{3}}[-_]{HEX}{{12}}|{HEX}{{32}}"
POD = re.compile(rf"(?:[\w.-]*-)?pod(?P<uid>{UID})(?:\.slice)?(?::|$)")
"""``pod<uid>`` or ``kubepods-burstable-pod<uid with _>.slice``, also before ``:cri-containerd:``.
A static pod has the 32 digits of its file's hash."""
CONTAINER = re.compile(
    rf"(?:[\w.-]*[-.])?(?P<id>{HEX}{{64}})(?:\.scope)?|[^:]*:[\w.-]+:(?P<named>{HEX}{{64}})"
)
"""``<id>``, ``docker-<id>.scope``, ``libpod-payload-<id>``, ``x:cri-containerd:<id>``, ...; conmon,
which watches one container, has a cgroup that is named after it."""
SLURM = re.compile(r"slurm(?:_.+)?|(?:.+_)?slurmstepd\.scope")
SLURM_JOB = re.compile(r"job_([0-9]{1,18})")
TORQUE_JOB = re.compile(r"[0-9]{1,18}[A-Za-z0-9_.\[\]-]{0,200}")
POD_OF_PODMAN = re.compile(rf"(?:[\w.-]*-)?libpod_pod_{HEX}{{64}}(?:\.slice)?")
NAMED = r"[A-Za-z0-9:_.\\@-]{1,255}"
"""What systemd allows in the name of a unit; whoever has a cgroup of their own may name those in it
at will, and a name becomes a label."""
UNIT = re.compile(rf"{NAMED}\.(?:service|scope|socket|mount|swap)")
USER_MANAGER = re.compile(r"unit:user@[0-9]{1,10}\.service")
DELETED = " (deleted)"


class Rank(IntEnum):
    """What a holder is; the higher wins, whatever is below."""

    NOBODY = 0
    UNIT = 1
    CONTAINER = 2
    POD_OR_JOB = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Whose a cgroup is: ``holder`` and its rank, "" where it is nobody's.

    ``container`` is the container that the holder stands for, where it is not the holder itself.
    ``tenured`` says that CPUs which are given to it are its own: a pod of the class Guaranteed or a
    job. ``below`` is what names further down mean: jobs of ``slurm`` or ``torque``, or pods that
    have no CPUs of their own (``shared``).
    """

    holder: Ref = ""
    rank: Rank = Rank.NOBODY
    container: Ref = ""
    tenured: bool = False
    below: str = ""


ROOT = Place()


def step(place: Place, name: str) -> Place:
    """Return whose the cgroup ``name`` is that lies in a cgroup of ``place``."""
    if not name or name.startswith(".."):
        return place
    if place.below == "torque" and TORQUE_JOB.fullmatch(name):
        return Place(f"torque:{name}", Rank.POD_OR_JOB, tenured=True)
    if place.below == "slurm" and (job := SLURM_JOB.fullmatch(name)):
        return Place(f"slurm:{job[1]}", Rank.POD_OR_JOB, tenured=True)
    if pod := POD.match(name):
        uid = pod["uid"].replace("_", "-")
        shared = "burstable" in name or "besteffort" in name or place.below == "shared"
        place = Place(f"pod:{uid}", Rank.POD_OR_JOB, tenured=not shared)
    if POD_OF_PODMAN.fullmatch(name):
        return place
    if container := CONTAINER.fullmatch(name):
        return _in_container(place, f"container:{container['id'] or container['named']}")
    return _below(place, name)


def parse(path: str) -> Place:
    """Return whose the cgroup at ``path`` is; one that is relative (``/../..``) is understood."""
    return reduce(step, path.removesuffix(DELETED).split("/"), ROOT)


def place_of(text: str) -> Place:
    """Return whose a process is, by what ``/proc/<pid>/cgroup`` holds.

    Of the hierarchies (version 1 has many, version 2 one, a hybrid host both) the one that knows
    most counts; lines that are none are left out.
    """
    paths = {line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2}
    return max((parse(path) for path in sorted(paths)), key=_knowledge, default=ROOT)


def _knowledge(place: Place) -> tuple[int, bool]:
    return place.rank, bool(place.container)


def _in_container(place: Place, container: Ref) -> Place:
    if place.rank is Rank.POD_OR_JOB:
        return Place(place.holder, place.rank, container, place.tenured)
    return Place(container, Rank.CONTAINER)


def _below(place: Place, name: str) -> Place:
    below = _meaning(name)
    if UNIT.fullmatch(name) and place.rank is Rank.NOBODY:
        return Place(f"unit:{name}", Rank.UNIT, below=below)
    if below:
        return replace(place, below=below)
    if UNIT.fullmatch(name) and USER_MANAGER.fullmatch(place.holder) and name != "init.scope":
        return Place(f"{place.holder}/{name}", Rank.UNIT)
    return place


def _meaning(name: str) -> str:
    if SLURM.fullmatch(name):
        return "slurm"
    if name in ("burstable", "besteffort"):
        return "shared"
    return name if name == "torque" else ""
