"""A board in a real browser, on the demo fleet: every panel draws, or says why it cannot."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from tests.fixtures.fleet_store import Fleet
from tests.fixtures.trial_board import TRIAL

from wattshed_collector.api.board_pages import BoardPages
from wattshed_collector.api.boards import BoardsApi
from wattshed_collector.api.routes import errors, plotly
from wattshed_collector.boards import Boards
from wattshed_collector.present import page
from wattshed_collector.store.read import Reader
from wattshed_dashboards.model import Kind, Panel, Row

pytestmark = pytest.mark.browser
Chromium = Callable[[str], str]
Serve = Callable[[web.Application], Awaitable[TestServer]]
BROKEN = Row(
    "Broken",
    (
        Panel("No such view", "Fails.", Kind.STAT, sql="SELECT 1 AS one FROM v_nothing"),
        Panel("Nothing", "Is empty.", Kind.TABLE, sql="SELECT node FROM v_live WHERE 0 LIMIT 1"),
        Panel("Markup", "Is text.", Kind.TABLE, sql="SELECT '<img src=x>' AS name LIMIT 1"),
    ),
)


@pytest.fixture
def app(fleet: Fleet) -> Iterator[web.Application]:
    reader = Reader(lambda: fleet.store.client(only_reads=True))
    made = web.Application(middlewares=[errors])
    boards = Boards([replace(TRIAL, rows=(*TRIAL.rows, BROKEN))])
    made.add_routes(BoardsApi(reader, boards).routes())
    made.add_routes(BoardPages(boards, fleet.folder).routes())
    made.add_routes([web.get(page.PLOTLY_URL, plotly)])
    yield made
    reader.close()


def panel(dom: str, title: str) -> str:
    """Return what became of a panel, as markup."""
    return dom.split(f"<h3>{title}</h3>", 1)[1].split("</article>", 1)[0]


def words(markup: str) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


async def test_every_kind_of_panel_draws(
    app: web.Application, aiohttp_server: Serve, chromium: Chromium
) -> None:
    server = await aiohttp_server(app)
    address = f"http://127.0.0.1:{server.port}/boards/{TRIAL.uid}?from=now-24h&to=now"
    dom = await asyncio.to_thread(chromium, f"{address}&var-node=sim-dub-gpu-01")
    assert "data-error" not in dom[:2000].split("<head>")[0]
    for title in ("Power by class", "Idle share by node", "Idle power by node and hour",
                  "Energy against idle share"):  # fmt: skip
        assert 'class="main-svg"' in panel(dom, title), title
    assert re.search(r"\d kWh", words(panel(dom, "Energy")))
    assert re.search(r"\d %", words(panel(dom, "Idle share")))
    assert "sim-dub-gpu-01" in words(panel(dom, "Nodes by energy"))
    assert "sim-reno-gpu-01" not in words(panel(dom, "Nodes by energy"))
    table = panel(dom, "Workloads")
    assert "/boards/wattshed-trial?var-team=foundation&amp;from=now-24h&amp;to=now" in table
    assert 'aria-sort="descending"' in table
    assert "Node <b>sim-dub-gpu-01</b>" in html.unescape(dom).replace("</span>", "").replace(
        "<span>", ""
    )
    assert "Cannot be answered" in words(panel(dom, "No such view"))
    assert "v_nothing" in words(panel(dom, "No such view"))
    assert "No data The store has nothing for this question" in words(panel(dom, "Nothing"))
    assert "<img" not in panel(dom, "Markup").split('class="body"')[1]
    assert "1 of 16 panels failed" in words(dom)


UNITS = (
    (12_345, "watt", "12.3 kW"), (12_345, "watth", "12.3 kWh"), (0.0042, "joule", "4.20 mJ"),
    (3.2e6, "watt", "3.20 MW"), (0.00042, "si:J/tok", "420 µJ/tok"), (123_456, "massg", "123 kg"),
    (120_000, "si:gCO2eq", "120 kgCO2eq"), (0.314, "percentunit", "31.4 %"),
    (31.4, "percent", "31.4 %"), (61.4, "celsius", "61 °C"), (1234.5, "currencyUSD", "$1234.50"),
    (0.0042, "currencyEUR", "€0.0042"), (5400, "dtdurations", "1 h 30 min"),
    (-90, "s", "-1 min 30 s"), (250, "ms", "0.25 s"), (3 * 2**30, "bytes", "3 GiB"),
    (12_345, "short", "12.3 k"), (42, "short", "42"), (0.30000000000000004, "none", "0.3"),
    (12, "ops", "12 ops/s"), (7, "suffix:J/tok", "7 J/tok"), (1, "bool_yes_no", "yes"),
    (None, "watt", "unknown"), (-0.0003, "percentunit", "> -0.1 %"),
    (-0.0003, "percentunit", "0 %", 0), (-0.03, "percent", "0.0 %", 1),
    (-0.007, "percentunit", "-1 %", 0),
)  # fmt: skip


def test_units_read_as_in_grafana(chromium: Chromium, tmp_path: Path) -> None:
    present = files("wattshed_collector.present")
    script = "".join(
        present.joinpath(name).read_text(encoding="utf-8")
        for name in ("units.js", "grafana_units.js")
    )
    file = tmp_path / "units.html"
    file.write_text(
        f'<meta charset="utf-8"><pre></pre><script>{script}; const cases = {json.dumps(UNITS)};'
        'document.querySelector("pre").textContent = JSON.stringify('
        "cases.map(([value, unit, , decimals]) => "
        "grafanaUnits.format(value, unit, decimals)));</script>"
    )
    found = re.search("<pre>(.*?)</pre>", chromium(file.as_uri()))
    assert found
    assert json.loads(html.unescape(found[1])) == [case[2] for case in UNITS]
