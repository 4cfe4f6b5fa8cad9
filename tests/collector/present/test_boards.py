"""Pages of boards and runbooks as documents: text is text, only our scripts run."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace

import pytest
from tests.fixtures.trial_board import TRIAL

from wattshed_collector.present import boards, runbooks
from wattshed_collector.present.markdown import rendered
from wattshed_dashboards.model import Kind, Panel, Row
from wattshed_dashboards.render import document

HOSTILE = '<img src=x onerror="alert(1)">&</script>'


@pytest.fixture
def trial() -> str:
    board = document(TRIAL)
    return boards.board_page(board, [board])


def test_what_a_board_says_needs_no_script(trial: str) -> None:
    body = trial.split("<noscript>")[1]
    for row in TRIAL.rows:
        for panel in row.panels:
            assert html.escape(panel.title) in body
            assert html.escape(panel.description) in body
            assert html.escape(panel.sql) in body
    assert "JavaScript, which is off" in body
    assert "<strong>class</strong>" in body  # of the panel of text


def test_a_panel_leads_to_its_runbook(trial: str) -> None:
    assert trial.count('href="/runbooks/Trial"') == 1


def test_closed_rows_are_closed(trial: str) -> None:
    rows = re.findall(r'<details class="row"( open)?>', trial)
    assert rows == [" open", " open", " open", ""]


def test_names_are_text() -> None:
    panel = Panel(HOSTILE, HOSTILE, Kind.TEXT, text=HOSTILE)
    board = document(replace(TRIAL, title=HOSTILE, question=HOSTILE, rows=(Row(HOSTILE, (panel,)),)))
    text = boards.board_page(board, [board])
    assert "<img" not in text
    assert text.count("</script>") == 3


def test_only_our_script_runs(trial: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", trial, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in trial
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', boards.listing([]))
    assert "script-src ;" in policy
    assert "connect-src 'none'" in policy


def test_the_lists() -> None:
    board = document(TRIAL)
    assert TRIAL.question in boards.listing([board])
    assert 'href="/boards/wattshed-trial"' in boards.listing([board])
    assert "No board is here." in boards.listing([])
    assert "No runbook is here." in runbooks.listing({})
    told = runbooks.listing({"B": "# B\n\nSays *this* of [it](x).\n\nMore.", "A": "# A"})
    assert "<p>Says this of it.</p>" in told
    assert told.index("/runbooks/A") < told.index("/runbooks/B")


@pytest.mark.parametrize(
    ("text", "html_of_it"),
    [
        ("<b>x</b>", "&lt;b&gt;"),
        ("[x](javascript:alert(1))", "[x](javascript:alert(1))"),
        ("[x](Other.md#y)", 'href="/runbooks/Other#y"'),
        ("| a |\n|---|\n| b |", "<td>b</td>"),
        ("```\n<i>\n```", "&lt;i&gt;"),
        ("![x](data:text/html,y)", "![x]"),
    ],
)
def test_markdown(text: str, html_of_it: str) -> None:
    assert html_of_it in rendered(text)
