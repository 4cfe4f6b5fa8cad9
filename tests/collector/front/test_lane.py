"""The lane as a protocol: packets may be cut anywhere, and no connection is kept for ever."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.collector.front.test_contract import body, post
from tests.fixtures.authority import Authority
from tests.fixtures.ways import Way, answer, until, way

from wattshed_collector.api.access import Refused
from wattshed_collector.app import event_loop
from wattshed_collector.config import Requests
from wattshed_collector.front.answers import Answers
from wattshed_collector.front.lane import Lane, Means
from wattshed_collector.receivers.answer import Answer
from wattshed_collector.receivers.intake import Received
from wattshed_collector.security.asked import Asked
from wattshed_collector.security.rules import Identity, Role

ANYBODY = Identity("", frozenset(Role))
FAST = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


class Wire(asyncio.Transport):
    """The other side of a lane: keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5)})
        self.written: list[bytes] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.hears = True
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.hears = False

    def resume_reading(self) -> None:
        self.hears = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


class Other(asyncio.Protocol):
    """What takes the odd ones."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data


class Ends:
    """A gate that lets everybody in but for a token, and a receiver that answers when told."""

    def __init__(self, *, waits: bool = False, has_room: bool = True) -> None:
        self.bodies: list[bytes] = []
        self.due: list[Callable[[Answer], object]] = []
        self.inside = 0
        self.broken_off = 0
        self._waits, self._has_room = waits, has_room

    def compares(self, asked: Asked) -> bool:
        return asked.authorization.startswith("Basic")

    def enter(self, asked: Asked, size: int) -> Identity:
        if asked.authorization:
            raise Refused(401, "unauthenticated", "no")
        self.inside += 1
        return ANYBODY

    def leave(self, asked: Asked, identity: Identity, size: int) -> None:
        self.inside -= 1

    def told(self, refused: Refused) -> str:
        return refused.said

    def begin(self, received: Received, size: int) -> Answer | None:
        return None if self._has_room else Answer(503, b"", "text/plain")

    def take(self, received: Received, answered: Callable[[Answer], object]) -> None:
        self.bodies.append(received.body)
        self.due.append(answered)
        if not self._waits:
            self.answer()

    def answer(self) -> None:
        answered = self.due.pop(0)
        answered(Answer(200, b"%d" % len(self.bodies), "text/plain"))

    def broken(self, received: Received) -> None:
        self.broken_off += 1


async def fed(ends: Ends, pieces: list[bytes]) -> tuple[Lane, Wire, Other]:
    """A lane that got these packets, its wire, and what took over."""
    other = Other()
    answers = Answers({}, lambda: 0.0)
    lane = Lane(Means(ends, ends, lambda: other, answers, answers, 1000, set()))
    wire = Wire()
    lane.connection_made(wire)
    for piece in pieces:
        (other if wire.protocol is other else lane).data_received(piece)
    return lane, wire, other


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges) if a < b]


GOOD = st.binary(min_size=1, max_size=40).map(post)
LAST = st.sampled_from(
    [b"", b"GET / HTTP/1.1\r\n\r\n", post(b"x", "Expect: 100-continue"), post(b"x" * 2000),
     b"\x16\x03\x01", post(b"x", "Authorization: Basic eDp5"), b"POST /v1/metrics HTTP/1.1\nX"]
)  # fmt: skip


@FAST
@given(st.lists(GOOD, max_size=4), LAST, st.lists(GOOD, max_size=1), st.lists(st.integers(0, 999)))
def test_packets_may_be_cut_anywhere(
    good: list[bytes], last: bytes, after: list[bytes], places: list[int]
) -> None:
    rest = last + b"".join(after)
    ends = Ends()
    _, wire, other = asyncio.run(fed(ends, cut(b"".join(good) + rest, places)))
    taken = [*good, *(after if not last else [])]
    assert ends.bodies == [sent.partition(b"\r\n\r\n")[2] for sent in taken]
    assert len(wire.written) == len(taken)
    assert other.got == (rest if last else b"")
    assert ends.inside == 0


@FAST
@given(st.integers(1, 4), st.lists(st.integers(0, 999)))
def test_one_who_waits_keeps_the_order_and_bounds_what_comes_ahead(
    count: int, places: list[int]
) -> None:
    sent = [post(b"%d" % n * 900) for n in range(count)]

    async def run() -> None:
        ends = Ends(waits=True)
        lane, wire, _ = await fed(ends, cut(b"".join(sent), places))
        lane.data_received(post(b"z" * 900) * 80)
        assert (wire.hears, len(ends.bodies), ends.inside) == (False, 1, 1)
        for _ in range(count + 80):
            ends.answer()
        assert wire.hears
        assert [one[:1] for one in ends.bodies[:count]] == [b"%d" % n for n in range(count)]
        assert (len(wire.written), ends.inside) == (count + 80, 0)

    asyncio.run(run())


@FAST
@given(st.lists(st.integers(0, 999)))
def test_a_body_without_room_is_passed_over_and_the_next_is_heard(places: list[int]) -> None:
    ends = Ends(has_room=False)
    _, wire, other = asyncio.run(fed(ends, cut(post(b"x" * 700) * 3, places)))
    assert (len(wire.written), ends.bodies, ends.inside, other.got) == (3, [], 0, b"")
    assert not wire.is_closed


@FAST
@given(st.lists(st.integers(0, 999)))
def test_who_may_not_is_closed_once_the_body_was_passed_over(places: list[int]) -> None:
    sent = post(b"x" * 700, token="t")
    pieces = cut(sent, places)

    async def run() -> None:
        ends = Ends()
        lane, wire, _ = await fed(ends, pieces[:-1])
        assert not wire.is_closed
        lane.data_received(pieces[-1])
        assert wire.is_closed
        assert (len(wire.written), ends.bodies) == (1, [])
        assert b"\r\nConnection: close\r\n" in wire.written[0]

    asyncio.run(run())


async def test_who_does_not_read_its_answers_is_heard_no_more() -> None:
    ends = Ends()
    lane, wire, _ = await fed(ends, [])
    lane.pause_writing()
    lane.data_received(post(b"x") * 2)
    assert wire.written == []
    lane.resume_writing()
    assert len(wire.written) == 2


async def test_one_who_is_gone_is_not_written_to() -> None:
    ends = Ends(waits=True)
    lane, wire, _ = await fed(ends, [post(b"x")])
    wire.is_closed = True
    lane.connection_lost(None)
    ends.answer()
    assert (wire.written, ends.inside, ends.broken_off) == ([], 0, 0)
    lane, wire, _ = await fed(ends, [post(b"xyz")[:-1]])
    lane.connection_lost(None)
    assert (ends.inside, ends.broken_off) == (0, 1)


class TestServed:
    async def test_a_stop_answers_what_was_taken(self, tmp_path: Path) -> None:
        async with way(tmp_path, by_lane=True) as one:
            assert one.door is not None
            one.shelf.open.clear()
            asked = asyncio.create_task(one.says(post(body()), until_closed=True))
            await until(lambda: one.budget.used_bytes)
            idle = asyncio.create_task(one.says(until_closed=True))
            door = one.door
            await until(lambda: door.connections == 2)
            stopping = asyncio.create_task(one.door.close(20.0))
            assert await idle == b""
            assert not asked.done()
            one.shelf.open.set()
            assert (await asked).startswith(b"HTTP/1.1 200 OK\r\n")
            await stopping
            assert one.shelf.rows["tick"] == 1

    @pytest.mark.parametrize(
        ("sent", "reason"),
        [(b"", "slow_head"), (b"POST /v1/me", "slow_head"), (post(b"x", length=9), "slow_body")],
    )
    async def test_the_slow_are_hung_up(self, tmp_path: Path, sent: bytes, reason: str) -> None:
        asks = Requests(head_seconds=0.0, read_seconds=0.0)
        async with way(tmp_path, by_lane=True, asks=asks) as one:
            assert await self._swept(one, sent) == b""
            assert one.counted()[f"refused_total[('reason', '{reason}')]"] == 1

    async def test_the_silent_are_closed(self, tmp_path: Path) -> None:
        async with way(tmp_path, by_lane=True, idle_seconds=0.0) as one:
            assert (await self._swept(one, post(body()))).count(b"200 OK") == 1
            assert "refused_total[('reason', 'slow_head')]" not in one.counted()

    async def _swept(self, one: Way, sent: bytes) -> bytes:
        door = one.door
        assert door is not None
        said = asyncio.create_task(one.says(sent, until_closed=True))
        while not said.done():
            await asyncio.sleep(0.01)
            door.sweep()
        try:
            return await said
        except ConnectionResetError:  # what was broken off ends so, or as if it had been closed
            return b""

    @pytest.mark.parametrize("loop", [asyncio.new_event_loop, event_loop()])
    def test_over_tls_and_then_to_aiohttp(
        self, tmp_path: Path, loop: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(self._over_tls(tmp_path))

    async def _over_tls(self, tmp_path: Path) -> None:
        authority = Authority(tmp_path)
        pair = authority.sign("server", "IP:127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        trusts = ssl.create_default_context(cafile=str(authority.pair.cert))
        async with way(tmp_path, by_lane=True, context=context) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port, ssl=trusts)
            for n in range(3):
                writer.write(post(body(n)))
                said = await answer(reader)
                assert said.startswith(b"HTTP/1.1 200 OK\r\n")
                assert b"\r\nStrict-Transport-Security: max-age=31536000\r\n" in said
            writer.write(post(body(3), "X-Large: " + "x" * 8000))
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()
            assert one.counted()["ticks_total[('receiver', 'otlp')]"] == 4
