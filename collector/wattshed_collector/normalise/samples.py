"""A page in the Prometheus text format to samples.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import json
import re
from collections.abc import Container

from prometheus_client.parser import text_string_to_metric_families

from .dialect import Sample, Series

NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[iI]nf|[nN]a[nN]"
LINE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:(\{{.*\}})[ \t]*|[ \t]+)({NUMBER})(?:[ \t]+-?[0-9]+)?[ \t]*"
)
"""Name, labels and value, perhaps with a time; whatever is odd is left to the whole parser."""
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\\r\n]*)"'
LABELS = re.compile(rf"\{{{LABEL}(?:,{LABEL})*\}}")
PAIR = re.compile(LABEL)
RESERVED = "__"
LONGEST_SAID = 100
"""Characters of a line that cannot be read, as it is shown."""


def unquoted(page: bytes) -> bytes:
    """Return a page that is written as one text of JSON, as some servers do, without its quotes."""
    if not page.startswith(b'"'):
        return page
    try:
        said = json.loads(page)
    except ValueError:
        return page
    return said.encode() if isinstance(said, str) else page


def samples(
    text: str,
    scraped_ms: int,
    known: dict[str, Series] | None = None,
    wanted: Container[str] | None = None,
) -> list[Sample]:
    """Return the samples of one scrape. Raises ValueError where the text is not an exposition.

    Times on the page are left out: what it carries was asked for now. So are comments, because the
    parser gives every counter the name that OpenMetrics would, and it is called otherwise.
    ``known`` remembers the series of a target from one page to the next. Of a metric that is not
    ``wanted``, where that is told, the labels are not read.
    """
    known = {} if known is None else known
    found: list[Sample] = []
    lines = 0
    for line in text.split("\n"):
        matched = LINE.fullmatch(line)
        if matched is None:
            found += _parsed(line, scraped_ms)
            continue
        name, labels, value = matched.groups("")
        if wanted is not None and name not in wanted:
            found.append(Sample(Series(name, {}), float(value), scraped_ms))
            continue
        lines += 1
        series = known.get(name + labels)
        if series is None:
            series = known[name + labels] = _series(name, labels)
        found.append(Sample(series, float(value), scraped_ms))
    if len(known) > 2 * lines:
        known.clear()
    return found


def _series(name: str, labels: str) -> Series:
    """Return a new series; the whole parser takes twenty times as long where nothing is escaped."""
    if LABELS.fullmatch(labels) is not None:
        pairs = PAIR.findall(labels)
        told = dict(pairs)
        if len(told) == len(pairs) and not any(key.startswith(RESERVED) for key in told):
            return Series(name, told)
    return _parsed(f"{name}{labels} 0", 0)[0].series


def _parsed(line: str, scraped_ms: int) -> list[Sample]:
    if not line.strip() or line.lstrip().startswith("#"):
        return []
    try:
        return [
            Sample(Series(said.name, said.labels), float(said.value), scraped_ms)
            for family in text_string_to_metric_families(line)
            for said in family.samples
        ]
    except (IndexError, OverflowError) as error:  # as of a label without a name
        raise ValueError(f"{line.strip()[:LONGEST_SAID]!r} is no sample") from error
