"""Who is right about who burned what, and what it costs: the same samples for all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.exporter.usage import cpu_seconds
from bench.fleetgen import IDLE, Fleet, Hour
from bench.frames import frames
from bench.ledger.ours import Ours, measured
from bench.peers import QUERIES, Answer, Peer, flush

SAMPLES_PER_FRAME = 30
DAY_S = 86_400
RAW = ("tick", "tick_hour", "tick_day")

Say = Callable[[str], None]


@dataclass
class Truth:
    """Joules that the fleet's counters gained in the last day, by workload name and by job."""

    total: float = 0.0
    by_name: dict[str, float] = field(default_factory=dict)
    by_job: dict[str, float] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    """Jobs whose whole time is within the day: the others' edges are the window's."""

    def add(self, fleet: Fleet, hour: Hour) -> None:
        sums = hour.gained_joules.sum(axis=0).reshape(fleet.nodes, fleet.gpus).sum(axis=1)
        for job, joules in zip(hour.jobs, sums.tolist(), strict=True):
            name = job.workload if job else IDLE
            self.total += joules
            self.by_name[name] = self.by_name.get(name, 0.0) + joules
            if job:
                self.by_job[job.pod] = self.by_job.get(job.pod, 0.0) + joules


@dataclass(frozen=True)
class Row:
    """Errors in percent of the truth; CPU seconds of ingest (and of the ledger), query, disk."""

    who: str
    what: str
    total: float
    idle: float
    job_median: float
    job_p95: float
    ingest_cpu: float | None
    query_cpu_ms: float
    query_wall_ms: float
    disk_bytes: int | None


def ingest(
    fleet: Fleet, ours: Ours, peers: Sequence[Peer], offset: int, say: Say
) -> tuple[Truth, dict[str, float]]:
    """Send the whole fleet to all; return the truth of its last day and each peer's CPU seconds."""
    truth = Truth()
    cpu = {peer.name: cpu_seconds(peer.pid) for peer in peers}
    ours.describe(fleet)
    scored = fleet.hours - DAY_S // 3600
    for hour in fleet.each_hour():
        say(f"hour {hour.index + 1} of {fleet.hours}")
        if hour.index >= scored:
            truth.add(fleet, hour)
        if peers:
            for frame in frames(fleet, hour, offset, SAMPLES_PER_FRAME):
                for peer in peers:
                    peer.send(frame)
        ours.take(fleet, hour, offset)
    for peer in peers:
        flush(peer)
    truth.whole = {j.pod for j in fleet.jobs if j.first >= scored and j.last <= fleet.hours}
    return truth, {peer.name: cpu_seconds(peer.pid) - cpu[peer.name] for peer in peers}


def peer_rows(
    fleet: Fleet, truth: Truth, peers: Iterable[Peer], cpu: Mapping[str, float]
) -> list[Row]:
    """Ask each peer in each form, after once to warm up."""
    rows = []
    for peer in peers:
        for what, form in QUERIES.items():
            query = form.format(window="24h", step=fleet.step)
            peer.ask(query, ("workload",), fleet.end)
            answer = peer.ask(query, ("workload",), fleet.end)
            by_job = peer.ask(query, ("pod",), fleet.end)
            natural = what == "increase"
            rows.append(
                _row(
                    f"{peer.name} {peer.version}",
                    what,
                    truth,
                    answer,
                    by_job,
                    idle=IDLE,
                    ingest_cpu=cpu[peer.name] if natural else None,
                    disk_bytes=peer.disk_bytes if natural else None,
                )
            )
    return rows


def our_row(fleet: Fleet, truth: Truth, ours: Ours, ledger_cpu: float) -> Row:
    since = fleet.end - DAY_S
    ours.ask("workload", since, fleet.end)
    answer = ours.ask("workload", since, fleet.end)
    by_job = ours.ask("job", since, fleet.end)
    return _row(
        "wattshed",
        "ledger",
        truth,
        answer,
        by_job,
        idle="",
        ingest_cpu=ours.building.cpu + ours.writing.cpu + ledger_cpu,
        disk_bytes=ours.disk_bytes(),
    )


def _row(
    who: str,
    what: str,
    truth: Truth,
    answer: Answer,
    by_job: Answer,
    *,
    idle: str,
    ingest_cpu: float | None,
    disk_bytes: int | None,
) -> Row:
    errors = sorted(
        abs(_error(by_job.joules.get((job,), 0.0), truth.by_job[job]))
        for job in truth.whole
        if job in truth.by_job
    )
    return Row(
        who,
        what,
        _error(sum(answer.joules.values()), truth.total),
        _error(answer.joules.get((idle,), 0.0), truth.by_name.get(IDLE, 0.0)),
        statistics.median(errors) if errors else 0.0,
        errors[min(len(errors) - 1, int(len(errors) * 0.95))] if errors else 0.0,
        ingest_cpu,
        answer.cpu_ms,
        answer.wall_ms,
        disk_bytes,
    )


def _error(found: float, true: float) -> float:
    return (found / true - 1) * 100 if true else float("nan")


def charge(ours: Ours) -> tuple[int, float, float]:
    """Run the ledger over everything: hours, CPU seconds and seconds."""
    hours, cost = measured(lambda: ours.ledger().run())
    return len(hours), cost.cpu, cost.wall
