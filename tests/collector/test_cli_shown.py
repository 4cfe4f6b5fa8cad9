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


def test_what_a_program_reads_has_a_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    shown.table(("id", "why"), [("5b0e6a1c9f1d4e02", "a word " * 40)])
    (_, row, _) = capsys.readouterr().out.split("\n")
    assert row.rstrip() == f"5b0e6a1c9f1d4e02  {'a word ' * 40}".rstrip()


def test_lines_stay_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown.say("one\r\ntwo\x1b[2J", sys.stderr)
    assert capsys.readouterr().err == "one\ufffd\ntwo\ufffd[2J\n"


def test_a_complaint_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["devices", "list", "--url", "gpu\x1b[2J"])
    assert capsys.readouterr().err.startswith("wattshed: 'gpu\\x1b[2J' is no URL")
