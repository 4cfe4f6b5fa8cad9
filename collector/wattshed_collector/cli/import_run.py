"""One import: files to the collector or the store, progress on a terminal, and the summary."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wattshed_collector.errors import StoreError

from . import answers, bars
from .answers import Remote

if TYPE_CHECKING:
    from wattshed_collector.importing import Deliver, Done
    from wattshed_collector.normalise.facts import Limits
    from wattshed_collector.receivers.files import Reading, Tally
    from wattshed_collector.receivers.files.lines import Lines
    from wattshed_collector.receivers.files.reading import Told

DAY_S = 86400.0
TOO_OLD = "too_old"


@dataclass(frozen=True, slots=True)
class Job:
    """What is imported, and to where; without ``remote`` straight into the store."""

    files: tuple[str, ...]
    remote: Remote | None
    data: str
    dry_run: bool
    json: bool
    interval_ms: int | None = None


def run(job: Job, reads: Callable[[Lines, Tally], Iterator[Reading]]) -> int:
    """Import files of lines; 0 done, 1 nothing could be used."""
    from wattshed_collector.importing import Importer
    from wattshed_collector.normalise.facts import Normaliser
    from wattshed_collector.receivers.files import Tally, paced
    from wattshed_collector.receivers.files.lines import Lines, opened

    tally = Tally()
    with _place(job) as (limits, deliver):
        importer = Importer(Normaliser(limits), deliver, tally)
        for file in job.files:
            tally.file = file
            with opened(file) as stream:
                lines = Lines(stream, tally)
                told = paced(reads(lines, tally), job.interval_ms)
                with _progress(file, lines, importer.done, tally) as shown:
                    importer.take(shown(told))
    return _summary(job, importer.done, tally, limits)


def mlperf(job: Job) -> int:
    """Import result folders; 0 done, 1 one is broken or nothing could be used."""
    from wattshed_collector.importing import Importer
    from wattshed_collector.normalise.facts import Normaliser
    from wattshed_collector.receivers.files import Tally
    from wattshed_collector.receivers.mlperf import ResultError, read
    from wattshed_collector.validate import chunks

    tally = Tally()
    with _place(job) as (limits, deliver):
        importer = Importer(Normaliser(limits), deliver, tally)
        oldest_ms = (time.time() - limits.oldest_seconds) * 1000 if limits.oldest_seconds else 0
        for folder in job.files:
            try:
                batch = read(Path(folder)).batch
            except ResultError as error:
                print(f"wattshed: {error}", file=sys.stderr)
                return 1
            importer.done.readings += len(batch.ticks)
            if min(tick.ts_ms for tick in batch.ticks) < oldest_ms:
                # Half of a run would be a wrong figure.
                tally.add(TOO_OLD, None, len(batch.ticks))
                continue
            for portion in _advancing(folder, list(chunks(batch))):
                importer.write(portion)
    return _summary(job, importer.done, tally, limits)


@contextmanager
def _place(job: Job) -> Iterator[tuple[Limits, Deliver]]:
    """Give the limits of the place and what writes there; at the end the ledger is up to date."""
    from wattshed_collector.normalise.facts import Limits
    from wattshed_collector.store.ledger_state import raw_days

    def oldest(days: int) -> Limits:
        return Limits(oldest_seconds=max(0, days - 1) * DAY_S)

    def nowhere(batch: object) -> Mapping[str, int]:
        return {}

    if remote := job.remote:
        from .sending import Sender

        limits = oldest(int(remote.get("/v1/ledger").get("raw_days", 0)))
        yield limits, nowhere if job.dry_run else Sender(remote).deliver
        return
    with ExitStack() as stack:
        store, client = stack.enter_context(answers.existing(job.data))
        limits = oldest(raw_days(client))
        if job.dry_run:
            yield limits, nowhere
            return
        with _writing(store.client) as deliver:
            yield limits, deliver
        with answers.computing(store, client) as ledger:
            ledger.run()


@contextmanager
def _writing(open_client: Callable[[], Any]) -> Iterator[Deliver]:
    from wattshed_collector.store.write import Writer
    from wattshed_exporter.model import Batch

    writer = Writer(open_client, window_seconds=0.0, share=1.0)

    def deliver(batch: Batch) -> Mapping[str, int]:
        writer.submit(batch).result()
        return {}

    try:
        yield deliver
    finally:
        writer.close()


@contextmanager
def _progress(
    file: str, lines: Lines, done: Done, tally: Tally
) -> Iterator[Callable[[Iterator[Told]], Iterator[Told]]]:
    """Show bytes, rows and what is left out while readings pass by."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn

    from wattshed_collector.receivers.files.lines import size

    columns = (
        TextColumn("{task.description}", markup=False),  # a name may hold brackets
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[rows]:,} rows"),
        TextColumn("{task.fields[bad]}", style="yellow", markup=False),
    )
    with bars.shown(*columns) as progress:
        task = progress.add_task(Path(file).name, total=size(file), rows=0, bad="")

        def say(count: int) -> None:
            bad = ", ".join(f"{n} {reason}" for reason, n in tally.counts.items())
            progress.update(task, completed=lines.bytes_read, rows=count, bad=bad)

        def shown(told: Iterator[Told]) -> Iterator[Told]:
            count = 0
            for count, one in enumerate(told, 1):
                yield one
                if count % 500 == 0:
                    say(count)
            say(count)

        yield shown


def _advancing(folder: str, portions: list[Any]) -> Iterator[Any]:
    from rich.markup import escape

    with bars.shown() as progress:
        yield from progress.track(portions, description=escape(Path(folder).name))


def _summary(job: Job, done: Done, tally: Tally, limits: Limits) -> int:
    answer = document(done, tally, job.dry_run)
    if job.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(sentences(answer, len(job.files) > 1)))
    if tally.counts[TOO_OLD]:
        print(
            f"wattshed: readings of more than {limits.oldest_seconds / DAY_S:.0f} days ago are "
            "refused, because the store does not keep raw ones longer (retention.raw_days)",
            file=sys.stderr,
        )
    if not (done.ticks or done.outcomes):
        raise StoreError("nothing was found that could be used")
    return 0


def document(done: Done, tally: Tally, dry_run: bool) -> dict[str, Any]:
    """Return what an import did, as ``--json`` prints it; times are Unix seconds."""
    return {
        "dry_run": dry_run,
        "readings": done.readings,
        "ticks": done.ticks,
        "devices": sorted(done.devices),
        "workloads": done.workloads,
        "allocations": done.allocations,
        "outcomes": done.outcomes,
        "window": None
        if done.first_ms is None or done.last_ms is None
        else {"start": done.first_ms / 1000, "end": done.last_ms / 1000},
        "left_out": tally.document(),
    }


def sentences(answer: Mapping[str, Any], several: bool) -> Iterator[str]:
    """Yield the summary in words; a line is named with its file where there are ``several``."""
    window, devices = answer["window"], answer["devices"]
    if window:
        start, end = (
            f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S}" for t in window.values()
        )
        shown = ", ".join(devices[:5]) + (", ..." if len(devices) > 5 else "")
        yield f"readings: {answer['readings']}, {start} to {end} UTC"
        yield f"devices: {len(devices)} ({shown})"
    kinds = ("ticks", "workloads", "allocations", "outcomes")
    written = ", ".join(f"{answer[kind]} {kind}" for kind in kinds if answer[kind])
    yield f"{'would be ' if answer['dry_run'] else ''}written: {written or 'nothing'}"
    if answer["left_out"]:
        reasons = (_reason(name, said, several) for name, said in answer["left_out"].items())
        yield "left out: " + ", ".join(reasons)


def _reason(name: str, said: Mapping[str, Any], several: bool) -> str:
    text = f"{said['count']} {name}"
    if said["line"] is None:
        return text
    where = f"{said['file']} line" if several else "line"
    return f"{text} (first in {where} {said['line']})"
