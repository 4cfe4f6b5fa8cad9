"""The page at /: what this exporter reads, for a person who followed a link; no external assets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from wattshed_exporter import __version__
from wattshed_exporter.model import Device, Overlap, Tick

from . import Snapshot

MOST_DEVICES = 200
"""Rows of the table; a page is for looking, /metrics has them all."""
STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6877; --line: #e2e6eb;
  --page: #f6f7f9; --card: #fff; --good: #1a7f52; --bad: #b3402e; --link: #1f5fae }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #96a1b0; --line: #2b333e;
  --page: #12161c; --card: #1a2028; --good: #5cc492; --bad: #ee8d7c; --link: #82b4f2 } }
* { box-sizing: border-box }
body { margin: 0; padding: 3rem 1.25rem; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
main { max-width: 52rem; margin: 0 auto }
h1 { margin: 0; font-size: 1.6rem; font-weight: 650; letter-spacing: -.01em }
h2 { margin: 2.2rem 0 .6rem; font-size: .82rem; font-weight: 600; color: var(--soft);
  text-transform: uppercase; letter-spacing: .06em }
p { margin: .3rem 0 0; color: var(--soft) }
a { color: var(--link); text-decoration: none }
a:hover { text-decoration: underline }
nav { display: flex; flex-wrap: wrap; gap: .6rem; margin-top: 1.4rem }
nav a { padding: .4rem .9rem; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card) }
.table { overflow-x: auto; border: 1px solid var(--line); border-radius: .6rem;
  background: var(--card) }
table { width: 100%; border-collapse: collapse }
th, td { padding: .5rem .9rem; text-align: left; border-top: 1px solid var(--line);
  vertical-align: baseline }
tr:first-child > * { border-top: 0 }
th { font-size: .82rem; font-weight: 600; color: var(--soft); white-space: nowrap }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
small { color: var(--soft); font-size: .82rem }
.up::before, .down::before { content: ""; display: inline-block; width: .55em; height: .55em;
  margin-right: .55em; border-radius: 50%; background: currentColor }
.up { color: var(--good) } .down { color: var(--bad) }
""".strip()


def page(node: str, snapshot: Snapshot, health: Mapping[str, bool]) -> bytes:
    """Return the page as HTML; nothing that a meter or a person named is trusted."""
    count = len(snapshot.devices)
    title = f"wattshed exporter on {escape(node)}"
    left = f"<p>The first {MOST_DEVICES} of {count}.</p>" if count > MOST_DEVICES else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{STYLE}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>Version {escape(__version__)}. It reads the power and energy meters of this machine and never
changes what it reads.</p>
<nav>
<a href="/metrics">Metrics</a>
<a href="/healthz">Health</a>
</nav>
<h2>Sources</h2>
{_table(("Source", "State", "Devices"), _sources(snapshot, health), "No source reads yet.")}
<h2>Devices</h2>
{_table(("Device", "Kind", "Source", "Power", "Energy"), _devices(node, snapshot), "None yet.")}
{left}
<h2>More</h2>
<p>What each metric means stands beside it in <a href="/metrics">/metrics</a> and in
<code>docs/METRICS.md</code>; <code>wattshed-exporter --help</code> lists every setting.</p>
</main>
</body>
</html>
""".encode(errors="replace")


def _table(heads: tuple[str, ...], rows: Iterable[str], otherwise: str) -> str:
    body = "\n".join(rows)
    if not body:
        return f"<p>{otherwise}</p>"
    numeric = ("Devices", "Power", "Energy")
    head = "".join(f"<th{' class=n' if h in numeric else ''}>{h}</th>" for h in heads)
    return f'<div class="table"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def _sources(snapshot: Snapshot, health: Mapping[str, bool]) -> Iterable[str]:
    devices = [d.source for d in snapshot.devices]
    for name, up in health.items():
        state, said = ("up", "reads in time") if up else ("down", "does not read")
        yield (
            f'<tr><td>{escape(name)}</td><td><span class="{state}">{said}</span></td>'
            f'<td class="n">{devices.count(name)}</td></tr>'
        )


def _devices(node: str, snapshot: Snapshot) -> Iterable[str]:
    for device in snapshot.devices[:MOST_DEVICES]:
        power, energy = _last(snapshot.ticks.get(device.key))
        yield (
            f"<tr><td>{escape(device.name or device.key)}{_about(node, device)}</td>"
            f"<td>{escape(device.kind)}</td><td>{escape(device.source)}</td>"
            f'<td class="n">{power}</td><td class="n">{energy}</td></tr>'
        )


def _about(node: str, device: Device) -> str:
    within = {Overlap.INNER: "inside another meter", Overlap.OUTER: "around other meters"}
    elsewhere = "" if device.node == node else f"on {device.node}"
    told = [part for part in (device.model, elsewhere, within.get(device.overlap, "")) if part]
    return f"<br><small>{escape(', '.join(told))}</small>" if told else ""


def _last(tick: Tick | None) -> tuple[str, str]:
    """Return power and energy for people; a dash where nobody knows, never a zero."""
    if tick is None:
        return "–", "–"
    power = "–" if tick.power_watts is None else scaled(tick.power_watts, "W")
    energy = "–" if tick.energy_uj is None else scaled(tick.energy_uj / 1e6, "J")
    return power, energy


def scaled(value: float, unit: str) -> str:
    """Return a quantity to three digits or so, with the prefix that suits it: ``9.88 MJ``."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}".replace("e+03", "000")
    return f"{value * 1e6:.3g} µ{unit}" if value else f"0 {unit}"
