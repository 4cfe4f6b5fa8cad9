"""What the plug-ins of a round say together: workloads, and what each has of which device.

Pure functions. The first plug-in that says something counts, in the order in which they are asked:
a name that stands for another, a field of a workload, a share, an activity. What nobody says is
worked out: equal parts of what is left, parts of a device that several hold whole, the board behind
a MIG instance, and that a holder none of whose processes was seen to work did not work.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from wattshed_exporter.model import Device, Instance, Workload
from wattshed_exporter.sources.sysfs import printable

from . import Claim, Meters, Ref, Told

BOARD_SLICES = 7
FEWER_SLICES = (("A30", 4), ("RTX PRO 6000", 4), ("RTX PRO 5000", 2), ("RTX PRO 4500", 2))
"""Compute slices that a board in MIG mode has, and those that have fewer by a part of their model's
name (NVIDIA MIG User Guide, "Supported GPUs")."""
KINDS = {"pod": "pod", "slurm": "job", "torque": "job", "container": "container", "unit": "unit"}
"""Kind of a workload that no plug-in gives one, by the first word of its name."""
MAPPED_RATIO = 0.99
"""Part of what all processes use of a device that must be mapped to holders before one to which
nothing was mapped counts as not working."""

Said = Sequence[tuple[str, Told]]
"""The name of each plug-in and what it said, in the order in which they count."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one workload has of one device: ``share`` 0..1 of it, or ``activity`` on it, or both."""

    device: str
    workload: str
    share: float
    activity: float | None = None
    method: str = ""


@dataclass(frozen=True, slots=True)
class Combined:
    """What a round came to; ``rejected`` counts, by plug-in and reason, what made no sense."""

    workloads: tuple[Workload, ...] = ()
    held: tuple[Held, ...] = ()
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)


_Place = tuple[str, str, Ref]
"""A device, an instance of it ("" for all of it), and a holder."""


@dataclass(slots=True)
class _Merged:
    """What the plug-ins claim for one holder at one place, as it comes together."""

    share: float | None = None
    activity: float | None = None
    method: str = ""
    instance: Instance | None = None
    ratio: float = 1.0
    """Part of the board that the instance is."""


def combine(said: Said, meters: Meters, node: str, cluster: str) -> Combined:
    """Return what all plug-ins together say of one round.

    Args:
        said: by plug-in, in the order of ``ALLOCATORS``.
        meters: the devices that there are, their instances, and what processes used of them.
        node: name of this machine, part of the keys of what is only known here.
        cluster: name of the cluster, unless a plug-in says another one.
    """
    names = stand_ins(told.same for _, told in said)
    merged, rejected = _merge(said, names, meters)
    used = _take_out_uses(merged)
    fields = _fields(said, names)
    holders = dict.fromkeys(holder for _, _, holder in merged)
    workloads = {h: workload(h, fields.get(h, {}), node, cluster) for h in holders}
    parts: dict[tuple[str, Ref], Held] = {}
    for (device, _, holder), (share, claim) in _shares(merged).items():
        activity = _of_board(claim, share)
        held = Held(device, workloads[holder].key, share, activity, claim.method)
        known = parts.get((device, holder))
        parts[device, holder] = held if known is None else _added(known, held)
    for place, activity in used.items():
        if parts[place].activity is None:
            parts[place] = replace(parts[place], activity=activity)
    return Combined(tuple(workloads.values()), _idle_ones(parts, meters), rejected)


def stand_ins(tables: Iterable[Mapping[Ref, Ref]]) -> dict[Ref, Ref]:
    """Return for each name that stands for another the last of its chain; the first table counts.

    Names that stand for one another in a circle are one holder, under the least of them.
    """
    following: dict[Ref, Ref] = {}
    for table in tables:
        for name, other in table.items():
            if name != other:
                following.setdefault(name, other)
    return {name: _end(name, following) for name in following}


def _end(name: Ref, following: Mapping[Ref, Ref]) -> Ref:
    seen: dict[Ref, None] = {}
    while name in following and name not in seen:
        seen[name] = None
        name = following[name]
    if name not in seen:
        return name
    circle = list(seen)
    return min(circle[circle.index(name) :])


def workload(holder: Ref, fields: Mapping[str, str], node: str, cluster: str) -> Workload:
    """Return a holder as a workload: ``k8s/<cluster>/<uid>``, ``slurm/<cluster>/<job>``, ...

    A job of no cluster, a container and a unit are known by their node. Fields are cut to what can
    be printed and to a bounded length, because people choose them and they become labels.
    """
    family, _, rest = holder.partition(":")
    own = {name: text for name, value in fields.items() if (text := printable(value))}
    where = own.get("cluster", cluster)
    prefix = {
        "pod": ("k8s", where),
        "slurm": ("slurm", where or node),
        "torque": ("torque", where or node),
        "container": ("container", node),
        "unit": ("unit", node),
    }.get(family, (family,))
    namespace, slash, name = rest.rpartition("/")
    if family == "pod" and slash:
        own.setdefault("namespace", namespace)
        own.setdefault("name", name)
    defaults = {"name": rest, "kind": KINDS.get(family, ""), "instance": rest, "cluster": where}
    key = "/".join(part for part in (*prefix, rest) if part)
    return Workload(key, **{**defaults, **own})


def _fields(said: Said, names: Mapping[Ref, Ref]) -> dict[Ref, dict[str, str]]:
    found: dict[Ref, dict[str, str]] = {}
    for _, told in said:
        for name, fields in told.about.items():
            known = found.setdefault(names.get(name, name), {})
            for field_name, value in fields.items():
                if value:
                    known.setdefault(field_name, value)
    return found


def _merge(
    said: Said, names: Mapping[Ref, Ref], meters: Meters
) -> tuple[dict[_Place, _Merged], Counter[tuple[str, str]]]:
    """Return the claims by device, instance and holder, and what was rejected."""
    instances = {instance.uuid: instance for instance in meters.instances}
    ended = {names.get(holder, holder) for _, told in said for holder in told.ended}
    found: dict[_Place, _Merged] = {}
    rejected: Counter[tuple[str, str]] = Counter()
    for plug_in, told in said:
        own: dict[_Place, Claim] = {}
        for claim in told.claims:
            instance = instances.get(claim.device)
            device = claim.device if instance is None else instance.device
            holder = names.get(claim.holder, claim.holder)
            if holder in ended and not claim.activity:
                continue
            if device not in meters.devices:
                rejected[plug_in, "unknown_device"] += 1
            elif not _makes_sense(claim):
                rejected[plug_in, "bad_claim"] += 1
            else:
                place = device, "" if instance is None else instance.uuid, holder
                ratio = _slices_ratio(instance, meters.devices[device])
                found.setdefault(place, _Merged(instance=instance, ratio=ratio))
                own[place] = _both(own[place], claim) if place in own else claim
        for place, claim in own.items():
            _add(found[place], claim, plug_in)
    return found, rejected


def _makes_sense(claim: Claim) -> bool:
    numbers = [n for n in (claim.share, claim.activity) if n is not None]
    return all(math.isfinite(n) and n >= 0 for n in numbers) and (claim.share or 0) <= 1


def _both(known: Claim, more: Claim) -> Claim:
    """Return what one plug-in says of a holder that it knows under two names: the sum."""
    if known.holder == more.holder:
        share = more.share if known.share is None else known.share
        activity = more.activity if known.activity is None else known.activity
    else:
        shares = [s for s in (known.share, more.share) if s is not None]
        share = min(math.fsum(shares), 1.0) if shares else None
        is_told = known.activity is not None and more.activity is not None
        activity = (known.activity or 0.0) + (more.activity or 0.0) if is_told else None
    return replace(more, share=share, activity=activity, method=known.method or more.method)


def _add(merged: _Merged, claim: Claim, plug_in: str) -> None:
    """Take of a claim what is not known yet; who said both is named before who said one."""
    said = claim.method or plug_in
    news = not merged.method
    if merged.share is None and claim.share is not None:
        merged.share, news = claim.share, True
    if merged.activity is None and claim.activity is not None:
        merged.activity, news = min(claim.activity, 1.0), True
    if news and said not in merged.method.split("+"):
        merged.method = f"{merged.method}+{said}" if merged.method else said


def _take_out_uses(merged: dict[_Place, _Merged]) -> dict[tuple[str, Ref], float | None]:
    """Take out claims of those who only use what they are known to hold; return what they used.

    Who was given a share of a device, or has an instance of it, gets no part of what is left of it
    because a process of its was seen there.
    """
    given = {(device, holder) for (device, _, holder), c in merged.items() if c.share is not None}
    through = {(device, holder) for device, part, holder in merged if part}
    used: dict[tuple[str, Ref], float | None] = {}
    for device, part, holder in list(merged):
        place = device, holder
        only_uses = merged[device, part, holder].share is None
        if only_uses and (place in given or (place in through and not part)):
            claim = merged.pop((device, part, holder))
            known, more = used.get(place, 0.0), _of_board(claim, claim.ratio)
            used[place] = None if known is None or more is None else min(known + more, 1.0)
    return used


def _shares(merged: Mapping[_Place, _Merged]) -> dict[_Place, tuple[float, _Merged]]:
    """Return the share of the whole device that each claim comes to, instances first."""
    groups: dict[tuple[str, str], dict[Ref, _Merged]] = {}
    for (device, part, holder), claim in merged.items():
        groups.setdefault((device, part), {})[holder] = claim
    found: dict[_Place, tuple[float, _Merged]] = {}
    room: dict[str, float] = {}
    for device, part in sorted(groups, reverse=True):
        claims = groups[device, part]
        left = 1.0 if part else max(0.0, room.get(device, 1.0))
        for holder, share in _divide({h: c.share for h, c in claims.items()}, left).items():
            claim = claims[holder]
            whole = share * claim.ratio
            room[device] = room.get(device, 1.0) - whole
            found[device, part, holder] = whole, claim
    return found


def _divide(told: Mapping[Ref, float | None], room: float) -> dict[Ref, float]:
    """Return shares that add up to 1 at most, by holder.

    Several that hold all of a device share it in equal parts (time slicing, MPS); who was given no
    share has an equal part of what the others leave of ``room``.
    """
    whole = sum(1 for share in told.values() if share == 1)
    known = {
        h: 1 / whole if share == 1 else share for h, share in told.items() if share is not None
    }
    total = math.fsum(known.values())
    if total > 1:
        known = {h: share / total for h, share in known.items()}
    left = max(0.0, room - total)
    count = len(told) - len(known)
    return {h: known.get(h, left / max(count, 1)) for h in told}


def _slices_ratio(instance: Instance | None, board: Device) -> float:
    """Return the part of the board; an instance of unknown size has one slice at least."""
    if instance is None:
        return 1.0
    slices = next((count for model, count in FEWER_SLICES if model in board.model), BOARD_SLICES)
    return min((instance.slices or 1) / slices, 1.0)


def _of_board(claim: _Merged, share: float) -> float | None:
    """Return activity as a part of the whole device.

    What worked of an instance is divided among those who hold it by their parts of it.
    """
    if claim.instance is None:
        return claim.activity
    if claim.activity is not None:
        return claim.activity * claim.ratio
    worked = claim.instance.activity_ratio
    return None if worked is None else min(max(worked, 0.0), 1.0) * share


def _added(known: Held, more: Held) -> Held:
    """Return what a workload has of a device through two instances of it."""
    activities = [a for a in (known.activity, more.activity) if a is not None]
    return replace(
        known,
        share=min(known.share + more.share, 1.0),
        activity=min(math.fsum(activities), 1.0) if len(activities) == 2 else None,
    )


def _idle_ones(parts: Mapping[tuple[str, Ref], Held], meters: Meters) -> tuple[Held, ...]:
    """Return what is held, with an activity of 0 where all that was used is known to be others'."""
    used: dict[str, list[float | None]] = {device: [] for device in meters.asked}
    for process in meters.processes:
        if process.device in used:
            used[process.device].append(process.sm_ratio)
    mapped: Counter[str] = Counter()
    for held in parts.values():
        mapped[held.device] += held.activity or 0.0  # type: ignore[assignment]
    found = []
    for held in parts.values():
        ratios = used.get(held.device)
        if held.activity is None and ratios is not None and None not in ratios:
            total = math.fsum(r for r in ratios if r is not None)
            if mapped[held.device] >= MAPPED_RATIO * min(total, 1.0):
                held = replace(held, activity=0.0)
        found.append(held)
    return tuple(found)
