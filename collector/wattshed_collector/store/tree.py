"""The containment tree: which meter lies inside which, from what devices and operators say.

A pure function places every device below at most one other; ``Containment`` keeps the table
``tree`` equal to it, and costs one small query where no device has changed.

There is one tree, not one per time. What an operator says of it, and whether a meter contains
others, is taken to have been so before: the hours that it changes are charged again. A device that
moves to another machine, or names another parent, is charged where it is now in the hours that are
computed from then on; those before stay as they are.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wattshed_collector.topology import Topology
from wattshed_exporter.model import stable_id

from .client import Client

OUTERMOST_FIRST = ("smartplug", "redfish", "ipmi", "hwmon", "power_supply", "rapl")
"""Sources of outer meters by how far out they measure: at the wall, behind the power supplies, on
the board's input, in the battery, on the processor's platform domain. Of a source that is not
listed nobody knows; it counts as a management controller, like redfish."""
UNLISTED = OUTERMOST_FIRST.index("redfish")
ONLY_OWN = frozenset({"rapl"})
"""Sources whose outer meter (psys) sees nothing but what the same source measures."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What of a device decides where it hangs."""

    key: str
    node: str = ""
    source: str = ""
    kind: str = ""
    overlap: str = ""
    parent: str = ""
    uncertainty_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device hangs.

    ``group`` is the first key of the meters whose sum counts as one; ``path`` the groups of outer
    meters around it, innermost first; ``role`` outer, counted, inner or aside; ``why`` said,
    topology, node or ""; ``problem`` what was wrong with the parent that was said.
    """

    key: str
    parent: str = ""
    group: str = ""
    path: tuple[str, ...] = ()
    depth: int = 0
    role: str = "counted"
    uncertainty_ratio: float | None = None
    why: str = ""
    problem: str = ""


@dataclass(slots=True)
class _Draft:
    """Parents as far as they are known; adding one never closes a circle."""

    meters: dict[str, Meter]
    parent: dict[str, str] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    problem: dict[str, str] = field(default_factory=dict)

    def is_above(self, key: str, other: str) -> bool:
        """Return whether ``key`` is ``other`` or contains it."""
        while other and other != key:
            other = self.parent.get(other, "")
        return other == key

    def hang(self, key: str, parent: str, why: str) -> None:
        if parent not in self.meters:
            self.problem[key] = "parent_unknown"
        elif parent == key:
            self.problem[key] = "parent_itself"
        elif self.is_above(key, parent):
            self.problem[key] = "cycle"
        else:
            self.parent[key], self.why[key] = parent, why

    def outer_above(self, key: str, roles: Mapping[str, str]) -> str:
        """Return the nearest outer meter that contains ``key``, "" where there is none."""
        above = self.parent.get(key, "")
        while above and roles[above] != "outer":
            above = self.parent.get(above, "")
        return above


Chains = dict[str, list[list[str]]]
"""Per node the groups of its outer meters, outermost first."""


def places(meters: Iterable[Meter], topology: Topology | None = None) -> list[Place]:
    """Place every meter, ordered by key. The result is a forest, whatever the meters say."""
    by_key = {meter.key: meter for meter in meters}
    draft = _Draft({key: by_key[key] for key in sorted(by_key)})
    told = {key: _told(topology or {}, key) for key in draft.meters}
    for key, meter in draft.meters.items():
        if meter.parent:
            draft.hang(key, meter.parent, "said")
        if key not in draft.parent and told[key]:
            draft.hang(key, told[key] or "", "topology")
    explicit = set(draft.parent.values())
    alone = {key for key, parent in told.items() if parent is None and key not in draft.parent}
    draft.why.update(dict.fromkeys(alone, "topology"))
    chains = _chains(draft, alone)
    for key, meter in draft.meters.items():
        if key not in draft.parent and key not in alone:
            _hang_by_node(draft, meter, chains.get(meter.node, []))
    roles = {key: _role(draft, key, explicit) for key in draft.meters}
    groups = _Groups(draft, roles, chains)
    return [_place(draft, key, roles, groups) for key in draft.meters]


def _told(topology: Topology, key: str) -> str | None:
    """Return what the operator says: of the key itself, else of the first glob that fits."""
    if key in topology:
        return topology[key]
    return next((p for glob, p in topology.items() if fnmatch.fnmatchcase(key, glob)), "")


def _rank(meter: Meter) -> tuple[bool, int, str]:
    """Return how far out an outer meter measures: smaller is farther."""
    listed = meter.source in OUTERMOST_FIRST
    at = OUTERMOST_FIRST.index(meter.source) if listed else UNLISTED
    return meter.kind != "site", at, meter.source


def _lies_in_its_like(draft: _Draft, key: str) -> bool:
    """Return whether an outer meter lies in one of its node and rank, as a chassis in another."""
    meter, above = draft.meters[key], draft.meters.get(draft.parent.get(key, ""))
    return (
        above is not None
        and above.overlap == "outer"
        and above.node == meter.node
        and _rank(above) == _rank(meter)
    )


def _chains(draft: _Draft, alone: set[str]) -> Chains:
    """Return the chains; what lies in its like would be summed twice, and is left out."""
    nodes: dict[str, dict[tuple[bool, int, str], list[str]]] = {}
    for key, meter in draft.meters.items():
        summed = meter.overlap == "outer" and meter.node and key not in alone
        if summed and not _lies_in_its_like(draft, key):
            nodes.setdefault(meter.node, {}).setdefault(_rank(meter), []).append(key)
    return {node: [by[rank] for rank in sorted(by)] for node, by in nodes.items()}


def _hang_by_node(draft: _Draft, meter: Meter, chain: Sequence[Sequence[str]]) -> None:
    """Hang a meter on the innermost group of its node that can contain it."""
    for group in reversed(chain):
        container = draft.meters[group[0]]
        if meter.overlap == "outer" and _rank(container) >= _rank(meter):
            continue
        if container.source in ONLY_OWN and meter.source not in ONLY_OWN:
            continue
        if not draft.is_above(meter.key, container.key):
            draft.parent[meter.key], draft.why[meter.key] = container.key, "node"
            return


def _role(draft: _Draft, key: str, explicit: set[str]) -> str:
    meter = draft.meters[key]
    if meter.overlap != "outer":
        return meter.overlap or "counted"
    return "aside" if _lies_in_its_like(draft, key) and key not in explicit else "outer"


class _Groups:
    """Which outer meters count as one sum, and which group lies in which.

    Two power supplies on two plugs are one group; where those plugs hang on two strips, the strips
    are one as well, since nobody can say which of them carried what lies inside.
    """

    def __init__(self, draft: _Draft, roles: Mapping[str, str], chains: Chains) -> None:
        outer = [key for key in draft.meters if roles[key] == "outer"]
        self._leader = {key: key for key in outer}
        for chain in chains.values():
            for group in chain:
                self._join([key for key in group if key in self._leader])
        above = {key: draft.outer_above(key, roles) for key in outer}
        self._join_parents(above)
        self._parent = self._forest(above)

    def of(self, key: str) -> str:
        """Return the first key of the group."""
        while (leader := self._leader.get(key, key)) != key:
            key = leader
        return key

    def path(self, group: str) -> tuple[str, ...]:
        """Return the group and those around it, innermost first."""
        path = [group]
        while group := self._parent.get(group, ""):
            path.append(group)
        return tuple(path)

    def _join(self, keys: Sequence[str]) -> bool:
        leaders = sorted({self.of(key) for key in keys})
        self._leader.update(dict.fromkeys(leaders[1:], leaders[0]))
        return len(leaders) > 1

    def _parents(self, above: Mapping[str, str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for key, parent in above.items():
            if parent and self.of(parent) != self.of(key):
                found.setdefault(self.of(key), []).append(parent)
        return found

    def _join_parents(self, above: Mapping[str, str]) -> None:
        while any(self._join(parents) for parents in self._parents(above).values()):
            pass

    def _forest(self, above: Mapping[str, str]) -> dict[str, str]:
        forest: dict[str, str] = {}
        for group, parents in self._parents(above).items():
            at = parent = self.of(parents[0])
            while at and at != group:
                at = forest.get(at, "")
            if not at:
                forest[group] = parent
        return forest


def _place(draft: _Draft, key: str, roles: Mapping[str, str], groups: _Groups) -> Place:
    depth, at = 0, key
    while at := draft.parent.get(at, ""):
        depth += 1
    own = groups.of(key)
    if roles[key] == "outer":
        path = groups.path(own)[1:]
    else:
        above = draft.outer_above(key, roles)
        path = groups.path(groups.of(above)) if above else ()
    return Place(
        key,
        draft.parent.get(key, ""),
        own,
        path,
        depth,
        roles[key],
        draft.meters[key].uncertainty_ratio,
        draft.why.get(key, ""),
        draft.problem.get(key, ""),
    )


class Containment:
    """Keeps the table ``tree`` as ``places`` says. A topology of None is what the store knows."""

    def __init__(self, topology: Topology | None = None) -> None:
        self._topology = topology
        self._seen: tuple[object, ...] = ()

    def refresh(self, client: Client) -> None:
        """Place the devices again where any of them has changed, and write what is new.

        Hours that were charged by a tree that was wrong are dirty from then on.
        """
        (seen,) = client.rows(NEWEST)
        if seen == self._seen:
            return
        meters = [Meter(*row) for row in client.rows(METERS)]
        known = {key: row for key, *row in client.rows(KNOWN)}
        topology = _told_before(client) if self._topology is None else self._topology
        rows = {stable_id(p.key): _row(p) for p in places(meters, topology)}
        news = {key: row for key, row in rows.items() if known.get(key) != row}
        if corrected := _corrected(known, news):
            # Marked first: should the rest fail, the change is found and marked once more.
            client.command(MARK, {"devices": sorted(corrected)})
        if news:
            _write(client, news)
        self._seen = seen


NEWEST = "SELECT count(), max(version) FROM device"
METERS = """
SELECT key, node, source, kind, overlap, parent, uncertainty_ratio FROM device FINAL
WHERE kind != ''
"""
KNOWN = """
SELECT device_id, parent_id, group_id, path, depth, role, uncertainty_ratio, why, problem
FROM tree FINAL
"""
TOLD = """
SELECT d.key, p.key FROM (SELECT device_id, parent_id FROM tree FINAL WHERE why = 'topology') AS t
INNER JOIN (SELECT device_id, key FROM device FINAL) AS d ON d.device_id = t.device_id
LEFT JOIN (SELECT device_id, key FROM device FINAL) AS p ON p.device_id = t.parent_id
"""
MARK = """
INSERT INTO dirty (hour)
SELECT DISTINCT hour FROM tick_hour WHERE device_id IN {devices:Array(UInt64)}
"""
COLUMNS = (
    "parent_id",
    "group_id",
    "path",
    "depth",
    "role",
    "uncertainty_ratio",
    "why",
    "problem",
)


Rows = Mapping[int, Sequence[Any]]
"""``COLUMNS`` by device."""


def _told_before(client: Client) -> Topology:
    return {key: parent or None for key, parent in client.rows(TOLD)}


def _corrected(known: Rows, news: Rows) -> set[int]:
    """Return the meters in whose hours the tree was wrong: those that changed, and around them."""
    changed, groups = set[int](), set[int]()
    for device, (parent, group, path, _, role, _, why, _) in news.items():
        if device not in known:
            continue  # what it measured is dirty as it is
        was_parent, was_group, was_path, _, was_role, _, was_why, _ = known[device]
        moved = (was_parent, was_group, was_path) != (parent, group, path)
        if was_role != role or (moved and "topology" in (was_why, why)):
            changed.add(device)
            groups |= {was_group, group, *was_path, *path}
    return changed | {d for rows in (known, news) for d, row in rows.items() if row[1] in groups}


def _row(place: Place) -> list[Any]:
    return [
        stable_id(place.parent) if place.parent else 0,
        stable_id(place.group),
        [stable_id(group) for group in place.path],
        place.depth,
        place.role,
        place.uncertainty_ratio,
        place.why,
        place.problem,
    ]


def _write(client: Client, news: Rows) -> None:
    (version,) = client.rows("SELECT max(version) + 1 FROM tree")[0]
    columns: dict[str, Sequence[object]] = {
        name: [row[at] for row in news.values()] for at, name in enumerate(COLUMNS)
    }
    client.insert("tree", {"device_id": list(news), **columns, "version": [version] * len(news)})
