"""Pull a fleet: targets come and go, each is asked at its own instant, none in another's way.

A target that fails or is gone leaves no rows: what was live ends by the intervals of the last page
that showed it (``normalise.tenure``), and the ledger counts the time since as not known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wattshed_collector.config import NAMED_ALONE, Job, Scrape
from wattshed_collector.errors import InvalidInput, StoreError
from wattshed_collector.normalise.dialect import Origin
from wattshed_collector.outcomes.own import book_of
from wattshed_collector.outcomes.owners import Whose
from wattshed_collector.store.write import Writer
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch

from . import credentials
from .client import Client
from .discovery import Discovery, Labels
from .discovery.files import Files
from .discovery.http import Http
from .discovery.kubernetes import Kubernetes
from .fleet import Fleet
from .health import Ward
from .other_samples import OtherSamples
from .pages import Desk, PageReader, Read
from .relabel import Rules
from .reply import Failed
from .schedule import Schedule
from .state import TargetState
from .targets import Target, alone

log = logging.getLogger(__name__)

RECEIVER = "scrape"
AGAIN_SECONDS = 5.0
"""Pause after a discovery failed in a way that it does not know itself."""


@dataclass(slots=True, eq=False)
class _Member:
    """A target that is scraped."""

    target: Target
    state: TargetState
    client: Client
    busy: bool = False
    gone: bool = False
    write_failed: bool = False


class _JobParts:
    """What the targets of a job share."""

    def __init__(self, job: Job, failing: Callable[[str, str, str], None]) -> None:
        self.job = job
        self.fleet = Fleet(job, Rules(job.relabel_configs), failing)
        self.series_rules = Rules(job.metric_relabel_configs)
        self.outcomes = book_of(job)
        self.authorization = credentials.authorization(job.auth)
        self.tls = credentials.context(job.tls)
        self.discoveries: list[Discovery] = [
            *map(Files, job.file_sd),
            *map(Http, job.http_sd),
            *(Kubernetes(sd, name) for sd in job.kubernetes_sd for name in sd.namespaces or ("",)),
        ]

    def member(self, target: Target) -> _Member:
        node = dict(target.labels).get("instance", target.address)
        cluster = dict(target.labels).get("cluster", "") or self.job.cluster
        interval_ms = round(target.interval_seconds * 1000)
        whose = Whose(cluster, target.pod, dict(target.labels), self.job.workload)
        origin = Origin(
            node, target.node, cluster, interval_ms, outcomes=self.outcomes, whose=whose
        )
        https = target.scheme == "https"
        client = Client(
            target.host,
            target.port,
            self.tls.get if https else lambda: None,
            self.job.tls.server_name,
        )
        state = TargetState(origin, self.job, self.series_rules, dict(target.labels))
        return _Member(target, state, client)


class Scraper:
    """Finds targets and pulls each at its interval until ``run`` is cancelled."""

    def __init__(
        self,
        writer: Writer,
        reader: PageReader,
        telemetry: Telemetry,
        options: Scrape,
        learn: Callable[[Batch], None] = lambda batch: None,
        others: OtherSamples | None = None,
    ) -> None:
        """``learn`` is told what is written, because no sender may take a scraped device over;
        ``others`` says whether it is stored what each scrape was like."""
        self._others = others or OtherSamples()
        self._writer = writer
        self._learn = learn
        self._telemetry = telemetry
        self._options = options
        self._desk = Desk(reader, options.max_body_bytes)
        self._ward = Ward(telemetry, options.shown_targets)
        self._jobs = {job.name: _JobParts(job, self._failing) for job in options.every_job()}
        self._members: dict[Target, _Member] = {}
        self._said: set[tuple[str, str, str]] = set()
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(options.max_concurrent)
        self._tasks: set[asyncio.Task[None]] = set()
        self._schedule: Schedule[_Member] = Schedule(time.monotonic, time.time() - time.monotonic())

    def status(self) -> dict[str, Any]:
        """Return how each target is, and how many each job's rules dropped."""
        dropped = {name: parts.fleet.dropped for name, parts in self._jobs.items()}
        return {"targets": self._ward.records(), "dropped": {k: n for k, n in dropped.items() if n}}

    async def run(self) -> None:
        for name, parts in self._jobs.items():
            self._tell_static(name, parts)
        try:
            async with asyncio.TaskGroup() as tasks:
                for name, parts in self._jobs.items():
                    for number, discovery in enumerate(parts.discoveries):
                        tasks.create_task(self._discover(name, f"{number}", discovery))
                await self._turn()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for member in self._members.values():
                member.client.close()
            self._desk.close()

    async def scrape(self, target: Target) -> Read:
        """Scrape a target once, now; return what is in the store then.

        Raises:
            InvalidInput: where the target or its page is not as it should be.
            StoreError: where it could not be written.
        """
        member = self._members.get(target) or self._jobs[target.job].member(target)
        try:
            read = await self._read(member, int(time.time() * 1000))
            await self._write(read)
            return read
        finally:
            if target not in self._members:
                member.client.close()

    async def _turn(self) -> None:
        """Begin what is due, for ever."""
        while True:
            for member in self._schedule.due():
                self._begin(member)
            self._changed.clear()
            try:
                async with asyncio.timeout(self._schedule.wait_seconds()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _begin(self, member: _Member) -> None:
        if member.busy:  # never two scrapes of one target at once
            self._telemetry.count("scrapes_total", job=member.target.job, result="skipped")
            return
        member.busy = True
        task = asyncio.create_task(self._follow(member))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, member: _Member) -> None:
        """Scrape and write; whatever happens stays with this target."""
        try:
            async with self._slots:
                read = await self._judged(member)
            await self._written(member, read)
        finally:
            member.busy = False
            if member.gone:
                member.client.close()

    async def _judged(self, member: _Member) -> Read:
        """Read the page, and tell the ward what came of it; of a failure nothing else is known."""
        target, began, scraped_ms = member.target, time.monotonic(), int(time.time() * 1000)
        try:
            read = await self._read(member, scraped_ms)
        except InvalidInput as error:
            reason, said = error.reason, str(error)
        except Exception as error:  # one target must not end the scraping of the others
            log.exception("scraping %s failed unexpectedly", target.url)
            reason, said = "exception", f"{type(error).__name__}: {error}"
        else:
            seconds = time.monotonic() - began
            self._ward.succeeded(target, scraped_ms, seconds, member.state.samples)
            return self._with_verdict(member, read, scraped_ms, seconds, up=True)
        seconds = time.monotonic() - began
        self._ward.failed(target, scraped_ms, seconds, reason, said)
        return self._with_verdict(member, Read(Batch()), scraped_ms, seconds, up=False)

    def _with_verdict(
        self, member: _Member, read: Read, scraped_ms: int, seconds: float, *, up: bool
    ) -> Read:
        rejected: Counter[str] = Counter()
        told = self._others.verdict(member.state, scraped_ms, seconds, rejected, up=up)
        self._telemetry.reject(RECEIVER, rejected)
        return read._replace(frames=read.frames + told)

    async def _read(self, member: _Member, scraped_ms: int) -> Read:
        target, parts = member.target, self._jobs[member.target.job]
        limit = self._options.max_body_bytes
        who = "" if target.authorization else parts.authorization.get()
        request = target.request(who, compression=parts.job.compression)
        reply = await member.client.get(request, target.timeout_seconds, limit)
        if reply.status != 200:
            raise Failed(_refusal(reply.status, reply.phrase, reply.headers), "status")
        encoding = reply.headers.get("content-encoding", "")
        return await self._desk.read(reply.body, encoding, scraped_ms, member.state)

    async def _written(self, member: _Member, read: Read) -> None:
        """Write, where that fails is no fault of the target: it is counted and said once."""
        try:
            await self._write(read)
        except Exception as error:
            self._telemetry.count("scrapes_total", job=member.target.job, result="not_written")
            if not member.write_failed:
                log.warning("what %s said is not written: %s", member.target.url, error)
            if not isinstance(error, StoreError):
                log.exception("writing failed unexpectedly")
            member.write_failed = True
        else:
            member.write_failed = False

    async def _write(self, read: Read) -> None:
        batch = read.batch
        self._telemetry.count("ignored_total", read.ignored, receiver=RECEIVER)
        if batch or read.frames:
            self._learn(batch)
            await asyncio.wrap_future(self._writer.submit(batch, read.frames))
            self._telemetry.durable(RECEIVER, batch, time.time(), read.frames)
        self._telemetry.reject(RECEIVER, batch.rejected)
        self._telemetry.quarantine(RECEIVER, batch)

    def _tell_static(self, name: str, parts: _JobParts) -> None:
        if name == NAMED_ALONE:
            named = [alone(text, parts.job) for text in self._options.targets]
            self._move(parts, parts.fleet.give("", named))
        for number, static in enumerate(parts.job.static):
            found = [{**static.labels, "__address__": address} for address in static.targets]
            self._put(parts, f"static {number}", found)

    async def _discover(self, name: str, number: str, discovery: Discovery) -> None:
        """Keep a discovery going, whatever it runs into."""
        parts, prefix = self._jobs[name], f"{discovery.name} {number} "

        def put(source: str, found: Sequence[Labels]) -> None:
            self._put(parts, prefix + source, found)

        def failing(reason: str, message: str) -> None:
            self._failing(name, reason, message)

        while True:
            try:
                await discovery.run(put, failing)
            except Exception as error:
                log.exception("%s of job %s failed unexpectedly", discovery.name, name)
                failing("exception", f"{type(error).__name__}: {error}")
            await asyncio.sleep(AGAIN_SECONDS)

    def _put(self, parts: _JobParts, source: str, found: Sequence[Labels]) -> None:
        self._move(parts, parts.fleet.put(source, found))

    def _move(self, parts: _JobParts, change: tuple[Iterable[Target], Iterable[Target]]) -> None:
        came, went = change
        for target in went:
            member = self._members.pop(target)
            member.gone = True
            self._schedule.remove(member)
            self._ward.dismiss(target)
            if not member.busy:
                member.client.close()
        for target in came:
            member = self._members[target] = parts.member(target)
            self._ward.admit(target)
            self._schedule.add(member, target.key, target.interval_seconds)
        self._changed.set()

    def _failing(self, job: str, reason: str, message: str) -> None:
        """Count what discovery runs into; the same is said once."""
        self._telemetry.count("discovery_failures_total", job=job, reason=reason)
        said = job, reason, message
        if said not in self._said:
            if len(self._said) >= 10_000:
                self._said.clear()
            self._said.add(said)
            log.warning("job %s: %s: %s", job, reason, message)


def _refusal(status: int, phrase: str, headers: dict[str, str]) -> str:
    if 300 <= status < 400 and "location" in headers:
        return f"answers {status} and points to {headers['location'][:200]!r}; name that instead"
    return f"answers {status} {phrase}".rstrip()
