"""Pages become ticks; bad targets harm only themselves, and what vanishes is let go."""

from __future__ import annotations

import asyncio
import dataclasses
import gzip
import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from tests.fixtures import scraped, served
from tests.fixtures.scraped import Wire, answering, ok, serving

from wattshed_collector.config import Auth, FileSd, Job, Relabel, Scrape, Static
from wattshed_collector.errors import InvalidInput, Retryable
from wattshed_collector.normalise.facts import Limits
from wattshed_collector.outcomes.owners import Pod
from wattshed_collector.receivers.others import Others
from wattshed_collector.receivers.scrape import Scraper
from wattshed_collector.receivers.scrape.other_samples import OtherSamples
from wattshed_collector.receivers.scrape.pages import Read
from wattshed_collector.receivers.scrape.portions import MOST_ROWS
from wattshed_collector.receivers.scrape.state import TargetState
from wattshed_collector.receivers.scrape.targets import alone
from wattshed_collector.telemetry import Telemetry
from wattshed_exporter.model import Batch, Method, Tick

if TYPE_CHECKING:
    from tests.collector.receivers.scrape.conftest import Station

NOW_MS = int(time.time() * 1000)
Wait = Callable[..., Any]


def page(device: str = "d") -> bytes:
    return scraped.page(device, NOW_MS)


async def test_a_page_of_our_exporter_becomes_ticks(station: Station) -> None:
    async with serving(answering(page())) as url:
        await station.scrape(url, interval_seconds=15.0)
    assert station.ticks() == [(NOW_MS, 123_250_000, 10**15 + 1, NOW_MS - 7000, 15_000, 5000)]
    rows = station.bed.client.rows("SELECT key, kind, vendor, power_limit_watts FROM device FINAL")
    assert rows == [("d", "gpu", "NVIDIA", 700.0)]
    assert station.sample("ticks_total", receiver="scrape") == 1


async def test_what_is_written_is_told_to_who_guards_devices(station: Station) -> None:
    told: list[Batch] = []
    scraper = Scraper(station.writer, station.pages, station.telemetry, Scrape(), told.append)
    async with serving(answering(page())) as url:
        await scraper.scrape(alone(url, Scrape().every_job()[0]))
    assert [device.key for batch in told for device in batch.devices] == ["d"]


async def test_a_page_may_be_compressed(station: Station) -> None:
    async with serving(answering(gzip.compress(page()), Content_Encoding="gzip")) as url:
        await station.scrape(url)
    assert len(station.ticks()) == 1


async def test_pushed_and_pulled_is_one_row(station: Station) -> None:
    tick = Tick("d", NOW_MS, 1000, Method.COUNTER, 123.25, 10**15 + 1, NOW_MS - 7000, 0.5)
    station.writer.submit(Batch(ticks=(tick,))).result(120)
    async with serving(answering(page())) as url:
        await station.scrape(url)
        await station.scrape(url)
    (row,) = station.ticks()
    assert row[:4] == (NOW_MS, 123_250_000, 10**15 + 1, NOW_MS - 7000)


async def test_without_a_time_of_reading_the_time_of_the_scrape_counts(station: Station) -> None:
    text = b'wattshed_power_watts{device="d"} 5\n'
    before = int(time.time() * 1000)
    async with serving(answering(text)) as url:
        await station.scrape(url)
    ((ts, power, *_),) = station.ticks()
    assert power == 5_000_000
    assert isinstance(ts, int)
    assert before <= ts <= int(time.time() * 1000)


async def test_what_is_not_ours_is_counted_and_what_is_good_is_kept(station: Station) -> None:
    text = (
        b"my_watts 5\nnode_cpu_seconds_total 5\nprocess_cpu_seconds_total 1\n"
        b"wattshed_build_info 1\n"
        b'wattshed_power_watts{device="d"} 5\nwattshed_power_watts{device="e"} NaN\n'
        b'wattshed_power_watts{device="f"} -1\n'
        b'wattshed_reading_timestamp_seconds{device="g"} +Inf\nwattshed_power_watts{device="g"} 1\n'
    )
    async with serving(answering(text)) as url:
        await station.scrape(url)
    assert [row[1] for row in station.ticks()] == [5_000_000]
    for reason in ("unknown_metric", "not_finite", "negative", "no_timestamp"):
        assert station.sample("rejected_total", receiver="scrape", reason=reason) == 1, reason


@pytest.mark.parametrize(
    "text",
    [
        b"<!doctype html>\n<html><body>hello</body></html>\n",
        b"\xff\xfe",
        b'wattshed_power_watts{device="d" 5\n',
        b"wattshed_power_watts{} five\n",
    ],
)
async def test_what_is_no_exposition_is_refused(station: Station, text: bytes) -> None:
    async with serving(answering(text)) as url:
        with pytest.raises(InvalidInput, match="not a Prometheus exposition"):
            await station.scrape(url)
    assert station.ticks() == []


async def test_a_foreign_page_is_taken_and_its_machine_may_be_named(station: Station) -> None:
    text = b'nvidia_smi_power_draw_watts{uuid="00-1"} 70.5\nnode_load1 3\n'
    async with serving(answering(text)) as url:
        await station.scrape(f"gpu7={url}")
        await station.scrape(url)
    rows = station.bed.client.rows("SELECT key, node, source FROM device FINAL ORDER BY node")
    assert rows[-1] == ("GPU-00-1", "127.0.0.1", "nvidia_gpu_exporter")
    assert [row[1] for row in station.ticks()] == [70_500_000, 70_500_000]
    assert station.sample("ignored_total", receiver="scrape") == 2


async def test_what_a_pod_serves_is_its_own_by_the_key_that_its_node_gives_it(
    station: Station,
) -> None:
    async with serving(answering(served.vllm().encode())) as url:
        job = Job(name="j", interval_seconds=1.0, timeout_seconds=1.0, cluster="c1")
        target = dataclasses.replace(alone(url, job), job="j", pod=Pod("ml", "chat-0", "u-1"))
        options = Scrape(jobs=(job,))
        await Scraper(station.writer, station.pages, station.telemetry, options).scrape(target)
    rows = station.bed.client.rows(
        "SELECT DISTINCT w.key, w.namespace, o.kind FROM outcome AS o INNER JOIN "
        "(SELECT * FROM workload FINAL) AS w ON w.workload_id = o.workload_id ORDER BY o.kind"
    )
    kinds = ("request", "token_in", "token_in_cached", "token_out")
    assert rows == [("k8s/c1/u-1", "ml", kind) for kind in kinds]


async def test_the_machine_is_as_named(station: Station) -> None:
    text = b'DCGM_FI_DEV_POWER_USAGE{UUID="GPU-1",Hostname="other"} 70.5\n'
    async with serving(answering(text)) as url:
        await station.scrape(f"gpu7={url}")
    assert station.bed.client.rows("SELECT node FROM device FINAL") == [("gpu7",)]


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_a_page_beyond_the_limit_is_refused(station: Station, encoding: str) -> None:
    body = page() + b"# padding\n" * 10_000
    headers = {"Content_Encoding": encoding} if encoding else {}
    packed = gzip.compress(body) if encoding else body
    async with serving(answering(packed, **headers)) as url:
        with pytest.raises(InvalidInput, match="beyond 50000 bytes"):
            await station.scrape(url, max_body_bytes=50_000)
    assert station.ticks() == []


async def test_a_redirect_is_not_followed(station: Station) -> None:
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n"
    async with Wire(moved).listening() as wire:
        with pytest.raises(InvalidInput, match="302 and points to 'http://other/'"):
            await station.scrape(f"http://me:hush@127.0.0.1:{wire.port}/metrics")
    assert len(wire.requests) == 1


async def test_bad_targets_leave_good_ones_alone(
    station: Station, caplog: pytest.LogCaptureFixture, run: Wait, wait: Wait
) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def broken(request: web.Request) -> web.Response:
        raise web.HTTPInternalServerError

    good_page = scraped.page("good", NOW_MS)
    async with (
        serving(answering(good_page)) as good,
        serving(slow) as late,
        serving(broken) as sick,
        serving(answering(b"<html>")) as html,
        serving(answering(good_page * 1000)) as large,
        serving(answering(b"", Location="http://localhost/")) as empty,
    ):
        reasons = {
            late: "timeout",
            sick: "status",
            html: "malformed",
            large: "too_large",
            "http://127.0.0.1:1/metrics": "unreachable",
        }
        scraper = station.scraper(
            *reasons, good, empty,
            interval_seconds=0.3, timeout_seconds=0.2, max_body_bytes=100_000,
        )  # fmt: skip

        expected = {**dict.fromkeys(reasons, "down"), good: "up", empty: "up"}

        def all_seen() -> bool:
            health = {each["url"]: each["health"] for each in scraper.status()["targets"]}
            failures = [
                station.sample("scrape_failures_total", job="targets", reason=reason) or 0
                for reason in reasons.values()
            ]
            return health == expected and min(failures) >= 2

        async with run(scraper):
            await wait(station.ticks)
            await wait(all_seen)
            health = {each["url"]: each for each in scraper.status()["targets"]}
            assert station.sample("scrape_targets", job="targets", health="up") == 2
            assert station.sample("scrape_targets", job="targets", health="down") == len(reasons)
            assert station.sample("scrape_up", job="targets", target=good) == 1
    assert (health[late]["last_samples"], health[empty]["last_samples"]) == (None, 0)
    assert "within 0.2 s" in health[late]["last_error"]
    for target in reasons:
        assert station.sample("scrape_up", job="targets", target=target) == 0
        said = [r for r in caplog.records if f"cannot scrape {target}" in r.getMessage()]
        assert len(said) == 1, target
    assert [row[1] for row in station.ticks()] == [123_250_000]


async def test_a_target_that_recovers_is_up_again(station: Station, run: Wait, wait: Wait) -> None:
    refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    async with Wire(refused, ok(scraped.page("d", NOW_MS))).listening() as wire:
        url = f"http://127.0.0.1:{wire.port}/metrics"
        scraper = station.scraper(url, interval_seconds=0.1)
        async with run(scraper):
            await wait(lambda: station.sample("scrape_up", job="targets", target=url))
            await wait(station.ticks)
            (health,) = scraper.status()["targets"]
    assert (health["health"], health["last_error"]) == ("up", "")
    assert station.sample("scrapes_total", job="targets", result="failed") == 1
    assert len(station.ticks()) == 1


async def test_how_each_scrape_went_is_stored_where_it_is_named(
    station: Station, run: Wait, wait: Wait
) -> None:
    refused = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"

    def rows() -> list[tuple[object, ...]]:
        return station.bed.client.rows(
            "SELECT value, labels['job'], labels['rack'] FROM v_metric WHERE metric = 'up' "
            "ORDER BY ts LIMIT 2"
        )

    async with Wire(refused, ok(page())).listening() as wire:
        rack = Static(targets=(f"127.0.0.1:{wire.port}",), labels={"rack": "r7"})
        options = Scrape(jobs=(Job(name="j", interval_seconds=0.1, static=(rack,)),))
        others = OtherSamples(Others(("up",), 10, Limits()))
        scraper = Scraper(station.writer, station.pages, station.telemetry, options, others=others)
        async with run(scraper):
            await wait(lambda: len(rows()) == 2 and station.ticks())
    assert rows() == [(0.0, "j", "r7"), (1.0, "j", "r7")]


class Spy:
    """A reader that notes when it was asked; pages say what it returns."""

    def __init__(self, batch: Batch | None = None) -> None:
        self.pages: list[tuple[bytes, int]] = []
        self._batch = batch or Batch()

    def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
        self.pages.append((page, scraped_ms))
        return Read(self._batch, (), 0)


class Blocked:
    """Stands in for a writer whose store is away."""

    def submit(self, batch: Batch, frames: object = ()) -> Any:
        raise Retryable("the store is away")


def file_job(file: Path, *rules: Relabel, **how: Any) -> Job:
    sd = FileSd(files=(str(file),), refresh_seconds=0.02)
    return Job(name="j", interval_seconds=0.1, file_sd=(sd,), relabel_configs=rules, **how)


async def test_a_target_that_vanishes_is_asked_no_more(
    station: Station, tmp_path: Path, run: Wait, wait: Wait
) -> None:
    file, spy = tmp_path / "t.json", Spy()
    async with Wire(ok()).listening() as one, Wire(ok()).listening() as other:
        addresses = [f"127.0.0.1:{wire.port}" for wire in (one, other)]
        file.write_text(json.dumps([{"targets": addresses}]))
        options = Scrape(jobs=(file_job(file),))
        scraper = Scraper(station.writer, spy, station.telemetry, options)
        async with run(scraper):
            await wait(lambda: len(one.requests) > 1 and len(other.requests) > 1)
            file.write_text(json.dumps([{"targets": addresses[:1]}]))
            await wait(lambda: len(scraper.status()["targets"]) == 1)
            before, later = len(other.requests), len(one.requests) + 3
            await wait(lambda: len(one.requests) >= later)
            assert len(other.requests) <= before + 1  # one may have been under way
            url = f"http://{addresses[1]}/metrics"
            assert station.sample("scrape_up", job="j", target=url) is None
            assert station.sample("scrape_targets", job="j", health="up") == 1
        assert one.connections == 1


async def test_of_many_targets_only_some_have_gauges(
    station: Station, run: Wait, wait: Wait
) -> None:
    async with Wire(ok()).listening() as wire:
        urls = [f"http://127.0.0.1:{wire.port}/{number}" for number in range(4)]
        options = Scrape(targets=tuple(urls), interval_seconds=0.1, shown_targets=1)
        async with run(Scraper(station.writer, Spy(), station.telemetry, options)):
            await wait(lambda: station.sample("scrape_targets", job="targets", health="up") == 4)
    shown = [station.sample("scrape_up", job="targets", target=url) for url in urls]
    assert sorted(shown, key=str) == [1.0, None, None, None]


async def test_a_slow_target_is_never_asked_twice_at_once(
    station: Station, run: Wait, wait: Wait
) -> None:
    class Patient(Spy):
        reading = False

        def read(self, page: bytes, scraped_ms: int, state: TargetState) -> Read:
            self.reading = True
            time.sleep(0.5)  # longer than the interval, on the thread that reads
            self.reading = False
            return super().read(page, scraped_ms, state)

    patient, overlapped = Patient(), []

    async def answer(request: web.Request) -> web.Response:
        overlapped.append(patient.reading)
        return web.Response()

    async with serving(answer) as url:
        options = Scrape(targets=(url,), interval_seconds=0.3)
        async with run(Scraper(station.writer, patient, station.telemetry, options)):
            await wait(lambda: station.sample("scrapes_total", job="targets", result="skipped"))
            await wait(lambda: len(overlapped) > 1)
    assert not any(overlapped)


async def test_a_store_that_is_away_is_no_fault_of_the_target(run: Wait, wait: Wait) -> None:
    telemetry = Telemetry()
    batch = Batch(ticks=(Tick("d", NOW_MS, 1000, Method.COUNTER, 1.0),))

    def sample(name: str, **labels: str) -> float | None:
        return telemetry.registry.get_sample_value(f"wattshed_collector_{name}", labels)

    async with Wire(ok()).listening() as wire:
        url = f"http://127.0.0.1:{wire.port}/metrics"
        options = Scrape(targets=(url,), interval_seconds=0.1)
        async with run(Scraper(Blocked(), Spy(batch), telemetry, options)):  # type: ignore[arg-type]
            await wait(lambda: sample("scrapes_total", job="targets", result="not_written"))
    assert sample("scrape_up", job="targets", target=url) == 1
    assert sample("ticks_total", receiver="scrape") is None


class Slow:
    """Stands in for a writer that takes rows in, and is long about them."""

    def __init__(self) -> None:
        self.futures: list[Future[None]] = []

    def submit(self, batch: Batch, frames: object = ()) -> Future[None]:
        self.futures.append(Future())
        return self.futures[-1]


async def test_a_store_that_is_slow_costs_scrapes_and_no_memory(run: Wait, wait: Wait) -> None:
    telemetry, slow = Telemetry(), Slow()
    batch = Batch(ticks=(Tick("d", NOW_MS, 1000, Method.COUNTER, 1.0),) * MOST_ROWS)

    def scrapes(result: str) -> float:
        labels = {"job": "targets", "result": result}
        return telemetry.registry.get_sample_value("wattshed_collector_scrapes_total", labels) or 0

    async with Wire(ok()).listening() as wire:
        options = Scrape(targets=(f"http://127.0.0.1:{wire.port}/",), interval_seconds=0.05)
        async with run(Scraper(slow, Spy(batch), telemetry, options)):  # type: ignore[arg-type]
            await wait(lambda: scrapes("skipped") > 2)
            assert (len(slow.futures), scrapes("ok")) == (1, 2)
            slow.futures[0].set_result(None)
            await wait(lambda: len(slow.futures) == 2)
            await wait(lambda: scrapes("ok") == 3)


async def test_many_that_cannot_say_who_asks_wait_for_one_that_is_slow(
    station: Station, tmp_path: Path, run: Wait, wait: Wait
) -> None:
    def failed(job: str, reason: str) -> float:
        return station.sample("scrape_failures_total", job=job, reason=reason) or 0

    def job(name: str, ports: Iterable[int], token_file: str = "") -> Job:
        targets = Static(targets=tuple(f"127.0.0.1:{port}" for port in ports))
        auth = Auth(token_file=token_file)
        return Job(name=name, static=(targets,), auth=auth, interval_seconds=0.3)

    async with Wire(b"").listening() as wire:
        many = job("many", range(1, 601), str(tmp_path / "gone"))
        options = Scrape(jobs=(job("slow", [wire.port]), many), max_concurrent=1)
        async with run(Scraper(station.writer, Spy(), station.telemetry, options)):
            await wait(lambda: failed("slow", "timeout") > 1 and failed("many", "credentials") > 99)
    assert failed("many", "exception") == 0


async def test_what_a_rule_drops_is_counted_and_a_limit_stops_a_job(
    station: Station, tmp_path: Path, run: Wait, wait: Wait, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "t.json"
    file.write_text(json.dumps([{"targets": ["a:1", "b:1", "c:1", "bad/:1"]}]))
    rule = Relabel(source_labels=("__address__",), regex="c:.*", action="drop")  # type: ignore[arg-type]
    options = Scrape(jobs=(file_job(file, rule, target_limit=1),))
    scraper = Scraper(station.writer, Spy(), station.telemetry, options)
    async with run(scraper):
        await wait(
            lambda: station.sample("discovery_failures_total", job="j", reason="target_limit")
        )
        assert scraper.status() == {"targets": [], "dropped": {"j": 1}}
    assert station.sample("discovery_failures_total", job="j", reason="target") == 1
    assert "2 targets, the limit is 1: none is scraped" in caplog.text
