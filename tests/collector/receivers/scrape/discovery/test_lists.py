"""Targets in files and from a service: what changes is told, what is broken changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.scraped import Wire, ok

from wattshed_collector.config import Auth, FileSd, HttpSd
from wattshed_collector.receivers.scrape.discovery import Discovery, Labels, groups
from wattshed_collector.receivers.scrape.discovery.files import Files
from wattshed_collector.receivers.scrape.discovery.http import Http


class Told:
    """What a discovery said, in order."""

    def __init__(self) -> None:
        self.puts: list[tuple[str, list[Labels]]] = []
        self.failures: list[tuple[str, str]] = []

    def put(self, source: str, found: Any) -> None:
        self.puts.append((source, list(found)))

    def failing(self, reason: str, message: str) -> None:
        self.failures.append((reason, message))

    def addresses(self) -> list[tuple[str, list[str]]]:
        return [
            (Path(source).name, [labels["__address__"] for labels in found])
            for source, found in self.puts
        ]


def write(file: Path, content: str, stamp: int) -> None:
    file.write_text(content)
    os.utime(file, ns=(stamp, stamp))


async def test_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    told = Told()
    files = Files(FileSd(files=(str(tmp_path / "*.json"), str(tmp_path / "x.yml"))))
    write(tmp_path / "a.json", '[{"targets": ["h:1"], "labels": {"node": "n"}}]', 1)
    write(tmp_path / "x.yml", "- targets: [h:2, h:3]\n", 1)
    await files.look(told.put, told.failing)
    assert told.addresses() == [("a.json", ["h:1"]), ("x.yml", ["h:2", "h:3"])]
    path = str(tmp_path / "a.json")
    expected = {"__address__": "h:1", "__meta_filepath": path, "node": "n"}
    assert told.puts[0] == (path, [expected])
    await files.look(told.put, told.failing)
    assert len(told.puts) == 2
    write(tmp_path / "a.json", '[{"targets": ["h:4"]}]', 2)
    (tmp_path / "x.yml").unlink()
    await files.look(told.put, told.failing)
    assert sorted(told.addresses()[2:]) == [("a.json", ["h:4"]), ("x.yml", [])]
    assert told.failures == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '"h:1"',
        '[{"target": ["h:1"]}]',
        '[{"targets": [1]}]',
        '[{"labels": {"a": 1}}]',
        "\xff",
        "[" * 100_000,
    ],
)
async def test_a_broken_file_changes_nothing(tmp_path: Path, content: str) -> None:
    told, file = Told(), tmp_path / "a.json"
    files = Files(FileSd(files=(str(file),)))
    write(file, '[{"targets": ["h:1"]}]', 1)
    await files.look(told.put, told.failing)
    write(file, content, 2)
    await files.look(told.put, told.failing)
    assert len(told.puts) == 1
    assert [reason for reason, _ in told.failures] == ["file"]
    assert str(file) in told.failures[0][1]
    write(file, '[{"targets": ["h:1", "h:2"]}]', 3)
    await files.look(told.put, told.failing)
    assert told.addresses()[1:] == [("a.json", ["h:1", "h:2"])]


async def test_a_broken_yaml_file_is_named(tmp_path: Path) -> None:
    told, file = Told(), tmp_path / "a.yaml"
    for stamp, content in enumerate(("a: [", "- targets: [2026-99-99]", "-\n  - x")):
        write(file, content, stamp)
        await Files(FileSd(files=(str(file),))).look(told.put, told.failing)
    assert (told.puts, len(told.failures)) == ([], 3)


def http(wire: Wire, **how: Any) -> Http:
    return Http(HttpSd(url=f"http://127.0.0.1:{wire.port}/list?x=1", **how))


async def test_a_service_is_asked_and_says_who_asked() -> None:
    told, body = Told(), json.dumps([{"targets": ["h:1"], "labels": {"a": "b"}}]).encode()
    async with Wire(ok(body)).listening() as wire:
        discovery: Discovery = http(wire, auth=Auth(token="t"), refresh_seconds=0.01)
        task = asyncio.create_task(discovery.run(told.put, told.failing))
        async with asyncio.timeout(5):
            while len(wire.requests) < 2:  # noqa: ASYNC110 (no event tells it)
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert wire.connections == 1
    assert wire.requests[0].startswith(b"GET /list?x=1 HTTP/1.1\r\n")
    assert b"Authorization: Bearer t\r\n" in wire.requests[0]
    url = f"http://127.0.0.1:{wire.port}/list?x=1"
    assert told.puts[0] == (url, [{"__meta_url": url, "a": "b", "__address__": "h:1"}])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ok(b"nonsense"), "malformed"),
        (ok(b'{"targets": []}'), "malformed"),
        (ok(b"[" * 100_000), "malformed"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "status"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n", "status"),
        (None, "cut_off"),
    ],
)
async def test_what_a_service_says_wrongly_changes_nothing(answer: bytes, reason: str) -> None:
    told = Told()
    async with Wire(answer).listening() as wire:
        await http(wire).ask(told.put, told.failing)
    assert told.puts == []
    assert [word for word, _ in told.failures] == [reason]


def test_groups_may_be_empty() -> None:
    assert groups([], "__meta_url", "u") == []
    assert groups([{}, {"targets": None, "labels": None}], "__meta_url", "u") == []
