"""One suite for both ways in: the same bytes get the same answer and move the same counters."""

from __future__ import annotations

import asyncio
import gzip
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from tests.fixtures.ways import ALPHA, READER, SLOW, Way, security_file, until, way

from wattshed_collector.config import Requests
from wattshed_collector.errors import Permanent, Retryable
from wattshed_collector.security.guard import Guard
from wattshed_exporter.model import Batch, Device, Kind, Method, Tick
from wattshed_exporter.outputs.protobuf import Encoder

MIB = 2**20


def body(n: int = 0, cluster: str = "alpha", device: str = "d") -> bytes:
    """One tick of a device, which has the same layout for each ``n``."""
    at_ms = int(time.time() * 1000) - 60_000 + n * 1000
    batch = Batch(
        devices=(Device(device, Kind.GPU, "n", "s", cluster=cluster),),
        ticks=(Tick(device, at_ms, 1000, Method.COUNTER, 10.0 + n, 10**9 + n),),
    )
    return Encoder({"wattshed.node": "n"}, "0").request(batch)


def post(sent: bytes, *headers: str, token: str = "", length: int | None = None) -> bytes:
    """A request as an exporter sends it."""
    lines = ["Host: 127.0.0.1", "Content-Type: application/x-protobuf", *headers]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Content-Length: {len(sent) if length is None else length}"]
    return _request(lines, sent)


def _request(lines: list[str], sent: bytes) -> bytes:
    told = "".join(f"{line}\r\n" for line in lines)
    return f"POST /v1/metrics HTTP/1.1\r\n{told}\r\n".encode() + sent


def without_date(said: bytes) -> list[list[bytes]]:
    """The answers' lines in no order, because that of headers means nothing."""
    answers = re.split(rb"(?=HTTP/1\.1 )", re.sub(rb"\r\nDate: [^\r]+", b"", said))
    return [sorted(one.split(b"\r\n")) for one in answers if one]


Act = Callable[[Way], Awaitable[bytes]]


async def both(folder: Path, act: Act, **how: Any) -> tuple[bytes, dict[str, float]]:
    """Do the same on both ways, and return what the lane answered and counted."""
    said, counted, kept = [], [], []
    for by_lane in (True, False):
        place = folder / str(by_lane)
        place.mkdir(parents=True)
        async with way(place, by_lane=by_lane, **how) as one:
            said.append(await act(one))
            await settled(one)
            counted.append(one.counted())
            kept.append((one.shelf.rows, [(x.reason, x.size) for x in one.letters.list()]))
    assert without_date(said[0]) == without_date(said[1])
    assert counted[0] == counted[1]
    assert kept[0] == kept[1]
    return said[0], counted[0]


async def each(one: Way, sent: list[bytes], *, until_closed: bool = False) -> bytes:
    """Send each on a connection of its own, one after the other."""
    return b"".join([await one.says(piece, until_closed=until_closed) for piece in sent])


async def settled(one: Way) -> None:
    """Wait until nothing is being answered or held."""
    await until(lambda: not one.counted().get("requests_active[]") and not one.budget.used_bytes)


class TestTaken:
    async def test_a_connection_of_many(self, tmp_path: Path) -> None:
        bodies = [body(n) for n in range(5)]
        said, counted = await both(tmp_path, lambda one: one.says(*map(post, bodies)))
        assert said.count(b"HTTP/1.1 200 OK\r\n") == 5
        assert counted["requests_total[('code', '200'), ('receiver', 'otlp')]"] == 5
        assert counted["ticks_total[('receiver', 'otlp')]"] == 5
        assert counted["bodies_total[('receiver', 'otlp'), ('way', 'layout')]"] == 4
        assert counted["lags"] == 5

    async def test_compressed(self, tmp_path: Path) -> None:
        packers: dict[str, Callable[[bytes], bytes]] = {
            "gzip": gzip.compress,
            "deflate": zlib.compress,
            "zstd": lambda raw: zstandard.ZstdCompressor().compress(raw),
            "identity": bytes,
            "GZIP": lambda raw: gzip.compress(raw[:9]) + gzip.compress(raw[9:]),
        }
        sent = [
            post(pack(body(n)), f"Content-Encoding: {encoding}")
            for encoding, pack in packers.items()
            for n in range(3)
        ]
        said, counted = await both(tmp_path, lambda one: one.says(*sent))
        assert said.count(b"HTTP/1.1 200 OK\r\n") == len(sent)
        assert counted["ticks_total[('receiver', 'otlp')]"] == len(sent)

    async def test_pipelined_in_order(self, tmp_path: Path) -> None:
        sent = [post(body(n)) for n in range(6)]
        sent.insert(3, post(b"\xff\xff"))
        sent.append(b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said, _ = await both(tmp_path, lambda one: one.says(b"".join(sent), until_closed=True))
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200"] * 3 + [b"400"] + [b"200"] * 3 + [
            b"404"
        ]

    async def test_a_refused_point_is_named(self, tmp_path: Path) -> None:
        old = Encoder({}, "0").request(
            Batch(
                devices=(Device("d", Kind.GPU, "n", "s"),),
                ticks=(Tick("d", 10**13, 1000, Method.COUNTER, 1.0),),
            )
        )
        said, _ = await both(tmp_path, lambda one: one.says(post(old), post(old), post(old)))
        assert said.count(b"future_timestamp") == 3

    async def test_other_ways_of_saying_it(self, tmp_path: Path) -> None:
        sent = body()
        plain = post(sent)
        odd = [
            plain.replace(b"Content-Length", b"content-LENGTH"),
            plain.replace(b"Host:", b"hOST:   "),
            plain.replace(b"/v1/metrics", b"/v1/metrics?x=1"),
            plain.replace(b"x-protobuf", b"x-protobuf; charset=x"),
            post(sent, "X-Other: \tsome thing\t"),
            post(sent, "Connection: keep-alive"),
            post(sent, "Accept: */*", "User-Agent: a/1"),
            b"\r\n" + plain,
            post(b""),
            post(b"{}").replace(b"x-protobuf", b"json"),
        ]
        said, _ = await both(tmp_path, lambda one: one.says(*odd))
        assert said.count(b"HTTP/1.1 200 OK\r\n") == len(odd)

    async def test_chunks_and_a_closed_connection(self, tmp_path: Path) -> None:
        sent = body()
        head = _request(["Host: x", "Content-Type: application/x-protobuf",
                         "Transfer-Encoding: chunked", "Connection: close"], b"")  # fmt: skip
        chunked = head + b"%x\r\n" % len(sent) + sent + b"\r\n0\r\n\r\n"
        said, _ = await both(tmp_path, lambda one: one.says(post(sent), chunked, until_closed=True))
        assert said.count(b"HTTP/1.1 200 OK\r\n") == 2


class TestRefused:
    async def test_bodies_and_requests(self, tmp_path: Path) -> None:
        bomb = gzip.compress(bytes(5 * MIB)), zstandard.ZstdCompressor().compress(bytes(5 * MIB))
        cases = [
            (post(b"\xff\xff\xff"), 400),
            (post(b"nonsense", "Content-Encoding: gzip"), 400),
            (post(gzip.compress(bytes(100))[:-4], "Content-Encoding: gzip"), 400),
            (post(bomb[0], "Content-Encoding: gzip"), 413),
            (post(bomb[1], "Content-Encoding: zstd"), 413),
            (post(bytes(2 * MIB)), 413),
            (post(b"x", "Content-Encoding: br"), 415),
            (post(b"x").replace(b"x-protobuf", b"xml"), 415),
            (post(b"x").replace(b"/v1/metrics", b"/v1/nowhere"), 404),
            (post(b"x").replace(b"POST", b"PUT"), 405),
            (post(b"x", "Origin: https://evil.example"), 403),
            (post(b"x", "Sec-Fetch-Site: cross-site"), 403),
        ]
        said, counted = await both(tmp_path, lambda one: each(one, [sent for sent, _ in cases]))
        assert [int(n) for n in re.findall(rb"HTTP/1.1 (\d+)", said)] == [n for _, n in cases]
        assert counted["dead_letters_total[('result', 'kept')]"] == 3

    async def test_heads_that_smuggle(self, tmp_path: Path) -> None:
        cases = [
            post(b"x", "Content-Length: 1"),
            post(b"x").replace(b"Content-Length: 1", b"Content-Length: +1"),
            post(b"x").replace(b"Content-Length: 1", b"Content-Length : 1"),
            post(b"x", "Transfer-Encoding: chunked"),
            post(b"x", "Bad header: 1"),
            post(b"x", "X: a\x00b"),
            post(b"x").replace(b" HTTP/1.1", b" HTTP/9.1"),
        ]
        said, _ = await both(tmp_path, lambda one: each(one, cases, until_closed=True))
        assert len(re.findall(rb"HTTP/1.[01] 400 ", said)) == len(cases)

    async def test_what_the_store_says(self, tmp_path: Path) -> None:
        async def act(one: Way) -> bytes:
            said = await one.says(post(body(0)))
            one.shelf.error = Retryable("it is away", 7.0)
            said += await one.says(post(body(1)))
            one.shelf.error = Permanent("never")
            return said + await one.says(post(body(2)))

        said, _ = await both(tmp_path, act)
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"200", b"503", b"400"]
        assert b"Retry-After: 7\r\n" in said

    async def test_no_room(self, tmp_path: Path) -> None:
        async def act(one: Way) -> bytes:
            one.budget.take("greedy", one.budget.limit_bytes - 1000)
            said = await one.says(post(body(0)), post(body(1)))
            one.budget.give("greedy", one.budget.limit_bytes - 1000)
            return said + await one.says(post(body(2)))

        said, _ = await both(tmp_path, act)
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"503", b"503", b"200"]
        assert b"Retry-After: " in said

    async def test_a_body_that_breaks_off(self, tmp_path: Path) -> None:
        async def act(one: Way) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.write(post(b"half", length=99))
            await writer.drain()
            await until(lambda: one.budget.used_bytes)
            writer.close()
            return await reader.read()

        _, counted = await both(tmp_path, act)
        assert counted["rejected_total[('reason', 'broken_off'), ('receiver', 'otlp')]"] == 1

    async def test_another_host(self, tmp_path: Path) -> None:
        sent = post(b"x").replace(b"Host: 127.0.0.1", b"Host: evil.example")
        said, _ = await both(
            tmp_path, lambda one: one.says(sent, until_closed=True), hosts={"here"}
        )
        assert said.startswith(b"HTTP/1.1 421 ")

    async def test_too_many_at_once(self, tmp_path: Path) -> None:
        async def act(one: Way) -> bytes:
            one.shelf.open.clear()
            first = asyncio.create_task(one.says(post(body(0))))
            await until(lambda: one.counted().get("requests_active[]"))
            said = await one.says(post(body(1)), until_closed=True)
            one.shelf.open.set()
            return said + await first

        said, _ = await both(tmp_path, act, asks=Requests(concurrent=1))
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"503", b"200"]


class TestWho:
    @pytest.mark.parametrize(
        ("token", "cluster", "status", "told"),
        [
            (ALPHA, "alpha", 200, b""),
            (ALPHA, "beta", 200, b"1 not_yours"),
            (READER, "alpha", 403, b"lacks the role"),
            ("", "alpha", 401, b"show"),
            ("wsd_wrong", "alpha", 401, b"not known"),
        ],
    )
    async def test_tokens(
        self, tmp_path: Path, token: str, cluster: str, status: int, told: bytes
    ) -> None:
        guard = Guard(security_file(tmp_path))
        sent = [post(body(n, cluster, f"of-{cluster}"), token=token) for n in range(2)]
        if status == 200:
            said, _ = await both(tmp_path, lambda one: one.says(*sent), guard=guard)
        else:
            said, _ = await both(
                tmp_path, lambda one: one.says(b"".join(sent), until_closed=True), guard=guard
            )
        assert said.startswith(b"HTTP/1.1 %d " % status)
        assert told in said

    async def test_wrong_ones_and_too_many(self, tmp_path: Path) -> None:
        guard = Guard(security_file(tmp_path))

        async def act(one: Way) -> bytes:
            wrong = [post(b"x", token=f"wsd_{n}") for n in range(6)]
            said = [await one.says(sent, until_closed=True) for sent in wrong]
            seldom = [await one.says(post(body(n), token=SLOW)) for n in range(2)]
            return b"".join((*said, *seldom))

        said, counted = await both(tmp_path, act, guard=guard)
        assert re.findall(rb"HTTP/1.1 (\d+)", said) == [b"401"] * 4 + [b"429"] * 2 + [
            b"200", b"429"
        ]  # fmt: skip
        assert counted["refused_total[('reason', 'wrong_too_often')]"] == 2

    async def test_a_large_body_of_nobody_is_not_kept(self, tmp_path: Path) -> None:
        guard = Guard(security_file(tmp_path))
        sent = post(bytes(MIB), token="wsd_wrong")
        said, counted = await both(
            tmp_path, lambda one: one.says(sent, until_closed=True), guard=guard
        )
        assert said.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close\r\n" in said
        assert "turned_away[]" not in counted
