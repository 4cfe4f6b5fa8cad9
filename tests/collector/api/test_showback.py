"""``/v1/showback`` and ``wattshed report --team``: a running collector is asked, and its store."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from wattshed_collector.cli import main
from wattshed_collector.config import Config

if TYPE_CHECKING:
    from tests.collector.conftest import Running


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["report", *arguments])
    return ended.value.code


def test_it_is_asked_over_http_and_by_command(
    collect: Callable[[Config], AbstractContextManager[Running]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(tmp_path / "data")
    with collect(Config(listen="127.0.0.1:0", data=data)) as running:
        document = running.get("/v1/showback?month=2026-01&team=research").json
        assert document["period"]["name"] == "2026-01"
        assert [team["team"] for team in document["teams"]] == ["research"]
        assert running.get("/v1/showback?week=2026-W02").json["teams"] == []
        for wrong in ("month=2026-13", "week=2026-02", "month=2026-01&week=2026-W02"):
            assert running.get(f"/v1/showback?{wrong}").status == 400
        url = ["--url", running.url]
        file = tmp_path / "month.csv"
        assert status("--team", "research", "--month", "2026-01", "--csv", str(file), *url) == 0
        assert file.read_bytes().startswith(b"day,team,class,joules,")
        assert status("--all-teams", *url) == 0
        assert "No energy is known of it." in capsys.readouterr().out
        assert status("--month", "2026-01", "--since", "7d", *url) == 2
        assert status("--month", "soon", *url) == 2
    # No collector runs: the store itself is asked.
    assert status("--week", "2026-W02", "--json", "--data", data) == 0
    assert json.loads(capsys.readouterr().out)["period"]["kind"] == "week"
    page = tmp_path / "page.html"
    assert status("--team", "research", "--html", str(page), "--data", data) == 0
    assert "Plotly" in page.read_text(encoding="utf-8")
