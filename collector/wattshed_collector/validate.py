"""Check wattshed against published energy figures: raw logs in, production ledger, answer out.

A result folder is imported into a throw-away embedded store through the same writer and charged by
the same SQL as anything else. ``energy_joules`` is the true clipped window; ``official`` is the
benchmark's own rule, by its name, from the same readings.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from wattshed_exporter.model import Batch

from .ledger import Ledger, Policy
from .receivers import mlperf
from .receivers.mlperf import Result, Run
from .store import queries
from .store.client import Client, Store
from .store.migrate import Layout, migrate
from .store.queries import Record
from .store.write import Writer

CHUNK = 20_000
FOREVER = Layout(raw_days=0, minute_days=0)


class Window(TypedDict):
    """Unix seconds."""

    start: float
    end: float


class Counted(TypedDict):
    count: float
    joules_per_outcome: float


class Official(TypedDict):
    rule: str
    value: float
    unit: str
    published: float | None


class RunAnswer(TypedDict):
    """One measured window; energies in joules, times in seconds, power in watts."""

    name: str
    window: Window
    energy_joules: float
    mean_power_watts: float
    before_window_joules: float
    after_window_joules: float
    known_seconds: float
    unknown_seconds: float
    outcomes: dict[str, Counted]


class Answer(TypedDict):
    """The folder's figures: those of its runs added up, and each run beside them.

    ``mean_power_watts`` is the energy over the known time of the measured windows.
    """

    kind: str
    window: Window
    energy_joules: float
    mean_power_watts: float
    before_window_joules: float
    known_seconds: float
    unknown_seconds: float
    outcomes: dict[str, Counted]
    official: Official
    runs: list[RunAnswer]
    notes: list[str]


Delivery = Callable[[Batch], Iterable[Batch]]


def validate(directory: Path, deliver: Delivery | None = None) -> Answer:
    """Read ``directory``, let the ledger charge it and answer.

    ``deliver`` cuts the facts into the batches in which they are written; the default is in order.
    Raises ``mlperf.ResultError`` with a sentence that names file and line where the folder is
    broken, and StoreError where no throw-away store can be made.
    """
    result = mlperf.read(directory)
    with tempfile.TemporaryDirectory(prefix="wattshed-validate-") as folder:
        store = Store(folder)
        try:
            client = store.client()
            migrate(client, FOREVER)
            ledger = Ledger(client, Policy(raw_days=0))
            write(store, (deliver or chunks)(result.batch), ledger)
            return answer(client, result)
        finally:
            store.close()


def chunks(batch: Batch) -> Iterator[Batch]:
    """Cut a batch into portions of ``CHUNK`` ticks; the first brings everything else."""
    yield replace(batch, ticks=())
    for start in range(0, len(batch.ticks), CHUNK):
        yield Batch(ticks=batch.ticks[start : start + CHUNK])


def write(store: Store, batches: Iterable[Batch], ledger: Ledger) -> None:
    """Write every batch durably, then bring the ledger up to date."""
    writer = Writer(store.client, window_seconds=0.0, share=1.0)
    try:
        for batch in batches:
            writer.submit(batch).result()
    finally:
        writer.close()
    ledger.run()


def answer(client: Client, result: Result) -> Answer:
    """Ask the store for every run of ``result``."""
    charged = {r["workload_key"]: r for r in queries.workload_energy(client, *_extent(result))}
    meters: dict[str, set[str]] = {}
    for allocation in result.batch.allocations:
        meters.setdefault(allocation.workload, set()).add(allocation.device)
    runs = [_run(run, charged, len(meters.get(run.workload_key, ()))) for run in result.runs]
    energy = sum(run["energy_joules"] for run in runs)
    known = sum(run["known_seconds"] for run in runs)
    official = result.official
    return {
        "kind": result.kind.value,
        "window": {
            "start": min(run["window"]["start"] for run in runs),
            "end": max(run["window"]["end"] for run in runs),
        },
        "energy_joules": energy,
        "mean_power_watts": sum(r["mean_power_watts"] * r["known_seconds"] for r in runs) / known,
        "before_window_joules": sum(run["before_window_joules"] for run in runs),
        "known_seconds": known,
        "unknown_seconds": sum(run["unknown_seconds"] for run in runs),
        "outcomes": _added(runs, energy),
        "official": {
            "rule": official.rule,
            "value": official.value,
            "unit": official.unit,
            "published": official.published,
        },
        "runs": runs,
        "notes": list(result.notes),
    }


def _run(run: Run, charged: dict[str, Record], meters: int) -> RunAnswer:
    own = charged.get(run.workload_key)
    if own is None:
        raise mlperf.ResultError(f"{run.name}: the ledger holds no energy inside the window")
    seconds = (run.window_end_ms - run.window_start_ms) / 1000
    energy, known = float(own["joules"]), float(own["device_seconds"]) / meters
    return {
        "name": run.name,
        "window": {"start": run.window_start_ms / 1000, "end": run.window_end_ms / 1000},
        "energy_joules": energy,
        "mean_power_watts": energy / known,
        "before_window_joules": float(charged.get(run.before_key, {}).get("joules", 0.0)),
        "after_window_joules": float(charged.get(run.after_key, {}).get("joules", 0.0)),
        "known_seconds": known,
        "unknown_seconds": max(0.0, round(seconds - known, 6)),
        "outcomes": {
            kind: {"count": count, "joules_per_outcome": energy / count}
            for kind, count in run.outcomes.items()
            if count > 0
        },
    }


def _added(runs: Iterable[RunAnswer], energy: float) -> dict[str, Counted]:
    counts: dict[str, float] = {}
    for run in runs:
        for kind, counted in run["outcomes"].items():
            counts[kind] = counts.get(kind, 0.0) + counted["count"]
    return {
        kind: {"count": count, "joules_per_outcome": energy / count}
        for kind, count in counts.items()
    }


def _extent(result: Result) -> tuple[int, int]:
    times = [tick.ts_ms for tick in result.batch.ticks]
    return min(times) // 3_600_000 * 3600, (max(times) // 3_600_000 + 1) * 3600
