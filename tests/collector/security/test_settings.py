"""A collector that others reach, and that asks nobody, does not start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.fixtures.authority import Authority

from wattshed_collector.config import PREFIX, Config
from wattshed_collector.security.guard import Guard
from wattshed_exporter.errors import ConfigError
from wattshed_exporter.settings import load


def loaded(*flags: str) -> Config:
    return load(Config, flags, {}, prog="wattshed-collector", prefix=PREFIX)


def problems(*flags: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(*flags)
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("listen", ["0.0.0.0:9740", "[::]:9740", "10.1.2.3:9740", "gpu-1:9740"])
def test_others_are_not_served_by_accident(listen: str) -> None:
    said = problems("--listen", listen)
    for way_out in ("wattshed token new", "127.0.0.1", "wattshed up --anonymous"):
        assert way_out in said
    assert loaded("--listen", listen, "--security.anonymous").security.anonymous


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.9.9.9:1", "[::1]:9740", "localhost:9740"])
def test_this_machine_is_served_without_a_word(listen: str) -> None:
    assert loaded("--listen", listen).listen == listen


def test_every_problem_of_the_files_is_said_at_start(tmp_path: Path) -> None:
    file = tmp_path / "security.yaml"
    file.touch(0o600)
    file.write_text("tokens: [{name: a}]")
    said = problems(
        *("--security.file", str(file), "--security.anonymous"),
        *("--security.cert-file", str(tmp_path / "absent.pem")),
        *("--security.key-file", str(tmp_path / "absent.key")),
    )
    for part in ("is of no use beside", "a has no roles", "absent.pem: cannot be read"):
        assert part in said
    assert "goes with security.key_file" in problems("--security.cert-file", "x")
    assert "needs security.cert_file" in problems("--security.client-ca-file", "x")
    assert "may not hold a user" in problems("--telemetry.otlp-endpoint", "http://u:p@h")


def test_a_certificate_and_another_key_are_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.sign("server")
    flags = "--security.cert-file", str(pair.cert), "--security.key-file", str(authority.pair.key)
    assert "mismatch" in problems(*flags).lower()


def test_half_of_a_file_is_not_believed(tmp_path: Path) -> None:
    """What is written in place may end, for a moment, before what bounds somebody."""
    file = tmp_path / "security.yaml"
    file.touch(0o600)
    file.write_text("anonymous: [metrics]")
    guard = Guard(file)

    def anybody() -> set[str]:
        who = asyncio.run(guard.identify(""))
        assert who is not None
        return {str(role) for role in who.roles}

    file.write_text("anonymous: [read, ingest]")
    assert not guard.refresh(), "seen once"
    file.write_text("anonymous: [read]")
    assert not guard.refresh(), "it still changes"
    assert anybody() == {"metrics"}
    assert guard.refresh()
    assert anybody() == {"read"}
    file.write_text("anonymous: [")
    assert not guard.refresh(forced=True)
    file.unlink()
    assert not guard.refresh(forced=True)
    assert anybody() == {"read"}
