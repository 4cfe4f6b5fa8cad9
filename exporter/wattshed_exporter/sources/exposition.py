"""Reads another exporter's page over HTTP and takes rows out of it (Prometheus text format).

Only the metrics that are asked for are taken apart, and a broken line costs that line alone. The
parser of ``prometheus_client`` gives up the whole page for one bad line, renames counters and needs
many times as long, which counts on a page that is read every few seconds. An integer stays one,
because a 64-bit float loses the last digits of a counter. Source: "Exposition formats" of the
Prometheus documentation.
"""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from wattshed_exporter.errors import SourceError

MOST_BYTES = 8 << 20
"""Larger pages are not read: eight GPUs fill about 100 kB."""
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+", re.ASCII)
LABEL = re.compile(r'[ \t,]*+([a-zA-Z_]\w*+)[ \t]*+=[ \t]*+"((?:[^"\\]++|\\.)*+)"', re.ASCII)
OPEN, CLOSE = re.compile(r"[ \t]*+\{"), re.compile(r"[ \t,]*+\}")
INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
ESCAPE = re.compile(r"\\(.)")
ESCAPES = {"n": "\n", '"': '"', "\\": "\\"}


@dataclass(frozen=True, slots=True)
class Row:
    """One sample: the name of its metric, its labels and its value (NaN and infinities too)."""

    name: str
    labels: Mapping[str, str]
    value: int | float


def fetch(url: str, timeout_seconds: float) -> str:
    """GET a page of at most 8 MiB; ``SourceError.reason`` says why there is none."""
    until = time.monotonic() + timeout_seconds
    try:
        connection, path = _connection(url, timeout_seconds)
    except ValueError as error:
        raise SourceError(f"{url!r} is not a URL: {error}", "unreachable") from error
    try:
        connection.request("GET", path, headers={"Accept": "text/plain"})
        with connection.getresponse() as response:
            if response.status != http.client.OK:
                raise SourceError(f"{url} answers {response.status}", "http_error")
            return _body(response, until).decode(errors="replace")
    except TimeoutError as error:
        raise SourceError(f"{url} does not answer in {timeout_seconds:g} s", "timeout") from error
    except OSError as error:
        raise SourceError(f"{url} cannot be reached: {error}", "unreachable") from error
    except (http.client.HTTPException, ValueError) as error:
        raise SourceError(f"{url} does not speak HTTP: {error!r}", "malformed") from error
    finally:
        connection.close()


def rows(page: str, wanted: Container[str]) -> list[Row]:
    """Return the samples of the wanted metrics; time stamps and comments are left out.

    Raises:
        SourceError: no line of the page is a sample (``reason="malformed"``); an empty page and
            one of comments alone are a page without samples.
    """
    found: list[Row] = []
    told = broken = False
    for raw in page.split("\n"):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name = NAME.match(line)
        if name is not None and name[0] in wanted:
            row = _row(name[0], line, name.end())
            if row is not None:
                found.append(row)
            told, broken = told or row is not None, broken or row is None
        elif not told:
            told = name is not None and number(line.split()[-1]) is not None
            broken = True
    if broken and not told:
        raise SourceError("the page is not in the Prometheus text format", "malformed")
    return found


def number(text: str) -> int | float | None:
    """Return the value of a sample, or None where it is no number; integers stay exact."""
    if INTEGER.fullmatch(text):
        return int(text)
    if "_" in text or not text.isascii():
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _row(name: str, line: str, at: int) -> Row | None:
    labels: dict[str, str] = {}
    if opened := OPEN.match(line, at):
        at = opened.end()
        while label := LABEL.match(line, at):
            labels[label[1]] = _unescape(label[2])
            at = label.end()
        close = CLOSE.match(line, at)
        if close is None:
            return None
        at = close.end()
    elif not line[at : at + 1].isspace():
        return None
    said = line[at:].split()
    value = number(said[0]) if 1 <= len(said) <= 2 else None
    return None if value is None else Row(name, labels, value)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return ESCAPE.sub(lambda match: ESCAPES.get(match[1], match[0]), text)


def _connection(url: str, timeout_seconds: float) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("no http or no host")
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return kind(parts.hostname, parts.port, timeout=timeout_seconds), path


def _body(response: http.client.HTTPResponse, until: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(1 << 16):
        body += chunk
        if len(body) > MOST_BYTES:
            raise SourceError(f"the page is larger than {MOST_BYTES} bytes", "too_large")
        if time.monotonic() > until:
            raise TimeoutError("the page comes too slowly")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) != len(body):
        raise http.client.IncompleteRead(bytes(body))
    return bytes(body)
