"""The page: one HTML document that draws a report, as a file of its own or served live.

The static page holds everything, Plotly's script included, and its content security policy allows
no connection at all; the live one loads that script from the collector and asks it for the next
report. Only scripts whose hash stands in the policy run, so that a name from outside, wherever it
ended up, could not become code.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import time
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from wattshed_collector.report import Report
from wattshed_exporter import __version__

from . import CLASSES, CONSERVED_RATIO, METHODS

PLOTLY_URL = "/static/plotly.min.js"
REPORT_URL = "/v1/report"
WINDOWS = (("1h", 3600), ("6h", 21_600), ("24h", 86_400), ("7d", 604_800))
POLL_MS = 5000
TIMEOUT_MS = 20_000
STALE_S = 60
"""Age of the newest reading from which the live page says how old it is."""

_SCRIPTS = ("units.js", "figures.js", "dom.js", "tables.js", "headline.js", "page.js")
_NAV = '<nav><a href="/boards">Boards</a><a href="/runbooks">Runbooks</a></nav>'


def render(
    report: Report, *, live: bool, title: str = "wattshed", generated: float | None = None
) -> str:
    """Return the page; ``generated`` is when the report was made, in Unix seconds, else now."""
    made = time.time() if generated is None else generated
    script = scripts(_SCRIPTS)
    plotly = "" if live else plotly_path().read_text(encoding="utf-8")
    return Template(asset("page.html")).substitute(
        title=html.escape(title),
        css=asset("page.css"),
        nav=_NAV if live else "",
        policy=policy(live, script) if live else policy(live, plotly, script),
        config=embedded(_config(live, made)),
        report=embedded(report),
        plotly=f'<script src="{PLOTLY_URL}"></script>' if live else f"<script>{plotly}</script>",
        script=script,
    )


def plotly_path() -> Path:
    """Return Plotly's script in its installed package, found without importing the package."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("plotly is not installed: pip install 'wattshed[collector]'")
    return Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"


def scripts(names: Sequence[str]) -> str:
    """Return our scripts as one."""
    return '"use strict";\n' + "\n".join(map(asset, names))


def asset(name: str) -> str:
    """Return a file that lies beside this one."""
    return (files(__package__) / name).read_text(encoding="utf-8")


def _config(live: bool, generated: float) -> dict[str, object]:
    return {
        "live": live,
        "version": __version__,
        "generated": generated,
        "classes": [words._asdict() for words in CLASSES],
        "methods": [words._asdict() for words in METHODS],
        "conserved_ratio": CONSERVED_RATIO,
        "report_url": REPORT_URL,
        "windows": WINDOWS,
        "poll_ms": POLL_MS,
        "timeout_ms": TIMEOUT_MS,
        "stale_s": STALE_S,
    }


def policy(live: bool, *scripts: str) -> str:
    """Return the content security policy of a page that runs these scripts and no others."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(
        [*(f"'sha256-{digest}'" for digest in hashes), *(["'self'"] if live else [])]
    )
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def embedded(document: object) -> str:
    """Return JSON that cannot end the script element it stands in."""
    text = json.dumps(_finite(document), allow_nan=False, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _finite(value: object) -> object:
    """Return the value with None for every NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_finite(item) for item in value]
    return value
