"""What Slurm remembers of jobs, set against what their nodes said while they ran.

A node knows which GPU a job had, Slurm knows for how long: what a node missed is filled in, what it
held on to after the end is taken back, and names are completed. Where no node said anything, a job
that had all GPUs of a node had each of them; one that had some of them is given an equal share of
each, and that is counted. Only differences are written, so a second import changes nothing.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from wattshed_exporter.model import Allocation, Batch, Workload

from .receivers.sacct import Job
from .store import holdings
from .store.client import Client
from .store.holdings import Node

CHUNK = 500
SLACK_MS = 1000
"""Slurm's times are whole seconds, cut off."""
WHOLE, SHARED = "sacct", "sacct_share"
LATER_MS = 7 * 86_400_000
"""So long after the last end of a portion it is looked for what is still held."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job on one node: whose GPUs it had, and how many of them (None: not said)."""

    job: Job
    node: Node
    key: str
    gpus: float | None


class History:
    """Brings a store up to what Slurm says. ``counted`` tells what was done and what could not be.

    ``deliver`` writes a batch durably, or does nothing in a dry run.
    """

    def __init__(self, client: Client, deliver: Callable[[Batch], None], cluster: str = "") -> None:
        self.counted: Counter[str] = Counter()
        self._client = client
        self._deliver = deliver
        self._nodes = holdings.nodes(client, cluster)
        self._cluster = cluster

    def take(self, jobs: Iterable[Job]) -> None:
        """Take over jobs, a bounded number at a time; runs of one job should be neighbours."""
        for portion in portions(jobs):
            groups = [list(self._runs(group)) for group in _by_job(portion)]
            batch = self._batch(groups)
            if batch:
                self._deliver(batch)
            self.counted["workloads"] += len(batch.workloads)
            self.counted["allocations"] += len(batch.allocations)

    def _runs(self, group: Iterable[Job]) -> Iterator[Run]:
        for job in group:
            self.counted["jobs"] += 1
            if self._cluster and job.cluster not in ("", self._cluster):
                self.counted["other_cluster"] += 1
                continue
            nodes = [self._nodes[name] for name in _short(job.nodes) if name in self._nodes]
            self.counted["unknown_node"] += len(job.nodes) - len(nodes)
            self.counted["running"] += job.end_ms is None
            each = None if job.gpus is None else job.gpus / max(1, len(job.nodes))
            for node in nodes:
                yield Run(job, node, f"slurm/{node.scope}/{job.id}", each)

    def _batch(self, groups: Sequence[Sequence[Run]]) -> Batch:
        runs = [run for group in groups for run in group]
        keys = list(dict.fromkeys(run.key for run in runs))
        known = holdings.workloads(self._client, keys)
        held = self._held(runs, keys)
        latest = {run.key: _described(known.get(run.key), run) for run in runs}
        changes: dict[tuple[str, str, int], Allocation] = {}
        for group in groups:
            for change in self._corrections(group, held):
                changes[change.device, change.workload, change.start_ms] = change
        named = known.keys() | {key for key in keys if held.get(key)}
        named |= {change.workload for change in changes.values()}
        told = [w for key, w in latest.items() if key in named and w != known.get(key)]
        return Batch(workloads=tuple(told), allocations=tuple(changes.values()))

    def _held(self, runs: Sequence[Run], keys: Sequence[str]) -> dict[str, list[Allocation]]:
        if not runs:
            return {}
        devices = {gpu: None for run in runs for gpu in run.node.gpus}
        first = min(run.job.start_ms for run in runs)
        last = max(run.job.end_ms or run.job.start_ms for run in runs)
        return holdings.held(self._client, keys, devices, first - SLACK_MS, last + LATER_MS)

    def _corrections(
        self, group: Sequence[Run], held: dict[str, list[Allocation]]
    ) -> Iterator[Allocation]:
        """Yield what makes the runs of one job true."""
        places: dict[tuple[str, tuple[str, ...]], list[Run]] = {}
        for run in group:
            places.setdefault((run.key, run.node.gpus), []).append(run)
        for (key, gpus), runs in places.items():
            every = [piece for piece in held[key] if piece.device in gpus]
            mine = [piece for piece in every if piece.end_ms > piece.start_ms]
            guesses = {id(p): p for run in runs for p in _refuted(mine, run.job)}
            yield from (_until(piece, piece.start_ms) for piece in guesses.values())
            stands = [piece for piece in mine if id(piece) not in guesses]
            ends = {
                (p.device, p.start_ms): p for p in _shortened(stands, [run.job for run in runs])
            }
            yield from ends.values()
            stands = [ends.get((piece.device, piece.start_ms), piece) for piece in stands]
            for run in runs:
                yield from (_over(every, new) for new in self._filled(run, stands))

    def _filled(self, run: Run, held: Sequence[Allocation]) -> Iterator[Allocation]:
        """Yield what nobody said of the time of a run."""
        end_ms = run.job.end_ms
        if end_ms is None or not run.node.gpus or run.gpus == 0:
            return
        held = [piece for piece in held if _meets(piece, run.job)]
        devices = dict.fromkeys(piece.device for piece in held)
        whole = run.gpus is not None and run.gpus >= len(run.node.gpus)
        if not whole and not devices and run.gpus is None:
            self.counted["gpus_not_said"] += 1
            return
        shared = not whole and not devices
        self.counted["shared_out"] += shared
        share = 1.0 if whole else (run.gpus or 0.0) / len(run.node.gpus)
        for device in run.node.gpus if whole or shared else devices:
            pieces = [piece for piece in held if piece.device == device]
            for start, end, near in _gaps(pieces, run.job.start_ms, end_ms):
                own = share if near is None or whole else near.share
                guessed = shared or (near is not None and near.method == SHARED)
                method = SHARED if guessed and not whole else WHOLE
                yield Allocation(device, run.key, start, end, own, method)


def portions(jobs: Iterable[Job], most: int = CHUNK) -> Iterator[list[Job]]:
    """Cut jobs into lists of ``most`` different ones, so that all runs of one are in one list."""
    groups = map(list, _by_job(jobs))
    while chunk := list(itertools.islice(groups, most)):
        yield [job for group in chunk for job in group]


def _by_job(jobs: Iterable[Job]) -> Iterator[Iterator[Job]]:
    return (group for _, group in itertools.groupby(jobs, key=lambda job: (job.cluster, job.id)))


def _described(known: Workload | None, run: Run) -> Workload:
    """Return the workload with what Slurm says of it; what Slurm does not say stays."""
    job = run.job
    said = {
        "name": job.name,
        "kind": "job",
        "instance": job.id,
        "owner": job.user,
        "project": job.account,
        "queue": job.partition,
        "cluster": run.node.cluster,
    }
    base = known or Workload(run.key, job.name or job.id)
    return replace(base, **{field: text for field, text in said.items() if text})


def _shortened(held: Sequence[Allocation], jobs: Sequence[Job]) -> Iterator[Allocation]:
    """Yield the pieces that go on after a run's end, or begin after the last, as they should be."""
    if any(job.end_ms is None for job in jobs):
        return
    ends = [(job.start_ms, job.end_ms) for job in jobs if job.end_ms is not None]
    last = max(end for _, end in ends)
    for piece in held:
        if piece.start_ms >= last + SLACK_MS:
            yield _until(piece, piece.start_ms)
            continue
        for start, end in ends:
            begun = start - SLACK_MS <= piece.start_ms < end
            if begun and piece.end_ms > end + SLACK_MS:
                yield _until(piece, end)


def _refuted(held: Sequence[Allocation], job: Job) -> list[Allocation]:
    """Return what an earlier import guessed of a run of which a node has said better since."""
    mine = [piece for piece in held if _meets(piece, job)]
    guesses = [piece for piece in mine if piece.method == SHARED]
    return guesses if len(guesses) < len(mine) else []


def _until(piece: Allocation, end_ms: int) -> Allocation:
    return replace(piece, end_ms=end_ms, revision=piece.revision + 1)


def _over(held: Sequence[Allocation], new: Allocation) -> Allocation:
    """Return an allocation so that it counts more than one with the same start, if there is one."""
    same = [p.revision for p in held if (p.device, p.start_ms) == (new.device, new.start_ms)]
    return replace(new, revision=max(same) + 1) if same else new


def _meets(piece: Allocation, job: Job) -> bool:
    return piece.start_ms < (job.end_ms or 0) and piece.end_ms > job.start_ms


def _gaps(
    pieces: Sequence[Allocation], start_ms: int, end_ms: int
) -> Iterator[tuple[int, int, Allocation | None]]:
    """Yield the stretches that no piece covers, longer than a second, with the nearest piece."""
    at, near = start_ms, next((p for p in pieces if p.end_ms > start_ms), None)
    for piece in pieces:
        if piece.end_ms <= start_ms or piece.start_ms >= end_ms:
            continue
        if piece.start_ms - at >= SLACK_MS:
            yield at, piece.start_ms, near
        near = piece
        at = max(at, piece.end_ms)
    if end_ms - at >= SLACK_MS:
        yield at, end_ms, near


def _short(names: Iterable[str]) -> Iterator[str]:
    return (name.partition(".")[0] for name in names)
