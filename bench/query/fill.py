"""The same fleet into everybody, as fast as it goes: who is asked later is not measured here.

The peers get the days before as energy by the minute and the main set with all that is asked (or
all metrics), by remote write with an hour of samples per series in a request. Ours gets the main
set as rows through the product's own writer, charged by the ledger. Of the days before it gets what
its ledger would have written of them by the hour, made from the same energies, and the roll-ups by
the ledger's own statements: a store of a year looks so too, whose readings have expired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench import peers, rows
from bench.fleetgen import METRICS, Fleet, Hour
from bench.frames import frames
from bench.ledger.growth import filled
from bench.ledger.ours import Ours
from bench.peers import Peer
from bench.query.truth import Truth
from wattshed_collector.store import ledger_state
from wattshed_collector.store.insert import Column, Frame
from wattshed_collector.store.ledger_sql import RECOMPUTE
from wattshed_collector.store.policies import Rule
from wattshed_exporter.model import Batch, Workload, stable_id

DAY_S, HOUR_S = 86_400, 3600
NODES_AT_ONCE = 8
TICKS_AT_ONCE = 120
ASKED = METRICS[:3]
"""Power, energy and utilisation: what the questions read."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sets:
    """The main set and the days before it, whose counters it goes on from."""

    main: Fleet
    days: int
    metrics: Sequence[str]

    @property
    def before(self) -> Fleet:
        main = self.main
        return Fleet(main.nodes, main.gpus, 24 * self.days, 60, 11, main.start)

    def hours_before(self) -> Iterator[Hour]:
        return self.before.each_hour() if self.days else iter(())

    def hours(self, last: Hour | None) -> Iterator[Hour]:
        """Give the hours of the main set; its counters go on from ``last``, the hour before."""
        shift: NDArray[np.float64] | None = None
        for hour in self.main.each_hour():
            if last is not None and shift is None:
                shift = last.energy_joules[-1] - (hour.energy_joules[0] - hour.gained_joules[0])
            moved = hour.energy_joules if shift is None else hour.energy_joules + shift
            yield replace(hour, energy_joules=np.round(moved, 3))


def everybody(
    sets: Sets, ours: Ours, others: Sequence[Peer], between: Callable[[], None], say: Say
) -> Truth:
    """Fill all of them, the peers beside ours; return what is true.

    ``between`` is called when the peers have the days before and nothing of the main set.
    """
    with ThreadPoolExecutor(1) as beside:
        theirs = beside.submit(_peers, sets, others, between, say)
        truth = _ours(sets, ours, say)
        theirs.result()
    return truth


def _peers(sets: Sets, others: Sequence[Peer], between: Callable[[], None], say: Say) -> None:
    if not others:
        return
    with ThreadPoolExecutor(len(others)) as pool:
        sender, last, ticks = _Sender(pool, others), None, sets.main.ticks
        for hour in sets.hours_before():
            last = hour
            if hour.index % 24 == 0:
                say(f"peers: day {hour.index // 24 + 1} of {sets.days} before")
            for frame in frames(sets.before, hour, 0, sets.before.ticks, METRICS[1:2]):
                sender.send(frame)
        sender.wait()
        between()
        for hour in sets.hours(last):
            say(f"peers: hour {hour.index + 1} of {sets.main.hours}")
            for first in range(0, sets.main.nodes, NODES_AT_ONCE):
                nodes = range(first, min(first + NODES_AT_ONCE, sets.main.nodes))
                for frame in frames(sets.main, hour, 0, ticks, sets.metrics, nodes):
                    sender.send(frame)
        sender.wait()
    for peer in others:
        peers.flush(peer)


class _Sender:
    """Sends each request to all while the next one is made."""

    def __init__(self, pool: ThreadPoolExecutor, others: Sequence[Peer]) -> None:
        self._pool = pool
        self._others = others
        self._sent: list[Future[None]] = []

    def send(self, frame: bytes) -> None:
        self.wait()
        self._sent = [self._pool.submit(peer.send, frame) for peer in self._others]

    def wait(self) -> None:
        for sent in self._sent:
            sent.result()


def _ours(sets: Sets, ours: Ours, say: Say) -> Truth:
    main = sets.main
    truth = Truth(main)
    ids = np.array([stable_id(key) for key in main.keys], np.uint64)
    ours.describe(main)
    last = _before(sets, ours, truth, ids, say)
    if last is not None:
        _last_reading(sets, ours, last, ids)
    for hour in sets.hours(last):
        say(f"ours: hour {hour.index + 1} of {main.hours}")
        truth.add(hour)
        for at in rows.portions(main.ticks, TICKS_AT_ONCE):
            told = [rows.ticks(main, hour, at, ids)]
            if sets.metrics != ASKED:
                told.append(rows.details(main, hour, at, ids))
            ours.writer.submit(Batch(), tuple(told)).result()
    say("ours: the ledger charges")
    ours.ledger().run()
    return truth


def _before(sets: Sets, ours: Ours, truth: Truth, ids: NDArray[np.uint64], say: Say) -> Hour | None:
    """Write what was charged in the days before; return their last hour."""
    fleet, last = sets.before, None
    jobs = fleet.jobs if sets.days else []
    workloads = tuple(Workload(j.pod, j.workload, "training", team=j.team) for j in jobs)
    ours.write(Batch(workloads=workloads))
    charges: list[dict[str, NDArray[np.generic]]] = []
    for hour in sets.hours_before():
        last = hour
        truth.before(hour)
        charges.append(_charges(fleet, hour, ids))
        if hour.index % 24 == 23:
            say(f"ours: day {hour.index // 24 + 1} of {sets.days} before")
            _day(ours, fleet.start + (hour.index - 23) * HOUR_S, charges)
            charges.clear()
    return last


def _charges(fleet: Fleet, hour: Hour, ids: NDArray[np.uint64]) -> dict[str, NDArray[np.generic]]:
    """Return the rows of ``charge_1h`` of an hour: each GPU is held by one job, or by nobody."""
    held = [stable_id(job.pod) if job else 0 for job in hour.jobs]
    workload = np.repeat(np.array(held, np.uint64), fleet.gpus)
    begin = fleet.start + hour.index * HOUR_S
    return {
        "t": np.full(fleet.devices, begin),
        "device_id": ids,
        "workload_id": workload,
        "class": np.where(workload > 0, "active", "idle_unallocated"),
        "joules": hour.gained_joules.sum(axis=0),
        "seconds": np.full(fleet.devices, float(HOUR_S)),
        "version": np.ones(fleet.devices, np.int64),
    }


def _day(ours: Ours, day: int, charges: Sequence[dict[str, NDArray[np.generic]]]) -> None:
    columns = {name: np.concatenate([c[name] for c in charges]).tolist() for name in charges[0]}
    ours.client.insert("charge_1h", columns)
    targets = [filled(statement) for statement in RECOMPUTE]
    after = (*RECOMPUTE[targets.index("charge_1h") + 1 :], ledger_state.FINISH)
    ours.ledger().compute(after, day, day + DAY_S, Rule(), version=1)


def _last_reading(sets: Sets, ours: Ours, last: Hour, ids: NDArray[np.uint64]) -> None:
    """Write the reading with which the days before end and the main set begins."""
    frame = rows.ticks(sets.main, next(iter(sets.hours(None))), range(1), ids)
    energies = np.rint(last.energy_joules[-1] * 1e6).astype(np.int64)
    told = {
        **frame.columns,
        "ts": Column(np.full(len(ids), sets.main.start * 1000)),
        "power_uw": Column(np.rint(last.power_watts[-1] * 1e6).astype(np.int64)),
        "energy_uj": Column(energies),
    }
    ours.writer.submit(Batch(), (Frame(frame.table, told),)).result()
