"""What comes from outside is shown on a terminal as it is, and steers nothing there."""

from __future__ import annotations

import sys

import pytest

from wattshed_collector.cli import main, shown


def test_a_name_is_no_markup_and_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown.table(("what", "watts"), [("[red]a[/]", "1"), ("b\x1b]0;c\x07", "22")], ("watts",))
    assert capsys.readouterr().out.split("\n") == [
        "what       watts",
        "[red]a[/]      1",
        "b\ufffd]0;c\ufffd       22",
        "",
    ]


def test_an_id_is_never_broken(capsys: pytest.CaptureFixture[str]) -> None:
    others = [f"c{n}" for n in range(9)]
    shown.table(("id", *others), [("5b0e6a1c9f1d4e02", *["x" * 40 for _ in others])])
    first = capsys.readouterr().out.split("\n")[1]
    assert first.startswith("5b0e6a1c9f1d4e02  xxxxx  x")


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown.say("one\r\ntwo\x1b[2J", sys.stderr)
    assert capsys.readouterr().err == "one\ufffd\ntwo\ufffd[2J\n"


def test_a_complaint_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["devices", "list", "--url", "gpu\x1b[2J"])
    assert capsys.readouterr().err.startswith("wattshed: 'gpu\\x1b[2J' is no URL")
