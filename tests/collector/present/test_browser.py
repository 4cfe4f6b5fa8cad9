"""The page in a real browser: everything draws, nothing fails, and a live page follows along."""

from __future__ import annotations

import html
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path

import pytest

from wattshed_collector.present import page, units
from wattshed_collector.report import Report

pytestmark = pytest.mark.browser
Reports = dict[str, Callable[[], Report]]
Chromium = Callable[[str], str]
FIGURES = ("power", "workloads", "places")


def root(dom: str) -> str:
    found = re.search(r"<html[^>]*>", dom)
    assert found
    return found[0]


def part(dom: str, name: str) -> str:
    """Return what the page became from the element with that id up to the next section."""
    return dom.split(f'id="{name}"', 1)[1].split("</section>", 1)[0]


def words(markup: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", " ", markup))


@pytest.fixture
def opened(reports: Reports, chromium: Chromium, tmp_path: Path) -> Callable[[str], str]:
    """Return a function that renders a report as a file and opens it."""

    def open_file(name: str) -> str:
        file = tmp_path / f"{name}.html"
        file.write_text(page.render(reports[name](), live=False, generated=1_780_000_001))
        dom = chromium(file.as_uri())
        assert 'data-drawn="yes"' in root(dom)
        assert "data-error" not in root(dom)
        return dom

    return open_file


def test_a_fleet_draws(opened: Callable[[str], str]) -> None:
    dom = opened("fleet")
    for figure in FIGURES:
        assert 'class="main-svg"' in part(dom, figure), figure
    assert "892 MJ" in words(part(dom, "tiles"))
    assert "Simulated fleet: 86 %" in words(part(dom, "banners"))
    assert "247 M tokens out" in words(part(dom, "workload-table"))
    by_model = words(part(dom, "outcome-table"))
    assert "247 M tokens out" in by_model
    assert by_model.count("none counted") == by_model.count("none known") == 1
    assert "50 %" in by_model  # an image, by a meter that is half off
    assert "Every joule is accounted for" in words(part(dom, "quality"))
    unreadable = part(dom, "live-table").split("sim-dub-gpu-01/gpu4", 1)[1].split("</tr>")[0]
    assert words(unreadable).count("unknown") == 3
    assert "permission" in unreadable


def test_a_plain_host_is_meaningful(opened: Callable[[str], str]) -> None:
    dom = opened("host")
    assert 'class="main-svg"' in part(dom, "power")
    assert 'class="main-svg"' in part(dom, "places")
    assert 'class="main-svg"' not in part(dom, "workloads")
    assert "has not been told who holds these devices" in words(part(dom, "workloads-note"))
    assert "This machine has no power meter" in words(part(dom, "banners"))
    assert "±50 %" in words(part(dom, "banners"))
    assert "mean 47.0 W while measured" in words(part(dom, "tiles"))


def test_an_empty_store_says_what_to_do(opened: Callable[[str], str]) -> None:
    dom = opened("empty")
    assert "wattshed-exporter" in words(part(dom, "empty"))
    assert "main-svg" not in part(dom, "power")


def test_names_stay_text(opened: Callable[[str], str]) -> None:
    dom = opened("hostile")
    assert "<img" not in dom
    assert "&lt;img src=x onerror=" in part(dom, "workload-table")
    assert 'class="main-svg"' in part(dom, "places")


@contextmanager
def served(first: Report, later: Report | None) -> Iterator[str]:
    """Serve a live page and its report; ``later`` None answers as a collector that is away."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self.answer("text/html", page.render(first, live=True).encode())
            elif self.path == page.PLOTLY_URL:
                self.answer("text/javascript", page.plotly_path().read_bytes())
            elif later is not None and self.path == f"{page.REPORT_URL}?since=24h":
                self.answer("application/json", json.dumps(later).encode())
            else:
                self.send_error(503)

        def answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_live_page_fills_by_itself(reports: Reports, chromium: Chromium) -> None:
    with served(reports["empty"](), reports["fleet"]()) as address:
        dom = chromium(address)
    assert "data-error" not in root(dom)
    assert "892 MJ" in words(part(dom, "tiles"))
    for figure in FIGURES:
        assert 'class="main-svg"' in part(dom, figure), figure


def test_a_live_page_says_that_the_collector_is_away(reports: Reports, chromium: Chromium) -> None:
    with served(reports["fleet"](), None) as address:
        dom = chromium(address)
    assert "data-error" not in root(dom)
    assert "Collector away, shown as of" in words(part(dom, "status"))
    assert "892 MJ" in words(part(dom, "tiles"))


VALUES = (0, 0.0004, 0.00123, 0.5, 1, 12.34, 59.2, 192, 999.6, 9876, 12_345, 200_000, 8.92e8, 3e19)
RATIOS = (0, -0.0, 0.0002, -0.0002, -0.314, 0.1, 0.314, 0.9996, 1)


def test_the_browser_reads_numbers_as_the_terminal_does(chromium: Chromium, tmp_path: Path) -> None:
    script = files("wattshed_collector.present").joinpath("units.js").read_text(encoding="utf-8")
    forms = ("joules", "watts", "watt_hours", "count", "seconds", "grams")
    cases = [(form, value) for form in forms for value in (*VALUES, None)]
    cases += [("percent", ratio) for ratio in (*RATIOS, None)] + [("celsius", 61.4)]
    show = "cases.map(([name, value]) => units[name](value))"
    file = tmp_path / "units.html"
    file.write_text(
        f'<meta charset="utf-8"><pre></pre><script>{script}; const cases = {json.dumps(cases)};'
        f'document.querySelector("pre").textContent = JSON.stringify({show});</script>'
    )
    found = re.search("<pre>(.*?)</pre>", chromium(file.as_uri()))
    assert found
    expected = [getattr(units, name)(value) for name, value in cases]
    assert json.loads(html.unescape(found[1])) == expected
