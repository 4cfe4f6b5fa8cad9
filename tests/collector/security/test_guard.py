"""Passwords are compared as seldom as can be, and are forgotten when they change."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path

from wattshed_collector.security.guard import Guard

HASH = "$2b$04$abcdefghijklmnopqrstuuHy2MRjb5DWCFQMzUEGWbbDKLTYEfEK6"


def guarded(folder: Path, check: Callable[[bytes, bytes], bool], name: str = "ada") -> Guard:
    return Guard(written(folder, name), check=check)


def written(folder: Path, name: str) -> Path:
    file = folder / "security.yaml"
    file.touch(0o600)
    file.write_text(f'users: [{{name: {name}, bcrypt: "{HASH}", roles: [read]}}]')
    return file


def shown(told: str) -> str:
    return "Basic " + base64.b64encode(told.encode()).decode()


def who(guard: Guard, told: str) -> str | None:
    found = asyncio.run(guard.identify(shown(told)))
    return found.name if found else None


def test_a_right_password_is_compared_once_and_a_wrong_one_each_time(tmp_path: Path) -> None:
    compared: list[bytes] = []

    def check(password: bytes, hashed: bytes) -> bool:
        compared.append(password)
        return password == b"right"

    guard = guarded(tmp_path, check)
    assert guard.compares(shown("ada:right"))
    assert [who(guard, "ada:right") for _ in range(3)] == ["ada"] * 3
    assert not guard.compares(shown("ada:right"))
    assert [who(guard, "ada:wrong"), who(guard, "bob:right")] == [None, None]
    assert guard.compares(shown("ada:wrong"))
    assert compared == [b"right", b"wrong", b"right"]
    assert not guard.compares("Bearer right")


def test_a_password_that_is_changed_while_it_is_compared_is_not_remembered(tmp_path: Path) -> None:
    guards: list[Guard] = []

    def check(password: bytes, hashed: bytes) -> bool:
        written(tmp_path, "bob")
        assert guards[0].refresh(forced=True)
        return True

    guards.append(guarded(tmp_path, check))
    assert who(guards[0], "ada:right") == "ada"
    assert guards[0].compares(shown("ada:right")), "who is gone is not let in again"
    assert who(guards[0], "ada:right") is None
