"""A showback as page, tables and CSV: it carries everything, and no name becomes markup."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from tests.collector.present.conftest import HOSTILE
from tests.collector.present.showbacks import PERIOD, TEAMS, advice, found, showback

from wattshed_collector import showback as documents
from wattshed_collector.present import page, showback_page
from wattshed_collector.present.showback import as_csv, print_showback
from wattshed_collector.showback import Found


def printed(document: documents.Record) -> str:
    console = Console(width=80, file=io.StringIO())
    print_showback(document, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    return str(text)


def nothing(team: str | None) -> documents.Record:
    found = Found(PERIOD.end_s, PERIOD.start_s, PERIOD.start_s)
    return documents.document(found, PERIOD, team, PERIOD.end_s)


def test_the_tables_say_what_is_not_known() -> None:
    text = printed(showback())
    assert "(no team)" in text
    assert "What the grid emitted is not known for 2.2 % of it." in text
    assert "marginal unknown" in text
    assert "Prices as told by a contract (site dub, said 2026-10-01T00:00Z)." in text
    assert "PUEs as told by nobody named (site dub)." in text
    one = printed(showback("research"))
    assert "Let old-sweep release its devices" in one
    assert "verified" in one
    assert "No energy is known of it." in printed(nothing("research"))


def test_what_a_month_lacks_is_said_as_it_is() -> None:
    start, end = PERIOD.start_s, PERIOD.end_s
    for until, first, said in (
        (end, start, "Month 2026-10 (UTC)"),
        (end, start + 1, "Month 2026-10 (UTC), not known from its start"),
        (end - 86_400, start, "Month 2026-10 (UTC), known up to 2026-10-31 00:00"),
    ):
        document = documents.document(Found(until, start, first), PERIOD, None, end)
        assert printed(document).splitlines()[0].rstrip() == said


def test_advice_that_teams_share_is_shown_to_each_with_its_part() -> None:
    row = advice("", "Let shared release its devices", "done", 500.0, 400.0)
    shared = {**row, "teams": {"vision": 0.25, "assist": 0.75}}
    open_now = {**shared, "id": "x", "state": "open", "g_per_month": None, "verification": None}
    document = documents.document(
        replace(found(), advice=[shared, open_now]), PERIOD, None, PERIOD.end_s
    )
    told = {team["team"]: team for team in document["teams"]}
    for team, part in shared["teams"].items():
        (could,), (done,) = told[team]["advice"], told[team]["done"]
        assert (could["part"], could["g_per_month"]) == (part, None)
        assert could["joules_per_month"] == pytest.approx(part * row["joules_per_month"])
        assert done["saved_joules"] == pytest.approx(part * row["verification"]["saved_joules"])
        assert done["ratio"] == row["verification"]["ratio"]
    assert all(not told[team]["advice"] for team in told.keys() - shared["teams"].keys())


def test_csv_has_a_row_for_each_team_day_and_class() -> None:
    document = showback()
    rows = list(csv.DictReader(io.StringIO(as_csv(document))))
    assert len(rows) == len({(r["day"], r["team"], r["class"]) for r in rows}) == 31 * 10
    assert {row["team"] for row in rows} == set(TEAMS)
    joules = sum(float(row["joules"]) for row in rows)
    assert joules == pytest.approx(document["fleet"]["joules"], rel=1e-9)
    assert {row["marginal_g"] for row in rows} == {""}
    assert rows[0]["day"] == "2026-10-01"


@pytest.mark.parametrize("team", [None, "research"])
def test_the_file_names_no_address(team: str | None) -> None:
    text = showback_page.render(showback(team))
    text = text.replace(page.plotly_path().read_text(encoding="utf-8"), "")
    spoken = re.sub(r"(?m)^ *// .*$|'sha256-[^']*'", "", text)
    assert not re.search(r"https?:|//\w|url\(|@import", spoken)
    assert "connect-src 'none'" in text
    assert "October 2026" in text


@pytest.mark.browser
@pytest.mark.parametrize("team", [None, "research", HOSTILE, "nobody knows it"])
def test_it_draws(team: str | None, chromium: Callable[[str], str], tmp_path: Path) -> None:
    document = showback("research" if team == HOSTILE else team)
    if team == HOSTILE:
        for record in (*document["teams"], *document["days"], *document["teams"][0]["workloads"]):
            record |= {name: HOSTILE for name in ("team", "workload") if name in record}
        document["team"] = HOSTILE
    file = tmp_path / "page.html"
    file.write_text(showback_page.render(document), encoding="utf-8")
    dom = chromium(file.as_uri())
    opening = re.search(r"<html[^>]*>", dom)
    assert opening
    assert 'data-drawn="yes"' in opening[0]
    assert "data-error" not in opening[0]
    assert dom.count('class="main-svg"') >= 3 or team == "nobody knows it"
