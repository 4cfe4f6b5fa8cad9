"""``wattshed sql users``: shown with places for hashes, or filled in and run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.fixtures.clickhouse_users import ManagedFront

from wattshed_collector.cli import main


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["sql", "users", *arguments])
    return int(str(left.value.code))


def test_users_are_made_on_a_server_and_given_new_passwords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    admin, word = tmp_path / "admin", tmp_path / "grafana"
    admin.write_text("root\n")
    front = ManagedFront(str(tmp_path), user="boss", password="root")
    front.start()
    to = ["--to", f"http://boss@127.0.0.1:{front.port}", "--password-file", str(admin)]
    try:
        for password in ("first", "second"):
            word.write_text(f"{password}\n")
            assert run("--password", f"wattshed_grafana={word}", *to) == 0
            assert front.knows("wattshed_grafana", password)
        assert not front.knows("wattshed_grafana", "first")
        assert not front.knows("wattshed_collector", "")
        admin.write_text("wrong")
        assert run(*to) == 1
    finally:
        front.stop()
    said = capsys.readouterr()
    assert "1 users are there: wattshed_grafana" in said.out
    assert "first" not in said.out + said.err


def test_hashes_are_filled_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    word = tmp_path / "word"
    word.write_text("secret\n")
    assert run("--password", f"wattshed_migrate={word}") == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(b"secret").hexdigest() in shown
    assert "CREATE USER IF NOT EXISTS wattshed_grafana" not in shown


def test_what_is_wrong_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    assert run("--password", "nobody=" + str(empty), "--password", f"wattshed_migrate={empty}") == 2
    assert run("--to", "somewhere") == 2
    said = capsys.readouterr().err
    for words in ("nobody", "the file is empty", "no URL"):
        assert words in said
