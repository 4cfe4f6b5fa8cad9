"""``sacct --parsable2`` or ``sacct --json`` to jobs: who ran where, when, and with how many GPUs.

The text has a header in any order, any delimiter, and dirt: fields with line ends, bytes that are
not UTF-8, rows of steps that repeat their job and end after it, local times without a zone. Rows
are read one by one; each is a job, part of one, or counted under a reason. ``ConsumedEnergy`` is
not read: where no energy plug-in runs it says 0 for what nobody knows.
Source: manual of sacct, "Job accounting fields".
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import product
from typing import IO, Any

from wattshed_collector.errors import InvalidInput

from .hostlist import expand

LONGEST = 1 << 20
"""Longest row in bytes."""
CHUNK = 1 << 16
HEADER = re.compile(r"[A-Za-z]+(?P<delimiter>[^A-Za-z0-9]+)[A-Za-z]")
NEEDED = ("Start", "End")
NOT_KNOWN = {"", "Unknown", "None", "None assigned", "INVALID", "(null)"}
DURATION = re.compile(r"(?:(\d{1,6})-)?(?:(\d{1,4}):)?(\d{1,4}):(\d{2})(?:\.\d+)?")
GPU = re.compile(r"gres/gpu(:[^=,]+)?=(\d{1,9})")
LATEST_S = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """One run of a job. Times are Unix milliseconds; ``end_ms`` None is still running.

    ``id`` is the raw id, which a node calls it by, also for a task of an array. ``gpus`` is the
    number of all of its nodes together, None where that was not said.
    """

    id: str
    name: str
    user: str
    account: str
    partition: str
    cluster: str
    nodes: tuple[str, ...]
    start_ms: int
    end_ms: int | None
    gpus: int | None


class Reader:
    """Reads jobs from a stream; ``counted`` says what was left out, and why."""

    def __init__(self, stream: IO[bytes], zone: tzinfo | None = None) -> None:
        """Read times as those of ``zone``; None is the machine's own."""
        self.counted: Counter[str] = Counter()
        self.bytes_read = 0
        self._stream = stream
        self._zone = zone

    def __iter__(self) -> Iterator[Job]:
        """Yield each job; raises InvalidInput where it is no output of sacct at all."""
        first = self._bytes()
        while first and not first.strip():
            first = self._bytes()
        if not first:
            raise InvalidInput("the input is empty", "empty")
        is_json = first.lstrip().startswith(b"{")
        rows = self._documents(first) if is_json else self._rows(_text(first))
        for row in rows:
            try:
                yield _job(row, self._zone)
            except InvalidInput as error:
                self.counted[error.reason] += 1

    def _bytes(self) -> bytes:
        line = self._stream.readline(LONGEST)
        self.bytes_read += len(line)
        return line

    def _line(self) -> str | None:
        """Return the next line, None after the last; "" stands for one that is too long."""
        line = self._bytes()
        if len(line) < LONGEST or line.endswith(b"\n"):
            return _text(line) if line else None
        self.counted["malformed"] += 1
        while line and not line.endswith(b"\n"):
            line = self._bytes()
        return ""

    def _rows(self, header: str) -> Iterator[Mapping[str, str]]:
        found = HEADER.match(header)
        delimiter = found["delimiter"] if found else "|"
        columns = header.split(delimiter)
        missing = [name for name in NEEDED if name not in columns]
        if missing or not {"JobID", "JobIDRaw"} & set(columns):
            raise InvalidInput(
                "the first line is no header of sacct with JobIDRaw, Start and End; "
                "leave out --noheader",
                "no_header",
            )
        pending = ""
        while (line := self._line()) is not None:
            joined = f"{pending} {line}" if pending else line
            count = joined.count(delimiter) + 1
            if pending and (count > len(columns) or len(joined) > LONGEST):
                self.counted["malformed"] += 1
                joined, count = line, line.count(delimiter) + 1
            pending = ""
            if count == len(columns):
                yield dict(zip(columns, joined.split(delimiter), strict=True))
            elif count > len(columns):
                self.counted["malformed"] += 1
            elif joined.strip():
                pending = joined
        if pending:
            self.counted["malformed"] += 1

    def _documents(self, first: bytes) -> Iterator[Mapping[str, str]]:
        decoder = json.JSONDecoder()
        text = codecs.getincrementaldecoder("utf-8")(errors="replace")
        buffer, inside = text.decode(first), False
        while True:
            if not inside and (found := re.search(r'"jobs"\s*:\s*\[', buffer)):
                buffer, inside = buffer[found.end() :], True
            buffer = buffer.lstrip(" \t\r\n,") if inside else buffer
            if inside and buffer.startswith("]"):
                return
            with suppress(ValueError, RecursionError):
                document, end = decoder.raw_decode(buffer if inside else "")
                if isinstance(document, dict):
                    buffer = buffer[end:]
                    yield _flat(document)
                    continue
            more = self._stream.read(CHUNK)
            if not more or len(buffer) > LONGEST:
                raise InvalidInput("the JSON is cut off or not that of sacct", "malformed")
            self.bytes_read += len(more)
            buffer += text.decode(more)


def _text(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")


def parse_time(text: str, zone: tzinfo | None, fold: int = 0) -> int | None:
    """Return a time of sacct in Unix seconds, None for Unknown; local times are of ``zone``.

    Of a local time that a clock shows twice ``fold`` says which. Raises InvalidInput.
    """
    if text.strip() in NOT_KNOWN:
        return None
    try:
        if text.isdecimal():
            seconds = int(text)
        else:
            said = datetime.fromisoformat(text)
            placed = said if said.tzinfo else said.replace(tzinfo=zone, fold=fold)
            seconds = int(placed.timestamp())
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(f"{text[:40]!r} is no time", "bad_time") from None
    if not 0 < seconds < LATEST_S:
        raise InvalidInput(f"{text[:40]!r} is no time of a job", "bad_time")
    return seconds


def parse_duration(text: str) -> int | None:
    """Return ``[days-][hours:]minutes:seconds`` or a number in seconds, else None."""
    if text.isdecimal():
        return int(text) if len(text) < 12 else None
    found = DURATION.fullmatch(text)
    if not found:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return int(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds())


def count_gpus(tres: str) -> int | None:
    """Return the GPUs in ``billing=8,gres/gpu=2,gres/gpu:a100=2``; None where none are named."""
    plain, typed = None, 0
    for kind, number in GPU.findall(tres):
        if kind:
            typed += int(number)
        else:
            plain = int(number)
    return plain if plain is not None else typed or None


def _job(row: Mapping[str, str], zone: tzinfo | None) -> Job:
    raw, shown = row.get("JobIDRaw", "").strip(), row.get("JobID", "").strip()
    job = raw or shown
    if "." in job or "." in shown:
        raise InvalidInput("a step repeats its job", "step")
    if not re.fullmatch(r"[0-9]{1,10}", job):
        array = re.fullmatch(r"\d+[_+].*", job)
        raise InvalidInput(f"{job[:40]!r} is no id", "no_raw_id" if array else "bad_job_id")
    start, end = _times(row, zone)
    if start is None:
        raise InvalidInput(f"job {job} never started", "not_started")
    if end is not None and end < start:
        raise InvalidInput(f"job {job} ends before it starts", "end_before_start")
    listed = row.get("NodeList", "").strip()
    nodes = () if listed in NOT_KNOWN else tuple(expand(listed))
    return Job(
        id=job,
        name=row.get("JobName", "").strip(),
        user=re.sub(r"\(\d+\)$", "", row.get("User", "").strip()),
        account=row.get("Account", "").strip(),
        partition=row.get("Partition", "").strip(),
        cluster=row.get("Cluster", "").strip(),
        nodes=nodes,
        start_ms=start * 1000,
        end_ms=None if end is None else end * 1000,
        gpus=_gpus(row, len(nodes)),
    )


def _gpus(row: Mapping[str, str], nodes: int) -> int | None:
    """Return the GPUs of all nodes; older versions say them per node, as ``gpu:a100:8``."""
    total = count_gpus(row.get("AllocTRES", ""))
    each = re.findall(r"gpu(?::[^:,()]+)?:(\d{1,5})", row.get("AllocGRES", ""))
    return sum(map(int, each)) * max(1, nodes) if total is None and each else total


def _times(row: Mapping[str, str], zone: tzinfo | None) -> tuple[int | None, int | None]:
    """Return start and end; an hour that the clock showed twice is the one that fits Elapsed."""
    said = row.get("Start", ""), row.get("End", "")
    start, end = (parse_time(text, zone) for text in said)
    lasted = parse_duration(row.get("ElapsedRaw", "") or row.get("Elapsed", ""))
    if start is None or end is None or lasted is None:
        return start, end
    lasted += parse_duration(row.get("Suspended", "")) or 0
    if end - start == lasted:
        return start, end
    for folds in product((0, 1), repeat=2):
        first, last = (parse_time(t, zone, f) for t, f in zip(said, folds, strict=True))
        if first is not None and last is not None and last - first == lasted:
            return first, last
    return start, end


def _flat(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a job of ``sacct --json`` as a row of text; versions differ in their numbers."""
    time = document.get("time")
    time = time if isinstance(time, dict) else {}
    tres = document.get("tres")
    allocated = tres.get("allocated") if isinstance(tres, dict) else ()
    named = [t for t in allocated if isinstance(t, dict)] if isinstance(allocated, list) else []
    return {
        "JobIDRaw": str(document.get("job_id") or ""),
        "JobName": str(document.get("name") or ""),
        "User": str(document.get("user") or ""),
        "Account": str(document.get("account") or ""),
        "Partition": str(document.get("partition") or ""),
        "Cluster": str(document.get("cluster") or ""),
        "NodeList": str(document.get("nodes") or ""),
        "Start": _instant(time.get("start")),
        "End": _instant(time.get("end")),
        "AllocTRES": ",".join(
            f"{t.get('type')}/{t.get('name')}={_number(t.get('count'))}"
            for t in named
            if t.get("name")
        ),
    }


def _instant(value: object) -> str:
    number = _number(value)
    return str(number) if number > 0 else "Unknown"


def _number(value: object) -> int:
    if isinstance(value, dict):
        value = value.get("number") if value.get("set", True) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
