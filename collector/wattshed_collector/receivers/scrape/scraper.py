"""Pull a fleet: targets come and go, each is asked at its own instant, none in another's way.

A target that fails or is gone leaves no rows: what was live ends by the intervals of the last page
that showed it (``normalise.tenure``), and the ledger counts the time since as not known.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
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
from .client import Answer, Client
from .discovery import Discovery, Labels
from .discovery.files import Files
from .discovery.http import Http
from .discovery.kubernetes import Kubernetes
from .fleet import Fleet
from .health import Ward
from .other_samples import OtherSamples
from .pages import Desk, PageReader, Read
from .portions import Page, Portions
from .relabel import Rules
from .reply import Failed, Reply
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
    request: tuple[str, bytes] = ("", b"")
    """What is sent, by the header that says who asks."""
    busy: bool = False
    gone: bool = False
    write_failed: bool = False
    scraped_ms: int = 0
    began: float = 0.0
    """When it was asked last, by the clock and monotonic."""


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
        self._asked = 0
        self._waiting: deque[_Member] = deque()
        """Targets that are due, while as many are being asked as may be."""
        self._portions: Portions[_Member] = Portions(writer.submit, self._settled, self._nobody_due)
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
            for member in self._members.values():
                member.client.close()
            self._desk.close()
            self._portions.flush()

    async def scrape(self, target: Target) -> Read:
        """Scrape a target once, now; return what is in the store then.

        Raises:
            InvalidInput: where the target or its page is not as it should be.
            StoreError: where it could not be written.
        """
        member = self._jobs[target.job].member(target)
        request, limit = self._request(member), self._options.max_body_bytes
        try:
            scraped_ms = int(time.time() * 1000)
            reply = await member.client.get(request, target.timeout_seconds, limit)
            read = await self._desk.read(*_page(reply), scraped_ms, member.state)
            self._note(read)
            if read.batch or read.frames:
                await asyncio.wrap_future(self._writer.submit(read.batch, read.frames))
            self._durable(read)
            return read
        finally:
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
        if member.busy or self._portions.is_full:  # never two scrapes of one target at once
            self._telemetry.count("scrapes_total", job=member.target.job, result="skipped")
            return
        member.busy = True
        if self._asked < self._options.max_concurrent:
            self._ask(member)
        else:
            self._waiting.append(member)

    def _ask(self, member: _Member) -> None:
        """Ask a target; ``_read`` follows, later and one way or another."""
        self._asked += 1
        member.began, member.scraped_ms = time.monotonic(), int(time.time() * 1000)
        timeout_seconds, limit = member.target.timeout_seconds, self._options.max_body_bytes
        try:
            request = self._request(member)
            member.client.ask(request, timeout_seconds, limit, partial(self._answered, member))
        except Exception as error:
            # Not from here: of many that wait each would be called by the one before.
            asyncio.get_running_loop().call_soon(self._read, member, error)

    def _request(self, member: _Member) -> bytes:
        """Return what to send. Raises Failed where it cannot be said who asks."""
        parts = self._jobs[member.target.job]
        who = "" if member.target.authorization else parts.authorization.get()
        if not member.request[1] or member.request[0] != who:
            made = member.target.request(who, compression=parts.job.compression)
            member.request = who, made
        return member.request[1]

    def _answered(self, member: _Member, answer: Answer) -> None:
        if isinstance(answer, Exception):
            self._read(member, answer)
            return
        try:
            page = _page(answer)
        except Failed as error:
            self._read(member, error)
        else:
            told = partial(self._read, member)
            self._desk.put(*page, member.scraped_ms, member.state, told)

    def _read(self, member: _Member, result: Read | Exception) -> None:
        """Take what a page says, or why there is none; nothing keeps others from being asked."""
        self._asked -= 1
        if self._waiting:
            self._ask(self._waiting.popleft())
        member.busy = False
        if member.gone:
            member.client.close()
        try:
            read = self._judged(member, result)
            self._note(read)
            if read.batch or read.frames:
                self._portions.put(member, read)
        except Exception:
            log.exception("what %s said is lost", member.target.url)

    def _judged(self, member: _Member, result: Read | Exception) -> Read:
        """Tell the ward how a scrape was; of one that failed nothing else is known."""
        target, scraped_ms = member.target, member.scraped_ms
        seconds = time.monotonic() - member.began
        if isinstance(result, Read):
            self._ward.succeeded(target, scraped_ms, seconds, member.state.samples)
            return self._with_verdict(member, result, seconds, up=True)
        if isinstance(result, InvalidInput):
            reason, said = result.reason, str(result)
        else:
            log.error("scraping %s failed unexpectedly", target.url, exc_info=result)
            reason, said = "exception", f"{type(result).__name__}: {result}"
        self._ward.failed(target, scraped_ms, seconds, reason, said)
        return self._with_verdict(member, Read(Batch()), seconds, up=False)

    def _with_verdict(self, member: _Member, read: Read, seconds: float, *, up: bool) -> Read:
        if not self._others.tells:
            return read
        rejected: Counter[str] = Counter()
        told = self._others.verdict(member.state, member.scraped_ms, seconds, rejected, up=up)
        self._telemetry.reject(RECEIVER, rejected)
        return read._replace(frames=read.frames + told) if told else read

    def _nobody_due(self, seconds: float) -> bool:
        left = self._schedule.wait_seconds()
        return not self._asked and (left is None or left > seconds)

    def _settled(self, pages: Sequence[Page[_Member]], said: Read, error: Exception | None) -> None:
        """Note what is durable. Where writing fails that is no fault of the target: it is counted
        and said once."""
        if error is None:
            self._durable(said)
            for page in pages:
                page.whose.write_failed = False
            return
        for member in (page.whose for page in pages):
            self._telemetry.count("scrapes_total", job=member.target.job, result="not_written")
            if not member.write_failed:
                log.warning("what %s said is not written: %s", member.target.url, error)
            member.write_failed = True
        if not isinstance(error, StoreError):
            log.error("writing failed unexpectedly", exc_info=error)

    def _note(self, read: Read) -> None:
        """Tell whose devices these are, and count what is no row."""
        if read.batch:
            self._learn(read.batch)
        if read.ignored:
            self._telemetry.count("ignored_total", read.ignored, receiver=RECEIVER)
        self._telemetry.reject(RECEIVER, read.batch.rejected)
        if read.batch.quarantine:
            self._telemetry.quarantine(RECEIVER, read.batch)

    def _durable(self, said: Read) -> None:
        if said.batch or said.frames:
            self._telemetry.durable(RECEIVER, said.batch, time.time(), said.frames)

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
            self._portions.interval(target.interval_seconds)
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


def _page(reply: Reply) -> tuple[bytes, str]:
    """Return a page and how it is packed. Raises Failed where the answer is none."""
    if reply.status != 200:
        raise Failed(_refusal(reply.status, reply.phrase, reply.headers), "status")
    return reply.body, reply.headers.get("content-encoding", "")


def _refusal(status: int, phrase: str, headers: dict[str, str]) -> str:
    if 300 <= status < 400 and "location" in headers:
        return f"answers {status} and points to {headers['location'][:200]!r}; name that instead"
    return f"answers {status} {phrase}".rstrip()
