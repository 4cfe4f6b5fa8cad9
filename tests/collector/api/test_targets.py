"""``/v1/targets`` and ``wattshed targets`` show what is known of each target."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from wattshed_collector.api.routes import errors
from wattshed_collector.api.targets import TargetsApi
from wattshed_collector.cli import main
from wattshed_collector.config import Job
from wattshed_collector.receivers.scrape.health import Ward
from wattshed_collector.receivers.scrape.relabel import Rules
from wattshed_collector.receivers.scrape.targets import resolve
from wattshed_collector.telemetry import Telemetry


def ward() -> Ward:
    """Make one that has seen a target that is up, one that is down, and one not yet."""
    made = Ward(Telemetry(), 10)
    for job, address in (("j", "up:1"), ("k", "down:1"), ("k", "new:1")):
        options = Job(name=job, interval_seconds=10.0, timeout_seconds=5.0)
        labels = {"__address__": address, "team": "[t]"}
        target = resolve(labels, options, Rules(()))
        assert target is not None
        made.admit(target)
        if address == "up:1":
            made.succeeded(target, 1_763_856_000_500, 0.25, 120)
        elif address == "down:1":
            made.failed(target, 1_763_856_000_500, 5.0, "timeout", "did not answer [x]")
    return made


@pytest.fixture
async def url() -> AsyncIterator[str]:
    known = ward()
    app = web.Application(middlewares=[errors])
    app.add_routes(TargetsApi(lambda: {"targets": known.records(), "dropped": {"k": 3}}).routes())
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def ask(url: str, query: str = "") -> tuple[int, Any]:
    async with ClientSession() as session, session.get(f"{url}/v1/targets{query}") as answer:
        return answer.status, await answer.json()


async def test_every_target_is_told(url: str) -> None:
    status, said = await ask(url)
    up, down, new = said["targets"]
    assert (status, said["dropped"]) == (200, {"k": 3})
    assert up == {
        "job": "j",
        "url": "http://up:1/metrics",
        "labels": {"instance": "up:1", "job": "j", "team": "[t]"},
        "health": "up",
        "last_error": "",
        "last_scrape": 1_763_856_000.5,
        "last_scrape_seconds": 0.25,
        "last_samples": 120,
        "interval_seconds": 10.0,
    }
    assert (down["health"], down["last_samples"]) == ("down", None)
    assert (new["health"], new["last_scrape"]) == ("unknown", None)


async def test_targets_are_chosen(url: str) -> None:
    for query, addresses in (
        ("?health=down", ["down:1"]),
        ("?job=k", ["down:1", "new:1"]),
        ("?job=j&health=down", []),
    ):
        _, said = await ask(url, query)
        assert [each["labels"]["instance"] for each in said["targets"]] == addresses
    status, said = await ask(url, "?health=sick")
    assert (status, "choose one of up, down, unknown" in said["error"]) == (400, True)


async def typed(*arguments: str) -> object:
    with pytest.raises(SystemExit) as caught:
        await asyncio.to_thread(main, ["targets", *arguments])
    return caught.value.code


async def test_the_terminal_shows_them(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await typed("--url", url) == 1
    shown = capsys.readouterr().out
    for word in ("down:1", "[x]", "5000 ms", "never", "120", "3 found for k are dropped"):
        assert word in shown
    assert await typed("--url", url, "--job", "j", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["job"] for each in said["targets"]] == ["j"]


async def test_where_no_collector_runs(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert await typed("--data", str(tmp_path)) == 1
    assert "name another with --url" in capsys.readouterr().err
