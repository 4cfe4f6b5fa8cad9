"""The client against servers that keep connections, close them, stall, and speak TLS."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from pathlib import Path

import pytest
from tests.fixtures.scraped import Wire, ok

from wattshed_collector.config import Auth, Job, Tls
from wattshed_collector.receivers.scrape import credentials
from wattshed_collector.receivers.scrape.client import Client
from wattshed_collector.receivers.scrape.reply import Failed, Reply
from wattshed_collector.receivers.scrape.targets import alone

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


def plain(wire: Wire) -> Client:
    return Client("127.0.0.1", wire.port, lambda: None)


async def get(client: Client, seconds: float = 5.0, limit: int = 10_000) -> Reply:
    return await client.get(REQUEST, seconds, limit)


async def test_one_connection_serves_many_requests() -> None:
    async with Wire(ok(b"1"), ok(b"2")).listening() as wire:
        client = plain(wire)
        assert [(await get(client)).body for _ in range(3)] == [b"1", b"2", b"2"]
        client.close()
    assert (wire.connections, len(wire.requests)) == (1, 3)


async def test_a_connection_that_the_server_closes_is_opened_again() -> None:
    async with Wire(ok(b"1", "Connection: close"), hang_up=True).listening() as wire:
        client = plain(wire)
        assert [(await get(client)).body for _ in range(2)] == [b"1", b"1"]
        client.close()
    assert wire.connections == 2


async def test_a_request_on_a_stale_connection_is_sent_once_more() -> None:
    # The server hangs up after it has read the second request, as one does whose time is over.
    async with Wire(ok(b"1"), None, ok(b"2")).listening() as wire:
        client = plain(wire)
        assert [(await get(client)).body for _ in range(2)] == [b"1", b"2"]
        wire.drop()
        assert (await get(client)).body == b"2"
        client.close()
    assert wire.connections == 3


async def test_a_server_that_never_answers_is_not_asked_again() -> None:
    async with Wire(None).listening() as wire:
        with pytest.raises(Failed, match="no answer came"):
            await get(plain(wire))
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "timeout"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", "timeout"),
        (ok(b"x" * 20_000), "too_large"),
        (b"nonsense\r\n\r\n", "malformed"),
    ],
)
async def test_a_bad_answer_costs_the_connection(answer: bytes, reason: str) -> None:
    async with Wire(answer, ok(b"good")).listening() as wire:
        client = plain(wire)
        with pytest.raises(Failed) as caught:
            await get(client, 0.1 if reason == "timeout" else 5.0)
        assert caught.value.reason == reason
        assert (await get(client)).body == b"good"
        client.close()
    assert wire.connections == 2


async def test_who_closes_is_told_nothing_more() -> None:
    told: list[object] = []
    async with Wire(b"", ok(b"late")).listening() as wire:
        client = plain(wire)
        for moment in (0.0, 0.05):  # while it connects, and while it waits for the answer
            client.ask(REQUEST, 0.1, 10_000, told.append)
            await asyncio.sleep(moment)
            client.close()
        await asyncio.sleep(0.15)
        assert told == []
        assert (await get(client)).body == b"late"
        client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "no.such.host.invalid", "a..b", "x" * 70 + ".y"])
async def test_where_nobody_is(host: str) -> None:
    with pytest.raises(Failed) as caught:
        await get(Client(host, 1, lambda: None))
    assert caught.value.reason == "unreachable"


def server_context(folder: Path, *, clients: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    if clients:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(folder / "ca.pem")
    return context


async def reached(tls: Tls, context: ssl.SSLContext, host: str = "localhost") -> bytes:
    async with Wire(ok(b"secret")).listening(context) as wire:
        client = Client(host, wire.port, credentials.context(tls).get, tls.server_name)
        try:
            return (await get(client)).body
        finally:
            client.close()
            await asyncio.sleep(0.01)  # the server's side of TLS ends as well


async def test_tls_believes_whom_it_is_told(certificates: Path) -> None:
    context, ca = server_context(certificates), str(certificates / "ca.pem")
    assert await reached(Tls(ca_file=ca), context) == b"secret"
    assert await reached(Tls(insecure=True), context) == b"secret"
    for tls in (Tls(), Tls(ca_file=ca, server_name="other.example")):
        with pytest.raises(Failed) as caught:
            await reached(tls, context)
        assert caught.value.reason == "tls"


async def test_a_target_may_ask_for_our_certificate(certificates: Path) -> None:
    ca, ours = str(certificates / "ca.pem"), str(certificates / "client")
    context = server_context(certificates, clients=True)
    shown = Tls(ca_file=ca, cert_file=f"{ours}.pem", key_file=f"{ours}.key")
    assert await reached(shown, context) == b"secret"
    with pytest.raises(Failed):
        await reached(Tls(ca_file=ca), context)


def test_certificates_that_are_renewed_are_read_again(certificates: Path, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    known = credentials.context(Tls(ca_file=str(file)))
    with pytest.raises(Failed, match=r"ca\.pem: cannot be used"):
        known.get()
    shutil.copy(certificates / "ca.pem", file)
    first = known.get()
    assert known.get() is first
    os.utime(file, ns=(1, 1))
    assert known.get() is not first


def test_who_asks_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    bearer = credentials.authorization(Auth(token_file=str(file)))
    assert bearer.get() == "Authorization: Bearer one\r\n"
    file.write_text("second\n")
    assert bearer.get() == "Authorization: Bearer second\r\n"
    for bad in ("", "a\nb", "ü"):
        file.write_text(bad)
        with pytest.raises(Failed) as caught:
            bearer.get()
        assert caught.value.reason == "credentials"
        assert bad not in str(caught.value) or not bad
    file.write_text("pass:word")
    basic = credentials.authorization(Auth(username="me", password_file=str(file)))
    assert basic.get() == "Authorization: Basic bWU6cGFzczp3b3Jk\r\n"
    assert credentials.authorization(Auth()).get() == ""
    assert credentials.authorization(Auth(token="t")).get() == "Authorization: Bearer t\r\n"


def test_a_url_may_say_who_asks_and_never_shows_it() -> None:
    job = Job(name="j", interval_seconds=10.0, timeout_seconds=5.0)
    target = alone("n1=http://me:p%40ss@host:1/x?y=1", job)
    request = target.request("Authorization: other\r\n", compression=False)
    assert b"\r\nAuthorization: Basic bWU6cEBzcw==\r\n\r\n" in request
    assert request.startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: host:1\r\n")
    assert b"Accept-Encoding: identity\r\n" in request
    assert (target.url, target.node) == ("http://host:1/x?y=1", "n1")
    assert "p@ss" not in target.key
    assert "p%40ss" not in target.key
