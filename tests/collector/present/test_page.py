"""The page as a document: it carries everything, calls nobody, and no name becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from wattshed_collector.present import CLASSES, METHODS, page
from wattshed_collector.report import CLASSES as REPORT_CLASSES
from wattshed_collector.report import Report
from wattshed_exporter.model import Class, Method

Reports = dict[str, Callable[[], Report]]


class Elements(HTMLParser):
    """Collects the elements of a document and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))


def embedded(text: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


def without_plotly(text: str) -> str:
    return text.replace(page.plotly_path().read_text(encoding="utf-8"), "")


@pytest.mark.parametrize("name", ["fleet", "host", "empty", "hostile"])
def test_the_file_names_no_address(reports: Reports, name: str) -> None:
    text = without_plotly(page.render(reports[name](), live=False))
    parsed = Elements(text)
    linked = [
        value
        for _, attributes in parsed.elements
        for key, value in attributes.items()
        if key in ("src", "href", "action", "srcset", "data")
    ]
    assert linked == ["data:,"]
    spoken = re.sub(r"(?m)^ *// .*$|'sha256-[^']*'", "", text)
    assert not re.search(r"https?:|//\w|url\(|@import", spoken)
    assert "connect-src 'none'" in text


def test_the_file_carries_plotly_and_the_live_page_does_not(reports: Reports) -> None:
    report = reports["fleet"]()
    plotly = page.plotly_path().read_text(encoding="utf-8")
    live = page.render(report, live=True)
    assert plotly in page.render(report, live=False)
    assert plotly not in live
    assert [a["src"] for a, _ in Elements(live).scripts if "src" in a] == [page.PLOTLY_URL]
    assert len(live) < 200_000


@pytest.mark.parametrize("live", [False, True])
def test_only_the_scripts_of_the_page_may_run(reports: Reports, live: bool) -> None:
    text = page.render(reports["hostile"](), live=live)
    policy = next(a["content"] for t, a in Elements(text).elements if t == "meta" and "content" in a
                  and a.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    assert policy
    assert "'unsafe-inline'" not in policy.split("style-src")[0]
    for attributes, script in Elements(text).scripts:
        if attributes.get("type") or attributes.get("src"):
            continue
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_names_do_not_leave_the_json_they_stand_in(reports: Reports) -> None:
    calm = Elements(page.render(reports["fleet"](), live=True))
    text = page.render(reports["hostile"](), live=True)
    assert [tag for tag, _ in Elements(text).elements] == [tag for tag, _ in calm.elements]
    assert embedded(text, "report") == reports["hostile"]()


def test_the_title_is_text(reports: Reports) -> None:
    text = page.render(reports["empty"](), live=True, title='<b>"R&D" $css')
    assert "<h1>&lt;b&gt;&quot;R&amp;D&quot; $css</h1>" in text


def test_not_a_number_becomes_null(reports: Reports) -> None:
    report = reports["fleet"]()
    report["live_power_watts"] = math.nan
    report["power"]["active"][3] = math.inf
    found = embedded(page.render(report, live=True), "report")
    assert found["live_power_watts"] is None
    assert found["power"]["active"][3] is None


def test_the_page_says_when_it_was_made_and_how_it_asks(reports: Reports) -> None:
    config = embedded(page.render(reports["fleet"](), live=True, generated=1234.5), "config")
    assert config["generated"] == 1234.5
    assert config["live"] is True
    assert [name for name, _ in config["windows"]] == ["1h", "6h", "24h", "7d"]
    assert config["report_url"] == "/v1/report"


def test_the_same_report_gives_the_same_page(reports: Reports) -> None:
    first, second = (page.render(reports["fleet"](), live=False, generated=9.0) for _ in range(2))
    assert first == second


def test_the_words_cover_the_model() -> None:
    known = {method.value for method in Method} - {Method.UNKNOWN.value}
    assert [words.key for words in CLASSES] == list(REPORT_CLASSES)
    assert {words.key for words in CLASSES} == {value.value for value in Class}
    assert {words.key for words in METHODS} == known
